"""The doctor: planted faults are found, all of them and nothing else, and the mended
copies load.
"""

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas._libs.parsers import STR_NA_VALUES

from recbole_precise.data.splits import leave_one_out
from recbole_precise.errors import ConfigError
from recbole_precise.studies.doctor import DescribedData, examine, mend
from recbole_precise.studies.doctor.findings import ERROR, KINDS, SHOWN
from recbole_precise.studies.doctor.rows import MISSING
from recbole_precise.text.corpus import read_table

INTER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float"
ITEM = b"item_id:token\ttitle:token_seq"
USERS, EVENTS, ITEMS = 5, 8, 6
LOAD = {"inter": ["user_id", "item_id", "rating", "timestamp"], "item": ["item_id"]}

#: Rows to plant into .inter: (kind, column, fields of the row given a time that no other row has).
IN_INTER = [
    ("field count", "", lambda t: b"u0\ti1"),
    ("field count", "", lambda t: b"u0\ti1\t1\t%d\tmore" % t),
    ("field count", "", lambda t: b"u0\ti1\t1\t%d\t" % t),
    ("no id", "user_id", lambda t: b"\ti1\t1\t%d" % t),
    ("no id", "user_id", lambda t: b"N/A\ti1\t1\t%d" % t),
    ("no id", "item_id", lambda t: b"u0\t \t1\t%d" % t),
    ("reserved id", "item_id", lambda t: b"u0\t[PAD]\t1\t%d" % t),
    *(
        ("no number", "timestamp", lambda t, value=value: b"u0\ti1\t1\t" + value)
        for value in (b"", b"x", b"inf", b"nan", b"1_000", b"2024-01-01", "１".encode(), b"9" * 25)
    ),
    ("no number", "rating", lambda t: b"u0\ti1\tgood\t%d" % t),
    ("no value", "rating", lambda t: b"u0\ti1\t\t%d" % t),
    ("encoding", "user_id", lambda t: b"u\xe9\ti1\t1\t%d" % t),
    ("NUL", "item_id", lambda t: b"u0\ti\x001\t1\t%d" % t),
    ("carriage return", "item_id", lambda t: b"u0\ti\r1\t1\t%d" % t),
    ("open quote", "item_id", lambda t: b'u0\t"i1\t1\t%d' % t),
    ("quoted id", "user_id", lambda t: b'"u0"\ti1\t1\t%d' % t),
    ("unknown id", "item_id", lambda t: b"u0\tunheard\t1\t%d" % t),
    ("short user", "user_id", lambda t: b"new%d\ti1\t1\t%d" % (t, t)),
]
#: The same for .item, given a number that no other row has.
IN_ITEM = [
    ("row twice", "item_id", lambda n: b"i0\tagain"),
    ("no id", "item_id", lambda n: b"NULL\tnameless"),
    ("field count", "", lambda n: b"x%d\ta\tb" % n),
    ("field count", "", lambda n: b" "),
    ("encoding", "title", lambda n: b"x%d\tcaf\xe9" % n),
    ("encoding", "item_id", lambda n: b"x%d\xff\tname" % n),
    ("NUL", "title", lambda n: b"x%d\ta\x00b" % n),
    ("carriage return", "title", lambda n: b"x%d\ta\rb" % n),
    ("open quote", "title", lambda n: b'x%d\t"open' % n),
    ("no text", "", lambda n: b"x%d\t " % n),
]


def write(folder: Path, name: str, **files: bytes) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for suffix, content in files.items():
        (folder / name / f"{name}.{suffix}").write_bytes(content)


def plan_of(folder: Path, name: str = "sick", **changes) -> DescribedData:
    return DescribedData(
        **{
            "name": name,
            "folder": folder / name,
            "load_col": LOAD,
            "item_text": "{title}",
            **changes,
        }
    )


def seen(examination) -> dict:
    return {
        (f.kind, f.file.split(".")[-1], f.column): (f.count, f.lines) for f in examination.found
    }


