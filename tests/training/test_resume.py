"""A run that is stopped anywhere and resumed ends, bit for bit, where an uninterrupted one does."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from pathlib import Path

import pytest
import torch
from trainer_runs import outcome, run_small

from recbole_precise.errors import CheckpointError, ConfigError


class Stop(Exception):
    """Stands for the power cut: nothing of the run goes on after it."""


def run_until(settings: dict, run_dir: Path, place: str, count: int) -> bool:
    """Run, or go on with, a run; raise `Stop` at the `count`-th call of `place`.

    Returns whether the run ended before.
    """
    from recbole_precise import registry

    cls = registry.get_model(settings["model"])
    original = getattr(cls, place)
    calls = 0

    def stopping(self, *args, **kwargs):
        nonlocal calls
        calls += 1
        if calls > count:
            raise Stop
        return original(self, *args, **kwargs)

    setattr(cls, place, stopping)
    try:
        run_small({**settings, "run_dir": str(run_dir), "resume": True})
        return True
    except Stop:
        return False
    finally:
        setattr(cls, place, original)


@pytest.mark.parametrize(
    ("model", "steps"),
    [("SASRec", 2), ("BERT4Rec", 3), ("GRU4Rec", 2), ("PRECISE-ID", 5), ("PRECISE", 5)],
)
def test_stopped_again_and_again_inside_epochs(
    settings, tmp_path: Path, model: str, steps: int
) -> None:
    """Each session makes a few training steps; a checkpoint follows each of them."""
    small = settings(model, checkpoint_seconds=0)
    run_small({**small, "run_dir": str(tmp_path / "straight")})
    sessions = 1
    while not run_until(small, tmp_path / "stopped", "calculate_loss", steps):
        sessions += 1
        assert sessions < 200
    assert sessions > 2
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "straight")


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("SASRec", "full_sort_predict"),
        ("BERT4Rec", "full_sort_predict"),
        ("PRECISE-ID", "user_vectors"),
        ("PRECISE", "user_vectors"),
    ],
)
def test_stopped_during_evaluations(settings, tmp_path: Path, model: str, place: str) -> None:
    """The first session stops in the first validation, the next ones one validation or test batch
    later each.
    """
    small = settings(model, checkpoint_seconds=0)
    run_small({**small, "run_dir": str(tmp_path / "straight")})
    sessions = 0
    while not run_until(small, tmp_path / "stopped", place, 1 + sessions):
        sessions += 1
    assert sessions > 1
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "straight")


def test_old_checkpoints_do_as_well(settings, tmp_path: Path) -> None:
    """With a checkpoint at the ends of epochs alone, the steps since then are made again."""
    small = settings("SASRec", checkpoint_seconds=1000)
    run_small({**small, "run_dir": str(tmp_path / "straight")})
    assert not run_until(small, tmp_path / "stopped", "calculate_loss", 10)
    assert run_until(small, tmp_path / "stopped", "calculate_loss", 10_000)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "straight")


def test_early_stopping_is_remembered(settings, tmp_path: Path) -> None:
    small = settings(
        "SASRec", checkpoint_seconds=0.1, epochs=50, stopping_step=1, learning_rate=0.03
    )
    run_small({**small, "run_dir": str(tmp_path / "straight")})
    epochs = json.loads((tmp_path / "straight" / "result.json").read_text())["phases"][0]["epochs"]
    assert 2 < epochs < 50
    while not run_until(small, tmp_path / "stopped", "calculate_loss", 20):
        pass
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "straight")


def test_a_damaged_newest_checkpoint_costs_only_time(settings, tmp_path: Path) -> None:
    small = settings("SASRec", checkpoint_seconds=0)
    run_small({**small, "run_dir": str(tmp_path / "straight")})
    assert not run_until(small, tmp_path / "stopped", "calculate_loss", 9)
    newest = max((tmp_path / "stopped" / "checkpoint").glob("training-*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-100])
    assert run_until(small, tmp_path / "stopped", "calculate_loss", 10_000)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "straight")


def test_no_good_checkpoint_is_told(settings, tmp_path: Path) -> None:
    small = settings("SASRec", checkpoint_seconds=0)
    assert not run_until(small, tmp_path / "stopped", "calculate_loss", 9)
    for file in (tmp_path / "stopped" / "checkpoint").glob("training-*.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="training-0000.*damaged.*Delete the folder"):
        run_until(small, tmp_path / "stopped", "calculate_loss", 9)


def test_a_finished_run_gives_its_result_again(settings, tmp_path: Path) -> None:
    small = settings("SASRec", run_dir=str(tmp_path / "run"))
    first = run_small(small)
    before = {
        file.name: file.stat().st_mtime_ns
        for file in (tmp_path / "run").iterdir()
        if file.name != "train.log"
    }
    again = run_small({**small, "resume": True, "result_file": str(tmp_path / "copy.json")})
    assert again == first
    assert {
        file.name: file.stat().st_mtime_ns
        for file in (tmp_path / "run").iterdir()
        if file.name != "train.log"
    } == before
    assert (tmp_path / "copy.json").read_text() == (tmp_path / "run" / "result.json").read_text()


@pytest.mark.parametrize("ended", [True, False])
def test_another_run_is_never_written_over(settings, tmp_path: Path, ended: bool) -> None:
    small = settings("SASRec", checkpoint_seconds=0)
    assert run_until(small, tmp_path / "run", "calculate_loss", 10_000 if ended else 5) is ended
    before = {
        file: file.read_bytes()
        for file in (tmp_path / "run").rglob("*")
        if file.is_file() and file.name != "train.log"
    }
    with pytest.raises(CheckpointError, match="holds (a finished|an unfinished) run.*resume: True"):
        run_small({**small, "run_dir": str(tmp_path / "run")})
    with pytest.raises(
        CheckpointError, match="holds another run: settings.hidden_size: 16 then, 32 now"
    ):
        run_small({**small, "run_dir": str(tmp_path / "run"), "resume": True, "hidden_size": 32})
    other = {**settings("GRU4Rec"), "run_dir": str(tmp_path / "run"), "resume": True}
    with pytest.raises(CheckpointError, match="holds another run: settings"):
        run_small(other)
    assert {file: file.read_bytes() for file in before} == before


def test_changed_data_is_noticed(settings, tmp_path: Path) -> None:
    small = settings("SASRec", checkpoint_seconds=0)
    assert not run_until(small, tmp_path / "run", "calculate_loss", 5)
    file = Path(small["data_path"]) / "ring" / "ring.inter"
    file.write_text(file.read_text().replace("i7\t", "i8\t", 1))
    with pytest.raises(CheckpointError, match="holds another run: data"):
        run_until(small, tmp_path / "run", "calculate_loss", 5)


def test_resume_needs_a_directory(settings) -> None:
    with pytest.raises(ConfigError, match="resume needs run_dir"):
        run_small(settings("SASRec", resume=True))


def test_nothing_to_resume_begins_at_the_beginning(settings, tmp_path: Path) -> None:
    small = settings("SASRec")
    run_small({**small, "run_dir": str(tmp_path / "straight")})
    run_small({**small, "run_dir": str(tmp_path / "fresh"), "resume": True})
    assert outcome(tmp_path / "fresh") == outcome(tmp_path / "straight")


def _run_in_child(settings: dict) -> None:
    torch.set_num_threads(1)
    run_small(settings)


def _killed_run(settings: dict, run_dir: Path, kills: int, seed: int, longest: float) -> int:
    """Run in processes of their own, killed at random moments, then to the end; returns how often
    it was killed.

    Each process is left to write a checkpoint at least, so that a slow machine gets there too.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["recbole_precise.quick_start"])
    chance, killed = random.Random(seed), 0
    while True:
        before = _newest(run_dir)
        child = context.Process(
            target=_run_in_child,
            args=({**settings, "run_dir": str(run_dir), "resume": True},),
            daemon=True,
        )
        child.start()
        while killed < kills and child.is_alive() and _newest(run_dir) == before:
            time.sleep(0.01)
        child.join(chance.uniform(0, longest) if killed < kills else None)
        if child.exitcode is not None:
            assert child.exitcode == 0
            return killed
        child.kill()
        child.join()
        killed += 1


