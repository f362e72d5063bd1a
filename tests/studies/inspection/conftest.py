"""Small finished runs of PAD and of what it is compared with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from inspected_data import LENGTH, write_data


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """A folder with the finished runs SE-BCE, SE-BCE-Tune, SE-BCE-Align-Tune, TE-BCE-Align-Tune,
    by-user, aligned-alone (phase 2), SASRec and other-items.
    """
    from command_lines import command_line

    from recbole_precise import run_recbole

    folder = tmp_path_factory.mktemp("inspected")
    write_data(folder / "data" / "ring")
    write_data(folder / "more" / "ring", items=44)
    shared = {
        "gpu_id": "", "show_progress": False, "state": "ERROR", "tensorboard": False,
        "MAX_ITEM_LIST_LENGTH": LENGTH, "epochs": 2, "eval_batch_size": 32, "train_batch_size": 30,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
        "item_text": "{title}", "text_cache_dir": str(folder / "cache"),
        "data_path": str(folder / "data"),
        "valid_metric": "NDCG@10",
    }  # fmt: skip
    pad = {
        "embedding_size": 8,
        "n_layers": 1,
        "learning_rate": 0.02,
        "align_learning_rate": 0.02,
        "finetune_learning_rate": 0.02,
        "loss": "bce",
    }
    later = {**pad, "warm_start": str(folder / "SE-BCE")}
    plan = {
        "SE-BCE": ("PAD", {**pad, "experts": ["id"], "phases": ["pretrain"]}),
        "SE-BCE-Tune": ("PAD", {**later, "experts": ["id"], "phases": ["finetune"]}),
        "SE-BCE-Align-Tune": (
            "PAD",
            {**later, "experts": ["aligned"], "phases": ["align", "finetune"]},
        ),
        "TE-BCE-Align-Tune": ("PAD", {**later, "phases": ["align", "finetune"]}),
        "by-user": ("PAD", {**later, "phases": ["finetune"], "gate": "expert_output", "epochs": 1}),
        "aligned-alone": ("PAD", {**later, "phases": ["align"], "epochs": 1}),
        "SASRec": (
            "SASRec",
            {
                "hidden_size": 8,
                "inner_size": 16,
                "n_layers": 1,
                "train_neg_sample_args": None,
                "epochs": 1,
            },
        ),
        "other-items": (
            "PAD",
            {
                **pad,
                "experts": ["id"],
                "phases": ["pretrain"],
                "epochs": 1,
                "data_path": str(folder / "more"),
            },
        ),
    }
    argv, sys.argv = sys.argv, ["test"]
    try:
        for name, (model, settings) in plan.items():
            with command_line([]):
                run_recbole(
                    model=model,
                    dataset="ring",
                    config_dict={**shared, **settings, "run_dir": str(folder / name)},
                )
    finally:
        sys.argv = argv
    return folder
