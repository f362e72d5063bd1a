"""`replay`: train period by period in the order of time, with and without reloading the universal weights (PRECISE Sec. IV-E1)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.settings.arguments import parse_arguments
from recbole_precise.verbs import need_recbole, run_options

OWN = ("period", "time_unit", "reload_every", "blend", "memory", "cases", "seeds", "output", "plots")
#: `epochs` and `targeted_epochs` count for each period here; transitions of the whole file would let the future in.
_DEFAULTS = {"epochs": 2, "targeted_epochs": 1, "neighbour_transitions": 0.0, "tensorboard": False, "show_progress": False}


def main(arguments: Sequence[str]) -> None:
    """Replay a data set; print the table and write table.md, results.json and the plot into `--output`."""
    given = parse_arguments(arguments, strict=True)
    own = {key: given.pop(key) for key in OWN if key in given}
    run, rest = run_options([f"--{key}={value}" for key, value in given.items()])
    if run["model"] is not None:
        raise ConfigError("replay takes no --model: it trains PRECISE-UT and PRECISE-TT.")
    options, seeds = _options(own), _seeds(own.get("seeds"))
    plots = _one_of(own, "plots", ("True", "False")) == "True"
    need_recbole()
    from recbole_precise.figures import need_matplotlib
    from recbole_precise.replay import report
    from recbole_precise.replay.engine import TARGETED, Options, Replay

    if plots:
        need_matplotlib()
    replays, folder = [], None
    for seed in seeds or [None]:
        config = _config({**run, "model": TARGETED}, rest if seed is None else [*rest, f"--seed={seed}"], given)
        folder = folder or Path(own.get("output") or Path(config["checkpoint_dir"], f"replay-{config['dataset']}"))
        replay = Replay(config, Options(**options), folder / f"seed-{config['seed']}")
        replay.run(lambda line, number=config["seed"]: print(f"seed {number}: {line}", file=sys.stderr, flush=True))
        replays.append(replay)
    summary = report.summarise(replays)
    report.write(folder, summary, plots)
    print(report.to_text(summary))
    print(f"\nWritten: {folder / 'table.md'}, results.json" + (", replay.png and replay.svg" if plots else "") + ", and the models of the last period in seed-*/")


def _config(run: dict[str, Any], rest: list[str], given: Mapping[str, str]) -> Any:
    from recbole_precise.config import Config, command_line
    from recbole_precise.settings import read_settings

    in_files = {key for file in run["config_file_list"] or () for key in read_settings(file)}
    defaults = {key: value for key, value in _DEFAULTS.items() if key not in in_files and key not in given}
    with command_line(rest):
        try:
            config = Config(**run, config_dict=defaults)
        except ConfigError as error:
            wrong = next((key for key in given if f"'{key}'" in str(error) and str(error).startswith("Unknown key")), None)
            near = did_you_mean(wrong, OWN) if wrong else ""
            if not near:
                raise
            raise ConfigError(f"Unknown option '--{wrong}' of replay.{near}") from None
    if config["threads"]:
        import torch

        torch.set_num_threads(config["threads"])
    return config


def _options(own: Mapping[str, str]) -> dict[str, Any]:
    from recbole_precise.replay.periods import UNITS, check_period

    options: dict[str, Any] = {"period": check_period(own.get("period", "week"))}
    options["time_unit"] = _one_of(own, "time_unit", tuple(UNITS))
    options["cases"] = _one_of(own, "cases", ("all", "first"))
    options["reload_every"] = _count(own, "reload_every", "1")
    memory = own.get("memory", "all")
    options["memory"] = None if memory == "all" else _count(own, "memory", "all", " or 'all'")
    try:
        options["blend"] = float(own.get("blend", "1"))
    except ValueError:
        options["blend"] = -1.0
    if not 0 < options["blend"] <= 1:
        raise ConfigError(f"--blend must lie above 0 and be at most 1, not '{own['blend']}'.")
    return options


def _seeds(text: str | None) -> list[int]:
    words = (text or "").replace(",", " ").strip("[]").split()
    if not all(word.isdigit() for word in words) or len(set(words)) < len(words) or (text is not None and not words):
        raise ConfigError(f"--seeds takes different whole numbers, as in --seeds='2020 2021', not '{text}'.")
    return [int(word) for word in words]


def _one_of(own: Mapping[str, str], key: str, values: tuple[str, ...]) -> str:
    value = own.get(key, values[0])
    if value not in values:
        raise ConfigError(f"--{key} is one of {', '.join(values)}, not '{value}'.{did_you_mean(value, values)}")
    return value


def _count(own: Mapping[str, str], key: str, default: str, other: str = "") -> int:
    text = own.get(key, default)
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"--{key} must be a whole number above 0{other}, not '{text}'.")
    return int(text)