def kinds(examination) -> set[str]:
    return {finding.kind for finding in examination.found}


def clean_events() -> list[bytes]:
    return [
        b"u%d\ti%d\t%d\t%d" % (user, (user + k) % ITEMS, k % 5, 1000 * user + k)
        for k in range(EVENTS)
        for user in range(USERS)
    ]


def clean_items() -> list[bytes]:
    return [b"i%d\tTitle %d" % (item, item) for item in range(ITEMS)]


def join(header: bytes, rows: list[bytes], end: bytes = b"\n") -> bytes:
    return end.join([header, *rows]) + end


places = st.floats(0, 1, exclude_max=True)


@st.composite
def planted(draw):
    """(files, expected findings): clean rows with faulty ones, copies, ties and blank lines between
    them.
    """
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    files, expected = {}, {}
    for suffix, header, rows, faults in (
        ("inter", INTER, clean_events(), IN_INTER),
        ("item", ITEM, clean_items(), IN_ITEM),
    ):
        labelled = [(None, row) for row in rows]
        for n, (which, place) in enumerate(
            draw(st.lists(st.tuples(st.integers(0, len(faults) - 1), places), max_size=12))
        ):
            kind, column, make = faults[which]
            # A repeated item must come after the row that it repeats.
            lowest = (
                next(k for k, (_, row) in enumerate(labelled) if row == rows[0]) + 1
                if kind == "row twice"
                else 0
            )
            labelled.insert(
                lowest + int(place * (len(labelled) + 1 - lowest)),
                ((kind, suffix, column), make(10**6 + n)),
            )
        if suffix == "inter":
            for row in draw(st.lists(st.sampled_from(rows), unique=True, max_size=4)):
                after = labelled.index((None, row)) + 1
                user, item, rating, time = row.split(b"\t")
                if draw(st.booleans()):
                    labelled.insert(after, (("event twice", suffix, ""), row))
                else:
                    labelled.insert(
                        after,
                        (
                            ("equal times", suffix, "timestamp"),
                            b"\t".join(
                                [user, b"i%d" % ((int(item[1:]) + 1) % ITEMS), rating, time]
                            ),
                        ),
                    )
        for place in draw(st.lists(places, max_size=2)):
            labelled.insert(int(place * (len(labelled) + 1)), (None, b""))
        for line, (label, _) in enumerate(labelled, start=2):
            if label:
                count, lines = expected.setdefault(label, (0, []))
                expected[label] = (count + 1, lines + [line] * (len(lines) < SHOWN))
        files[suffix] = join(header, [row for _, row in labelled], end)
    return files, expected


@settings(max_examples=150)
@given(planted())
def test_planted_faults_are_found_and_nothing_else(case):
    files, expected = case
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), "sick", **files)
        examination = examine(plan_of(Path(folder)))
        assert seen(examination) == expected
        assert examination.errors == sum(KINDS[kind].severity == ERROR for kind, _, _ in expected)
        text = examination.to_text()
    for finding in examination.found:
        assert all(str(line) in text for line in finding.lines)


