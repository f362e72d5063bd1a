"""Files split beforehand: the rows of a split by eval_args, brute force over random files,
RecBole's own reading, mistakes.
"""

import json
import logging
import random

import numpy as np
import pytest
import torch
from data_helpers import all_rows, assert_same_rows, synthetic

from recbole_precise import cli
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.plugin.preparation import create_dataset, data_preparation

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
ROWS = "user_id:token\titem_id_list:token_seq\titem_id:token"
COLUMNS = {"inter": ["user_id", "item_id", "rating", "timestamp"]}


def split_by_hand(events):
    """{part: events} as leave-one-out leaves them: a user's last event of three or more, and the
    one before it of four or more.
    """
    parts = {"train": [], "valid": [], "test": []}
    part_of = ["train"] * len(events)
    for user in dict.fromkeys(event[0] for event in events):
        mine = sorted(
            (n for n, event in enumerate(events) if event[0] == user), key=lambda n: events[n][3]
        )
        if len(mine) >= 3:
            part_of[mine[-1]] = "test"
        if len(mine) >= 4:
            part_of[mine[-2]] = "valid"
    for event, part in zip(events, part_of):
        parts[part].append(event)
    return parts


@pytest.fixture
def write(tmp_path):
    """`write(name, files)`: files `{suffix: (header, rows)}` of a data set; returns data_path."""

    def files_of(name, files):
        folder = tmp_path / "dataset" / name
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, (header, rows) in files.items():
            lines = ["\t".join(map(str, row)) if not isinstance(row, str) else row for row in rows]
            (folder / f"{name}.{suffix}").write_text("\n".join([header, *lines]) + "\n")
        return str(tmp_path / "dataset")

    return files_of


def in_parts(parts, header=HEADER):
    return {f"{part}.inter": (header, rows) for part, rows in parts.items()}


@pytest.mark.parametrize("name", ["mixed", "ties", "milliseconds"])
@pytest.mark.parametrize("model", ["SASRec-CE", "SASRec", "SASRec-CE prefixes"])
def test_files_of_a_split_give_its_rows(write, our_config, name, model):
    """Leave-one-out written out and read back: the same ids, the same rows of all parts, the same
    training counts.
    """
    parts = split_by_hand(synthetic(name))
    whole = [event for events in parts.values() for event in events]
    settings = {"load_col": COLUMNS, "MAX_ITEM_LIST_LENGTH": 6}
    if model.endswith("prefixes"):
        settings["train_rows"] = "prefixes"
    model = model.split()[0]
    path = write("parted", {"inter": (HEADER, whole), **in_parts(parts)})
    split = create_dataset(our_config(model, "parted", data_path=path, **settings))
    files = create_dataset(
        our_config(
            model,
            "parted",
            data_path=path,
            benchmark_filename=["train", "valid", "test"],
            **settings,
        )
    )
    for field in ("user_id", "item_id"):
        assert files.field2id_token[field].tolist() == split.field2id_token[field].tolist()
    for mine, expected in zip(files.build(), split.build(), strict=True):
        assert_same_rows(mine, expected)
        assert torch.equal(mine.train_item_counts(), expected.train_item_counts())
        assert torch.equal(mine.trained_items(), expected.trained_items())
        for found, right in zip(
            mine.history(slice(None)), expected.history(slice(None)), strict=True
        ):
            assert torch.equal(found, right)
        assert (mine.inter_matrix() != expected.inter_matrix()).nnz == 0


def shop(users=40, events=9, items=25, seed=3):
    """Events with one time each."""
    draw = random.Random(seed)
    return [
        (f"u{u}", f"i{draw.randrange(items)}", draw.randint(1, 5), 1000 * t + u)
        for t in range(events)
        for u in range(users)
    ]


def run(path, name, model, tmp_path, **settings):
    given = {"model": model, "dataset": name, "data_path": path, "epochs": 2,
        "MAX_ITEM_LIST_LENGTH": 6, "run_dir": tmp_path / f"run-{len(list(tmp_path.iterdir()))}",
             "show_progress": False, "seed": 7, "threads": 1, "tensorboard": False, "gpu_id": "",
             "train_batch_size": 64,
             "load_col": "{inter: [user_id, item_id, timestamp]}", **settings}  # fmt: skip
    assert cli.main([f"--{key}={value}" for key, value in given.items()]) == 0
    return json.loads((given["run_dir"] / "result.json").read_text())


@pytest.mark.parametrize("model", ["SASRec-CE", "SASRec"])
def test_metrics_are_those_of_the_split(write, tmp_path, model):
    parts = split_by_hand(shop())
    whole = [event for events in parts.values() for event in events]
    path = write("shop", {"inter": (HEADER, whole), **in_parts(parts)})
    split = run(path, "shop", model, tmp_path)
    files = run(path, "shop", model, tmp_path, benchmark_filename="[train, valid, test]")
    assert files["test"] == split["test"] and files["valid"] == split["valid"]
    assert files["test"]["ndcg@10"] > 0


