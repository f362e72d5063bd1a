"""Report the audit as one page.

The terminal and Markdown have the same sections, and JSON has all figures.
"""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recbole_precise.files import write_atomically, write_json
from recbole_precise.runs.result import numbers
from recbole_precise.studies.audit.examine import Audit, Measure
from recbole_precise.studies.audit.verdict import LEVEL, Verdict, percent
from recbole_precise.studies.text_tables import text_table

_MARK = {True: "yes", False: "no", None: "-"}


@dataclass
class Section:
    """A heading, sentences, and a table: header and rows of cells."""

    title: str
    sentences: list[str] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


def sections(name: str, audit: Audit, verdict: Verdict, facts: dict[str, Any]) -> list[Section]:
    """Return the page. `facts`: text, split and what else says where the data came from."""
    settings = audit.settings
    part = ""
    split = ", ".join(f"{mode}: {how}" for mode, how in facts["split"].items())
    if settings["events compared with copies"] < audit.sizes["events"]:
        part = (
            f" Figures beside chance are of {settings['users compared with copies']:,} random "
            f"users with {settings['events compared with copies']:,} events."
        )
    note = (
        "Intervals are 95%, over users. `by chance` is the middle 95% of the same figure in "
        f"{settings['shuffles']} random copies of the data; p is the share of copies "
        "at least as far out, after Holm's correction over all questions: what is found at "
        f"{LEVEL} is found wrongly in at most one of {round(1 / LEVEL)} data sets "
        f"without it.{part}"
    )
    return [
        Section(f"Audit of {name}", [verdict.summary]),
        Section("Findings", [], ["question", "found", "answer"], [[f.name, _MARK[f.found],
            f.sentence] for f in verdict.findings]),
        Section("Sizes", [f"Split: {split}. Text: "
                          f"{facts['text']}."], ["", "count"], [[key, _number(value)] for key,
                          value in audit.sizes.items()]),
        Section("Distributions", _distribution_notes(audit), ["", *audit.lengths], [
            ["events of a user", *map(_number, audit.lengths.values())],
            ["training events of an item", *map(_number,
                audit.frequencies["training events of an item"].values())],
        ]),
        Section("What floors reach on the test targets", [], ["", *_floor_columns(audit)],
            _floor_rows(audit)),
        Section("Measures beside chance", [note], ["", "value", "95% interval", "n", "by chance",
            "copies", "p"], [_row(m) for m in audit.measures.values()]),
    ]  # fmt: skip


def to_text(page: list[Section], width: int = 110) -> str:
    """For the terminal; findings are a list, because their answers are sentences."""
    parts = []
    for number, section in enumerate(page):
        lines = [section.title, ("=" if number == 0 else "-") * len(section.title)]
        lines += [line for sentence in section.sentences for line in _wrapped(sentence, width)]
        if section.title == "Findings":
            for _, mark, sentence in section.rows:
                first, *others = _wrapped(sentence, width - 5)
                lines += [f"{mark:>3}  {first}", *("     " + line for line in others)]
        elif section.rows:
            lines += ([""] if section.sentences else []) + [
                text_table(section.header, section.rows)
            ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def to_markdown(page: list[Section], plots: list[str]) -> str:
    """GitHub's Markdown; `plots` are paths of pictures relative to the file."""
    parts = []
    for number, section in enumerate(page):
        lines = [
            f"{'#' if number == 0 else '##'} {section.title}",
            "",
            *(sentence + "\n" for sentence in section.sentences),
        ]
        if section.rows:
            align = (
                ["---"] * len(section.header)
                if section.title == "Findings"
                else ["---", *["---:"] * (len(section.header) - 1)]
            )
            lines += [
                "| " + " | ".join(map(_cell, cells)) + " |"
                for cells in (section.header, align, *section.rows)
            ]
        parts.append("\n".join(lines).rstrip() + "\n")
    if plots:
        parts.append(
            "## Plots\n\n" + "\n\n".join(f"![{Path(plot).stem}]({plot})" for plot in plots) + "\n"
        )
    return "\n".join(parts)


def to_json(name: str, audit: Audit, verdict: Verdict, facts: dict[str, Any]) -> dict[str, Any]:
    """All figures, at full precision; what is not a number is null."""
    return numbers({"dataset": name, **facts, "verdict": asdict(verdict), **audit.to_dict()})


def write(
    folder: Path,
    name: str,
    audit: Audit,
    verdict: Verdict,
    facts: dict[str, Any],
    plots: list[str],
) -> None:
    """Write audit.md and audit.json into `folder`."""
    page = to_markdown(sections(name, audit, verdict, facts), plots)
    write_atomically(
        folder / "audit.md",
        lambda partial: partial.write_text(page, encoding="utf-8"),
        "the report",
    )
    write_json(folder / "audit.json", to_json(name, audit, verdict, facts), "the figures")


def _distribution_notes(audit: Audit) -> list[str]:
    items = audit.frequencies
    times = audit.times
    spread = (
        "The most frequent 20% of the items seen in training hold "
        f"{percent(items['share of events of the most frequent 20% of the items seen'])} of its "
        "events "
        f"(Gini coefficient {items['Gini coefficient']:.2f} over the catalogue). "
        "Ten buckets of equal training mass end after "
        f"{', '.join(f'{cut:,}' for cut in items['cuts of ten equal-mass buckets'][1:])} items."
    )
    if times["are places"]:
        return [
            spread,
            "The times only number each user's events: whether events were tied cannot be told.",
        ]
    unit = (
        f" Times are whole {times['resolution']}s."
        if times["resolution"] in ("day", "hour", "minute")
        else ""
    )
    return [spread, (
        f"{percent(times['share of events in ties'])} of events share their time with another "
        f"event of their user, at most {times['events of the largest tie']:,} at once; "
        f"{percent(times['share of users with one time for all'])} of users have one time for "
        f"all.{unit}"
    )]  # fmt: skip


def _floor_columns(audit: Audit) -> list[str]:
    modes = next(iter(audit.curves["floors"].values()))
    return [f"{metric}, {mode}" for mode in modes for metric in modes[mode]]


def _floor_rows(audit: Audit) -> list[list[str]]:
    rows = []
    for name, modes in audit.curves["floors"].items():
        cells = [
            f"{percent(m['value'], 3)} ({percent(m['low'], 2)} to {percent(m['high'], 2)})"
            for metrics in modes.values()
            for m in metrics.values()
        ]
        rows.append([name, *cells])
    return rows


def _row(measure: Measure) -> list[str]:
    estimate = measure.estimate
    chance = measure.chance
    if not estimate.n:
        return [measure.title, "none", "", f"0 {measure.of}", "", "", ""]

    def show(value: float) -> str:
        if measure.unit in ("share", "gain"):
            return percent(value, 2 if measure.unit == "gain" else 1)
        return f"{value:.3f}" if measure.unit == "cosine" else f"{value:,.1f}"

    between = "" if chance is None else f"{show(chance.low)} to {show(chance.high)}"
    p = "" if measure.adjusted_p is None else f"{measure.adjusted_p:.3f}"
    interval = f"{show(estimate.low)} to {show(estimate.high)}"
    return [
        measure.title,
        show(estimate.value),
        interval,
        f"{estimate.n:,} {measure.of}",
        between,
        "" if chance is None else chance.how,
        p,
    ]


def _number(value: int | float) -> str:
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1 else f"{value:.2g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|") or " "


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width) or [""]
