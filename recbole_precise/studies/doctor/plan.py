"""What a data set must be: its files, and which of their columns the settings of a run read."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_precise.config import read_settings
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.plugin.config import Config

SUFFIXES = ("inter", "item", "user")


@dataclass(frozen=True)
class DescribedData:
    """A data set as the settings describe it.

    Attributes:
        folder: holds `<name>.inter` and the others.
        load_col, unload_col: RecBole's keys. filters: whether events with unknown ids are left out
            of a run.
        split: RecBole's `eval_args: split`, for example {"LS": "valid_and_test"}.
    """

    name: str
    folder: Path
    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"
    separator: str = "\t"
    seq_separator: str = " "
    encoding: str = "utf-8"
    load_col: dict | None = None
    unload_col: dict | None = None
    filters: bool = True
    item_text: Any = None
    text_file: str | None = None
    split: dict = field(default_factory=lambda: {"LS": "valid_and_test"})

    def file(self, suffix: str) -> Path:
        """Return the file of a suffix."""
        return self.folder / f"{self.name}.{suffix}"

    def keys(self, suffix: str) -> list[str]:
        """Return the columns without which a file is of no use."""
        return {
            "inter": [self.user, self.item, self.time],
            "item": [self.item],
            "user": [self.user],
        }[suffix]

    def reads(self, suffix: str) -> bool:
        """Whether a run hands the file to RecBole."""
        return suffix == "inter" or self.load_col is None or bool(self.load_col.get(suffix))

    def loads(self, suffix: str, column: str) -> bool:
        """Whether a run loads the column."""
        asked = "*" if self.load_col is None else self.load_col.get(suffix) or ()
        return (asked == "*" or column in asked) and column not in (
            (self.unload_col or {}).get(suffix) or ()
        )

    def named(self, suffix: str) -> list[str]:
        """Return the columns that load_col names one by one."""
        asked = (self.load_col or {}).get(suffix) or ()
        return [] if asked == "*" else [asked] if isinstance(asked, str) else list(asked)


def read_plan(options: dict[str, Any], arguments: Sequence[str]) -> DescribedData:
    """Read the plan of a data set under the settings of a run.

    Args:
        options: dataset, config_file_list. arguments: further settings, `--key=value`.

    Raises ConfigError, and DataError when there is no such data set at all; a missing .inter alone
    is left to `examine`.
    """
    if options.get("dataset") is None:
        raise ConfigError(
            "doctor needs --dataset: a folder in data_path, for example --dataset=ml-100k."
        )
    options = {
        **options,
        "model": "Transition",
    }  # any sequential model: the data's settings are the same for all
    try:
        config = Config(**options, command_line=arguments)
        folder = Path(config["data_path"])
    except DataError:
        name = str(options["dataset"])
        given = parse_arguments(arguments, strict=True)
        asked = (
            given.pop("data_path", None)
            or _data_path(options.get("config_file_list"))
            or "dataset/"
        )
        folder = Path(asked, name)
        if not folder.is_dir() or (folder / f"{name}.inter").is_file():
            raise
        # Config refuses a data set without .inter; the settings of one are the same, so it gets an
        # empty file to look at.
        words = [f"--{key}={value}" for key, value in given.items()]
        with tempfile.TemporaryDirectory() as stub:
            Path(stub, name).mkdir()
            Path(stub, name, f"{name}.inter").touch()
            config = Config(**options, config_dict={"data_path": stub}, command_line=words)
    if config["benchmark_filename"] is not None:
        raise ConfigError(
            "benchmark_filename: doctor looks at one .inter file; remove the key to look at the "
            "whole data set."
        )
    return DescribedData(
        name=config["dataset"], folder=folder, user=config["USER_ID_FIELD"],
        item=config["ITEM_ID_FIELD"], time=config["TIME_FIELD"],
        separator=config["field_separator"], seq_separator=config["seq_separator"],
        encoding=config["encoding"] or "utf-8",
        load_col=config["load_col"], unload_col=config["unload_col"],
        filters=config["filter_inter_by_user_or_item"] is True,
        item_text=config["item_text"], text_file=config["text_file"],
        split=config["eval_args"]["split"],
    )  # fmt: skip


def _data_path(files: Sequence[str] | None) -> str | None:
    """`data_path` of the last config file that has one."""
    found = [read_settings(file).get("data_path") for file in files or ()]
    return next((path for path in reversed(found) if path), None)