@pytest.mark.parametrize("model", ["SASRec-CE", "BPR"])
def test_two_files_are_training_and_testing(write, tmp_path, model):
    parts = split_by_hand(shop())
    parts["train"] += parts.pop("valid")
    path = write("two", in_parts(parts))
    more = {"load_col": "{inter: [user_id, item_id]}"} if model == "BPR" else {}
    found = run(path, "two", model, tmp_path, benchmark_filename="[train, test]", **more)
    assert found["test"]["ndcg@10"] > 0 and not found["valid"]


@pytest.mark.parametrize("seed", range(5))
def test_histories_over_random_files(write, our_config, seed, caplog):
    """Each row's history is what came before it in the files up to its own.

    Nothing later is trained or counted.
    """
    draw = random.Random(seed)
    names = ["train", "valid", "test"] if seed % 2 else ["train", "test"]
    events = [
        (f"u{draw.randrange(12)}", f"i{draw.randrange(15)}", 1, draw.randrange(60))
        for _ in range(120)
    ]
    events.append(("u0", "only-in-test", 1, 99))
    parts = {part: [] for part in names}
    for event in events[:-1]:
        parts[draw.choice([*names, "train", "train"])].append(event)
    parts["test"].append(events[-1])
    path = write("any", in_parts(parts))
    dataset = create_dataset(
        our_config(
            "SASRec-CE",
            "any",
            data_path=path,
            load_col=COLUMNS,
            benchmark_filename=names,
            train_rows="prefixes",
            MAX_ITEM_LIST_LENGTH=50,
        )
    )
    built = dataset.build()
    items, users = (dataset.field2id_token[field] for field in ("item_id", "user_id"))
    order = {part: number for number, part in enumerate(names)}
    known = [
        (user, time, order[part], n, item)
        for part, rows in parts.items()
        for n, (user, item, _, time) in enumerate(rows)
    ]
    numbers = {"train": 0, "valid": 1, "test": 2}
    lost = early = 0
    for part in names:
        expected = []
        for user, time, number, n, item in known:
            if number != order[part]:
                continue
            before = sorted(
                event[1:]
                for event in known
                if event[0] == user and event[2] <= number and event[1:4] < (time, number, n)
            )
            early += number > 0 and any(
                event[0] == user and event[2] == 0 and event[1:4] > (time, number, n)
                for event in known
            )
            if before:
                expected.append((user, item, tuple(event[-1] for event in before)))
            elif number:
                lost += 1
        rows = all_rows(built[numbers[part]])
        found = [
            (str(users[user]), str(items[item]), tuple(str(items[i]) for i in listed[:length]))
            for user, item, listed, length in zip(
                rows["user_id"], rows["item_id"], rows["item_id_list"], rows["item_length"]
            )
        ]
        assert sorted(found) == sorted(expected)
    assert ("cannot be asked" in caplog.text) == (lost > 0)
    assert ("come before training events" in caplog.text) == (early > 0)
    counts = built[2].train_item_counts()
    by_hand = [sum(event[1] == str(name) for event in parts["train"]) for name in items]
    single = {user for user in users if sum(event[0] == user for event in parts["train"]) == 1}
    for user, item, *_ in parts["train"]:
        if user in single:
            by_hand[list(items).index(item)] -= 1
    assert counts.tolist() == by_hand
    cold = list(items).index("only-in-test")
    assert counts[cold] == 0 and not built[0].trained_items()[cold]


def as_rows(parts, longest=None):
    """RecBole's form of the same split: each target with the list of what came before it."""
    rows, before = {part: [] for part in parts}, {}
    whole = sorted(
        (event[3], place, n, part, event)
        for place, (part, events) in enumerate(parts.items())
        for n, event in enumerate(events)
    )
    for _, _, _, part, (user, item, *_) in whole:
        history = before.setdefault(user, [])
        if history:
            rows[part].append((user, " ".join(history[-longest:] if longest else history), item))
        history.append(item)
    return rows


def named(part, dataset, names=("user_id", "item_id", "item_id_list", "item_length")):
    """Rows as names, so that they compare whatever the numbers are."""
    rows = all_rows(part)
    items, users = dataset.field2id_token["item_id"], dataset.field2id_token["user_id"]
    return [
        (str(users[u]), str(items[i]), [str(items[x]) for x in listed[:length]], int(length))
        for u, i, listed, length in zip(*(rows[name] for name in names))
    ]


