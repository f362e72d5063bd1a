"""Every option of `convert` on every source: it changes what happens, or it is refused by name."""

import csv
import io
import json
import shutil

import pytest
from convert_helpers import convert, write_lines

from recbole_precise.cli.commands import parser_of
from recbole_precise.convert import SOURCES

# Times are equal in pairs; i4 is described but has no event, i3 has events and no description,
# and u9 never had i3.
EVENTS = [
    (f"u{user}", f"i{(user + step) % 4}", 1 + (user + step) % 5, 1000 + step // 2)
    for user in range(1, 6)
    for step in range(user + 1)
]
EVENTS += [("u9", f"i{step % 3}", 5, 1000 + step // 2) for step in range(24)]
DESCRIBED = ["i0", "i1", "i2", "i4"]
COLUMNS = {"user": "who", "item": "what", "time": "when"}
TABLES = ("csv", "parquet")
BAD_USER = "NA"


def quoted(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().splitlines()


def table_rows(events):
    """Rows of a plain table; `day` holds texts, `noon` the same times as dates of the form
    day/month/year.
    """
    header = ["who", "what", "when", "stars", "title", "brand", "shop", "noon"]
    rows = [
        [u, i, t, r, f"tea {i}", f"brand {r}", "web" if t % 2 else "app", f"{t % 27 + 1}/01/2024"]
        for u, i, r, t in events
    ]
    return [header, *rows]


def write_amazon(release, folder, events):
    meta = [
        {
            "title": f"tea {i}",
            "brand": "b",
            "store": "b",
            "main_cat": "x",
            "main_category": "x",
            "categories": [["x"]],
            "asin": i,
            "parent_asin": i,
        }
        for i in DESCRIBED
    ]
    if release == "amazon-2023":
        rows = [
            {"user_id": u, "parent_asin": i, "rating": r, "timestamp": t} for u, i, r, t in events
        ]
        files = {"Tea.jsonl": rows, "meta_Tea.jsonl": meta}
    else:
        rows = [
            {"reviewerID": u, "asin": i, "overall": r, "unixReviewTime": t} for u, i, r, t in events
        ]
        files = {
            "reviews_Tea.json" if release == "amazon-2014" else "Tea.json": rows,
            "meta_Tea.json": meta,
        }
    for name, lines in files.items():
        write_lines(folder / name, map(json.dumps, lines))
    return folder


def write_source(source, folder, events=EVENTS):
    """A download with these events; returns (input, arguments that the source needs)."""
    folder.mkdir()
    if source.startswith("amazon"):
        return write_amazon(source, folder, events), []
    if source == "kaggle-books":
        header = ["Id", "Title", "User_id", "review/score", "review/time"]
        write_lines(
            folder / "Books_rating.csv",
            quoted(
                [
                    header,
                    *([i, f"book {i}", u, r, t] for u, i, r, t in events),
                    ["i4", "book i4", "", 5, 9],
                ]
            ),
        )
        write_lines(
            folder / "books_data.csv",
            quoted(
                [
                    ["Title", "description", "authors", "categories"],
                    *([f"book {i}", "d", "a", "c"] for i in DESCRIBED),
                ]
            ),
        )
        return folder, []
    if source == "movielens":
        write_lines(
            folder / "ratings.csv",
            quoted(
                [
                    ["userId", "movieId", "rating", "timestamp"],
                    *([u, i, r, t] for u, i, r, t in events),
                ]
            ),
        )
        write_lines(
            folder / "movies.csv",
            quoted(
                [["movieId", "title", "genres"], *([i, f"film {i}", "Drama"] for i in DESCRIBED)]
            ),
        )
        return folder, []
    users = dict.fromkeys(user for user, *_ in events)
    lists = {user: [item for u, item, *_ in events if u == user] for user in users}
    if source == "mind":
        lines = [
            f"{n}\t{u}\t11/11/2019 9:05:{n % 3:02d} "
            f"AM\t{' '.join(items)}\t{' '.join(f'{i}-1' for i in items)}"
            for n, (u, items) in enumerate(lists.items())
        ]
        write_lines(folder / "behaviors.tsv", lines)
        write_lines(
            folder / "news.tsv", [f"{i}\tnews\tfood\tTitle {i}\tA\tu\t[]\t[]" for i in DESCRIBED]
        )
        return folder, []
    if source == "pad":
        write_lines(
            folder / "X_cleaned_history.csv",
            quoted(
                [
                    ["", "user", "history"],
                    *([n, u, str(items)] for n, (u, items) in enumerate(lists.items())),
                ]
            ),
        )
        write_lines(
            folder / "metadata_X.csv",
            quoted([["asin", "title"], *([i, f"tea &amp; {i}"] for i in [*DESCRIBED, "i3"])]),
        )
        return folder, []
    needed = [f"--{role}={column}" for role, column in COLUMNS.items()]
    header, *rows = table_rows(events)
    write_lines(
        folder / "items.csv", quoted([["what", "title"], *([i, f"tea {i}"] for i in DESCRIBED)])
    )
    if source == "csv":
        write_lines(folder / "t.csv", quoted([header, *rows]))
        write_lines(folder / "semicolons.csv", [";".join(map(str, row)) for row in [header, *rows]])
        write_lines(
            folder / "latin.csv",
            [
                ",".join(map(str, row)).replace("tea", "thé").encode("latin-1")
                for row in [header, *rows]
            ],
        )
        return folder / "t.csv", needed
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(
        pyarrow.table({name: [row[place] for row in rows] for place, name in enumerate(header)}),
        folder / "t.parquet",
    )
    return folder / "t.parquet", needed


def probes(source, option):
    """`(context, value)`: the option is added with the value to a command that has the arguments
    of the context.
    """
    table = source in TABLES
    rated = ["--rating=stars"] if table else []
    by_rating = source not in ("mind", "pad")
    scene = {
        "mind": "category",
        **dict.fromkeys(("kaggle-books", "movielens", *TABLES), "rating"),
    }.get(source, "category")
    return {
        "preset": [([], "precise-books" if source == "kaggle-books" else "pad")],
        "known_items": [([], "True")]
        + [(["--item_file={folder}/items.csv", "--text=title"], "True")] * table,
        "min_rating": [(rated, "4")] + [([], "4")] * table,
        "min_user_events": [([], "4")],
        "min_item_events": [([], "8")],
        "last_events": [([], "2")],
        "last_of_longer": [([], "1"), (["--last_events=3"], "1")],
        "items": [([], "interacted" if source == "pad" else "all")]
        + [
            (["--item_file={folder}/items.csv", "--text=title"], "all"),
            (["--text=title", "--min_user_events=7"], "all"),
        ]
        * table,
        "tie_break": [([], "file" if source != "pad" else "random")],
        "tie_seed": [([], "7"), (["--tie_break=file"], "7")]
        + [(["--tie_break=random"], "7")] * by_rating,
        "scene": [(rated, scene), ([], "nowhere")],
        "scene_rating": [([], "2")]
        + [([*rated, "--scene=rating"], "2")] * by_rating
        + [(["--rating=stars", "--scene_column=shop"], "2")] * table,
        "skip_bad_rows": [(["bad"], "True")],
        "overwrite": [(["again"], "True")],
        "clicks": [([], "impressions")],
        "unescape": [([], "False")],
        "user": [([], "shop")],
        "item": [([], "brand")],
        "time": [([], "stars")],
        "rating": [([], "stars")],
        "text": [([], "title"), ([], "title,brand")],
        "scene_column": [([], "shop")] + [(["--rating=stars", "--scene=rating"], "shop")] * table,
        "item_file": [([], "{folder}/items.csv")]
        + [(["--text=title"], "{folder}/items.csv")] * table,
        "separator": [(["semicolons.csv"] if source == "csv" else [], ";")],
        "encoding": [(["latin.csv", "--text=title"] if source == "csv" else [], "latin-1")],
        "time_format": [
            (["--time=noon"] if table else [], "%d/%m/%Y"),
            ([], "%Y" if source == "parquet" else "%d/%m/%Y"),
        ],
    }[option]


#: Options that must not be refused everywhere; those that are missing work for every source.
WORKS = {
    "preset": {"amazon-2014", "amazon-2018", "mind", "kaggle-books"},
    "known_items": set(SOURCES) - {"pad"},
    **dict.fromkeys(("min_rating", "scene_rating"), set(SOURCES) - {"mind", "pad"}),
    "tie_seed": set(SOURCES) - {"mind", "pad"},
    "tie_break": set(SOURCES) - {"pad"},
    "scene": set(SOURCES) - {"pad"},
    "clicks": {"mind"},
    "unescape": {"pad"},
    **dict.fromkeys(("separator", "encoding"), {"csv"}),
    **dict.fromkeys(
        ("user", "item", "time", "rating", "text", "scene_column", "item_file", "time_format"),
        set(TABLES),
    ),
}


_OUTCOMES = {}  # a command gives the same each time, and many options share their context


@pytest.fixture
def outcome(tmp_path, capsys):
    """`outcome(source, *arguments)`: exit status, message and files of a command in a folder of
    its own.
    """

    def run(source, *arguments):
        if (source, arguments) not in _OUTCOMES:
            _OUTCOMES[source, arguments] = once(source, arguments)
        return _OUTCOMES[source, arguments]

    def once(source, arguments):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        arguments = list(arguments)
        events = [*EVENTS, (BAD_USER, "i0", 3, 1000)] if "bad" in arguments else EVENTS
        path, needed = write_source(source, folder / "raw", events)
        for word in [word for word in arguments if not word.startswith("--")]:
            arguments.remove(word)
            path = path.with_name(word) if word.endswith(".csv") else path
            if word == "again":
                assert convert(capsys, source, path, folder / "shop", *needed)[0] == 0
        given = {argument.partition("=")[0] for argument in arguments}
        needed = [argument for argument in needed if argument.partition("=")[0] not in given]
        arguments = [argument.replace("{folder}", str(folder / "raw")) for argument in arguments]
        status, _, err = convert(capsys, source, path, folder / "shop", *needed, *arguments)
        files = {file.name: file.read_bytes() for file in (folder / "shop").glob("*")}
        return status, err, files

    return run


@pytest.mark.parametrize(
    "option",
    [key for key in parser_of("convert").options if key not in ("source", "input", "output")],
)
@pytest.mark.parametrize("source", SOURCES)
def test_an_option_has_an_effect_or_is_refused_by_name(source, option, outcome):
    effects = []
    for context, value in probes(source, option):
        context = [argument for argument in context if not argument.startswith(f"--{option}=")]
        without = outcome(source, *context)
        status, err, files = outcome(source, *context, f"--{option}={value}")
        if status == 0:
            assert (without[0], without[2]) != (status, files), (
                f"--{option}={value} with {context} changes nothing"
            )
            effects.append(value)
        else:
            assert status == 2 and err.count("\n") == 1 and (option in err or value in err), err
    expected = source in WORKS.get(option, set(SOURCES))
    assert bool(effects) == expected, f"{option} on {source}: {effects}"


@pytest.mark.parametrize(
    ("source", "more", "words"),
    [
        (
            "csv",
            ["--unescape=True"],
            ["--unescape is an option of --source=pad alone", "With --source=csv it takes"],
        ),
        ("pad", ["--user=who"], ["--user is an option of --source=csv and parquet alone"]),
        (
            "movielens",
            ["--encoding=latin-1"],
            ["--encoding is an option of --source=csv and parquet alone"],
        ),
        (
            "csv",
            ["--known_items=True"],
            ["--known_items leaves out events of items without metadata", "--item_file"],
        ),
        ("csv", ["--items=all"], ["--items=all has no effect", "--item_file"]),
        ("csv", ["--min_rating=2"], ["have no ratings", "--rating=COLUMN"]),
        ("csv", ["--scene_rating=2"], ["--scene_rating has no effect without --scene=rating"]),
        (
            "csv",
            ["--scene_column=shop", "--rating=stars", "--scene=rating"],
            ["--scene_column=shop has no effect with --scene=rating"],
        ),
        (
            "csv",
            ["--tie_break=file", "--tie_seed=3"],
            ["--tie_seed has no effect with tie_break: file", "--tie_break=random"],
        ),
        (
            "pad",
            ["--tie_break=random"],
            ["--tie_break has no effect", "places in each user's list"],
        ),
        ("mind", ["--tie_seed=3"], ["--tie_seed has no effect"]),
        ("amazon-2018", ["--preset=pad", "--tie_seed=3"], ["--tie_seed has no effect"]),
        ("parquet", ["--separator=;"], ["--separator is for CSV files; t.parquet is Parquet"]),
        ("parquet", ["--encoding=latin-1"], ["--encoding is for CSV files"]),
        (
            "parquet",
            ["--time_format=%Y"],
            ["--time_format is for times that are text", "holds int64"],
        ),
        ("csv", ["--time_format=%H:%M"], ["has no year"]),
        ("csv", ["--time_format=%d%d%Y"], ["stands in it twice"]),
        ("csv", ["--time_format=%Q %Y"], ["bad directive"]),
        ("csv", ["--text="], ["--text is empty"]),
        ("csv", ["--text=,"], ["--text names no column"]),
        ("csv", ["--rating="], ["--rating is empty"]),
        ("csv", ["--rating=when"], ["--time and --rating both name the column 'when'"]),
        (
            "csv",
            ["--min_user_events=99999999999999999999"],
            ["--min_user_events must be a whole number"],
        ),
        (
            "csv",
            ["--rating=stars", "--scene=rating", "--scene_rating=inf"],
            ["--scene_rating must be a number"],
        ),
        ("csv", ["--encoding=base64"], ["is no encoding of text files"]),
        ("csv", ['--separator="'], ["no quote mark"]),
    ],
)
def test_refusals_say_what_would_help(source, more, words, outcome):
    status, err, files = outcome(source, *more)
    assert status == 2 and not files and err.count("\n") == 1
    assert [word for word in words if word not in err] == [], err


def test_metadata_that_are_missing_make_their_options_an_error(tmp_path, capsys):
    path, _ = write_source("amazon-2018", tmp_path / "raw")
    (path / "meta_Tea.json").unlink()
    for more, word in (
        (["--preset=pad"], "a rule of the preset pad"),
        (["--items=all"], "--items=all has no effect"),
        (["--scene=main_category"], "--scene=main_category is a column"),
    ):
        status, _, err = convert(capsys, "amazon-2018", path, tmp_path / "shop", *more)
        assert status == 2 and word in err


def test_what_changes_a_preset_is_reported_and_written_down(tmp_path, capsys):
    path, _ = write_source("amazon-2018", tmp_path / "raw")
    _, out, _ = convert(
        capsys,
        "amazon-2018",
        path,
        tmp_path / "shop",
        "--preset=pad",
        "--min_user_events=2",
        "--min_rating=4",
    )
    assert (
        "the preset pad is changed by min_user_events=2\n" in out
    )  # min_rating=4 is the preset's own rule
    assert (
        "with the preset pad, changed by min_user_events=2."
        in (tmp_path / "shop" / "shop.yaml").read_text()
    )
    _, out, _ = convert(
        capsys, "amazon-2018", path, tmp_path / "plain", "--preset=pad", "--min_user_events=5"
    )
    assert "is changed by" not in out
