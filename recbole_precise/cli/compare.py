"""`compare`: is one model better than another, or is it luck?

Any two finished runs, or several seeds of each.
"""

from __future__ import annotations

from argparse import Namespace

from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.values import file, metrics, number, whole_number
from recbole_precise.errors import ConfigError
from recbole_precise.files import write_json


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "paired test of two finished runs, or of several seeds each ('runs/A/seed-*' "
        "'runs/B/seed-*')"
    )
    add = parser.add_argument
    add("sides", nargs="*", metavar="RUN_A RUN_B")
    add(
        "--metric",
        type=metrics,
        metavar='"ndcg@10 recall@10"',
        help="metrics; default: those of both runs",
    )
    add("--split", choices=("test", "valid"), default="test", help="test, or valid")
    add("--confidence", type=number(above=0, below=1), default=0.95, help="of the intervals")
    add(
        "--resamples",
        type=whole_number(least=99),
        default=9999,
        help="random draws of each interval and test",
    )
    add("--seed", type=whole_number(least=0), default=0, help="of these draws")
    add(
        "--output",
        type=file(replaces=".json"),
        metavar="FILE.json",
        help="the same numbers as a file",
    )


def main(args: Namespace) -> None:
    """Print means, differences, intervals and p-values of every metric."""
    check_sides(args.sides, "compare", "recbole-precise compare RUN_A RUN_B")
    from recbole_precise.studies.benchmark.comparing import compare

    found = compare(
        *args.sides,
        metrics=args.metric,
        split=args.split,
        confidence=args.confidence,
        resamples=args.resamples,
        seed=args.seed,
    )
    print(found.to_text())
    if args.output is not None:
        write_json(args.output, found.to_dict(), "the comparison")


def check_sides(sides: list[str], command: str, usage: str) -> None:
    """Refuse another number of runs than two."""
    if len(sides) == 2:
        return
    many = " Quote a pattern, so that the shell leaves it alone." if len(sides) > 2 else ""
    raise ConfigError(f"{command} takes two sides, not {len(sides)}: {usage}.{many}")
