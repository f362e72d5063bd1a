"""Measure whether pairs that belong together are nearer in a space than others.

These are distributions of distances with AUC (PAD Sec. 4.2, Fig. 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.evaluation.discrepancy import (
    ItemPairs,
    Separation,
    pair_distances,
    random_partners,
    separation,
    separation_of,
)
from recbole_precise.evaluation.slices import item_slices
from recbole_precise.studies.figures import look, new_figure
from recbole_precise.studies.inspection.runs import (
    NO_VECTOR,
    SPLITS,
    Rows,
    choose,
    pairs_of,
    read_spaces,
)

#: What is held against what: the nearest and the farthest share of pairs in the reference space, or
#: users' pairs and random ones.
GROUPS = ("collaborative", "random")
_NAMES = {"collaborative": ("nearest", "farthest"), "random": ("users' pairs", "random pairs")}
_COLOURS = ("#0072B2", "#D55E00")


def summarise(
    folders: Sequence[Path], *, reference: str = "id", spaces: Sequence[str] | None = None,
    groups: str = "collaborative", share: float = 0.1, pairs: int = 200_000,
    distance: str = "cosine", split: str = "valid", seed: int = 0, changes: Mapping[str,
        Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return counts and AUC of both groups in every space.

    They are of warm, median, cold and unseen targets and of all.

    Args:
        groups: `collaborative`: the `share` of pairs that are nearest and farthest in the reference
            space, as the paper makes them; `random`: all pairs of users, and the same items beside
            a random item of the target's frequency bucket.
        pairs: at most so many a bucket. The others: see `pairs_of` and `choose`.
    """
    runs, rows = read_spaces(folders, split, changes or {})
    home, lines = choose(runs, reference if groups == "collaborative" else None, spaces)
    vectors = [run.spaces[name] for run, name in lines]
    used = vectors if home is None else [home.spaces[reference], *vectors]
    found, left_out = pairs_of(rows, used, per_bucket=pairs, seed=seed)
    parts = {name: places for name, places in _parts(rows.counts, found).items() if places.any()}
    far = _random(found, rows, used, seed) if home is None else None
    reach = None if home is None else pair_distances(used[0], found, distance)
    found_lines = []
    for (run, name), space in zip(lines, vectors, strict=True):
        own = pair_distances(space, found, distance)
        if reach is not None:
            cut = {
                part: _nearest_and_farthest(reach[places], own[places], share)
                for part, places in parts.items()
            }
        else:
            assert far is not None, "random partners are drawn where no space makes the groups"
            others = pair_distances(space, far, distance)
            of_far = _parts(rows.counts, far)
            cut = {
                part: separation_of(own[places], others[of_far[part]])
                if of_far[part].any()
                else None
                for part, places in parts.items()
            }
        found_lines.append(
            {
                "run": run.label,
                "folder": str(run.folder),
                "model": run.model,
                "space": name,
                "parts": {part: _as_json(value) for part, value in cut.items()},
            }
        )
    return {
        "kind": "separation", "dataset": rows.dataset, "split": split, "distance": distance,
        "groups": groups, "share": None if home is None else share,
        "pairs_per_bucket": pairs, "seed": seed,
        "reference": None if home is None else {"run": home.label, "folder": str(home.folder),
            "space": reference},
        "pairs": len(found), "left_out": left_out, "parts": {part: int(places.sum()) for part,
            places in parts.items()}, "lines": found_lines,
    }  # fmt: skip


def _nearest_and_farthest(
    reference: np.ndarray, own: np.ndarray, share: float
) -> Separation | None:
    return separation(reference, own, share) if int(share * len(own) + 1e-9) else None


def _parts(counts: np.ndarray, pairs: ItemPairs) -> dict[str, np.ndarray]:
    """Which pairs have a warm, median, cold or unseen target, and all."""
    return {
        **{name: items[pairs.target] for name, items in item_slices(counts, "frequency").items()},
        "all": np.ones(len(pairs), dtype=bool),
    }


def _random(pairs: ItemPairs, rows: Rows, spaces: Sequence[np.ndarray], seed: int) -> ItemPairs:
    """Draw random partners that are trained as often as the targets.

    They are of the same frequency bucket and the same part, and all `spaces` know them.
    """
    kinds = item_slices(rows.counts, "frequency").values()
    group = rows.buckets() * len(kinds) + sum(number * items for number, items in enumerate(kinds))
    group[~np.logical_and.reduce([vectors.any(1) for vectors in spaces])] = 0
    group[0] = 0
    return random_partners(
        ItemPairs(pairs.behaviour, pairs.target, group[pairs.target]), group, seed
    )


