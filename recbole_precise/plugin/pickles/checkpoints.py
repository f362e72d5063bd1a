"""RecBole's .pth checkpoints without trust: reading one runs nothing that the file asks for.

RecBole pickles its whole Config, model class included, next to the weights. torch 2.6 and newer
refuse such a file, and older ones run whatever it says. torch's allow-list is no way out: RecBole's
pickles are of a protocol that it does not read, and allowing Config would allow a file to call it,
which evaluates texts as Python. So the file is read by `torch_archive` and `plain_pickle`, which
build weights, plain values and RecBole's settings, and can build nothing else.

Settings can act too when they are used: they name files to read and write, and one of RecBole's
models evaluates one of them. What would do so is switched off here, and RecBole's models that read
a .pth of their own read it in the same way.
"""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recbole_precise import registry
from recbole_precise.errors import CheckpointError, DataError, UserError
from recbole_precise.plugin.pickles.archive import TorchArchive
from recbole_precise.plugin.pickles.reader import PlainUnpickler
from recbole_precise.plugin.pickles.rules import Named, RefusedError, Rule, State
from recbole_precise.plugin.pickles.values import enum_rule, plain_table

_CONFIGS = (("recbole.config.configurator", "Config"), ("recbole_precise.plugin.config", "Config"))

#: Settings that let a later step unpickle, write or send something; a file does not decide about
#: that.
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
    """A Config in a checkpoint: its attributes, without its methods."""

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
    """Return everything that a file may name, by its name in a pickle."""
    from recbole.utils import enum_type

    table = plain_table()
    for name, value in vars(enum_type).items():
        if isinstance(value, type) and value.__module__ == enum_type.__name__:
            table[enum_type.__name__, name] = enum_rule(value)
    _names_of_config()  # nothing is imported later, while a file is read
    for pair in _CONFIGS:
        table[pair] = Rule(".".join(pair), make=_ConfigState)
    return table


class _Unpickler(PlainUnpickler):
    """Reads plain data and RecBole's settings; no tensors, whose data are outside of a pickle."""

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
            f"Checkpoint '{self.source}' holds no '{key}': "
            "it was written by another program or for another model."
        )


def _revive(state: _ConfigState) -> Any:
    """Return the Config whose attributes a checkpoint held, fit to be read and unable to act."""
    from recbole.config import Config

    attributes = dict(vars(state))
    settings = attributes.get("final_config_dict")
    if type(settings) is not dict or not all(type(key) is str for key in settings):
        raise CheckpointError("its settings are damaged")
    settings.update({key: value for key, value in _SWITCHED_OFF.items() if key in settings})
    config = Config.__new__(Config)
    attributes.pop("yaml_loader", None)
    named = attributes.get("model_class")
    entry = registry.find(str(settings.get("model")))
    if (
        entry is not None
        and isinstance(named, Named)
        and entry.target == f"{named.__module__}:{named.__qualname__}"
    ):
        attributes["model_class"] = entry.load()
    config.__dict__.update(attributes)
    return config


def safe_load(file: Any, map_location: Any = None, **_settings: Any) -> Any:
    """Read what torch.save wrote, without running what is in it (see the module).

    Args:
        file: its path.
        map_location: the device of its tensors; None: the CPU, whatever device they were saved
            from.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it asks for something to be run.
    """
    import torch

    path = _existing(file)
    try:
        device = torch.device("cpu" if map_location is None else map_location)
        content = TorchArchive(path, device).read(_table())
        if isinstance(content, dict) and isinstance(content.get("config"), _ConfigState):
            content["config"] = _revive(content["config"])
    except RefusedError as error:
        raise RefusedError(f"Checkpoint '{path}' was not read: {error}. {_TRUST}") from error
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
        raise CheckpointError(
            "No checkpoint is named where one is needed: give the path of a .pth file."
        )
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
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"Checkpoint '{path}' cannot be read ({error}).") from error
    return path


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error).strip().splitlines() or [""])[0][:300]
    return CheckpointError(f"Checkpoint '{path}' is damaged ({type(error).__name__}: {reason}).")


# --- Checkpoints of RecBole's Trainer -------------------------------------------------------------


def load_recbole_checkpoint(path: str | Path, trust_pickle: bool = False) -> dict[str, Any]:
    """Return the contents of a .pth that RecBole's Trainer wrote.

    Tensors are on the CPU, and its Config fits this machine.

    Without `trust_pickle` nothing in the file is run; a file that holds more than weights, plain
    values and RecBole's settings is refused.

    Raises:
        CheckpointError: the file cannot be read, asks for something to be run, or is no such
            checkpoint.
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
    other = f"Checkpoint '{file}' was not written by RecBole's Trainer"
    if not isinstance(checkpoint, dict) or not {"config", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"{other}: it has no config and state_dict.")
    settings = getattr(checkpoint["config"], "final_config_dict", None)
    weights = checkpoint["state_dict"]
    if not isinstance(settings, dict):
        raise CheckpointError(f"{other}: its config is no Config of RecBole's.")
    plain = isinstance(weights, Mapping) and all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in weights.items()
    )
    if not plain:
        raise CheckpointError(f"{other}: its state_dict holds more than tensors.")
    # A run on several GPUs leaves settings that would look for its process group again.
    settings.update(single_spec=True, local_rank=0)
    if not torch.cuda.is_available():
        settings["device"] = torch.device("cpu")
    return checkpoint


def check_other_parameter(model: Any, other: Any, source: object) -> Any:
    """Return what a checkpoint keeps beside the weights, if the model keeps it too.

    RecBole makes attributes of the model of it, whatever it is.

    Raises:
        CheckpointError: a name is none that the model keeps.
    """
    known = set(getattr(model, "other_parameter_name", ()))
    if other is not None and not (isinstance(other, Mapping) and set(other) <= known):
        raise CheckpointError(
            f"'{source}': its other_parameter holds more than {type(model).__name__} keeps "
            "beside its weights."
        )
    return other


def with_settings_of_a_file(load: Callable[..., Any]) -> Callable[..., Any]:
    """Return `load(model_file, ...)` that says in words when the settings in a .pth lead nowhere.

    Settings of our runs were checked when the run began; those of a .pth may be anything.
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
                f"Checkpoint '{model_file}' was read, but its settings lead to no model and data "
                f"here ({type(error).__name__}: {reason}). If the data set is elsewhere, "
                "give its folder as data_path."
            ) from error

    return loaded


def apply_changes(config: Any, changes: Mapping[str, Any] | None, source: object) -> None:
    """Change settings of a checkpoint's Config, whose data set must then be at hand.

    RecBole would try to download it. `data_path` may be the folder of the data set, as RecBole
    has it in a Config, or the folder that holds that one.
    """
    for key, value in (changes or {}).items():
        config[key] = value
    dataset = str(config["dataset"])
    folder = Path(str(config["data_path"]))
    if (folder / dataset).is_dir() and folder.name != dataset:
        folder = folder / dataset
        config["data_path"] = str(folder)
    if not folder.is_dir():
        raise DataError(
            f"'{source}' was trained on data set '{dataset}' in '{folder}', "
            "which does not exist here; set data_path to its folder."
        )
