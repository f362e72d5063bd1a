"""Run directories as runs leave them, without the runs.

Plans on disk; a small data set with a pattern to learn.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

PROTOCOL = {
    "split": {"LS": "valid_and_test"},
    "mask_history": False,
    "ties": "against the target",
    "candidates": 50,
    "target_scene": None,
}


@pytest.fixture
def leave_run() -> Callable[..., Path]:
    """`leave_run(folder, ranks, model=..., seed=...)` writes result.json and ranks.npz of a run
    with these test ranks.

    `history`: events before each target; without it the run is one of a version that knew no test
        cases.
    """
    from recbole_precise.evaluation.metrics import metrics_from_ranks
    from recbole_precise.evaluation.ranking import Ranks
    from recbole_precise.evaluation.test_cases import TestCases
    from recbole_precise.runs.result import RESULT, write_ranks, write_result

    def leave(
        folder: Path,
        ranks,
        model: str = "SASRec",
        seed: int = 2020,
        users=None,
        targets=None,
        history=None,
        **changes: Any,
    ) -> Path:
        ranks = np.asarray(ranks)
        users = np.arange(1, len(ranks) + 1) if users is None else np.asarray(users)
        targets = 1 + users % 50 if targets is None else np.asarray(targets)
        found = Ranks(users, targets, ranks)
        tokens = {
            "user_id": np.array(["[PAD]", *(f"u{n}" for n in range(1, 400))]),
            "item_id": np.array(["[PAD]", *(f"i{n}" for n in range(1, 400))]),
        }
        folder.mkdir(parents=True, exist_ok=True)
        dataset = SimpleNamespace(uid_field="user_id", iid_field="item_id", field2id_token=tokens)
        write_ranks(
            folder / "ranks.npz",
            {"valid": found, "test": found},
            dataset,
            {"test": None if history is None else np.asarray(history)},
        )
        if history is not None:
            cases = TestCases(
                tokens["user_id"][users], tokens["item_id"][targets], np.asarray(history)
            )
            changes = {"test_cases": cases.digest(), **changes}
        metrics = metrics_from_ranks(ranks, ["Recall", "NDCG", "Hit"], [10])
        head, tail = ranks[: len(ranks) // 2], ranks[len(ranks) // 2 :]
        slices = {
            name: {
                "n": len(part),
                "test": metrics_from_ranks(part, ["Recall", "NDCG", "Hit"], [10]),
            }
            for name, part in (("warm", head), ("cold", tail))
        }
        curve = [
            {
                "epoch": epoch,
                "phase": "train",
                "train_loss": 3.0 - epoch,
                "valid": {"ndcg@10": 0.1 * (epoch + 1)},
                "seconds": 2.0 * (epoch + 1),
            }
            for epoch in range(2)
        ]
        content = {
            "model": model, "dataset": "shop", "recipe": "best", "seed": seed, "protocol": PROTOCOL,
            "valid": metrics, "test": metrics, "slices": slices,
            "phases": [{"name": "train", "epochs": 2, "best_epoch": 1, "seconds": 4.0}],
            "curve": curve,
            "seconds": {"data": 1.0, "encode": 0.0, "train": 4.0, "evaluate": 1.0,
                "total": 6.0 + seed % 3}, "parameters": 1000, "peak_memory_mb": 300.0,
            "environment": {"torch": "2.13.0", "threads": 1, "device": "cpu"}, "text_encoder": None,
        }  # fmt: skip
        write_result(folder / RESULT, {**content, **changes})
        return folder

    return leave


@pytest.fixture
def write_plan(tmp_path: Path) -> Callable[..., Path]:
    """`write_plan(**content)` writes plan.yaml."""

    def write(**content: Any) -> Path:
        file = tmp_path / "plan.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return file

    return write


@pytest.fixture
def ring(write_dataset) -> dict[str, Any]:
    """Settings of a small data set: users walk along a ring of items, with jumps."""
    chance, rows = random.Random(3), []
    for user in range(60):
        item = chance.randrange(40)
        for time in range(chance.randint(4, 14)):
            rows.append((f"u{user}", f"i{item}", 1_000 * time + user))
            item = chance.randrange(40) if chance.random() < 0.2 else (item + 1) % 40
    path = write_dataset("ring", rows, items=[(f"i{i}", f"Item {i}") for i in range(40)])
    return {
        "data_path": str(path), "gpu_id": "", "state": "INFO", "load_col": {"inter": ["user_id",
            "item_id", "timestamp"]}, "MAX_ITEM_LIST_LENGTH": 6,
        "train_batch_size": 100, "eval_batch_size": 32, "valid_metric": "NDCG@10",
        "tensorboard": False,
    }  # fmt: skip


@pytest.fixture
def data_path(write_dataset) -> str:
    """The names of PAD's data sets, with files that are enough to be asked for."""
    rows = [(f"u{u}", f"i{(u + t) % 9}", t) for u in range(5) for t in range(5)]
    folders = {
        write_dataset(name, rows, items=[(f"i{i}", f"Item {i}") for i in range(9)])
        for name in ("prime-pantry", "pad-electronics", "pad-mind")
    }
    return str(folders.pop())
