"""Bad inputs of `convert`, drawn from a seed: every kind of table, download, option and output
that goes wrong.
"""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable, Iterator

from attack import Attack

Files = dict[str, bytes]
Drawn = tuple[Files, list[str]]  # the files, and the arguments behind `convert`

NAMES = ["--user=who", "--item=what", "--time=when"]
ALL_COLUMNS = [*NAMES, "--rating=stars", "--text=title,brand", "--scene_column=shop"]
HEADER = ["who", "what", "when", "stars", "title", "brand", "shop"]
ODD_TEXTS = [
    "", " ", "NA", "nan", "None", "[PAD]", "-", "0", "-1", "inf", "-inf", "1e999", "9" * 400,
    "0x10", "1_000", "½", "a\tb", "a\x00b", "\x1a", "\ufeff", "\u2028", "\u202eabc", "\ud7ff", "'",
    '"', '""', '"x', "{title}", "[", "=1+1", "x" * 5000, "日本語", "e\u0301", "😀", "\\", "%s",
    "../x", "$HOME",
    "\x7f", "<NA>", "#N/A",
]  # fmt: skip
ODD_TIMES = [
    "", "yesterday", "2024-13-45", "2024-02-30T00:00:00", "24:00", "2024-01-01T25:61:61Z",
    "0001-01-01", "9999-12-31", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "2024-W01-1", "20240101", "1e308", "1e999", "inf", "nan", "-5", "9" * 30,
    "2024-01-01T00:00:00+99:99", "１２３", "1.5.2", "0x5", "2024-01-01 10:00:00 CET", "١٢",
]  # fmt: skip
VALUES = [
    "", " ", "0", "-1", "1", "1.5", "True", "none", "nan", "inf", "-inf", "1e999", "9" * 30,
    "9" * 5000, "٣", "a b", "who", "title", "what,when", ",", "%Y", "%", "%d%d", "%Q", "utf-8",
    "utf-16", "latin-1", "idna", "base64", "rot13", "zip", "\u00e9", "tab", '"', "\n", "'", "{}",
    "[1]", "--x", "=", "random", "file", "all", "pad", "precise-books", "rating", "history",
    "impressions", "category", "/dev/null", "/dev/zero", "/", ".", "x" * 3000,
]  # fmt: skip
OPTIONS = [
    "preset", "known_items", "min_rating", "min_user_events", "min_item_events", "last_events",
    "last_of_longer", "items", "tie_break", "tie_seed", "scene", "scene_rating", "skip_bad_rows",
    "clicks", "unescape", "user", "item", "time", "rating", "text", "scene_column", "item_file",
    "separator", "encoding", "time_format", "overwrite", "usr",
]  # fmt: skip
OUTPUTS = [
    "", ".", "..", "/", "//", "{folder}", "{folder}/", "{folder}/..", "{folder}/.",
    "{folder}/t.csv", "{folder}/t.csv/shop", "{folder}/out/ml-100k", "{folder}/out/-shop",
    "{folder}/out/.shop", "{folder}/out/my shop", "{folder}/out/a\tb", "{folder}/out/a\nb",
    "{folder}/out/shop.", "{folder}/out/con", "{folder}/out/NUL.x", "{folder}/out/a:b",
    "{folder}/out/a*b", "{folder}/out/a\\b", "{folder}/out/shop.inter", "{folder}/out/\x07",
    "{folder}/out/\u202eshop", "{folder}/out/" + "n" * 201, "{folder}/out/" + "n" * 300,
    "{folder}/" + "d/" * 3000, "{folder}/out/\udcff", "{folder}/a/../out/shop", "/dev/null",
    "/dev/null/shop", "/proc/shop", "/dev/full",
]  # fmt: skip


def inputs(seed: int, count: int) -> Iterator[Attack]:
    """`count` attacks, the same for the same seed; every kind comes in turn.

    Args:
        seed: of everything that is drawn.
        count: how many.

    Yields:
        Attacks whose `name` says the kind, the seed and the number.
    """
    kinds = list(KINDS.items())
    for number in range(count):
        kind, make = kinds[number % len(kinds)]
        draw = random.Random(f"{seed}/{kind}/{number}")
        files, arguments = make(draw)
        may_change = ("out/*",) if "--overwrite" in arguments else ()
        yield Attack(f"convert-{kind}-{seed}-{number}", ["convert", *arguments], files, may_change)


