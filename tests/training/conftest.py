"""A small data set with a pattern to learn, and runs on it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: Settings of the small models in these tests, by model; everything else is the model's default.
SMALL: dict[str, dict[str, Any]] = {
    "SASRec": {"hidden_size": 16, "inner_size": 16, "n_layers": 1, "train_neg_sample_args": None},
    "BERT4Rec": {"hidden_size": 16, "inner_size": 16, "n_layers": 1, "train_neg_sample_args": None},
    "GRU4Rec": {
        "embedding_size": 16,
        "hidden_size": 16,
        "num_layers": 1,
        "loss_type": "BPR",
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
    },
    "PRECISE-ID": {
        "embedding_size": 8,
        "token_size": 8,
        "n_layers": 1,
        "softmax": "sampled",
        "n_negatives": 16,
        "train_batch_size": 20,
        "window_shift": True,
    },
    "PRECISE": {
        "variant": "id",
        "embedding_size": 8,
        "token_size": 8,
        "n_layers": 1,
        "softmax": "sampled",
        "n_negatives": 16,
        "train_batch_size": 20,
        "targeted_epochs": 2,
        "targeted_batch_size": 100,
        "targeted_negatives": 4,
    },
}
SMALL["PRECISE-TT"] = SMALL["PRECISE"]
SMALL["PRECISE-UT"] = {
    key: value for key, value in SMALL["PRECISE"].items() if not key.startswith("targeted")
}


def events(users: int = 60, items: int = 40, seed: int = 3) -> list[tuple[str, str, int]]:
    """Users walk along a ring of items, with jumps."""
    chance = random.Random(seed)
    rows = []
    for user in range(users):
        item = chance.randrange(items)
        for time in range(chance.randint(4, 14)):
            rows.append((f"u{user}", f"i{item}", 1_000 * time + user))
            item = chance.randrange(items) if chance.random() < 0.2 else (item + 1) % items
    return rows


@pytest.fixture
def settings(write_dataset, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`settings(model, **more)`: settings of a run of a small model on the data set `ring`."""
    data_path = write_dataset("ring", events(), items=[(f"i{i}", f"Item {i}") for i in range(40)])

    def build(model: str, **more: Any) -> dict[str, Any]:
        return {
            "model": model, "dataset": "ring", "data_path": str(data_path), "gpu_id": "",
            "show_progress": False, "state": "ERROR",
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "MAX_ITEM_LIST_LENGTH": 6,
            "epochs": 3, "train_batch_size": 100,
            "eval_batch_size": 32, "checkpoint_dir": str(tmp_path / "saved"),
            "valid_metric": "NDCG@10", "tensorboard": False,
            **SMALL.get(model, {}), **more,
        }  # fmt: skip

    return build
