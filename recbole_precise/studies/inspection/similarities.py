"""Do a run's ID vectors know which items are alike? PRECISE's test of alternate training (Sec.

IV-E; docs/methods.md 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.id_similarity import id_similarity
from recbole_precise.studies.figures import look, new_figure
from recbole_precise.studies.inspection.runs import item_spaces, load_runs

_EDGES = np.linspace(-1, 1, 81)  # of the histograms of cosines
_COLOURS = {"random": "#8a8a8a", "similar": "#1b6ca8"}


def summarise(
    folders: Sequence[Path],
    *,
    neighbours: int = 10,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Compare the cosines of ID vectors in similar and random pairs of trained items.

    It gives the mean cosine of each run within both kinds of pairs, and how the cosines are
    distributed.

    Args:
        neighbours: similar are an item and so many others, the nearest by cosine of the vectors
            that are ranked by.
        seed: of the random pairs.

    Raises ConfigError for a run whose items are not made of both ID and text, or that has too few
    trained items.
    """
    runs = []
    for label, folder, run in load_runs(folders, changes):
        name = run.config["model"]
        spaces = item_spaces(run.model)
        if "id" not in spaces or not {"text", "aligned"} & spaces.keys():
            raise ConfigError(
                f"inspect similarity: the items of {name} in '{folder}' have no vectors of both "
                "ID and text (PRECISE-UT, PRECISE-Pool and PAD have)."
            )
        trained = np.flatnonzero(run.loaders[0]._dataset.train_item_counts().numpy() > 0)
        if len(trained) <= neighbours:
            raise ConfigError(
                f"--neighbours={neighbours} needs more than the {len(trained)} trained items of "
                f"'{folder}'."
            )
        found = id_similarity(spaces["id"][trained], spaces["final"][trained], neighbours, seed)
        runs.append({
            "run": label, "folder": str(folder), "model": name,
            "alternate": bool(run.config["alternate"]), "dataset": run.config["dataset"],
            "items": len(trained),
            "similar": float(found.similar.mean()), "random": float(found.random.mean()),
            "gap": found.gap,
            "counts": {kind: np.histogram(values, _EDGES)[0].tolist() for kind,
                values in (("similar", found.similar), ("random", found.random))},
        })  # fmt: skip
    return {
        "kind": "similarity",
        "neighbours": neighbours,
        "seed": seed,
        "edges": _EDGES.tolist(),
        "runs": runs,
    }


def _title(run: Mapping[str, Any]) -> str:
    return f"{run['run']} ({run['model']}{', alternate' if run['alternate'] else ''})"


def table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a run a row."""
    rows = [
        [
            _title(run),
            f"{run['items']:,}",
            f"{run['similar']:.4f}",
            f"{run['random']:.4f}",
            f"{run['gap']:+.4f}",
        ]
        for run in summary["runs"]
    ]
    return ["run", "items", "similar pairs", "random pairs", "gap"], rows


def notes(summary: Mapping[str, Any]) -> list[str]:
    """Say what was measured, in sentences."""
    datasets = ", ".join(dict.fromkeys(run["dataset"] for run in summary["runs"]))
    return [
        f"{datasets}: mean cosine of ID vectors, trained items alone; similar: each item and its "
        f"{summary['neighbours']} nearest by cosine of its whole vector (ID and text); "
        f"as many random pairs (seed {summary['seed']})."
    ]


def draw(summary: Mapping[str, Any]) -> Any:
    """Draw a panel a run: densities of the cosines of both kinds of pairs."""
    runs = summary["runs"]
    edges = np.asarray(summary["edges"])
    names = {
        "random": "random pairs",
        "similar": f"each item and its {summary['neighbours']} nearest",
    }
    with look():
        figure = new_figure(6.4, 2.6 * len(runs) + 0.6)
        panels = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
        for panel, run in zip(panels, runs, strict=True):
            for kind, name in names.items():
                counts = np.asarray(run["counts"][kind])
                panel.stairs(
                    counts / counts.sum() / np.diff(edges),
                    edges,
                    fill=True,
                    alpha=0.5,
                    color=_COLOURS[kind],
                    label=f"{name}, mean {run[kind]:.3f}",
                )
            panel.set_ylabel("density")
            panel.set_title(
                f"{_title(run)}, {run['dataset']}, n = {run['items']:,} trained items",
                fontsize=9,
                loc="left",
            )
            panel.legend(frameon=False, fontsize=8)
        panels[-1].set_xlabel("cosine of two items' ID vectors")
    return figure
