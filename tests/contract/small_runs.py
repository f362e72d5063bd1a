"""Settings of short runs of every sequential model, RecBole's with what each of them needs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recbole_precise import registry

ITEMS = 32  # of the data set `ring`
#: What RecBole's models need on a data set as small as this one, or read beside the events.
THEIR_OWN: dict[str, dict[str, Any]] = {
    "FEARec": {"n_layers": 2},  # it divides by one less
    "GRU4RecCPR": {"reranker_CAN_NUM": "10"},
    "SASRecCPR": {"reranker_CAN_NUM": "10"},
    "S3Rec": {"item_attribute": "title", "pretrain_epochs": 1, "save_step": 1},
    "DIN": {"embedding_size": 4, "mlp_hidden_size": [8]},
    "DIEN": {"embedding_size": 4, "mlp_hidden_size": [8]},
    "KSR": {"kg_embedding_size": 8},
}
READS_TITLES = ("FDSA", "GRU4RecF", "SASRecF", "S3Rec")
READS_ENTITIES = ("GRU4RecKG", "KSR")
EVERY_MODEL = [entry.name for entry in registry.ENTRIES] + registry.sequential_names()
FULL = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}
#: Evaluations by RecBole's evaluator.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "recbole": {"metrics": ["Recall", "NDCG", "GAUC"]},
    "uniform": {"eval_args": {**FULL, "mode": "uni5"}},
    "popular": {"eval_args": {**FULL, "mode": {"valid": "full", "test": "pop5"}}},
}


def under(protocol: str) -> dict[str, Any]:
    """Settings of an evaluation by RecBole's evaluator."""
    shared = {"evaluator": "recbole", "metrics": ["Recall", "NDCG"], "topk": [3, 10]}
    valid = {"valid_metric": "NDCG@10", "metric_decimal_place": 12}
    return {**shared, **valid, **PROTOCOLS[protocol]}


def sparing(names: list[str], often: Sequence[str]) -> list[Any]:
    """Parameters of a test; those that are not tested often are slow."""
    return [name if name in often else pytest.param(name, marks=pytest.mark.slow) for name in names]


def needs_of(model: str, folder: Path) -> dict[str, Any]:
    """Settings that a model of RecBole needs on the data set `ring` in `folder`, and the files that it reads there."""
    own = dict(THEIR_OWN.get(model, {}))
    if model in READS_TITLES:
        own["load_col"] = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title"]}
        own["selected_features"] = ["title"]
    if model in READS_ENTITIES:
        own |= write_entities(folder)
    return own


def write_entities(folder: Path) -> dict[str, Any]:
    """Vectors of entities and relations beside the data set, and the settings that have them read."""
    chance = random.Random(1)

    def vector() -> str:
        return " ".join(f"{chance.uniform(-1, 1):.3f}" for _ in range(8))

    tables = {
        "ent": ("ent_id:token\tent_emb:float_seq", [f"e{i}\t{vector()}" for i in range(ITEMS)]),
        "rel": ("rel_id:token\trel_emb:float_seq", [f"r{i}\t{vector()}" for i in range(3)]),
        "link": ("item_id:token\tentity_id:token", [f"i{i}\te{i}" for i in range(ITEMS)]),
        "kg": (
            "head_id:token\trelation_id:token\ttail_id:token",
            [f"e{i}\tr{i % 3}\te{(i + 1) % ITEMS}" for i in range(ITEMS)],
        ),
    }
    for suffix, (header, rows) in tables.items():
        (folder / f"ring.{suffix}").write_text("\n".join([header, *rows]) + "\n")
    return {
        "additional_feat_suffix": ["ent", "rel"],
        "load_col": {
            "inter": ["user_id", "item_id", "timestamp"],
            "kg": ["head_id", "relation_id", "tail_id"],
            "link": ["item_id", "entity_id"],
            "ent": ["ent_id", "ent_emb"],
            "rel": ["rel_id", "rel_emb"],
        },
        "alias_of_entity_id": ["ent_id"],
        "alias_of_relation_id": ["rel_id"],
        "preload_weight": {"ent_id": "ent_emb", "rel_id": "rel_emb"},
    }
