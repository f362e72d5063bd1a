"""Measure how far trainings have moved item spaces.

It is Kendall's tau by frequency bucket, runs side by side (PAD Sec. 4.3 and 4.6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.evaluation.discrepancy import pair_distances, tau_by_bucket
from recbole_precise.studies.benchmark.plots import COLOURS, DASHES, MARKERS
from recbole_precise.studies.figures import look, new_figure
from recbole_precise.studies.inspection.runs import NO_VECTOR, SPLITS, choose, pairs_of, read_spaces

BUCKETS = 10


def summarise(
    folders: Sequence[Path], *, reference: str = "id", spaces: Sequence[str] | None = None,
    pairs: int = 200_000, negatives: int = 0, distance: str = "cosine",
    trained_only: bool = False, split: str = "valid", seed: int = 0, changes: Mapping[str,
        Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Compute tau-b between the distances of pairs in the reference and every other space.

    The pairs are the same in both, and grouped by the bucket of their targets.

    Args:
        pairs: at most so many a bucket. The others: see `item_pairs`, `pairs_of` and `choose`.
    """
    runs, rows = read_spaces(folders, split, changes or {})
    home, lines = choose(runs, reference, spaces)
    assert home is not None, "there is a reference"
    vectors = [home.spaces[reference], *(run.spaces[name] for run, name in lines)]
    found, left_out = pairs_of(
        rows, vectors, per_bucket=pairs, negatives=negatives, trained_only=trained_only, seed=seed
    )
    before = pair_distances(vectors[0], found, distance)
    bucket = rows.buckets(BUCKETS)
    taus = [
        tau_by_bucket(before, pair_distances(other, found, distance), found.bucket, BUCKETS)
        for other in vectors[1:]
    ]
    return {
        "kind": "discrepancy", "dataset": rows.dataset, "split": split, "distance": distance,
        "pairs_per_bucket": pairs, "negatives": negatives, "trained_only": trained_only,
        "seed": seed, "reference": {"run": home.label, "folder": str(home.folder),
            "space": reference}, "pairs": len(found), "left_out": left_out,
        "buckets": [
            {
                "bucket": row.bucket, "items": int((bucket == row.bucket).sum()),
                "training_events": int(rows.counts[bucket == row.bucket].sum()), "pairs": row.pairs,
                "never_trained": int(
                    (rows.counts[found.target[found.bucket == row.bucket]] == 0).sum()
                ),
            }
            for row in taus[0]
        ],
        "lines": [
            {"run": run.label, "folder": str(run.folder), "model": run.model, "space": name,
                "tau": [row.tau for row in line], "mean": _mean([row.tau for row in line])}
            for (run, name), line in zip(lines, taus, strict=True)
        ],
    }  # fmt: skip


def _mean(taus: Sequence[float | None]) -> float | None:
    known = [tau for tau in taus if tau is not None]
    return float(np.mean(known)) if known else None


def table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a bucket a row, its items, pairs and taus.

    The last row is the mean over buckets.
    """

    def text(tau: float | None) -> str:
        return "-" if tau is None else f"{tau:.3f}"

    header = [
        "bucket",
        "items",
        "pairs",
        *(f"{line['run']}: {line['space']}" for line in summary["lines"]),
    ]
    rows = [
        [
            str(row["bucket"]),
            f"{row['items']:,}",
            f"{row['pairs']:,}",
            *(text(line["tau"][place]) for line in summary["lines"]),
        ]
        for place, row in enumerate(summary["buckets"])
    ]
    return header, [
        *rows,
        ["mean", "", f"{summary['pairs']:,}", *(text(line["mean"]) for line in summary["lines"])],
    ]


def notes(summary: Mapping[str, Any]) -> list[str]:
    """Say what was measured, in sentences."""
    reference = summary["reference"]
    never = sum(row["never_trained"] for row in summary["buckets"])
    drawn = (
        f" and {summary['negatives']} random item(s) of its bucket" if summary["negatives"] else ""
    )
    lines = [
        f"{summary['dataset']}: Kendall's tau-b between {summary['distance']} distances in the "
        f"space {reference['space']} of {reference['run']} and in each other space.",
        f"{summary['pairs']:,} pairs of an item of a history and the {SPLITS[summary['split']]} "
        f"target that followed{drawn}, "
        f"at most {summary['pairs_per_bucket']:,} a bucket (seed {summary['seed']}); bucket 1 "
        "holds the most frequent targets.",
        "1: every pair of pairs has kept its order; 0: the order is as good as drawn anew. A "
        "share of (1 - tau) / 2 of the orders is turned.",
    ]
    if summary["left_out"]:
        lines.append(
            f"{summary['left_out']:,} pairs are left out: {NO_VECTOR}"
            + (", or no training event." if summary["trained_only"] else ".")
        )
    if never:
        lines.append(
            f"{never:,} pairs have a target that no training event has; --trained_only=True "
            "leaves them out."
        )
    return lines


def draw(summary: Mapping[str, Any]) -> Any:
    """Tau against the bucket, a line for each space."""
    rows = summary["buckets"]
    with look():
        figure = new_figure(6.8, 3.9 + 0.17 * len(summary["lines"]))
        panel = figure.subplots()
        for number, line in enumerate(summary["lines"]):
            known = [
                (row["bucket"], tau)
                for row, tau in zip(rows, line["tau"], strict=True)
                if tau is not None
            ]
            dash, marker, colour = (
                cycle[place % len(cycle)]
                for cycle, place in (
                    (DASHES, number // len(COLOURS)),
                    (MARKERS, number),
                    (COLOURS, number),
                )
            )
            panel.plot(
                *zip(*known) if known else ([], []),
                dash,
                marker=marker,
                markersize=4,
                color=colour,
                label=f"{line['run']}: {line['space']}",
            )
        panel.axhline(0, color="#8a8a8a", linewidth=0.8)
        panel.set_ylim(
            min(0, *(tau for line in summary["lines"] for tau in line["tau"] if tau is not None), 0)
            - 0.05,
            1.05,
        )
        panel.set_xticks(
            [row["bucket"] for row in rows],
            [f"{row['bucket']}\n{row['pairs']:,}" for row in rows],
            fontsize=8,
        )
        panel.set(
            xlabel="frequency bucket of the target (1: most frequent), pairs",
            ylabel=f"Kendall's tau-b with\n{summary['reference']['run']}: "
            f"{summary['reference']['space']}",
        )
        panel.grid(axis="y", alpha=0.3)
        panel.set_title(
            f"{summary['dataset']}: order of {summary['distance']} distances kept, n = "
            f"{summary['pairs']:,} pairs ({SPLITS[summary['split']]} targets)",
            fontsize=9,
            loc="left",
        )
        figure.legend(
            frameon=False,
            fontsize=8,
            loc="outside lower center",
            ncols=min(2, len(summary["lines"])),
        )
    return figure
