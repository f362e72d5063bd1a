"""What a run leaves for tables and tests: result.json, config.yaml and ranks.npz."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recbole_precise.errors import CheckpointError
from recbole_precise.evaluation.ranks import Ranks
from recbole_precise.files import json_bytes, write_atomically, write_json
from recbole_precise.runs.checkpoint import read_json
from recbole_precise.runs.folder import RunFolder
from recbole_precise.runs.manifest import check_file
from recbole_precise.version import __version__

PACKAGES = ("recbole_precise", "recbole", "torch", "numpy", "scipy", "pandas", "transformers")
RESULT = "result.json"
#: Parts of result.json that every reader needs: their types, and the same in words.
_PARTS: dict[str, tuple[tuple[type, ...], str]] = {
    "model": ((str,), "name"),
    "dataset": ((str,), "name"),
    "recipe": ((str, type(None)), "name"),
    "seed": ((int,), "whole number"),
    "protocol": ((dict,), "mapping"),
    "valid": ((dict,), "mapping"),
    "test": ((dict,), "mapping"),
}
RANKS = "ranks.npz"
#: Where a run stands and how it was launched: not part of what it computed.
_NOT_SETTINGS = frozenset(
    [
        "run_dir",
        "result_file",
        "resume",
        "config_files",
        "config_file_list",
        "device",
        "MODEL_TYPE",
        "MODEL_INPUT_TYPE",
        "eval_type",
        "valid_metric_bigger",
        "single_spec",
        "local_rank",
        "nproc",
        "world_size",
        "ip",
        "port",
        "offset",
        "group_offset",
        "valid_neg_sample_args",
        "test_neg_sample_args",
        "saved",
        "verbose",
    ]
)


# --- Ranks ------------------------------------------------------------------------------------


def write_ranks(
    path: Path,
    ranks: Mapping[str, Ranks],
    dataset: Any,
    histories: Mapping[str, np.ndarray | None] | None = None,
) -> None:
    """Write `<split>_user`, `<split>_item` (tokens) and `<split>_rank` of every row.

    Splits that the file has already and that are not given stay.

    Args:
        ranks: split -> ranks by internal id. dataset: RecBole's, which knows the tokens.
        histories: split -> events before each row's target, written as `<split>_history`; None
            where they are not known.
    """
    arrays = read_arrays(path) if path.exists() else {}
    users, items = (
        np.asarray(dataset.field2id_token[field])
        for field in (dataset.uid_field, dataset.iid_field)
    )
    for split, found in ranks.items():
        arrays.update(
            {
                f"{split}_user": users[found.user_id],
                f"{split}_item": items[found.target],
                f"{split}_rank": found.rank,
            }
        )
    arrays.update(
        {
            f"{split}_history": events
            for split, events in (histories or {}).items()
            if events is not None
        }
    )

    contents: dict[str, Any] = {name: _without_objects(array) for name, array in arrays.items()}

    def write(partial: Path) -> None:
        with Path(partial).open("wb") as file:
            np.savez_compressed(file, **contents)

    write_atomically(path, write, "the ranks")


def read_ranks(
    path: str | os.PathLike, split: str = "test"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the rows of a split from a ranks.npz or its run directory.

    These are (user tokens, item tokens, ranks int64).
    """
    path = Path(path)
    path = path / RANKS if path.is_dir() else path
    check_file(path.parent, path.name)
    arrays = read_arrays(path)
    if f"{split}_rank" not in arrays:
        raise CheckpointError(f"'{path}' holds no ranks of the split '{split}'.")
    columns = [arrays.get(f"{split}_{name}", np.zeros(0)) for name in ("user", "item", "rank")]
    _check_ranks(path, split, columns)
    return columns[0], columns[1], columns[2]


def _check_ranks(path: Path, split: str, columns: Sequence[np.ndarray]) -> None:
    """Refuse columns that are no vectors of one length, or ranks that are no places from 1 on."""
    users, items, ranks = columns
    if ranks.ndim != 1 or not users.shape == items.shape == ranks.shape:
        shapes = ", ".join(str(list(column.shape)) for column in columns)
        raise CheckpointError(
            f"'{path}' is damaged: users, items and ranks of '{split}' are no columns of one "
            f"length ({shapes})."
        )
    if ranks.dtype.kind not in "iu" or (len(ranks) and ranks.min() < 1):
        raise CheckpointError(
            f"'{path}' is damaged: ranks of '{split}' are no whole numbers from 1 on."
        )


def ranks_of_runs(folders: Iterable[str | os.PathLike], split: str = "test") -> list[Ranks]:
    """Read ranks of several runs with one numbering of users and items for all.

    Ready for `evaluation.significance`.
    """
    read = [read_ranks(folder, split) for folder in folders]
    numbered = []
    for column in (0, 1):
        _, ids = np.unique(np.concatenate([run[column] for run in read]), return_inverse=True)
        numbered.append(np.split(ids, np.cumsum([len(run[column]) for run in read])[:-1]))
    return [Ranks(users, items, run[2]) for users, items, run in zip(*numbered, read)]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a .npz file, by name.

    A CheckpointError that names the file when it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise CheckpointError(f"'{path}' does not exist.") from None
    except Exception as error:
        raise CheckpointError(
            f"'{path}' is damaged: {error}. Delete it and evaluate the run again."
        ) from error


