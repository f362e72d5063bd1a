"""Whatever a key is set to, a Config is made or one sentence is said.

And what is taken trains or is refused.
"""

from __future__ import annotations

import math
import random
import re

import pytest
from command_lines import command_line

from recbole_precise import registry
from recbole_precise.config import model_settings, schema
from recbole_precise.config.limits import check_against_data, machine_memory
from recbole_precise.errors import ConfigError, DataError, UserError
from recbole_precise.models.build import build_model
from recbole_precise.plugin.config import Config
from recbole_precise.plugin.preparation import create_dataset, data_preparation
from recbole_precise.plugin.trainer import get_trainer

DEEP: list = []
for _ in range(60):
    DEEP = [DEEP]
NASTY = [
    "", " ", "two", "a\x00b", "\udcff", "\u202e", "x" * 3000, 0, -1, -0.0, 1.5, 10**9, 2**63,
    10**30, 10**6000, 1e308, 1e-320, math.inf, -math.inf,
    math.nan, True, False, None, [], [[]], [1], ["a"], [None], [math.inf], [2**70], ["a\x00"], {},
    {"a": None}, {"a": 1}, {1: 2}, {None: 1}, {"a": ["b"]},
    {"inter": None}, {"inter": [1]}, {"inter": "*"}, {"max_norm": "a"}, {"distribution": 3},
    {"split": {"RS": [math.nan, 1, 1]}}, {"mode": {"valid": 3}},
    (1, 2), {1, 2}, b"bytes", object(), DEEP, "[" * 3000, "{a: " * 20 + "}" * 20, "[5,10",
        "2024-01-01", "cuda", "sparse_adam", "mask_itemseq",
]  # fmt: skip


def _model_with(key: str) -> str:
    return next(entry.name for entry in registry.ENTRIES if key in model_settings(entry.settings))


KEYS = [
    *((key, "SASRec-CE") for key in schema.OVERALL),
    *((key, "SASRec") for key in [*schema.RECBOLE, *sorted(schema.RECBOLE_UNLISTED)]),
]


@pytest.mark.parametrize(
    ("key", "model"),
    [pair for pair in KEYS if pair[0] not in ("model", "dataset", "local_rank")],
    ids=lambda part: part,
)
def test_every_key_with_every_kind_of_value_is_taken_or_refused_in_a_sentence(key: str, model: str):
    """Four values of each key, drawn by its name; test_all_values below takes all of them."""
    _try_values(key, model, random.Random(key).sample(NASTY, 4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "model"),
    [*KEYS, *((key, None) for key in schema.model_keys())],
    ids=lambda part: str(part),
)
def test_all_values_of_every_key(key: str, model: str | None):
    if key in ("model", "dataset", "local_rank"):
        return
    _try_values(key, model or _model_with(key), NASTY)


def _try_values(key: str, model: str, values: list) -> None:
    for value in values:
        try:
            Config(model, "ml-100k", config_dict={"gpu_id": "", key: value})
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 1500
            assert key in str(error) or key in ("benchmark_filename", "recipe"), (
                f"{value!r}: {error}"
            )


