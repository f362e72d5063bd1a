"""RecBole's .pth checkpoints without trust: reading one runs nothing that the file asks for.

RecBole pickles its whole Config, model class included, next to the weights. torch 2.6 and newer refuse such a file, and
older ones run whatever it says. torch's allow-list is no way out: RecBole's pickles are of a protocol that it does not
read, and allowing Config would allow a file to call it, which evaluates texts as Python. So the file is read by
`torch_archive` and `plain_pickle`, which build weights, plain values and RecBole's settings, and can build nothing else.

Settings can act too when they are used: they name files to read and write, and one of RecBole's models evaluates one of
them. What would do so is switched off here, and RecBole's models that read a .pth of their own read it in the same way.
"""

from __future__ import annotations

import functools
import io
import pickle
import types
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from recbole_precise.compat.plain_pickle import Named, PlainUnpickler, Rule, State
from recbole_precise.errors import CheckpointError, DataError, UserError
from recbole_precise.importing import after_import

_CONFIGS = (("recbole.config.configurator", "Config"), ("recbole_precise.config", "Config"))

#: RecBole's models that read a .pth while they are built: module -> (class, the settings that name the file).
_MODELS_THAT_LOAD = {
    "recbole.model.sequential_recommender.s3rec": ("S3Rec", ("pre_model_path",)),
    "recbole.model.general_recommender.convncf": ("ConvNCF", ("pre_model_path",)),
    "recbole.model.general_recommender.nais": ("NAIS", ("pretrain_path",)),
    "recbole.model.general_recommender.neumf": ("NeuMF", ("mf_pretrain_path", "mlp_pretrain_path")),
    "recbole.model.general_recommender.ract": ("RaCT", ("pre_model_path",)),
    "recbole.model.context_aware_recommender.kd_dagfm": ("KD_DAGFM", ("warm_up",)),
}

#: Settings that let a later step unpickle, write or send something; a file does not decide about that.
_SWITCHED_OFF: dict[str, Any] = {
    "trust_pickle": False,
    "save_dataset": False,
    "dataset_save_path": None,
    "save_dataloaders": False,
    "dataloaders_save_path": None,
    "log_wandb": False,
}

_TRUST = (
    "Weights and RecBole's settings need no such thing; "
    "set trust_pickle: True only if you trust whoever wrote it."
)


class _ConfigState(State):
    """A Config in a checkpoint: its attributes, without its methods, until `_revive` gives them back."""

    @classmethod
    def refuses(cls, name: str) -> bool:
        """Return whether an attribute of this name would hide a method of Config."""
        return super().refuses(name) or name in _names_of_config()


@functools.cache
def _names_of_config() -> frozenset[str]:
    from recbole.config import Config

    return frozenset(dir(Config))


@functools.cache
def _table() -> dict[tuple[str, str], Any]:
    """Return everything that a file may name, by the names under which torch, NumPy and RecBole pickle it."""
    from recbole.utils import enum_type

    from recbole_precise.compat.plain_values import enum_rule, plain_table

    table = plain_table()
    for name, value in vars(enum_type).items():
        if isinstance(value, type) and value.__module__ == enum_type.__name__:
            table[enum_type.__name__, name] = enum_rule(value)
    _names_of_config()  # nothing is imported later, while a file is read
    for pair in _CONFIGS:
        table[pair] = Rule(".".join(pair), make=_ConfigState)
    return table


class _Unpickler(PlainUnpickler):
    """Reads plain data and RecBole's settings; no tensors, whose data stand outside of a pickle."""

    def __init__(self, file: io.BufferedIOBase | io.BytesIO) -> None:
        super().__init__(file, _table())


class _Contents(dict):
    """A mapping of a checkpoint; to ask for what it does not hold is an error in words.

    Attributes:
        source: the file, for messages.
    """

    source: object = None

    def __missing__(self, key: object) -> Any:
        raise CheckpointError(
            f"Checkpoint '{self.source}' holds no '{key}': it was written by another program or for another model."
        )


def _revive(state: _ConfigState) -> Any:
    """Return the Config whose attributes a checkpoint held, fit to be read and unable to act."""
    from recbole.config import Config

    from recbole_precise import registry

    attributes = dict(vars(state))
    settings = attributes.get("final_config_dict")
    if type(settings) is not dict or not all(type(key) is str for key in settings):
        raise CheckpointError("its settings are damaged")
    settings.update({key: value for key, value in _SWITCHED_OFF.items() if key in settings})
    config = Config.__new__(Config)
    attributes.pop("yaml_loader", None)
    named = attributes.get("model_class")
    entry = registry.find(str(settings.get("model")))
    if entry is not None and isinstance(named, Named) and entry.target == f"{named.__module__}:{named.__qualname__}":
        attributes["model_class"] = entry.load()
    config.__dict__.update(attributes)
    return config


