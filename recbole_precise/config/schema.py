"""What a key may hold: its types, choices and range.

For our keys, and for RecBole's that are worth checking.
"""

from __future__ import annotations

from typing import Any

from recbole_precise.config.key import Key


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


def _layers(**more: Any) -> Key:
    """Describe a number of layers, heads or parts, each of which is an object."""
    return Key("int", low=1, high=1000, **more)


def _one_of(*choices: str, **more: Any) -> Key:
    return Key("str", choices=choices, **more)


_TEXT = Key("str")
_TEXT_OR_NONE = Key("str", nullable=True)
_SWITCH = Key("bool")

#: Keys of properties/overall.yaml.
OVERALL: dict[str, Key] = {
    "recipe": _one_of("best", "default", "paper"),
    "run_dir": _TEXT_OR_NONE,
    "result_file": _TEXT_OR_NONE,
    "resume": _SWITCH,
    "checkpoint_seconds": Key("float", low=0),
    "threads": _count(nullable=True),
    "log_flops": _SWITCH,
    "tensorboard": _SWITCH,
    "trust_pickle": _SWITCH,
    "amp_dtype": _one_of("bf16", "fp16"),
    "lr_schedule": _one_of("constant", "cosine", "linear"),
    "warm_start": _TEXT_OR_NONE,
    "train_minutes": _positive(nullable=True),
    "train_clock": _one_of("wall", "processor"),
    "keep_freed_memory": _SWITCH,
    "warmup_steps": _count(0),
    "train_rows": _one_of("windows", "prefixes", nullable=True),
    "window_stride": _count(nullable=True),
    "window_shift": _SWITCH,
    "sequence_fields": Key("list or str", nullable=True),
    "time_order": _one_of("exact", "recbole"),
    "tie_break": _one_of("file", "random"),
    "tie_seed": Key("int", low=0, high=2**63 - 1),
    "scene_field": _TEXT_OR_NONE,
    "scene_rules": Key("dict", nullable=True),
    "target_scene": _TEXT_OR_NONE,
    "scene_view": _one_of("universal", "target", "context", nullable=True),
    "evaluator": _one_of("exact", "recbole"),
    "mask_history": _SWITCH,
    "score_budget_mb": _positive(),
    "slices": Key(
        "list",
        choices=("frequency", "popularity", "buckets", "history", "repeat", "holdout"),
        nullable=True,
    ),
    "holdout_items": Key("float", above=0, below=1, nullable=True),
    "holdout_users": Key("float", above=0, below=1, nullable=True),
    "holdout_by": _one_of("random", "first_seen"),
    "holdout_seed": _count(0),
    "item_text": Key("str or list", nullable=True),
    "text_file": _TEXT_OR_NONE,
    "text_encoder": _TEXT,
    "text_max_tokens": _count(),
    "text_batch_size": _count(),
    "text_layers": Key("int", low=0, nullable=True),
    "text_dtype": _one_of("float32", "bf16", "fp16"),
    "text_device": _TEXT_OR_NONE,
    "text_cache_dir": _TEXT_OR_NONE,
}

