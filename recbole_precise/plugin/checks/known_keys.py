"""Find the keys that a model reads.

They are those of its YAML file, and for a model of RecBole those that its source names.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
from typing import Any

from recbole_precise.config import read_settings
from recbole_precise.config.known_keys import keys_of_our_model, recbole_folder
from recbole_precise.registry import Entry

_READS = re.compile(r"""config(?:\[|\.get\(\s*)f?["'](\w+)["']""")


def keys_of_model(entry: Entry, model_class: type) -> dict[str, Any]:
    """Keys that one model reads and their defaults (None where only the source names a key)."""
    if entry.ours:
        return keys_of_our_model(entry)
    keys: dict[str, Any] = dict.fromkeys(_READS.findall(source_of(model_class)))
    file = recbole_folder() / "properties" / "model" / f"{entry.settings}.yaml"
    if file.is_file():
        keys.update(read_settings(file))
    return keys


@functools.cache
def source_of(model_class: type) -> str:
    """Return the source of the modules that a model class and its base classes are written in.

    The modules of torch are left out.
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