def safe_load(file: Any, map_location: Any = None, **_settings: Any) -> Any:
    """Read what torch.save wrote, without running what is in it (see the module).

    Args:
        file: its path.
        map_location: the device of its tensors; None: the CPU, whatever device they were saved from.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it asks for something to be run.
    """
    import torch

    from recbole_precise.compat.torch_archive import TorchArchive

    path = _existing(file)
    try:
        device = torch.device("cpu" if map_location is None else map_location)
        content = TorchArchive(path, device).read(_table())
        if isinstance(content, dict) and isinstance(content.get("config"), _ConfigState):
            content["config"] = _revive(content["config"])
    except pickle.UnpicklingError as error:
        raise type(error)(f"Checkpoint '{path}' was not read: {error}. {_TRUST}") from error
    except CheckpointError as error:
        raise CheckpointError(f"Checkpoint '{path}' is damaged: {error}.") from error
    except Exception as error:  # a file that somebody made can fail in any way
        raise _damaged(path, error) from error
    if type(content) is dict:
        content = _Contents(content)
        content.source = path
    return content


def _existing(file: Any) -> Path:
    """Return the path of a file that torch.save could have written; a CheckpointError otherwise."""
    if not isinstance(file, (str, Path)) or not str(file):
        raise CheckpointError("No checkpoint is named where one is needed: give the path of a .pth file.")
    path = Path(file)
    try:
        if path.is_dir():
            raise CheckpointError(f"Checkpoint '{path}' is a directory; name the .pth file in it.")
        if not path.is_file():
            raise CheckpointError(f"Checkpoint '{path}' does not exist.")
        if not zipfile.is_zipfile(path):
            raise CheckpointError(
                f"Checkpoint '{path}' is damaged, truncated or not written by torch 1.6 or newer."
            )
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Checkpoint '{path}' cannot be read ({error}).") from error
    return path


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error).strip().splitlines() or [""])[0][:300]
    return CheckpointError(f"Checkpoint '{path}' is damaged ({type(error).__name__}: {reason}).")


# --- RecBole's own modules ------------------------------------------------------------------------


def mend_torch_load(overlay: type) -> None:
    """Let RecBole's own modules read files safely; `overlay(module, **changes)` sees a module through changes."""

    def read_safely(module: types.ModuleType) -> None:
        module.torch = overlay(module.torch, load=safe_load)

    def build_safely(model: str, keys: Collection[str], module: types.ModuleType) -> None:
        read_safely(module)
        cls = getattr(module, model)
        cls.__init__ = _with_sentences(cls.__init__, model, keys)

    def refuse_pickled_arrays(module: types.ModuleType) -> None:
        module.np = overlay(module.np, load=_load_array)

    after_import("recbole.trainer.trainer", read_safely)
    for name, (model, keys) in _MODELS_THAT_LOAD.items():
        after_import(name, functools.partial(build_safely, model, keys))
    after_import("recbole.model.context_aware_recommender.kd_dagfm", _name_teachers_only)
    after_import("recbole.model.general_recommender.ldiffrec", refuse_pickled_arrays)


def _with_sentences(build: Callable[..., None], model: str, keys: Collection[str]) -> Callable[..., None]:
    """Return a model's `__init__` that says which setting named a file that it cannot use."""

    @functools.wraps(build)
    def __init__(self: Any, config: Any, dataset: Any) -> None:
        try:
            build(self, config, dataset)
        except UserError as error:
            named = [key for key in keys if config[key] is None or f"'{config[key]}'" in str(error)]
            if not isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{' or '.join(named or keys)} of {model}: {error}") from error
        except (RuntimeError, LookupError, TypeError, AttributeError, AssertionError) as error:
            files = [f"{key}: '{config[key]}'" for key in keys if config[key]]
            in_use = isinstance(error, AssertionError) and not files
            if not in_use and not _raised_while_loading(error, build):
                raise
            if not files:
                raise CheckpointError(f"{model} begins from weights of an earlier training: set {' and '.join(keys)}.") from error
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{model} cannot begin from the weights of {' and '.join(files)}: they belong to another model, "
                f"other settings or other data ({type(error).__name__}: {reason})."
            ) from error

    return __init__


def _raised_while_loading(error: BaseException, build: Callable[..., None]) -> bool:
    """Return whether an error comes from the lines of a model that put loaded weights into it."""
    steps = {"load_state_dict", "_load_pretrain", "load_pretrain", "copy_"}
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name in steps:
            return True
        if code is build.__code__ and "state_dict" in _line_of(code.co_filename, trace.tb_lineno):
            return True
        trace = trace.tb_next
    return False


