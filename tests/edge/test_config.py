"""Config: RecBole's precedence and defaults, ours beside them, and what RecBole gets wrong
mended.
"""

from __future__ import annotations

import copy
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from command_lines import command_line

from recbole_precise import registry
from recbole_precise.config import model_settings, our_file, our_settings, read_settings
from recbole_precise.errors import ConfigError
from recbole_precise.plugin.config import Config

# GRU4RecKG and KSR read vectors of entities, which ml-100k does not have.
SEQUENTIAL = [
    entry.name
    for entry in registry._recbole_models().values()
    if ".sequential_recommender." in entry.target and entry.name not in ("GRU4RecKG", "KSR")
]
OURS = [entry.name for entry in registry.ENTRIES if entry.target.endswith("PRECISEUT")]


def test_precedence(tmp_path: Path, monkeypatch):
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("epochs: 1\nseed: 1\nwarmup_steps: 1\nstopping_step: 1\n")
    two.write_text("epochs: 2\nseed: 2\nwarmup_steps: 2\n")
    monkeypatch.setattr(sys, "argv", ["script.py", "--epochs=4"])
    config = Config("PRECISE-UT", "ml-100k", [str(one), str(two)], {"epochs": 3, "seed": 3})
    assert [config[key] for key in ("epochs", "seed", "warmup_steps", "stopping_step")] == [
        4,
        3,
        2,
        1,
    ]
    assert config["n_layers"] == 2
    assert (
        config.where("epochs") == "on the command line"
        and str(two) in config.where("warmup_steps")
        and config.where("n_layers") == "default"
    )


