"""What our dataset adds to RecBole's: windows, exact order, ties, counts without leakage, item
texts.
"""

import copy

import numpy as np
import pytest
import torch
from data_helpers import SPLITS, all_rows, synthetic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_precise.errors import ConfigError, DataError, TextError
from recbole_precise.text.cache import encode_cached

SLOW_FIXTURES = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module", autouse=True)
def _prepared():
    import recbole_precise  # noqa: F401


def ours(config):
    from recbole_precise.plugin.dataset import SequenceDataset

    return SequenceDataset(copy.deepcopy(config))


def sequences(events, key=lambda time: time):
    """Brute force: user -> items, by time and then as in the file."""
    result = {}
    for user, item, *_ in sorted(events, key=lambda event: key(event[3])):
        result.setdefault(user, []).append(item)
    return result


def tokens(dataset, field, ids):
    return dataset.field2id_token[field][ids].tolist()


# --- Windows ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [None, 1, 4])
@pytest.mark.parametrize("split", list(SPLITS))
@pytest.mark.parametrize("name", ["mixed", "ties"])
def test_windows_train_each_target_of_recboles_rows_once(synthetic_config, name, split, stride):
    from recbole.data.dataset import SequentialDataset

    config = synthetic_config(
        name, split, train_rows="windows", window_stride=stride, sequence_fields="item_id"
    )
    train, valid, test = ours(config).build()
    stock, stock_valid, stock_test = SequentialDataset(config).build()
    rows = all_rows(train)
    assert list(rows) == ["user_id", "item_id", "item_length", "item_id_list", "supervised_length"]
    assert all(column.dtype == torch.int64 for column in rows.values())
    trained = []
    for user, target, length, items, supervised in zip(*(rows[field].tolist() for field in rows)):
        assert 1 <= supervised <= min(length, stride or 6)
        assert items[length:] == [0] * (6 - length) and 0 not in items[:length]
        sequence = [*items[:length], target]
        for t in range(length + 1 - supervised, length + 1):
            trained.append(
                (user, tuple(sequence[max(0, t - (6 - (stride or 6) + 1)) : t]), sequence[t])
            )
    expected = []
    for user, target, length, items in zip(
        *(
            all_rows(stock)[field].tolist()
            for field in ("user_id", "item_id", "item_length", "item_id_list")
        )
    ):
        # A target sees at least this much of RecBole's history.
        expected.append((user, tuple(items[:length][-(6 - (stride or 6) + 1) :]), target))
    assert sorted(trained) == sorted(expected)
    for mine, theirs in ((valid, stock_valid), (test, stock_test)):
        assert len(mine) == len(theirs)
        assert all(
            torch.equal(column, all_rows(theirs)[field]) for field, column in all_rows(mine).items()
        )


def test_shifted_windows_count_each_target_once(synthetic_config):
    config = synthetic_config(train_rows="windows", window_shift=True)
    train, _, _ = ours(config).build()
    items, total, matrix = train.item_counter, train.inter_num, train.inter_matrix("csr")
    starts = set()
    for seed in range(6):
        assert train.shift_windows(torch.Generator().manual_seed(seed))
        starts.add(len(train))
        assert train.item_counter == items and train.inter_num == total
        assert (train.inter_matrix("csr") != matrix).nnz == 0
    assert len(starts) > 1


def test_models_say_which_rows_they_train_on(synthetic_config, our_config):
    config = synthetic_config(train_rows=None)
    assert "supervised_length" not in ours(config).build()[0].inter_feat
    config.model_class = type("Windowed", (config.model_class,), {"trains_on_windows": True})
    train, valid, _ = ours(config).build()
    assert "supervised_length" in train.inter_feat
    assert [field for field in valid.inter_feat if field.endswith("_list")] == ["item_id_list"]
    config["train_rows"] = "prefixes"
    assert "supervised_length" not in ours(config).build()[0].inter_feat


def test_features_are_joined_to_prefixes_but_not_to_windows(synthetic_config):
    config = synthetic_config(
        train_rows="windows", load_col={"inter": ["user_id", "item_id", "timestamp"], "item": "*"}
    )
    train, valid, _ = ours(config).build()
    assert "title" not in train[[0]] and "title" in valid[[0]]


