"""Files that cannot be used: one sentence that names file, line and column, whatever the fault."""

import pytest

from recbole_precise.errors import DataError, UserError

INTER = "user_id:token\titem_id:token\ttimestamp:float\n"
GOOD = INTER + "".join(f"u{u}\ti{i}\t{i}\n" for u in range(3) for i in range(6))
ITEM = "item_id:token\ttitle:token_seq\n"


@pytest.fixture
def load(tmp_path, stock_config):
    """`load(inter, item, **settings)`: write the files (None: leave out) and build the data set."""

    def build(inter=GOOD, item=None, user=None, **settings):
        from recbole_precise.plugin.preparation import create_dataset

        folder = tmp_path / "dataset" / "bad"
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in (("inter", inter), ("item", item), ("user", user)):
            if content is not None:
                (folder / f"bad.{suffix}").write_bytes(
                    content if isinstance(content, bytes) else content.encode()
                )
        columns = {"inter": ["user_id", "item_id", "timestamp"]}
        columns.update(
            {"item": ["item_id"]} if item is not None else {},
            **({"user": ["user_id"]} if user is not None else {}),
        )
        config = stock_config(
            "SASRec",
            "bad",
            **{
                "data_path": str(tmp_path / "dataset"),
                "load_col": columns,
                "encoding": "utf-8",
                **settings,
            },
        )
        dataset = create_dataset(config)
        return dataset, dataset.build()

    return build


def test_good_files_load(load):
    _dataset, parts = load(
        item=ITEM + "".join(f"i{i}\tt\n" for i in range(6)), user="user_id:token\nu0\nu1\nu2\n"
    )
    assert [len(part) for part in parts] == [9, 3, 3]