def _as_json(found: Separation | None) -> dict[str, Any] | None:
    if found is None:
        return None
    counts = {name: getattr(found, name).tolist() for name in ("all", "near", "far")}
    return {
        "auc": found.auc,
        "near_pairs": int(found.near.sum()),
        "far_pairs": int(found.far.sum()),
        "edges": found.edges.tolist(),
        **counts,
    }


def table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a space a row, the AUC of each part; the last row counts the pairs."""
    parts = summary["parts"]
    rows = [
        [
            f"{line['run']}: {line['space']}",
            *(
                "-" if line["parts"][part] is None else f"{line['parts'][part]['auc']:.3f}"
                for part in parts
            ),
        ]
        for line in summary["lines"]
    ]
    return ["AUC", *parts], [*rows, ["pairs", *(f"{count:,}" for count in parts.values())]]


def notes(summary: Mapping[str, Any]) -> list[str]:
    """Say what was measured, in sentences."""
    if summary["groups"] == "random":
        what = (
            "pairs of an item of a history and the target that followed, beside the same "
            "items with a random item of the target's frequency bucket"
        )
    else:
        reference = summary["reference"]
        share = f"{100 * summary['share']:g}%"
        what = (
            f"the {share} nearest and the {share} farthest pairs by {summary['distance']} "
            f"distance in the space {reference['space']} of {reference['run']}"
        )
    lines = [
        f"{summary['dataset']}: {what}; {SPLITS[summary['split']]} targets, "
        f"{summary['distance']} distances, at most {summary['pairs_per_bucket']:,} pairs a "
        "frequency "
        f"bucket (seed {summary['seed']}).",
        "AUC: chance that a pair of the second group is farther apart than one of the first; 0.5 "
        "is no separation. Parts: warm, targets with more than 50 training "
        "events; median, 7 to 50; cold, 1 to 6; unseen, none.",
    ]
    if summary["left_out"]:
        lines.append(f"{summary['left_out']:,} pairs are left out: {NO_VECTOR}.")
    return lines


def draw(summary: Mapping[str, Any]) -> Any:
    """Draw a row of panels for each space, a panel for each part.

    They show densities of both groups over all pairs' distances.
    """
    parts, near, far = list(summary["parts"]), *_NAMES[summary["groups"]]
    with look():
        figure = new_figure(1.2 + 2.1 * len(parts), 1.1 + 1.5 * len(summary["lines"]))
        panels = figure.subplots(len(summary["lines"]), len(parts), squeeze=False)
        for across, line in zip(panels, summary["lines"], strict=True):
            for panel, part in zip(across, parts, strict=True):
                found = line["parts"][part]
                panel.set_yticks([])
                panel.tick_params(labelsize=7)
                if found is None:
                    panel.set_title(f"{part}: too few pairs", fontsize=8, loc="left")
                    continue
                edges = np.asarray(found["edges"])
                for counts, colour, label in (
                    (found["near"], _COLOURS[0], near),
                    (found["far"], _COLOURS[1], far),
                ):
                    panel.stairs(
                        _density(counts, edges),
                        edges,
                        fill=True,
                        alpha=0.45,
                        color=colour,
                        label=label,
                    )
                panel.stairs(
                    _density(found["all"], edges),
                    edges,
                    color="#555555",
                    linewidth=0.8,
                    label="all",
                )
                panel.set_title(
                    f"{part}, n = {found['near_pairs']:,} and {found['far_pairs']:,}\nAUC "
                    f"{found['auc']:.3f}",
                    fontsize=8,
                    loc="left",
                )
            run = line["run"].replace("/", "/\n")
            across[0].set_ylabel(f"{run}:\n{line['space']}", fontsize=7)
        figure.supxlabel(
            f"{summary['distance']} distance of two items (density of pairs)", fontsize=9
        )
        handles, names = next(
            (
                panel.get_legend_handles_labels()
                for panel in panels.flat
                if panel.get_legend_handles_labels()[0]
            ),
            ([], []),
        )
        figure.legend(
            handles,
            names,
            frameon=False,
            fontsize=8,
            loc="outside upper right",
            ncols=3,
            title=f"{summary['dataset']}, {SPLITS[summary['split']]} targets",
            title_fontsize=8,
        )
    return figure


def _density(counts: Sequence[int], edges: np.ndarray) -> np.ndarray:
    return np.asarray(counts) / max(sum(counts), 1) / np.diff(edges)