def test_fields_of_sequences_can_be_chosen(synthetic_config):
    train, valid, _ = ours(
        synthetic_config(train_rows="windows", sequence_fields=["timestamp"])
    ).build()
    assert list(train[[0]].interaction) == [
        "user_id",
        "item_id",
        "timestamp",
        "item_length",
        "item_id_list",
        "timestamp_list",
        "supervised_length",
    ]
    assert "rating_list" not in valid.inter_feat and "rating" in valid.inter_feat
    with pytest.raises(
        ConfigError, match="sequence_fields: 'ratings' is not a loaded field.*Did you mean 'rating'"
    ):
        ours(synthetic_config(sequence_fields=["ratings"])).build()


# --- Order ------------------------------------------------------------------------------------


def test_exact_order_survives_large_times(synthetic_config):
    events = synthetic("milliseconds")
    expected = sequences(events)
    built = {
        order: ours(synthetic_config("milliseconds", events=events, time_order=order)).build()[2]
        for order in ("exact", "recbole")
    }
    wrong = dict.fromkeys(built, 0)
    for order, test in built.items():
        for user, target in zip(
            tokens(test, "user_id", test.inter_feat["user_id"]),
            tokens(test, "item_id", test.inter_feat["item_id"]),
        ):
            wrong[order] += target != expected[user][-1]
    assert wrong["exact"] == 0
    assert wrong["recbole"] > 0  # float32 holds these times to 131 seconds


def test_raw_times_are_those_of_the_file(synthetic_config):
    events = synthetic("milliseconds")
    dataset = ours(
        synthetic_config("milliseconds", events=events, time_order="exact", normalize_all=True)
    )
    train, _, _ = dataset.build()
    times = train.raw_times()
    assert times.dtype == np.int64
    users = tokens(dataset, "user_id", dataset.store.user)
    assert sorted(zip(users, times.tolist())) == sorted((user, time) for user, _, _, time in events)
    assert list(zip(dataset.store.user.tolist(), times.tolist())) == sorted(
        zip(dataset.store.user.tolist(), times.tolist())
    )


def test_times_beyond_float64_keep_their_order(write_dataset, stock_config):
    start = 1_700_000_000_000_000_000  # nanoseconds: float64 holds them to 256
    events = [("u", f"i{n}", start + n) for n in (3, 0, 2, 1, 5, 4)]
    config = stock_config(
        "SASRec",
        "nano",
        data_path=str(write_dataset("nano", events)),
        load_col={"inter": ["user_id", "item_id", "timestamp"]},
    )
    dataset = ours(config)
    dataset.build()
    assert tokens(dataset, "item_id", dataset.store.fields["item_id"]) == [
        f"i{n}" for n in range(6)
    ]
    assert dataset.raw_times().tolist() == [start + n for n in range(6)]


def test_random_ties_depend_on_their_own_seed_alone(synthetic_config):
    def order(**options):
        dataset = ours(synthetic_config("ties", time_order="exact", **options))
        dataset.build()
        users, times = dataset.store.user.tolist(), dataset.raw_times().tolist()
        assert list(zip(users, times)) == sorted(zip(users, times))
        return dataset.store.fields["item_id"].tolist()

    file = order(tie_break="file")
    first = order(tie_break="random", tie_seed=1, seed=3)
    assert first == order(tie_break="random", tie_seed=1, seed=4)
    assert first != order(tie_break="random", tie_seed=2)
    assert first != file


# --- Training events, counts, history ---------------------------------------------------------


def test_training_events_of_leave_one_out(synthetic_config):
    events = synthetic("mixed")
    dataset = ours(synthetic_config(events=events, time_order="exact"))
    train, _, _ = dataset.build()
    items, offsets, users = train.train_sequences()
    found = {
        user: tokens(dataset, "item_id", items[a:b])
        for user, a, b in zip(tokens(dataset, "user_id", users), offsets, offsets[1:])
    }
    # A user with 1 event has no target; with 2 or 3 the first target trains; with more the last two
    # are left out.
    expected = {
        user: s[: max(2, len(s) - 2)] for user, s in sequences(events).items() if len(s) > 1
    }
    assert found == expected
    counts = train.train_item_counts()
    assert counts.tolist() == [
        sum(s.count(item) for s in expected.values())
        for item in dataset.field2id_token["item_id"].tolist()
    ]


