"""Draw a summary as pictures (PNG).

They show the metric by slice, the metric against wall time, and validation while training.

Each picture stands alone: it names data set, metric, unit, number of test cases and of seeds.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from recbole_precise.studies.benchmark.summary import is_number
from recbole_precise.studies.benchmark.tables import protocol_text
from recbole_precise.studies.figures import look, need_matplotlib, new_figure, save_figure

#: Okabe and Ito's colours, told apart by colour-blind readers too; the second round of rows gets
#: other markers and dashes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":")
_PANELS_WIDE = 4
_ROUND_TIMES = (0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10_800, 36_000, 86_400)
_MEANING = {
    "warm": "target seen more than\n50 times in training", "median": 
            "target seen 7 to 50\ntimes "
            "in training", "cold": "target seen 1 to 6\ntimes in training",
    "unseen": "target never seen\nin training", "top20": "target among the "
                                                         "20%\nmost frequent "
                                                         "items", "rest80": 
                                                                 "target among the\nother 80% of "
                                                                 "items",
}  # fmt: skip


def draw(summary: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw what the summary has data for; returns the files."""
    need_matplotlib()
    made = []
    for dataset, part in summary["datasets"].items():
        if not part["rows"]:
            continue
        for kind, make in (("slices", by_slice), ("time", against_time), ("curves", curves)):
            with look():
                figure = make(summary, dataset)
            if figure is None:
                continue
            made.append(save_figure(figure, folder, f"{dataset}-{kind}"))
    return made


