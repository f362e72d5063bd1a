"""Events that a data set loses are counted: what the files hold is what is kept and what is
reported, for every kind of data set.
"""

import logging
import random
import re

import pytest

from recbole_precise.errors import DataError
from recbole_precise.plugin.preparation import create_dataset

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
COLUMNS = ["user_id", "item_id", "rating", "timestamp"]


@pytest.fixture
def load(tmp_path, stock_config):
    """`load(model, events, items, users, **settings)`: the data set over lines of the
    three files.
    """

    def build(model, events, items=None, users=None, **settings):
        folder = tmp_path / "dataset" / "lost"
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "inter": (HEADER, events),
            "item": ("item_id:token\tprice:float", items),
            "user": ("user_id:token", users),
        }
        columns = {"inter": COLUMNS}
        for name, (header, lines) in files.items():
            (folder / f"lost.{name}").unlink(missing_ok=True)
            if lines is not None:
                (folder / f"lost.{name}").write_text("\n".join([header, *lines]) + "\n")
                columns.setdefault(
                    name, {"item": ["item_id", "price"], "user": ["user_id"]}.get(name)
                )
        negatives = {"distribution": "uniform", "sample_num": 1} if model == "BPR" else None
        defaults = {
            "data_path": str(tmp_path / "dataset"),
            "load_col": columns,
            "train_neg_sample_args": negatives,
            "encoding": "utf-8",
        }
        return create_dataset(stock_config(model, "lost", **{**defaults, **settings}))

    return build


def random_files(seed):
    """Events, items, users and filters that together lose events in several ways."""
    draw = random.Random(seed)
    events = []
    for _ in range(draw.randint(60, 160)):
        user = draw.choice([f"u{draw.randrange(9)}", *([""] if draw.random() < 0.2 else [])])
        item = draw.choice([f"i{draw.randrange(14)}", *(["", "NA"] if draw.random() < 0.2 else [])])
        events.append(f"{user}\t{item}\t{draw.randrange(1, 6)}\t{draw.randrange(1000)}")
    items = users = None
    if draw.random() < 0.7:
        items = [f"i{i}\t{i}" for i in range(16) if draw.random() < 0.8]
    if draw.random() < 0.4:
        users = [f"u{u}" for u in range(11) if draw.random() < 0.9]
    settings = {}
    if draw.random() < 0.4:
        settings["rm_dup_inter"] = draw.choice(["first", "last"])
    if draw.random() < 0.4:
        settings["val_interval"] = draw.choice(
            [{"rating": "[2,inf)"}, {"price": "[3,inf)"}, {"user_id": ["u1", "u2", "u3", "u4"]}]
        )
        if "price" in settings["val_interval"] and items is None:
            del settings["val_interval"]
    if draw.random() < 0.5:
        settings["item_inter_num_interval"] = f"[{draw.randint(1, 6)},inf)"
    if draw.random() < 0.3:
        settings["user_inter_num_interval"] = f"[{draw.randint(1, 6)},{draw.randint(20, 40)}]"
    if draw.random() < 0.3:
        settings["filter_inter_by_user_or_item"] = draw.random() < 0.5
    return {"events": events, "items": items, "users": users, **settings}


def kept_by_hand(events, items, users, **settings):
    """How many events RecBole's documented filters keep, by plain Python."""
    rows = [line.split("\t") for line in events]
    rows = [(u, i, float(r), float(t)) for u, i, r, t in rows if u and i not in ("", "NA")]
    interval = settings.get("val_interval") or {}
    price = {line.split("\t")[0]: float(line.split("\t")[1]) for line in items or ()}
    names = set(users) if users is not None else None
    if settings.get("rm_dup_inter"):
        rows = list({(row[0], row[1]): row for row in rows}.values())
    if "rating" in interval:
        rows = [row for row in rows if row[2] >= 2]
    if "price" in interval:
        price = {item: value for item, value in price.items() if value >= 3}
    if "user_id" in interval:
        rows = [row for row in rows if row[0] in interval["user_id"]]
        names = None if names is None else names & set(interval["user_id"])
    if settings.get("filter_inter_by_user_or_item", True):
        rows = [
            row
            for row in rows
            if (items is None or row[1] in price) and (names is None or row[0] in names)
        ]
    bounds = []
    for key in ("user_inter_num_interval", "item_inter_num_interval"):
        low, high = re.fullmatch(r"\[(\d+),(.+)[])]", settings.get(key, "[0,inf)")).groups()
        bounds.append((float(low), float(high)))
    while True:
        counts = [{}, {}]
        for row in rows:
            for side in (0, 1):
                counts[side][row[side]] = counts[side].get(row[side], 0) + 1
        fits = [
            row
            for row in rows
            if all(
                low <= counts[side][row[side]] <= high for side, (low, high) in enumerate(bounds)
            )
        ]
        if len(fits) == len(rows):
            return rows
        rows = fits


