"""`inspect`: look into finished runs, as the two papers do: discrepancy, separation, gates, gains
by frequency (docs/pad.md), similarity (docs/methods.md 7).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_precise.cli.commands import VERBS, need_recbole, own_options
from recbole_precise.cli.options import number, one_of, switch, whole_number
from recbole_precise.config.arguments import positional
from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.files import output_folder
from recbole_precise.system.locking import exclusive

_PATIENCE = 60.0  # seconds to wait for another report that is being written into the same folder
_COMMON = ("output", "plots", "data_path", "text_cache_dir")


@dataclass(frozen=True)
class _Kind:
    """`module`: of the package inspection.

    `own`: its options; `read`: these as arguments of its `summarise`; `sides`: how many runs it
        takes, None for any number.
    """

    module: str
    own: tuple[str, ...]
    read: Callable[[Mapping[str, str]], dict[str, Any]]
    sides: int | None = None


def _discrepancy(options: Mapping[str, str]) -> dict[str, Any]:
    return {
        **_spaces(options), "negatives": whole_number(options, "negatives", 0, least=0),
        "trained_only": switch(options, "trained_only", False),
    }  # fmt: skip


def _separation(options: Mapping[str, str]) -> dict[str, Any]:
    from recbole_precise.studies.inspection.separations import GROUPS

    return {
        **_spaces(options),
        "groups": one_of(options, "groups", GROUPS),
        "share": number(options, "share", 0.1, above=0, most=0.5),
    }


def _spaces(options: Mapping[str, str]) -> dict[str, Any]:
    from recbole_precise.evaluation.discrepancy import DISTANCES

    return {
        "reference": options.get("reference", "id"), "spaces": _words(options, "spaces"),
        "pairs": whole_number(options, "pairs", 200_000, least=2),
        "distance": one_of(options, "distance", DISTANCES), "split": one_of(options, "split",
            ("valid", "test")), "seed": whole_number(options, "seed", 0, least=0),
    }  # fmt: skip


def _gates(options: Mapping[str, str]) -> dict[str, Any]:
    return {"split": one_of(options, "split", ("test", "valid"))}


def _gains(options: Mapping[str, str]) -> dict[str, Any]:
    return {
        "metric": options.get("metric", "ndcg@10").lower(), "slices": _words(options,
            "slices") or ("frequency", "buckets"),
        "confidence": number(options, "confidence", 0.95, above=0, below=1),
        "resamples": whole_number(options, "resamples", 9999, least=99),
        "split": one_of(options, "split", ("test", "valid")), "seed": whole_number(options, "seed",
            0, least=0),
    }  # fmt: skip


def _similarity(options: Mapping[str, str]) -> dict[str, Any]:
    return {
        "neighbours": whole_number(options, "neighbours", 10),
        "seed": whole_number(options, "seed", 0, least=0),
    }


def _words(options: Mapping[str, str], key: str) -> list[str] | None:
    """`options[key]` as words with blanks or commas between them; None where it is missing."""
    if key not in options:
        return None
    words = options[key].replace(",", " ").strip("[] ").split()
    if not words:
        raise ConfigError(f"--{key} names nothing.")
    return list(dict.fromkeys(words))


_OF_SPACES = ("reference", "spaces", "pairs", "distance", "split", "seed")
KINDS: dict[str, _Kind] = {
    "discrepancy": _Kind("taus", (*_OF_SPACES, "negatives", "trained_only"), _discrepancy),
    "separation": _Kind("separations", (*_OF_SPACES, "groups", "share"), _separation),
    "gates": _Kind("gates", ("split",), _gates),
    "gains": _Kind(
        "gains", ("metric", "slices", "confidence", "resamples", "split", "seed"), _gains, sides=2
    ),
    "similarity": _Kind("similarities", ("neighbours", "seed"), _similarity),
}


def main(arguments: Sequence[str]) -> None:
    """Print a table of what the runs hold.

    With --output write it as Markdown and JSON, with a plot.
    """
    named, rest = positional(arguments)
    usage = f"recbole-precise {VERBS['inspect'].usage}"
    if not named:
        raise ConfigError(f"inspect needs to know what to look at, {', '.join(KINDS)}: {usage}.")
    if named[0] not in KINDS:
        raise ConfigError(
            f"inspect knows no '{named[0]}'.{did_you_mean(named[0], KINDS)} It looks at "
            f"{', '.join(KINDS)}: {usage}."
        )
    kind, runs = KINDS[named[0]], named[1:]
    if kind.sides is None and not runs:
        raise ConfigError(f"inspect {named[0]} needs a run directory or several: {usage}.")
    if kind.sides is not None and len(runs) != kind.sides:
        many = (
            " Quote a pattern, so that the shell leaves it alone." if len(runs) > kind.sides else ""
        )
        raise ConfigError(
            f"inspect {named[0]} takes two sides, not {len(runs)}: recbole-precise inspect "
            f"{named[0]} RUN_A RUN_B.{many}"
        )
    options = own_options("inspect", rest, required=(), optional=(*kind.own, *_COMMON))
    settings, plots = kind.read(options), switch(options, "plots", True)
    output = output_folder(options["output"], "--output") if "output" in options else None
    if output is not None and plots:
        from recbole_precise.studies.figures import need_matplotlib

        need_matplotlib()
    need_recbole()
    module = importlib.import_module(f"recbole_precise.studies.inspection.{kind.module}")
    changes = {key: options[key] for key in ("data_path", "text_cache_dir") if key in options}
    summary = module.summarise(
        runs if kind.sides else [Path(run) for run in runs], **settings, changes=changes
    )
    from recbole_precise.studies.text_tables import text_table

    print(text_table(*module.table(summary)) + "\n\n" + "\n".join(module.notes(summary)))
    if output is not None:
        with exclusive(output, "--output", wait=_PATIENCE):
            written = _write(output, named[0], module, summary, plots)
        print(f"\nWritten to '{output}': {', '.join(written)}")


def _write(
    folder: Path, stem: str, module: Any, summary: Mapping[str, Any], plots: bool
) -> list[str]:
    """`stem`.md, .json and, with `plots`, .png; returns their names."""
    from recbole_precise.runs.checkpoint import write_atomically, write_json
    from recbole_precise.studies.figures import save_figure
    from recbole_precise.studies.text_tables import markdown_table

    notes = "\n".join(f"- {line}" for line in module.notes(summary))
    text = f"# {stem.capitalize()}\n\n{markdown_table(*module.table(summary))}\n\n{notes}\n" + (
        f"\n![{stem}]({stem}.png)\n" if plots else ""
    )
    write_atomically(
        folder / f"{stem}.md",
        lambda partial: partial.write_text(text, encoding="utf-8"),
        "the table",
    )
    write_json(folder / f"{stem}.json", summary, f"the {stem}")
    if plots:
        save_figure(module.draw(summary), folder, stem)
    return [f"{stem}.{ending}" for ending in ("md", "json", *(("png",) if plots else ()))]
