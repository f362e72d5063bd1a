"""What DuckDB reads by itself is what Python's csv module and `values` would read; patterns of
files; too little memory.
"""

import csv
import gzip
import io
import random

import pyarrow.parquet
import pytest
from convert_helpers import atomic, convert, write_lines

from recbole_precise.convert import SOURCES, reading, store, tables

NAMES = ("--user=u", "--item=i", "--time=t")
CELLS = {
    "u": [
        "u1", "u 2", " u3", "é", "日本", 'a"b', "u,4", "u\n5", "007", "-1", "x" * 300, "\u00a0u6",
    ],
    "i": ["i1", "1.0", "1e5", "NULLx", "N\\A", "'", "#", "i&amp;", "\x7fi", "\u2003i2", "nanx"],
    "t": [
        "5", "007", "+5", "5.0", "5.5", ".5", "5.", "1e3", "1E-5", "0.1e1", "-7", "20240131",
        "20241331", "9007199254740993", "123456789.125", "2024-02-29", "2024-02-29T01:02:03",
        "2024-02-29 01:02:03", "2024-02-29T01:02:03Z", "2024-02-29T01:02:03+05:30",
        "2024-02-29T01:02:03-00:00", "2024-02-29T01:02:03.25", "0001-01-01", "1969-12-31T23:59:59",
        " 5 ", "1_000", "2024-02-29T01:02", "20240229", "-0", "0.0", "1e-7", "00.5",
        "0.30000000000000004",
    ],
    "r": ["1", "4.5", "5.0", "3", " 2", "1e0", "0.10", "-3", "1e-05", "0.1"],
    "x": [
        "", "tea", " tea ", "a &amp; b", '"q" r', 'q "r"', "a\tb", "a\n b", "é ", "\u2028x", "茶",
        "&", "x\x85y", "[1]",
    ],
}  # fmt: skip


def rows_of(draw, count):
    return [[draw.choice(cells) for cells in CELLS.values()] for _ in range(count)]