def _rows(draw: random.Random, count: int | None = None) -> list[list[str]]:
    count = draw.randint(1, 60) if count is None else count
    rows = []
    for place in range(count):
        item = draw.randrange(9)
        rows.append(
            [
                f"c{draw.randrange(6)}",
                f"s{item}",
                f"2024-01-{place % 28 + 1:02d}T10:00:00Z",
                str(draw.randint(1, 5)),
                f"thing {item}",
                f"brand {item % 3}",
                draw.choice(["web", "app"]),
            ]
        )
    return rows


def _csv(
    rows: list[list[str]], separator: str = ",", end: str = "\n", header: list[str] | None = None
) -> str:
    return "".join(
        separator.join(row) + end for row in [HEADER if header is None else header, *rows]
    )


def _table(
    content: bytes | str, *more: str, name: str = "t.csv", columns: list[str] | None = None
) -> Drawn:
    """One table and the command that converts it."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    columns = ALL_COLUMNS if columns is None else columns
    source = "parquet" if name.endswith(".parquet") else "csv"
    arguments = [
        f"--source={source}",
        f"--input={{folder}}/{name}",
        "--output={folder}/out/shop",
        *columns,
        *more,
    ]
    return {name: data}, arguments


def _skip(draw: random.Random) -> list[str]:
    return ["--skip_bad_rows"] if draw.random() < 0.5 else []


def odd_cells(draw: random.Random) -> Drawn:
    rows = _rows(draw)
    for _ in range(draw.randint(1, 8)):
        draw.choice(rows)[draw.randrange(len(HEADER))] = draw.choice(ODD_TEXTS)
    return _table(_csv(rows), *_skip(draw))


def odd_times(draw: random.Random) -> Drawn:
    rows = _rows(draw)
    for row in rows:
        if draw.random() < 0.6:
            row[2] = draw.choice(ODD_TIMES)
    forms = ["--time_format=%Y-%m-%dT%H:%M:%S%z", "--time_format=%Y", "--time_format=%d.%m.%y"]
    return _table(_csv(rows), *draw.choice([[], _skip(draw), [draw.choice(forms)]]))


def random_bytes(draw: random.Random) -> Drawn:
    data = draw.randbytes(draw.choice([0, 1, 2, 3, 50, 5000, 200_000]))
    head = _csv([]).encode() if draw.random() < 0.5 else b""
    return _table(head + data, *_skip(draw), name=draw.choice(["t.csv", "t.csv.gz", "t.tsv", "t"]))


def flipped_bytes(draw: random.Random) -> Drawn:
    data = bytearray(_csv(_rows(draw)).encode())
    for _ in range(draw.randint(1, 20)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return _table(bytes(data), *_skip(draw))


def other_encoding(draw: random.Random) -> Drawn:
    rows = _rows(draw)
    for row in rows:
        row[4] = draw.choice(["Café", "Straße", "naïve", "price €5", "日本", "plain"])
    written = draw.choice(
        ["latin-1", "cp1252", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "shift_jis", "utf-7"]
    )
    read = draw.choice(
        [[], ["--encoding=latin-1"], ["--encoding=utf-16"], ["--encoding=ascii"], _skip(draw)]
    )
    return _table(_csv(rows).encode(written, "replace"), *read)


def byte_order_marks(draw: random.Random) -> Drawn:
    mark = draw.choice(
        [
            b"\xef\xbb\xbf",
            b"\xff\xfe",
            b"\xfe\xff",
            b"\xef\xbb",
            b"\xff\xfe\0\0",
            b"\xef\xbb\xbf" * 2,
        ]
    )
    return _table(mark + _csv(_rows(draw)).encode(), *_skip(draw))


def other_separator(draw: random.Random) -> Drawn:
    separator = draw.choice([";", "\t", "|", " ", "::", "\x01", ", ", ""])
    given = draw.choice(
        [[], ["--separator=;"], ["--separator=tab"], ["--separator=,"], ["--separator=::"]]
    )
    return _table(_csv(_rows(draw), separator), *given, name=draw.choice(["t.csv", "t.tsv"]))


def line_ends(draw: random.Random) -> Drawn:
    ends = ["\n", "\r\n", "\r", "\n\n", "\x0b", "\x85", "\u2028", "\n\r"]
    lines = _csv(_rows(draw)).split("\n")
    return _table("".join(line + draw.choice(ends) for line in lines), *_skip(draw))


def quotes(draw: random.Random) -> Drawn:
    text = _csv(_rows(draw))
    for _ in range(draw.randint(1, 6)):
        place = draw.randrange(len(text))
        text = text[:place] + draw.choice(['"', '""', '"\n', ',"', "'"]) + text[place:]
    return _table(text, *_skip(draw))


def ragged_rows(draw: random.Random) -> Drawn:
    rows = _rows(draw)
    for row in rows:
        if draw.random() < 0.4:
            row[draw.randrange(8) :] = ["x"] * draw.randrange(4)
    return _table(_csv(rows), *_skip(draw))


def bad_headers(draw: random.Random) -> Drawn:
    header = list(HEADER)
    for _ in range(draw.randint(1, 4)):
        change = draw.choice(["twice", "empty", "case", "blank", "odd", "less", "huge"])
        place = draw.randrange(len(header))
        old = header[place]
        header[place] = {
            "twice": header[0], "empty": "", "case": old.upper(), "blank": f" {old} ",
            "odd": draw.choice(ODD_TEXTS), "less": old, "huge": old * 10_000,
        }[change]  # fmt: skip
        if change == "less" and len(header) > 1:
            del header[place]
    return _table(_csv(_rows(draw), header=header), *_skip(draw))


def huge_fields(draw: random.Random) -> Drawn:
    rows = _rows(draw, 5)
    rows[draw.randrange(5)][draw.randrange(len(HEADER))] = draw.choice("ax9 ") * draw.choice(
        [140_000, 17 << 20]
    )
    return _table(_csv(rows), *_skip(draw))


def empty_files(draw: random.Random) -> Drawn:
    contents = [
        b"",
        b"\n",
        b"\n\n\n",
        b" ",
        b"\0",
        b"\xef\xbb\xbf",
        _csv([]).encode(),
        b",,,\n",
        b'"',
        gzip.compress(b"", mtime=0),
    ]
    return _table(
        draw.choice(contents), *_skip(draw), name=draw.choice(["t.csv", "t.csv.gz", "t.parquet"])
    )


def bad_gzip(draw: random.Random) -> Drawn:
    packed = bytearray(gzip.compress(_csv(_rows(draw, 400)).encode(), mtime=0))
    way = draw.choice(["cut", "flip", "tail", "twice", "plain", "many"])
    if way == "cut":
        del packed[draw.randrange(len(packed)) :]
    elif way == "flip":
        packed[draw.randrange(len(packed))] ^= 1 << draw.randrange(8)
    elif way == "tail":
        packed += draw.randbytes(draw.randint(1, 90))
    elif way == "twice":
        packed = bytearray(gzip.compress(bytes(packed), mtime=0))
    elif way == "plain":
        packed = bytearray(b"\x1f\x8b" + _csv(_rows(draw)).encode())
    else:
        packed = packed + packed
    return _table(bytes(packed), *_skip(draw), name="t.csv.gz")


def other_kinds_of_files(draw: random.Random) -> Drawn:
    marks = [
        b"PK\x03\x04",
        b"BZh91AY&SY",
        b"\xfd7zXZ\0",
        b"\x28\xb5\x2f\xfd",
        b"PAR1",
        b"%PDF-1.4",
        b"SQLite format 3\0",
    ]
    name = draw.choice(["t.csv", "t.csv.gz", "t.parquet", "t.xlsx"])
    return _table(
        draw.choice(marks) + draw.randbytes(draw.choice([0, 4, 900])), *_skip(draw), name=name
    )


def bad_parquet(draw: random.Random) -> Drawn:
    data = bytearray(_parquet(draw))
    way = draw.choice(["whole", "cut", "flip", "flips", "empty", "text"])
    if way == "cut":
        del data[draw.randrange(len(data)) :]
    elif way.startswith("flip"):
        for _ in range(1 if way == "flip" else 30):
            data[draw.randrange(len(data))] = draw.randrange(256)
    elif way == "empty":
        data = bytearray(b"PAR1PAR1")
    elif way == "text":
        data = bytearray(_csv(_rows(draw)).encode())
    more = draw.choice(
        [[], ["--separator=;"], ["--encoding=latin-1"], ["--time_format=%Y"], _skip(draw)]
    )
    return _table(bytes(data), *more, name="t.parquet")


def _parquet(draw: random.Random) -> bytes:
    """A Parquet file whose columns hold odd types; a few bytes where pyarrow is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return b"PAR1" + b"\0" * 40 + b"PAR1"
    from datetime import date, datetime
    from decimal import Decimal

    odd = [
        [{"a": 1}, {"a": 2}],
        [["x"], ["y", "z"]],
        [b"a\xff", b"b"],
        [Decimal("1.50"), Decimal("2")],
        [None, None],
        [True, False],
        [date(2024, 1, 1), date(1, 1, 1)],
        [datetime(2024, 1, 1), None],
        [float("nan"), float("inf")],
        [2**62, -(2**62)],
        ["", "NA"],
        [1.0, 2.0],
    ]
    columns = {name: ["a", "b"] for name in HEADER}
    columns["when"] = [1, 2]
    columns["stars"] = [3, 4]
    for _ in range(draw.randint(0, 3)):
        columns[draw.choice(HEADER)] = draw.choice(odd)
    file = io.BytesIO()
    names = list(columns)
    if draw.random() < 0.2:
        names[draw.randrange(len(names))] = draw.choice(names)
    arrays = [pyarrow.array(values) for values in columns.values()]
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, names=names), file)
    return file.getvalue()


