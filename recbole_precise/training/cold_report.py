"""Report how a trained model ranks held-out items (docs/cold-items.md).

The ranking is beside chance and what texts alone give.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_precise.errors import ConfigError, TextError
from recbole_precise.evaluation.blocks import block_rows
from recbole_precise.evaluation.cold import (
    ColdCases,
    ColdRanks,
    TextLikeness,
    cold_cases,
    cold_table,
    compare_cold,
    rank_cold,
)
from recbole_precise.evaluation.draws import own_draws, seed_block
from recbole_precise.runs.checkpoint import write_atomically

METRICS = ("recall@10", "ndcg@10")
FLOORS = {"TextLast": False, "TextMean": True}
_BATCH = 512


@dataclass(frozen=True)
class ColdSettings:
    """What the report on held-out items is set to.

    Attributes:
        model: name of the model in the report.
        longest: events of a history that the model reads.
        mask_history: leave earlier items out of the ranking.
        seed: what the model draws follows from it.
        device: where the model is.
    """

    model: str
    longest: int
    mask_history: bool
    seed: int
    device: torch.device


def cold_ranks(
    model: Any, train_set: Any, test_set: Any, settings: ColdSettings
) -> dict[str, dict[str, ColdRanks]]:
    """Rank the held-out items: protocol -> name -> ranks.

    The names are the model's, TextLast and TextMean.

    Protocols: `events`, every user's first event on each held-out item, with the kept items before
        it as history; `test`, the
    test rows whose target is held out, with RecBole's histories, in which held-out items may be.
    """
    store = test_set.store
    field = test_set.iid_field
    held = train_set.held_out.numpy()
    length = settings.longest
    arrays = store.fields[field].numpy(), store.offsets.numpy(), store.user_ids.numpy()
    cases = {
        "events": cold_cases(*arrays, held, length),
        "test": _test_cases(test_set, held, length),
    }
    found: dict[str, dict[str, ColdRanks]] = {}
    masked = settings.mask_history
    for protocol, some in cases.items():
        if not len(some):
            continue
        rows = block_rows(None if hasattr(model, "user_vectors") else int(model.n_items))
        scorer = _scorer(model, some, test_set, settings, rows)
        with own_draws():
            found[protocol] = {settings.model: rank_cold(some, held, scorer, rows, masked)}
        for name, floor in _text_floors(train_set).items():
            found[protocol][name] = rank_cold(
                some, held, _floor_scorer(floor, some, arrays[0]), _BATCH, masked
            )
    return found


def cold_report(
    found: dict[str, dict[str, ColdRanks]], held_out: int, *, n_resamples: int = 2000
) -> dict[str, Any]:
    """Return what result.json holds of `cold_ranks`.

    For each protocol there are the metrics with intervals, and the model against chance and the
    text floors.
    """
    report: dict[str, Any] = {"held_out_items": held_out}
    for protocol, ranks in found.items():
        _name, own = next(iter(ranks.items()))
        against = {"chance": None, **{floor: ranks[floor] for floor in FLOORS if floor in ranks}}
        report[protocol] = {
            "cases": len(own.target),
            "users": len(np.unique(own.user)),
            "candidates": float(own.candidates.mean()),
            "metrics": cold_table(ranks, METRICS, n_resamples=n_resamples),
            "model_against": {
                floor: {m: compare_cold(own, other, m, n_resamples=n_resamples) for m in METRICS}
                for floor, other in against.items()
            },
        }
    return report


def write_cold_ranks(path: Path, found: dict[str, dict[str, ColdRanks]], dataset: Any) -> None:
    """Write the ranks as arrays of one file, with users and items as tokens.

    The arrays are `<protocol>/<name>/ahead`, `tied` and `candidates`, and `<protocol>/user` and
    `item`.
    """
    users, items = (
        np.asarray(dataset.field2id_token[field], dtype=str)
        for field in (dataset.uid_field, dataset.iid_field)
    )
    arrays: dict[str, Any] = {}
    for protocol, ranks in found.items():
        for name, own in ranks.items():
            arrays |= {f"{protocol}/user": users[own.user], f"{protocol}/item": items[own.target]}
            arrays |= {
                f"{protocol}/{name}/{part}": getattr(own, part)
                for part in ("ahead", "tied", "candidates")
            }

    def write(partial: Path) -> None:
        with Path(partial).open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_atomically(path, write, "the cold ranks")


def read_cold_ranks(path: str | os.PathLike, protocol: str, name: str) -> ColdRanks:
    """Read the ranks of a name under a protocol, by token, from a cold.npz."""
    with np.load(path, allow_pickle=False) as arrays:
        parts = (arrays[f"{protocol}/{name}/{part}"] for part in ("ahead", "tied", "candidates"))
        return ColdRanks(arrays[f"{protocol}/user"], arrays[f"{protocol}/item"], *parts)


def _test_cases(test_set: Any, held: np.ndarray, length: int) -> ColdCases:
    """Return the test rows with a held-out target, with RecBole's histories."""
    store = test_set.store
    field = test_set.iid_field
    end = test_set.inter_feat.interaction.end
    target = store.fields[field][end].numpy()
    rows = np.flatnonzero(held[target])
    end = end[torch.from_numpy(rows)]
    size = store.history_length(end, length).numpy()
    step = np.arange(length)
    history = np.where(step < size[:, None], (end.numpy() - size)[:, None] + step, -1)
    row, item = (part.numpy() for part in store.history(end, field))
    return ColdCases(
        store.users_of(end).numpy(), target[rows], history, (row[held[item]], item[held[item]])
    )


