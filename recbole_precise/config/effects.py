"""When a setting is read: what makes a key idle, in words and as a condition.

A key that a user sets and that nothing would read is an error: the run would look as if it had been
heeded. `EFFECTS` holds the condition of every key that is not always read, `UNREAD` the keys that a
model takes over with another one's settings and never reads, `NEVER` the keys that nothing reads at
all. A value that asks for what happens anyway (the default, or nothing) is no error, and neither is
a key that a search draws or a file of a finished run repeats. A key of a model is a warning in a
dict of settings (`config_dict`), which programs hand to several models at once, and for a variant
(PRECISE-ID), which is run with the command of its model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_precise.config.situation import Situation
from recbole_precise.errors import ConfigError, shown

logger = logging.getLogger("recbole_precise")


@dataclass(frozen=True)
class Effect:
    """What a key needs to be read.

    `needs`: in words behind "does nothing without"; `holds`: as a condition.

    `instead` is a further sentence: what may have been meant.
    """

    needs: str
    holds: Callable[[Situation], bool]
    instead: str = ""


def _is_read(key: str) -> Callable[[Situation], bool]:
    return lambda s: key in s.reads


#: What the sequence dataset of this package alone can do, and RecBole's other data sets cannot.
_SEQUENCES = Effect("a model of sequences", lambda s: s.kind == "sequential" and s.own_data)
_EXACT = Effect(
    "evaluator: exact, which ranks all items for a model of sequences",
    lambda s: s.kind == "sequential" and s["evaluator"] != "recbole",
)
_KNOWLEDGE = Effect(
    "a model with a knowledge graph",
    lambda s: s.kind == "knowledge" or bool({"kg", "link"} & set(s["load_col"] or ())),
)
_FILTER = Effect(
    "data that is filtered, and files that were split beforehand (benchmark_filename) are taken "
    "as they are",
    lambda s: not s["benchmark_filename"],
)
_LAUNCH = Effect(
    "a launch: nproc is read from the command line (--nproc=2) or given to run()",
    lambda s: "local_rank" in s.settings,
)
_LABELS = Effect(
    "eval_args mode: labeled or a model that is trained on labels, which it makes",
    lambda s: "labeled" in s.modes or s.labelled,
    'To leave out events by a value, use val_interval, as in {rating: "[3,inf)"}.',
)
_OWN_SOURCE = "a model that reads it"


def _sampled(s: Situation) -> bool:
    return s["softmax"] != "full" if "softmax" in s.reads else True


def _with_ids(s: Situation) -> bool:
    return s["variant"] != "llm" and s.has("id", "aligned")


def _with_texts(s: Situation) -> bool:
    return s["variant"] != "id" and s.has("aligned", "text")


def _aligns(s: Situation) -> bool:
    if not s.towers:
        return True
    return s.has("aligned") and s.phase("align") and s["align"] != "none"


def _gated(s: Situation) -> bool:
    return not s.towers or (len(s["experts"] or ()) > 1 and s["gate"] != "none")


_TOKENS = Effect("texts, which the variant id leaves out", lambda s: s["variant"] != "id")
_EXPERTS_OF_TOKENS = Effect(
    "experts over an item's tokens (variant full or llm)",
    lambda s: s["variant"] not in ("id", "pool"),
)
_ID_TABLE = Effect("ID vectors, which no part of this model has", _with_ids)
_TEXT_PART = Effect(
    "texts, which no part of this model reads (experts: aligned or text)", _with_texts
)
_ALIGNMENT = Effect("an alignment: align, the phase align and the expert aligned", _aligns)
_MMD = Effect(
    "an alignment by MMD (align_kernel other than infonce)",
    lambda s: not s.towers or (_aligns(s) and s["align_kernel"] != "infonce"),
)
_INFONCE = Effect(
    "an alignment by align_kernel: infonce",
    lambda s: not s.towers or s.model == "DisCo" or (_aligns(s) and s["align_kernel"] == "infonce"),
)
_ALTERNATE = Effect("alternate: True", lambda s: bool(s["alternate"]))
_SOFT_GRAPH = Effect(
    "graph_variant: window or forward", lambda s: s["graph_variant"] in ("window", "forward")
)
_SAMPLED = Effect("softmax: sampled or auto", _sampled)
_CODES = Effect("text_form: codes", lambda s: s["text_form"] == "codes")
_HELD_OUT = Effect(
    "holdout_items or holdout_users", lambda s: bool(s["holdout_items"] or s["holdout_users"])
)
_WINDOWS = Effect("training rows that are windows (train_rows: windows)", Situation.trains_windows)

#: Key -> what it needs to be read. Keys of models are looked up here when the model has them.
EFFECTS: dict[str, Effect] = {
    # A run
    "amp_dtype": Effect("enable_amp: True", lambda s: bool(s["enable_amp"])),
    "enable_scaler": Effect("enable_amp: True", lambda s: bool(s["enable_amp"])),
    "resume": Effect("run_dir", lambda s: bool(s["run_dir"])),
    "wandb_project": Effect("log_wandb: True", lambda s: bool(s["log_wandb"])),
    "stopping_step": Effect("validation (eval_step above 0)", lambda s: s["eval_step"] != 0),
    "require_pow": Effect(_OWN_SOURCE, lambda s: "require_pow" in s.reads),
    "loss_type": Effect(_OWN_SOURCE, lambda s: "loss_type" in s.reads),
    **dict.fromkeys(("nproc", "world_size", "ip", "port", "offset", "group_offset"), _LAUNCH),
    # Sequences
    "train_rows": _SEQUENCES,
    "window_stride": _WINDOWS,
    "window_shift": _WINDOWS,
    "sequence_fields": _SEQUENCES,
    "time_order": _SEQUENCES,
    "tie_break": _SEQUENCES,
    "tie_seed": Effect("tie_break: random", lambda s: s["tie_break"] == "random"),
    "scene_view": Effect("target_scene", lambda s: s["target_scene"] is not None),
    # Evaluation
    "mask_history": Effect(
        "a model of sequences",
        lambda s: s.kind == "sequential",
        "RecBole leaves the history out of the ranking of every other model; its key is "
        "repeatable.",
    ),
    "score_budget_mb": _EXACT,
    "slices": _EXACT,
    "topk": Effect(
        "a metric with a cut-off",
        lambda s: bool(set(_names(s["metrics"])) - {"gauc", "auc", "mae", "rmse", "logloss"}),
    ),
    "tail_ratio": Effect(
        "the metric TailPercentage", lambda s: "tailpercentage" in _names(s["metrics"])
    ),
    "threshold": _LABELS,
    "holdout_by": Effect("holdout_items", lambda s: bool(s["holdout_items"])),
    "holdout_seed": _HELD_OUT,
    # Data
    **dict.fromkeys(
        (
            "rm_dup_inter",
            "val_interval",
            "user_inter_num_interval",
            "item_inter_num_interval",
            "filter_inter_by_user_or_item",
        ),
        _FILTER,
    ),
    "additional_feat_suffix": Effect(
        "load_col with the columns of its file",
        lambda s: (
            s["load_col"] is None
            or all(suffix in s["load_col"] for suffix in _listed(s["additional_feat_suffix"]))
        ),
    ),
    "preload_weight": Effect(
        "a model that reads preloaded weights", lambda s: "get_preload_weight" in s.reads
    ),
    "convert_token_to_onehot": Effect(
        "a model of decision trees", lambda s: s.kind == "decisiontree"
    ),
    "token_num_threshold": Effect("a model of decision trees", lambda s: s.kind == "decisiontree"),
    **dict.fromkeys(
        (
            "alias_of_entity_id",
            "alias_of_relation_id",
            "kg_reverse_r",
            "entity_kg_num_interval",
            "relation_kg_num_interval",
        ),
        _KNOWLEDGE,
    ),
    # Transforms of batches
    "mask_ratio": Effect(
        "transform: mask_itemseq",
        lambda s: s["transform"] == "mask_itemseq" or "mask_ratio" in s.reads,
    ),
    "ft_ratio": Effect(
        "transform: mask_itemseq",
        lambda s: s["transform"] == "mask_itemseq" or "ft_ratio" in s.reads,
    ),
    "eta": Effect(
        "transform: crop_itemseq", lambda s: s["transform"] == "crop_itemseq" or "eta" in s.reads
    ),
    "beta": Effect(
        "transform: reorder_itemseq",
        lambda s: s["transform"] == "reorder_itemseq" or "beta" in s.reads,
    ),
    # RecBole's keys of single models, which it lists for none
    **{
        key: Effect(_OWN_SOURCE, _is_read(key))
        for key in ("gamma", "crop_eta", "double_tower", "reg_weight", "embedding_size")
    },
}

#: The same for keys of this package's models (schema.model_keys()). RecBole's models may give
#: such a name a meaning of their own.
MODEL_EFFECTS: dict[str, Effect] = {
    # PRECISE
    "match_width": Effect("variant: id or llm", lambda s: s["variant"] in ("id", "llm")),
    "token_mode": _TOKENS,
    "vocab_init": Effect(
        "token_mode: vocab", lambda s: s["variant"] != "id" and s["token_mode"] == "vocab"
    ),
    "token_init_std": _TOKENS,
    **dict.fromkeys(
        ("n_experts", "top_experts", "gate_noise", "expert_value_proj"), _EXPERTS_OF_TOKENS
    ),
    "id_init_std": _ID_TABLE,
    "unseen_id": _ID_TABLE,
    "rare_smoothing": _ID_TABLE,
    "smoothing_buckets": Effect("rare_smoothing", lambda s: bool(s["rare_smoothing"])),
    "id_dropout": Effect(
        "ID vectors and texts in one item, one of which it leaves out",
        lambda s: s["variant"] not in ("id", "llm") and (not s.towers or s.has("id", "aligned")),
    ),
    "alternate": Effect(
        "trained token vectors (token_mode: vocab or item_states)",
        lambda s: s["variant"] != "id" and s["token_mode"] != "frozen_states",
    ),
    **dict.fromkeys(
        ("alternate_freeze", "alternate_patience", "alternate_share", "alternate_rate"), _ALTERNATE
    ),
    "targeted_view": Effect("target_scene", lambda s: s["target_scene"] is not None),
    "targeted_freeze": Effect(
        "universal training before it (model PRECISE, or warm_start)",
        lambda s: s.model == "PRECISE" or bool(s["warm_start"]),
    ),
    # Objectives
    "negative_source": _SAMPLED,
    "logq": _SAMPLED,
    "loss_precision": Effect(
        "a softmax over all items",
        lambda s: s["loss"] != "bce" if s.towers else s["softmax"] != "sampled",
    ),
    "target_decay": Effect("target_horizon above 1", lambda s: (s["target_horizon"] or 1) > 1),
    "memory_window": Effect("transition_memory", lambda s: s["transition_memory"] is not None),
    "neighbour_texts": Effect(
        "texts, which this model does not read",
        lambda s: s.has("aligned", "text") and (s["variant"] != "id" or bool(s["rare_smoothing"])),
    ),
    # Floors
    **dict.fromkeys(
        ("graph_window", "graph_backward", "graph_distance", "graph_counts", "graph_text_weight"),
        _SOFT_GRAPH,
    ),
    "graph_transition_weight": Effect(
        "graph_variant: tgh1 or tgh2", lambda s: s["graph_variant"] in ("tgh1", "tgh2")
    ),
    # Text vectors
    "code_levels": _CODES,
    "code_size": _CODES,
    "text_form": _TEXT_PART,
    "text_mlp_layers": _TEXT_PART,
    "text_dropout": _TEXT_PART,
    "text_init_std": _TEXT_PART,
    "fusion": Effect("the expert aligned", lambda s: s.has("aligned")),
    # PAD and its rivals
    **dict.fromkeys(("align_weight", "mmd_rows", "mmd_sequences"), _ALIGNMENT),
    "align_kernel": _ALIGNMENT,
    "align": Effect(
        "the expert aligned and the phase align",
        lambda s: s.has("aligned") and (s.phase("align") or s["align"] == "none"),
    ),
    "align_epochs": Effect(
        "the phase align and the expert aligned",
        lambda s: s.has("aligned") and "align" in (s["phases"] or ()),
    ),
    "align_learning_rate": Effect(
        "the phase align and the expert aligned",
        lambda s: s.has("aligned") and "align" in (s["phases"] or ()),
    ),
    "finetune_epochs": Effect("the phase finetune", lambda s: "finetune" in (s["phases"] or ())),
    "finetune_learning_rate": Effect(
        "the phase finetune", lambda s: "finetune" in (s["phases"] or ())
    ),
    "mmd_estimator": _MMD,
    "mmd_bandwidth": _MMD,
    "infonce_temperature": _INFONCE,
    "infonce_symmetric": _INFONCE,
    "infonce_subvectors": _INFONCE,
    "gate": Effect("several experts", lambda s: len(s["experts"] or ()) > 1),
    "gate_rate": Effect(
        "several experts behind a gate, in the phase finetune",
        lambda s: _gated(s) and s.phase("finetune"),
    ),
    "late_weight": Effect(
        "several experts behind a gate, in the phase finetune",
        lambda s: _gated(s) and s.phase("finetune"),
    ),
    "frequency_buckets": Effect("several experts behind a gate", _gated),
    "text_rate": Effect(
        "the expert text in the phase finetune, beside one that was trained first",
        lambda s: s.has("text") and s["pretrained_expert"] != "text" and s.phase("finetune"),
    ),
    "aligned_begins": Effect(
        "a pre-trained ID expert and the expert aligned",
        lambda s: s.has("aligned") and s["pretrained_expert"] == "id",
    ),
    "similar_users": Effect("distill_weight above 0", lambda s: bool(s["distill_weight"])),
}

#: Key -> why nothing reads it.
NEVER: dict[str, str] = {
    "dataset_save_path": "a data set is always read from its files, so that a changed file is seen",
    "save_dataloaders": "loaders are made from the data set in every run",
    "dataloaders_save_path": "loaders are made from the data set in every run",
    "saved": "it is an argument of run_recbole(), and no setting",
    "device": "the device follows from use_gpu and gpu_id",
    "eval_type": "it follows from metrics",
    "url": "data sets are not downloaded",
    "config_file": "files are named on the command line (--config_files) or in config_file_list",
    "config_files": "files are named on the command line (--config_files) or in config_file_list",
    "neg_sampling": "RecBole 1.2 reads train_neg_sample_args in its place",
    "training_neg_sample_num": "RecBole 1.2 reads train_neg_sample_args in its place",
    **dict.fromkeys(
        (
            "MASK_INDEX", "MASK_ITEM_SEQ", "POS_ITEMS", "NEG_ITEMS", "INVERSE_ITEM_SEQ",
            "CROP_ITEM_SEQ", "CROP_ITEM_SEQ_LEN",
            "REORDER_ITEM_SEQ",
        ),
        "the transform names this column itself",
    ),
}  # fmt: skip

_RIVAL = (
    "align align_epochs align_kernel align_learning_rate align_weight aligned_begins "
    "finetune_epochs finetune_learning_rate "
    "gate_rate infonce_subvectors late_weight mmd_bandwidth mmd_estimator mmd_rows mmd_sequences "
    "phases pretrained_expert text_rate"
)
_ATTENTION = "attn_dropout_prob hidden_act initializer_range layer_norm_eps norm_first"
_SOFTMAX = "label_smoothing logq loss_precision negative_source softmax target_decay target_horizon"
_IDS = "id_init_std rare_smoothing smoothing_buckets unseen_id"
_CODE_BOOKS = "code_levels code_size"
_TUNING = (
    "text_tuning text_tuning_learning_rate text_tuning_steps text_tuning_temperature "
    "text_tuning_width text_tuning_window"
)

#: Model -> keys that come with the settings it extends and that it never reads.
UNREAD: dict[str, frozenset[str]] = {
    name: frozenset(keys.split())
    for name, keys in {
        "PRECISE-TT": "alternate alternate_freeze alternate_patience alternate_rate "
        "alternate_share",
        "Hybrid": f"{_RIVAL} infonce_symmetric infonce_temperature",
        "MoRec": f"{_RIVAL} infonce_symmetric infonce_temperature fusion id_init_std unseen_id "
        "id_dropout",
        "DisCo": f"{_RIVAL} fusion",
        "LLM-ESR": f"{_RIVAL} infonce_symmetric infonce_temperature fusion text_dropout "
        "text_mlp_layers",
        "SASRec-Sampled": _ATTENTION,
        "gSASRec": _SOFTMAX,
        "GRU4Rec-CE": f"{_ATTENTION} inner_size n_heads",
        "HSTU": f"{_ATTENTION} inner_size",
        "LEARN": f"{_IDS} {_SOFTMAX} n_negatives",
        "HLLM-Cached": f"{_IDS}",
        "HLLM-Top": f"{_IDS} {_CODE_BOOKS} {_TUNING}",
        "HLLM-Full": f"{_IDS} {_CODE_BOOKS} {_TUNING}",
    }.items()
}


def _names(metrics: Any) -> list[str]:
    return [str(name).lower() for name in _listed(metrics)]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def idle(key: str, situation: Situation) -> str:
    """Why a key would not be read, as the end of a sentence; an empty text where it is read."""
    if key in NEVER:
        return f"does nothing: {NEVER[key]}; leave it out"
    effect = EFFECTS.get(key) or (MODEL_EFFECTS.get(key) if situation.ours else None)
    if effect is None or effect.holds(situation):
        return ""
    if key in MODEL_EFFECTS and situation.is_one_phase_of_several:
        return ""
    if effect.instead:
        return f"does nothing without {effect.needs}. {effect.instead.rstrip('.')}"
    return f"does nothing without {effect.needs}; set that, or leave it out"


def asks_nothing(value: Any, default: Any) -> bool:
    """Return whether a value asks for nothing that would not be so anyway.

    It is the default, or one that stands for nothing.
    """
    if value is None or value == default:
        return True
    if isinstance(value, bool):
        return not value and not default
    if value in (0, "none", "") or (isinstance(value, (list, tuple, dict)) and not value):
        return True  # what is switched off does nothing wherever it stands
    if isinstance(default, (list, tuple)) != isinstance(value, (list, tuple)):
        return [value] == default or value == [
            default
        ]  # one name is written with and without brackets
    try:
        return str(value) == str(default)
    except ValueError:  # a number of more digits than Python prints
        return False


#: Of keys without a default of ours: what RecBole's launcher takes them to be.
LAUNCH_DEFAULTS: dict[str, Any] = {
    "nproc": 1, "world_size": -1, "ip": "localhost", "port": "5678", "offset": 0, "group_offset": 0,
    "saved": True,
}  # fmt: skip


def check_effects(
    asked: Mapping[str, Any],
    defaults: Mapping[str, Any],
    situation: Situation,
    where: Callable[[str], str],
    shared: Container[str] = (),
) -> None:
    """Refuse what a user set and nothing would read.

    Args:
        shared: keys that are handed to several models at once, in a dict of settings or to the
            variants of one model. A key of a model that is idle in one of them is a warning there.
        asked: the settings that the user gave.
        defaults: their values without the user.
        situation: all effective settings and the model.
        where: key -> where its value comes from, in words.

    Raises:
        ConfigError: "<key>: <value> (<where>) does nothing without ...".
    """
    for key, value in asked.items():
        if asks_nothing(value, defaults.get(key, LAUNCH_DEFAULTS.get(key))):
            continue
        reason = idle(key, situation)
        if not reason:
            continue
        message = f"{key}: {shown(value)} ({where(key)}) {reason}."
        if key in shared and key in MODEL_EFFECTS:
            logger.warning("%s", message)
            continue
        raise ConfigError(message)
