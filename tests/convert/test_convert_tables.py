"""Tables as people have them: texts in several columns, encodings, separators, zones of times,
damaged files.
"""

import csv
import gzip
import io
import random
from datetime import datetime, timedelta, timezone

import pytest
import yaml
from convert_helpers import atomic, convert, write_lines

from recbole_precise.plugin.config import SettingsLoader
from recbole_precise.text.corpus import read_table, render

NAMES = ("--user=who", "--item=what", "--time=when")


def recipe_of(folder):
    return yaml.load((folder / f"{folder.name}.yaml").read_text(encoding="utf-8"), SettingsLoader)


# --- Texts and scenes ---------------------------------------------------------------------------
# ----------------------


@pytest.mark.parametrize(
    "columns",
    [
        ["title"],
        ["title", "brand"],
        ["brand", "title", "kind"],
        ["yes", "null", "n"],
        ["größe", "_1"],
    ],
)
@pytest.mark.parametrize("beside", [False, True])
def test_every_column_of_text_is_text_of_the_item(columns, beside, tmp_path, capsys):
    """An item with a value in any of the columns has a text, which holds all of its values."""
    draw = random.Random(str(columns))
    items = {
        f"i{n}": [draw.choice(["", f"w{n}x{k}", f"{{a}} b{n} {k}"]) for k in range(len(columns))]
        for n in range(40)
    }
    header = ["who", "what", "when"]
    if beside:
        events = [header, *([f"u{n % 7}", f"i{n}", str(n)] for n in range(40))]
        write_lines(
            tmp_path / "i.csv",
            [
                ",".join(row)
                for row in [["what", *columns], *([i, *texts] for i, texts in items.items())]
            ],
        )
        more = [f"--item_file={tmp_path / 'i.csv'}"]
    else:
        events = [
            [*header, *columns],
            *([f"u{n % 7}", f"i{n}", str(n), *items[f"i{n}"]] for n in range(40)),
        ]
        more = []
    write_lines(tmp_path / "t.csv", [",".join(row) for row in events])
    status, out, err = convert(
        capsys,
        "csv",
        tmp_path / "t.csv",
        tmp_path / "shop",
        *NAMES,
        f"--text={','.join(columns)}",
        *more,
    )
    assert status == 0, err
    records = read_table(tmp_path / "shop" / "shop.item").by("item_id")
    texts = dict(
        zip(records, render(recipe_of(tmp_path / "shop")["item_text"], list(records.values())))
    )
    for item, values in items.items():
        assert bool(texts[item]) == any(values)
        assert all(value in texts[item] for value in values)
    empty = sum(not any(values) for values in items.values())
    assert (f"{empty} items have no text" in out) == bool(empty)


def test_items_without_the_text_that_is_written_are_counted(tmp_path, capsys):
    """Amazon's text is the title alone: items that have only a brand are counted among those
    without.
    """
    import json

    write_lines(
        tmp_path / "raw" / "X.json",
        [
            json.dumps({"reviewerID": "u", "asin": i, "overall": 5, "unixReviewTime": 9})
            for i in "abcd"
        ],
    )
    write_lines(
        tmp_path / "raw" / "meta_X.json",
        [
            json.dumps(about)
            for about in ({"asin": "a", "title": "tea"}, {"asin": "b", "brand": "x"}, {"asin": "c"})
        ],
    )
    _, out, _ = convert(capsys, "amazon-2018", tmp_path / "raw", tmp_path / "shop")
    assert "3 items have no text (title); 1 of them have another column of .item" in out