@given(seed=st.integers(0, 10**6), split=st.sampled_from(sorted(SPLITS)), windows=st.booleans())
@SLOW_FIXTURES
def test_held_out_targets_leave_no_trace_in_training(synthetic_config, seed, split, windows):
    """Whatever the validation and test targets are, training rows and counts are the same."""
    events = synthetic("mixed", seed)
    rows = {
        "train_rows": "windows" if windows else "prefixes",
        "time_order": "exact",
        "filter_inter_by_user_or_item": False,
    }

    def training(events):
        dataset = ours(synthetic_config(events=events, split=split, **rows))
        train, valid, test = dataset.build()
        columns = {
            field: column.tolist()
            for field, column in all_rows(train).items()
            if "rating" not in field
        }
        for field in columns:
            if field in ("user_id", "item_id", "item_id_list"):
                columns[field] = tokens(dataset, field.removesuffix("_list"), columns[field])
        counts = dict(
            zip(dataset.field2id_token["item_id"].tolist(), train.train_item_counts().tolist())
        )
        held = {int(event) for part in (valid, test) for event in part.inter_feat.interaction.end}
        return (
            columns,
            {item: n for item, n in counts.items() if n},
            train.item_counter.total(),
            dataset,
            held,
        )

    columns, counts, total, dataset, held = training(events)
    # The same file with other items in the held-out places.
    store = dataset.store
    places = {
        (user, time)
        for user, time in zip(
            tokens(dataset, "user_id", store.user[sorted(held)]), store.times[sorted(held)].tolist()
        )
    }
    changed = [
        (user, f"new{n}" if (user, time) in places else item, rating, time)
        for n, (user, item, rating, time) in enumerate(events)
    ]
    other = training(changed)
    assert other[0] == columns and other[1] == counts and other[2] == total
    assert not any(item.startswith("new") for item in other[1])


def test_history_is_not_cut(synthetic_config):
    events = synthetic("mixed")
    expected = sequences(events)
    _, _, test = ours(synthetic_config(events=events, time_order="exact")).build()
    users = tokens(test, "user_id", test.inter_feat["user_id"])
    for rows in (slice(None), slice(2, 5), np.array([3, 0]), [4], torch.tensor([1, 2])):
        row, item = test.history(rows)
        chosen = np.array(users)[rows].tolist()
        for n, user in enumerate(chosen):
            assert tokens(test, "item_id", item[row == n]) == expected[user][:-1]


# --- Item texts -------------------------------------------------------------------------------


def text_config(synthetic_config, tmp_path, **options):
    items = [
        ("i7", 'The "best" tea'),
        ("i3", "None"),
        ("i1", "茶 ☕"),
        ("i2", ""),
        ("unseen", "never bought"),
    ]
    return synthetic_config(
        items=items,
        filter_inter_by_user_or_item=False,
        text_cache_dir=str(tmp_path / "cache"),
        **options,
    )


def test_item_records_follow_the_ids(synthetic_config, tmp_path):
    dataset = ours(text_config(synthetic_config, tmp_path))
    records = dataset.item_records()
    assert len(records) == dataset.item_num and records[0] == {}
    titles = {
        token: record.get("title")
        for token, record in zip(dataset.field2id_token["item_id"].tolist(), records)
    }
    assert (titles["i7"], titles["i3"], titles["i1"], titles["i2"], titles["unseen"]) == (
        'The "best" tea',
        "None",
        "茶 ☕",
        "",
        "never bought",
    )
    assert titles["i4"] is None


def test_token_states_follow_the_ids(synthetic_config, tmp_path):
    dataset = ours(text_config(synthetic_config, tmp_path, item_text="{title}", text_max_tokens=8))
    train, _, _ = dataset.build()
    states = train.token_states()
    assert train.token_states() is states is dataset.token_states()
    assert len(states) == dataset.item_num and states.lengths[0] == 0
    direct = encode_cached(["None", 'The "best" tea'], max_tokens=8, cache_dir=tmp_path / "cache")
    for n, token in enumerate(("i3", "i7")):
        ids, vectors = states.tokens(int(dataset.token2id("item_id", token)))
        direct_ids, direct_vectors = direct.tokens(n)
        assert (ids == direct_ids).all()
        np.testing.assert_allclose(
            vectors, direct_vectors, atol=2e-3
        )  # float16, and a batch of other texts rounds otherwise
    assert {dataset.field2id_token["item_id"][i] for i in np.flatnonzero(states.lengths)} == {
        "i7",
        "i3",
        "i1",
        "unseen",
    }


