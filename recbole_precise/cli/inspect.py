"""`inspect`: look into finished runs, as the two papers do.

Discrepancy, separation, gates, gains by frequency (docs/pad.md), similarity (docs/methods.md 7).
"""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_precise.cli.compare import check_sides
from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.settings import need_recbole
from recbole_precise.cli.values import folder, number, switch, whole_number, words
from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.system.locking import exclusive

_PATIENCE = 60.0  # seconds to wait for another report that is being written into the same folder
COMMON = ("output", "plots", "data_path", "text_cache_dir")


@dataclass(frozen=True)
class _Kind:
    """What can be looked at.

    Attributes:
        module: of studies.inspection.
        options: that its `summarise` takes.
        defaults: of options whose default is another one than declared.
        sides: how many runs it takes; None for any number.
    """

    module: str
    options: tuple[str, ...]
    defaults: Mapping[str, object] = field(default_factory=dict)
    sides: int | None = None


_OF_SPACES = ("reference", "spaces", "pairs", "distance", "split", "seed")
KINDS = {
    "discrepancy": _Kind("taus", (*_OF_SPACES, "negatives", "trained_only"), {"split": "valid"}),
    "separation": _Kind("separations", (*_OF_SPACES, "groups", "share"), {"split": "valid"}),
    "gates": _Kind("gates", ("split",)),
    "gains": _Kind(
        "gains", ("metric", "slices", "confidence", "resamples", "split", "seed"), sides=2
    ),
    "similarity": _Kind("similarities", ("neighbours", "seed")),
}


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "look into finished runs: how far trainings moved their item vectors, what the gate of PAD "
        "weighs, where one model gains on another, whether ID vectors know which items are alike; "
        "with plots"
    )
    add = parser.add_argument
    add("kind", nargs="?", metavar="|".join(KINDS))
    parser.suggestions["kind"] = lambda: KINDS
    add("runs", nargs="*", metavar="RUN [RUN ...]")
    add(
        "--output",
        type=folder,
        metavar="FOLDER",
        help="leave the table as Markdown and JSON, with a plot",
    )
    add("--plots", type=switch, default=True, help="False: draw nothing, and need no matplotlib")
    add("--data_path", metavar="FOLDER", help="where the data sets lie now")
    add("--text_cache_dir", metavar="FOLDER", help="where the cached texts lie now")
    add(
        "--split",
        choices=("test", "valid"),
        default="test",
        help="test, or valid; discrepancy and separation: valid",
    )
    add("--seed", type=whole_number(least=0), default=0, help="of what is drawn")
    _add_options_of_spaces(parser)
    add("--metric", type=str.lower, default="ndcg@10", help="gains: the metric")
    add(
        "--slices",
        type=words,
        default="frequency buckets",
        metavar='"frequency buckets"',
        help="gains: kinds of slices",
    )
    add(
        "--confidence",
        type=number(above=0, below=1),
        default=0.95,
        help="gains: of the intervals",
    )
    add(
        "--resamples",
        type=whole_number(least=99),
        default=9999,
        help="gains: random draws of each interval and test",
    )
    add(
        "--neighbours",
        type=whole_number(),
        default=10,
        help="similarity: nearest items that are compared",
    )


def _add_options_of_spaces(parser: CommandParser) -> None:
    """Declare the options of discrepancy and separation."""
    add = parser.add_argument
    add(
        "--reference",
        default="id",
        help="discrepancy, separation: the space that others are held against, of the first run "
        "that has it",
    )
    add(
        "--spaces",
        type=words,
        metavar='"id text"',
        help="discrepancy, separation: these others; default: all",
    )
    add(
        "--pairs",
        type=whole_number(least=2),
        default=200_000,
        help="discrepancy, separation: pairs of items at most, in each bucket",
    )
    add(
        "--distance",
        choices=("cosine", "euclidean"),
        default="cosine",
        help="discrepancy, separation: cosine, or euclidean",
    )
    add(
        "--negatives",
        type=whole_number(least=0),
        default=0,
        help="discrepancy: random items beside each target",
    )
    add(
        "--trained_only",
        type=switch,
        default=False,
        help="discrepancy: leave out items that were never trained",
    )
    add(
        "--groups",
        choices=("collaborative", "random"),
        default="collaborative",
        help="separation: collaborative, or random",
    )
    add(
        "--share",
        type=number(above=0, most=0.5),
        default=0.1,
        help="separation: share of the pairs that count as near, and as far",
    )


def main(args: Namespace) -> None:
    """Print a table of what the runs hold, and write it with a plot into `--output`."""
    kind = _kind_of(args)
    if args.output is not None and args.plots:
        from recbole_precise.studies.figures import need_matplotlib

        need_matplotlib()
    need_recbole()
    from recbole_precise.studies.inspection.report import to_text, write

    study = importlib.import_module(f"recbole_precise.studies.inspection.{kind.module}")
    options = {key: getattr(args, key) for key in kind.options}
    options |= {key: value for key, value in kind.defaults.items() if key not in args.given}
    changes = {key: args.given[key] for key in ("data_path", "text_cache_dir") if key in args.given}
    runs: list[Any] = args.runs if kind.sides else [Path(run) for run in args.runs]
    summary = study.summarise(runs, **options, changes=changes)
    print(to_text(study, summary))
    if args.output is not None:
        with exclusive(args.output, "--output", wait=_PATIENCE):
            written = write(study, summary, args.output, args.kind, args.plots)
        print(f"\nWritten to '{args.output}': {', '.join(written)}")


def _kind_of(args: Namespace) -> _Kind:
    """Return what is looked at.

    Raises:
        ConfigError: a run or an option does not go with it.
    """
    usage = f"recbole-precise inspect {'|'.join(KINDS)} RUN [RUN ...]"
    if args.kind is None:
        raise ConfigError(f"inspect needs to know what to look at, {', '.join(KINDS)}: {usage}.")
    if args.kind not in KINDS:
        raise ConfigError(
            f"inspect knows no '{args.kind}'.{did_you_mean(args.kind, KINDS)} It looks at "
            f"{', '.join(KINDS)}: {usage}."
        )
    kind = KINDS[args.kind]
    if kind.sides is None and not args.runs:
        raise ConfigError(f"inspect {args.kind} needs a run directory or several: {usage}.")
    if kind.sides is not None:
        name = f"inspect {args.kind}"
        check_sides(args.runs, name, f"recbole-precise {name} RUN_A RUN_B")
    known = (*kind.options, *COMMON)
    for key in args.given:
        if key not in known:
            raise ConfigError(
                f"Unknown option '--{key}' of inspect.{did_you_mean(key, known)} It takes "
                f"{', '.join('--' + name for name in known)}."
            )
    return kind