def wrong_columns(draw: random.Random) -> Drawn:
    names = [*HEADER, "WHO", "Title", "", "who,what", "nobody", "item_id", "класс", "a b", "who "]
    chosen = [f"--{role}={draw.choice(names)}" for role in ("user", "item", "time")]
    chosen += [
        f"--{role}={draw.choice(names)}"
        for role in ("rating", "text", "scene_column")
        if draw.random() < 0.5
    ]
    return _table(_csv(_rows(draw)), columns=chosen)


def wrong_options(draw: random.Random) -> Drawn:
    named = {option: draw.choice(VALUES) for option in draw.sample(OPTIONS, draw.randint(1, 3))}
    columns = [column for column in ALL_COLUMNS if column[2:].partition("=")[0] not in named]
    return _table(
        _csv(_rows(draw)), *(f"--{key}={value}" for key, value in named.items()), columns=columns
    )


def wrong_syntax(draw: random.Random) -> Drawn:
    odd = [
        "--",
        "-",
        "x",
        "--=",
        "--=x",
        "--user",
        "--user=a",
        "---user=b",
        "--output",
        "\udcff",
        "--\udcff=1",
        "==",
        "",
    ]
    files, arguments = _table(_csv(_rows(draw)))
    for _ in range(draw.randint(1, 3)):
        arguments.insert(draw.randrange(len(arguments) + 1), draw.choice(odd))
    if draw.random() < 0.5:
        arguments = [argument for argument in arguments if draw.random() < 0.8]
    return files, arguments