def test_rows_are_read_as_recbole_reads_them(write, stock_config):
    """RecBole's own data set, given the alias that its documentation asks for: the same rows in the
    same order.
    """
    from recbole.data.dataset import SequentialDataset

    rows = as_rows(split_by_hand(shop()))
    path = write("rows", in_parts(rows, ROWS))
    settings = {"data_path": path, "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
                "alias_of_item_id": ["item_id_list"], "MAX_ITEM_LIST_LENGTH": 8}  # fmt: skip
    stock, ours = (
        SequentialDataset(stock_config("SASRec", "rows", **settings)),
        create_dataset(stock_config("SASRec", "rows", **settings)),
    )
    expected, found = stock.build(), ours.build()
    assert [len(part) for part in found] == [len(rows[part]) for part in ("train", "valid", "test")]
    for mine, theirs in zip(found, expected, strict=True):
        mine, theirs = all_rows(mine), all_rows(theirs)
        assert set(mine) == set(theirs)
        for field in theirs:
            assert torch.equal(mine[field], theirs[field]), field


def test_lists_are_numbered_with_items_and_cut_to_their_last(write, our_config):
    """Without alias_of_item_id RecBole numbers lists apart from targets.

    Lists longer than the model reads lose their oldest.
    """
    rows = as_rows(split_by_hand(shop()))
    path = write("rows", in_parts(rows, ROWS))
    for model in ("SASRec", "SASRec-CE"):
        dataset = create_dataset(
            our_config(
                model,
                "rows",
                data_path=path,
                benchmark_filename=["train", "valid", "test"],
                MAX_ITEM_LIST_LENGTH=3,
                train_rows="prefixes",
            )
        )
        for part, name in zip(dataset.build(), rows):
            expected = [
                (user, item, listed.split()[-3:], min(3, len(listed.split())))
                for user, listed, item in rows[name]
            ]
            assert named(part, dataset) == expected
            lengths = [len(listed.split()) for _, listed, _ in rows[name]]
            assert (
                np.bincount(part.history(slice(None))[0].numpy()).tolist() == lengths
            )  # what mask_history leaves out is not cut


@pytest.mark.parametrize("longest", [None, 4])
def test_windows_of_rows_are_those_of_events(write, our_config, longest):
    """Rows that are prefixes of one sequence train its events once, as the files of events do."""
    parts = split_by_hand(shop())
    settings = {"MAX_ITEM_LIST_LENGTH": 4, "benchmark_filename": ["train", "valid", "test"]}
    rows = create_dataset(
        our_config(
            "SASRec-CE",
            "rows",
            data_path=write("rows", in_parts(as_rows(parts, longest), ROWS)),
            **settings,
        )
    )
    events = create_dataset(
        our_config(
            "SASRec-CE",
            "events",
            data_path=write("events", in_parts(parts)),
            load_col=COLUMNS,
            **settings,
        )
    )
    for mine, theirs in zip(rows.build(), events.build(), strict=True):
        assert sorted(named(mine, rows)) == sorted(named(theirs, events))
        counts = dict(
            zip(rows.field2id_token["item_id"].tolist(), mine.train_item_counts().tolist())
        )
        assert counts == dict(
            zip(events.field2id_token["item_id"].tolist(), theirs.train_item_counts().tolist())
        )


def test_sessions_of_one_user_stay_apart(write, our_config):
    """Rows that do not carry each other on are sequences of their own."""
    rows = {
        "train": [("u1", "a b", "c"), ("u1", "x y", "z"), ("u1", "x y z", "a"), ("u2", "a", "b")],
        "test": [("u1", "c", "x"), ("u2", "b c", "z")],
    }
    dataset = create_dataset(
        our_config(
            "SASRec-CE",
            "rows",
            data_path=write("rows", in_parts(rows, ROWS)),
            benchmark_filename=["train", "test"],
        )
    )
    built = dataset.build()
    items, offsets, users = built[0].train_sequences()
    names = dataset.field2id_token["item_id"]
    found = [
        (str(dataset.field2id_token["user_id"][u]), "".join(str(names[i]) for i in items[a:b]))
        for u, a, b in zip(users, offsets, offsets[1:])
    ]
    assert found == [("u1", "abc"), ("u1", "xyza"), ("u2", "ab")]
    assert named(built[2], dataset) == [("u1", "x", ["c"], 1), ("u2", "z", ["b", "c"], 2)]


@pytest.mark.parametrize("model", ["SASRec-CE", "SASRec"])
def test_rows_train_and_are_ranked(write, tmp_path, model):
    path = write("rows", in_parts(as_rows(split_by_hand(shop())), ROWS))
    more = {
        "benchmark_filename": "[train, valid, test]",
        "load_col": "{inter: [user_id, item_id_list, item_id]}",
    }
    assert run(path, "rows", model, tmp_path, **more)["test"]["ndcg@10"] > 0