#: Keys of properties/model/*.yaml; a key means the same in every model that has it.
MODEL: dict[str, Key] = {
    "variant": _one_of("full", "id", "llm", "pool"),
    "embedding_size": _size(),
    "token_size": _size(),
    "match_width": _SWITCH,
    "token_mode": _one_of("vocab", "item_states", "frozen_states"),
    "vocab_init": _one_of("context_mean", "random"),
    "n_experts": _layers(),
    "top_experts": _layers(),
    "gate_noise": Key("float", low=0),
    "expert_value_proj": _SWITCH,
    "id_init_std": _positive(),
    "id_dropout": _share(),
    "unseen_id": _one_of("initial", "zero", "mean"),
    "token_init_std": _positive(),
    "n_layers": _layers(),
    "n_heads": _layers(),
    "inner_size": _size(nullable=True),
    "hidden_dropout_prob": _share(),
    "attn_dropout_prob": _share(),
    "norm_first": _SWITCH,
    "layer_norm_eps": _positive(),
    "initializer_range": _positive(),
    "hidden_act": _one_of("gelu", "relu", "swish", "tanh", "sigmoid", nullable=True),
    "softmax": _one_of("auto", "full", "sampled"),
    "n_negatives": _count(),
    "negative_source": _one_of("other_sequences", "uniform", "mixed"),
    "logq": _one_of("none", "standard", "corrected"),
    "score": _one_of("dot", "cosine"),
    "temperature": _positive(),
    "label_smoothing": _share(),
    "target_horizon": _count(),
    "target_decay": _positive(),
    "neighbour_transitions": Key("float", low=0),
    "neighbour_texts": Key("float", low=0),
    "rare_smoothing": _count(nullable=True),
    "smoothing_buckets": _count(nullable=True),
    "transition_memory": Key("float", low=0, nullable=True),
    "memory_window": _count(nullable=True),
    "alternate": _SWITCH,
    "alternate_freeze": _one_of("tokens", "tokens+fusion"),
    "alternate_patience": _count(0),
    "alternate_share": Key("float", above=0, below=1),
    "alternate_rate": Key("float", above=0, high=1),
    "extends": _TEXT,
    "targeted_attention": _one_of("full", "causal"),
    "targeted_rows": _one_of("windows", "prefixes"),
    "targeted_view": _one_of("universal", "target", "context"),
    "targeted_loss": _one_of("bpr", "softmax"),
    "targeted_negatives": _count(),
    "targeted_residual": _SWITCH,
    "targeted_learning_rate": _positive(),
    "targeted_epochs": _count(),
    "targeted_batch_size": _count(),
    "targeted_freeze": _one_of("none", "items", "encoder"),
    "graph_variant": _one_of("window", "forward", "tgh1", "tgh2"),
    "graph_window": _count(nullable=True),
    "graph_backward": Key("float", low=0, nullable=True),
    "graph_distance": _one_of("flat", "inverse", nullable=True),
    "graph_counts": _one_of("log1p", "raw", nullable=True),
    "graph_text_weight": Key("float", low=0, nullable=True),
    "graph_transition_weight": Key("float", low=0, high=1),
    "loss_precision": _one_of("auto", "float32", "bf16"),
    "backbone": _TEXT,
    "backbone_settings": Key("dict", nullable=True),
    "prefix_batch_size": _count(),
    "experts": Key("list", choices=("id", "aligned", "text")),
    "gate": _one_of("bucket", "author", "mlp", "expert_output", "global", "none"),
    "gate_rate": _positive(),
    "late_weight": _positive(nullable=True),
    "aligned_begins": _one_of("copy", "new", nullable=True),
    "text_rate": _positive(),
    "frequency_buckets": _count(),
    "text_mlp_layers": Key("int", low=0, high=1000),
    "text_init_std": _positive(),
    "text_dropout": _share(),
    "fusion": _one_of("sum", "concat"),
    "phases": Key("list", choices=("pretrain", "align", "finetune")),
    "pretrained_expert": _one_of("id", "text"),
    "align_epochs": _count(0, nullable=True),
    "finetune_epochs": _count(0, nullable=True),
    "align_learning_rate": _positive(),
    "finetune_learning_rate": _positive(),
    "align": _one_of("none", "non_anchored", "anchored", "anchored_frozen"),
    "align_weight": Key("float", low=0),
    "align_kernel": _one_of(
        "gaussian", "laplacian", "linear", "cosine", "cosine_author", "infonce"
    ),
    "mmd_estimator": _one_of("biased", "unbiased", "linear", "author"),
    "mmd_bandwidth": _one_of("mean", "median"),
    "mmd_rows": _one_of("unique_real", "author"),
    "mmd_sequences": _count(nullable=True),
    "infonce_temperature": _positive(),
    "infonce_symmetric": _SWITCH,
    "infonce_subvectors": _count(),
    "sufficiency_weight": Key("float", low=0),
    "disentangle_weight": Key("float", low=0),
    "sharing_weight": Key("float", low=0),
    "cross_heads": _layers(),
    "distill_weight": Key("float", low=0),
    "similar_users": _count(),
    "loss": _one_of("softmax", "bce"),
    "decouple_tables": _SWITCH,
    "gbce_t": Key("float", low=0, high=1),
    "share_negatives": _SWITCH,
    "hidden_size": _size(),
    "text_join": _one_of("sum", "concat"),
    "text_form": _one_of("vectors", "codes", "tokens"),
    "text_tuning": _one_of("none", "cooccurrence", nullable=True),
    "text_tuning_window": _count(nullable=True),
    "text_tuning_temperature": _positive(nullable=True),
    "text_tuning_steps": _count(nullable=True),
    "text_tuning_learning_rate": _positive(nullable=True),
    "text_tuning_width": _count(nullable=True),
    "code_levels": _layers(),
    "code_size": _count(),
    "language_rate": Key("float", low=0),
    "tuned_layers": _count(0),
    "hstu_time": _one_of("last_seen", "request", "none"),
    "query_size": _size(),
    "value_size": _size(),
    "learn_positions": _count(),
    "learn_targets": _count(),
}

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
    return OVERALL.get(name) or RECBOLE.get(name) or MODEL.get(name)


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

    RecBole's models give names such as `score` or `n_layers` meanings of their own, so MODEL serves
    `ours` alone.
    """
    listed = OVERALL.get(name) or RECBOLE.get(name) or (MODEL.get(name) if ours else None)
    return listed or like(default)