def outputs(draw: random.Random) -> Drawn:
    files, arguments = _table(_csv(_rows(draw)))
    output = draw.choice(OUTPUTS)
    return files, [
        f"--output={output}" if argument.startswith("--output") else argument
        for argument in arguments
    ]


def taken_outputs(draw: random.Random) -> Drawn:
    files, arguments = _table(_csv(_rows(draw)), *draw.choice([[], ["--overwrite"]]))
    taken = draw.choice(
        [
            "out",
            "out/shop",
            "out/shop/shop.inter",
            "out/shop/shop.item/",
            "out/shop/shop.yaml",
            "out/shop/shop.inter/",
        ]
    )
    files[taken] = b"" if taken.endswith("/") else b"mine"
    return files, arguments


def output_over_input(draw: random.Random) -> Drawn:
    rows = _rows(draw)
    files, arguments = _table(_csv(rows), "--overwrite")
    ending = draw.choice(["inter", "item", "yaml", "bad_rows.tsv"])
    files = {f"out/shop/shop.{ending}": _csv(rows, "\t").encode()}
    path = f"{{folder}}/out/shop/shop.{ending}"
    arguments = [
        f"--input={path}" if argument.startswith("--input") else argument for argument in arguments
    ]
    return files, [*arguments, "--separator=tab"]


def inputs_that_are_none(draw: random.Random) -> Drawn:
    files, arguments = _table(_csv(_rows(draw)))
    files["folder/"] = b""
    path = draw.choice(
        ["", "{folder}", "{folder}/folder", "{folder}/nothing", "{folder}/folder/..", "/dev/null",
        "/dev/zero", "/dev/stdin",
         "{folder}/t.csv/", "{folder}/t.csv/x", "{folder}/" + "x" * 300, "{folder}/\udcff.csv"]
    )  # fmt: skip
    source = draw.choice(
        [
            "csv",
            "parquet",
            "amazon-2014",
            "amazon-2018",
            "amazon-2023",
            "kaggle-books",
            "mind",
            "pad",
            "movielens",
            "CSV",
            "",
        ]
    )
    columns = [argument for argument in arguments[3:] if source in ("csv", "parquet")]
    return files, [f"--source={source}", f"--input={path}", "--output={folder}/out/shop", *columns]


