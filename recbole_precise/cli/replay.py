"""`replay`: train period by period in the order of time, with and without reloading the universal
weights (PRECISE Sec. IV-E1).
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from recbole_precise.cli.commands import need_recbole, options_beside_a_run
from recbole_precise.cli.options import number, one_of, switch, whole_number, whole_numbers
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.config.verb_options import own_of
from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.files import output_folder
from recbole_precise.system.interrupts import report as report_interrupt
from recbole_precise.system.locking import exclusive

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


def main(arguments: Sequence[str]) -> None:
    """Replay a data set.

    Print the table and write table.md, results.json and the plot into `--output`.
    """
    own, run, rest = options_beside_a_run(
        "replay", arguments, "it trains PRECISE-UT and PRECISE-TT"
    )
    given = parse_arguments(rest, strict=True)
    options, seeds = _options(own), whole_numbers(own, "seeds")
    plots = switch(own, "plots", True)
    need_recbole()
    from recbole_precise.studies.figures import need_matplotlib
    from recbole_precise.studies.replay import report
    from recbole_precise.studies.replay.engine import TARGETED, Options, Replay

    if plots:
        need_matplotlib()
    output = output_folder(own["output"], "--output") if "output" in own else None
    replays, folder, held = [], output, ExitStack()
    with held:
        for seed in seeds or [None]:
            config = _config(
                {**run, "model": TARGETED},
                rest if seed is None else [*rest, f"--seed={seed}"],
                given,
            )
            if not replays:
                folder = output or Path(config["checkpoint_dir"], f"replay-{config['dataset']}")
                held.enter_context(exclusive(folder, "--output"))
            replay = Replay(config, Options(**options), folder / f"seed-{config['seed']}")
            try:
                replay.run(
                    lambda line, number=config["seed"]: print(
                        f"seed {number}: {line}", file=sys.stderr, flush=True
                    )
                )
            except KeyboardInterrupt as interrupt:
                command = shlex.join(["recbole-precise", "replay", *arguments])
                report_interrupt(
                    interrupt,
                    "Interrupted. The same command goes on after the last finished period: "
                    f"{command}",
                )
                raise
            replays.append(replay)
        summary = report.summarise(replays)
        report.write(folder, summary, plots)
    print(report.to_text(summary))
    print(
        f"\nWritten: {folder / 'table.md'}, results.json"
        + (", replay.png" if plots else "")
        + ", and the models of the last period in seed-*/"
    )


def _config(run: dict[str, Any], rest: list[str], given: Mapping[str, str]) -> Any:
    from recbole_precise.config import read_settings
    from recbole_precise.plugin.config import Config, command_line

    in_files = {key for file in run["config_file_list"] or () for key in read_settings(file)}
    defaults = {
        key: value for key, value in _DEFAULTS.items() if key not in in_files and key not in given
    }
    with command_line(rest):
        try:
            config = Config(**run, config_dict=defaults, drawn=list(defaults))
        except ConfigError as error:
            wrong = next(
                (
                    key
                    for key in given
                    if f"'{key}'" in str(error) and str(error).startswith("Unknown key")
                ),
                None,
            )
            near = did_you_mean(wrong, own_of("replay")) if wrong else ""
            if not near:
                raise
            raise ConfigError(f"Unknown option '--{wrong}' of replay.{near}") from None
    if config["threads"]:
        import torch

        torch.set_num_threads(config["threads"])
    return config


def _options(own: Mapping[str, str]) -> dict[str, Any]:
    from recbole_precise.studies.replay.periods import UNITS, check_period

    return {
        "period": check_period(own.get("period", "week")),
        "time_unit": one_of(own, "time_unit", tuple(UNITS)),
        "cases": one_of(own, "cases", ("all", "first")),
        "reload_every": whole_number(own, "reload_every", 1),
        "memory": None
        if own.get("memory", "all") == "all"
        else whole_number(own, "memory", None, other=" or 'all'"),
        "blend": number(own, "blend", 1.0, above=0, most=1),
    }
