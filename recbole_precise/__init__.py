"""PRECISE, PAD and their rivals for RecBole 1.2.1: recommenders that join IDs with text.

Importing this package patches RecBole for the versions at hand (`plugin.patches`) and registers
our models, datasets and trainers with it (`plugin.hooks`), both without importing RecBole. After
it, RecBole's own `run_recbole("PRECISE-UT", ...)` works; the functions below have RecBole's
signatures and do more.
"""

from __future__ import annotations

import importlib
import importlib.util

from recbole_precise.plugin import hooks, patches
from recbole_precise.version import __version__

_PUBLIC = {
    "run": "quick_start",
    "run_recbole": "quick_start",
    "objective_function": "quick_start",
    "load_data_and_model": "finished",
    "Config": "plugin.config",
    "create_dataset": "plugin.preparation",
    "data_preparation": "plugin.preparation",
    "get_model": "registry",
    "get_trainer": "plugin.hooks",
    "evaluate": "serving.evaluation",
    "recommend": "serving.recommendation",
    "compare": "studies.benchmark.comparing",
}

__all__ = ["__version__", *_PUBLIC]

_WITHOUT_RECBOLE = (
    "recbole_precise.{name} needs RecBole 1.2.1, which is not installed: run `pip install "
    "--no-deps recbole==1.2.1` "
    "(with --no-deps because its ray<=2.6.3 has no build for Python 3.12 and newer, and is not "
    "needed)."
)


def has_recbole() -> bool:
    """Whether RecBole can be imported."""
    return importlib.util.find_spec("recbole") is not None


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'recbole_precise' has no attribute '{name}'")
    if not has_recbole():
        raise ImportError(_WITHOUT_RECBOLE.format(name=name))
    return getattr(importlib.import_module(f"recbole_precise.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])


if has_recbole():
    patches.apply()
    hooks.register()
