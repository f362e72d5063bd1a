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
}
READS_TITLES = ("FDSA", "GRU4RecF", "SASRecF", "S3Rec")
READS_ENTITIES = ("GRU4RecKG",)
#: Models that RecBole gives a data set of its own, which knows no masked history and no held-out items.
OWN_DATASET = ("DIEN", "GRU4RecKG", "KSR")
#: Models whose `predict` RecBole has switched off, so that they rate no sampled candidates.
RATES_NO_PAIRS = ("GRU4RecCPR", "SASRecCPR")
#: Ways of evaluating that need `predict`.
BY_PAIRS = ("uniform", "popular", "labeled")
#: Models that cannot be run here, and why.
BROKEN = {"KSR": "RecBole reads its relations as float64 and multiplies them with float32 weights"}
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


def possible(model: str, way: str) -> bool:
    """Whether a model of RecBole can be evaluated in a way at all."""
    if way in BY_PAIRS:
        return model not in RATES_NO_PAIRS
    return way not in ("masked", "held_out") or model not in OWN_DATASET


def sparing(names: list[str], often: Sequence[str]) -> list[Any]:
    """Parameters of a test; those that are not tested often are slow."""
    return [pytest.param(name, marks=marks_of(name, name in often)) for name in names]


def marks_of(model: str, often: bool) -> list[pytest.MarkDecorator]:
    """What pytest is to know of a test of a model."""
    marks = [] if often else [pytest.mark.slow]
    if model in BROKEN:
        marks.append(pytest.mark.skip(reason=BROKEN[model]))
    return marks


def needs_of(model: str, folder: Path) -> dict[str, Any]:
    """Settings that a model of RecBole needs on the data set `ring` in `folder`, and the files that it reads there."""
    own = dict(THEIR_OWN.get(model, {}))
    if model in READS_TITLES:
        own["load_col"] = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title"]}
        if model != "S3Rec":  # which names one attribute instead
            own["selected_features"] = ["title"]
    if model in READS_ENTITIES:
        own |= write_entities(folder)
    return own


def write_ratings(folder: Path) -> dict[str, Any]:
    """The data set `ring` in `folder` with a rating of each event, as data set `rated`, and the settings that label them."""
    rated = folder.with_name("rated")
    rated.mkdir(exist_ok=True)
    header, *events = (folder / "ring.inter").read_text().splitlines()
    rows = [f"{event}\t{number * 7 % 5 + 1}" for number, event in enumerate(events)]
    (rated / "rated.inter").write_text("\n".join([f"{header}\trating:float", *rows]) + "\n")
    for file in folder.glob("ring.*"):
        if file.suffix != ".inter":
            (rated / f"rated{file.suffix}").write_text(file.read_text())
    columns = ["user_id", "item_id", "timestamp", "rating"]
    return {"dataset": "rated", "load_col": {"inter": columns}, "threshold": {"rating": 3}}


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