def _without_objects(array: np.ndarray) -> np.ndarray:
    """Object arrays (tokens of some data sets) as text, so that nothing is pickled."""
    return array.astype(str) if array.dtype == object else array


# --- Settings ---------------------------------------------------------------------------------


def effective_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a run as plain values that a config file may hold.

    The file then gives the same run again.

    Args:
        given: key -> value; `model`, `dataset` and `data_path` are among them.
    """
    settings = {key: _yaml_value(value) for key, value in given.items() if key not in _NOT_SETTINGS}
    settings["model"] = given["model"]
    settings["dataset"] = given["dataset"]
    path = Path(str(given["data_path"]))
    # RecBole appends the data set's name to data_path, and reads the one that it carries from its
    # own folder.
    if given["dataset"] == "ml-100k":
        settings.pop("data_path", None)
    elif path.name == given["dataset"]:
        settings["data_path"] = str(path.parent)
    sampling = settings.get("train_neg_sample_args")
    if isinstance(sampling, dict) and sampling.get("distribution") == "none":
        settings["train_neg_sample_args"] = None
    return settings


def write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write config.yaml; the settings are as for `effective_settings`."""
    head = (
        f"# Settings of a run of {settings['model']} on {settings['dataset']}; run it again with "
        f"--config_files={path.name}\n"
    )
    text = head + settings_text(effective_settings(settings))
    write_atomically(
        path, lambda partial: partial.write_text(text, encoding="utf-8"), "the settings"
    )


def settings_text(settings: Mapping[str, Any]) -> str:
    """Write settings as YAML that reads back to the same values."""
    return yaml.dump(
        _yaml_value(settings), Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=1000
    )


class _Dumper(yaml.SafeDumper):
    """Plain YAML whose floats read back as floats: YAML 1.1 takes `1e-05` for text."""


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e", 1)
    special = {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}
    return dumper.represent_scalar("tag:yaml.org,2002:float", special.get(text, text))


_Dumper.add_representer(float, _float)


def _yaml_value(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else str(key): _yaml_value(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set)):
        return [_yaml_value(item) for item in (sorted(value) if isinstance(value, set) else value)]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


# --- result.json ------------------------------------------------------------------------------


def protocol_of(config: Any, item_num: int) -> dict[str, Any]:
    """How the numbers were made: two results compare only when this is equal."""
    exact = config["evaluator"] != "recbole"
    args = config["eval_args"]
    modes = set(args["mode"].values())
    return {
        "split": _yaml_value(args["split"]),
        "mask_history": bool(config["mask_history"]),
        "ties": "against the target" if exact else "as torch.topk leaves them",
        "candidates": item_num - 1 if modes == {"full"} else ", ".join(sorted(modes)),
        "target_scene": config["target_scene"],
        **(
            {
                key: config[key]
                for key in ("holdout_items", "holdout_users", "holdout_by", "holdout_seed")
                if config[key]
            }
            if config["holdout_items"] or config["holdout_users"]
            else {}
        ),
    }


def environment(device: Any) -> dict[str, Any]:
    """Versions and machine, as far as they can change a number or a time.

    Args:
        device: of torch, where the model is.
    """
    import torch

    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device)
        if getattr(device, "type", "") == "cuda"
        else str(device),
    }


def peak_memory_mb() -> float:
    """Largest resident memory of the process so far, in MiB."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def write_result(
    path: Path, result: Mapping[str, Any], copy: str | os.PathLike | None = None
) -> None:
    """Write result.json and, where asked for, its copy; the manifest of the run lists it before."""
    content = numbers(result)
    RunFolder(path.parent).finish(json_bytes(content), ("ranks.npz", "cold.npz"))
    write_json(path, content, "the result")
    if copy:
        write_json(Path(copy), content, "the copy of the result")


def read_result(folder: str | os.PathLike) -> dict[str, Any]:
    """Read the result.json of a run directory.

    Raises:
        CheckpointError: it is missing or damaged, or not the one that the run left.
    """
    check_file(Path(folder), RESULT)
    path = Path(folder) / RESULT
    result = read_json(path)
    for key, (kinds, words) in _PARTS.items():
        if key not in result:
            raise CheckpointError(f"'{path}' is damaged or no result of a run: it has no '{key}'.")
        if not isinstance(result[key], kinds) or isinstance(result[key], bool):
            raise CheckpointError(f"'{path}' is damaged: '{key}' is no {words}.")
    for split in ("valid", "test"):
        for name, value in result[split].items():
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, (int, float))
            ):
                raise CheckpointError(f"'{path}' is damaged: '{name}' of '{split}' is no number.")
    return result


def numbers(value: Any) -> Any:
    """Plain JSON values.

    What is not finite (an empty slice, a diverged metric) is null, as JSON knows no NaN.
    """
    value = _yaml_value(value)
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def metrics_of(
    results: Iterable[tuple[str, float]] | Mapping[str, float] | None,
) -> dict[str, float]:
    """Metrics as a plain mapping, empty for none."""
    return {name: float(value) for name, value in dict(results or {}).items()}


def _version(package: str) -> str | None:
    if package == "recbole_precise":
        return __version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
