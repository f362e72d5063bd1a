"""Which keys a model reads: those that RecBole lists, those of the model's YAML file, and those
that its source names.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from recbole_precise.config import model_settings, properties_folder, read_settings, schema
from recbole_precise.config.effects import UNREAD
from recbole_precise.plugin.checks.columns import recbole_folder
from recbole_precise.registry import Entry

_READS = re.compile(r"""config(?:\[|\.get\(\s*)f?["'](\w+)["']""")


def _recbole_properties() -> Path:
    return recbole_folder() / "properties"


@functools.cache
def recbole_keys() -> frozenset[str]:
    """Keys that RecBole reads whatever the model is."""
    from recbole.utils import argument_list

    keys = set(schema.RECBOLE) | schema.RECBOLE_UNLISTED
    for values in vars(argument_list).values():
        if isinstance(values, list):
            keys.update(values)
    folder = _recbole_properties()
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
    return frozenset(read_settings(properties_folder() / "overall.yaml"))


@functools.cache
def downloads() -> dict[str, str]:
    """Data sets that RecBole's authors offer, and where."""
    return {
        str(name): str(url)
        for name, url in read_settings(_recbole_properties() / "dataset" / "url.yaml").items()
    }


def keys_of_model(entry: Entry, model_class: type) -> dict[str, Any]:
    """Keys that one model reads and their defaults (None where only the source names a key)."""
    if entry.ours:
        unread = UNREAD.get(entry.name, frozenset())
        return {
            key: value for key, value in model_settings(entry.settings).items() if key not in unread
        }
    keys: dict[str, Any] = dict.fromkeys(_READS.findall(source_of(model_class)))
    file = _recbole_properties() / "model" / f"{entry.settings}.yaml"
    if file.is_file():
        keys.update(read_settings(file))
    return keys


@functools.cache
def source_of(model_class: type) -> str:
    """The source of the modules that a model class and its base classes are written in, torch's
    left out.
    """
    sources = []
    for cls in model_class.__mro__:
        # RecBole's recommenders read keys in the base classes of their module too.
        module = sys.modules.get(cls.__module__)
        if module is None or cls.__module__.startswith(("torch.", "builtins")):
            continue
        with contextlib.suppress(OSError, TypeError):
            sources.append(inspect.getsource(module))
    return "\n".join(sources)