def table_of(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([list(CELLS), *rows])
    return text.getvalue().encode()


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("seed", range(4))
def test_both_ways_of_reading_write_the_same(seed, tmp_path, capsys, monkeypatch):
    """With every cell left to Python, and with every file left to its csv module."""
    (tmp_path / "t.csv").write_bytes(table_of(rows_of(random.Random(seed), 400)))
    more = (*NAMES, "--rating=r", "--text=x", "--scene_column=i")
    outcomes = []
    for way in ("sql", "csv", "values"):
        with monkeypatch.context() as patch:
            if way != "sql":
                patch.setattr(tables, "_is_plain", lambda *_: False)
            if way == "values":
                nothing = {"v": "NULL::VARCHAR", "n": "NULL::BIGINT"}
                real = reading.Field.sql

                def sql(self, column, stored, real=real, nothing=nothing):
                    value = nothing["n" if self.is_number else "v"]
                    return real(self, column, stored)._replace(
                        value=value, part="NULL::DOUBLE", zone="NULL::VARCHAR"
                    )

                patch.setattr(reading.Field, "sql", sql)
            status, out, err = convert(
                capsys,
                "csv",
                tmp_path / "t.csv",
                tmp_path / "d",
                *more,
                "--overwrite",
                "--skip_bad_rows",
            )
        assert status == 0, err
        outcomes.append((out, files_of(tmp_path / "d")))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_bad_rows_have_their_lines_behind_fields_of_several_lines(tmp_path, capsys):
    draw = random.Random(9)
    lines, bad = ["u,i,t,x"], []
    for number in range(3000):
        cell = draw.choice(["x", '"two\nlines"', '"a ""b"" c"', '""'])
        if number in (7, 1500, 2999):
            bad.append(sum(line.count("\n") + 1 for line in lines) + 1)
            lines.append(f"u,i,soon,{cell}")
        else:
            lines.append(f"u{number % 7},i{number % 5},{number + 1},{cell}")
        if number % 500 == 0:
            lines.append("")
    write_lines(tmp_path / "t.csv", lines)
    _, _, err = convert(capsys, "csv", tmp_path / "t.csv", tmp_path / "d", *NAMES)
    assert all(f"line {line}: t 'soon' is no number or ISO date" in err for line in bad), err


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_a_pattern_names_several_files(kind, tmp_path, capsys):
    for part in range(3):
        file = tmp_path / f"orders-{part}.{kind}"
        rows = [[f"u{n}", f"i{part}", str(10 * part + n)] for n in range(4)]
        if kind == "parquet":
            columns = {name: [row[place] for row in rows] for place, name in enumerate("uit")}
            pyarrow.parquet.write_table(pyarrow.table(columns), file)
        else:
            write_lines(file, ["u,i,t", *map(",".join, rows)])
    source = "parquet" if kind == "parquet" else "csv"
    status, out, err = convert(
        capsys, source, tmp_path / f"orders-*.{kind}", tmp_path / "d", *NAMES
    )
    assert status == 0 and out.startswith("4 users, 3 items, 12 interactions"), err
    inter = atomic(tmp_path / "d", "inter")
    assert inter.item_id.tolist() == ["i0", "i1", "i2"] * 4
    _, _, err = convert(capsys, source, tmp_path / "nothing-*.csv", tmp_path / "e", *NAMES)
    assert "no file matches this pattern" in err
    if kind != "parquet":
        write_lines(tmp_path / f"orders-1.{kind}", ["u,i,t", "u,i,1", "u,,2"])
        _, _, err = convert(capsys, source, tmp_path / f"orders-*.{kind}", tmp_path / "e", *NAMES)
        assert f"orders-1.{kind}: line 3: i is missing" in err


def test_names_with_signs_of_patterns_and_quotes(tmp_path, capsys):
    name = "t[1]*'?.csv"
    for place in (tmp_path / name, tmp_path / "t1xx?.csv"):
        write_lines(place, ["u,i,t", f"u,{'i' if place.name == name else 'other'},5"])
    folder = tmp_path / "it's"
    assert convert(capsys, "csv", tmp_path / name, folder / "d", *NAMES)[0] == 0
    assert atomic(folder / "d", "inter").item_id.tolist() == ["i"]


def test_parts_of_one_gzip_file(tmp_path, capsys):
    rows = "".join(f"u{n},i{n % 9},{n}\n" for n in range(9000)).encode()
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"u,i,t\n" + rows) + gzip.compress(rows))
    _, out, _ = convert(capsys, "csv", tmp_path / "t.csv.gz", tmp_path / "d", *NAMES)
    assert "18000 interactions" in out


def test_too_little_memory_is_one_sentence_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    lines = ["u,i,t", *(f"u{n},i{n},{n}" for n in range(200_000))]
    write_lines(tmp_path / "t.csv", lines)
    monkeypatch.setattr(store, "MEMORY_MIB", 8)
    monkeypatch.setattr(store, "_MIB_OF_A_THREAD", 4)
    status, _, err = convert(capsys, "csv", tmp_path / "t.csv", tmp_path / "d", *NAMES)
    assert status == 2 and err.count("\n") == 1 and "not enough memory" in err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_the_order_of_equal_times_is_the_same_everywhere(tmp_path):
    """A data set must not change with the version of DuckDB."""
    write_lines(tmp_path / "t.csv", ["u,i,t", *(f"u,i{n},5" for n in range(12))])
    for seed, order in ((2020, ORDER_2020), (2**63 - 1, ORDER_LAST)):
        SOURCES["csv"](
            tmp_path / "t.csv", tmp_path / f"d{seed}", user="u", item="i", time="t", tie_seed=seed
        )
        found = atomic(tmp_path / f"d{seed}", "inter").item_id.tolist()
        assert [int(item[1:]) for item in found] == order


ORDER_2020 = [4, 5, 6, 3, 2, 7, 0, 1, 9, 8, 11, 10]
ORDER_LAST = [2, 11, 1, 6, 10, 0, 5, 9, 7, 8, 3, 4]
