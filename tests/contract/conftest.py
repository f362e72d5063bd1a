"""A small data set with everything that the contract looks at, and settings that keep a model small
on it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import needs_of

#: Of these a model takes those that it knows.
SMALL = {
    "embedding_size": 8, "token_size": 8, "hidden_size": 16, "inner_size": 16, "n_layers": 1,
    "num_layers": 1, "n_heads": 2, "n_negatives": 8, "targeted_epochs": 1,
    "targeted_negatives": 4, "targeted_batch_size": 64, "query_size": 4, "value_size": 4, "nh": 2,
    "nv": 2, "tuned_layers": 1,
    # a batch in which RecBole's BERT4Rec happens to mask nothing has a loss of NaN
    "mask_ratio": 0.6,
}  # fmt: skip
ITEMS, NEVER, NO_TEXT = 30, 2, 7


@pytest.fixture(scope="session")
def contract_settings(tmp_path_factory: pytest.TempPathFactory, bert: Path):
    """`contract_settings(model)`: settings of a short run on the data set `ring`: items without
    events, and one without text.
    """
    folder = tmp_path_factory.mktemp("contract")
    chance, events = random.Random(5), ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(40):
        item, time = chance.randrange(ITEMS), 1_500_000_000 + chance.randrange(10**6)
        for _ in range(chance.randint(4, 12)):
            events.append(f"u{user}\ti{item}\t{time}")
            item = chance.randrange(ITEMS) if chance.random() < 0.2 else (item + 1) % ITEMS
            time += chance.choice([1, 60, 4_000, 90_000, 3_000_000])
    words = ["salt", "sugar", "tea", "rice", "beans", "oil", "soap"]
    titles = [
        f"i{i}\t{'' if i == NO_TEXT else f'{words[i % 7]} pack {i}'}" for i in range(ITEMS + NEVER)
    ]
    (folder / "dataset" / "ring").mkdir(parents=True)
    (folder / "dataset" / "ring" / "ring.inter").write_text("\n".join(events) + "\n")
    (folder / "dataset" / "ring" / "ring.item").write_text(
        "\n".join(["item_id:token\ttitle:token_seq", *titles]) + "\n"
    )

    def build(model: str) -> dict[str, Any]:
        from recbole_precise import registry
        from recbole_precise.plugin.checks.known_keys import keys_of_model

        entry = registry.resolve(model)
        known = keys_of_model(entry, entry.load())
        encoder = (
            {"text_encoder": str(bert)} if "language_rate" in known else {}
        )  # that of a model that trains it is tiny
        return {
            "data_path": str(folder / "dataset"), "load_col": {"inter": ["user_id", "item_id",
                "timestamp"], "item": ["item_id"]}, "item_text": "{title}",
            "MAX_ITEM_LIST_LENGTH": 6, "epochs": 2, "train_batch_size": 48, "eval_batch_size": 64,
            "checkpoint_dir": str(Path(folder, "saved")),
            "text_cache_dir": str(folder / "cache"), **encoder, **{key: value for key,
                value in SMALL.items() if key in known},
        }  # fmt: skip

    return build


@pytest.fixture
def small_settings(contract_settings, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`small_settings(model, **more)`: of a short run of any sequential model, quiet and on the
    CPU.
    """

    def build(model: str, **more: Any) -> dict[str, Any]:
        own = contract_settings(model)
        quiet = {"gpu_id": "", "show_progress": False, "tensorboard": False, "state": "ERROR"}
        needs = needs_of(model, Path(own["data_path"]) / "ring")
        return {**own, **needs, **quiet, "checkpoint_dir": str(tmp_path / "saved"), **more}

    return build
