"""Several processes are one run: the same metrics, phases, stops, files and messages as from one
process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from process_runs import evaluate_here, in_processes, run_here, start
from trainer_runs import outcome, run_small

from recbole_precise.errors import CheckpointError, ConfigError
from recbole_precise.plugin.launch import free_port
from recbole_precise.runs.checkpoint import load_tensors

ROOT = Path(__file__).resolve().parents[2]
PLAIN = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


def make_odd(small: dict, rows: bool) -> int:
    """Add a user, and events until the number of training rows is odd (`rows`) or even.

    Returns the number of users.
    """
    file = Path(small["data_path"]) / "ring" / "ring.inter"
    lines = file.read_text().splitlines()
    lines += [f"u60\ti{item}\t{1000 * item}" for item in range(4)]
    owners = [line.split("\t")[0] for line in lines[1:]]
    # Leave one out: of n events the first has no history, the last two are the validation's and the
    # test's.
    if sum(owners.count(user) - 3 for user in set(owners)) % 2 != rows:
        lines.append("u60\ti4\t4000")
    file.write_text("\n".join(lines) + "\n")
    return len(set(owners))


@pytest.mark.parametrize(
    ("model", "more"),
    [
        pytest.param("SASRec", {}, marks=pytest.mark.slow),
        (
            "SASRec",
            {
                "metrics": ["NDCG", "ItemCoverage", "GiniIndex", "AveragePopularity"],
                "mask_history": True,
            },
        ),
        ("PRECISE", {"window_shift": True}),
        pytest.param(
            "SASRec",
            {"evaluator": "recbole", "metrics": ["NDCG", "ItemCoverage"]},
            marks=pytest.mark.slow,
        ),
        ("Pop", {"epochs": 0}),
    ],
)
def test_two_processes_rank_as_one(settings, tmp_path: Path, model: str, more: dict) -> None:
    """One directory, evaluated by one process and by two: every row once, though their number is
    odd.
    """
    small = settings(model, run_dir=str(tmp_path / "run"), eval_batch_size=7, **more)
    users = make_odd(small, rows=True)
    returned = in_processes(run_here, small)
    assert returned[0] == returned[1]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [phase["name"] for phase in result["phases"]] == {
        "PRECISE": ["universal", "targeted"],
        "SASRec": ["train"],
        "Pop": [],
    }[model]
    assert not any(
        name.startswith("module.") for name in load_tensors(tmp_path / "run" / "model.safetensors")
    )
    where = {"gpu_id": "", "data_path": small["data_path"]}
    alone = evaluate_here(str(tmp_path / "run"), where)
    assert in_processes(evaluate_here, str(tmp_path / "run"), where) == [alone, alone]
    assert result["test"] == alone["test"]
    if "evaluator" not in more:
        assert len(set(alone["test_ranks"][0])) == len(alone["test_ranks"][0]) == users
        assert min(alone["test_ranks"][2]) >= 1
    # How many processes trained it does not matter to who reads its result.
    assert run_small({**small, "resume": True}) == returned[0]


def test_gradients_are_those_of_all_rows(settings, tmp_path: Path) -> None:
    """Without dropout and with all rows in one batch, two halves averaged are one whole: the same
    training, phase by phase.
    """
    small = settings(
        "SASRec", epochs=4, train_batch_size=10_000, clip_grad_norm={"max_norm": 0.1}, **PLAIN
    )
    make_odd(small, rows=False)
    run_small({**small, "run_dir": str(tmp_path / "one")})
    in_processes(run_here, {**small, "run_dir": str(tmp_path / "two")})
    one, two = (load_tensors(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        assert torch.allclose(two[name], tensor, rtol=1e-3, atol=1e-4), name
    losses = [
        [
            record["train_loss"]
            for record in json.loads((tmp_path / name / "result.json").read_text())["curve"]
        ]
        for name in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and losses[0][0] > losses[0][-1]


def _kill_after(small: dict, checkpoints: int) -> None:
    """SIGKILL to both processes once so many checkpoints were written."""
    children, _ = start(run_here, [small])
    folder = Path(small["run_dir"]) / "checkpoint"
    while (
        max(
            (int(file.stem.removeprefix("state-")) for file in folder.glob("state-*.json")),
            default=0,
        )
        < checkpoints
    ):
        assert all(child.is_alive() for child in children)
        time.sleep(0.01)
    for child in children:
        child.kill()
    for child in children:
        child.join()


@pytest.mark.parametrize(
    ("model", "places"),
    [("SASRec", (2, 9)), pytest.param("PRECISE", (7, 40), marks=pytest.mark.slow)],
)
def test_killed_and_resumed_to_the_same_bits(
    settings, tmp_path: Path, model: str, places: tuple
) -> None:
    """Both processes draw dropout and negatives of their own.

    A checkpoint after every step, a kill in the middle of epochs.
    """
    small = settings(model, epochs=4, checkpoint_seconds=0)
    make_odd(small, rows=True)
    in_processes(run_here, {**small, "run_dir": str(tmp_path / "straight")})
    killed = {**small, "run_dir": str(tmp_path / "killed"), "resume": True}
    for checkpoints in places:
        _kill_after(killed, checkpoints)
        assert not (tmp_path / "killed" / "result.json").exists()
    with pytest.raises(
        CheckpointError, match="holds another run: settings.*(single_spec|world_size)"
    ):
        run_small(killed)  # the rest of this training belongs to two processes
    in_processes(run_here, killed)
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "straight")


def test_all_stop_at_once(settings, tmp_path: Path) -> None:
    """By the clock of process 0, and by early stopping.

    Then a warm start from what two processes have left.
    """
    in_processes(
        run_here, settings("PRECISE-UT", run_dir=str(tmp_path / "clock"), train_minutes=1e-6)
    )
    phase = json.loads((tmp_path / "clock" / "result.json").read_text())["phases"][0]
    assert (phase["epochs"], phase["ended"]) == (1, "train_minutes")
    more = {
        "warm_start": str(tmp_path / "clock"),
        "targeted_epochs": 30,
        "stopping_step": 0,
        "targeted_learning_rate": 1.0,
    }
    in_processes(run_here, settings("PRECISE", run_dir=str(tmp_path / "stopped"), **more))
    phase = json.loads((tmp_path / "stopped" / "result.json").read_text())["phases"][0]
    assert (
        phase["name"] == "targeted" and phase["epochs"] < 30 and phase["ended"] == "stopping_step"
    )


def command(small: dict, *launcher: str) -> list[str]:
    settings = [
        f"--{key}={json.dumps(value) if isinstance(value, (dict, list)) else value}"
        for key, value in small.items()
        if value is not None and value != ""
    ]
    return [sys.executable, "-m", *launcher, "recbole_precise", *settings, "--use_gpu=False"]


def run_command(arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        arguments,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def plain(small: dict) -> dict:
    """Settings that a command line can carry; the file of settings holds the rest."""
    return {
        key: value for key, value in small.items() if key not in ("gpu_id", "train_neg_sample_args")
    } | {"loss_type": "CE"}


def test_the_command_and_a_mistake(settings, tmp_path: Path) -> None:
    """`--nproc=2` leaves what one process leaves.

    A mistake that only the processes can see is one sentence and status 2.
    """
    small = plain(settings("PRECISE-ID", epochs=1, run_dir=str(tmp_path / "run")))
    ran = run_command([*command(small), "--nproc=2"])
    assert ran.returncode == 0, ran.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert len(result["curve"]) == 1 and {"ranks.npz", "config.yaml", "train.log"} <= {
        file.name for file in (tmp_path / "run").iterdir()
    }
    again = run_command([*command(small), "--nproc=2"])
    assert again.returncode == 2 and len(again.stderr.strip().splitlines()) == 1, again.stderr
    assert "holds a finished run" in again.stderr


def test_torchrun(settings, tmp_path: Path) -> None:
    small = plain(settings("PRECISE-ID", epochs=1, run_dir=str(tmp_path / "run")))
    small["nproc"] = None
    launcher = ("torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}", "-m")
    ran = run_command(command(small, *launcher))
    assert ran.returncode == 0, ran.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    assert "world_size" in (tmp_path / "run" / "state.json").read_text()


@pytest.mark.parametrize(
    "how",
    [
        "killed",
        "interrupted",
        pytest.param("terminated", marks=pytest.mark.slow),
        pytest.param("parent killed", marks=pytest.mark.slow),
    ],
)
def test_one_end_is_the_end_of_all(settings, tmp_path: Path, how: str) -> None:
    """A process that is killed, Ctrl-C to all, SIGTERM or SIGKILL to the parent alone: nobody
    hangs, nobody is left, and the run can go on.
    """
    small = plain(
        settings(
            "PRECISE-ID",
            epochs=100_000,
            stopping_step=100_000,
            checkpoint_seconds=0,
            run_dir=str(tmp_path / "run"),
        )
    )
    run = subprocess.Popen(
        [*command(small), "--nproc=2"], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        # a suite in a shell's background ignores it, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        while not list((tmp_path / "run" / "checkpoint").glob("state-*.json")):
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.05)
        children = psutil.Process(run.pid).children(recursive=True)
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        if how == "killed":
            workers[1].kill()
        elif how == "terminated":
            run.terminate()
        elif how == "parent killed":
            run.kill()
        else:
            os.killpg(run.pid, signal.SIGINT)
        _, said = run.communicate(timeout=120)
        assert not psutil.wait_procs(children, timeout=30)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    if how == "killed":
        assert run.returncode == 2 and "was killed (SIGKILL)" in said.strip().splitlines()[-1], said
    elif how == "parent killed":
        assert run.returncode == -signal.SIGKILL
    else:
        assert (
            run.returncode == {"interrupted": 130, "terminated": 143}[how]
            and said.strip().splitlines()[-1] == "Interrupted."
        ), said
        go_on = (tmp_path / "run" / "train.log").read_text().splitlines()[-1]
        assert (
            "Interrupted. Go on with: recbole-precise --model=PRECISE-ID" in go_on
            and go_on.endswith("--resume=True --nproc=2")
        )
    assert "Traceback" not in said


def test_nproc_in_a_file_is_not_passed_over(settings) -> None:
    with pytest.raises(ConfigError, match="nproc is read from the command line"):
        run_small(settings("SASRec", nproc=2))


@pytest.mark.slow
def test_every_sequential_model_of_recbole(settings, tmp_path: Path, monkeypatch) -> None:
    """Each with its own defaults but for the sizes of the data.

    Parameters that a step leaves out included.
    """
    from recbole_precise import registry

    monkeypatch.chdir(tmp_path)
    names = [
        entry.name
        for entry in registry._recbole_models().values()
        if ".sequential_recommender." in entry.target and entry.name not in ("GRU4RecKG", "KSR")
    ]
    failed = {}
    for name in names:
        more = {"pretrain_epochs": 1, "save_step": 1} if name == "S3Rec" else {}
        small = {"dataset": "ml-100k", "epochs": 1, "show_progress": False, "gpu_id": "",
            "user_inter_num_interval": "[20,22]", "MAX_ITEM_LIST_LENGTH": 20, "tensorboard": False,
                 "state": "ERROR", "model": name, "checkpoint_dir": str(tmp_path / name),
                 **more}  # fmt: skip
        try:
            first, second = in_processes(run_here, small)
            assert first == second and first["test_result"]
        except AssertionError as error:
            failed[name] = str(error)[-600:]
    assert not failed, "\n\n".join(f"{name}: {what}" for name, what in failed.items())