def test_a_text_file_goes_before_item_columns(synthetic_config, tmp_path):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"item_id": "i1", "text": "green tea"}\n')
    dataset = ours(text_config(synthetic_config, tmp_path, text_file=str(file)))
    assert dataset.token_states().lengths[dataset.token2id("item_id", "i1")] > 0
    assert (
        dataset.token_states().lengths.sum()
        == dataset.token_states().lengths[dataset.token2id("item_id", "i1")]
    )


def test_missing_texts_are_a_sentence(synthetic_config, tmp_path):
    with pytest.raises(TextError, match="item_text"):
        ours(text_config(synthetic_config, tmp_path)).token_states()
    with pytest.raises(ConfigError, match="no column 'name'"):
        ours(text_config(synthetic_config, tmp_path, item_text="{name}")).token_states()
    strangers = tmp_path / "texts.tsv"
    strangers.write_text("item_id\ttext\nx\ty\n")
    with pytest.raises(TextError, match="none of the .* items has a text.*'x'"):
        ours(
            text_config(synthetic_config, tmp_path, item_text="{text}", text_file=str(strangers))
        ).token_states()
    dataset = ours(
        text_config(
            synthetic_config,
            tmp_path,
            item_text="{title}",
            load_col={"inter": ["user_id", "item_id", "timestamp"]},
        )
    )
    dataset.texts.settings.item_file.unlink()
    with pytest.raises(TextError, match=r"mixed.item does not exist"):
        dataset.token_states()


# --- create_dataset ---------------------------------------------------------------------------


def test_saved_data_sets_are_never_read(synthetic_config, tmp_path):
    from recbole_precise.plugin.preparation import create_dataset, data_preparation

    config = synthetic_config(save_dataset=True)
    first = create_dataset(config)
    assert list((tmp_path / "saved").glob("*.pth"))
    changed = synthetic_config(
        events=synthetic("mixed")[:60],
        dataset_save_path=str(next((tmp_path / "saved").glob("*.pth"))),
        save_dataloaders=True,
    )
    second = create_dataset(changed)
    assert second.inter_num == 60 != first.inter_num
    assert len(data_preparation(changed, second)) == 3


def test_every_kind_of_model_gets_its_data_set(synthetic_config, stock_config):
    from recbole.data.dataset import Dataset, DIENDataset, KnowledgeBasedDataset

    from recbole_precise.plugin.dataset import SequenceDataset
    from recbole_precise.plugin.preparation import create_dataset

    assert type(create_dataset(synthetic_config())) is SequenceDataset
    rated = {
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "group_by": "user",
            "mode": "labeled",
        },
        "metrics": ["AUC"],
        "valid_metric": "AUC",
    }
    assert (
        type(
            create_dataset(
                synthetic_config(
                    model="DIEN", train_neg_sample_args={"distribution": "uniform"}, **rated
                )
            )
        )
        is DIENDataset
    )
    pairs = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
    assert type(create_dataset(stock_config("BPR", "ml-100k", **pairs))) is Dataset
    assert type(create_dataset(stock_config("CKE", "ml-100k", **pairs))) is KnowledgeBasedDataset


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"window_stride": 9, "train_rows": "windows"},
            ConfigError,
            "window_stride must lie between 1 and MAX_ITEM_LIST_LENGTH",
        ),
        ({"train_rows": "window"}, ConfigError, "train_rows"),
        (
            {
                "eval_args": {
                    "split": {"RS": [0.9, 0.1]},
                    "order": "TO",
                    "group_by": "user",
                    "mode": "full",
                }
            },
            ConfigError,
            "three shares",
        ),
        (
            {"events": [("u1", "i1", 1, 1), ("u2", "i2", 1, 2)]},
            DataError,
            "leaves no row for training and validation and testing. The longest of 2 users has 1 "
            "events",
        ),
        (
            {"events": [("u1", f"i{n}", 1, n) for n in range(3)]},
            DataError,
            "leaves no row for validation",
        ),
        (
            {"user_inter_num_interval": "[500,inf)"},
            DataError,
            "no row of .inter is left after filtering",
        ),
        ({"val_interval": {"price": "[0,1]"}}, DataError, "price"),
    ],
    ids=lambda value: None if isinstance(value, (dict, type)) else value[:30],
)
def test_settings_that_leave_nothing(synthetic_config, options, error, message):
    with pytest.raises(error) as caught:
        ours(synthetic_config(**options)).build()
    assert message in str(caught.value)
