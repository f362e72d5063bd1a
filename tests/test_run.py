"""Whole runs: what they return, what they leave behind, and that RecBole's own scripts drive the
same parts.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from recbole_precise.errors import CheckpointError

sys.path.insert(0, str(Path(__file__).parent / "training"))
from trainer_runs import outcome, run_small

ROOT = Path(__file__).resolve().parents[1]


def small(tmp_path: Path, model: str = "SASRec", **more):
    from recbole_precise.config import read_settings  # noqa: F401

    sizes = {
        "SASRec": {
            "hidden_size": 16,
            "inner_size": 16,
            "n_layers": 1,
            "train_neg_sample_args": None,
        }
    }.get(model, {})
    return {
        "model": model, "dataset": "ml-100k", "gpu_id": "", "show_progress": False, "state": "INFO",
        "user_inter_num_interval": "[5,30]",
        "MAX_ITEM_LIST_LENGTH": 8, "epochs": 2, "valid_metric": "NDCG@10", "topk": [5, 10],
        "checkpoint_dir": str(tmp_path / "saved"),
        **sizes, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, dict, dict]:
    """(run directory, what run_recbole returned, its settings) of one run."""
    tmp_path = tmp_path_factory.mktemp("finished")
    settings = small(
        tmp_path, run_dir=str(tmp_path / "run"), result_file=str(tmp_path / "copy.json"), seed=7
    )
    argv, sys.argv = sys.argv, ["test"]
    try:
        returned = run_small(settings)
    finally:
        sys.argv = argv
    return tmp_path / "run", returned, settings


def test_the_run_directory_is_complete(finished) -> None:
    folder, _, _ = finished
    names = {file.name for file in folder.iterdir() if not file.name.startswith("events.")}
    assert names == {
        "result.json",
        "config.yaml",
        "model.safetensors",
        "state.json",
        "ranks.npz",
        "train.log",
        "items.parquet",
        "users.parquet",
        "training.safetensors",
        "manifest.json",
    }
    assert any(file.name.startswith("events.") for file in folder.iterdir())


def test_result_json_is_as_documented(finished) -> None:
    folder, returned, _settings = finished
    result = json.loads((folder / "result.json").read_text(), parse_constant=pytest.fail)
    assert list(result) == [
        "model", "dataset", "recipe", "seed", "protocol", "scene_view", "valid", "test",
        "test_cases", "slices", "phases", "curve", "seconds", "parameters", "peak_memory_mb",
        "environment", "text_encoder",
    ]  # fmt: skip
    assert (result["model"], result["dataset"], result["recipe"], result["seed"]) == (
        "SASRec",
        "ml-100k",
        "best",
        7,
    )
    assert set(result["protocol"]) == {
        "split",
        "mask_history",
        "ties",
        "candidates",
        "target_scene",
    }
    assert result["protocol"]["candidates"] == 1682 and result["protocol"]["mask_history"] is False
    assert set(result["seconds"]) == {"data", "encode", "train", "evaluate", "total"}
    assert result["seconds"]["total"] >= result["seconds"]["train"] > 0
    assert [set(phase) for phase in result["phases"]] == [
        {"name", "epochs", "best_epoch", "ended", "seconds"}
    ]
    assert [set(record) for record in result["curve"]] == [
        {"epoch", "phase", "train_loss", "valid", "seconds"}
    ] * 2
    assert (
        max(record["valid"]["ndcg@10"] for record in result["curve"]) == result["valid"]["ndcg@10"]
    )
    assert (
        0
        < result["curve"][0]["seconds"]
        < result["curve"][1]["seconds"]
        <= result["seconds"]["total"]
    )
    assert (
        result["parameters"] > 1682 * 16
        and result["peak_memory_mb"] > 50
        and result["text_encoder"] is None
    )
    for split, key in (("valid", "best_valid_result"), ("test", "test_result")):
        assert list(result[split]) == list(returned[key])
        assert {
            name: float(np.float64(value).round(4)) for name, value in result[split].items()
        } == dict(returned[key])
    assert (folder.parent / "copy.json").read_bytes() == (folder / "result.json").read_bytes()


def test_ranks_give_the_metrics_and_the_slices(finished) -> None:
    from recbole_precise.evaluation.metrics import metrics_from_ranks
    from recbole_precise.runs.result import read_ranks

    folder, _, _ = finished
    result = json.loads((folder / "result.json").read_text())
    for split in ("valid", "test"):
        users, items, ranks = read_ranks(folder, split)
        assert users.dtype.kind == items.dtype.kind == "U" and len(set(users.tolist())) == len(
            users
        )
        assert (
            metrics_from_ranks(ranks, ["Recall", "MRR", "NDCG", "Hit", "Precision"], [5, 10])
            == result[split]
        )
    counted = {name: part["n"] for name, part in result["slices"].items()}
    assert counted["warm"] + counted["median"] + counted["cold"] + counted["unseen"] == len(ranks)
    assert counted["top20"] + counted["rest80"] + counted["unseen"] == len(ranks)
    for begin in ("frequency_bucket_", "history_"):
        assert sum(n for name, n in counted.items() if name.startswith(begin)) == len(ranks)
    assert (counted["repeat_target"], counted["new_target"]) == (
        0,
        len(ranks),
    )  # MovieLens: a film is rated once
    with pytest.raises(CheckpointError, match="holds no ranks of the split 'train'"):
        read_ranks(folder, "train")


def test_ranks_of_several_runs_share_their_numbers(finished, tmp_path: Path) -> None:
    from recbole_precise.evaluation.significance import compare
    from recbole_precise.runs.result import ranks_of_runs

    folder, _, _ = finished
    run_small(
        small(
            tmp_path,
            "Pop",
            run_dir=str(tmp_path / "pop"),
            epochs=0,
            state="ERROR",
            tensorboard=False,
        )
    )
    ours, floor = ranks_of_runs([folder, tmp_path / "pop"])
    result = [
        json.loads((run / "result.json").read_text())["test"]["ndcg@10"]
        for run in (folder, tmp_path / "pop")
    ]
    assert sorted(zip(ours.user_id, ours.target)) == sorted(zip(floor.user_id, floor.target))
    assert compare(ours, floor, "ndcg@10", n_resamples=99).to_dict()["difference"] == pytest.approx(
        result[0] - result[1]
    )


def test_the_log_reads_like_recboles(finished) -> None:
    folder, returned, _ = finished
    log = (folder / "train.log").read_text(encoding="utf-8")
    assert "\x1b" not in log
    assert re.search(r"epoch 1 training \[time: \d+\.\d\ds, train loss: \d+\.\d{4}\]", log)
    assert re.search(r"epoch 1 evaluating \[time: \d+\.\d\ds, valid_score: \d\.\d{6}\]", log)
    assert (
        f"best valid : {returned['best_valid_result']}" in log
        and f"test result: {returned['test_result']}" in log
    )


def test_config_yaml_gives_the_same_run_again(finished, tmp_path: Path) -> None:
    from command_lines import command_line

    from recbole_precise import run_recbole

    folder, returned, _ = finished
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert (
        settings["hidden_size"] == 16
        and settings["layer_norm_eps"] == 1e-12
        and settings["evaluator"] == "exact"
    )
    assert "run_dir" not in settings
    with command_line([]):
        again = run_recbole(
            config_file_list=[str(folder / "config.yaml")],
            config_dict={"run_dir": str(tmp_path / "again")},
        )
    assert again == returned
    first, second = outcome(folder), outcome(tmp_path / "again")
    assert first == second


@pytest.mark.parametrize("name", ["", "model.safetensors"])
def test_load_data_and_model(finished, name: str) -> None:
    from recbole_precise import load_data_and_model
    from recbole_precise.plugin.trainer import get_trainer

    folder, returned, _ = finished
    config, model, dataset, train_data, valid_data, test_data = load_data_and_model(folder / name)
    trainer = get_trainer(config)(config, model)
    for data, key in ((valid_data, "best_valid_result"), (test_data, "test_result")):
        assert dict(trainer.evaluate(data, load_best_model=False)) == dict(returned[key])
    assert dataset.item_num == 1683 and len(train_data) > 0


def test_load_data_and_model_tells_what_is_wrong(finished, tmp_path: Path) -> None:
    import shutil

    from recbole_precise import load_data_and_model

    folder, _, _ = finished
    with pytest.raises(CheckpointError, match="does not exist"):
        load_data_and_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is no run directory: .*state.json' is missing"):
        load_data_and_model(tmp_path)
    for damaged, said in (
        ("state.json", "state.json' is damaged"),
        ("model.safetensors", "model.safetensors' is damaged"),
    ):
        copy = tmp_path / damaged
        shutil.copytree(folder, copy)
        content = (copy / damaged).read_bytes()
        (copy / damaged).write_bytes(content[: len(content) // 2])
        with pytest.raises(CheckpointError, match=said):
            load_data_and_model(copy)
    (tmp_path / "state.json" / "config.yaml").unlink()
    shutil.copy(folder / "state.json", tmp_path / "state.json" / "state.json")
    with pytest.raises(CheckpointError, match="config.yaml' is missing"):
        load_data_and_model(tmp_path / "state.json")


def test_two_runs_in_one_process_have_two_logs(tmp_path: Path) -> None:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    for name in ("first", "second"):
        run_small(small(tmp_path, epochs=1, run_dir=str(tmp_path / name), tensorboard=False))
    for name in ("first", "second"):
        log = (tmp_path / name / "train.log").read_text()
        assert log.count("test result") == 1 and f"run_dir = {tmp_path / name}" in log
    assert logging.getLogger().handlers == handlers and logging.getLogger().level == level


def test_runs_in_one_second_get_directories_of_their_own(tmp_path: Path) -> None:
    for _ in range(3):
        run_small(small(tmp_path, "Pop", tensorboard=False, epochs=0, state="ERROR"))
    assert len(list((tmp_path / "saved").glob("Pop-ml-100k-*"))) == 3


def test_a_run_that_saves_nothing(tmp_path: Path, monkeypatch) -> None:
    from command_lines import command_line

    from recbole_precise import run_recbole

    monkeypatch.chdir(tmp_path)
    with command_line([]):
        result = run_recbole(config_dict=small(tmp_path, epochs=1), saved=False)
    assert math.isfinite(result["best_valid_score"]) and result["test_result"]["ndcg@10"] >= 0
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_earlier_results_alone(finished, tmp_path: Path) -> None:
    folder, _, settings = finished
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    for more in ({}, {"resume": True, "seed": 8}):
        with pytest.raises(CheckpointError, match="holds a(nother| finished) run"):
            run_small({**settings, **more})
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def _trial_settings(tmp_path: Path) -> dict:
    return small(
        tmp_path,
        "PRECISE-ID",
        epochs=1,
        embedding_size=8,
        token_size=8,
        n_layers=1,
        tensorboard=False,
        state="ERROR",
    )


def test_objective_function(tmp_path: Path, monkeypatch) -> None:
    from command_lines import command_line

    from recbole_precise import objective_function

    monkeypatch.chdir(tmp_path)
    with command_line([]):
        trial = objective_function(config_dict=_trial_settings(tmp_path))
    assert set(trial) == {
        "model",
        "best_valid_score",
        "valid_score_bigger",
        "best_valid_result",
        "test_result",
    }
    assert trial["best_valid_score"] == pytest.approx(
        trial["best_valid_result"]["ndcg@10"], abs=1e-6
    )
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_hyper_tuning(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("hyperopt")
    from command_lines import command_line
    from recbole.trainer import HyperTuning

    from recbole_precise import objective_function

    monkeypatch.chdir(tmp_path)
    file = tmp_path / "fixed.yaml"
    file.write_text(yaml.safe_dump(_trial_settings(tmp_path)))
    with command_line([]):
        space = {"choice": {"learning_rate": [0.001, 0.01]}}
        tuning = HyperTuning(
            objective_function,
            params_dict=space,
            fixed_config_file_list=[str(file)],
            algo="exhaustive",
            max_evals=2,
        )
        tuning.run()
    assert len(tuning.params2result) == 2 and tuning.best_params["learning_rate"] in (0.001, 0.01)
    assert len(list((tmp_path / "saved").glob("PRECISE-ID-*"))) == 2


def test_stock_scripts_train_our_model(tmp_path: Path, monkeypatch) -> None:
    """RecBole's own run_recbole and load_data_and_model, which know nothing of this package but its
    import.
    """
    from recbole.quick_start import load_data_and_model, run_recbole

    import recbole_precise  # noqa: F401

    monkeypatch.chdir(tmp_path)
    settings = {
        key: value
        for key, value in small(
            tmp_path, "PRECISE-ID", epochs=1, embedding_size=8, token_size=8, n_layers=1
        ).items()
        if key not in ("model", "dataset")
    }
    result = run_recbole(
        model="PRECISE-ID",
        dataset="ml-100k",
        config_dict={**settings, "run_dir": str(tmp_path / "run")},
    )
    logging.getLogger().handlers.clear()
    assert (
        result["test_result"]["ndcg@10"] >= 0 and (tmp_path / "run" / "model.safetensors").exists()
    )
    model = load_data_and_model(str(tmp_path / "run" / "model.safetensors"))[1]
    assert type(model).__name__ == "PRECISEUT"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = [
        f"--{key}={value}"
        for key, value in small(
            tmp_path,
            epochs=500,
            stopping_step=500,
            checkpoint_seconds=0.1,
            run_dir=str(tmp_path / "run"),
        ).items()
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "recbole_precise", *arguments], cwd=ROOT, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
        # a shell's background job would ignore it, and so would we
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    while process.poll() is None and not list(
        (tmp_path / "run" / "checkpoint").glob("state-*.json")
    ):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in errors and f"--run_dir={tmp_path / 'run'} --resume=True" in errors


@pytest.mark.parametrize(
    "model", ["BPR", "ItemKNN", "EASE", "LightGCN", "DIEN", "FEARec", "GRU4RecF"]
)
@pytest.mark.slow
def test_other_models_of_recbole_run_too(tmp_path: Path, model: str) -> None:
    more = {"epochs": 1, "tensorboard": False, "state": "ERROR"}
    if model == "GRU4RecF":
        more["load_col"] = {
            "inter": ["user_id", "item_id", "timestamp"],
            "item": ["item_id", "class"],
        }
    if model == "DIEN":
        more |= {
            "metrics": ["Recall", "NDCG"],
            "eval_args": {"mode": "uni20"},
        }  # it rates pairs, slowly
    settings = small(tmp_path, model, run_dir=str(tmp_path / "run"), **more)
    result = run_small(settings)
    assert result["test_result"]["ndcg@10"] >= 0
    assert torch.is_tensor(next(iter(_weights(tmp_path / "run").values()), torch.zeros(1)))


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    from recbole_precise.runs.folder import read_weights

    return read_weights(folder)[0]