@pytest.mark.parametrize(
    "key",
    [
        "topk",
        "metrics",
        "eval_args",
        "load_col",
        "learning_rate",
        "run_dir",
        "item_text",
        "scene_rules",
    ],
)
@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "{" * 5000, "9" * 5000, "\udcff", "a\x00", "[" * 50 + "]" * 50, "1e999", ""],
    ids=lambda part: ascii(part)[:12],
)
def test_values_of_a_command_line(key: str, text: str):
    with command_line([f"--{key}={text}"]):
        try:
            Config("SASRec-CE", "ml-100k")
        except UserError as error:
            assert key in str(error) and len(str(error)) < 1500


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("SASRec-CE", {"learning_rate": math.inf}, ["learning_rate", "finite"]),
        ("SASRec-CE", {"learning_rate": 1e39}, ["learning_rate", "3.4e+38"]),
        ("SASRec-CE", {"epochs": 10**30}, ["epochs", "9223372036854775807"]),
        ("SASRec-CE", {"train_batch_size": 2**63}, ["train_batch_size", "9223372036854775807"]),
        ("SASRec-CE", {"embedding_size": 10**9}, ["embedding_size", "1048576"]),
        ("SASRec", {"hidden_size": 10**9}, ["hidden_size", "1048576"]),
        ("SASRec-CE", {"embedding_size": 2**20}, ["embedding_size 1048576", "this machine has"]),
        ("SASRec-CE", {"n_layers": 10**6}, ["n_layers", "at most 1000"]),
        ("SASRec", {"MAX_ITEM_LIST_LENGTH": 10**7}, ["MAX_ITEM_LIST_LENGTH", "at most 100000"]),
        ("SASRec", {"worker": 1000}, ["worker", "on this machine of"]),
        ("SASRec", {"threads": 10**6}, ["threads", "on this machine of"]),
        ("SASRec", {"seed": 2**40}, ["seed", "4294967295"]),
        ("SASRec", {"clip_grad_norm": {"max_norm": "a"}}, ["clip_grad_norm: "
                                                           "max_norm", "a number above 0"]),
        ("SASRec", {"clip_grad_norm": {"norm": 1}}, ["clip_grad_norm", "'norm'"]),
        ("SASRec", {"clip_grad_norm": {"norm_type": 1}}, ["clip_grad_norm", "needs max_norm"]),
        ("SASRec", {"clip_grad_norm": {}}, ["clip_grad_norm", "needs max_norm"]),
        ("BPR", {"train_neg_sample_args": {"distribution": "unifrom"}}, [
                "train_neg_sample_args: "
                "distribution", "uniform"]),
        ("BPR", {"train_neg_sample_args": {"sample_num": "a", "distribution": "uniform"}},
            ["sample_num", "a number"]),
        ("BPR", {"train_neg_sample_args": {"distribution": "uniform", "alpha": 0.5}}, [
                "alpha: 0.5 does nothing without "
                "distribution: popularity"]),
        ("BPR", {"train_neg_sample_args": {"distribution": "uniform", "candidate_num": 3}}, [
                "candidate_num: 3 does "
                "nothing without dynamic"]),
        ("BPR", {"train_neg_sample_args": {"distribution": "uniform", "dynamic": True}}, [
                "dynamic: True needs "
                "candidate_num"]),
        ("BPR", {"train_neg_sample_args": {"by": 1, "distribution": "uniform"}},
            ["train_neg_sample_args", "'by'"]),
        ("SASRec", {"load_col": {"inter": None}}, ["load_col", "inter lists no column"]),
        ("SASRec", {"load_col": {"inter": []}}, ["inter lists no column"]),
        ("SASRec", {"load_col": {"inter": "user_id"}}, ["load_col: inter", "a list of columns"]),
        ("SASRec", {"load_col": {"inter": [1, None]}}, ["load_col: inter",
            "is no name of a column"]),
        ("SASRec", {"load_col": {"intr": ["user_id"]}}, ["'intr' is no file",
            "Did you mean 'inter'"]),
        ("SASRec", {"load_col": {"inter": ["user_id", "item_id", "timestamp"],
            "net": ["source_id"]}}, [
                "net lists columns, but "
                "there is no file"]),
        ("SASRec", {"unload_col": {"inter": ["rating"]}}, ["unload_col", "load_col: ~"]),
        ("SASRec", {"unused_col": {"inter": ["ratings"]}}, ["unused_col: inter", 
                "'ratings', which is not "
                "loaded"]),
        ("SASRec", {"seq_len": {"timestamp": 3}}, ["seq_len", "only lists"]),
        ("SASRec", {"seq_len": {"timestamp": "a"}}, ["seq_len: timestamp", "a whole number"]),
        ("SASRec", {"normalize_field": ["item_id"]}, ["normalize_field",
            "'item_id' has the type token"]),
        ("SASRec", {"eval_args": {"mode": {"vlid": "full"}}}, [
                "mode has the parts valid "
                "and test", "'vlid'"]),
        ("SASRec", {"eval_args": {"mode": "uni99999999"}}, ["mode", "below a million"]),
        ("SASRec", {"eval_args": {"split": {"RS": [math.inf, 1, 1]}}}, ["split RS",
            "three shares"]),
        ("SASRec", {"metrics": [1]}, ["metrics", "1"]),
        ("SASRec", {"topk": ["a"]}, ["topk", "'a'"]),
        ("SASRec", {"gpu_id": "a"}, ["gpu_id", "numbers of GPUs"]),
        ("SASRec-CE", {"item_text": {"title": None}}, ["item_text", 'in quotes: "{title}"']),
        ("SASRec-CE", {"scene_rules": {None: "rating >= 4"}}, ["scene_rules"]),
        ("SASRec-CE", {"text_device": "gpu"}, ["text_device", "no device of torch"]),
        ("SASRec-CE", {"text_device": "meta"}, ["text_device", "cpu or cuda:0"]),
        ("SASRec", {"run_dir": "a\x00b"}, ["run_dir", "no text"]),
        ("SASRec", {"nproc": "two"}, ["nproc", "a whole number", "'two'"]),
        ("SASRec", {"local_rank": 1}, ["local_rank: 1", "--nproc"]),
        ("SASRec", {"preload_weight": {"item_id": ["a"]}}, ["preload_weight"]),
    ],
)  # fmt: skip
def test_parts_and_bounds_of_settings(model, settings, words):
    with pytest.raises(UserError) as caught:
        Config(model, "ml-100k", config_dict=settings)
    for word in words:
        assert word in str(caught.value)


