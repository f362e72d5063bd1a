"""Register our models, their data sets, trainers and settings with RecBole.

No file of RecBole changes and RecBole is not imported: each hook waits until RecBole is.
"""

from __future__ import annotations

import functools
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any

from recbole_precise.config import our_settings
from recbole_precise.registry import ENTRIES, OURS, Entry, find, plain
from recbole_precise.system.importing import after_import, load_target

_DATASET = "recbole_precise.plugin.dataset:SequenceDataset"
_TRAINER = "recbole_precise.plugin.trainer:PreciseTrainer"
_COMBINED = "recbole_precise.plugin.trainer:combined"
_LOAD = "recbole_precise.finished:load_data_and_model"


def get_trainer(model_type, model_name: str) -> type:
    """Return the trainer class of a model; this replaces `recbole.utils.get_trainer`.

    Ours trains every model, below the trainer that RecBole has for some of its own.
    """
    entry = find(model_name)
    if entry is not None and entry.ours:
        return load_target(_TRAINER)
    from recbole.utils import get_trainer as recbole_get_trainer

    return load_target(_COMBINED)(recbole_get_trainer(model_type, model_name))


class _ModelModule(types.ModuleType):
    """What RecBole finds where it looks for a model's file.

    Hands out the class when it is asked for.
    """

    def __init__(self, name: str, entry: Entry) -> None:
        super().__init__(name, f"{entry.name} of recbole_precise, where RecBole looks for it.")
        self.__spec__ = ModuleSpec(name, loader=None)
        self._entry = entry

    def __getattr__(self, name: str):
        if plain(name) == plain(self._entry.name):
            return self._entry.load()
        raise AttributeError(name)


def _hand_out(suffix: str, target: str):
    """Return a module `__getattr__` (PEP 562) that gives RecBole our classes.

    It serves the attributes `<one of our models><suffix>`.
    """

    def __getattr__(name: str):
        if name.endswith(suffix):
            entry = OURS.get(plain(name.removesuffix(suffix)))
            if entry is not None and entry.stock:
                return load_target(target)
        raise AttributeError(f"module has no attribute '{name}'")

    def extend(module: Any) -> None:
        module.__getattr__ = __getattr__

    return extend


def _read_our_settings(module: types.ModuleType) -> None:
    """Let RecBole's own Config read the defaults of our models after its own."""
    original = module.Config._load_internal_config_dict

    @functools.wraps(original)
    def _load_internal_config_dict(self, model, model_class, dataset):
        original(self, model, model_class, dataset)
        entry = OURS.get(plain(model))
        if entry is not None and entry.stock:
            self.internal_config_dict.update(our_settings(entry, dataset))
            # One name for all spellings, in the log and in the names of files.
            self.model = entry.name

    module.Config._load_internal_config_dict = _load_internal_config_dict


def _replace_load_data_and_model(package: Any) -> None:
    """RecBole's version unpickles whatever file it is given.

    Ours reads run directories and, safely, RecBole's files.
    """

    def load_data_and_model(model_file, *args, **kwargs):
        return load_target(_LOAD)(model_file, *args, **kwargs)

    modules: list[Any] = [package, sys.modules[f"{package.__name__}.quick_start"]]
    for module in modules:
        module.load_data_and_model = load_data_and_model


_registered = False


def register() -> None:
    """Register our models, their dataset, trainer and settings with RecBole.

    A second call does nothing.
    """
    global _registered
    if _registered:
        return
    _registered = True
    for entry in ENTRIES:
        if not entry.stock:
            continue
        # RecBole lower-cases the name it was given and looks for a module of that name.
        for alias in {entry.name.lower(), entry.name.lower().replace("-", "_"), plain(entry.name)}:
            name = f"recbole.model.sequential_recommender.{alias}"
            sys.modules[name] = _ModelModule(name, entry)
    after_import("recbole.data.dataset", _hand_out("Dataset", _DATASET))
    after_import("recbole.trainer", _hand_out("Trainer", _TRAINER))
    after_import("recbole.config.configurator", _read_our_settings)
    after_import("recbole.quick_start", _replace_load_data_and_model)
