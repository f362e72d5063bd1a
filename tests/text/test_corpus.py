"""Texts survive the way from a file to a rendered sentence, and broken files are told by line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.errors import ConfigError, DataError
from recbole_precise.text.corpus import align, read_table, read_text_file, render

HARD = [
    'The "Best" Tea, 5" cup',
    '"unfinished quote',
    "None",
    "NA",
    "nan",
    "",
    "  ",
    "\U0001f600 emoji \U0001f1ef\U0001f1f5",
    "日本語のお茶",
    "null\x00byte",
    "line\u2028separator\x85and\x0bmore",
    "{braces} and %s and \\n",
    "O'Neill’s “curly”",
    "naïve café",
]


def write_item(path, titles):
    lines = ["item_id:token\ttitle:token_seq"] + [f"{i}\t{title}" for i, title in enumerate(titles)]
    path.write_bytes("\n".join(lines).encode())
    return path


def test_atomic_file_keeps_hard_titles(tmp_path):
    columns, rows = read_table(write_item(tmp_path / "x.item", HARD))
    assert columns == ["item_id", "title"]
    assert [row["title"] for row in rows] == HARD
    assert render("title", rows) == [title.replace("\x00", "").strip() for title in HARD]
    assert render("{title}", rows) == render(["title"], rows) == render("title", rows)


field_text = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]))


@given(st.lists(st.tuples(field_text, field_text), max_size=20), st.booleans())
def test_any_field_survives(tmp_path_factory, pairs, windows):
    path = tmp_path_factory.mktemp("t") / "x.item"
    end = "\r\n" if windows else "\n"
    lines = ["item_id:token\ta:token_seq\tb:token"] + [
        f"{i}\t{a}\t{b}" for i, (a, b) in enumerate(pairs)
    ]
    path.write_bytes((end.join(lines) + end).encode())
    _, rows = read_table(path)
    assert [(row["a"], row["b"]) for row in rows] == pairs


@given(
    st.dictionaries(st.text(min_size=1).map(lambda t: f"k{t}"), st.text(), min_size=1, max_size=8)
)
def test_jsonl_and_csv_survive(tmp_path_factory, texts):
    import csv

    folder = tmp_path_factory.mktemp("t")
    lines = [json.dumps({"item_id": key, "title": text}) for key, text in texts.items()]
    (folder / "x.jsonl").write_text("\n".join(lines))
    assert {key: row["title"] for key, row in read_text_file(folder / "x.jsonl").items()} == texts
    with (folder / "x.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["item_id", "title"], *texts.items()])
    assert {key: row["title"] for key, row in read_text_file(folder / "x.csv").items()} == texts


def test_jsonl_values(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"item_id": 7, "tags": ["a", null, "b"], "year": 1995, "brand": null}\n\n'
        '{"item_id": "8", "title": "half \\ud83d pair"}\n'
    )
    rows = read_text_file(path)
    assert rows["7"] == {"item_id": "7", "tags": "a b", "year": "1995", "brand": "", "title": ""}
    assert rows["8"]["title"] == "half \ufffd pair"
    path.write_text('{"item_id": 1}\nnot json\n[1]\n{"item_id": 2, "t": {"a": 1}}\n')
    with pytest.raises(
        DataError, match=r"x\.jsonl: line 2 is not JSON.*line 3 is not an object.*line 4: 't'"
    ):
        read_text_file(path)


def test_broken_rows_are_told_in_one_message(tmp_path):
    path = tmp_path / "x.item"
    path.write_text("item_id:token\ttitle:token_seq\n1\ta\tb\n2\tok\n\n3\n" + "4\n" * 9)
    with pytest.raises(DataError) as caught:
        read_table(path)
    message = str(caught.value)
    for part in (
        str(path),
        "line 2 has 3 fields",
        "line 5 has 1 field;",
        "6 more such faults",
        "item_id, title",
        "tab",
    ):
        assert part in message


def test_duplicate_and_missing_ids(tmp_path):
    path = tmp_path / "x.item"
    path.write_text("item_id:token\ttitle:token_seq\nA\tx\nB\ty\nA\tz\n\tw\n")
    with pytest.raises(
        DataError, match=r"lines 2 and 4 both describe item_id 'A'; line 5 has no item_id"
    ):
        read_table(path).by("item_id")
    with pytest.raises(
        DataError, match=r"no column 'itemid' \(columns: item_id, title\)\. Did you mean 'item_id'"
    ):
        read_table(path).by("itemid")


def test_unusable_files(tmp_path):
    (tmp_path / "movies.item").write_text("item_id:token\n1\n")
    with pytest.raises(DataError, match=r"no such file\. Did you mean 'movies\.item'"):
        read_table(tmp_path / "movie.item")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path)
    (tmp_path / "empty.item").write_text("\n \n")
    with pytest.raises(DataError, match="file is empty"):
        read_table(tmp_path / "empty.item")
    (tmp_path / "late.item").write_text("\nitem_id\n")
    with pytest.raises(DataError, match="first line is empty"):
        read_table(tmp_path / "late.item")
    (tmp_path / "twice.item").write_text("title:token\ttitle:token_seq\n")
    with pytest.raises(DataError, match="line 1: the column 'title' stands there twice"):
        read_table(tmp_path / "twice.item")
    (tmp_path / "latin.item").write_bytes(b"item_id:token\ttitle:token_seq\n1\tok\n2\tcaf\xe9\n")
    with pytest.raises(DataError, match=r"latin\.item, line 3: byte 0xe9 is not utf-8"):
        read_table(tmp_path / "latin.item")
    assert read_table(tmp_path / "latin.item", encoding="latin-1").rows[1]["title"] == "café"
    (tmp_path / "text.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"ending '\.xlsx' is not known"):
        read_text_file(tmp_path / "text.xlsx")
    (tmp_path / "open.csv").write_text('item_id,title\n1,"never closed\n2,b\n')
    with pytest.raises(DataError, match=r"open\.csv, line 2"):
        read_text_file(tmp_path / "open.csv")
    (tmp_path / "wide.csv").write_text('item_id,title\n1,"a\nb"\n2,c,d\n')
    with pytest.raises(DataError, match="line 4 has 3 fields"):
        read_text_file(tmp_path / "wide.csv")


def test_byte_order_mark_and_colons_in_names(tmp_path):
    (tmp_path / "x.tsv").write_bytes("\ufeffitem_id\tns:title\tyear:float\n1\ta\t1995\n".encode())
    assert read_text_file(tmp_path / "x.tsv") == {
        "1": {"item_id": "1", "ns:title": "a", "year": "1995"}
    }


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{title} ({year}) {brand}", ["Heat (1995) WB", "Heat WB", "Heat (1995)", "", ""]),
        (
            "{title} [{year}], by {brand}",
            ["Heat [1995], by WB", "Heat, by WB", "Heat [1995], by", "", ""],
        ),
        ("{{{ title }}} {year}", ["{Heat} 1995", "{Heat}", "{Heat} 1995", "", ""]),
        (["title", "brand"], ["Heat WB", "Heat WB", "Heat", "", ""]),
        (("year", "title"), ["1995 Heat", "Heat", "1995 Heat", "", ""]),
        ("brand", ["WB", "WB", "", "", ""]),
    ],
)
def test_render(template, expected):
    full = {"title": "Heat", "year": "1995", "brand": "WB"}
    records = [full, full | {"year": ""}, full | {"brand": " "}, dict.fromkeys(full, ""), {}]
    assert render(template, records) == expected


def test_render_keeps_what_stands_in_values():
    assert render("{t}: {u}", [{"t": "a () [] {u}", "u": "x  y\tz"}]) == ["a () [] {u}: x  y\tz"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{titel}", r"no column 'titel' \(columns: title, year\)\. Did you mean 'title'"),
        ("titel", r"Did you mean 'title'"),
        (["title", "yaer"], r"no column 'yaer'.*'year'"),
        ("{title", "'{' at character 1"),
        ("title}", "'}' at character 6"),
        ("{}", "braces without a column name"),
        ("{{title}}", "names no column"),
        ([], "empty list"),
        (7, "must be a template or a list"),
        ([1], "must be a template or a list"),
    ],
)
def test_bad_templates(template, message):
    with pytest.raises(ConfigError, match=message):
        render(template, [{"title": "a", "year": "b"}])


def test_align_reports_both_sides():
    texts, report = align({"b": "B", "z": "Z", "c": " ", "y": "Y"}, ["[PAD]", "a", "b", "c"])
    assert texts == ["", "", "B", " "]
    assert (report.items, report.with_text, report.without_text, report.unknown) == (3, 1, 2, 2)
    assert report.without_text_examples == ("a", "c") and report.unknown_examples == ("z", "y")
    assert str(report) == (
        "1 of 3 items have text; 2 have none ('a', 'c'); 2 texts belong to no item of the data "
        "set ('z', 'y')"
    )


def test_align_names_only_the_first_examples():
    _, report = align({}, [f"i{n}" for n in range(40)], padding=None)
    assert report.without_text == 40 and "'i4', ...)" in str(report)
