"""Draw a parallel-coordinates plot of a study.

Each key has an axis, each trial a line, and the validation score is at the right end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_precise.studies.figures import look, new_figure, save_figure
from recbole_precise.studies.tuning.report import Report, Row, shown
from recbole_precise.studies.tuning.space import Parameter, Space

_TICKS = 5
_WIDTH_OF_TITLE = 110
_APART = 0.007


@dataclass(frozen=True)
class Axis:
    """A vertical axis: its `title` and `ticks` as (height from 0 to 1, label).

    It also gives the height of a row, None when it has none.

    On a `discrete` axis lines are drawn a little apart, so that those through one value can be seen
    apart.
    """

    title: str
    ticks: Sequence[tuple[float, str]]
    height: Callable[[Row], float | None]
    discrete: bool = False

    def drawn_at(self, row: Row) -> float | None:
        """Where the line of a row crosses the axis."""
        height = self.height(row)
        return (
            height
            if height is None or not self.discrete
            else height + _APART * (row.number % 7 - 3)
        )


def plot_report(folder: Path, report: Report, space: Space) -> list[Path]:
    """Write parallel.png.

    Returns the files, none when there is no trial to show.
    """
    rows = [
        row
        for row in report.rows
        if row.state in ("complete", "cut", "pruned") and row.value is not None
    ]
    if not rows:
        return []
    axes = [_axis(parameter) for parameter in space.parameters] + [_score_axis(report, rows)]
    with look():
        figure = new_figure(max(8.0, 1.55 * len(axes) + 1.0), 5.6)
        _draw(figure.add_subplot(), report, rows, axes)
        save_figure(figure, folder, "parallel")
    return [folder / "parallel.png"]


def _draw(plot: Any, report: Report, rows: Sequence[Row], axes: Sequence[Axis]) -> None:
    from matplotlib import colormaps

    best = report.best

    def last(row: Row) -> float:
        height = axes[-1].height(row)
        assert height is not None
        return height

    done = [row for row in rows if row.state != "pruned"]
    heights = [last(row) for row in done]
    low, high = (min(heights), max(heights)) if heights else (0.0, 1.0)
    labelled: set[str] = set()
    for row in sorted(rows, key=lambda row: (row.state != "pruned", last(row))):  # the best on top
        if row is best:
            style, label = (
                {"color": "crimson", "linewidth": 2.6, "zorder": 5},
                f"best: trial {row.number}, {report.metric} {row.value:.4f}",
            )
        elif row.state == "pruned":
            style, label = (
                {"color": "0.75", "linewidth": 0.8, "linestyle": "--", "zorder": 1},
                f"pruned (n={len(rows) - len(done)}), score where it ended",
            )
        else:
            share = (last(row) - low) / (high - low) if high > low else 1.0
            style = {
                "color": colormaps["viridis"](0.92 * share),
                "linewidth": 1.2,
                "alpha": 0.85,
                "zorder": 2,
            }
            label = (
                f"complete (n={len(done)}), yellow is better, dark is worse"
                if report.bigger
                else f"complete (n={len(done)}), dark is better, yellow is worse"
            )
        points = [(place, axis.drawn_at(row)) for place, axis in enumerate(axes)]
        known = [(place, height) for place, height in points if height is not None]
        plot.plot(*zip(*known), label=None if label in labelled else label, **style)
        labelled.add(label)
    for place, axis in enumerate(axes):
        plot.axvline(place, color="0.25", linewidth=1.0, zorder=3)
        for height, text in axis.ticks:
            plot.plot(
                [place - 0.02, place + 0.02],
                [height, height],
                color="0.25",
                linewidth=1.0,
                zorder=3,
            )
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
            plot.text(
                place + 0.04, height, text, va="center", ha="left", fontsize=8, zorder=6, bbox=box
            )
    plot.set_xticks(range(len(axes)), [axis.title for axis in axes])
    plot.xaxis.tick_top()
    plot.tick_params(axis="x", length=0, pad=8)
    plot.set_xlim(-0.15, len(axes) - 0.55)
    plot.set_ylim(-0.06, 1.06)
    plot.set_yticks([])
    for side in plot.spines.values():
        side.set_visible(False)
    plot.set_title(
        f"{report.model} on {report.dataset}, chosen on validation data\n"
        f"{_wrapped(report.summary)}",
        fontsize=10,
        pad=14,
    )
    plot.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, frameon=False, fontsize=8)


def _axis(parameter: Parameter) -> Axis:
    title = parameter.name.replace("_", "_\n", 1) if len(parameter.name) > 14 else parameter.name
    if parameter.kind == "choice":
        steps = max(len(parameter.choices) - 1, 1)
        place = {
            repr(choice): (index / steps if len(parameter.choices) > 1 else 0.5)
            for index, choice in enumerate(parameter.choices)
        }
        return Axis(
            title,
            [(place[repr(choice)], shown(choice)) for choice in parameter.choices],
            lambda row: place.get(repr(row.settings.get(parameter.name))),
            True,
        )
    logarithmic = parameter.kind == "loguniform"
    low, high = (
        (math.log(parameter.low), math.log(parameter.high))
        if logarithmic
        else (parameter.low, parameter.high)
    )

    def height(row: Row) -> float | None:
        value = row.settings.get(parameter.name)
        return (
            None
            if value is None
            else ((math.log(value) if logarithmic else value) - low) / (high - low)
        )

    ticks = []
    for index in range(_TICKS):
        value = low + (high - low) * index / (_TICKS - 1)
        ticks.append((index / (_TICKS - 1), f"{math.exp(value) if logarithmic else value:.3g}"))
    if parameter.step is not None and len(parameter.values() or ()) <= 9:
        ticks = [((value - low) / (high - low), shown(value)) for value in parameter.values() or ()]
    return Axis(
        title + ("\n(log scale)" if logarithmic else ""), ticks, height, parameter.step is not None
    )


def _score_axis(report: Report, rows: Sequence[Row]) -> Axis:
    values = [row.value for row in rows if row.value is not None]
    low = min(values)
    high = max(values)
    width = high - low or 1.0
    ticks = (
        [
            (index / (_TICKS - 1), f"{low + width * index / (_TICKS - 1):.4f}")
            for index in range(_TICKS)
        ]
        if high > low
        else [(0.5, f"{low:.4f}")]
    )

    def height(row: Row) -> float:
        return (row.value - low) / width if high > low and row.value is not None else 0.5

    return Axis(f"validation\n{report.metric}", ticks, height)


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, _WIDTH_OF_TITLE))
