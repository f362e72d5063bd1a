"""What a key may hold: its types, choices and range.

For our keys, and for RecBole's that are worth checking.
"""

from __future__ import annotations

import functools
from typing import Any

from recbole_precise import registry
from recbole_precise.config.key import Key
from recbole_precise.config.run_settings import RunSettings
from recbole_precise.system.importing import load_target


def _positive(kinds: str = "float", **more: Any) -> Key:
    return Key(kinds, above=0, **more)


def _share(**more: Any) -> Key:
    return Key("float", low=0, below=1, **more)


def _count(low: int = 1, **more: Any) -> Key:
    return Key("int", low=low, **more)


def _size(**more: Any) -> Key:
    """Describe a width of a layer.

    What no machine multiplies is refused before the memory for it is asked for.
    """
    return Key("int", low=1, high=2**20, **more)


def _one_of(*choices: str, **more: Any) -> Key:
    return Key("str", choices=choices, **more)


_TEXT = Key("str")
_TEXT_OR_NONE = Key("str", nullable=True)
_SWITCH = Key("bool")

#: Keys that every run has beside RecBole's (`config.run_settings`).
OVERALL: dict[str, Key] = {name: found.key for name, found in RunSettings.declared().items()}


@functools.cache
def model_keys() -> dict[str, Key]:
    """Return the keys of our models; a key means the same in every model that has it.

    RecBole's own keys, to which a model gives another default, are not among them.
    """
    found: dict[str, Key] = {}
    for target in registry.SETTINGS.values():
        for name, declared in load_target(target).own().items():
            if name not in RECBOLE and name not in OVERALL:
                found.setdefault(name, declared.key)
    return found


#: RecBole's own keys.
RECBOLE: dict[str, Key] = {
    "gpu_id": Key("str or int or list", nullable=True),
    "nproc": _count(),
    "world_size": Key("int", low=-1),
    "ip": _TEXT,
    "port": Key("str or int"),
    "offset": _count(0),
    "group_offset": _count(0),
    "local_rank": _count(0),
    "saved": _SWITCH,
    "encoding": _TEXT_OR_NONE,
    "mask_ratio": Key("float", above=0, high=1, nullable=True),
    "ft_ratio": Key("float", low=0, high=1, nullable=True),
    "eta": Key("float", above=0, high=1, nullable=True),
    "beta": Key("float", nullable=True),
    "discretization": Key("dict", nullable=True),
    "preload_weight": Key("dict", nullable=True),
    "alias_of_user_id": Key("list", nullable=True),
    "alias_of_item_id": Key("list", nullable=True),
    "alias_of_entity_id": Key("list", nullable=True),
    "alias_of_relation_id": Key("list", nullable=True),
    "kg_reverse_r": _SWITCH,
    "entity_kg_num_interval": Key("str or list", nullable=True, infinite=True),
    "relation_kg_num_interval": Key("str or list", nullable=True, infinite=True),
    "HEAD_ENTITY_ID_FIELD": _TEXT,
    "TAIL_ENTITY_ID_FIELD": _TEXT,
    "RELATION_ID_FIELD": _TEXT,
    "ENTITY_ID_FIELD": _TEXT,
    "worker": _count(0),
    "use_gpu": _SWITCH,
    "seed": Key("int", low=0, high=2**32 - 1),  # NumPy takes no more
    "state": Key(
        "str",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
        any_case=True,
        nullable=True,
    ),
    "reproducibility": _SWITCH,
    "data_path": _TEXT,
    "checkpoint_dir": _TEXT,
    "show_progress": _SWITCH,
    "save_dataset": _SWITCH,
    "dataset_save_path": _TEXT_OR_NONE,
    "save_dataloaders": _SWITCH,
    "dataloaders_save_path": _TEXT_OR_NONE,
    "log_wandb": _SWITCH,
    "wandb_project": _TEXT_OR_NONE,
    "shuffle": _SWITCH,
    "epochs": _count(0),
    "train_batch_size": _count(),
    "learner": Key(
        "str", choices=("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam"), any_case=True
    ),
    "learning_rate": _positive(high=1e36),
    "train_neg_sample_args": Key("dict", nullable=True),
    "eval_step": _count(0),
    "stopping_step": _count(0),
    "clip_grad_norm": Key("dict", nullable=True),
    "weight_decay": Key("float", low=0),
    "loss_decimal_place": Key("int", low=0, high=30),
    "require_pow": _SWITCH,
    "enable_amp": _SWITCH,
    "enable_scaler": _SWITCH,
    "transform": _one_of(
        "mask_itemseq",
        "inverse_itemseq",
        "crop_itemseq",
        "reorder_itemseq",
        "user_defined",
        nullable=True,
    ),
    "eval_args": Key("dict"),
    "repeatable": _SWITCH,
    "metrics": Key("list or str"),
    "topk": Key("list or int", low=1),
    "tail_ratio": _positive(nullable=True),
    "valid_metric": _TEXT,
    "valid_metric_bigger": _SWITCH,
    "eval_batch_size": _count(),
    "metric_decimal_place": Key("int", low=0, high=30),
    "loss_type": _one_of("CE", "BPR"),
    "field_separator": _TEXT,
    "seq_separator": _TEXT,
    "USER_ID_FIELD": _TEXT,
    "ITEM_ID_FIELD": _TEXT,
    "RATING_FIELD": _TEXT_OR_NONE,
    "TIME_FIELD": _TEXT,
    "LABEL_FIELD": _TEXT,
    "NEG_PREFIX": _TEXT,
    "LIST_SUFFIX": _TEXT,
    "ITEM_LIST_LENGTH_FIELD": _TEXT,
    "POSITION_FIELD": _TEXT,
    "MAX_ITEM_LIST_LENGTH": Key("int", low=1, high=100_000),
    "seq_len": Key("dict", nullable=True),
    "threshold": Key("dict", nullable=True),
    "numerical_features": Key("list", nullable=True),
    "load_col": Key("dict", nullable=True),
    "unload_col": Key("dict", nullable=True),
    "unused_col": Key("dict", nullable=True),
    "additional_feat_suffix": Key("list or str", nullable=True),
    "rm_dup_inter": _one_of("first", "last", nullable=True),
    "val_interval": Key("dict", nullable=True),
    "filter_inter_by_user_or_item": _SWITCH,
    "user_inter_num_interval": Key(
        "str or list", nullable=True, infinite=True
    ),  # "[5,inf)", or [5, 30] as YAML reads it
    "item_inter_num_interval": Key("str or list", nullable=True, infinite=True),
    "normalize_field": Key("list", nullable=True),
    "normalize_all": Key("bool", nullable=True),
    "benchmark_filename": Key("list", nullable=True),
}

