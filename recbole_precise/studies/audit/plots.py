"""Draw the audit's pictures, each on its own as a PNG.

They can be read without the report: labelled axes, units and n.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.studies.audit.examine import CUT, SHUFFLED, Audit
from recbole_precise.studies.figures import look, need_matplotlib, new_figure, save_figure

_DATA = "#1b6ca8"
_OTHER = "#d1603d"
_CHANCE = "#8a8a8a"
_SIZE = (6.4, 4.0)


def write(folder: Path, name: str, audit: Audit) -> list[Path]:
    """Draw all pictures that the audit has figures for into `folder`, each as a PNG.

    The PNG files.
    """
    need_matplotlib()
    written = []
    for stem, draw in PICTURES.items():
        with look():
            figure = new_figure(*_SIZE)
            axes = figure.subplots()
            title = draw(axes, audit)
            if title is None:
                # Of an earlier audit with other settings.
                (folder / f"{stem}.png").unlink(missing_ok=True)
                continue
            axes.set_title(f"{name}\n{title}", fontsize=10, loc="left")
            written.append(save_figure(figure, folder, stem))
    return written


def history_lengths(axes: Any, audit: Audit) -> str | None:
    """How many users have how many events."""
    from matplotlib.ticker import LogLocator

    counts = np.array(audit.curves["history lengths"])
    longest = len(counts) - 1
    if longest <= 60:
        axes.bar(np.arange(len(counts)), counts, width=0.9, color=_DATA)
        axes.set_xlim(0, longest + 1)
    else:
        edges = np.unique(
            np.round(np.geomspace(np.flatnonzero(counts)[0], longest + 1, 31)).astype(int)
        )
        found, _ = np.histogram(np.arange(len(counts)), edges, weights=counts)
        axes.stairs(found, edges, fill=True, color=_DATA)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        _plain_ticks(axes.xaxis)
    axes.axvline(
        audit.lengths["median"],
        color=_OTHER,
        linestyle="--",
        label=f"median: {audit.lengths['median']:g} events",
    )
    axes.set(xlabel="events of a user", ylabel="users" if longest <= 60 else "users per step")
    axes.legend(frameon=False)
    return f"lengths of histories, n = {int(counts.sum()):,} users"


def item_frequencies(axes: Any, audit: Audit) -> str | None:
    """Training events of the items by rank, and the ten buckets of equal training mass."""
    counts = np.array(audit.curves["training events by rank"])
    seen = counts[counts > 0]
    if not len(seen):
        return None
    cuts = audit.frequencies["cuts of ten equal-mass buckets"]
    for number, (begin, end) in enumerate(itertools.pairwise(cuts), start=1):
        if number % 2 and end > begin:
            axes.axvspan(
                begin + 0.5,
                end + 0.5,
                color=_CHANCE,
                alpha=0.18,
                linewidth=0,
                label="buckets 1, 3, ..., 9 of ten\nwith equal training mass"
                if number == 1
                else None,
            )
    axes.plot(
        np.arange(1, len(seen) + 1),
        seen,
        color=_DATA,
        label=f"{len(seen):,} items seen in training",
    )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(0.8, len(counts) + 1),
        xlabel="rank of the item by training events",
        ylabel="training events of the item",
    )
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)
    axes.legend(frameon=False, loc="lower left")
    return (
        f"frequencies of items, {int(counts.sum()):,} training events, "
        f"{len(counts) - len(seen):,} items unseen"
    )


def catalogue_order(axes: Any, audit: Audit) -> str | None:
    """Draw the share of ascending pairs by distance.

    A leak is highest between neighbours, drift grows with distance.
    """
    curves = {name: rows for name, rows in audit.curves["ascending by distance"].items() if rows}
    if not curves:
        return None
    for (name, rows), colour in zip(curves.items(), (_DATA, _OTHER)):
        distance, share, low, high = (
            np.array([row[key] for row in rows]) for key in ("distance", "value", "low", "high")
        )
        axes.fill_between(distance, 100 * low, 100 * high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            distance,
            100 * share,
            marker="o",
            markersize=3,
            color=colour,
            label=f"order by {name} (band: 95% interval)",
        )
    axes.axhline(50, color=_CHANCE, linestyle="--", label="random order")
    pairs = max(rows[0]["n"] for rows in curves.values())
    axes.set(
        xlabel="distance between two events of a user, of unequal items (places)",
        ylabel="pairs in ascending catalogue order (%)",
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
    # At least ten points, so that a difference of nothing does not look like one.
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 45), max(high, 55))
    axes.legend(frameon=False)
    return f"do histories follow the catalogue? n = {pairs:,} pairs at distance 1"


def sizes_of_ties(axes: Any, audit: Audit) -> str | None:
    """How many events share their time with how many others of their user."""
    ties = np.array(audit.curves["sizes of ties"])
    size = np.flatnonzero(ties)
    if size.max(initial=0) < 2:
        return None
    events = ties * np.arange(len(ties))
    edges = [1, 2, 3, 4, 5, 6, 11, 21, 51, np.inf]
    names = ["alone", "2", "3", "4", "5", "6-10", "11-20", "21-50", "over 50"]
    found = np.histogram(np.arange(len(events)), edges, weights=events)[0]
    shown = np.flatnonzero(found)[-1] + 1
    bars = axes.bar(
        names[:shown], 100 * found[:shown] / events.sum(), color=[_CHANCE, *[_DATA] * (shown - 1)]
    )
    axes.bar_label(bars, [f"{value:,.0f}" for value in found[:shown]], fontsize=7)
    axes.set(xlabel="events of the user at the same time", ylabel="share of all events (%)")
    return f"tied times, n = {int(events.sum()):,} events (numbers: events)"


def floors(axes: Any, audit: Audit) -> str | None:
    """Draw what counting reaches on the test targets."""
    mode = "history masked" if audit.settings["mask_history"] else "all items are candidates"
    found = {name: modes[mode][f"ndcg@{CUT}"] for name, modes in audit.curves["floors"].items()}
    names = {
        "Pop": "popularity",
        "Transition": "transitions\nfrom the last item",
        "Transition backwards": "the same transitions\nread backwards",
    }
    value, low, high = (
        100 * np.array([row[key] for row in found.values()]) for key in ("value", "low", "high")
    )
    axes.bar(
        [names[name] for name in found],
        value,
        yerr=np.abs([value - low, high - value]),
        capsize=4,
        color=[_CHANCE, _DATA, _OTHER],
        width=0.6,
    )
    chance = audit.measures["order"].in_copies
    axes.axhspan(
        100 * chance.low,
        100 * chance.high,
        color=_DATA,
        alpha=0.2,
        linewidth=0,
        zorder=0,
        label=f"transitions in shuffled histories\n(95% of {chance.draws} copies)",
    )
    axes.set(ylabel=f"nDCG@{CUT} (%), bars: 95% interval")
    axes.legend(frameon=False)
    return f"what floors reach, n = {next(iter(found.values()))['n']:,} test targets, {mode}"


def memory(axes: Any, audit: Audit) -> str | None:
    """Draw whether more of the history helps counting."""
    rows = audit.curves["memory"]
    last, value, low, high = (
        np.array([row[key] for row in rows], dtype=float)
        for key in ("last items", "value", "low", "high")
    )
    chance = {
        key: 100 * np.array([row["chance"][key] for row in rows]) for key in ("low", "mean", "high")
    }
    axes.errorbar(
        last,
        100 * value,
        yerr=100 * np.abs([value - low, high - value]),
        marker="o",
        capsize=3,
        color=_DATA,
        label="histories as they are (95% interval)",
    )
    axes.fill_between(last, chance["low"], chance["high"], color=_CHANCE, alpha=0.3, linewidth=0)
    axes.plot(
        last,
        chance["mean"],
        color=_CHANCE,
        linestyle="--",
        label=f"{SHUFFLED} ({rows[0]['chance']['draws']} copies)",
    )
    axes.set(
        xlabel="last items whose transition counts are added",
        ylabel=f"nDCG@{CUT} (%)",
        ylim=(0, None),
        xticks=last,
    )
    axes.legend(frameon=False)
    return f"how much of the history counting can use, n = {rows[0]['n']:,} test targets"


def text_likeness(axes: Any, audit: Audit) -> str | None:
    """Cosines of the texts of consecutive and of random items."""
    curve = audit.curves.get("text")
    if curve is None:
        return None
    consecutive = audit.measures["text"].estimate
    at_random = audit.measures["text at random"].estimate
    edges = np.array(curve["edges"])
    for key, colour, words, estimate in (
        ("random", _CHANCE, "random pairs", at_random),
        ("consecutive", _DATA, "consecutive items", consecutive),
    ):
        share = 100 * np.array(curve[key])
        # As a share of pairs at or above a likeness: the few that are alike are seen beside the
        # many that are not.
        axes.step(
            edges,
            np.append(share[::-1].cumsum()[::-1], 0),
            where="pre",
            color=colour,
            label=f"{words}: mean {estimate.value:.3f}, n = {estimate.n:,}",
        )
    axes.set(
        xlabel="likeness of two texts (cosine)",
        ylabel="pairs at least as alike (%, log scale)",
        yscale="log",
        ylim=(0.01, 120),
    )
    _plain_ticks(axes.yaxis)
    axes.legend(frameon=False)
    return "texts of items that follow each other"


def _plain_ticks(axis: Any) -> None:
    """Numbers such as 1,000 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


PICTURES: dict[str, Callable[[Any, Audit], str | None]] = {
    "floors": floors,
    "memory": memory,
    "catalogue-order": catalogue_order,
    "ties": sizes_of_ties,
    "text-likeness": text_likeness,
    "history-lengths": history_lengths,
    "item-frequencies": item_frequencies,
}
