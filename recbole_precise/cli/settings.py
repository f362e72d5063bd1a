"""The options of a run that several commands take: model, data set, files of settings."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import recbole_precise
from recbole_precise import registry
from recbole_precise.cli.parser import CommandParser
from recbole_precise.config import schema
from recbole_precise.config.known_keys import ASKABLE, check_keys
from recbole_precise.errors import ConfigError, did_you_mean

#: Settings of a run, of RecBole and ours.
RUN_SETTINGS = frozenset([*schema.OVERALL, *schema.RECBOLE, *schema.model_keys()])
#: The data set that comes with RecBole.
BUNDLED = "ml-100k"


def add_model(parser: CommandParser, default: str | None = None) -> None:
    """Declare `--model`; the usage names it where there is no default."""
    parser.add_argument(
        "--model",
        default=default,
        metavar=default or "NAME",
        help="a model of ours or of RecBole",
    )
    parser.suggestions["model"] = registry.model_names
    if default is None:
        parser.name_in_usage("model")


def add_data_set(parser: CommandParser) -> None:
    """Declare `--dataset` and `--config_files`, beside which all settings of a run are taken."""
    parser.setting_names = RUN_SETTINGS
    parser.add_argument(
        "--dataset", metavar="NAME", help="a data set: a folder of atomic files, or ml-100k"
    )
    parser.suggestions["dataset"] = data_sets
    parser.name_in_usage("dataset")
    parser.add_argument(
        "--config_files",
        type=_files,
        metavar='"a.yaml b.yaml"',
        help="files of settings; the command line takes precedence",
    )


def run_of(args: Namespace) -> dict[str, Any]:
    """Model, data set and files of settings, as `run_recbole` takes them."""
    return {
        "model": getattr(args, "model", None),
        "dataset": args.dataset,
        "config_file_list": args.config_files,
    }


def as_words(settings: dict[str, str]) -> list[str]:
    """Write settings as the words of a command line."""
    return [f"--{key}={value}" for key, value in settings.items()]


def refuse_model(args: Namespace, command: str, why: str) -> None:
    """Refuse `--model` where a command looks at no model of the user's choice."""
    if "model" in args.settings:
        raise ConfigError(f"{command} takes no --model: {why}.")


def need_recbole() -> None:
    """Raise a ConfigError that says how to install RecBole where it is missing."""
    if not recbole_precise.has_recbole():
        raise ConfigError("RecBole is not installed: run `pip install --no-deps recbole==1.2.1`.")


def check_settings(args: Namespace, command: str) -> None:
    """Refuse settings beside `--run_dir` that a finished run cannot be asked with."""
    for key in args.settings:
        if key not in ASKABLE:
            raise ConfigError(
                f"--{key} is no option of {command} and no setting that a finished run can be "
                f"asked with.{did_you_mean(key, [*args.options, *ASKABLE])} "
                f"Options: {', '.join('--' + name for name in args.options)}."
            )


def check_run_settings(args: Namespace, model: str | None) -> None:
    """Refuse settings that a model of ours does not read, before anything heavy is imported.

    Args:
        args: of the command.
        model: name of the model; None where the command line names none.
    """
    if model is not None:
        check_keys(args.settings, model, args.options)


def data_sets() -> Iterable[str]:
    """Return the data sets of the folder `dataset`, and the one that comes with RecBole."""
    found = sorted(path.parent.name for path in Path("dataset").glob("*/*.inter"))
    return dict.fromkeys([*found, BUNDLED])


def _files(text: str) -> list[str] | None:
    return text.split() or None


def add_run_dir(parser: CommandParser) -> None:
    """Declare `--run_dir`; settings that a finished run can be asked with are taken beside it."""
    parser.setting_names = ASKABLE
    parser.add_argument(
        "--run_dir",
        type=_run_dir,
        required=True,
        metavar="RUN",
        help="directory of a finished run",
    )


def add_new_items(parser: CommandParser) -> None:
    """Declare `--items`."""
    parser.add_argument(
        "--items",
        metavar="FILE",
        help="items that came after training: .item, .tsv, .csv or .jsonl with item_id and the "
        "columns of the run's texts",
    )


def _run_dir(text: str) -> str:
    if not text:
        raise ArgumentTypeError("is empty: name the directory of a finished run.")
    return text
