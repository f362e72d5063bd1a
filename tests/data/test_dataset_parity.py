"""Our dataset against RecBole's own, under the same configuration."""

import copy

import numpy as np
import pytest
import torch
from data_helpers import SPLITS, all_rows, assert_same_ids, assert_same_rows, eval_args, synthetic

ITEM_FEATURES = ("item_id:token", "title:token_seq", "price:float", "brand:token")


@pytest.fixture(scope="module", autouse=True)
def _prepared():
    import recbole_precise  # noqa: F401


def both(config):
    from recbole.data.dataset import SequentialDataset

    from recbole_precise.plugin.dataset import SequenceDataset

    return SequenceDataset(copy.deepcopy(config)), SequentialDataset(config)


def assert_parity(config):
    ours, stock = both(config)
    assert_same_ids(ours, stock)
    for mine, theirs in zip(ours.build(), stock.build()):
        assert_same_rows(mine, theirs)


@pytest.mark.parametrize("split", ["LS", "TS"])
def test_ml_100k(stock_config, split):
    assert_parity(
        stock_config(
            "SASRec",
            "ml-100k",
            load_col={"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
            eval_args=eval_args(split),
            time_order="recbole",
            MAX_ITEM_LIST_LENGTH=20,
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("split", list(SPLITS))
def test_ml_100k_with_all_its_columns(stock_config, split):
    columns = {"inter": ["user_id", "item_id", "rating", "timestamp"], "item": "*", "user": "*"}
    assert_parity(
        stock_config(
            "SASRec", "ml-100k", load_col=columns, eval_args=eval_args(split), time_order="recbole"
        )
    )


@pytest.mark.parametrize("split", list(SPLITS))
@pytest.mark.parametrize("name", ["mixed", "ties", "milliseconds"])
def test_synthetic_sets(synthetic_config, name, split):
    assert_parity(synthetic_config(name, split))


@pytest.mark.parametrize("split", list(SPLITS))
@pytest.mark.parametrize("name", ["mixed", "ties"])
def test_the_exact_order_is_recboles_while_float32_tells_times_apart(synthetic_config, name, split):
    assert_parity(synthetic_config(name, split, time_order="exact"))


def test_valid_only(synthetic_config):
    assert_parity(
        synthetic_config(
            eval_args={
                "split": {"LS": "valid_only"},
                "order": "TO",
                "group_by": "user",
                "mode": "full",
            }
        )
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"normalize_all": True},
        {"normalize_field": ["rating"]},
        {"numerical_features": ["rating"]},
        {"numerical_features": ["rating", "timestamp"]},
        {"unused_col": {"inter": ["rating_list", "timestamp", "timestamp_list"]}},
        {"threshold": {"rating": 3}},
        {"val_interval": {"rating": "[2,4]"}},
        {"val_interval": {"item_id": ["i1", "i2", "i3", "i30"]}},
        {"rm_dup_inter": "first"},
        {"rm_dup_inter": "last"},
        {"user_inter_num_interval": "[3,20]"},
        {"item_inter_num_interval": "[3,inf)", "user_inter_num_interval": "[4,inf)"},
        {"item_inter_num_interval": "[5,9];[1,2];[15,90]"},
        {"user_inter_num_interval": None, "item_inter_num_interval": "(2,inf)"},
        {
            "alias_of_item_id": ["viewed"],
            "inter_header": (
                "user_id:token",
                "item_id:token",
                "rating:float",
                "timestamp:float",
                "viewed:token_seq",
            ),
        },
        {"MAX_ITEM_LIST_LENGTH": 1},
        {"MAX_ITEM_LIST_LENGTH": 100},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["mixed", "ties"])
def test_settings_of_recbole(synthetic_config, name, settings):
    if "inter_header" in settings:
        rng = np.random.default_rng(0)
        settings = {
            **settings,
            "events": [
                (*event, " ".join(f"i{i}" for i in rng.integers(0, 60, rng.integers(0, 4))))
                for event in synthetic(name)
            ],
        }
    assert_parity(synthetic_config(name, **settings))


@pytest.mark.parametrize("filtered", [True, False])
def test_item_features_are_joined_alike(write_dataset, stock_config, filtered):
    items = [
        ("i3", "a  b", 1.5, "x"),
        ("i9", "", 0.25, ""),
        ("i1", "c", "", "y"),
        ("new", "b a c", 3, "x"),
    ]
    items += [(f"i{i}", "d", i, "z") for i in range(10, 30)]
    events = [
        ("u1" if i % 3 else f"u{i}", item, rating, time)
        for i, (_, item, rating, time) in enumerate(synthetic("mixed"))
    ]
    path = write_dataset(
        "rich",
        events,
        items,
        ("user_id:token", "item_id:token", "rating:float", "timestamp:float"),
        ITEM_FEATURES,
    )
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": "*"}
    for extra in (
        {},
        {"seq_len": {"title": 1}},
        {"item_inter_num_interval": "[2,inf)"},
        {"unload_col": {"item": ["price"]}, "load_col": None},
    ):
        settings = {
            "data_path": str(path),
            "load_col": columns,
            "MAX_ITEM_LIST_LENGTH": 5,
            "filter_inter_by_user_or_item": filtered,
            "time_order": "recbole",
            **extra,
        }
        assert_parity(stock_config("SASRec", "rich", **settings))


def test_missing_cells(write_dataset, stock_config):
    events = [("u1", f"i{i}", "", i) for i in range(5)] + [
        ("", "i1", 3, 7),
        ("u2", "NA", 4, 8),
        ("u2", "i9", 2.5, 9),
        ("u2", "None", 1, 1),
        ("u2", "i0", 1, 2),
    ]
    path = write_dataset(
        "holes", events, None, ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
    )
    config = stock_config(
        "SASRec",
        "holes",
        data_path=str(path),
        load_col={"inter": ["user_id", "item_id", "rating", "timestamp"]},
        time_order="recbole",
    )
    assert_parity(config)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_files_as_they_come(tmp_path, stock_config, line_end):
    folder = tmp_path / "dataset" / "odd"
    folder.mkdir(parents=True)
    lines = [
        "timestamp:float\titem_id:token\tuser_id:token\tnote:token",
        "1e3\tb\tu\tx y",
        "",
        '0.1234567890123456789\t茶\tu\t"quoted\tfield"',
        "  ",
        "-7.5\t01\tu\tz",
        "3.3e-5\t1\tu\tz",
    ]
    (folder / "odd.inter").write_bytes(line_end.join(lines).encode())
    settings = {
        "data_path": str(tmp_path / "dataset"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "time_order": "recbole",
    }
    assert_parity(stock_config("SASRec", "odd", **settings, encoding="utf-8"))


def test_numbers_are_read_to_the_last_bit(write_dataset, stock_config):
    rng = np.random.default_rng(0)
    values = [repr(float(v)) for v in rng.normal(size=300) * 10.0 ** rng.integers(-300, 300, 300)]
    path = write_dataset(
        "bits",
        [("u", "i", value, n) for n, value in enumerate(values)],
        None,
        ("user_id:token", "item_id:token", "rating:float", "timestamp:float"),
    )
    config = stock_config(
        "SASRec",
        "bits",
        data_path=str(path),
        load_col={"inter": ["user_id", "item_id", "rating", "timestamp"]},
    )
    ours, stock = both(config)
    assert (ours.inter_feat["rating"].to_numpy() == stock.inter_feat["rating"].to_numpy()).all()


def test_statistics(synthetic_config):
    ours, stock = both(synthetic_config("ties"))
    assert str(ours) == str(stock)
    windows = copy.deepcopy(ours)
    windows.config["train_rows"] = "windows"
    stock_train, stock_valid, _ = stock.build()
    for train, valid, _ in (ours.build(), windows.build()):
        for mine, theirs in ((train, stock_train), (valid, stock_valid)):
            assert mine.item_counter == theirs.item_counter
            assert mine.user_counter == theirs.user_counter
            assert mine.inter_num == theirs.inter_num
            assert mine.sparsity == theirs.sparsity
            assert mine.avg_actions_of_users == theirs.avg_actions_of_users
            assert mine.avg_actions_of_items == theirs.avg_actions_of_items
            assert (mine.inter_matrix("csr") != theirs.inter_matrix("csr")).nnz == 0
            assert (
                abs(mine.inter_matrix("csr", "rating") - theirs.inter_matrix("csr", "rating")).max()
                == 0
            )
        for make in ("history_item_matrix", "history_user_matrix"):
            results = []
            for part in (train, stock_train):
                torch.manual_seed(5)
                results.append(getattr(part, make)())
            lengths = [result[2] for result in results]
            assert torch.equal(*lengths)
            assert all(
                sorted(a.tolist()) == sorted(b.tolist())
                for a, b in zip(results[0][0], results[1][0])
            )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": "BPR"},
        {
            "model": "GRU4Rec",
            "loss_type": "BPR",
            "train_neg_sample_args": {"distribution": "uniform", "sample_num": 2},
        },
        {
            "model": "GRU4Rec",
            "loss_type": "BPR",
            "train_neg_sample_args": {"distribution": "popularity", "sample_num": 1},
        },
        {
            "eval_args": {
                "split": {"LS": "valid_and_test"},
                "order": "TO",
                "group_by": "user",
                "mode": {"valid": "uni20", "test": "pop20"},
            }
        },
    ],
    ids=str,
)
def test_loaders_give_recboles_batches(synthetic_config, settings):
    from recbole.data.utils import create_dataset as recbole_create
    from recbole.data.utils import data_preparation as recbole_prepare
    from recbole.utils import init_seed

    from recbole_precise.plugin.dataset import SequenceDataset
    from recbole_precise.plugin.preparation import create_dataset, data_preparation

    settings = dict(settings)
    model = settings.pop("model", "SASRec")
    if model == "BPR":
        settings["eval_args"] = {
            "split": {"RS": [0.8, 0.1, 0.1]},
            "order": "RO",
            "group_by": "user",
            "mode": "full",
        }
        settings["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": 1}
    config = synthetic_config(
        "mixed", model=model, train_batch_size=16, eval_batch_size=64, **settings
    )
    batches = []
    for create, prepare in ((create_dataset, data_preparation), (recbole_create, recbole_prepare)):
        init_seed(3, True)
        dataset = create(config)
        assert isinstance(dataset, SequenceDataset) == (create is create_dataset and model != "BPR")
        batches.append([batch for loader in prepare(config, dataset) for batch in loader])
    assert len(batches[0]) == len(batches[1]) > 0
    for ours, stock in zip(*batches):
        for mine, theirs in zip(
            *([batch] if not isinstance(batch, tuple) else batch for batch in (ours, stock))
        ):
            if torch.is_tensor(theirs):
                assert torch.equal(mine, theirs)
            elif theirs is not None and hasattr(theirs, "interaction"):
                assert list(mine.interaction) == list(theirs.interaction)
                assert all(torch.equal(mine[field], theirs[field]) for field in theirs.interaction)


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "BERT4Rec", "FEARec", "SASRecF"])
def test_recboles_models_compute_the_same_loss(synthetic_config, model):
    from recbole.data.utils import data_preparation as recbole_prepare
    from recbole.utils import get_model, init_seed

    from recbole_precise.plugin.preparation import data_preparation

    extra = {
        "BERT4Rec": {"transform": "mask_itemseq", "ft_ratio": 0.5},
        "SASRecF": {
            "selected_features": ["title"],
            "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": "*"},
        },
    }
    config = synthetic_config(
        "mixed",
        model=model,
        train_batch_size=32,
        hidden_size=16,
        inner_size=16,
        **extra.get(model, {}),
    )
    losses = []
    for dataset, prepare in zip(both(config), (data_preparation, recbole_prepare)):
        init_seed(1, True)
        train, _, _ = prepare(config, dataset)
        network = get_model(model)(config, train.dataset)
        losses.append([network.calculate_loss(batch).item() for batch in train])
    assert losses[0] == losses[1]


def test_the_whole_column_of_lists_is_there_when_a_model_asks(synthetic_config):
    ours, stock = both(synthetic_config())
    train, theirs = ours.build()[0], stock.build()[0]
    assert torch.equal(train.inter_feat["item_id_list"], theirs.inter_feat["item_id_list"])
    assert torch.equal(
        train.inter_feat["item_id_list"][[3, 1]], all_rows(theirs)["item_id_list"][[3, 1]]
    )
