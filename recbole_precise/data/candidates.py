"""What `eval_args: mode` and sampled negatives need of settings and data.

Checked before RecBole's loaders are made.

RecBole fails on these with a stack trace, or draws for ever an item that there is not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recbole_precise.errors import ConfigError, DataError

logger = logging.getLogger("recbole_precise")

_DRAWN = re.compile(r"(?:uni|pop)(\d+)")


def check_labelled(config: Any, ranking: Sequence[str]) -> None:
    """Refuse metrics of rankings where events are rated by their labels, which ranks nothing.

    Args:
        ranking: those of the metrics asked for that are computed from a ranking.

    Raises:
        ConfigError: naming metrics and modes.
    """
    phases = [phase for phase, mode in config["eval_args"]["mode"].items() if mode == "labeled"]
    if phases and ranking:
        raise ConfigError(
            f"eval_args: mode labeled ({' and '.join(phases)}) rates each event by its label and "
            "ranks no candidates, so that "
            f"{', '.join(ranking)} cannot be computed: set metrics and valid_metric to AUC, "
            "LogLoss, MAE or RMSE, or mode to full."
        )


def check_labels(config: Any, built: Sequence[Any]) -> None:
    """Refuse mode labeled over data without labels.

    Raises:
        ConfigError: saying how labels are made.
    """
    label = built[0].label_field
    if "labeled" in config["eval_args"]["mode"].values() and label not in built[0].field2type:
        raise ConfigError(
            f"eval_args: mode labeled needs the column '{label}' (LABEL_FIELD) in .inter: load "
            "it (load_col), or set threshold, such "
            "as {rating: 4}, to make it of another column."
        )


def check_cuts(config: Any, dataset: Any) -> None:
    """Refuse lists that are longer than the catalogue, which RecBole's evaluator cannot cut.

    Raises:
        ConfigError: naming the longest and the number of items.
    """
    cuts = [config["topk"]] if isinstance(config["topk"], int) else list(config["topk"] or [])
    if config["evaluator"] == "recbole" and cuts and max(cuts) > dataset.item_num:
        raise ConfigError(
            f"topk: {max(cuts)} is more than the {dataset.item_num - 1:,} items of "
            f"{config['dataset']}; take a smaller cut."
        )


def check_candidates(config: Any, dataset: Any, built: Sequence[Any]) -> None:
    """Refuse sampling where a user has no item left to be drawn.

    Warn where drawn candidates must repeat.

    Args:
        dataset: the data set whose items RecBole draws by their popularity.
        built: its parts.

    Raises:
        DataError: naming the number of items.
    """
    phases = {
        phase: config[f"{phase}_neg_sample_args"]["distribution"]
        for phase in ("train", "valid", "test")
    }
    drawn = set(phases.values()) - {"none"}
    if not drawn:
        return
    field = dataset.iid_field
    everything = dataset.item_num - 1
    popular = (
        _distinct([dataset] if config["repeatable"] else built, field)
        if "popularity" in drawn
        else everything
    )
    count = min(popular if name == "popularity" else everything for name in drawn)
    used = 1 if config["repeatable"] else _most_used(built, field)
    if used >= count:
        whose = (
            "of every row is the one"
            if config["repeatable"]
            else f"of a user with {used:,} items are all"
        )
        raise DataError(
            f"{dataset.dataset_path}: no item is left to be drawn as a negative or a candidate: "
            f"there are {count:,} to draw from, and "
            f"those {whose}. Use mode: full, or leave such users out (user_inter_num_interval)."
        )
    for phase, mode in config["eval_args"]["mode"].items():
        asked = _DRAWN.fullmatch(str(mode))
        if asked and int(asked[1]) > count - 1:
            logger.warning(
                "eval_args: mode %s (%s) draws with replacement %s candidates a row from %s "
                "items, so that some stand in it several "
                "times; take fewer, or mode: full.",
                mode, phase, asked[1], f"{count - 1:,}",
            )  # fmt: skip


def _distinct(parts: Sequence[Any], field: str) -> int:
    """How many items the events of some parts have."""
    return len(np.unique(np.concatenate([np.asarray(part.inter_feat[field]) for part in parts])))


def _most_used(parts: Sequence[Any], field: str) -> int:
    """Return the most distinct items that a user has in all parts together."""
    users = np.concatenate([np.asarray(part.inter_feat[part.uid_field]) for part in parts])
    items = np.concatenate([np.asarray(part.inter_feat[field]) for part in parts])
    pairs = np.unique(np.stack([users, items], 1), axis=0)
    return int(np.bincount(pairs[:, 0]).max(initial=0))


def value_metrics(
    metrics: Sequence[str] | str, kinds: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """(metrics of rankings, metrics of values) among those asked for.

    `kinds`: RecBole's `metric_types`.
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    values = [name for name in names if kinds[name.lower()].name == "VALUE"]
    return [name for name in names if name not in values], values
