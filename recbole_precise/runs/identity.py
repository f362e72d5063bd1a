"""What makes two runs the same run.

Settings and data that decide the result, as plain values that can be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

from recbole_precise.errors import CheckpointError

#: Settings that decide where, how fast or how loudly a run goes, but not what comes out. Those of
#: an evaluation are among them because its blocks of rows follow from none (`evaluation.blocks`).
HARMLESS = frozenset(
    [
        "model_source",
        "run_dir",
        "result_file",
        "resume",
        "checkpoint_seconds",
        "threads",
        "log_flops",
        "tensorboard",
        "trust_pickle",
        "score_budget_mb",
        "slices",
        "text_batch_size",
        "text_device",
        "text_cache_dir",
        "keep_freed_memory",
        "gpu_id",
        "use_gpu",
        "device",
        "state",
        "data_path",
        "checkpoint_dir",
        "show_progress",
        "save_dataset",
        "dataset_save_path",
        "save_dataloaders",
        "dataloaders_save_path",
        "log_wandb",
        "wandb_project",
        "config_files",
        "config_file_list",
        "eval_batch_size",
        "loss_decimal_place",
        "metric_decimal_place",
        "verbose",
        "local_rank",
        "nproc",
        "ip",
        "port",
        "offset",
        "valid_metric_bigger",
        "saved",
        "url",
    ]
)
#: Settings that decide nothing now but did in earlier versions: any value counts as this one. A
#: loader that draws random numbers is read without workers (`views.load_in_order`).
SETTLED = {"worker": 0}
#: Decimals that RecBole's evaluator rounds to unless other decimals are set.
_PLACES = 4


def settings_identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide a result, as plain JSON values sorted by key.

    A key without a value says what a missing key says: a new version's new keys, which begin empty,
    leave old runs what they were.
    """
    identity = {
        key: _comparable(SETTLED.get(key, settings[key]))
        for key in sorted(settings)
        if key not in HARMLESS and settings[key] is not None
    }
    places = settings.get("metric_decimal_place")
    # RecBole's evaluator rounds before it compares: the decimals can decide which epoch is the
    # best.
    if settings.get("evaluator") == "recbole" and places not in (None, _PLACES):
        identity["metric_decimal_place"] = places
    return identity


def data_identity(dataset: Any) -> dict[str, Any]:
    """Size and SHA-256 of the training events and of the items' names.

    Args:
        dataset: the training part of a RecBole dataset; ours gives its sequences, RecBole's its
            rows.
    """
    digest = hashlib.sha256()
    if hasattr(dataset, "train_sequences"):
        arrays = dataset.train_sequences()
        events = len(arrays[0])
    else:
        arrays = [
            dataset.inter_feat[field]
            for field in (dataset.uid_field, dataset.iid_field)
            if field is not None
        ]
        events = len(arrays[0])
    for array in arrays:
        digest.update(np.ascontiguousarray(np.asarray(array, dtype=np.int64)).tobytes())
    catalogue = catalogue_digest(dataset)
    digest.update(catalogue.encode())
    return {
        "users": int(dataset.user_num), "items": int(dataset.item_num),
        "training_events": int(events), "catalogue": catalogue, "sha256": digest.hexdigest()
    }  # fmt: skip


def text_identity(model: Any) -> dict[str, Any]:
    """Return the encoder that a model's texts were read with.

    By name and SHA-256 of its files.

    Nothing for a model without texts.
    """
    encoder = getattr(model, "text_encoder", None)
    return (
        {"text_encoder": {"name": encoder["name"], "sha256": encoder["sha256"]}} if encoder else {}
    )


def check_text_encoder(saved: Mapping[str, Any], model: Any, run: Any) -> None:
    """Check that `model` reads its texts with the files of the run that `saved` identifies.

    A CheckpointError otherwise: the run's weights would not fit them.

    Runs of older versions do not say what they read with, and pass.
    """
    then = saved.get("text_encoder")
    now = text_identity(model).get("text_encoder")
    if then and now and then["sha256"] != now["sha256"]:
        raise CheckpointError(
            f"{run} was trained on texts read by '{then['name']}' (SHA-256 "
            f"{then['sha256'][:12]}), but '{now['name']}' on this machine is another encoder "
            f"({now['sha256'][:12]}): its vectors would not fit the weights. Bring back the "
            "former (text_encoder names its folder), or train again."
        )


def catalogue_digest(dataset: Any) -> str:
    """Compute the SHA-256 of the items' names in the order of their ids.

    It says which row of a table belongs to which item.
    """
    digest = hashlib.sha256()
    for name in dataset.field2id_token.get(dataset.iid_field, ()):
        digest.update(str(name).encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _comparable(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _comparable(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [_comparable(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_comparable(item) for item in value)
    return str(value)
