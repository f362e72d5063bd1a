"""No setting does nothing in silence: every key of the schema and of RecBole is read, refused where
it is idle, or named here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import recbole
from command_lines import command_line
from recbole.utils import argument_list

import recbole_precise
from recbole_precise import registry
from recbole_precise.config import model_settings, read_settings, schema
from recbole_precise.config.effects import (
    EFFECTS,
    LAUNCH_DEFAULTS,
    MODEL_EFFECTS,
    NEVER,
    UNREAD,
    asks_nothing,
)
from recbole_precise.config.known_keys import recbole_keys
from recbole_precise.errors import ConfigError, UserError
from recbole_precise.plugin.config import Config
from recbole_precise.runs.result import write_settings

#: Keys that are taken although a run may not read them, and why that misleads nobody.
ACCEPTED = {
    **dict.fromkeys(
        [
            "epochs", "train_batch_size", "learner", "learning_rate", "weight_decay",
            "shuffle", "clip_grad_norm", "lr_schedule", "warmup_steps", "train_minutes",
            "checkpoint_seconds", "eval_step",
        ],
        "one file of settings serves a whole table, whose floors train nothing",
    ),
    **dict.fromkeys(
        [
            "item_text", "text_file", "text_encoder", "text_max_tokens", "text_batch_size",
            "text_layers", "text_dtype", "text_device", "text_cache_dir",
        ],
        "they describe the texts of a data set, which stand beside models with and without texts",
    ),
    **dict.fromkeys(
        [
            "RATING_FIELD", "LABEL_FIELD", "POSITION_FIELD", "NEG_PREFIX", "LIST_SUFFIX",
            "ITEM_LIST_LENGTH_FIELD", "HEAD_ENTITY_ID_FIELD", "TAIL_ENTITY_ID_FIELD",
            "RELATION_ID_FIELD", "ENTITY_ID_FIELD", "seq_separator",
        ],
        "they name columns and marks of a data set, whichever of them a model reads",
    ),
    **dict.fromkeys(
        [
            "token_size", "n_negatives", "targeted_batch_size", "targeted_negatives",
            "prefix_batch_size",
        ],
        "sizes of parts that another key chooses: one file of small sizes serves all variants",
    ),
    "MAX_ITEM_LIST_LENGTH": "general models stand beside models of sequences in one table",
    "checkpoint_dir": "run_dir goes before it; users keep it in their files",
    "gpu_id": "use_gpu: False is the switch, and the number of the GPU may stay in a file",
    "train_clock": "it counts the hours of tune as well as train_minutes",
    "scene_field": "it describes the data; the log counts the scenes without target_scene",
    "scene_rules": "it describes the data; the log counts the scenes without target_scene",
    "trust_pickle": "a permission, which is needed only where a pickle is met",
    "loss_decimal_place": "digits of a loss, which a floor does not have",
    "keep_freed_memory": "it is about the CPU, and a file may be used on both",
    "recipe": "a table gives one recipe to rows of this package and of RecBole",
    "backbone_settings": "refused by the backbone that takes none",
    "text_tuning_learning_rate": "refused by the rule of text_tuning",
}  # fmt: skip
#: Idle values are refused by a rule of their own, with a test in test_mistakes.py or here.
RULES = {
    "clip_grad_norm", "train_neg_sample_args", "load_col", "unload_col", "unused_col",
    "seq_len", "numerical_features", "normalize_field", "normalize_all", "transform",
    "learner", "discretization", "valid_metric_bigger", "target_scene", "text_tuning",
    "text_tuning_window", "text_tuning_temperature", "text_tuning_steps",
    "text_tuning_learning_rate", "text_tuning_width", "holdout_items", "holdout_users",
    "label_smoothing", "target_horizon", "transition_memory", "backbone_settings",
    "local_rank", "model", "dataset",
}  # fmt: skip


def all_keys() -> set[str]:
    keys = (
        set(schema.OVERALL)
        | set(schema.model_keys())
        | set(schema.RECBOLE)
        | set(schema.RECBOLE_UNLISTED)
    )
    for values in vars(argument_list).values():
        if isinstance(values, list):
            keys.update(values)
    return (
        keys
        | read_settings(Path(recbole.__file__).parent / "properties" / "overall.yaml").keys()
        | recbole_keys()
    )


def readers() -> str:
    """The source that reads settings: this package's, and RecBole's without its models."""
    own = [
        path
        for path in Path(recbole_precise.__file__).parent.rglob("*.py")
        if path.parent.name != "settings"
    ]
    theirs = [
        path
        for path in Path(recbole.__file__).parent.rglob("*.py")
        if "/model/" not in path.as_posix()
    ]
    return "\n".join(path.read_text(encoding="utf-8") for path in [*own, *theirs])


def test_every_key_has_an_effect_a_condition_or_a_reason():
    source, unexplained = readers(), []
    for key in sorted(all_keys()):
        if (
            key in EFFECTS
            or key in MODEL_EFFECTS
            or key in NEVER
            or key in ACCEPTED
            or key in RULES
        ):
            continue
        read = re.search(
            rf"""(?:config|settings|final|final_config_dict|f)(?:\[|\.get\(\s*)f?["']{key}["']""",
            source,
        )
        if (
            not read and not key.startswith(("text_", "graph_", "alias_of_")) and key != "log_wandb"
        ):  # read by composed names
            unexplained.append(key)
    assert unexplained == []


def test_the_tables_name_keys_that_there_are():
    known = all_keys()
    assert (EFFECTS.keys() | NEVER.keys() | ACCEPTED.keys() | RULES) - known == set()
    assert MODEL_EFFECTS.keys() <= schema.model_keys().keys()
    assert not EFFECTS.keys() & NEVER.keys()
    for name, keys in UNREAD.items():
        assert keys <= model_settings(registry.resolve(name).settings).keys(), name


#: key -> (model, value, further settings without which it is idle, further settings with which it
#: is read)
IDLE = {
    "amp_dtype": ("SASRec-CE", "fp16", {}, {"enable_amp": True}),
    "enable_scaler": ("SASRec-CE", True, {}, {"enable_amp": True}),
    "wandb_project": ("SASRec-CE", "mine", {}, {"log_wandb": True}),
    "stopping_step": ("SASRec-CE", 3, {"eval_step": 0}, {"eval_step": 2}),
    "require_pow": ("SASRec", True, {}, None),
    "loss_type": ("Pop", "BPR", {}, None),
    "nproc": ("SASRec", 2, {}, None),
    "world_size": ("SASRec", 2, {}, None),
    "ip": ("SASRec", "10.0.0.1", {}, None),
    "port": ("SASRec", 1234, {}, None),
    "offset": ("SASRec", 1, {}, None),
    "group_offset": ("SASRec", 1, {}, None),
    "train_rows": ("BPR", "prefixes", {}, None),
    "window_stride": None,
    "window_shift": ("SASRec-CE", True, {"train_rows": "prefixes", "recipe": "default"},
        {"train_rows": "windows", "recipe": "default"}),
    "sequence_fields": ("BPR", ["item_id"], {}, None),
    "time_order": ("BPR", "recbole", {}, None),
    "tie_break": ("BPR", "random", {}, None),
    "tie_seed": ("SASRec", 1, {}, {"tie_break": "random"}),
    "mask_history": ("BPR", True, {}, None),
    "score_budget_mb": ("SASRec", 10, {"eval_args": {"mode": "uni100"}}, {}),
    "slices": ("SASRec", ["history"], {"evaluator": "recbole"}, {}),
    "topk": ("FM", [5], {}, None),
    "tail_ratio": ("SASRec", 0.1, {}, {"metrics": ["TailPercentage", "MRR"],
        "evaluator": "recbole"}),
    "threshold": ("SASRec", {"timestamp": 3}, {}, None),
    "holdout_by": ("SASRec-CE", "first_seen", {}, {"holdout_items": 0.1}),
    "holdout_seed": ("SASRec-CE", 3, {"holdout_by": "random"}, {"holdout_items": 0.1}),
    "preload_weight": ("SASRec", {"item_id": "user_id"}, {}, None),
    "convert_token_to_onehot": ("SASRec", True, {}, None),
    "token_num_threshold": ("SASRec", 10, {}, None),
    "alias_of_entity_id": ("SASRec", ["item_id"], {}, None),
    "alias_of_relation_id": ("SASRec", ["item_id"], {}, None),
    "kg_reverse_r": ("SASRec", True, {}, None),
    "entity_kg_num_interval": ("SASRec", "[5,inf)", {}, None),
    "relation_kg_num_interval": ("SASRec", "[5,inf)", {}, None),
    "mask_ratio": ("SASRec", 0.3, {}, None),
    "ft_ratio": ("SASRec", 0.3, {}, None),
    "eta": ("SASRec", 0.3, {}, None),
    "beta": ("SASRec", 0.3, {}, None),
    "gamma": ("SASRec", 0.3, {}, None),
    "crop_eta": ("SASRec", 0.3, {}, None),
    "double_tower": ("Pop", True, {}, None),
    "reg_weight": ("SASRec-CE", 0.1, {}, None),
    "embedding_size": ("Pop", 8, {}, None),
    # Models of this package
    "match_width": ("PRECISE-UT", False, {}, {"variant": "llm"}),
    "token_mode": ("PRECISE-ID", "item_states", {}, None),
    "vocab_init": ("PRECISE-UT", "random", {"token_mode": "item_states"}, {}),
    "token_init_std": ("PRECISE-ID", 0.5, {}, None),
    "n_experts": ("PRECISE-Pool", 8, {}, None),
    "top_experts": ("PRECISE-Pool", 1, {}, None),
    "gate_noise": ("PRECISE-Pool", 0.5, {}, None),
    "expert_value_proj": ("PRECISE-ID", True, {}, None),
    "id_init_std": ("PRECISE-LLM", 0.5, {}, None),
    "unseen_id": ("PRECISE-LLM", "mean", {}, None),
    "rare_smoothing": ("PRECISE-LLM", 3, {}, None),
    "smoothing_buckets": ("SASRec-CE", 5, {}, {"rare_smoothing": 3}),
    "id_dropout": ("PRECISE-ID", 0.5, {}, None),
    "alternate": ("PRECISE-ID", True, {}, None),
    "alternate_freeze": ("PRECISE-UT", "tokens+fusion", {}, {"alternate": True}),
    "alternate_patience": ("PRECISE-UT", 1, {}, {"alternate": True}),
    "alternate_share": ("PRECISE-UT", 0.3, {}, {"alternate": True}),
    "alternate_rate": ("PRECISE-UT", 0.3, {}, {"alternate": True}),
    "targeted_view": ("PRECISE", "target", {}, None),
    "targeted_freeze": ("PRECISE-TT", "items", {}, {"warm_start": "somewhere"}),
    "negative_source": ("SASRec-CE", "uniform", {"softmax": "full"}, {"softmax": "sampled"}),
    "logq": ("SASRec-CE", "standard", {"softmax": "full"}, {"softmax": "sampled"}),
    "loss_precision": ("SASRec-CE", "float32", {"softmax": "sampled"}, {"softmax": "full"}),
    "target_decay": ("SASRec-CE", 0.3, {}, {"target_horizon": 2}),
    "memory_window": ("SASRec-CE", 3, {}, {"transition_memory": 0.1}),
    "neighbour_texts": ("PRECISE-ID", 0.3, {}, None),
    "graph_window": ("GraphHeuristic", 3, {"graph_variant": "tgh1"}, {}),
    "graph_backward": ("GraphHeuristic", 0.3, {"graph_variant": "tgh1"}, {}),
    "graph_distance": ("GraphHeuristic", "inverse", {"graph_variant": "tgh1"}, {}),
    "graph_counts": ("GraphHeuristic", "raw", {"graph_variant": "tgh1"}, {}),
    "graph_text_weight": ("GraphHeuristic", 2.0, {"graph_variant": "tgh1"}, {}),
    "graph_transition_weight": ("GraphHeuristic", 0.3, {}, {"graph_variant": "tgh1"}),
    "code_levels": ("SASRec-Text", 2, {}, {"text_form": "codes"}),
    "code_size": ("SASRec-Text", 32, {}, {"text_form": "codes"}),
    "text_form": ("PAD", "tokens", {"experts": ["id"]}, {}),
    "text_mlp_layers": ("PAD", 1, {"experts": ["id"]}, {}),
    "text_dropout": ("PAD", 0.3, {"experts": ["id"]}, {}),
    "text_init_std": ("PAD", 0.3, {"experts": ["id"]}, {}),
    "fusion": ("PAD", "concat", {"experts": ["id", "text"]}, {}),
    "align": ("PAD", "non_anchored", {"experts": ["id", "text"]}, {}),
    "align_weight": ("PAD", 0.3, {"align": "none"}, {}),
    "align_kernel": ("PAD", "linear", {"align": "none"}, {}),
    "mmd_rows": ("PAD", "author", {"align": "none"}, {}),
    "mmd_sequences": ("PAD", 3, {"align": "none"}, {}),
    "align_epochs": ("PAD", 3, {"experts": ["id", "text"]}, {}),
    "align_learning_rate": ("PAD", 0.3, {"experts": ["id", "text"]}, {}),
    "finetune_epochs": None,
    "finetune_learning_rate": None,
    "mmd_estimator": ("PAD", "linear", {"align_kernel": "infonce"}, {}),
    "mmd_bandwidth": ("PAD", "median", {"align_kernel": "infonce"}, {}),
    "infonce_temperature": ("PAD", 0.3, {}, {"align_kernel": "infonce"}),
    "infonce_symmetric": ("PAD", True, {}, {"align_kernel": "infonce"}),
    "infonce_subvectors": None,
    "gate": ("PAD", "mlp", {"experts": ["id"]}, {}),
    "gate_rate": ("PAD", 3.0, {"experts": ["id"]}, {}),
    "late_weight": None,
    "frequency_buckets": ("PAD", 3, {"gate": "none"}, {}),
    "text_rate": ("PAD", 3.0, {"experts": ["id", "aligned"]}, {}),
    "aligned_begins": ("PAD", "new", {"experts": ["id", "text"]}, {}),
    "similar_users": ("LLM-ESR", 3, {"distill_weight": 0.0}, {}),
    # refused by an older rule, or on data that was split beforehand
    "resume": None,
    "scene_view": None,
    "additional_feat_suffix": None,
    "rm_dup_inter": None,
    "val_interval": None,
    "user_inter_num_interval": None,
    "item_inter_num_interval": None,
    "filter_inter_by_user_or_item": None,
}  # fmt: skip


def test_every_condition_has_an_example():
    assert IDLE.keys() == EFFECTS.keys() | MODEL_EFFECTS.keys()


@pytest.mark.parametrize("key", [key for key, example in IDLE.items() if example is not None])
def test_an_idle_key_is_refused_and_one_that_is_read_is_taken(key: str, caplog):
    model, value, without, beside = IDLE[key]
    words = rf"^{key}: .*does nothing without"
    typed = [f"--{key}={value}"]
    if registry.resolve(model).preset and key in MODEL_EFFECTS:
        # Variants are run with the command of their model.
        with command_line(typed):
            Config(model, "ml-100k", config_dict=without)
        assert any(key in record.message for record in caplog.records)
        caplog.clear()
    else:
        with command_line(typed), pytest.raises(ConfigError, match=words):
            Config(model, "ml-100k", config_dict=without)
    given = {**without, key: value}
    if key in MODEL_EFFECTS:
        # Programs hand one dict to several models: a warning, and the run goes on.
        assert Config(model, "ml-100k", config_dict=given)[key] == value
        assert any(key in record.message for record in caplog.records)
    else:
        with pytest.raises(ConfigError, match=words):
            Config(model, "ml-100k", config_dict=given)
    if beside is not None:
        assert Config(model, "ml-100k", config_dict={**beside, key: value})[key] == value


@pytest.mark.parametrize("key", NEVER)
def test_a_key_that_nothing_reads_is_refused_with_the_reason(key: str):
    value = True if key.startswith("save_") else False if key == "saved" else "x"
    with pytest.raises(ConfigError, match=rf"^{key}: .* does nothing: "):
        Config("SASRec", "ml-100k", config_dict={key: value})


@pytest.mark.parametrize("model", UNREAD)
def test_a_key_that_a_model_takes_over_and_never_reads_is_unknown_to_it(model: str):
    for key in sorted(UNREAD[model]):
        value = model_settings(registry.resolve(model).settings)[key]
        if not registry.resolve(model).preset:
            words = f"Unknown key '{key}' .*never reads it"
            with command_line([f"--{key}={value}"]), pytest.raises(ConfigError, match=words):
                Config(model, "ml-100k")
        assert Config(model, "ml-100k", config_dict={key: value})[key] == value


@pytest.mark.parametrize(
    "model", ["SASRec", "SASRec-CE", "PRECISE-UT", "PAD", "Pop", "BPR", "FM", "DIN", "GRU4Rec-CE"]
)
def test_a_file_that_repeats_the_defaults_is_taken(model: str, tmp_path: Path):
    """RecBole's users keep long files: every default of RecBole and of the model may stand in one,
    under any other settings.
    """
    plain = Config(model, "ml-100k")
    defaults = {
        key: value
        for key, value in plain.internal_config_dict.items()
        if key not in ("MODEL_TYPE", "train_neg_sample_args", "evaluator")
    }
    own = {key for keys in UNREAD.values() for key in keys} & UNREAD.get(model, frozenset())
    given = {key: value for key, value in defaults.items() if key not in own}
    again = Config(model, "ml-100k", config_dict=given)
    assert {key: again[key] for key in given} == {key: plain[key] for key in given}
    quiet = dict.fromkeys(
        (
            "threshold",
            "unload_col",
            "unused_col",
            "rm_dup_inter",
            "val_interval",
            "transform",
            "clip_grad_norm",
        )
    )
    Config(model, "ml-100k", config_dict=quiet)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("PRECISE-UT", {"alternate": True, "alternate_rate": 0.5}),
        ("GRU4Rec-CE", {}),
        ("PAD", {"align": "none"}),
        ("SASRec", {}),
    ],
)
def test_the_settings_of_a_run_are_taken_whole_also_when_a_change_makes_some_idle(
    model: str, settings: dict, tmp_path: Path
):
    given = Config(model, "ml-100k", config_dict=settings).final_config_dict
    write_settings(tmp_path / "config.yaml", given)
    again = Config(config_file_list=[tmp_path / "config.yaml"])
    assert again["model"] == model
    changed = Config(
        config_file_list=[tmp_path / "config.yaml"],
        config_dict={"alternate": False}
        if settings.get("alternate")
        else {"topk": [7], "valid_metric": "NDCG@7"},
    )
    assert changed["model"] == model
    with pytest.raises(ConfigError, match="amp_dtype: 'fp16' .* does nothing without enable_amp"):
        Config(config_file_list=[tmp_path / "config.yaml"], config_dict={"amp_dtype": "fp16"})


