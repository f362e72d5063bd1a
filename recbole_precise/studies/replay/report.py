"""Report the replay as a table (text, Markdown), as JSON, and as a plot.

The plot has two panels: share and metric by period.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.evaluation.significance import compare
from recbole_precise.runs.checkpoint import write_atomically, write_json
from recbole_precise.studies.figures import look, new_figure, save_figure
from recbole_precise.studies.replay.engine import ARMS
from recbole_precise.studies.text_tables import markdown_table, text_table

_LOOK = {
    "with": ("#1b6ca8", "o", "with reload"),
    "without": ("#d1603d", "s", "loaded once, after the first period"),
}


def summarise(replays: Sequence[Any]) -> dict[str, Any]:
    """Average over seeds by period, and over all cases.

    The difference has its interval over users and seeds. Shares do not depend on the seed.

    Args:
        replays: finished `Replay` objects, one a seed.
    """
    first = replays[0]
    rows = []
    for same in zip(*(replay.rows for replay in replays), strict=True):
        metrics = {
            arm: {
                name: float(np.mean([row["metrics"][arm][name] for row in same]))
                for name in same[0]["metrics"][arm]
            }
            for arm in same[0]["metrics"]
        }
        rows.append({**same[0], "metrics": metrics})
    overall: dict[str, Any] = {"cases": sum(row["cases"] for row in rows), "share": {}}
    later = [row for row in rows[1:] if row["events"]]
    for kind, weight in (("events", "events"), ("items", "items")):
        overall["share"][kind] = {
            arm: float(
                np.average(
                    [row["share"][arm][kind] for row in later],
                    weights=[row[weight] for row in later],
                )
            )
            if later
            else None
            for arm in ARMS
        }
    if overall["cases"]:
        pooled = {arm: [_pooled(replay.ranks[arm]) for replay in replays] for arm in ARMS}
        overall["compared"] = {
            first.metric: asdict(
                compare(pooled["with"], pooled["without"], first.metric, n_resamples=999)
            )
        }
        names = next(row["metrics"]["with"] for row in rows if row["cases"])
        overall["metrics"] = {
            arm: {
                name: float(
                    np.average(
                        [row["metrics"][arm][name] for row in rows if row["cases"]],
                        weights=[row["cases"] for row in rows if row["cases"]],
                    )
                )
                for name in names
            }
            for arm in ARMS
        }
    return {
        "dataset": first.config["dataset"], "target_scene": first.config["target_scene"],
        "options": asdict(first.options), "seeds": [replay.config["seed"] for replay in replays],
        "metric": first.metric,
        "mask_history": bool(first.config["mask_history"]),
        "items": int(first.dataset.item_num - 1),
        "epochs": {"universal": first.config["epochs"],
            "targeted": first.config["targeted_epochs"]}, "overall": overall, "periods": rows,
    }  # fmt: skip


def _pooled(ranks: Sequence[Any]) -> Any:
    kind = type(ranks[0])
    return kind(
        *(
            np.concatenate([getattr(part, name) for part in ranks])
            for name in ("user_id", "target", "rank")
        )
    )


def _notes(summary: Mapping[str, Any]) -> list[str]:
    options, overall = summary["options"], summary["overall"]
    target = f"the scene '{summary['target_scene']}'" if summary["target_scene"] else "all events"
    asked = (
        "every event whose user has an earlier one"
        if options["cases"] == "all"
        else "each returning user's first event of the period"
    )
    lines = [
        f"{summary['dataset']}, target task: {target}; reload every {options['reload_every']} "
        f"period(s), blend {options['blend']:g}; seeds {', '.join(map(str, summary['seeds']))}.",
        f"Cases: {asked}, ranked before anything of the period is trained; candidates: the whole "
        f"catalogue of {summary['items']:,} items"
        + (", the user's history left out." if summary["mask_history"] else "."),
        "Share: of the period's target events (distinct items) whose item was trained by "
        "PRECISE-UT before it came into PRECISE-TT at the last reload.",
    ]
    if "metrics" in overall:
        test, metric = overall["compared"][summary["metric"]], summary["metric"]
        lines.append(
            f"All {overall['cases']:,} cases: {metric} {overall['metrics']['with'][metric]:.4f} "
            f"with reload, {overall['metrics']['without'][metric]:.4f} without; "
            f"difference per user {test['difference']:+.4f} (95% interval {test['low']:+.4f} to "
            f"{test['high']:+.4f}, p = {test['p_value']:.3f})."
        )
    return lines


def _table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    names = list(next((row["metrics"]["with"] for row in summary["periods"] if row["cases"]), ()))
    header = [
        "period",
        "events",
        "share with",
        "without",
        "items",
        "share with",
        "without",
        "cases",
    ]
    header += [f"{name} {arm}" for name in names for arm in ARMS]

    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}%"

    rows = []
    for row in summary["periods"]:
        cells = [row["period"]]
        for kind in ("events", "items"):
            cells += [f"{row[kind]:,}", *(share(row["share"][arm][kind]) for arm in ARMS)]
        cells += [
            f"{row['cases']:,}",
            *(
                f"{row['metrics'][arm][name]:.4f}" if row["cases"] else "-"
                for name in names
                for arm in ARMS
            ),
        ]
        rows.append(cells)
    overall = summary["overall"]
    cells = ["all but the first"]
    for kind in ("events", "items"):
        cells += [
            f"{sum(row[kind] for row in summary['periods'][1:]):,}",
            *(share(overall["share"][kind][arm]) for arm in ARMS),
        ]
    rows.append(
        [
            *cells,
            f"{overall['cases']:,}",
            *(f"{overall['metrics'][arm][name]:.4f}" for name in names for arm in ARMS),
        ]
    )
    return header, rows


def to_text(summary: Mapping[str, Any]) -> str:
    """Write the table and its notes for the terminal."""
    return text_table(*_table(summary)) + "\n\n" + "\n".join(_notes(summary))


def write(folder: Path, summary: Mapping[str, Any], plots: bool) -> None:
    """table.md and results.json; with `plots` replay.png too."""
    notes = "\n".join(f"- {line}" for line in _notes(summary))
    text = (
        f"# Replay of {summary['dataset']}\n\n{markdown_table(*_table(summary))}\n\n{notes}\n"
        + ("\n![share and metric by period](replay.png)\n" if plots else "")
    )
    write_atomically(
        folder / "table.md", lambda partial: partial.write_text(text, encoding="utf-8"), "the table"
    )
    write_json(folder / "results.json", summary, "the results")
    if plots:
        _draw(folder, summary)


def _draw(folder: Path, summary: Mapping[str, Any]) -> None:
    rows, metric, overall = summary["periods"], summary["metric"], summary["overall"]
    with look():
        figure = new_figure(7.2, 6.0)
        above, below = figure.subplots(2, 1, sharex=True)
        for arm, (colour, marker, label) in _LOOK.items():
            later = [row for row in rows[1:] if row["events"]]
            for kind, dash in (("events", "-"), ("items", ":")):
                above.plot(
                    [row["number"] for row in later],
                    [100 * row["share"][arm][kind] for row in later],
                    dash,
                    marker=marker,
                    markersize=3,
                    color=colour,
                    label=f"{label}, by {'event' if kind == 'events' else 'distinct item'}",
                )
            asked = [row for row in rows if row["cases"]]
            below.plot(
                [row["number"] for row in asked],
                [row["metrics"][arm][metric] for row in asked],
                marker=marker,
                markersize=3,
                color=colour,
                label=label,
            )
        above.set(ylabel="exposed items that PRECISE-UT\nhad trained (%)", ylim=(0, 103))
        above.set_title(
            f"{summary['dataset']}: n = {sum(row['events'] for row in rows[1:]):,} target events "
            "after the first period",
            fontsize=9,
            loc="left",
        )
        below.set(
            ylabel=metric.replace("ndcg", "nDCG"),
            xlabel=f"first day of the period ({summary['options']['period']})",
        )
        seeds = len(summary["seeds"])
        below.set_ylim(0, 1.25 * below.get_ylim()[1])  # room for the legend
        below.set_title(
            f"next-item prediction before training on it, n = {overall['cases']:,} cases, "
            f"{f'mean of {seeds} seeds' if seeds > 1 else '1 seed'}",
            fontsize=9,
            loc="left",
        )
        step = max(1, -(-len(rows) // 12))
        below.set_xticks(
            range(0, len(rows), step),
            [row["period"] for row in rows[::step]],
            rotation=45,
            ha="right",
        )
        above.legend(
            frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.02)
        )  # under the panel, off the lines
        below.legend(frameon=False, fontsize=8, loc="upper left")
        save_figure(figure, folder, "replay")