@settings(max_examples=60)
@given(planted())
def test_mended_copies_have_no_errors_and_all_clean_rows(case):
    files, expected = case
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), "sick", **files)
        examination = examine(plan_of(Path(folder)))
        copy, done, _ways = mend(examination, Path(folder, "new"))
        assert {
            suffix: (Path(folder) / "sick" / f"sick.{suffix}").read_bytes() for suffix in files
        } == files
        again = examine(copy)
        assert not again.errors
        assert not kinds(again) & {"event twice", "quoted id", "open quote"}
        for suffix, rows in (("inter", clean_events()), ("item", clean_items())):
            left = iter(copy.file(suffix).read_bytes().replace(b"\r\n", b"\n").split(b"\n"))
            assert all(row in left for row in rows)  # all of them, in order
            assert copy.file(suffix).read_bytes().count(b"\r\n") in (
                0,
                copy.file(suffix).read_bytes().count(b"\n"),
            )
        if not expected:
            assert {
                suffix: copy.file(suffix).read_bytes().replace(b"\r\n\r\n", b"\r\n")
                for suffix in files
            } == {suffix: _without_blank_lines(content) for suffix, content in files.items()}
        for part in done:
            lines = [
                line
                for line in files[part.file.split(".")[-1]].split(b"\n")[1:]
                if line not in (b"", b"\r")
            ]
            assert part.rows == len(lines)
            assert (
                part.rows - part.dropped
                == copy.file(part.file.split(".")[-1]).read_bytes().count(b"\n") - 1
            )


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(planted())
def test_mended_copies_load_as_a_run_loads_them(our_config, case):
    from recbole_precise.plugin.preparation import create_dataset

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), "sick", **case[0])
        copy, _, _ = mend(examine(plan_of(Path(folder))), Path(folder, "new"))
        again = examine(copy)
        left = sum(
            finding.count for finding in again.found if finding.kind == "unknown id"
        )  # a run leaves these out
        dataset = create_dataset(
            our_config(
                "SASRec",
                "sick",
                data_path=str(copy.folder.parent),
                load_col=LOAD,
                item_text="{title}",
            )
        )
        assert dataset.inter_num == again.events - left
        assert dataset.item_num == 1 + len(read_table(copy.file("item")).by("item_id"))
        assert all(len(part) for part in dataset.build())


def _without_blank_lines(content: bytes) -> bytes:
    end = b"\r\n" if b"\r\n" in content else b"\n"
    return end.join(line for line in content.split(end) if line) + end


def test_the_words_for_a_missing_value_are_those_of_pandas():
    assert MISSING == STR_NA_VALUES


def test_a_file_without_faults_is_copied_byte_for_byte(tmp_path):
    files = {
        "inter": join(INTER, clean_events()),
        "item": join(ITEM, clean_items())[:-1],
        "link": b"\xff any\n",
    }
    write(tmp_path, "sick", **files)
    copy, done, ways = mend(examine(plan_of(tmp_path)), tmp_path / "new")
    assert {suffix: copy.file(suffix).read_bytes().rstrip(b"\n") for suffix in files} == {
        suffix: content.rstrip(b"\n") for suffix, content in files.items()
    }
    assert not ways and all(part.dropped == part.mended == 0 and not part.header for part in done)


HEADERS = {
    "no types": (
        b"user_id\titem_id\trating\ttimestamp",
        {
            ("header", "user_id"),
            ("header", "item_id"),
            ("header", "rating"),
            ("header", "timestamp"),
        },
        "user_id:token\titem_id:token\trating:token\ttimestamp:float",
    ),
    "other types": (
        INTER.replace(b"timestamp:float", b"timestamp:int").replace(
            b"rating:float", b"rating:double"
        ),
        {("header", "timestamp"), ("header", "rating")},
        INTER.decode(),
    ),
    "times as tokens": (
        INTER.replace(b"timestamp:float", b"timestamp:token"),
        {("type", "timestamp")},
        INTER.decode(),
    ),
    "ids as numbers": (
        INTER.replace(b"user_id:token", b"user_id:float"),
        {("type", "user_id")},
        INTER.decode(),
    ),
    "a name twice": (
        INTER.replace(b"rating", b"user_id"),
        {("header", "user_id"), ("missing column", "rating")},
        INTER.decode().replace("rating", "user_id_again"),
    ),
    "no name": (
        INTER.replace(b"rating:", b":"),
        {("header", "column_3"), ("missing column", "rating")},
        INTER.decode().replace("rating", "column_3"),
    ),
    "bytes": (
        INTER.replace(b"rating", b"r\xe9"),
        {("header", "r_"), ("missing column", "rating")},
        INTER.decode().replace("rating", "r_"),
    ),
    "byte order mark": (b"\xef\xbb\xbf" + INTER, set(), "\ufeff" + INTER.decode()),
}