def test_what_a_search_draws_may_be_idle():
    drawn = {"align_kernel": "linear", "infonce_temperature": 0.7}
    assert Config("PAD", "ml-100k", config_dict=drawn, drawn=drawn)["infonce_temperature"] == 0.7
    typed = [f"--{key}={value}" for key, value in drawn.items()]
    with command_line(typed), pytest.raises(ConfigError, match="infonce_temperature: 0.7"):
        Config("PAD", "ml-100k")
    with (
        command_line(["--amp_dtype=fp16"]),
        pytest.raises(ConfigError, match="amp_dtype: 'fp16' \\(on the command line\\)"),
    ):
        Config("PAD", "ml-100k", config_dict=drawn, drawn=drawn)


@pytest.mark.parametrize(
    ("value", "default", "nothing"),
    [(None, 3, True), ("", "a", True), ([], [1], True), (0, 9.0, True), ("none", "x", True), (False,
        True, False), (False, None, True), (1, 1.0, True),
     ("5678", 5678, True), (5679, "5678", False), (["NDCG"], "NDCG", True), (["NDCG"], ["MRR"],
         False), (True, False, False)],
)  # fmt: skip
def test_values_that_ask_for_nothing(value, default, nothing):
    assert asks_nothing(value, default) is nothing


def test_launch_defaults_may_stand_in_a_file():
    Config(
        "SASRec",
        "ml-100k",
        config_dict={key: value for key, value in LAUNCH_DEFAULTS.items() if key != "saved"},
    )


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("SASRec-CE", {"learner": "sparse_adam"}, ["sparse_adam", "dense", "adamw"]),
        ("SASRec-CE", {"transform": "mask_itemseq"}, ["transform: "
                                                      "mask_itemseq", "does nothing",
                                                      "MASK_ITEM_SEQ"]),
        ("SASRec", {"transform": "user_defined"}, ["user_defined", "UserDefinedTransform"]),
        ("SASRec", {"transform": "crop_itemseq"}, ["crop_itemseq", "does nothing"]),
        ("BERT4Rec", {"transform": None}, ["BERT4Rec", "mask_itemseq"]),
        ("SHAN", {"transform": "reorder_itemseq"}, ["SHAN", "inverse_itemseq"]),
        ("SASRec", {"valid_metric_bigger": False}, ["valid_metric_bigger",
            "follows from valid_metric"]),
        ("SASRec", {"discretization": {"timestamp": {"method": "LD"}}},
            ["discretization: timestamp", "numerical_features"]),
    ],
)  # fmt: skip
def test_transforms_optimizers_and_what_follows_from_other_keys(model, settings, words):
    with pytest.raises(UserError) as caught:
        Config(model, "ml-100k", config_dict=settings)
    for word in words:
        assert word in str(caught.value)


