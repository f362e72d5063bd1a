"""`tune`: search for the settings of a model on validation data."""

from __future__ import annotations

import importlib.util
from argparse import Namespace

from recbole_precise import registry
from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.settings import (
    add_data_set,
    add_model,
    check_run_settings,
    need_recbole,
    run_of,
)
from recbole_precise.cli.values import number, whole_number
from recbole_precise.errors import ConfigError
from recbole_precise.system.interrupts import report as report_interrupt

TRIALS = 30
_PACKAGES = ("optuna", "matplotlib")


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "search for a model's settings on validation data; processes that name the same storage "
        "share the study"
    )
    add_model(parser)
    add_data_set(parser)
    add = parser.add_argument
    add(
        "--params_file",
        metavar="FILE.hyper",
        help="the space; default: the one that comes with the model",
    )
    add(
        "--trials",
        type=whole_number(),
        metavar=str(TRIALS),
        help="trials in all, over all processes and sessions; for a grid all of its points",
    )
    add(
        "--hours",
        type=number(above=0),
        metavar="H",
        help="hours of trials in all; without it no limit",
    )
    add("--sampler", choices=("tpe", "random", "grid"), default="tpe", help="tpe, random, or grid")
    add(
        "--start",
        choices=("settings", "drawn"),
        metavar="settings",
        help="first trial: settings (as they are), or drawn; default for random: drawn",
    )
    add(
        "--pruner",
        choices=("median", "none"),
        default="median",
        help="median: end trials that are below the others at their epoch; or none",
    )
    add("--prune_after", type=whole_number(), default=5, help="epochs that every trial gets")
    add(
        "--metric",
        metavar="NDCG@10",
        help="what is searched for on validation data, and what stops a trial early",
    )
    add("--study", metavar="MODEL-DATASET", help="name of the study")
    add(
        "--storage",
        metavar="FILE.db",
        help="SQLite file of the study, or a database such as postgresql://user@host/database; "
        "processes that name the same one share it",
    )


def main(args: Namespace) -> None:
    """Run trials until the budget is used, then print the table and where the files are."""
    need_recbole()
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"tune needs the package '{package}': run `pip install {' '.join(_PACKAGES)}`."
            )
    if args.model is None:
        raise ConfigError("No model was given: say --model=PRECISE-UT, or any model of RecBole.")
    entry = registry.resolve(args.model)
    check_run_settings(args, args.model)
    from recbole_precise.studies.tuning.search import Options, search

    trials = args.trials
    if trials is None and args.hours is None and args.sampler != "grid":
        trials = TRIALS
    start = args.start or ("settings" if args.sampler == "tpe" else "drawn")
    options = Options(
        params_file=args.params_file,
        trials=trials,
        hours=args.hours,
        sampler=args.sampler,
        start=start,
        pruner=args.pruner,
        prune_after=args.prune_after,
        metric=args.metric,
        study=args.study,
        storage=args.storage,
    )
    try:
        search(entry, run_of(args), args.settings, options, say=_say)
    except KeyboardInterrupt as interrupt:
        report_interrupt(
            interrupt,
            f"Interrupted. The same command goes on with the study: {args.command_line}",
        )
        raise


def _say(line: str) -> None:
    print(line, flush=True)