def item_files(draw: random.Random) -> Drawn:
    items = [["what", "title", "brand"], *([f"s{n}", f"thing {n}", "b"] for n in range(9))]
    for _ in range(draw.randint(1, 5)):
        draw.choice(items)[draw.randrange(3)] = draw.choice(ODD_TEXTS)
    text = "".join(",".join(row) + "\n" for row in items)
    files, arguments = _table(_csv(_rows(draw)), *_skip(draw), "--item_file={folder}/i.csv")
    name = draw.choice(["i.csv", "i.csv", "i.csv", "other.csv", "i.csv/"])
    files[name] = b"" if name.endswith("/") else text.encode("utf-8", "replace")
    return files, arguments


def amazon(draw: random.Random) -> Drawn:
    odd = [
        None,
        [],
        {},
        "",
        "NA",
        -1,
        1e300,
        True,
        "x" * 9000,
        ["a", ["b", {}]],
        "\ud83d",
        10**30,
        "[PAD]",
        "a\tb",
    ]
    reviews, meta = [], []
    for _ in range(draw.randint(1, 30)):
        review = {
            "reviewerID": f"A{draw.randrange(5)}",
            "asin": f"B{draw.randrange(5)}",
            "overall": 5.0,
            "unixReviewTime": 9,
        }
        if draw.random() < 0.4:
            review[draw.choice(list(review))] = draw.choice(odd)
        reviews.append(json.dumps(review).encode())
        about = {
            "asin": f"B{draw.randrange(5)}",
            "title": "tea",
            "brand": "b",
            "category": ["x"],
            "description": [],
        }
        if draw.random() < 0.4:
            about[draw.choice(list(about))] = draw.choice(odd)
        meta.append(json.dumps(about).encode())
    broken = [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"\xff",
        b"[" * 60_000,
        b'{"a":' * 60_000,
        b"1" * 6000,
        b"{'asin': open('x')}",
        b"\0",
    ]
    reviews.insert(draw.randrange(len(reviews)), draw.choice(broken))
    meta.insert(draw.randrange(len(meta)), draw.choice(broken))
    name = draw.choice(["X.json", "X_5.json", "reviews_X.json", "meta_meta_X.json", "é.json"])
    files = {f"raw/{name}": b"\n".join(reviews) + b"\n", "raw/meta_X.json": b"\n".join(meta)}
    if draw.random() < 0.3:
        del files["raw/meta_X.json"]
    source = draw.choice(["amazon-2014", "amazon-2018", "amazon-2023"])
    more = draw.choice(
        [[], ["--preset=pad"], ["--scene=main_category"], ["--known_items"], ["--scene=category"]]
    )
    return files, [
        f"--source={source}",
        "--input={folder}/raw",
        "--output={folder}/out/shop",
        *_skip(draw),
        *more,
    ]


def mind(draw: random.Random) -> Drawn:
    lines = []
    for number in range(draw.randint(1, 20)):
        cells = [
            str(number),
            f"U{draw.randrange(4)}",
            "11/11/2019 9:05:58 AM",
            "N1 N2",
            "N1-1 N2-0",
        ]
        if draw.random() < 0.5:
            cells[draw.randrange(5)] = draw.choice([*ODD_TEXTS, "N1", "N1-2", "-1", "N-1-1"])
        lines.append("\t".join(cells))
    news = [f"N{n}\tnews\tfood\tTitle {n}\tAbstract\turl\t[]\t[]" for n in range(4)]
    news.append(draw.choice(["", "N9", "\t" * 7, "N1\t\t\t\t\t\t\t", "x" * 70_000]))
    files = {
        "raw/behaviors.tsv": "\n".join(lines).encode("utf-8", "replace"),
        "raw/news.tsv": "\n".join(news).encode(),
    }
    if draw.random() < 0.3:
        del files[draw.choice(list(files))]
    more = draw.choice(
        [[], ["--clicks=impressions"], ["--preset=pad"], ["--scene=category"], ["--scene=rating"]]
    )
    return files, [
        "--source=mind",
        "--input={folder}/raw",
        "--output={folder}/out/shop",
        *_skip(draw),
        *more,
    ]


