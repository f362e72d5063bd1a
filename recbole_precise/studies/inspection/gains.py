"""Test where one model gains on another.

These are paired differences by how often the target was trained (PAD, Fig. 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.errors import ConfigError, DataError, did_you_mean
from recbole_precise.evaluation.slices import item_slices
from recbole_precise.finished import load_data
from recbole_precise.studies.benchmark.cells import without_digest
from recbole_precise.studies.benchmark.pairing import (
    Runs,
    check_comparable,
    compare_runs,
    corrected,
    find_runs,
    read_runs,
)
from recbole_precise.studies.benchmark.summary import p_text
from recbole_precise.studies.figures import look, new_figure
from recbole_precise.studies.inspection.runs import SPLITS, labels

#: Kinds of slices that follow from the target item alone.
KINDS = ("frequency", "buckets", "popularity")


def summarise(
    sides: Sequence[str], *, metric: str = "ndcg@10", slices: Sequence[str] = ("frequency",
        "buckets"), confidence: float = 0.95, resamples: int = 9999,
    split: str = "test", seed: int = 0, changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Run paired tests of the first side against the second in every slice, and over all.

    The p-values are corrected for all slices.

    Args:
        sides: two run directories or patterns, several seeds each (`compare`). slices: of `KINDS`.
        resamples, confidence, seed: of the bootstrap and the sign flips.

    The training events are counted in the data set of the first side's first run.
    """
    for kind in slices:
        if kind not in KINDS:
            raise ConfigError(
                f"--slices: there is no kind '{kind}'.{did_you_mean(kind, KINDS)} Gains are told "
                f"by {', '.join(KINDS)}."
            )
    a, b = (read_runs(find_runs(side), split) for side in sides)
    check_comparable(a, b)
    changes = {"show_progress": False, **(changes or {})}
    _, dataset, train, *_ = load_data(a.folders[0], changes, command_line=[])
    if not hasattr(train._dataset, "train_item_counts"):
        raise ConfigError(
            f"'{a.folders[0]}' was read with RecBole's {type(train._dataset).__name__}, which "
            "knows no training frequencies; put a run of a sequential model first."
        )
    ids = {
        str(token): number for number, token in enumerate(dataset.field2id_token[dataset.iid_field])
    }
    counts = train._dataset.train_item_counts().numpy()
    chosen = {"all": np.arange(len(counts)) > 0, **item_slices(counts, slices)}
    targets = [
        [
            _ids_of(ranks.target, ids, folder)
            for ranks, folder in zip(side.ranks, side.folders, strict=True)
        ]
        for side in (a, b)
    ]
    by_slice: dict[str, dict[str, Any]] = {}
    for name, items in chosen.items():
        of_a, of_b = (
            replace(
                side,
                ranks=tuple(
                    ranks.select(items[own]) for ranks, own in zip(side.ranks, of_side, strict=True)
                ),
            )
            for side, of_side in zip((a, b), targets, strict=True)
        )
        by_slice[name] = {
            "items": int(items.sum()),
            "cases": len(of_a.ranks[0]),
            **_test(of_a, of_b, metric, confidence, resamples, seed),
        }
    adjusted = corrected(
        {(name, metric): row["p_value"] for name, row in by_slice.items() if "p_value" in row}
    )
    for (name, _), p in adjusted.items():
        by_slice[name]["p_holm"] = p
    names = [side.model for side in (a, b)] if a.model != b.model else _names(a.folders, b.folders)
    about = {
        key: {
            "name": name,
            "model": side.model,
            "seeds": side.seeds,
            "folders": [str(folder) for folder in side.folders],
        }
        for key, name, side in zip("ab", names, (a, b), strict=True)
    }
    return {
        "kind": "gains", "dataset": a.results[0]["dataset"], "split": split, "metric": metric,
        "confidence": confidence, "resamples": resamples, "seed": seed, **about,
        "slices": by_slice,
    }  # fmt: skip


def _names(a: Sequence[Path], b: Sequence[Path]) -> list[str]:
    """Return names of two sides of one model: of the folders that hold their seeds.

    They are without a benchmark's digest where they differ without it.
    """
    names = labels(
        [
            side[0].parent
            if len(side) > 1 and len({folder.parent for folder in side}) == 1
            else side[0]
            for side in (a, b)
        ]
    )
    short = [without_digest(name) for name in names]
    return short if short[0] != short[1] else names


def _ids_of(tokens: np.ndarray, ids: Mapping[str, int], folder: Path) -> np.ndarray:
    try:
        return np.array([ids[str(token)] for token in tokens], dtype=np.int64)
    except KeyError as error:
        raise DataError(
            f"'{folder}' ranked the item {error}, which the data set at hand does not have: its "
            "files have changed since the run."
        ) from None


def _test(
    a: Runs, b: Runs, metric: str, confidence: float, resamples: int, seed: int
) -> dict[str, Any]:
    """Return the paired test of a slice, an empty one for a slice without cases."""
    if not len(a.ranks[0]):
        return {}
    found = compare_runs(a, b, [metric], confidence=confidence, n_resamples=resamples, seed=seed)[
        metric
    ]
    gain = found.difference / found.mean_b if found.mean_b else None
    return {**found.to_dict(), "gain": gain}