CASES = {
    "no file": ({"inter": None}, ["bad.inter", "not exist"]),
    "empty file": ({"inter": ""}, ["bad.inter", "empty", "user_id:token"]),
    "blank file": ({"inter": "\n\n"}, ["bad.inter", "empty"]),
    "header alone": ({"inter": INTER}, ["bad.inter", "no rows, only a header"]),
    "header and blank lines": (
        {"inter": INTER + "\n  \n"},
        ["bad.inter", "no rows, only a header"],
    ),
    "no types": (
        {"inter": "user_id\titem_id\ttimestamp\nu\ti\t1\n"},
        ["bad.inter, line 1", "'user_id' is not of the form name:type"],
    ),
    "unknown type": (
        {"inter": GOOD.replace("timestamp:float", "timestamp:int")},
        ["line 1", "'timestamp'", "'int'", "token, token_seq, float, float_seq"],
    ),
    "column twice": (
        {"inter": GOOD.replace("item_id", "user_id")},
        ["line 1", "'user_id' stands there twice"],
    ),
    "wrong separator": (
        {"inter": GOOD.replace("\t", ",")},
        ["bad.inter, line 1", "separated by '\\t'"],
    ),
    "times as tokens": (
        {"inter": GOOD.replace("timestamp:float", "timestamp:token")},
        ["line 1", "'timestamp'", "type float"],
    ),
    "missing column": (
        {"inter": GOOD.replace("item_id", "itemid")},
        ["load_col names the column 'item_id' for .inter", "Did you mean 'itemid'?"],
    ),
    "column not loaded": (
        {"load_col": {"inter": ["user_id", "item_id"]}},
        ["bad.inter", "'timestamp' is needed", "load_col leaves it out"],
    ),
    "needed column absent": (
        {"inter": GOOD.replace("timestamp", "time"), "load_col": None},
        ["'timestamp' is needed, but the file has user_id, item_id, time", "Did you mean 'time'?"],
    ),
    "load and unload": ({"unload_col": {"inter": ["timestamp"]}}, ["load_col", "unload_col"]),
    "text as time": (
        {"inter": GOOD + "u9\ti1\tyesterday\nu9\ti2\t2024-01-01\n"},
        [
            "bad.inter",
            "'timestamp' must hold finite numbers",
            "line 20: 'yesterday'; line 21: '2024-01-01'",
        ],
    ),
    "text as time after blank lines": ({"inter": GOOD + "\n\nu9\ti1\tx\n"}, ["line 22: 'x'"]),
    "no time": (
        {"inter": GOOD + "u9\ti1\t\n"},
        ["'timestamp' must hold finite numbers", "line 20: no value"],
    ),
    "infinite time": ({"inter": GOOD + "u9\ti1\tinf\n"}, ["line 20: 'inf'"]),
    "many bad times": ({"inter": INTER + "u\ti\tx\n" * 20}, ["line 2: 'x'", "and 15 more lines"]),
    "text as number": (
        {
            "inter": GOOD.replace("\n", "\t1\n").replace("float\t1", "float\trating:float")
            + "u\ti\t1\tgood\n",
            "load_col": {"inter": ["user_id", "item_id", "timestamp", "rating"]},
        },
        ["column 'rating' must hold finite numbers", "line 20: 'good'"],
    ),
    "too few fields": (
        {"inter": GOOD + "u9\ti1\n"},
        ["bad.inter", "line 20 has 2 fields", "3 columns"],
    ),
    "too many fields": (
        {"inter": GOOD + "u9\ti1\t3\t4\nu\n"},
        ["line 20 has 4 fields; line 21 has 1 field.", "3 columns"],
    ),
    "not UTF-8": (
        {"inter": GOOD.encode() + "u9\tcafé\t3\n".encode("latin-1")},
        ["bad.inter", "not text in utf-8", "encoding"],
    ),
    "UTF-16": ({"inter": GOOD.encode("utf-16")}, ["bad.inter", "not text in utf-8"]),
    "NUL bytes": ({"inter": GOOD.encode() + b"\0\0\0"}, ["NUL bytes"]),
    "unknown encoding": ({"encoding": "utf-88"}, ["'utf-88' (key `encoding`)"]),
    "carriage return in a field": (
        {"inter": GOOD + "u9\ti\r1\t3\n"},
        ["bad.inter", "carriage return"],
    ),
    "item twice": (
        {"item": ITEM + "i1\ta\ni2\tb\ni1\tc\n"},
        ["bad.item", "lines 2 and 4 both describe item_id 'i1'"],
    ),
    "items twice": (
        {"item": ITEM + "i1\ta\ni2\tb\ni1\tc\ni2\td\n"},
        ["lines 2 and 4 both describe item_id 'i1'; 1 more stand there twice"],
    ),
    "user twice": (
        {"user": "user_id:token\nu0\nu1\nu1\n"},
        ["bad.user", "lines 3 and 4 both describe user_id 'u1'"],
    ),
    "item header alone": ({"item": ITEM}, ["bad.item", "only a header"]),
    "item without id": (
        {
            "item": "title:token_seq\na\n",
            "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["title"]},
        },
        ["bad.item", "'item_id' is needed"],
    ),
    "items of another set": (
        {"item": ITEM + "x\ta\n"},
        ["no row of .inter is left after filtering", "filter_inter_by_user_or_item"],
    ),
    "bad vector": (
        {
            "item": "item_id:token\tvector:float_seq\ni1\t1 two\n",
            "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": "*"},
        },
        ["bad.item", "'vector' has the type float_seq", "two"],
    ),
    "users too short": (
        {"inter": INTER + "".join(f"u{n}\ti{n}\t{n}\n" for n in range(9))},
        ["leaves no row", "The longest of 9 users has 1 events"],
    ),
    "unknown field to normalise": ({"normalize_field": ["price"]}, ["price"]),
    "two rules of normalising": (
        {"normalize_field": ["timestamp"], "normalize_all": True},
        ["normalize_all"],
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_fault_is_one_sentence(load, case):
    settings, words = CASES[case]
    with pytest.raises(UserError) as caught:
        load(**settings)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert "\n" not in message and "Traceback" not in message


def test_items_without_a_row_in_item_stay_unless_filtered(load):
    item = ITEM + "i1\ta\ni2\tb\nnew\tc\n"
    kept, _ = load(item=item, filter_inter_by_user_or_item=False)
    assert set(kept.field2id_token["item_id"]) == {"[PAD]", "new", *(f"i{i}" for i in range(6))}
    with pytest.raises(DataError, match="leaves no row"):
        load(item=item)  # two events are left of each user


def test_quote_marks_that_recbole_cannot_read(load, caplog):
    item = (
        ITEM + 'i1\t"Weird Al" Yankovic\n' + "".join(f'i{i}\t5" pan "\n' for i in (0, 2, 3, 4, 5))
    )
    dataset, parts = load(
        item=item, load_col={"inter": ["user_id", "item_id", "timestamp"], "item": "*"}
    )
    assert [len(part) for part in parts] == [9, 3, 3]
    assert '"Weird' in dataset.field2id_token["title"]
    assert "read as ordinary characters" in caplog.text


def test_a_byte_order_mark_is_no_part_of_the_first_name(load):
    dataset, _ = load(inter=b"\xef\xbb\xbf" + GOOD.encode())
    assert dataset.user_num == 4


@pytest.mark.parametrize("separator", ["|", ",", "~~"])
def test_another_separator(load, separator):
    dataset, parts = load(inter=GOOD.replace("\t", separator), field_separator=separator)
    assert dataset.inter_num == 15 and [len(part) for part in parts] == [9, 3, 3]
