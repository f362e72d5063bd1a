"""What an inspection found: printed, and written as Markdown, JSON and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from recbole_precise.files import write_atomically, write_json
from recbole_precise.studies.figures import save_figure
from recbole_precise.studies.text_tables import markdown_table, text_table


def to_text(study: ModuleType, summary: Mapping[str, Any]) -> str:
    """Return what is printed.

    Args:
        study: module of this package with `table`, `notes` and `draw`.
        summary: what its `summarise` returned.
    """
    notes = "\n".join(study.notes(summary))
    return f"{text_table(*study.table(summary))}\n\n{notes}"


def write(
    study: ModuleType, summary: Mapping[str, Any], folder: Path, stem: str, draw: bool
) -> list[str]:
    """Write `stem`.md, .json and, with `draw`, .png; return their names."""
    notes = "\n".join(f"- {line}" for line in study.notes(summary))
    text = f"# {stem.capitalize()}\n\n{markdown_table(*study.table(summary))}\n\n{notes}\n"
    if draw:
        text += f"\n![{stem}]({stem}.png)\n"
    write_atomically(
        folder / f"{stem}.md",
        lambda partial: partial.write_text(text, encoding="utf-8"),
        "the table",
    )
    write_json(folder / f"{stem}.json", summary, f"the {stem}")
    endings = ["md", "json"]
    if draw:
        save_figure(study.draw(summary), folder, stem)
        endings.append("png")
    return [f"{stem}.{ending}" for ending in endings]
