"""RecBole's .pth checkpoints without trust: reading one runs nothing that the file asks for.

RecBole pickles its whole Config, model class included, next to the weights. torch 2.6 and newer refuse such a file, and
older ones run whatever it says. torch's allow-list is no way out: RecBole's pickles are of a protocol that it does not
read, and allowing Config would allow a file to call it, which evaluates texts as Python. So this reader knows the few
functions that make tensors and plain values; a class that a file only names becomes an inert stand-in, and a file that
calls anything else is refused.
"""

from __future__ import annotations

import collections
import functools
import io
import pickle
import types
import zipfile
from pathlib import Path
from typing import Any

from recbole_precise.errors import CheckpointError
from recbole_precise.importing import after_import

_CONFIGS = {("recbole.config.configurator", "Config"), ("recbole_precise.config", "Config")}

#: Modules of RecBole that call torch.load.
_LOADERS = (
    "recbole.trainer.trainer",
    "recbole.model.sequential_recommender.s3rec",
    "recbole.model.general_recommender.convncf",
    "recbole.model.general_recommender.nais",
    "recbole.model.general_recommender.neumf",
    "recbole.model.general_recommender.ract",
    "recbole.model.context_aware_recommender.kd_dagfm",
)


class _ConfigState:
    """A Config in a checkpoint: its attributes, without its methods, until `_revive` gives them back."""


class _Named(type):
    """Classes that a file names: they can be looked at and passed on, not called."""

    def __call__(cls, *_args: Any, **_kwargs: Any) -> Any:
        raise pickle.UnpicklingError(f"it would run {cls.__module__}.{cls.__qualname__}")


def _stand_in(module: str, name: str) -> type:
    def refuse(cls, *_args: Any, **_kwargs: Any) -> Any:
        raise pickle.UnpicklingError(f"it would make a {module}.{name}")

    return _Named(name.rpartition(".")[2] or "unnamed", (), {"__module__": module, "__qualname__": name, "__new__": refuse})


@functools.cache
def _trusted() -> dict[tuple[str, str], Any]:
    """Everything that a file may call, by the names under which torch, NumPy and RecBole pickle it."""
    import numpy as np
    import torch
    from recbole.utils import enum_type

    trusted: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("collections", "Counter"): collections.Counter,
        ("torch", "device"): torch.device,
        ("torch", "Size"): torch.Size,
        ("numpy", "dtype"): np.dtype,
        ("numpy", "ndarray"): np.ndarray,
        ("_codecs", "encode"): _latin1,
    }
    for kind in (set, frozenset, complex, bytearray, range, slice):
        # Pickles up to protocol 2 call the module by its name in Python 2.
        trusted["builtins", kind.__name__] = trusted["__builtin__", kind.__name__] = kind
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        trusted["torch._utils", name] = getattr(torch._utils, name)
    scalar = np.float64(0).__reduce__()[0]
    reconstruct = np.zeros(1).__reduce__()[0]
    for package in ("numpy.core.multiarray", "numpy._core.multiarray"):
        trusted[package, "scalar"], trusted[package, "_reconstruct"] = scalar, reconstruct
    for name, value in vars(enum_type).items():
        if isinstance(value, type) and value.__module__ == enum_type.__name__:
            trusted[enum_type.__name__, name] = value
    for config in _CONFIGS:
        trusted[config] = _ConfigState
    return trusted


def _latin1(text: str, encoding: str) -> bytes:
    """The one use of `_codecs.encode` in pickles: bytes written as text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it would run _codecs.encode with {encoding!r}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Reads plain data, tensors and RecBole's settings."""

    def find_class(self, module: str, name: str) -> Any:
        trusted = _trusted()
        if (module, name) in trusted:
            return trusted[module, name]
        if module == "torch" and name.endswith("Storage"):
            return super().find_class(module, name)
        if module.startswith("numpy.dtypes") or (module == "torch" and name in _TORCH_DTYPES):
            return super().find_class(module, name)
        return _stand_in(module, name)


_TORCH_DTYPES = {"float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"}


class _PickleModule(types.ModuleType):
    """What torch.load wants to be handed as `pickle_module`."""

    Unpickler = _Unpickler
    UnpicklingError = pickle.UnpicklingError

    @staticmethod
    def load(file: io.BufferedIOBase, **kwargs: Any) -> Any:
        return _Unpickler(file, **kwargs).load()


def _revive(state: _ConfigState) -> Any:
    """The Config whose attributes a checkpoint held."""
    from recbole.config import Config

    from recbole_precise import registry

    attributes = vars(state)
    settings = attributes.get("final_config_dict")
    if not isinstance(settings, dict):
        raise CheckpointError("the checkpoint's settings are damaged")
    config = Config.__new__(Config)
    attributes.pop("yaml_loader", None)
    named, entry = attributes.get("model_class"), registry.find(str(settings.get("model")))
    if entry is not None and isinstance(named, _Named) and entry.target == f"{named.__module__}:{named.__qualname__}":
        attributes["model_class"] = entry.load()
    config.__dict__.update(attributes)
    return config


def safe_load(file: Any, map_location: Any = None, **_settings: Any) -> Any:
    """torch.load for RecBole's checkpoints, without running what is in them (see the module)."""
    import torch

    content = torch.load(file, map_location=map_location, pickle_module=_PickleModule("safe_pickle"), weights_only=False)
    if isinstance(content, dict) and isinstance(content.get("config"), _ConfigState):
        content["config"] = _revive(content["config"])
    return content


def mend_torch_load(overlay: type) -> None:
    """Let RecBole's own modules read checkpoints through `safe_load`; `overlay(module, **changes)` sees torch through it."""

    def mend(module: types.ModuleType) -> None:
        module.torch = overlay(module.torch, load=safe_load)

    for name in _LOADERS:
        after_import(name, mend)


def load_recbole_checkpoint(path: str | Path, trust_pickle: bool = False) -> dict[str, Any]:
    """The contents of a .pth file that RecBole's Trainer wrote, tensors on the CPU, its Config fit for this machine.

    Without `trust_pickle` nothing in the file is run; a file that holds more than weights, plain values and RecBole's
    settings is refused.
    """
    import torch

    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"Checkpoint '{file}' does not exist.")
    if not zipfile.is_zipfile(file):
        raise CheckpointError(f"Checkpoint '{file}' is damaged, truncated or not written by torch 1.6 or newer.")
    try:
        if trust_pickle:
            checkpoint = torch.load(file, map_location="cpu", weights_only=False)
        else:
            checkpoint = safe_load(file, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"Checkpoint '{file}' was not read: {error}. Weights and RecBole's settings need no such thing; "
            "set trust_pickle: True only if you trust whoever wrote it."
        ) from error
    except Exception as error:  # noqa: BLE001 - a damaged pickle can fail in any way
        raise CheckpointError(f"Checkpoint '{file}' is damaged ({type(error).__name__}: {error}).") from error
    if not isinstance(checkpoint, dict) or not {"config", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"Checkpoint '{file}' was not written by RecBole's Trainer: it has no config and state_dict.")
    settings = checkpoint["config"].final_config_dict
    # A run on several GPUs leaves settings that would look for its process group again.
    settings.update(single_spec=True, local_rank=0)
    if not torch.cuda.is_available():
        settings["device"] = torch.device("cpu")
    return checkpoint