@pytest.mark.parametrize("case", list(HEADERS))
def test_headers(tmp_path, case):
    header, expected, mended = HEADERS[case]
    write(tmp_path, "sick", inter=join(header, clean_events()), item=join(ITEM, clean_items()))
    examination = examine(plan_of(tmp_path))
    assert {(f.kind, f.column) for f in examination.found} == expected
    copy, _, _ = mend(examination, tmp_path / "new")
    assert copy.file("inter").read_text(encoding="utf-8").split("\n")[0] == mended
    assert kinds(examine(copy)) == {kind for kind, _ in expected if kind == "missing column"}


def test_what_is_missing_is_told_together(tmp_path):
    write(tmp_path, "sick", inter=join(b"userid:token\titem_id:token\twhen:float", [b"u\ti\tx"]))
    examination = examine(plan_of(tmp_path, load_col={**LOAD, "user": ["user_id"]}))
    assert {(f.kind, f.file, f.column) for f in examination.found} == {
        ("missing column", "sick.inter", "user_id"), ("missing column", "sick.inter", "timestamp"),
        ("missing column", "sick.inter", "rating"),
        ("missing file", "sick.item", ""), ("missing file", "sick.user", ""), ("no number",
            "sick.inter", "when"),
    }  # fmt: skip
    assert "Did you mean 'userid'?" in examination.to_text()
    assert {f.severity for f in examination.found if f.kind == "no number"} == {
        "warning"
    }  # the column is not loaded


UNREADABLE = {
    "empty": (b"", "unreadable", "the file is empty"),
    "separator": (join(INTER, clean_events()).replace(b"\t", b","), "separator", "','"),
    "UTF-16": (join(INTER, clean_events()).decode().encode("utf-16"), "unreadable", "UTF-16"),
    "old line ends": (
        join(INTER, clean_events()).replace(b"\n", b"\r"),
        "unreadable",
        "carriage returns",
    ),
    "header alone": (INTER + b"\n", "no rows", "only a header"),
    "faults alone": (INTER + b"\n" + b"u\ti\t1\tnever\n" * 4, "no rows", "4 rows, all with faults"),
    "short histories": (
        join(INTER, [b"u%d\ti1\t1\t1" % n for n in range(9)]),
        "empty part",
        "leaves no row for testing; the longest of 9 users has 1 events",
    ),
    "other items": (
        join(INTER, [b"u0\tstranger\t1\t%d" % n for n in range(9)]),
        "empty part",
        "no event is left",
    ),
}


@pytest.mark.parametrize("case", list(UNREADABLE))
def test_sets_that_nothing_can_be_made_of(tmp_path, case):
    content, kind, words = UNREADABLE[case]
    write(tmp_path, "sick", inter=content, item=join(ITEM, clean_items()))
    examination = examine(plan_of(tmp_path))
    assert (
        kind in {finding.kind for finding in examination.found.of(ERROR)}
        and words in examination.to_text()
    )


def test_an_encoding_in_which_separators_are_no_single_bytes(tmp_path):
    files = {
        "inter": join(INTER, [*clean_events(), b"u0\tNA\t1\t7"]),
        "item": join(ITEM, clean_items()),
    }
    write(
        tmp_path,
        "sick",
        **{suffix: content.decode().encode("utf-16") for suffix, content in files.items()},
    )
    examination = examine(plan_of(tmp_path, encoding="utf-16"))
    assert seen(examination) == {("no id", "inter", "item_id"): (1, [USERS * EVENTS + 2])}
    copy, _, _ = mend(examination, tmp_path / "new")
    assert copy.file("inter").read_text(encoding="utf-16") == join(INTER, clean_events()).decode()


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{title}", {("no text", 2, (3, 5))}),
        (None, {("no text", 1, (3,))}),  # all columns of words
        ("{title} by {author}", {("no text", 1, (3,))}),
        ("{nmae}", {("item_text", 1, ())}),
        ("{empty}", {("no texts", 1, ())}),
    ],
)
def test_item_texts(tmp_path, template, expected):
    item = (
        b"item_id:token\ttitle:token_seq\tauthor:token_seq\tempty:token\ni0\ta\tb\t\n"
        b"i1\t\t\t\ni2\tc\t\t\ni3\t\td\t\ni4\te\t\t\ni5\tf\t\t\n"
    )
    write(tmp_path, "sick", inter=join(INTER, clean_events()), item=item)
    assert {
        (f.kind, f.count, tuple(f.lines))
        for f in examine(plan_of(tmp_path, item_text=template)).found
    } == expected


