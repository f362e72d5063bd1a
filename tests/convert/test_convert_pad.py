"""PAD's released CSVs to atomic files."""

from pathlib import Path

import pytest

from recbole_precise.convert import SOURCES
from recbole_precise.convert.atomic import bad_token, text_field
from recbole_precise.errors import DataError
from recbole_precise.text.corpus import read_table

PANTRY = Path(__file__).resolve().parents[3] / "shared" / "data" / "prime_pantry"
HISTORY = "Toy_cleaned_history.csv"
TITLES = "metadata_Toy.csv"


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / HISTORY).write_text(
        ",user,history\n0,u1,\"['b', 'a', 'b']\"\n1,u2,\"['c']\"\n", encoding="utf-8"
    )
    (folder / TITLES).write_text(
        'asin,title\na,"Tea, 5 oz &amp; cup"\nb,"""Best"" beans\tred"\nc,\nd,茶 ☕\n',
        encoding="utf-8",
    )
    return folder


def test_histories_keep_their_order_and_every_item_is_a_candidate(raw, tmp_path):
    done = SOURCES["pad"](raw, tmp_path / "toy")
    assert (done.users, done.items, done.interactions) == (2, 4, 4)
    inter = read_table(tmp_path / "toy" / "toy.inter")
    assert [tuple(row.values()) for row in inter.rows] == [
        ("u1", "b", "0"),
        ("u1", "a", "1"),
        ("u1", "b", "2"),
        ("u2", "c", "0"),
    ]
    item = read_table(tmp_path / "toy" / "toy.item")
    assert [tuple(row.values()) for row in item.rows] == [
        ("a", "Tea, 5 oz & cup"),
        ("b", "'Best' beans red"),
        ("c", ""),
        ("d", "茶 ☕"),
    ]
    assert (
        (tmp_path / "toy" / "toy.inter")
        .read_text()
        .startswith("user_id:token\titem_id:token\ttimestamp:float\n")
    )
    assert sorted(f.name for f in (tmp_path / "toy").iterdir()) == [
        "toy.inter",
        "toy.item",
        "toy.yaml",
    ]


def test_entities_can_stay(raw, tmp_path):
    SOURCES["pad"](raw, tmp_path / "toy", unescape=False)
    assert read_table(tmp_path / "toy" / "toy.item").rows[0]["title"] == "Tea, 5 oz &amp; cup"


def test_texts_fit_into_a_field():
    assert text_field(" a\tb\r\nc ") == "a b c"
    assert text_field('"Weird Al" Yankovic') == "'Weird Al' Yankovic"
    assert text_field('6" pan') == '6" pan'
    assert (
        bad_token("NA")
        and bad_token("")
        and bad_token("a\tb")
        and bad_token('"a')
        and bad_token("B00") is None
    )


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (HISTORY, None, "_cleaned_history.csv with the users' histories is missing"),
        (TITLES, None, "metadata_Toy.csv with the items' titles is missing"),
        (
            HISTORY,
            ",usr,history\n0,u,\"['a']\"\n",
            "no column 'user' (columns: , usr, history). Did you mean 'usr'?",
        ),
        (
            HISTORY,
            ",user,history\n0,u,\"['a'\"\n",
            "line 2: the history of user 'u' is not a list of ids",
        ),
        (
            HISTORY,
            ",user,history\n0,u,[1]\n",
            "line 2: the history of user 'u' is not a list of ids",
        ),
        (HISTORY, ",user,history\n0,u,[]\n", "line 2: the history of user 'u' is empty"),
        (
            HISTORY,
            ",user,history\n0,u,\"['a']\"\n1,u,\"['a']\"\n",
            "line 3: user 'u' stands there twice",
        ),
        (
            HISTORY,
            ",user,history\n0,NA,\"['a']\"\n",
            "line 2: user 'NA': 'NA' is read as a missing value",
        ),
        (
            HISTORY,
            ",user,history\n0,u,\"['zz']\"\n",
            "line 2: item 'zz' of user 'u' is not in metadata_Toy.csv",
        ),
        (HISTORY, ",user,history\n", "holds no rows"),
        (HISTORY, ",user,history\n0,u\n", "line 2: it has 2 fields where the header has 3"),
        (HISTORY, ",user,history\n0,u,\"['a']\"x\n", "line 2: it is not proper CSV"),
        (HISTORY, b"\xff\xfe\x00", "is not UTF-8"),
        (TITLES, "asin,title\na,x\na,y\n", "line 3: item 'a' stands there twice"),
        (TITLES, "asin,title\n", "holds no rows"),
        (TITLES, "asin,name\na,x\n", "no column 'title'"),
    ],
)
def test_broken_input_is_a_sentence_and_writes_nothing(raw, tmp_path, file, content, message):
    (raw / file).unlink()
    if content is not None:
        (raw / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        SOURCES["pad"](raw, tmp_path / "toy")
    assert message in str(caught.value)
    assert not (tmp_path / "toy").exists()


def test_all_faults_come_at_once(raw, tmp_path):
    (raw / HISTORY).write_text(",user,history\n0,u1,[]\n1,u2,x\n2,u3,\"['a']\"\n3,u3,\"['a']\"\n")
    with pytest.raises(DataError, match="line 2: .*line 3: .*line 5: "):
        SOURCES["pad"](raw, tmp_path / "toy")


def test_wrong_folders(raw, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        SOURCES["pad"](tmp_path / "nowhere", tmp_path / "toy")
    (raw / "Two_cleaned_history.csv").touch()
    with pytest.raises(DataError, match="2 files match"):
        SOURCES["pad"](raw, tmp_path / "toy")
    (raw / "Two_cleaned_history.csv").unlink()
    (tmp_path / "taken").touch()
    with pytest.raises(DataError, match="cannot be written"):
        SOURCES["pad"](raw, tmp_path / "taken" / "toy")


def test_bad_rows_are_left_out_only_when_asked_and_then_listed(raw, tmp_path):
    (raw / HISTORY).write_text(
        ",user,history\n0,u1,[]\n1,u2,x\n2,u3,\"['a', 'zz']\"\n3,u4,\"['a']\"\n4,u4,\"['b']\"\n"
        "5,u5,\"['b', 'c']\"\n"
    )
    done = SOURCES["pad"](raw, tmp_path / "toy", skip_bad_rows=True)
    assert (done.users, done.items, done.interactions) == (2, 4, 3)
    assert done.notes[0].startswith(f"skipped 4 bad rows of {HISTORY} (line 2: ")
    listed = [
        line.split("\t")[:2]
        for line in (tmp_path / "toy" / "toy.bad_rows.tsv").read_text().splitlines()[1:]
    ]
    assert listed == [[HISTORY, "2"], [HISTORY, "3"], [HISTORY, "4"], [HISTORY, "6"]]


@pytest.mark.skipif(not PANTRY.is_dir(), reason="PAD's files are not at hand")
def test_prime_pantry_has_the_published_sizes(tmp_path):
    done = SOURCES["pad"](PANTRY, tmp_path / "prime-pantry")
    assert (done.users, done.items, done.interactions) == (12871, 8347, 115004)