def _newest(run_dir: Path) -> str:
    return max((file.name for file in (run_dir / "checkpoint").glob("state-*.json")), default="")


@pytest.mark.parametrize("model", [pytest.param("SASRec", marks=pytest.mark.slow), "PRECISE-ID"])
def test_killed_processes(settings, tmp_path: Path, model: str) -> None:
    small = settings(model, epochs=10, stopping_step=100, checkpoint_seconds=0.02)
    run_small({**small, "run_dir": str(tmp_path / "straight")})
    assert _killed_run(small, tmp_path / "killed", kills=3, seed=1, longest=0.4) > 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "straight")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["SASRec", "PRECISE-UT"])
def test_killed_ten_times_on_movielens(tmp_path: Path, model: str) -> None:
    """The acceptance test: MovieLens-100k, ten kills with SIGKILL, weights and metrics equal to the
    last bit.
    """
    small = {
        "model": model, "dataset": "ml-100k", "gpu_id": "", "show_progress": False,
        "state": "ERROR", "MAX_ITEM_LIST_LENGTH": 10,
        "epochs": 8, "checkpoint_seconds": 0.5, "valid_metric": "NDCG@10", "tensorboard": False,
        "checkpoint_dir": str(tmp_path / "saved"), "text_cache_dir": str(tmp_path / "cache"),
    }  # fmt: skip
    if model == "SASRec":
        small |= {"hidden_size": 32, "inner_size": 32, "n_layers": 1, "train_neg_sample_args": None}
    run_small({**small, "run_dir": str(tmp_path / "straight")})
    assert _killed_run(small, tmp_path / "killed", kills=10, seed=2, longest=3.0) == 10
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "straight")