@pytest.fixture
def small(write_dataset, tmp_path):
    """Settings of a run of a second on 12 items."""
    path = write_dataset(
        "shop",
        [(f"u{u}", f"i{(u * 3 + t) % 12}", t) for u in range(12) for t in range(7)],
        items=[(f"i{i}", f"thing {i}") for i in range(12)],
    )
    return {"data_path": str(path), "checkpoint_dir": str(tmp_path / "saved"), "gpu_id": "",
        "epochs": 1, "MAX_ITEM_LIST_LENGTH": 5, "show_progress": False,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "tensorboard": False,
            "state": "ERROR"}  # fmt: skip


def _run(model: str, settings: dict) -> None:
    config = Config(model, "shop", config_dict=settings)
    loaders = data_preparation(config, create_dataset(config))
    trainer = get_trainer(config)(config, build_model(config, loaders[0]._dataset, lambda: None))
    trainer.fit(loaders[0], loaders[1], verbose=False, saved=False)
    trainer.evaluate(loaders[2], load_best_model=False)


TAKEN = [
    ("SASRec-CE", {"learning_rate": 1e38}), ("SASRec-CE", {"train_batch_size": 2**62,
        "eval_batch_size": 2**62}), ("SASRec-CE", {"topk": [10**9],
        "valid_metric": f"NDCG@{10**9}"}),
    ("SASRec-CE", {"clip_grad_norm": {"max_norm": 1e30, "norm_type": "inf"}}), ("SASRec-CE",
        {"initializer_range": 1e30}), ("SASRec-CE", {"temperature": 1e-37}),
    ("SASRec-CE", {"score_budget_mb": 1e-30}), ("SASRec-CE", {"weight_decay": 1e38}), ("SASRec-CE",
        {"eval_args": {"mode": "uni99999"}}), ("SASRec", {"n_layers": 1.5}),
    ("SASRec", {"hidden_dropout_prob": 7}), ("SASRec", {"n_heads": 0}), ("SASRec",
        {"hidden_size": 63}), ("GRU4Rec", {"num_layers": "a"}), ("GRU4Rec", {"hidden_size": -3}),
    ("SASRec", {"layer_norm_eps": -1}), ("SASRec", {"inner_size": 0}), ("BERT4Rec",
        {"mask_ratio": 1e-9}), ("SASRec", {"topk": [10**6], "evaluator": "recbole",
            "valid_metric": f"MRR@{10**6}"}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "change"), TAKEN, ids=[f"{model}-{'-'.join(change)}" for model, change in TAKEN]
)
def test_what_settings_take_trains_or_is_refused_in_a_sentence(small, model: str, change: dict):
    try:
        _run(model, {**small, **change})
    except UserError as error:
        assert "\n" not in str(error)


