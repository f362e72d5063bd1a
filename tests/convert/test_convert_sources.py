"""Kaggle's Amazon Books, MIND, MovieLens and plain tables in their raw formats."""

import csv
import gzip
import random
from datetime import datetime, timedelta, timezone

import pytest
from convert_helpers import atomic, convert, filtered, reviews, write_lines

# --- Kaggle's Amazon Books --------------------------------------------------------------------

RATING_HEADER = [
    "Id",
    "Title",
    "Price",
    "User_id",
    "profileName",
    "review/helpfulness",
    "review/score",
    "review/time",
    "review/summary",
    "review/text",
]
BOOK_HEADER = [
    "Title",
    "description",
    "authors",
    "image",
    "previewLink",
    "publisher",
    "publishedDate",
    "infoLink",
    "categories",
    "ratingsCount",
]


def rating_row(user, item, rating, time):
    return [
        item,
        f'The "{item[:4]}", Vol. 1',
        "",
        user,
        'Jo "J"',
        "7/7",
        f"{rating}.0",
        str(time),
        'Nice, "really"',
        "Line one\nline two, with commas",
    ]


@pytest.fixture
def kaggle(tmp_path):
    good = reviews(6, events=500, items=25)
    folder = tmp_path / "raw"
    folder.mkdir()
    with open(folder / "Books_rating.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(RATING_HEADER)
        for number, row in enumerate(good):
            writer.writerow(rating_row(*row))
            if number % 5 == 0:
                writer.writerow(rating_row("", *row[1:]))
    titles = sorted({rating_row(*row)[1] for row in good})
    with open(folder / "books_data.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(BOOK_HEADER)
        for title in titles:
            writer.writerow(
                [
                    title,
                    "About\n it",
                    "['Ann O\\'Dea', 'Bo']",
                    "",
                    "",
                    "P",
                    "1996",
                    "",
                    "['Fiction']",
                    "2.0",
                ]
            )
        writer.writerow(["Nobody's", "x", "", "", "", "", "", "", "", ""])
        writer.writerow(["", "x", "", "", "", "", "", "", "", ""])
    return folder, good


def test_kaggle_books_with_the_filters_of_precise(kaggle, tmp_path, capsys):
    folder, good = kaggle
    status, out, _ = convert(
        capsys, "kaggle-books", folder, tmp_path / "books", "--preset=precise-books"
    )
    expected = filtered(good, None, 3, 3)
    assert status == 0 and out.startswith(
        f"{expected.user.nunique()} users, {expected.item.nunique()} items, {len(expected)} "
        "interactions"
    )
    assert f"left out {len(good) // 5} reviews that name no user" in out
    inter = atomic(tmp_path / "books", "inter")
    assert sorted(inter.itertuples(index=False, name=None)) == sorted(
        (u, i, str(r), str(t)) for u, i, r, t in expected.itertuples(index=False)
    )
    item = atomic(tmp_path / "books", "item")
    assert set(item.item_id) == set(expected.item)
    assert item.iloc[0].to_dict() == {
        "item_id": item.item_id[0], "title": f'The "{item.item_id[0][:4]}", '
                                             'Vol. 1', "authors": "Ann O'Dea Bo",
                                             "categories": "Fiction", "description": "About  it",
    }  # fmt: skip
    assert (
        "item_text: [title, description, categories]"
        in (tmp_path / "books" / "books.yaml").read_text()
    )


def test_kaggle_books_bad_rows(kaggle, tmp_path, capsys):
    folder, good = kaggle
    file = folder / "Books_rating.csv"
    begin = file.read_bytes().count(b"\n") + 1
    broken = [
        "B1,t,,A1,n,0/0,5.0,never,s,t",
        "B1,t,,A1,n",
        'B1,"t"x,,A1,n,0/0,5.0,9,s,t',
        "B1,t,,A1,n,0/0,,9,s,t",
        ",t,,A1,n,0/0,4.0,9,s,t",
        "B1,t,,A1,n,0/0,4.0,-1,s,t",
    ]
    with open(file, "a", encoding="utf-8", newline="") as more:
        more.write("\r\n".join([*broken, "B1,last,,A1,n,0/0,4.0,99,s,t"]) + "\r\n")
    status, _, err = convert(capsys, "kaggle-books", folder, tmp_path / "books")
    assert status == 2 and "and 1 more" in err and "leave them out" in err
    words = [
        "'never' is no number",
        "5 fields where the header has 10",
        "not proper CSV",
        "review/score is missing",
        "Id is missing",
    ]
    assert all(f"line {begin + n}: " in err and word in err for n, word in enumerate(words))
    status, out, _ = convert(capsys, "kaggle-books", folder, tmp_path / "books", "--skip_bad_rows")
    assert status == 0 and "skipped 6 bad rows" in out and f"{len(good) + 1} interactions" in out


# --- MIND -------------------------------------------------------------------------------------


@pytest.fixture
def mind(tmp_path):
    """Two parts; users whose history grows; (folder, histories, clicks with times)."""
    generator = random.Random(7)
    news = [f"N{n}" for n in range(40)]
    histories, clicks = {}, []
    for part in (
        "MINDsmall_dev",
        "MINDsmall_train",
    ):  # as they are read: of lists equally long the first counts
        lines = []
        for number in range(60):
            user = f"U{generator.randrange(25)}"
            history = [generator.choice(news) for _ in range(generator.randrange(12))]
            when = datetime(2019, 11, 9, tzinfo=timezone.utc) + timedelta(
                seconds=generator.randrange(10**6)
            )
            shown = {item: generator.randrange(2) for item in generator.sample(news, 4)}
            lines.append(
                "\t".join(
                    [
                        str(number + 1),
                        user,
                        f"{when.month}/{when.day}/{when.year} "
                        f"{when.strftime('%I:%M:%S %p').lstrip('0')}",
                        " ".join(history),
                        " ".join(f"{n}-{c}" for n, c in shown.items()),
                    ]
                )
            )
            if len(history) > len(histories.get(user, [])):
                histories[user] = history
            clicks += [
                (user, item, int(when.timestamp())) for item, clicked in shown.items() if clicked
            ]
        write_lines(tmp_path / "raw" / part / "behaviors.tsv", lines)
        entities = '[{"Label": "X", "Type": "P", "WikidataId": "Q1"}]'
        write_lines(
            tmp_path / "raw" / part / "news.tsv",
            [
                "\t".join(
                    [
                        n,
                        "news" if n < "N3" else "sports",
                        "football",
                        f'"Best" of {n}',
                        "",
                        "https://x",
                        entities,
                        "[]",
                    ]
                )
                for n in news
            ],
        )
    return tmp_path / "raw", histories, clicks


def test_mind_histories(mind, tmp_path, capsys):
    folder, histories, _ = mind
    assert convert(capsys, "mind", folder, tmp_path / "m")[0] == 0
    inter = atomic(tmp_path / "m", "inter")
    assert inter.groupby("user_id").item_id.apply(list).to_dict() == {
        user: history for user, history in histories.items() if history
    }
    assert all(
        times == [str(n) for n in range(len(times))]
        for times in inter.groupby("user_id").timestamp.apply(list)
    )
    item = atomic(tmp_path / "m", "item").set_index("item_id")
    assert item.title["N1"] == "'Best' of N1" and item.category["N1"] == "news"
    assert (
        convert(capsys, "mind", folder, tmp_path / "pad", "--preset=pad", "--last_events=6")[0] == 0
    )
    kept = atomic(tmp_path / "pad", "inter").groupby("user_id").item_id.apply(list).to_dict()
    assert kept == {user: history[-6:] for user, history in histories.items() if len(history) >= 5}


def test_mind_clicks_of_impressions_with_their_times(mind, tmp_path, capsys):
    folder, _, clicks = mind
    assert (
        convert(capsys, "mind", folder, tmp_path / "m", "--clicks=impressions", "--scene=category")[
            0
        ]
        == 0
    )
    inter = atomic(tmp_path / "m", "inter")
    assert sorted(inter.itertuples(index=False, name=None)) == sorted(
        (u, i, str(t), "news" if i < "N3" else "sports") for u, i, t in clicks
    )


def test_mind_bad_rows(mind, tmp_path, capsys):
    folder, _, clicks = mind
    file = folder / "MINDsmall_dev" / "behaviors.tsv"
    with open(file, "a") as more:
        more.write(
            "61\tU1\t13/13/2019 1:00:00 AM\tN1\tN1-1\n62\tU1\t11/12/2019 1:00:00 AM\tN1\tN1 N2\n"
            "63\tU1\t11/12/2019 1:00:00 AM\n64\t\t11/12/2019 1:00:00 AM\tN1\tN1-1\n"
        )
    with open(folder / "MINDsmall_train" / "news.tsv", "a") as more:
        more.write("N99\tnews\n")
    status, _, err = convert(capsys, "mind", folder, tmp_path / "m", "--clicks=impressions")
    assert (
        status == 2
        and "line 61: time '13/13/2019 1:00:00 AM' is no date" in err
        and "line 62: 'N1' does not say" in err
    )
    assert (
        "line 63: it has 3 fields where 5" in err
        and "line 64: user is missing" in err
        and "line 41: it has 2 fields where 8" in err
    )
    _, out, _ = convert(
        capsys, "mind", folder, tmp_path / "m", "--clicks=impressions", "--skip_bad_rows"
    )
    assert (
        f"{len(clicks)} interactions" in out
        and "skipped 4 bad rows of behaviors.tsv" in out
        and "skipped 1 bad row of news.tsv" in out
    )
    assert (
        convert(capsys, "mind", folder, tmp_path / "m2", "--clicks=all")[2]
        == "--clicks is history or impressions, not 'all'.\n"
    )


# --- MovieLens --------------------------------------------------------------------------------

GENRES = ["unknown", "Action", "Children's"]
MOVIELENS = {
    "100k": {
        "ratings": ("u.data", "{}\t{}\t{}\t{}"),
        "others": {
            "u.item": ["{}|Café {} (1995)|01-Jan-1995||http://x|0|1|1"],
            "u.genre": [f"{name}|{n}" for n, name in enumerate(GENRES)] + [""],
        },
        "genres": "Action Children's",
    },
    "1m": {
        "ratings": ("ratings.dat", "{}::{}::{}::{}"),
        "others": {"movies.dat": ["{}::Café {} (1995)::Action|Children's"]},
        "genres": "Action Children's",
    },
    "20m": {
        "ratings": ("ratings.csv", "{},{},{},{}"),
        "others": {"movies.csv": ['{},"Café {} (1995)",Action|Children\'s']},
        "genres": "Action Children's",
    },
}


@pytest.mark.parametrize("release", list(MOVIELENS))
def test_movielens(release, tmp_path, capsys):
    form, generator = MOVIELENS[release], random.Random(release)
    half = 0.5 if release == "20m" else 1
    rows = [
        (
            generator.randint(1, 30),
            generator.randint(1, 20),
            generator.randint(1, 5) * half,
            800_000_000 + generator.randrange(10**8),
        )
        for _ in range(300)
    ]
    file, line = form["ratings"]
    lines = [line.format(u, i, f"{r:g}", t) for u, i, r, t in rows]
    folder = tmp_path / "raw"
    write_lines(
        folder / file, ["userId,movieId,rating,timestamp", *lines] if release == "20m" else lines
    )
    for name, templates in form["others"].items():
        films = (
            [templates[0].format(n, n) for n in range(1, 25)] if "{}" in templates[0] else templates
        )
        films = (
            ["movieId,title,genres", *films, "99,None (2000),(no genres listed)"]
            if release == "20m"
            else films
        )
        write_lines(
            folder / name,
            [film.encode("utf-8" if release == "20m" else "latin-1") for film in films],
        )
    status, out, _ = convert(
        capsys, "movielens", folder, tmp_path / "ml", "--scene=rating", "--scene_rating=2"
    )
    assert status == 0 and out.startswith(
        f"{len({u for u, *_ in rows})} users, {len({i for _, i, *_ in rows})} items, 300 "
        "interactions"
    )
    inter = atomic(tmp_path / "ml", "inter")
    assert sorted(
        (int(u), int(i), float(r), int(t), s) for u, i, r, t, s in inter.itertuples(index=False)
    ) == sorted((*row, "high" if row[2] >= 2 else "low") for row in rows)
    item = atomic(tmp_path / "ml", "item").set_index("item_id")
    assert all(
        item.title[i] == f"Café {i} (1995)" and item.genres[i] == form["genres"] for i in item.index
    )

    begin = len(lines) + 1 + (release == "20m")
    separator = {"100k": "\t", "1m": "::", "20m": ","}[release]
    with open(folder / file, "a") as more:
        more.write(
            "\n".join(
                separator.join(row)
                for row in (
                    ["1", "2", "x", "9"],
                    ["1", "2", "3"],
                    ["", "2", "3", "9"],
                    ["1", "2", "3", "nan"],
                )
            )
            + "\n"
        )
    status, _, err = convert(capsys, "movielens", folder, tmp_path / "bad")
    assert (
        status == 2
        and all(f"line {begin + n}: " in err for n in range(4))
        and "rating 'x' is no number" in err
    )
    assert (
        "300 interactions"
        in convert(capsys, "movielens", folder, tmp_path / "bad", "--skip_bad_rows")[1]
    )


# --- Plain tables -----------------------------------------------------------------------------

TABLE = [
    "who,what,when,name,kind,stars",
    "u1,i1,2024-01-02T03:04:05Z,Tea &amp; cup,hot,5",
    'u1,i2,1704164646,"Pan, 5"" wide",cold,',
    "u2,i1,2024-01-02 03:04:07+01:00,ignored,hot,3",
]
NAMES = ("--user=who", "--item=what", "--time=when")


def test_csv_with_named_columns(tmp_path, capsys):
    for name, lines in (
        ("t.csv", TABLE),
        ("t.csv.gz", TABLE),
        (
            "t.tsv",
            [
                line.replace(",", "\t").replace('"Pan\t 5"" wide"', '"Pan, 5"" wide"')
                for line in TABLE
            ],
        ),
    ):
        file = write_lines(tmp_path / name, lines)
        status, _, err = convert(
            capsys,
            "csv",
            file,
            tmp_path / "t",
            *NAMES,
            "--text=name,kind",
            "--scene_column=kind",
            "--scene=kind",
            "--overwrite",
        )
        assert (status, err) == (0, "")
        assert list(atomic(tmp_path / "t", "inter").itertuples(index=False, name=None)) == [
            ("u1", "i1", "1704164645", "hot"), ("u1", "i2", "1704164646", "cold"), ("u2", "i1",
                "1704161047", "hot"),
        ]  # fmt: skip
        assert list(atomic(tmp_path / "t", "item").itertuples(index=False, name=None)) == [
            ("i1", "Tea & cup", "hot"),
            ("i2", 'Pan, 5" wide', "cold"),
        ]


def test_csv_with_a_file_of_items_and_a_form_of_times(tmp_path, capsys):
    events = write_lines(
        tmp_path / "e.csv", ["who;what;when", "u;1;31/12/1999 23:00", "u;2;01/01/2000 01:00"]
    )
    items = write_lines(tmp_path / "i.csv", ["what;title", "2;Two", "1;One", "3;Three"])
    more = (
        *NAMES,
        f"--item_file={items}",
        "--text=title",
        "--separator=semicolon",
        "--time_format=%d/%m/%Y %H:%M",
    )
    assert convert(capsys, "csv", events, tmp_path / "t", *more)[0] == 0
    assert atomic(tmp_path / "t", "inter").timestamp.tolist() == ["946681200", "946688400"]
    assert atomic(tmp_path / "t", "item").title.tolist() == ["Two", "One"]
    assert convert(capsys, "csv", events, tmp_path / "all", *more, "--items=all")[0] == 0
    assert atomic(tmp_path / "all", "item").title.tolist() == ["Two", "One", "Three"]


def test_csv_bad_rows(tmp_path, capsys):
    file = write_lines(
        tmp_path / "t.csv",
        [
            *TABLE,
            "u3,i1,yesterday,n,k,1",
            "u3,i1",
            "u3,,9,n,k,1",
            b"u3,i\xff,9,n,k,1",
            'u3,i9,9,"two\nlines",k,1',
            "u4,i1,inf,n,k,1",
        ],
    )
    status, _, err = convert(capsys, "csv", file, tmp_path / "t", *NAMES)
    assert (
        status == 2
        and "line 5: when 'yesterday' is no number or ISO date; line 6: it has 2 fields where "
        "the header has 6; line 7: what is missing; line 8: it holds bytes that are not "
        "UTF-8; line 11: when 'inf'"
        in err
    )
    assert (
        "4 interactions"
        in convert(capsys, "csv", file, tmp_path / "t", *NAMES, "--skip_bad_rows")[1]
    )
    (tmp_path / "utf16.csv").write_bytes("\n".join(TABLE).encode("utf-16"))
    assert (
        "is not UTF-8 text"
        in convert(capsys, "csv", tmp_path / "utf16.csv", tmp_path / "t2", *NAMES)[2]
    )


def test_an_unclosed_quote_does_not_swallow_the_file(tmp_path, capsys):
    lines = ["who,what,when", 'u1,"i1,5', *(f"u{n},i{n},{n + 1}" for n in range(200))]
    status, _, err = convert(
        capsys, "csv", write_lines(tmp_path / "t.csv", lines), tmp_path / "t", *NAMES
    )
    assert status == 2 and "line 2: it is not proper CSV" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (NAMES[:2], "The source csv needs --time=COLUMN."),
        (
            ("--user=Who", *NAMES[1:]),
            "line 1 names no column 'Who' (columns: who, what, when, name, kind, stars). Did you "
            "mean 'who'?",
        ),
        ((*NAMES, "--rating=stars"), "line 3: stars is missing"),
        ((*NAMES, "--text=item_id"), "'item_id' cannot name a column"),
        ((*NAMES, "--scene=kind"), "scene: there is no 'kind' here. This source has none."),
        ((*NAMES, "--min_rating=3"), "these interactions have no ratings"),
        (
            (*NAMES, "--min_user_events=9"),
            "no interaction is left (left out 3 interactions of 2 users with fewer than 9)",
        ),
        (
            (*NAMES, "--min_user_event=9"),
            "Unknown option '--min_user_event' of convert. Did you mean 'min_user_events'?",
        ),
        (
            (*NAMES, "--min_user_events=-1"),
            "--min_user_events must be a whole number above 0, not '-1'.",
        ),
        ((*NAMES, "--last_of_longer=3"), "last_of_longer is a number up to last_events"),
        ((*NAMES, "--tie_break=rand"), "--tie_break is random or file, not 'rand'."),
        ((*NAMES, "--skip_bad_rows=maybe"), "--skip_bad_rows is True or False, not 'maybe'."),
        (
            (*NAMES, "--preset=pad"),
            "The preset 'pad' is meant for amazon-2018 and amazon-2014 and mind, not for the "
            "source csv.",
        ),
        ((*NAMES, "--preset=pda"), "Unknown preset 'pda'. Did you mean 'pad'?"),
        ((*NAMES, "--separator=ab"), "--separator is one character"),
        ((*NAMES, "--item_file=none.csv"), "--item_file is read for texts"),
        ((*NAMES, "--item_file=none.csv", "--text=t"), "none.csv: there is no such file"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(more, message, tmp_path, capsys):
    status, out, err = convert(
        capsys, "csv", write_lines(tmp_path / "t.csv", TABLE), tmp_path / "t", *more
    )
    assert (status, out) == (2, "") and err.count("\n") == 1 and message in err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_parquet(tmp_path, capsys):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    when = [datetime(2024, 1, 2, 3, 4, 5), datetime(2024, 1, 2, 3, 4, 6), None]
    table = pyarrow.table(
        {"who": ["u1", "u1", "u2"], "what": [1, 2, 1], "when": when, "name": ["Tea", None, "x"]}
    )
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    status, _, err = convert(
        capsys, "parquet", tmp_path / "t.parquet", tmp_path / "t", *NAMES, "--text=name"
    )
    assert status == 2 and "row 3: when is missing" in err
    assert (
        convert(
            capsys,
            "parquet",
            tmp_path / "t.parquet",
            tmp_path / "t",
            *NAMES,
            "--text=name",
            "--skip_bad_rows",
        )[0]
        == 0
    )
    assert list(atomic(tmp_path / "t", "inter").itertuples(index=False, name=None)) == [
        ("u1", "1", "1704164645"),
        ("u1", "2", "1704164646"),
    ]
    assert list(atomic(tmp_path / "t", "item").itertuples(index=False, name=None)) == [
        ("1", "Tea"),
        ("2", ""),
    ]
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    assert (
        "cannot be read as Parquet"
        in convert(capsys, "parquet", tmp_path / "broken.parquet", tmp_path / "b", *NAMES)[2]
    )


def test_gzip_is_seen_by_its_bytes(tmp_path, capsys):
    (tmp_path / "plain_name.csv").write_bytes(gzip.compress(("\n".join(TABLE) + "\n").encode()))
    assert convert(capsys, "csv", tmp_path / "plain_name.csv", tmp_path / "t", *NAMES)[0] == 0