def test_filters_do_nothing_on_data_that_was_split_beforehand(write_dataset):
    path = write_dataset("shop", [("u", "i", 1), ("u", "j", 2)])
    for part in ("train", "valid", "test"):
        (path / "shop" / f"shop.{part}.inter").write_text(
            (path / "shop" / "shop.inter").read_text()
        )
    settings = {"data_path": str(path), "benchmark_filename": ["train", "valid", "test"]}
    Config("SASRec", "shop", config_dict=settings)
    for key, value in {
        "rm_dup_inter": "first",
        "user_inter_num_interval": "[2,inf)",
        "val_interval": {"timestamp": "[1,inf)"},
    }.items():
        with pytest.raises(
            ConfigError, match=f"{key}: .* does nothing without data that is filtered"
        ):
            Config("SASRec", "shop", config_dict={**settings, key: value})


def test_threshold_makes_labels_where_labels_are_read(write_dataset):
    header = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
    path = write_dataset(
        "shop",
        [(f"u{u}", f"i{i}", i, i) for u in range(3) for i in range(1, 6)],
        inter_header=header,
    )
    settings = {
        "data_path": str(path),
        "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]},
        "threshold": {"rating": 3},
    }
    with pytest.raises(
        ConfigError,
        match=r"threshold: .* does nothing without eval_args mode: labeled.*val_interval",
    ):
        Config("BPR", "shop", config_dict=settings)
    with pytest.raises(ConfigError, match="threshold"):
        Config("Pop", "shop", config_dict=settings)
    assert Config("FM", "shop", config_dict=settings)["threshold"] == {"rating": 3}
    with pytest.raises(
        ConfigError, match="threshold .* names the column 'stars', which is not loaded"
    ):
        Config("FM", "shop", config_dict={**settings, "threshold": {"stars": 3}})
    with pytest.raises(ConfigError, match="threshold: rating .* must be a number"):
        Config("FM", "shop", config_dict={**settings, "threshold": {"rating": "good"}})


def test_a_changed_copy_of_the_bundled_data_set_is_not_passed_over(tmp_path: Path):
    original = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"
    copy = tmp_path / "ml-100k" / "ml-100k.inter"
    copy.parent.mkdir()
    copy.write_bytes(original.read_bytes())
    Config("SASRec", "ml-100k", config_dict={"data_path": str(tmp_path)})
    copy.write_bytes(original.read_bytes()[:-20])
    with pytest.raises(UserError, match="differs from the ml-100k that RecBole carries"):
        Config("SASRec", "ml-100k", config_dict={"data_path": str(tmp_path)})