def movielens(draw: random.Random) -> Drawn:
    form = draw.choice(["u.data", "ratings.dat", "ratings.csv"])
    separator = {"u.data": "\t", "ratings.dat": "::", "ratings.csv": ","}[form]
    lines = ["userId,movieId,rating,timestamp"] if form == "ratings.csv" else []
    for _ in range(draw.randint(1, 20)):
        cells = [str(draw.randrange(5)), str(draw.randrange(5)), "3", str(draw.randrange(1, 99))]
        if draw.random() < 0.4:
            cells[draw.randrange(4)] = draw.choice(ODD_TEXTS)
        lines.append(separator.join(cells))
    films = {
        "u.data": {
            "u.item": b"1|Caf\xe9|d|v|u|0|1\n2|x\n",
            "u.genre": draw.choice([b"a|0\nb|1\n", b"a\n", b"", b"|\n|"]),
        },
        "ratings.dat": {"movies.dat": b"1::Caf\xe9::Action|Drama\n2::x::\n"},
        "ratings.csv": {"movies.csv": b'movieId,title,genres\n1,"Caf\xc3\xa9, The",Drama\n'},
    }[form]
    files = {
        f"raw/{form}": "\n".join(lines).encode("utf-8", "replace"),
        **{f"raw/{k}": v for k, v in films.items()},
    }
    if draw.random() < 0.3:
        del files[draw.choice(list(files))]
    files.setdefault("raw/README", b"")
    return files, [
        "--source=movielens",
        "--input={folder}/raw",
        "--output={folder}/out/shop",
        *_skip(draw),
    ]


def pad(draw: random.Random) -> Drawn:
    histories = [
        "['a', 'b']",
        "['a']",
        "[]",
        "[1]",
        "x",
        "[" * 9000,
        "['zz']",
        "",
        "['a'" + ", 'a'" * 9000 + "]",
        "{}",
        "['NA']",
    ]
    lines = [
        f'{n},u{draw.randrange(9)},"{draw.choice(histories)}"' for n in range(draw.randint(1, 9))
    ]
    files = {
        "raw/X_cleaned_history.csv": (",user,history\n" + "\n".join(lines)).encode(),
        "raw/metadata_X.csv": b"asin,title\na,Tea\nb,Salt\n"
        + draw.choice([b"", b"a,again\n", b"\xff,x\n", b"NA,x\n"]),
    }
    if draw.random() < 0.2:
        del files[draw.choice(list(files))]
    more = draw.choice(
        [[], ["--unescape=maybe"], ["--known_items"], ["--tie_break=random"], ["--scene=x"]]
    )
    return files, [
        "--source=pad",
        "--input={folder}/raw",
        "--output={folder}/out/shop",
        *_skip(draw),
        *more,
    ]


def kaggle_books(draw: random.Random) -> Drawn:
    lines = [
        "Id,Title,Price,User_id,profileName,review/helpfulness,review/score,review/time,"
        "review/summary,review/text"
    ]
    for _ in range(draw.randint(1, 15)):
        cells = ["B1", "Title", "", "A1", "n", "0/0", "5.0", "9", "s", "t"]
        if draw.random() < 0.5:
            cells[draw.randrange(10)] = draw.choice(ODD_TEXTS)
        lines.append(",".join(cells))
    books = "Title,description,authors,categories\nTitle,about,['Jo'],[\n" + draw.choice(
        ["x\n", ",,,\n", '"', "[" * 5000]
    )
    files = {
        "raw/Books_rating.csv": "\n".join(lines).encode("utf-8", "replace"),
        "raw/books_data.csv": books.encode(),
    }
    if draw.random() < 0.3:
        del files[draw.choice(list(files))]
    more = draw.choice(
        [
            [],
            ["--preset=precise-books"],
            ["--preset=precise-books", "--min_rating=9"],
            ["--items=all"],
        ]
    )
    return files, [
        "--source=kaggle-books",
        "--input={folder}/raw",
        "--output={folder}/out/shop",
        *_skip(draw),
        *more,
    ]


KINDS: dict[str, Callable[[random.Random], Drawn]] = {
    make.__name__.replace("_", "-"): make
    for make in (
        odd_cells, odd_times, random_bytes, flipped_bytes, other_encoding, byte_order_marks,
        other_separator, line_ends, quotes, ragged_rows, bad_headers, huge_fields, empty_files,
        bad_gzip, other_kinds_of_files, bad_parquet, wrong_columns, wrong_options, wrong_syntax,
        outputs, taken_outputs, output_over_input, inputs_that_are_none, item_files, amazon, mind,
        movielens, pad, kaggle_books,
    )
}  # fmt: skip