def by_slice(summary: Mapping[str, Any], dataset: str) -> Any:
    """Draw a panel for each slice: one dot a row, with its spread over seeds."""
    part = summary["datasets"][dataset]
    metric = summary["metrics"][0]
    names = [
        name
        for name in summary["slices"]
        if any(_mean(row["slices"].get(name, {}).get(metric)) is not None for row in part["rows"])
    ]
    if not names:
        return None
    rows = part["rows"]
    figure = new_figure(1.9 * len(names) + 1.8, 0.3 * len(rows) + 2.2)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    factor = 100 if summary["percent"] else 1
    for panel, name in zip(panels, names, strict=True):
        for place, row in enumerate(rows):
            entry = row["slices"].get(name, {}).get(metric)
            if _mean(entry) is None:
                continue
            colour, marker, _ = _style(place)
            spread = (
                [[factor * min(entry["std"], entry["mean"])], [factor * entry["std"]]]
                if entry["std"]
                else None
            )  # a metric below 0 does not exist
            panel.errorbar(
                factor * entry["mean"],
                place,
                xerr=spread,
                fmt=marker,
                color=colour,
                capsize=2,
                markersize=5,
                clip_on=False,
            )
        if not any(row["slices"].get(name, {}).get(metric, {}).get("mean") for row in rows):
            panel.set_xlim(0, factor)
            panel.set_xticks([0])  # nobody hits anything here: no scale that would suggest a result
        count = next(row["slices"][name]["n"] for row in rows if name in row["slices"])
        panel.set_title(f"{name}, n = {count:,}\n" + _MEANING.get(name, ""), fontsize=8)
        panel.margins(x=0.12)
        panel.set_xlim(left=0)
        panel.grid(axis="x", alpha=0.3)
        panel.tick_params(labelsize=8)
    panels[0].set_yticks(range(len(rows)), [row["name"] for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.supxlabel(
        f"{metric} on the test cases of the slice{_unit(summary)}, higher is better (scales "
        "differ between panels)",
        fontsize=9,
    )
    _title(
        figure,
        summary,
        dataset,
        f"{metric} by how often the target was seen, mean and standard deviation over seeds, "
        f"{_seed_text(rows)}",
    )
    return figure


def against_time(summary: Mapping[str, Any], dataset: str) -> Any:
    """Test metric against the wall time of a whole run."""
    rows = summary["datasets"][dataset]["rows"]
    metric = summary["metrics"][0]
    shown = [
        (place, row) for place, row in enumerate(rows) if _mean(row["test"].get(metric)) is not None
    ]
    if not shown:
        return None
    figure = new_figure(8.5, 4.8)
    axes = figure.subplots()
    factor = 100 if summary["percent"] else 1
    for place, row in shown:
        colour, marker, _ = _style(place)
        entry = row["test"][metric]
        seconds = row["seconds"]["total"]
        axes.errorbar(
            seconds["mean"], factor * entry["mean"], xerr=seconds["std"] or None,
            yerr=factor * entry["std"] if entry["std"] else None,
            fmt=marker, color=colour, capsize=2, label=f"{row['name']} ({_seed_count(row)})",
        )  # fmt: skip
    axes.set_xscale("log")
    _time_ticks(axes)
    axes.set_xlabel(
        f"Wall time of a run, reading, training and ranking ({_machine(summary)}; log scale)"
    )
    axes.set_ylabel(_axis(summary, dataset, "test"))
    axes.grid(alpha=0.3, which="major")
    axes.legend(fontsize=8, bbox_to_anchor=(1.02, 1), loc="upper left", borderaxespad=0)
    _title(
        figure,
        summary,
        dataset,
        "Quality against wall time; up and to the left is better; bars: standard deviation over "
        "seeds",
    )
    return figure


def curves(summary: Mapping[str, Any], dataset: str) -> Any:
    """Draw the validation metric against seconds of training.

    Each seed has a thin line; what is not trained is a level.

    More trained rows than colours get a panel each, with all the others in grey behind them.
    """
    rows = summary["datasets"][dataset]["rows"]
    metric = summary["metrics"][0]
    factor = 100 if summary["percent"] else 1
    lines = {
        place: [
            _line(points, factor)
            for curve in row["curves"]
            if (points := [record for record in curve if record["valid"] is not None])
        ]
        for place, row in enumerate(rows)
    }
    lines = {place: of_row for place, of_row in lines.items() if of_row}
    if not lines:
        return None
    levels = {
        place: factor * row["valid"][metric]["mean"]
        for place, row in enumerate(rows)
        if row["draws_nothing"] and _mean(row["valid"].get(metric)) is not None
    }
    names = {place: f"{rows[place]['name']} ({_seed_count(rows[place])})" for place in lines}
    crowded = len(lines) > len(COLOURS)
    figure, panels, legend = _panel_each(lines, names) if crowded else _one_panel(lines, names)
    for axes in panels:
        for place, level in levels.items():
            axes.axhline(
                level,
                color=_style(place)[0],
                linestyle="-.",
                linewidth=1,
                label=f"{rows[place]['name']} (not trained)",
            )
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        _time_ticks(axes, _ROUND_TIMES[::2] if crowded else _ROUND_TIMES)
    handles, labels = panels[0].get_legend_handles_labels()
    if labels:
        legend(handles, labels)
    figure.supxlabel(
        f"Wall time of training and validation so far ({_machine(summary)}; log scale)", fontsize=9
    )
    figure.supylabel(_axis(summary, dataset, "validation"), fontsize=9)
    what = (
        "Validation while training: a line a seed, a point an evaluation, a star the best of "
        "a run's last phase, whose weights are tested"
    )
    _title(figure, summary, dataset, what + ("; in grey the other rows" if crowded else ""))
    return figure


# --- Pieces -----------------------------------------------------------------------------------


class _Line(NamedTuple):
    """A seed's validation metric over the seconds, and the point whose weights are tested.

    That point is the best of its last phase.
    """

    seconds: list[float]
    valid: list[float]
    star: tuple[float, float]


def _line(points: Sequence[Mapping[str, Any]], factor: int) -> _Line:
    best = max(points, key=lambda record: (record["tested"], record["valid"]))
    return _Line(
        [record["seconds"] for record in points],
        [factor * record["valid"] for record in points],
        (best["seconds"], factor * best["valid"]),
    )


def _one_panel(
    lines: Mapping[int, Sequence[_Line]], names: Mapping[int, str]
) -> tuple[Any, list[Any], Callable[..., Any]]:
    """Draw all rows in one panel.

    Returns the figure, its panel, and what draws a legend from handles and labels.
    """
    figure = new_figure(8.5, 4.8)
    axes = figure.subplots()
    for place, of_row in lines.items():
        _seeds(axes, of_row, place, names[place])
    return (
        figure,
        [axes],
        partial(
            axes.legend, fontsize=8, bbox_to_anchor=(1.02, 1), loc="upper left", borderaxespad=0
        ),
    )


def _panel_each(
    lines: Mapping[int, Sequence[_Line]], names: Mapping[int, str]
) -> tuple[Any, list[Any], Callable[..., Any]]:
    """Draw a panel for each row.

    Returns the figure, its panels, and what draws a legend, in the place after the last row or,
    where that is full, at the right.
    """
    high = math.ceil(len(lines) / _PANELS_WIDE)
    full = len(lines) % _PANELS_WIDE == 0
    figure = new_figure(2.6 * _PANELS_WIDE + 2 * full, 1.9 * high + 1.4)
    grid = figure.subplots(high, _PANELS_WIDE, sharex=True, sharey=True, squeeze=False).ravel()
    panels = list(grid[: len(lines)])
    spare = grid[len(lines) :]
    for axes in spare:
        axes.set_axis_off()
    for axes in panels[-_PANELS_WIDE:]:
        axes.tick_params(labelbottom=True)  # the lowest panel of each column
    for axes, (place, of_row) in zip(panels, lines.items(), strict=True):
        for other in lines.keys() - {place}:
            for line in lines[other]:
                axes.plot(line.seconds, line.valid, color="0.85", linewidth=0.5)
        _seeds(axes, of_row, 0, None)
        axes.set_title(names[place], fontsize=8)
        axes.tick_params(labelsize=7)
    return (
        figure,
        panels,
        partial(figure.legend, fontsize=8, loc="outside right center")
        if full
        else partial(spare[0].legend, fontsize=8, loc="center"),
    )


def _seeds(axes: Any, lines: Sequence[_Line], place: int, label: str | None) -> None:
    """Draw a row's lines, one a seed, in the look of its place, each with its star."""
    colour, marker, dash = _style(place)
    for number, line in enumerate(lines):
        axes.plot(
            line.seconds,
            line.valid,
            dash,
            color=colour,
            linewidth=1,
            marker=marker,
            markersize=3,
            label=label if number == 0 else None,
        )
        axes.plot(
            *line.star,
            marker="*",
            color=colour,
            markersize=10,
            markeredgecolor="white",
            linestyle="none",
        )


def _style(place: int) -> tuple[str, str, str]:
    turn = place // len(COLOURS)
    return (
        COLOURS[place % len(COLOURS)],
        MARKERS[(place + turn) % len(MARKERS)],
        DASHES[turn % len(DASHES)],
    )


def _title(figure: Any, summary: Mapping[str, Any], dataset: str, what: str) -> None:
    width = int(15 * figure.get_figwidth())
    lines = [
        line
        for text in (f"{dataset}: {what}", protocol_text(summary, dataset))
        for line in textwrap.wrap(text, width)
    ]
    figure.suptitle("\n".join(lines), fontsize=9)


def _unit(summary: Mapping[str, Any]) -> str:
    return " (%)" if summary["percent"] else " (fraction)"


def _axis(summary: Mapping[str, Any], dataset: str, split: str) -> str:
    part = summary["datasets"][dataset]
    return (
        f"{summary['metrics'][0]}, {split}, n = "
        f"{part['cases' if split == 'test' else 'valid_cases']:,}{_unit(summary)}"
    )


def _mean(entry: Mapping[str, Any] | None) -> float | None:
    return entry["mean"] if entry and is_number(entry["mean"]) else None


def _seed_count(row: Mapping[str, Any]) -> str:
    return f"{len(row['seeds'])} seed{'s' if len(row['seeds']) > 1 else ''}"


def _seed_text(rows: list[Mapping[str, Any]]) -> str:
    counts = sorted({len(row["seeds"]) for row in rows if not row["draws_nothing"]})
    text = (
        " or ".join(map(str, counts)) + (" seed" if counts == [1] else " seeds") if counts else ""
    )
    floors = (
        "1 for floors, which draw no random numbers"
        if any(row["draws_nothing"] for row in rows)
        else ""
    )
    return "; ".join(filter(None, (text, floors)))


def _machine(summary: Mapping[str, Any]) -> str:
    environment = summary["environment"]
    threads = environment.get("threads")
    device = environment.get("device")
    device = ", ".join(map(str, device)) if isinstance(device, list) else str(device)
    return (
        f"{threads} thread{'s' if threads != 1 else ''}, {device}"
        if isinstance(threads, int)
        else device
    )


def _time_ticks(axes: Any, times: Sequence[float] = _ROUND_TIMES) -> None:
    """Ticks at round durations (seconds), in words, instead of powers of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = axes.get_xlim()
    ticks = [time for time in times if low <= time <= high]
    if len(ticks) < 2:
        step = (high / low) ** 0.5
        ticks = [low * step**0.25, low * step, low * step**1.75]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _duration(seconds)))


def _duration(seconds: float) -> str:
    if seconds < 60:
        digits = max(0, 1 - math.floor(math.log10(seconds))) if seconds < 10 else 0
        return f"{round(seconds, digits):g} s"
    return f"{seconds / 60:.3g} min" if seconds < 3600 else f"{seconds / 3600:.3g} h"