def test_model_and_data_set_may_stand_in_a_file(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text("model: sas-rec\ndataset: ml-100k\n")
    config = Config(config_file_list=[str(file)])
    assert (config["model"], config["dataset"]) == ("SASRec", "ml-100k")


def test_yaml_alone_gives_the_values_of_a_file_their_types(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "item_text: '[not a list'\nwandb_project: 'None'\nUSER_ID_FIELD: 'user_id'\nload_col: "
        "{inter: [user_id, item_id, timestamp]}\n"
    )
    config = Config(
        "PRECISE-UT",
        "ml-100k",
        str(file),
        {"topk": "[5, 10]", "wandb_project": 3, "log_wandb": True},
    )
    assert (
        config["item_text"] == "[not a list"
        and config["topk"] == [5, 10]
        and config["wandb_project"] == "3"
    )


def test_model_class_instead_of_a_name():
    from recbole.model.sequential_recommender import GRU4Rec

    config = Config(GRU4Rec, "ml-100k")
    assert (
        config["model"] == "GRU4Rec" and config.model_class is GRU4Rec and config["num_layers"] == 1
    )


def test_a_model_class_of_the_users_own_has_the_keys_that_its_source_reads(
    tmp_path: Path, monkeypatch
):
    (tmp_path / "own_model.py").write_text(
        "from recbole.model.sequential_recommender import SASRec\n"
        "class Mine(SASRec):\n    def __init__(self, config, dataset):\n        "
        "super().__init__(config, dataset)\n        self.depth = config['my_depth']\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from own_model import Mine

    config = Config(Mine, "ml-100k", config_dict={"my_depth": 3, "loss_type": "CE", "n_layers": 1})
    assert config["my_depth"] == 3
    with pytest.raises(ConfigError, match="my_dept'.*Did you mean 'my_depth'"):
        Config(Mine, "ml-100k", config_dict={"my_dept": 3, "loss_type": "CE"})


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_every_sequential_model_of_recbole_keeps_its_own_defaults(name):
    """Only keys that RecBole does not know, the data set's protocol and what RecBole itself refuses
    may differ.
    """
    from recbole_precise.config import our_file
    from recbole_precise.config.known_keys import our_keys, recbole_folder

    ours = Config(name, "ml-100k")
    file = (recbole_folder() / "properties") / "model" / f"{name}.yaml"
    defaults = read_settings((recbole_folder() / "properties") / "overall.yaml") | (
        read_settings(file) if file.is_file() else {}
    )
    may_differ = {
        "train_neg_sample_args",
        "eval_args",
        "repeatable",
        "metrics",
        "topk",
        "valid_metric",
        "data_path",
        "load_col",
    } | our_file("dataset", "ml-100k").keys()
    for key, value in defaults.items():
        if key not in may_differ:
            assert ours[key] == value, key
    assert our_keys() <= ours.final_config_dict.keys()


def test_recbole_and_our_config_agree_on_sasrec(stock_config, our_config):
    stock, ours = stock_config("SASRec").final_config_dict, our_config("SASRec").final_config_dict
    differing = {key for key in stock if stock[key] != ours.get(key)}
    assert differing <= {"load_col"}  # ours reads .item too, so that all models rank the same items


@pytest.mark.parametrize("name", ["SASRecF", "FDSA", "GRU4RecF", "DIN"])
def test_models_with_side_features_still_get_their_columns(name):
    columns = Config(name, "ml-100k")["load_col"]["item"]
    assert "release_year" in columns and "item_id" in columns


def test_cross_entropy_draws_no_negatives():
    assert Config("SASRec", "ml-100k")["train_neg_sample_args"]["distribution"] == "none"
    bpr = Config("SASRec", "ml-100k", config_dict={"loss_type": "BPR"})["train_neg_sample_args"]
    assert bpr["distribution"] == "uniform"
    with pytest.raises(ConfigError, match="train_neg_sample_args"):
        Config(
            "SASRec",
            "ml-100k",
            config_dict={"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
        )


@pytest.mark.parametrize("name", OURS)
def test_our_models_read_our_settings(name):
    entry = registry.resolve(name)
    config = Config(name, "ml-100k")
    assert config["model"] == name
    assert {key: config[key] for key in entry.preset} == dict(entry.preset)
    assert config["item_text"].startswith("{movie_title}") and config["eval_args"]["order"] == "TO"


def test_a_run_with_recboles_own_config_reads_our_settings_too(stock_config):
    config = stock_config("PRECISE-Pool", train_neg_sample_args=None)
    assert config["variant"] == "pool" and config["n_experts"] == 4 and config["item_text"]


def test_recboles_models_are_left_alone_in_recboles_own_config(stock_config):
    assert "item_text" not in stock_config("SASRec")


def test_naming_the_mode_alone_keeps_the_order_of_time():
    config = Config("SASRec", "ml-100k", config_dict={"eval_args": {"mode": "uni100"}})
    assert config["eval_args"]["order"] == "TO" and config["eval_args"]["split"] == {
        "LS": "valid_and_test"
    }
    assert config["evaluator"] == "recbole"


def test_times_are_loaded_for_sequences_of_an_unknown_data_set(write_dataset):
    path = write_dataset("shop", [("u", "i", 1), ("u", "j", 2)])
    config = Config("SASRec", "shop", config_dict={"data_path": str(path)})
    assert config["load_col"] == {"inter": ["user_id", "item_id", "timestamp"]}


def test_configs_do_not_disturb_each_other():
    from recbole.utils import dataset_arguments

    before = list(dataset_arguments)
    first = Config("PRECISE-UT", "ml-100k", config_dict={"eval_args": {"mode": "full"}})
    second = Config("PRECISE-UT", "ml-100k")
    first["load_col"]["inter"].append("x")
    first["eval_args"]["order"] = "RO"
    assert list(dataset_arguments) == before
    assert second["load_col"]["inter"][-1] != "x" and second["eval_args"]["order"] == "TO"


def test_given_settings_are_not_changed():
    given = {"eval_args": {"mode": "full"}, "seed": "7"}
    kept = copy.deepcopy(given)
    assert Config("PRECISE-UT", "ml-100k", config_dict=given)["seed"] == 7
    assert given == kept


def test_copies_and_pickles_are_equal():
    config = Config("PRECISE-Pool", "ml-100k")
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert other.final_config_dict == config.final_config_dict and other.entry == config.entry


def test_the_log_shows_our_keys():
    text = str(Config("PRECISE-UT", "ml-100k"))
    for key in ("mask_history", "text_encoder", "n_experts", "train_batch_size"):
        assert key in text


def test_names_may_look_like_numbers(write_dataset):
    path = write_dataset("2020", [("u", "i", 1), ("u", "j", 2)])
    assert (
        Config("SASRec", config_dict={"dataset": 2020, "data_path": str(path)})["dataset"] == "2020"
    )


def test_a_foreign_script_may_have_arguments_of_its_own(monkeypatch, caplog):
    monkeypatch.setattr(
        sys, "argv", ["pytest", "-q", "tests", "--durations=5", "--n_layers=1", "--lr=0.1"]
    )
    with caplog.at_level("WARNING", logger="recbole_precise"):
        config = Config("PRECISE-UT", "ml-100k")
    assert config["n_layers"] == 1 and "durations" not in config and "--lr" in caplog.text


def test_our_command_knows_no_foreign_arguments(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script", "--seed=1"])
    with command_line(["--seed=2"]):
        assert Config("PRECISE-UT", "ml-100k")["seed"] == 2
    with (
        command_line(["--durations=5"]),
        pytest.raises(ConfigError, match="'durations' \\(on the command line\\)"),
    ):
        Config("PRECISE-UT", "ml-100k")
    assert Config("PRECISE-UT", "ml-100k")["seed"] == 1


class TestDevice:
    @pytest.fixture(autouse=True)
    def _machine_with_gpus(self, monkeypatch):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # what a driver would say

    def test_the_first_gpu_by_default(self):
        assert Config("PRECISE-UT", "ml-100k")["device"] == torch.device("cuda")
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"

    def test_the_users_choice_of_gpus_stands(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
        assert Config("PRECISE-UT", "ml-100k")["device"] == torch.device("cuda")
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"

    @pytest.mark.parametrize("settings", [{"use_gpu": False}, {"gpu_id": ""}])
    def test_the_cpu_when_asked_for(self, settings):
        assert Config("PRECISE-UT", "ml-100k", config_dict=settings)["device"] == torch.device(
            "cpu"
        )

    def test_several_gpus(self):
        assert Config("PRECISE-UT", "ml-100k", config_dict={"gpu_id": "1,2"})["gpu_id"] == "1,2"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"


def test_what_was_tuned_for_a_model_does_not_overrule_what_one_built_on_it_sets_itself():
    """PAD's rivals take over what was found for PAD on Prime Pantry, and keep what makes them
    another model.
    """
    tuned = our_file("best/prime-pantry", "PAD")
    for name, own in (
        ("CTRL", "align_weight"),
        ("MAKE", "finetune_learning_rate"),
        ("Hybrid", None),
    ):
        settings, defaults = (
            our_settings(registry.resolve(name), "prime-pantry"),
            model_settings(name),
        )
        assert own is None or settings[own] == defaults[own] != tuned[own]
        assert (
            settings["id_dropout"]
            == tuned["id_dropout"]
            != our_settings(registry.resolve(name), "prime-pantry", "default")["id_dropout"]
        )