def test_a_column_of_scenes_is_written_without_a_further_option(tmp_path, capsys):
    write_lines(
        tmp_path / "t.csv", ["who,what,when,place", "u1,i1,1,web", "u1,i2,2,app", "u2,i1,3,"]
    )
    status, out, _ = convert(
        capsys, "csv", tmp_path / "t.csv", tmp_path / "shop", *NAMES, "--scene_column=place"
    )
    assert status == 0 and atomic(tmp_path / "shop", "inter").scene.tolist() == [
        "web",
        "app",
        "unknown",
    ]
    assert (
        "scene" in recipe_of(tmp_path / "shop")["load_col"]["inter"]
        and "1 interactions have no scene" in out
    )
    assert (
        convert(
            capsys,
            "csv",
            tmp_path / "t.csv",
            tmp_path / "same",
            *NAMES,
            "--scene_column=place",
            "--scene=place",
        )[0]
        == 0
    )
    assert atomic(tmp_path / "same", "inter").equals(atomic(tmp_path / "shop", "inter"))


# --- Encodings and separators
# -----------------------------------------------------------------------------------------

WORDS = ["Café", "Straße", "naïve", "plain"]
ROWS = [
    ["who", "what", "when", "title"],
    *([f"u{n % 5}", f"i{n % 9}", str(n), f"{WORDS[n % 9 % 4]} {n % 9}"] for n in range(90)),
]


def joined(rows, separator=",", end="\n"):
    return "".join(separator.join(row) + end for row in rows)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("latin-1", None),
        ("cp1252", None),
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", None),
        ("utf-16-le", None),
        ("utf-32", None),
        ("latin-1", "ISO-8859-1"),
        ("utf-8", "UTF8"),
        ("cp1250", "windows-1250"),
        ("gb18030", None),
    ],
)
def test_an_encoding_that_is_named_is_read(encoding, named, packed, tmp_path, capsys):
    rows = [
        [cell.replace("naïve", "na€ve" if encoding == "cp1252" else "na-ve") for cell in row]
        for row in ROWS
    ]
    data = joined(rows).encode(encoding)
    (tmp_path / "t.csv").write_bytes(gzip.compress(data) if packed else data)
    status, out, err = convert(
        capsys,
        "csv",
        tmp_path / "t.csv",
        tmp_path / "shop",
        *NAMES,
        "--text=title",
        f"--encoding={named or encoding}",
    )
    assert (status, err) == (0, "") and "looks like" not in out
    items = atomic(tmp_path / "shop", "item")
    assert dict(zip(items.item_id, items.title)) == {row[1]: row[3] for row in rows[1:]}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-32", "utf-16-le"])
@pytest.mark.parametrize("header", [False, True])
def test_an_encoding_that_is_not_utf8_is_one_sentence_that_names_it(
    encoding, header, tmp_path, capsys
):
    """Whether it is the header or a late row that shows it, the message says once what to do, and
    doing it helps.
    """
    rows = [
        [*ROWS[0], "grö€e" if encoding == "cp1252" else "größe"] if header else [*ROWS[0], "x"],
        *([*row, "x"] for row in ROWS[1:]),
    ]
    (tmp_path / "t.csv").write_bytes(joined(rows).encode(encoding))
    arguments = ("csv", tmp_path / "t.csv", tmp_path / "shop", *NAMES, "--text=title")
    status, out, err = convert(capsys, *arguments)
    named = "latin-1" if encoding == "cp1252" and not header else encoding
    assert (
        (status, out) == (2, "")
        and err.count("\n") == 1
        and err.count("not UTF-8") <= 2
        and err.count("--encoding=") == 1
    )
    assert f"--encoding={named}." in err, err
    assert convert(capsys, *arguments, f"--encoding={named}")[0] == 0


def test_rows_in_another_encoding_are_counted_together_and_can_be_left_out(tmp_path, capsys):
    (tmp_path / "t.csv").write_bytes(joined(ROWS).encode("latin-1"))
    bad = sum(not row[3].isascii() for row in ROWS)
    arguments = ("csv", tmp_path / "t.csv", tmp_path / "shop", *NAMES, "--text=title")
    _, _, err = convert(capsys, *arguments)
    assert (
        f"{bad} rows are not UTF-8 text; it looks like latin-1: read it with --encoding=latin-1"
        in err
    )
    _, out, _ = convert(capsys, *arguments, "--skip_bad_rows")
    assert f"{bad} rows are not UTF-8 text" in out and f"{90 - bad} interactions" in out
    # Columns that are not read may be written as they like.
    assert convert(capsys, *arguments[:3], *NAMES, "--overwrite")[0] == 0