#: Keys that RecBole reads without listing them: its launcher's, those of transforms, metrics and
#: deprecated settings.
RECBOLE_UNLISTED: frozenset[str] = frozenset(
    [
        "model",
        "dataset",
        "config_file",
        "config_files",
        "saved",
        "nproc",
        "world_size",
        "ip",
        "port",
        "offset",
        "group_offset",
        "local_rank",
        "device",
        "CROP_ITEM_SEQ",
        "CROP_ITEM_SEQ_LEN",
        "INVERSE_ITEM_SEQ",
        "MASK_INDEX",
        "MASK_ITEM_SEQ",
        "NEG_ITEMS",
        "POS_ITEMS",
        "REORDER_ITEM_SEQ",
        "mask_ratio",
        "ft_ratio",
        "crop_eta",
        "gamma",
        "beta",
        "convert_token_to_onehot",
        "token_num_threshold",
        "encoding",
        "discretization",
        "embedding_size",
        "numerical_features",
        "double_tower",
        "tail_ratio",
        "alias_of_user_id",
        "alias_of_item_id",
        "alias_of_entity_id",
        "eta",
        "alias_of_relation_id",
        "preload_weight",
        "kg_reverse_r",
        "entity_kg_num_interval",
        "relation_kg_num_interval",
        "url",
        "wandb_project",
        "worker",
        "shuffle",
        "eval_type",
        "neg_sampling",
        "training_neg_sample_num",
        "loss_type",
        "reg_weight",
    ]
)


def known_key(name: str) -> Key | None:
    """Return the entry of a key, ours or RecBole's."""
    return OVERALL.get(name) or RECBOLE.get(name) or model_keys().get(name)


def like(default: Any) -> Key | None:
    """Return the entry that a default value suggests.

    For keys of models that are listed nowhere.

    None when it suggests nothing.
    """
    if isinstance(default, bool):
        return Key("bool")
    if isinstance(default, (int, float)):
        return Key("float", nullable=True)
    if isinstance(default, dict):
        return Key("dict", nullable=True)
    if isinstance(default, list):
        return Key("list or str", nullable=True)
    return None


def entry_for(name: str, ours: bool, default: Any) -> Key | None:
    """Return what a key of a model takes.

    The listed entry, or for keys of models that are listed nowhere what the default suggests.

    RecBole's models give names such as `score` or `n_layers` meanings of their own: `model_keys`
    serves `ours` alone.
    """
    listed = OVERALL.get(name) or RECBOLE.get(name) or (model_keys().get(name) if ours else None)
    return listed or like(default)