def test_numbers_listed_beside_the_items(write, our_config):
    header = (
        "user_id:token\titem_id_list:token_seq\titem_id:token\t"
        "price_list:float_seq\tprice:float\tmood:float"
    )
    rows = {
        "train": [("u1", "a b", "c", "1 2", 3, 7), ("u2", "a", "b", "5", 6, 8)],
        "test": [("u1", "a b c", "d", "1 2 3", 4, 9)],
    }
    columns = {"inter": ["user_id", "item_id_list", "item_id", "price_list", "price", "mood"]}
    dataset = create_dataset(
        our_config(
            "SASRec",
            "rows",
            data_path=write("rows", in_parts(rows, header)),
            benchmark_filename=["train", "test"],
            load_col=columns,
            MAX_ITEM_LIST_LENGTH=2,
        )
    )
    train, _, test = dataset.build()
    assert all_rows(train)["price_list"].tolist() == [[1, 2], [5, 0]] and all_rows(test)[
        "price_list"
    ].tolist() == [[2, 3]]
    assert all_rows(train)["price"].tolist() == [3, 6] and all_rows(train)["mood"].tolist() == [
        7,
        8,
    ]


GOOD = in_parts(
    {
        "train": [("u1", f"i{n}", 1, n) for n in range(4)],
        "valid": [("u1", "i1", 1, 5)],
        "test": [("u1", "i2", 1, 6)],
    }
)
LISTS = in_parts({"train": [("u1", "a b", "c")], "test": [("u1", "a", "b")]}, ROWS)
MISTAKES = {
    "one file": (GOOD, {"benchmark_filename": ["train"]}, "must name two different files"),
    "four files": (GOOD, {"benchmark_filename": ["train", "valid", "test", "more"]},
        "must name two different files"),
    "a file twice": (GOOD, {"benchmark_filename": ["train", "test", "test"]},
        "must name two different files"),
    "a filter": (GOOD, {"user_inter_num_interval": "[2,inf)"},
        "split beforehand (benchmark_filename)"),
    "other columns": ({**GOOD, "test.inter": (HEADER.replace("rating:float", "rating:token"),
        GOOD["test.inter"][1])}, {}, "bad.test.inter, line 1: has the columns"),
    "nothing to train": ({**GOOD, "train.inter": (HEADER, [("u1", "i1", 1, 0)])}, {},
        "bad.train.inter: leaves no row for training: no user has two events in it"),
    "nobody to ask": ({**GOOD, "test.inter": (HEADER, [("u9", "i1", 1, 9)])}, {},
        "bad.test.inter: leaves no row for testing: no user in it has an event before it"),
    "a model with its own data set": (GOOD, {"model": "DIEN"},
        "which cannot read files split beforehand"),
    "an empty list": ({**LISTS, "test.inter": (ROWS, [("u1", "a", "b"), ("u1", "", "b")])},
        {"rows": 1}, "bad.test.inter, line 3: the list in 'item_id_list' is empty"),
    "a list of another type": ({name: (ROWS.replace("token_seq", "token"), rows) for name, (_,
        rows) in LISTS.items()}, {"rows": 1}, "must have the type token_seq, not token"),
    "times of rows": (LISTS, {"rows": 1, "model": "HSTU"}, "HSTU reads the times of all events, "
                                                           "which rows with item_id_list lack"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(MISTAKES))
def test_a_mistake_is_one_sentence(write, our_config, case):
    files, settings, says = MISTAKES[case]
    settings = dict(settings)
    columns = {} if settings.pop("rows", None) else {"load_col": COLUMNS}
    names = [name.removesuffix(".inter") for name in files]
    model = settings.pop("model", "SASRec-CE")
    path = write("bad", {**files, "more.inter": files["test.inter"]})
    with pytest.raises((ConfigError, DataError)) as caught:
        config = our_config(
            model, "bad", **{"data_path": path, "benchmark_filename": names, **columns, **settings}
        )
        dataset = create_dataset(config)
        data_preparation(config, dataset)[0].dataset.raw_times()
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_missing_ids_leave_their_own_file(write, our_config, caplog):
    files = {
        **GOOD,
        "train.inter": (HEADER, [("", "i1", 1, 0), *GOOD["train.inter"][1]]),
        "valid.inter": (HEADER, [("u1", "", 1, 4), *GOOD["valid.inter"][1]]),
    }
    with caplog.at_level(logging.WARNING):
        built = create_dataset(
            our_config(
                "SASRec-CE",
                "bad",
                data_path=write("bad", files),
                benchmark_filename=["train", "valid", "test"],
                load_col=COLUMNS,
            )
        ).build()
    assert "2 of 8 events" in caplog.text
    assert [int(part.inter_feat["item_length"].sum()) for part in built[1:]] == [4, 5]