def _line_of(file: str, number: int) -> str:
    import linecache

    return linecache.getline(file, number)


def _name_teachers_only(module: types.ModuleType) -> None:
    """KD_DAGFM evaluates the setting `teacher` as Python; let it be the name of one of the module's networks."""

    def teacher(name: str, *_scopes: Any) -> type:
        found = vars(module).get(name)
        import torch

        if not isinstance(found, type) or not issubclass(found, torch.nn.Module) or found.__module__ != module.__name__:
            networks = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
            raise CheckpointError(f"teacher: {str(name)[:80]!r} is no network of KD_DAGFM; choose one of {', '.join(networks)}.")
        return found

    module.eval = teacher


def _load_array(file: Any, *_arguments: Any, **_settings: Any) -> Any:
    """Read a .npy file of numbers; RecBole would also unpickle what stands in it."""
    import numpy as np

    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: this is no NumPy file of numbers ({error}).") from error


# --- Checkpoints of RecBole's Trainer -------------------------------------------------------------


def load_recbole_checkpoint(path: str | Path, trust_pickle: bool = False) -> dict[str, Any]:
    """Return the contents of a .pth that RecBole's Trainer wrote, tensors on the CPU, its Config fit for this machine.

    Without `trust_pickle` nothing in the file is run; a file that holds more than weights, plain values and RecBole's
    settings is refused.

    Raises:
        CheckpointError: the file cannot be read, asks for something to be run, or is no such checkpoint.
    """
    import torch

    file = _existing(path)
    if trust_pickle:
        try:
            checkpoint = torch.load(file, map_location="cpu", weights_only=False)
        except Exception as error:  # a damaged pickle can fail in any way
            raise _damaged(file, error) from error
    else:
        checkpoint = safe_load(file, map_location="cpu")
    if not isinstance(checkpoint, dict) or not {"config", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"Checkpoint '{file}' was not written by RecBole's Trainer: it has no config and state_dict.")
    settings = getattr(checkpoint["config"], "final_config_dict", None)
    weights = checkpoint["state_dict"]
    if not isinstance(settings, dict):
        raise CheckpointError(f"Checkpoint '{file}' was not written by RecBole's Trainer: its config is no Config of RecBole's.")
    if not isinstance(weights, Mapping) or not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in weights.items()):
        raise CheckpointError(f"Checkpoint '{file}' was not written by RecBole's Trainer: its state_dict holds more than tensors.")
    # A run on several GPUs leaves settings that would look for its process group again.
    settings.update(single_spec=True, local_rank=0)
    if not torch.cuda.is_available():
        settings["device"] = torch.device("cpu")
    return checkpoint


def check_other_parameter(model: Any, other: Any, source: object) -> Any:
    """Return what a checkpoint keeps beside the weights if it is the model's; RecBole sets it as attributes, whatever it is.

    Raises:
        CheckpointError: a name is none that the model keeps.
    """
    known = set(getattr(model, "other_parameter_name", ()))
    if other is not None and not (isinstance(other, Mapping) and set(other) <= known):
        raise CheckpointError(f"'{source}': its other_parameter holds more than {type(model).__name__} keeps beside its weights.")
    return other


def with_settings_of_a_file(load: Callable[..., Any]) -> Callable[..., Any]:
    """Return `load(model_file, ...)` for which settings that a .pth brings along and that lead nowhere are errors in words.

    Settings of ours were checked when the run began; those of a .pth may be anything.
    """

    @functools.wraps(load)
    def loaded(model_file: Any, *arguments: Any, **options: Any) -> Any:
        if Path(model_file).suffix != ".pth":
            return load(model_file, *arguments, **options)
        try:
            return load(model_file, *arguments, **options)
        except UserError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"Checkpoint '{model_file}' was read, but its settings lead to no model and data here "
                f"({type(error).__name__}: {reason}). If the data set is elsewhere, give its folder as data_path."
            ) from error

    return loaded


def apply_changes(config: Any, changes: Mapping[str, Any] | None, source: object) -> None:
    """Change settings of a checkpoint's Config; its data set must then be at hand, since RecBole would download it.

    `data_path` may be the folder of the data set, as RecBole has it in a Config, or the folder that holds that one.
    """
    for key, value in (changes or {}).items():
        config[key] = value
    dataset = str(config["dataset"])
    folder = Path(str(config["data_path"]))
    if (folder / dataset).is_dir() and folder.name != dataset:
        folder = folder / dataset
        config["data_path"] = str(folder)
    if not folder.is_dir():
        raise DataError(f"'{source}' was trained on data set '{dataset}' in '{folder}', which does not exist here; set data_path to its folder.")
