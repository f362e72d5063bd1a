"""`run`: train and evaluate one model."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.settings import (
    add_data_set,
    add_model,
    as_words,
    check_run_settings,
    need_recbole,
    run_of,
)
from recbole_precise.cli.values import whole_number
from recbole_precise.errors import ConfigError

#: RecBole's options of a launch.
_LAUNCH = ("nproc", "world_size", "group_offset", "ip", "port")


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "train a model, evaluate it, and leave result.json, ranks.npz and the weights in its run "
        "directory"
    )
    add_model(parser)
    add_data_set(parser)
    parser.add_argument(
        "--nproc",
        type=whole_number(),
        metavar="1",
        help="processes on this machine that train together",
    )
    parser.add_argument(
        "--world_size",
        type=whole_number(),
        metavar="N",
        help="processes on all machines; default: nproc",
    )
    parser.add_argument(
        "--group_offset",
        type=whole_number(least=0),
        metavar="0",
        help="number of this machine's first process among all",
    )
    parser.add_argument("--ip", metavar="localhost", help="address of the first machine")
    parser.add_argument("--port", type=whole_number(), metavar="5678", help="port on it")


def main(args: Namespace) -> None:
    """Run a model in one process, or in those that `--nproc` asks for."""
    launch = _launch_of(args)
    need_recbole()
    check_run_settings(args, args.model)
    from recbole_precise.quick_start import run

    run(**run_of(args), **launch, command_line=as_words(args.settings))


def _launch_of(args: Namespace) -> dict[str, Any]:
    """Return the options of a launch that were given, as RecBole's `run` takes them."""
    launch = {key: getattr(args, key) for key in _LAUNCH if key in args.given}
    for key in launch:
        if "nproc" not in launch:
            raise ConfigError(
                f"--{key} does nothing without --nproc, the number of processes on this machine."
            )
    if "port" in launch:
        launch["port"] = str(launch["port"])
    return launch
