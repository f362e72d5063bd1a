"""Which keys there are: those that RecBole lists, ours, and those of a model of ours.

Nothing of RecBole is imported: its lists are read from its files, so that a misspelt key is
refused within a moment.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from recbole_precise import registry
from recbole_precise.config import (
    model_files,
    model_settings,
    read_settings,
    schema,
)
from recbole_precise.config.effects import UNREAD
from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.registry import Entry

COMMAND_LINE = "on the command line"

#: Settings that a finished run may be asked with: none of them changes what was trained.
ASKABLE = frozenset(
    [
        "model",
        "metrics",
        "topk",
        "slices",
        "mask_history",
        "score_budget_mb",
        "eval_batch_size",
        "unseen_id",
        "neighbour_transitions",
        "neighbour_texts",
        "data_path",
        "gpu_id",
        "use_gpu",
        "threads",
        "show_progress",
        "text_batch_size",
        "text_dtype",
        "text_device",
        "text_cache_dir",
        "metric_decimal_place",
        "trust_pickle",
    ]
)


def recbole_folder() -> Path:
    """Return the folder of the installed RecBole."""
    spec = importlib.util.find_spec("recbole")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("RecBole is not installed: run `pip install --no-deps recbole==1.2.1`.")
    return Path(spec.submodule_search_locations[0])


@functools.cache
def recbole_keys() -> frozenset[str]:
    """Keys that RecBole reads whatever the model is."""
    keys = set(schema.RECBOLE) | schema.RECBOLE_UNLISTED
    lists = ast.parse((recbole_folder() / "utils" / "argument_list.py").read_text(encoding="utf-8"))
    for statement in lists.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.List):
            keys.update(ast.literal_eval(statement.value))
    folder = recbole_folder() / "properties"
    # url.yaml lists downloads and ml-100k.yaml settings like any other; both are data sets, not
    # keys of their own.
    for file in (
        folder / "overall.yaml",
        folder / "dataset" / "sample.yaml",
        folder / "dataset" / "ml-100k.yaml",
        *(folder / "quick_start_config").glob("*.yaml"),
    ):
        keys.update(read_settings(file))
    return frozenset(keys)


@functools.cache
def our_keys() -> frozenset[str]:
    """Keys that we read whatever the model is."""
    return frozenset(schema.OVERALL)


@functools.cache
def downloads() -> dict[str, str]:
    """Return the data sets that RecBole's authors offer, and where."""
    offers = read_settings(recbole_folder() / "properties" / "dataset" / "url.yaml")
    return {str(name): str(url) for name, url in offers.items()}


def keys_of_our_model(entry: Entry) -> dict[str, Any]:
    """Keys that a model of ours reads and their defaults."""
    unread = UNREAD.get(entry.name, frozenset())
    settings = model_settings(entry.settings)
    return {key: value for key, value in settings.items() if key not in unread}


def unknown_key(
    key: str, where: str, entry: Entry, known: Iterable[str], options: Iterable[str] = ()
) -> ConfigError:
    """Return the error for a key that a model does not read, with the nearest that it reads.

    Args:
        key: the key.
        where: it was given, in words.
        entry: of the model.
        known: keys that the model reads.
        options: of the command, which may have been meant.
    """
    why = _why_unknown(key, entry) or did_you_mean(key, {*known, *options})
    return ConfigError(f"Unknown key '{key}' ({where}) for model {entry.name}.{why}")


def check_keys(keys: Iterable[str], model: str, options: Collection[str] = ()) -> None:
    """Refuse a key of a command line that a model of ours does not read.

    RecBole's models name their keys in their source alone, so theirs are checked by `Config`.

    Args:
        keys: of the command line.
        model: its name.
        options: of the command, which may have been meant.

    Raises:
        ConfigError: there is no such model, or a key is unknown.
    """
    entry = registry.resolve(model)
    if not entry.ours:
        return
    known = recbole_keys() | our_keys() | keys_of_our_model(entry).keys()
    for key in keys:
        # One command serves the variants of a model: what a variant does not read is a warning.
        of_variant = entry.preset and key in model_settings(entry.settings)
        if key not in known and not of_variant:
            raise unknown_key(key, COMMAND_LINE, entry, known, options)


def check_askable(settings: Iterable[str]) -> None:
    """Refuse a setting that a finished run cannot be asked with."""
    for key in settings:
        if key not in ASKABLE:
            raise ConfigError(
                f"'{key}' is no setting that a finished run can be asked with."
                f"{did_you_mean(key, ASKABLE)} They are {', '.join(sorted(ASKABLE))}."
            )


def _why_unknown(key: str, entry: Entry) -> str:
    """Of a key that some models do not read because they lack what it is about: that sentence.

    Else an empty text.
    """
    if key in UNREAD.get(entry.name, ()):
        extended = model_files(entry.settings)[-2]
        return (
            f" {entry.name} takes it over with the settings of {extended}, and never reads it: "
            "leave it out."
        )
    if not key.startswith("text_tuning"):
        return ""
    readers = [other.name for other in registry.ENTRIES if key in model_settings(other.settings)]
    if not readers:
        return ""
    return (
        f" It tunes the one text vector that an item has in {', '.join(readers[:-1])} and "
        f"{readers[-1]}; this model has none."
    )