@pytest.mark.parametrize("model", ["SASRec", "BPR"])
def test_what_the_file_holds_is_kept_or_reported(load, model, caplog):
    """Over random files and filters; the number kept is that of the filters done by hand."""
    lost = 0
    for seed in range(40):
        given = random_files(seed)
        kept = kept_by_hand(**given)
        if not kept:
            continue
        caplog.clear()
        with caplog.at_level(logging.INFO):
            try:
                dataset = load(model, **given)
            except (DataError, ValueError) as error:
                assert re.search(r"no row of \.(item|user) is left|Some feat is empty", str(error))
                continue
        assert len(dataset.inter_feat) + sum(cause.events for cause in dataset.dropped) == len(
            given["events"]
        )
        if not (
            "rm_dup_inter" in given and "rating" in given.get("val_interval", ())
        ):  # which duplicate stays decides there
            assert len(dataset.inter_feat) == len(kept), seed
        logged = [record for record in caplog.records if " dropped" in record.getMessage()]
        assert [record.getMessage() for record in logged] == [
            cause.message for cause in dataset.dropped
        ]
        assert [record.levelname for record in logged] == [
            "INFO" if cause.asked else "WARNING" for cause in dataset.dropped
        ]
        lost += len(dataset.dropped)
    assert lost > 40


EVENTS = [f"u{u}\ti{(u + t) % 6}\t{t % 5 + 1}\t{t}" for u in range(4) for t in range(6)]


@pytest.mark.parametrize("model", ["SASRec", "SASRec-CE", "BPR"])
def test_the_warning_names_file_setting_numbers_and_examples(
    load, our_config, tmp_path, caplog, model
):
    items = [f"i{i}\t1" for i in range(4)]
    if model == "SASRec-CE":
        load("SASRec", EVENTS, items)
        caplog.clear()
        columns = {"inter": COLUMNS, "item": ["item_id"]}
        create_dataset(
            our_config("SASRec-CE", "lost", data_path=str(tmp_path / "dataset"), load_col=columns)
        )
    else:
        load(model, EVENTS, items)
    (record,) = [record for record in caplog.records if "dropped" in record.getMessage()]
    said = record.getMessage()
    assert record.levelname == "WARNING"
    assert said.startswith(
        "8 of 24 events dropped by filter_inter_by_user_or_item: their 2 items (i4, i5) have no "
        "row in "
    )
    assert "lost.item (load_col reads lost.item)" in said
    assert "leave 'item' out of load_col, or set filter_inter_by_user_or_item: False" in said


def test_a_filter_that_the_user_names_is_no_warning(load, caplog):
    with caplog.at_level(logging.INFO):
        dataset = load(
            "SASRec",
            EVENTS,
            [f"i{i}\t1" for i in range(4)],
            filter_inter_by_user_or_item=True,
            item_inter_num_interval="[1,inf)",
        )
    assert [cause.asked for cause in dataset.dropped] == [True]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_events_after_one_without_a_user_keep_their_items(load, caplog):
    """RecBole drops the wrong event when one without a user stands before one without an item."""
    events = ["\ti1\t1\t0", *EVENTS[:12], "u0\t\t1\t99", *EVENTS[12:]]
    for model in ("SASRec", "BPR"):
        caplog.clear()
        dataset = load(model, events)
        assert len(dataset.inter_feat) == 24
        assert (
            dataset.counter("item_id")[0] == 0
            if model == "SASRec"
            else 0 not in set(dataset.inter_feat["item_id"])
        )
        assert "2 of 26 events" in caplog.text and "events number 1, 14" in caplog.text


def test_lines_that_a_quote_mark_swallows_are_counted(load, caplog):
    events = [*EVENTS[:4], '"u9\ti1\t1\t5', *EVENTS[4:8], 'u9"\ti2\t1\t6', *EVENTS[8:]]
    for model in ("SASRec", "BPR"):
        caplog.clear()
        dataset = load(model, events)
        assert len(dataset.inter_feat) == len(events) - 5 and [
            cause.events for cause in dataset.dropped
        ] == [5]
        assert "5 events lost in" in caplog.text and "quote mark" in caplog.text


BAD_HEADERS = {
    "a list as user": (
        HEADER.replace("user_id:token", "user_id:token_seq"),
        "the column 'user_id' holds one id a row and must have the type token, not token_seq",
    ),
    "a number as item": (
        HEADER.replace("item_id:token", "item_id:float"),
        "the column 'item_id' holds one id a row and must have the type token, not float",
    ),
    "a column twice": (HEADER.replace("rating:float", "item_id:token"), "'item_id'"),
    "no types": ("user_id\titem_id\trating\ttimestamp", "is not of the form name:type"),
    "a missing field": (HEADER + "\textra:float", "line 2 has 4 fields"),
}


@pytest.mark.parametrize("model", ["SASRec", "BPR"])
@pytest.mark.parametrize("fault", list(BAD_HEADERS))
def test_a_header_that_cannot_be_used_is_one_sentence(load, tmp_path, model, fault, monkeypatch):
    header, says = BAD_HEADERS[fault]
    monkeypatch.setitem(globals(), "HEADER", header)
    with pytest.raises(DataError) as caught:
        load(model, EVENTS)
    assert (
        says in str(caught.value)
        and "lost.inter" in str(caught.value)
        and "\n" not in str(caught.value)
    )


def test_a_file_that_recbole_cannot_read_is_one_sentence(load):
    with pytest.raises(DataError, match="lost.inter"):
        load("BPR", ['"u9\ti1\t1\t5', '"u9"\ti2\t1\t6', *EVENTS])
    with pytest.raises(DataError, match="column 'rating' must hold finite numbers. line 2: 'good'"):
        load("BPR", ["u1\ti1\tgood\t1", *EVENTS])