def test_utf8_read_as_something_else_is_reported(tmp_path, capsys):
    (tmp_path / "t.csv").write_bytes(joined(ROWS).encode())
    _, out, _ = convert(
        capsys,
        "csv",
        tmp_path / "t.csv",
        tmp_path / "shop",
        *NAMES,
        "--text=title",
        "--encoding=latin-1",
    )
    assert "t.csv looks like UTF-8 text but was read as iso8859-1" in out


def test_a_wrong_encoding_is_one_sentence(tmp_path, capsys):
    (tmp_path / "t.csv").write_bytes(joined(ROWS).encode("latin-1"))
    for encoding, word in (
        ("utf-16", "not utf-16 text"),
        ("ascii", "not ascii text"),
        ("utf-88", "is no encoding"),
        ("idna", "is no encoding"),
        ("zip", "is no encoding"),
    ):
        status, _, err = convert(
            capsys,
            "csv",
            tmp_path / "t.csv",
            tmp_path / "shop",
            *NAMES,
            "--text=title",
            f"--encoding={encoding}",
        )
        assert (
            status == 2
            and err.count("\n") == 1
            and word in err
            and not (tmp_path / "shop").exists()
        )


@pytest.mark.parametrize(
    ("name", "separator", "named"),
    [
        ("t.csv", ";", "';'"),
        ("t.csv", "\t", "tab"),
        ("t.csv", "|", "'|'"),
        ("t.tsv", ",", "','"),
        ("t.tsv.gz", ";", "';'"),
    ],
)
def test_a_wrong_separator_is_one_sentence_that_names_the_right_one(
    name, separator, named, tmp_path, capsys
):
    write_lines(tmp_path / name, [separator.join(row) for row in ROWS])
    arguments = ("csv", tmp_path / name, tmp_path / "shop", *NAMES, "--text=title")
    status, _, err = convert(capsys, *arguments)
    assert status == 2 and err.count("\n") == 1 and f"read it with --separator={named}." in err
    assert convert(capsys, *arguments, f"--separator={named.strip(chr(39))}")[0] == 0
    status, _, err = convert(capsys, *arguments, "--separator=~", "--overwrite")
    assert status == 2 and f"read it with --separator={named}." in err


def test_a_separator_is_not_guessed_where_only_a_name_is_wrong(tmp_path, capsys):
    write_lines(tmp_path / "t.csv", ["who,what,when,a;b;c;d", "u,i,1,x"])
    _, _, err = convert(
        capsys, "csv", tmp_path / "t.csv", tmp_path / "shop", "--user=Who", *NAMES[1:]
    )
    assert "--separator" not in err and "Did you mean 'who'?" in err


# --- Times --------------------------------------------------------------------------------------
# ----------------------


def test_times_without_a_zone_are_counted_and_offsets_are_honoured(tmp_path, capsys):
    draw = random.Random(3)
    zones = {
        "": None,
        "Z": timezone.utc,
        "+01:00": timezone(timedelta(hours=1)),
        "-05:30": timezone(-timedelta(hours=5, minutes=30)),
        "+0200": timezone(timedelta(hours=2)),
    }
    for chosen in ([""], ["Z"], ["+01:00"], ["", "Z"], list(zones)):
        rows, right = [], []
        for n in range(60):
            moment, ending = (
                datetime(2020, 1, 1) + timedelta(seconds=draw.randrange(10**8)),
                chosen[n % len(chosen)],
            )
            rows.append(f"u{n},i{n},{moment.isoformat(draw.choice('T '))}{ending}")
            right.append(int(moment.replace(tzinfo=zones[ending] or timezone.utc).timestamp()))
        write_lines(tmp_path / "t.csv", ["who,what,when", *rows])
        status, out, err = convert(
            capsys, "csv", tmp_path / "t.csv", tmp_path / "shop", *NAMES, "--overwrite"
        )
        assert status == 0, err
        assert sorted(atomic(tmp_path / "shop", "inter").timestamp.astype(int)) == sorted(right)
        without = 60 // len(chosen) if "" in chosen else 0
        assert (f"{without} times have no zone and are read as UTC" in out) == bool(without)
        assert ("times are of several zones" in out) == (len(chosen) > 1)
        assert len(chosen) < 5 or all(
            f"{zone}: 12" in out for zone in ("+00:00", "+01:00", "-05:30", "+02:00", "without")
        )