def test_a_text_file(tmp_path):
    write(tmp_path, "sick", inter=join(INTER, clean_events()), item=join(ITEM, clean_items()))
    texts = tmp_path / "texts.tsv"
    texts.write_text("item_id\ttext\ni0\tzero\ni1\t\ni2\ttwo\ni5\tfive\n")
    plan = plan_of(tmp_path, text_file=str(texts), item_text=None)
    assert seen(examine(plan)) == {("no text", "item", ""): (3, [3, 5, 6])}
    texts.write_text("item_id\ttext\ni0\tzero\ni0\ttwice\n")
    assert kinds(examine(plan)) == {"item_text"}


@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    mode=st.sampled_from(["valid_and_test", "valid_only", "test_only"]),
)
@settings(max_examples=40)
def test_short_users_are_those_who_leave_a_part_without_a_target(counts, mode):
    rows = [
        b"u%d\ti1\t1\t%d" % (user, k) for user, count in enumerate(counts) for k in range(count)
    ]
    # Brute force: the last events are left out one by one, as long as a training target remains.
    short = []
    for user, count in enumerate(counts):
        asked = {"valid_and_test": 2}.get(mode, 1)
        if count - 1 - asked < 1:
            short.append(2 + sum(counts[:user]))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), "sick", inter=join(INTER, rows), item=join(ITEM, clean_items()))
        examination = examine(plan_of(Path(folder), split={"LS": mode}))
    found = seen(examination).get(("short user", "inter", "user_id"), (0, []))
    assert found == (len(short), short[:SHOWN])
    parts = leave_one_out(np.array(counts) - 1, mode)
    wanted = [
        parts[0],
        *([parts[1]] if "valid" in mode else []),
        *([parts[2]] if "test" in mode else []),
    ]
    assert ("empty part" in kinds(examination)) == any(not part.any() for part in wanted)


def test_large_times_are_not_thrown_together(tmp_path):
    rows = [
        b"u0\ti%d\t1\t%d" % (n % ITEMS, 1_500_000_000_000_000_000 + n // ITEMS)
        for n in range(2 * ITEMS)
    ]
    write(tmp_path, "sick", inter=join(INTER, rows), item=join(ITEM, clean_items()))
    assert seen(examine(plan_of(tmp_path))) == {
        ("equal times", "inter", "timestamp"): (2 * ITEMS - 2, [3, 4, 5, 6, 7])
    }


def test_nothing_is_overwritten(tmp_path):
    write(
        tmp_path, "sick", inter=join(INTER, [*clean_events(), b"u"]), item=join(ITEM, clean_items())
    )
    examination = examine(plan_of(tmp_path))
    mend(examination, tmp_path / "new")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for folder in ("new", "."):
        with pytest.raises(ConfigError, match="not overwritten"):
            mend(examination, tmp_path / folder)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="no folder"):
        mend(examination, tmp_path / "file")
    assert before == {path: path.read_bytes() for path in before}


def test_memory_does_not_grow_with_the_texts_of_a_file(tmp_path):
    write(
        tmp_path,
        "sick",
        inter=join(INTER, clean_events()),
        item=join(
            ITEM, [*clean_items(), *(b"x%d\t%s" % (n, b"word " * 200) for n in range(30_000))]
        ),
    )
    size = (tmp_path / "sick" / "sick.item").stat().st_size
    examine(plan_of(tmp_path))  # imports
    tracemalloc.start()
    try:
        assert not examine(plan_of(tmp_path)).errors
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 30e6 and peak < size / 3