def batch_of(
    dataset: Any, history: np.ndarray, user: np.ndarray, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return what a sequential model reads of histories, by RecBole's field names.

    Args:
        history: int64 `[batch, length]`, events of the dataset's store, padded on the right with
            -1. user: int64 `[batch]`.
    """
    names = dataset.inter_feat.interaction.names
    event = torch.from_numpy(np.maximum(history, 0))
    real = torch.from_numpy(history >= 0)
    batch = {names.user: torch.from_numpy(user), names.length: real.sum(1)}
    for name, source in names.lists.items():
        values = dataset.store.fields[source][event]
        batch[name] = values.masked_fill(
            ~real.reshape(real.shape + (1,) * (values.dim() - real.dim())), 0
        )
    return {name: value.to(device) for name, value in batch.items()}


def _scorer(
    model: Any, cases: ColdCases, dataset: Any, settings: ColdSettings, block: int
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Scores of at most `block` cases for candidates; the model always gets `block` rows."""
    device = settings.device
    model.eval()

    @torch.no_grad()
    def score(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        seed_block(settings.seed, int(rows[0]) // block)
        return whole_block(np.resize(rows, block), candidates)[: len(rows)]

    def whole_block(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        batch = batch_of(dataset, cases.history[rows], cases.user[rows], device)
        some = torch.from_numpy(candidates).to(device)
        if not hasattr(model, "user_vectors"):
            return (
                model.full_sort_predict(batch).view(len(rows), -1)[:, some].double().cpu().numpy()
            )
        scores = (model.user_vectors(batch) @ model.item_vectors()[some].t()).double().cpu().numpy()
        bonus = model.pair_bonus(batch)
        if bonus is not None:
            row, item, value = (part.cpu().numpy() for part in bonus)
            place = np.full(int(model.n_items), -1)
            place[candidates] = np.arange(len(candidates))
            hit = place[item] >= 0
            scores[row[hit], place[item[hit]]] += value[hit]
        return scores

    return score


def _floor_scorer(
    floor: TextLikeness, cases: ColdCases, items: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def score(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        history = cases.history[rows]
        ids = np.where(history >= 0, items[np.maximum(history, 0)], 0)
        return floor.scores(ids, cases.lengths[rows], candidates)

    return score


def _text_floors(dataset: Any) -> dict[str, TextLikeness]:
    """None where the data set has no texts."""
    try:
        vectors = dataset.token_states().pooled()
    except (TextError, ConfigError):
        return {}
    return {name: TextLikeness(vectors, whole) for name, whole in FLOORS.items()}