def test_other_forms_of_times_are_counted_too(tmp_path, capsys):
    write_lines(
        tmp_path / "t.csv",
        ["who,what,when,day", "u,a,5,03.02.2024 10:00 UTC", "u,b,6,04.02.2024 10:00 GMT"],
    )
    _, out, _ = convert(capsys, "csv", tmp_path / "t.csv", tmp_path / "a", *NAMES)
    assert out.count("\n") == 2  # nothing to report beside what was written and the next command
    arguments = ("csv", tmp_path / "t.csv", tmp_path / "b", *NAMES[:2], "--time=day")
    _, out, _ = convert(capsys, *arguments, "--time_format=%d.%m.%Y %H:%M %Z")
    assert out.count("\n") == 2 and atomic(tmp_path / "b", "inter").timestamp.tolist() == [
        "1706954400",
        "1707040800",
    ]
    _, out, _ = convert(
        capsys, *arguments, "--time_format=%d.%m.%Y %H:%M UTC", "--skip_bad_rows", "--overwrite"
    )
    assert "1 times have no zone and are read as UTC" in out
    write_lines(tmp_path / "c.csv", ["who,what,when", "u,a,20240101", "u,b,20240228"])
    _, out, _ = convert(capsys, "csv", tmp_path / "c.csv", tmp_path / "c", *NAMES)
    assert "written YYYYMMDD" in out and "--time_format=%Y%m%d" in out
    write_lines(tmp_path / "d.csv", ["who,what,when", "u,a,1700000000", "u,b,2024-02-28"])
    _, out, _ = convert(capsys, "csv", tmp_path / "d.csv", tmp_path / "d", *NAMES)
    assert "1 times are numbers, which are kept as they are, beside 1 dates" in out


def test_parquet_times_with_and_without_a_zone(tmp_path, capsys):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    moment = datetime(2024, 1, 2, 3, 4, 5)
    for kind, seconds, word in (
        (pyarrow.timestamp("us"), 1704164645, "1 times have no zone"),
        (pyarrow.timestamp("ms", tz="+02:00"), 1704164645, ""),
        (pyarrow.date32(), 1704153600, "1 times have no zone"),
    ):
        times = pyarrow.array([moment.date() if kind == pyarrow.date32() else moment]).cast(kind)
        pyarrow.parquet.write_table(
            pyarrow.table({"who": ["u"], "what": ["i"], "when": times}), tmp_path / "t.parquet"
        )
        status, out, err = convert(
            capsys, "parquet", tmp_path / "t.parquet", tmp_path / "shop", *NAMES, "--overwrite"
        )
        assert status == 0, err
        assert (
            atomic(tmp_path / "shop", "inter").timestamp.tolist() == [str(seconds)] and word in out
        )
        assert word or "zone" not in out


# --- Damaged files ------------------------------------------------------------------------------
# ----------------------

