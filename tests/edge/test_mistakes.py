"""Each mistake in the settings is one sentence that names it, found before any data is read."""

from __future__ import annotations

import pytest

from recbole_precise.errors import ConfigError, DataError, UserError
from recbole_precise.plugin.config import Config

# (model, settings, words that the message must hold)
MISTAKES = [
    # misspelt or foreign keys
    ("PRECISE-UT", {"learnin_rate": 0.1}, ["Unknown key 'learnin_rate'", "in config_dict", 
            "Did you mean "
            "'learning_rate'?"]),
    ("PRECISE-UT", {"n_head": 2}, ["'n_head'", "'n_heads'"]),
    ("PRECISE-UT", {"text_encoders": "auto"}, ["'text_encoder'"]),
    ("PRECISE-UT", {"max_item_list_length": 20}, ["'MAX_ITEM_LIST_LENGTH'"]),
    ("SASRec", {"n_experts": 4}, ["Unknown key 'n_experts'", "model SASRec"]),
    ("GRU4Rec", {"n_heads": 4}, ["Unknown key 'n_heads'", "model GRU4Rec"]),
    ("SASRec", {"masked_history": True}, ["'mask_history'"]),
    # wrong types
    ("PRECISE-UT", {"epochs": "many"}, ["epochs", "whole number", "'many'"]),
    ("PRECISE-UT", {"epochs": 2.5}, ["epochs", "2.5"]),
    ("PRECISE-UT", {"mask_history": "maybe"}, ["mask_history", "True or False"]),
    ("PRECISE-UT", {"learning_rate": "fast"}, ["learning_rate", "a number above 0"]),
    ("PRECISE-UT", {"load_col": ["user_id"]}, ["load_col", "a mapping"]),
    ("PRECISE-UT", {"eval_args": "LS"}, ["eval_args", "a mapping"]),
    ("SASRec", {"n_layers": "two"}, ["n_layers", "a number", "'two'"]),
    ("SASRec", {"seed": None}, ["seed", "not empty"]),
    # out of range, or none of the choices
    ("PRECISE-UT", {"learning_rate": 0}, ["learning_rate", "above 0"]),
    ("PRECISE-UT", {"hidden_dropout_prob": 1.5}, ["hidden_dropout_prob", "below 1"]),
    ("PRECISE-UT", {"MAX_ITEM_LIST_LENGTH": 0}, ["MAX_ITEM_LIST_LENGTH", "at least 1"]),
    ("PRECISE-UT", {"train_batch_size": -4}, ["train_batch_size"]),
    ("PRECISE-UT", {"token_mode": "vocabulary"}, ["token_mode", "Did you mean 'vocab'?"]),
    ("PRECISE-UT", {"learner": "adamm"}, ["learner", "Did you mean 'adam"]),
    ("PRECISE-UT", {"tie_break": "first"}, ["tie_break", "one of file, random"]),
    ("PRECISE-UT", {"slices": ["popularty"]}, ["slices", "'popularity'"]),
    ("PRECISE-UT", {"topk": 0}, ["topk"]),
    ("PRECISE-UT", {"topk": [10, -5]}, ["topk"]),
    ("SASRec", {"loss_type": "MSE"}, ["loss_type", "CE, BPR"]),
    # metrics
    ("PRECISE-UT", {"metrics": ["NDGC"]}, ["NDGC", "Did you mean 'NDCG'?"]),
    ("PRECISE-UT", {"metrics": []}, ["metrics"]),
    ("PRECISE-UT", {"valid_metric": "NDCG@20"}, ["valid_metric 'NDCG@20'", "NDCG@10"]),
    ("PRECISE-UT", {"valid_metric": "NDCG"}, ["valid_metric 'NDCG'"]),
    ("PRECISE-UT", {"metrics": ["Recall", "AUC"]}, ["Recall, AUC", "together"]),
    ("PRECISE-UT", {"metrics": ["Recall", "GAUC"], "valid_metric": "Recall@10",
        "evaluator": "exact"}, ["evaluator", "recbole"]),
    ("PRECISE-UT", {"metrics": ["Recall", "ItemCoverage"], "valid_metric": "Recall@10",
        "eval_args": {"mode": "uni100"}}, ["ItemCoverage", "evaluator: recbole"]),
    ("SASRec", {"evaluator": "exact", "eval_args": {"mode": "uni100"}}, ["evaluator: exact",
        "whole catalogue"]),
    # splits
    ("PRECISE-UT", {"eval_args": {"order": "RO"}}, ["order must be TO"]),
    ("PRECISE-UT", {"eval_args": {"splitt": {"LS": "valid_and_test"}}}, ["'splitt'", "'split'"]),
    ("PRECISE-UT", {"eval_args": {"split": {"LS": "both"}}}, ["LS", "valid_and_test", "'both'"]),
    ("PRECISE-UT", {"eval_args": {"split": {"RS": [0.8, 0.2]}}}, ["three shares"]),
    ("PRECISE-UT", {"eval_args": {"split": {"KS": 1}}}, ["'KS'", "RS"]),
    ("PRECISE-UT", {"eval_args": {"group_by": "item"}}, ["group_by"]),
    ("PRECISE-UT", {"eval_args": {"mode": "all"}}, ["mode", "'all'"]),
    ("SASRec", {"repeatable": False}, ["repeatable", "mask_history"]),
    # combinations
    ("PRECISE-ID", {"variant": "llm"}, ["PRECISE-ID", "variant", "--model=PRECISE-UT"]),
    ("PAD", {"text_form": "codes"}, ["text_form", "vectors or tokens", "PAD"]),
    ("LLM-ESR", {"text_form": "tokens"}, ["text_form", "LLM-ESR"]),
    ("SASRec-Text", {"text_form": "tokens"}, ["vectors or codes", "PRECISE-Pool"]),
    ("PAD", {"text_form": "tokens", "text_tuning": "cooccurrence"}, ["text_tuning",
        "text_form: tokens"]),
    ("PAD", {"text_form": "tokens", "text_mlp_layers": 2}, ["text_mlp_layers: 2", "tokens"]),
    ("PRECISE-UT", {"top_experts": 5}, ["top_experts 5", "n_experts 4"]),
    ("PRECISE-UT", {"n_heads": 3, "embedding_size": 64, "token_size": 64}, ["128", "n_heads = 3"]),
    ("PRECISE-ID", {"n_heads": 3, "match_width": False, "embedding_size": 64},
        ["embedding_size = 64"]),
    ("PRECISE-UT", {"softmax": "sampled", "label_smoothing": 0.1}, ["label_smoothing",
        "full softmax"]),
    ("PRECISE-UT", {"softmax": "sampled", "target_horizon": 3}, ["target_horizon", "full softmax"]),
    ("PRECISE-UT", {"target_horizon": 0}, ["target_horizon", "1"]),
    ("PRECISE-UT", {"window_stride": 51}, ["window_stride 51", "MAX_ITEM_LIST_LENGTH 50"]),
    ("PRECISE-UT", {"window_stride": 10, "train_rows": "prefixes"}, ["window_stride", "prefixes"]),
    ("SASRec", {"train_rows": "windows"}, ["train_rows", "SASRec"]),
    ("PRECISE", {"train_rows": "prefixes"}, ["train_rows", "targeted_rows"]),
    ("PRECISE-TT", {"targeted_attention": "full"}, ["targeted_rows: prefixes",
        "targeted_attention: causal"]),
    ("PRECISE-UT", {"resume": True}, ["resume", "run_dir"]),
    ("GraphHeuristic", {"recipe": "paper"}, ["GraphHeuristic", "recipe"]),
    ("SASRec", {"train_minutes": 0}, ["train_minutes", "above 0"]),
    ("PRECISE-UT", {"normalize_all": True, "normalize_field": ["timestamp"]}, ["normalize_field",
        "normalize_all"]),
    ("PRECISE-UT", {"load_col": {"inter": ["user_id", "item_id"]}}, ["load_col", "timestamp"]),
    ("PRECISE-UT", {"train_neg_sample_args": {"distribution": "uniform"}},
        ["train_neg_sample_args"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    MISTAKES,
    ids=[f"{model}-{'-'.join(settings)}-{i}" for i, (model, settings, _) in enumerate(MISTAKES)],
)
def test_a_mistake_is_one_sentence_that_names_it(model, settings, words):
    with pytest.raises(ConfigError) as caught:
        Config(model, "ml-100k", config_dict=settings)
    message = str(caught.value)
    assert "\n" not in message and message.endswith((".", "?"))
    for word in words:
        assert word in message


def test_a_data_set_that_is_not_there(write_dataset):
    path = write_dataset("my-shop", [("u", "i", 1)])
    write_dataset("other", [("u", "i", 1)])
    with pytest.raises(DataError) as caught:
        Config("PRECISE-UT", "my-shopp", config_dict={"data_path": str(path)})
    assert all(
        word in str(caught.value)
        for word in [
            "'my-shopp'",
            "Did you mean 'my-shop'?",
            "At hand: my-shop, other, ml-100k",
            str(path),
        ]
    )


def test_a_folder_without_its_inter_file(write_dataset):
    path = write_dataset("my-shop", [("u", "i", 1)])
    (path / "my-shop" / "my-shop.inter").rename(path / "my-shop" / "events.inter")
    with pytest.raises(DataError, match="my-shop.inter' is missing"):
        Config("PRECISE-UT", "my-shop", config_dict={"data_path": str(path)})


def test_a_data_set_that_recbole_offers(tmp_path):
    with pytest.raises(DataError, match="ml-1m.zip"):
        Config("PRECISE-UT", "ml-1m", config_dict={"data_path": str(tmp_path)})


@pytest.mark.parametrize("model", ["GRU4RecKG", "KSR"])
def test_a_model_that_needs_files_which_the_data_set_lacks(model):
    with pytest.raises(DataError, match=f"{model} reads the file 'ml-100k.ent'"):
        Config(model, "ml-100k")


def test_neither_model_nor_data_set():
    with pytest.raises(ConfigError, match="--model=PRECISE-UT"):
        Config(dataset="ml-100k")
    with pytest.raises(ConfigError, match="--dataset=ml-100k"):
        Config("PRECISE-UT")


def test_where_a_mistake_stands_is_told(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("epoch: 3\n")
    with pytest.raises(UserError, match=r"'epoch' \(in '.*run.yaml'\)"):
        Config("PRECISE-UT", "ml-100k", [str(file)])


def test_the_model_and_the_data_set_are_checked_before_the_keys(tmp_path):
    with pytest.raises(ConfigError, match="Unknown model"):
        Config("PRECISE-UTT", "nowhere", config_dict={"epoch": 1})
    with pytest.raises(DataError, match="nowhere"):
        Config("PRECISE-UT", "nowhere", config_dict={"epoch": 1, "data_path": str(tmp_path)})


@pytest.mark.parametrize("change", [{"experts": ["id"]}, {"text_form": "tokens"}])
def test_best_settings_of_a_data_set_are_no_mistake_of_the_user(change, write_dataset):
    """Prime Pantry's best settings of PAD tune text vectors.

    A user who leaves them out need not know.
    """
    path = write_dataset(
        "prime-pantry",
        [(f"u{u}", f"i{(u + t) % 9}", t) for u in range(5) for t in range(5)],
        items=[(f"i{i}", f"Item {i}") for i in range(9)],
    )
    settings = {"data_path": str(path), **change}
    assert (
        Config(model="PAD", dataset="prime-pantry", config_dict={"data_path": str(path)})[
            "text_tuning"
        ]
        == "cooccurrence"
    )
    assert Config(model="PAD", dataset="prime-pantry", config_dict=settings)["text_tuning"] is None
    with pytest.raises(ConfigError, match="text_tuning"):
        Config(
            model="PAD",
            dataset="prime-pantry",
            config_dict={**settings, "text_tuning": "cooccurrence"},
        )