def test_a_cut_off_beyond_the_catalogue_and_tables_beyond_memory(small):
    config = Config(
        "SASRec",
        "shop",
        config_dict={**small, "topk": [20], "evaluator": "recbole", "valid_metric": "MRR@20"},
    )
    with pytest.raises(ConfigError, match="topk 20 is more than the 12 items"):
        check_against_data(config, 13)
    config = Config("GRU4Rec", "shop", config_dict={**small, "embedding_size": 1000})
    check_against_data(config, 13)
    with pytest.raises(
        ConfigError, match="embedding_size 1000 for .* items needs at least .* and this machine has"
    ):
        check_against_data(config, machine_memory() // 1000)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (("user_id:token_seq", "item_id:token", "timestamp:float"), ["user_id", "token_seq"]),
        (("user_id:token", "item_id:token_seq", "timestamp:float"), ["item_id", "token_seq"]),
        (("user_id:float", "item_id:token", "timestamp:float"), ["user_id", "float"]),
        (("user_id:token", "item_id:float_seq", "timestamp:float"), ["item_id", "float_seq"]),
        (("user_id:token", "item_id:token", "timestamp:float_seq"), ["timestamp", "float_seq"]),
    ],
)
@pytest.mark.parametrize("model", ["SASRec-CE", "BPR"])
def test_users_and_items_are_single_tokens(write_dataset, small, header, words, model):
    if model == "BPR" and header[2] != "timestamp:float":
        return  # it needs no times
    write_dataset("shop", [(u, u + t, t) for u in range(12) for t in range(7)], inter_header=header)
    with pytest.raises(DataError) as caught:
        create_dataset(Config(model, "shop", config_dict=small))
    assert re.search("shop.inter, line 1", str(caught.value))
    for word in words:
        assert word in str(caught.value)


class TestGpuThatIsAbsent:
    @pytest.fixture(autouse=True)
    def _machine_without_gpus(self, monkeypatch):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    def test_recboles_defaults_ask_for_none(self, caplog):
        assert Config("SASRec", "ml-100k")["device"].type == "cpu" and caplog.text == ""

    @pytest.mark.parametrize(
        "settings", [{"gpu_id": 0}, {"gpu_id": "0", "use_gpu": True}, {"use_gpu": True}]
    )
    def test_the_defaults_in_a_file_are_a_warning(self, settings, caplog):
        with caplog.at_level("WARNING", logger="recbole_precise"):
            assert Config("SASRec", "ml-100k", config_dict=settings)["device"].type == "cpu"
        assert "asks for a GPU, but torch finds none: this run is on the CPU" in caplog.text

    @pytest.mark.parametrize(
        "argument", ["--gpu_id=0", "--gpu_id=2", "--use_gpu=True", "--gpu_id=0,1"]
    )
    def test_a_gpu_on_the_command_line_is_an_error(self, argument):
        with (
            command_line([argument]),
            pytest.raises(
                ConfigError, match=r"\(on the command line\) asks for a GPU, but torch finds none"
            ),
        ):
            Config("SASRec", "ml-100k")

    @pytest.mark.parametrize(
        "settings",
        [{"gpu_id": "1"}, {"gpu_id": [0, 1]}, {"text_device": "cuda"}, {"text_device": "cuda:3"}],
    )
    def test_another_gpu_is_an_error(self, settings):
        with pytest.raises(ConfigError, match="asks for a GPU"):
            Config("SASRec", "ml-100k", config_dict=settings)

    @pytest.mark.parametrize(
        "settings",
        [{"gpu_id": ""}, {"gpu_id": "1", "use_gpu": False}, {"gpu_id": "", "use_gpu": True}],
    )
    def test_the_cpu_when_it_was_chosen(self, settings, caplog):
        assert (
            Config("SASRec", "ml-100k", config_dict=settings)["device"].type == "cpu"
            and caplog.text == ""
        )
