"""The files of a benchmark's report: tables as Markdown, CSV and LaTeX, numbers and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_precise.files import write_atomically, write_json
from recbole_precise.studies.benchmark import plots, tables
from recbole_precise.studies.benchmark.plan import BenchmarkPlan
from recbole_precise.studies.benchmark.running import Outcome
from recbole_precise.studies.benchmark.summary import summarize


def write_report(
    plan: BenchmarkPlan, outcomes: Sequence[Outcome], folder: Path, command: str, draw: bool
) -> str:
    """Write table.md, table.csv, table-<data set>.tex, results.json and plots.

    Args:
        plan: of the benchmark.
        outcomes: of its cells.
        folder: of the report.
        command: that made the report.
        draw: whether to draw plots.

    Returns:
        What to print.
    """
    summary = summarize(plan, outcomes, command)
    texts = {"table.md": tables.markdown(summary), "table.csv": tables.csv_text(summary)}
    for dataset, part in summary["datasets"].items():
        if part["rows"]:
            texts[f"table-{dataset}.tex"] = tables.latex(summary, dataset)
    write_json(folder / "results.json", summary, "the results of the benchmark")
    for name, text in texts.items():
        _write_text(folder / name, text)
    drawn = plots.draw(summary, folder / "plots") if draw else []
    files = ", ".join([*texts, "results.json", *(f"plots/{file.name}" for file in drawn)])
    return f"{texts['table.md']}\nWritten to '{folder}': {files}"


def _write_text(file: Path, text: str) -> None:
    write_atomically(file, lambda partial: partial.write_text(text, encoding="utf-8"), "a table")
