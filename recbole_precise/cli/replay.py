"""`replay`: train period by period in the order of time (PRECISE Sec. IV-E1).

With and without reloading the universal weights.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.settings import (
    add_data_set,
    as_words,
    check_run_settings,
    need_recbole,
    refuse_model,
    run_of,
)
from recbole_precise.cli.values import folder, number, switch, whole_number, whole_numbers
from recbole_precise.config import read_settings
from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.system.interrupts import report as report_interrupt
from recbole_precise.system.locking import exclusive

_MODEL = "PRECISE-TT"
#: `epochs` and `targeted_epochs` count for each period here; transitions of the whole file would
#: let the future in.
_DEFAULTS = {
    "epochs": 2,
    "targeted_epochs": 1,
    "targeted_rows": "prefixes",
    "targeted_view": "target",
    "neighbour_transitions": 0.0,
    "tensorboard": False,
    "show_progress": False,
}


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "train period by period in the order of time, with and without reloading the universal "
        "weights: PRECISE's periodical warm-up, with a plot"
    )
    add_data_set(parser)
    add = parser.add_argument
    add("--period", default="week", help="day, week, month, or a number of days")
    parser.suggestions["period"] = lambda: ("day", "week", "month")
    add(
        "--time_unit",
        choices=("s", "ms", "us"),
        default="s",
        help="of the time stamps: s, ms or us",
    )
    add("--reload_every", type=whole_number(), default=1, help="periods between two reloads")
    add(
        "--blend",
        type=number(above=0, most=1),
        default=1.0,
        help="share of the universal weights in a reload",
    )
    add(
        "--memory",
        type=_periods,
        default="all",
        help="periods whose targets PRECISE-UT trains in each period",
    )
    add(
        "--cases",
        choices=("all", "first"),
        default="all",
        help="all, or first: each returning user's first of the period",
    )
    add(
        "--seeds",
        type=whole_numbers,
        metavar='"2020 2021"',
        help="several seeds; default: the setting seed",
    )
    add(
        "--output",
        type=folder,
        metavar="saved/replay-DATASET",
        help="folder of the table, results, plot and models",
    )
    add("--plots", type=switch, default=True, help="False: draw nothing, and need no matplotlib")


def main(args: Namespace) -> None:
    """Replay a data set, print the table, and write it, results and a plot into `--output`."""
    refuse_model(args, "replay", "it trains PRECISE-UT and PRECISE-TT")
    need_recbole()
    _check_settings(args)
    from recbole_precise.studies.figures import need_matplotlib
    from recbole_precise.studies.replay import report
    from recbole_precise.studies.replay.engine import Options, Replay
    from recbole_precise.studies.replay.periods import check_period

    options = Options(
        period=check_period(args.period),
        time_unit=args.time_unit,
        reload_every=args.reload_every,
        blend=args.blend,
        memory=args.memory,
        cases=args.cases,
    )
    if args.plots:
        need_matplotlib()
    replays: list[Replay] = []
    target: Path | None = args.output
    with ExitStack() as held:
        for seed in args.seeds or [None]:
            config = _config(args, seed)
            if not replays:
                target = target or Path(config["checkpoint_dir"], f"replay-{config['dataset']}")
                held.enter_context(exclusive(target, "--output"))
            assert target is not None
            replay = Replay(config, options, target / f"seed-{config['seed']}")
            _run(replay, config["seed"], args)
            replays.append(replay)
        summary = report.summarise(replays)
        assert target is not None
        report.write(target, summary, args.plots)
    print(report.to_text(summary))
    drawn = ", replay.png" if args.plots else ""
    print(
        f"\nWritten: {target / 'table.md'}, results.json{drawn}, and the models of the last period "
        "in seed-*/"
    )


def _run(replay: Any, seed: int, args: Namespace) -> None:
    """Run one seed's replay, and say how it goes on when it is interrupted."""

    def say(line: str) -> None:
        print(f"seed {seed}: {line}", file=sys.stderr, flush=True)

    try:
        replay.run(say)
    except KeyboardInterrupt as interrupt:
        report_interrupt(
            interrupt,
            "Interrupted. The same command goes on after the last finished period: "
            f"{args.command_line}",
        )
        raise


def _check_settings(args: Namespace) -> None:
    """Refuse unknown settings; the options of the command are what is meant first."""
    try:
        check_run_settings(args, _MODEL)
    except ConfigError as error:
        wrong = next(key for key in args.settings if f"'{key}'" in str(error))
        near = did_you_mean(wrong, args.options)
        if not near:
            raise
        raise ConfigError(f"Unknown option '--{wrong}' of replay.{near}") from None


def _config(args: Namespace, seed: int | None) -> Any:
    """Return the settings of one seed, with defaults of the replay where nobody set them."""
    from recbole_precise.plugin.config import Config

    chosen = set(args.settings)
    for file in args.config_files or ():
        chosen |= read_settings(file).keys()
    defaults = {key: value for key, value in _DEFAULTS.items() if key not in chosen}
    words = as_words(args.settings)
    if seed is not None:
        words.append(f"--seed={seed}")
    run = {**run_of(args), "model": _MODEL}
    config = Config(**run, config_dict=defaults, drawn=list(defaults), command_line=words)
    if config["threads"]:
        import torch

        torch.set_num_threads(config["threads"])
    return config


def _periods(text: str) -> int | None:
    """Read a number of periods; None for all."""
    return None if text == "all" else whole_number(other=" or 'all'")(text)