def table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a slice a row."""
    rows = []
    for name, row in summary["slices"].items():
        cells = [name, f"{row['items']:,}", f"{row['cases']:,}"]
        if "difference" in row:
            gain = "-" if row["gain"] is None else f"{100 * row['gain']:+.1f}%"
            interval = f"{row['low']:+.4f} to {row['high']:+.4f}"
            cells += [
                f"{row['mean_a']:.4f}",
                f"{row['mean_b']:.4f}",
                f"{row['difference']:+.4f}",
                interval,
                gain,
                p_text(row["p_value"]),
                p_text(row["p_holm"]),
            ]
        else:
            cells += ["-"] * 7
        rows.append(cells)
    return [
        "target",
        "items",
        "cases",
        "A",
        "B",
        "A - B",
        f"{100 * summary['confidence']:g}% interval",
        "gain",
        "p",
        "p (Holm)",
    ], rows


def notes(summary: Mapping[str, Any]) -> list[str]:
    """Say what was compared, in sentences."""
    sides = []
    for key in "ab":
        side = summary[key]
        more = f" and {len(side['folders']) - 1} more" if len(side["folders"]) > 1 else ""
        sides.append(
            f"{key.upper()}: {side['model']}, seed{'s' if more else ''} "
            f"{', '.join(map(str, side['seeds']))}: {side['folders'][0]}{more}"
        )
    return [
        f"{summary['dataset']}, {SPLITS[summary['split']]} split, {summary['metric']}.",
        *sides,
        "Slices by training events of the target: warm over 50, median 7 to 50, cold 1 to 6, "
        "unseen none; frequency_bucket_01 holds the most frequent items, all ten the same "
        "share of training events. The whole catalogue is ranked in every slice.",
        f"Interval: bootstrap over users and each side's seeds ({summary['resamples']:,} "
        f"resamples, seed {summary['seed']}); p: sign flips of whole users; "
        "p (Holm): corrected for all rows above. Gain: A - B over B.",
    ]


def draw(summary: Mapping[str, Any]) -> Any:
    """Draw the difference in every slice with its interval, and the gain in words."""
    panels_of: dict[str, list[str]] = {}
    for name in summary["slices"]:
        kind = (
            "ten frequency buckets (1: most frequent)"
            if name.startswith("frequency_bucket_")
            else "training events of the target"
        )
        panels_of.setdefault(kind, []).append(name)
    with look():
        figure = new_figure(1.4 + 0.62 * sum(map(len, panels_of.values())), 3.8)
        panels = figure.subplots(
            1,
            len(panels_of),
            squeeze=False,
            sharey=True,
            width_ratios=[len(names) for names in panels_of.values()],
        )[0]
        for panel, (kind, names) in zip(panels, panels_of.items(), strict=True):
            for place, name in enumerate(names):
                row = summary["slices"][name]
                if "difference" not in row:
                    continue
                panel.errorbar(
                    place,
                    row["difference"],
                    yerr=[[row["difference"] - row["low"]], [row["high"] - row["difference"]]],
                    fmt="o",
                    markersize=5,
                    capsize=3,
                    color="#0072B2",
                )
                if row["gain"] is not None:
                    panel.annotate(
                        f"{100 * row['gain']:+.0f}%",
                        (place, row["high"]),
                        xytext=(0, 3),
                        textcoords="offset points",
                        ha="center",
                        fontsize=7,
                    )
            panel.axhline(0, color="#8a8a8a", linewidth=0.8)
            shown = [name.removeprefix("frequency_bucket_").lstrip("0") for name in names]
            panel.set_xticks(
                range(len(names)),
                [
                    f"{name}\n{summary['slices'][full]['cases']:,}"
                    for name, full in zip(shown, names, strict=True)
                ],
                fontsize=8,
            )
            panel.set_xlim(-0.6, len(names) - 0.4)
            panel.margins(y=0.15)
            panel.set_xlabel(f"{kind}, {SPLITS[summary['split']]} cases", fontsize=8)
            panel.grid(axis="y", alpha=0.3)
        a, b = (summary[key]["name"] for key in "ab")
        panels[0].set_ylabel(f"difference of {summary['metric'].replace('ndcg', 'nDCG')}")
        figure.suptitle(
            f"{summary['dataset']}: gain of {a} over {b}, {100 * summary['confidence']:g}% "
            f"intervals over users and {_seeds(summary)}",
            fontsize=9,
            x=0.01,
            ha="left",
        )
    return figure


def _seeds(summary: Mapping[str, Any]) -> str:
    numbers = [len(summary[key]["seeds"]) for key in "ab"]
    words = [f"{number} seed{'s' if number > 1 else ''}" for number in numbers]
    return f"{words[0]} each" if numbers[0] == numbers[1] else " and ".join(words)