GOOD = "who,what,when\nu1,i1,5\nu1,i2,6\n"
DAMAGED = {
    "empty": (b"", ["the file is empty"]),
    "blank lines": (b"\n\n", ["line 1 is empty"]),
    "header alone": (b"who,what,when\n", ["holds no rows"]),
    "two names": (b"who,what,when,who\nu,i,5,x\n", ["line 1 names the column 'who' 2 times"]),
    "names in capitals": (GOOD.replace("who", "WHO").encode(), ["Did you mean 'WHO'?"]),
    "blanks around names": (
        GOOD.replace(",what", " , what").encode(),
        ["no column 'who' and 'what'", "Did you mean ' what'?"],
    ),
    "a huge name": (
        b"who,what,wh" + b"e" * 100_000 + b"n\nu,i,5\n",
        ["line 1 names no column 'when'", "..."],
    ),
    "a name over two lines": (
        GOOD.replace("what", '"wh\n\x1b[2Jat"').encode(),
        ["(columns: who, wh\\x0a\\x1b[2Jat, when)"],
    ),
    "a control character": (
        GOOD.replace(",5", ",\x1b[2J5").encode(),
        ["line 2: when '\\x1b[2J5' is no number"],
    ),
    "NUL bytes": (GOOD.replace("i1", "i\0").encode(), ["line 2"]),
    "returns alone": (
        GOOD.replace("\n", "\r").encode(),
        ["line 1 is not proper CSV (a carriage return stands"],
    ),
    "a return in a field": (
        GOOD.replace("i1", "i\r1").encode(),
        ["line 2: it is not proper CSV (a carriage return"],
    ),
    "no gzip": (b"\x1f\x8b" + GOOD.encode(), ["compressed data are damaged"]),
    "cut gzip": (gzip.compress(GOOD.encode() * 400)[:-9], ["compressed data are damaged"]),
    "gzip in gzip": (gzip.compress(gzip.compress(GOOD.encode())), ["packed with gzip twice"]),
    "zip": (b"PK\x03\x04" + b"\0" * 99, ["a zip archive or an Excel file"]),
    "xz": (b"\xfd7zXZ\0" + b"\0" * 99, ["packed with xz"]),
    "noise": (random.Random(5).randbytes(5000).replace(b"\n", b" "), ["no text file at all"]),
    "reserved id": (
        GOOD.replace("i1", "[PAD]").encode(),
        ["line 2: what '[PAD]': '[PAD]' is RecBole's name"],
    ),
    "a huge number": (GOOD.replace(",5", "," + "9" * 5000).encode(), ["line 2: when '9999"]),
    "an endless field": (
        GOOD.replace("i1", '"' + "x" * (17 << 20) + '"').encode(),
        ["line 2: it is not proper CSV (field larger"],
    ),
    "an early time": (
        GOOD.replace(",5", ",0001-01-01T00:00:00+23:59").encode(),
        ["0 interactions"],
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_table_is_one_short_sentence(case, tmp_path, capsys):
    data, words = DAMAGED[case]
    (tmp_path / "t.csv").write_bytes(data)
    status, out, err = convert(capsys, "csv", tmp_path / "t.csv", tmp_path / "shop", *NAMES)
    if case == "an early time":  # representable, however odd
        assert status == 0 and atomic(tmp_path / "shop", "inter").timestamp[0] == "-62135683140"
        return
    assert (status, out) == (2, "") and err.count("\n") == 1 and len(err) < 1200
    assert [word for word in words if word not in err] == [], err
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_and_line_ends_change_nothing(mark, end, tmp_path, capsys):
    (tmp_path / "t.csv").write_bytes(mark + joined(ROWS, end=end).encode())
    (tmp_path / "plain.csv").write_bytes(joined(ROWS).encode())
    for name in ("t", "plain"):
        assert (
            convert(
                capsys, "csv", tmp_path / f"{name}.csv", tmp_path / name, *NAMES, "--text=title"
            )[0]
            == 0
        )
    assert atomic(tmp_path / "t", "inter").equals(atomic(tmp_path / "plain", "inter"))
    assert atomic(tmp_path / "t", "item").equals(atomic(tmp_path / "plain", "item"))


def test_places_that_are_no_files(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    for path, word in (
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "none", "no such file"),
        ("/dev/null", "a pipe or a device"),
        ("x" * 300, "File name too long"),
        ("", "--input is empty"),
        ("\udcff", "no UTF-8 text"),
    ):
        status, _, err = convert(capsys, "csv", path, tmp_path / "shop", *NAMES)
        assert status == 2 and word in err and err.count("\n") == 1
        status, _, err = convert(capsys, "movielens", path, tmp_path / "shop")
        assert status == 2 and err.count("\n") == 1


@pytest.fixture
def parquet(tmp_path):
    """`parquet(who=..., ...)` writes columns over two good rows and returns the file."""
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    def write(**columns):
        columns = {"who": ["u1", "u2"], "what": ["i1", "i2"], "when": [5, 6], **columns}
        pyarrow.parquet.write_table(
            pyarrow.table({name.replace("__", "."): values for name, values in columns.items()}),
            tmp_path / "t.parquet",
        )
        return tmp_path / "t.parquet"

    return write


def test_parquet_values_of_odd_types(parquet, tmp_path, capsys):
    from decimal import Decimal

    file = parquet(
        who=[b"u1", b"u2"],
        when=[Decimal("5.00"), Decimal("6.50")],
        stars=[Decimal("1.5"), Decimal("2")],
        title=[["a", "b"], None],
    )
    status, _, err = convert(
        capsys, "parquet", file, tmp_path / "shop", *NAMES, "--rating=stars", "--text=title"
    )
    assert status == 0, err
    assert list(atomic(tmp_path / "shop", "inter").itertuples(index=False, name=None)) == [
        ("u1", "i1", "1.5", "5"),
        ("u2", "i2", "2", "6.5"),
    ]
    assert atomic(tmp_path / "shop", "item").title.tolist() == ["a b", ""]
    for columns, word in (
        (
            {"what": [{"id": "a", "n": 1}, {"id": "b", "n": 2}]},
            "the column 'what' holds records with the fields id, n",
        ),
        ({"what": [["a"], ["b", "c"]]}, "row 1: what is"),
        ({"what": [b"\xff", b"b"]}, "row 1: what holds bytes that are no UTF-8 text"),
        ({"when": [float("inf"), 1.0]}, "row 1: when 'inf' is no number"),
        ({"when": [True, False]}, "row 1: when 'True' is no number"),
        ({"when": ["soon", "later"]}, "row 1: when 'soon' is no number or ISO date"),
    ):
        status, _, err = convert(capsys, "parquet", parquet(**columns), tmp_path / "bad", *NAMES)
        assert status == 2 and word in err and err.count("\n") == 1, err
    status, _, err = convert(
        capsys, "parquet", parquet(), tmp_path / "bad", "--user=WHO", *NAMES[1:]
    )
    assert status == 2 and "Did you mean 'who'?" in err


def test_damaged_parquet_files(parquet, tmp_path, capsys):
    """Cut anywhere, or with bytes changed: a sentence, or what is right."""
    whole = parquet(
        who=[f"u{n}" for n in range(500)], what=[f"i{n}" for n in range(500)], when=list(range(500))
    ).read_bytes()
    draw = random.Random(1)
    for _ in range(60):
        data = bytearray(whole[: draw.randrange(len(whole))] if draw.random() < 0.3 else whole)
        for _ in range(draw.randint(1, 8)):
            if data:
                data[draw.randrange(len(data))] = draw.randrange(256)
        (tmp_path / "t.parquet").write_bytes(bytes(data))
        status, _, err = convert(
            capsys, "parquet", tmp_path / "t.parquet", tmp_path / "shop", *NAMES, "--overwrite"
        )
        assert status == 0 or (status == 2 and err.count("\n") == 1)


def test_a_parquet_file_is_known_by_its_first_bytes(parquet, tmp_path, capsys):
    other = parquet().rename(tmp_path / "part-0000")
    assert convert(capsys, "parquet", other, tmp_path / "shop", *NAMES)[0] == 0
    two = io.StringIO()
    csv.writer(two).writerows([["who", "what", "when"], ["u", "i", "5"]])
    (tmp_path / "t.csv").write_text(two.getvalue())
    assert convert(capsys, "parquet", tmp_path / "t.csv", tmp_path / "csv", *NAMES)[0] == 0
