"""`run`: train and evaluate one model."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_precise import registry
from recbole_precise.cli.commands import need_recbole, run_options
from recbole_precise.cli.options import whole_number
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.errors import ConfigError

#: RecBole's options of a launch that are numbers, and the least of each.
_LAUNCH = {"nproc": 1, "world_size": 1, "port": 1, "group_offset": 0}


def main(arguments: Sequence[str]) -> None:
    """Run the model that `arguments` name, as RecBole's run: in one process, or in those that
    `--nproc` asks for.
    """
    options, rest = run_options(arguments)
    launch, rest = _launch_options(rest)
    need_recbole()
    if options["model"] is not None:
        registry.resolve(
            str(options["model"])
        )  # a misspelt name is told at once, not after seconds of imports
    from recbole_precise.plugin.config import command_line
    from recbole_precise.quick_start import run

    with command_line(rest):
        run(**options, **launch)


def _launch_options(arguments: list[str]) -> tuple[dict[str, object], list[str]]:
    """(options of the launch, the other arguments); a ConfigError where a number is none."""
    settings = parse_arguments(arguments, strict=True)
    given = {key: settings.pop(key) for key in (*_LAUNCH, "ip") if key in settings}
    options: dict[str, object] = {
        key: whole_number(given, key, None, least=least)
        for key, least in _LAUNCH.items()
        if key in given
    }
    if "ip" in given:
        options["ip"] = given["ip"]
    if "port" in options:
        options["port"] = str(options["port"])
    for key in ("world_size", "group_offset", "ip", "port"):
        if key in options and "nproc" not in options:
            raise ConfigError(
                f"--{key} does nothing without --nproc, the number of processes on this machine."
            )
    return options, [f"--{key}={value}" for key, value in settings.items()]
