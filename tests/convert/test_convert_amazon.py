"""Amazon Reviews of 2014, 2018 and 2023 in their raw formats."""

import json

import pytest
from convert_helpers import atomic, convert, filtered, review_2018, reviews, write_lines

META_2018 = {
    "category": ["Grocery", "Coffee"], "tech1": "", "description": ["Rich &amp; dark",
        "100% \"Arabica\""], "fit": "", "also_buy": ["B9"], "tech2": "",
    "brand": "Bean Co", "feature": [], "rank": ">#1", "also_view": [], "main_cat": "Grocery",
    "similar_item": "", "date": "", "price": "$5", "details": {"a": "b"},
}  # fmt: skip
BROKEN_2018 = [  # each with a word of the reason
    ('{"overall": 5.0, "reviewerID": "A1", ', "it is no JSON object"),
    ("[1, 2]", "it is no JSON object"),
    ('{"overall": 5.0, "asin": "B1", "unixReviewTime": 5}', "reviewerID is missing"),
    (review_2018("A1", "NA", 5, 5), "read as a missing value"),
    (review_2018("A1", "B1", 5, 5).replace("5.0", '"five"'), "overall 'five' is no number"),
    (review_2018("A1", "B1", 5, "soon"), "unixReviewTime 'soon' is no number"),
    (review_2018("A1", "B1", 5, 5).replace("5.0", "NaN"), "overall 'nan' is no number"),
    (review_2018("A1", "B1", 5, -1), "stands for an unknown time"),
    (review_2018("A\\t1", "B1", 5, 5).replace("\\\\t", "\\t"), "a tab"),
    (b'{"reviewerID": "caf\xe9"}', "not UTF-8"),
]


@pytest.fixture
def folder_2018(tmp_path):
    good = reviews(1)
    known = sorted({item for _, item, _, _ in good})[:-3]
    write_lines(tmp_path / "raw" / "Prime_Pantry.json.gz", [review_2018(*row) for row in good])
    titles = [
        json.dumps({**META_2018, "title": f"Tea {item} &quot;x&quot;", "asin": item})
        for item in [*known, "B9999"]
    ]
    titles += [json.dumps({**META_2018, "title": "again", "asin": known[0]})]
    write_lines(tmp_path / "raw" / "meta_Prime_Pantry.json.gz", titles)
    return tmp_path / "raw", good, known


def test_2018_with_the_filters_of_pad(folder_2018, tmp_path, capsys):
    raw, good, known = folder_2018
    status, out, _ = convert(
        capsys, "amazon-2018", raw, tmp_path / "pantry", "--preset=pad", "--last_events=7"
    )
    expected = filtered(good, known, 4, 5, 7)
    inter = atomic(tmp_path / "pantry", "inter")
    assert status == 0 and out.startswith(
        f"{expected.user.nunique()} users, {expected.item.nunique()} items, {len(expected)} "
        "interactions -> "
    )
    assert sorted(
        inter[["user_id", "item_id", "timestamp"]].itertuples(index=False, name=None)
    ) == sorted((u, i, str(t)) for u, i, _, t in expected.itertuples(index=False))
    assert (
        inter.groupby("user_id").timestamp.apply(
            lambda times: times.astype(int).is_monotonic_increasing
        )
    ).all()
    item = atomic(tmp_path / "pantry", "item")
    assert set(item.item_id) == set(inter.item_id) and len(item) == item.item_id.nunique()
    assert item.iloc[0].to_dict() == {
        "item_id": item.item_id[0], "title": f'Tea {item.item_id[0]} "x"', "brand": "Bean Co",
        "main_category": "Grocery",
        "categories": "Grocery Coffee", "description": 'Rich & dark 100% "Arabica"',
    }  # fmt: skip
    lost = len(good) - len(filtered(good, known))
    assert f"left out {lost} interactions with items that have no metadata" in out
    assert (
        f"left out {len(filtered(good, known)) - len(filtered(good, known, 4))} interactions "
        "rated below 4" in out
    )
    assert "1 further rows about an item that has one" in out


def test_pad_keeps_22_events_of_a_user_with_more_than_23(tmp_path, capsys):
    good = [
        (f"A{user}", f"B{n:03d}", 5, 100 + n)
        for user, events in enumerate((22, 23, 24, 40))
        for n in range(events)
    ]
    write_lines(tmp_path / "raw" / "X.json", [review_2018(*row) for row in good])
    write_lines(
        tmp_path / "raw" / "meta_X.json",
        [json.dumps({"asin": f"B{n:03d}", "title": "t"}) for n in range(40)],
    )
    assert convert(capsys, "amazon-2018", tmp_path / "raw", tmp_path / "x", "--preset=pad")[0] == 0
    inter = atomic(tmp_path / "x", "inter")
    assert inter.groupby("user_id").size().to_dict() == {"A0": 22, "A1": 23, "A2": 22, "A3": 22}
    assert inter[inter.user_id == "A3"].item_id.tolist() == [f"B{n:03d}" for n in range(18, 40)]
    assert (
        convert(
            capsys,
            "amazon-2018",
            tmp_path / "raw",
            tmp_path / "text",
            "--preset=pad",
            "--last_events=23",
        )[0]
        == 0
    )
    assert atomic(tmp_path / "text", "inter").groupby("user_id").size().to_dict() == {
        "A0": 22,
        "A1": 23,
        "A2": 23,
        "A3": 23,
    }


def test_bad_rows_are_an_error_with_their_lines_unless_left_out(folder_2018, tmp_path, capsys):
    raw, good, _ = folder_2018
    lines, at = [review_2018(*row) for row in good], {}
    for number, (broken, reason) in enumerate(BROKEN_2018):
        lines.insert(7 * number + 3, broken)
        at[7 * number + 4] = reason
    write_lines(raw / "Prime_Pantry.json.gz", lines)
    status, out, err = convert(capsys, "amazon-2018", raw, tmp_path / "pantry")
    assert (status, out) == (2, "") and err.count("\n") == 1
    for line, reason in list(at.items())[:5]:
        assert f"line {line}: " in err and reason in err
    assert (
        f"and {len(at) - 5} more" in err
        and "--skip_bad_rows=True" in err
        and not (tmp_path / "pantry").exists()
    )

    status, out, _ = convert(capsys, "amazon-2018", raw, tmp_path / "pantry", "--skip_bad_rows")
    assert status == 0 and f"skipped {len(at)} bad rows of Prime_Pantry.json.gz (line 4: " in out
    assert len(atomic(tmp_path / "pantry", "inter")) == len(good)
    listed = [
        line.split("\t")
        for line in (tmp_path / "pantry" / "pantry.bad_rows.tsv")
        .read_text(encoding="utf-8")
        .splitlines()[1:]
    ]
    assert [(int(line), file) for file, line, _ in listed] == [
        (line, "Prime_Pantry.json.gz") for line in at
    ]
    assert all(reason in found for (_, _, found), reason in zip(listed, at.values()))


def test_2014_metadata_are_python_literals(tmp_path, capsys):
    good = reviews(2, items=9)
    review = (
        '{{"reviewerID": "{}", "asin": "{}", "reviewerName": "x", "helpful": [0, 1], '
        '"reviewText": "t", "overall": {}.0, "summary": "s", "unixReviewTime": {}, '
        '"reviewTime": "09 13, 2009"}}'
    )
    write_lines(tmp_path / "raw" / "reviews_Books_5.json.gz", [review.format(*row) for row in good])
    items = sorted({item for _, item, _, _ in good})
    record = (
        "{{'asin': '{}', 'title': \"Bob's {}\", 'price': 3.17, 'imUrl': 'x.jpg', "
        "'salesRank': {{'Toys': 211836}}, 'categories': [['Books', 'Art'], ['Gifts']], "
        "'description': 'd'}}"
    )
    write_lines(
        tmp_path / "raw" / "meta_Books.json.gz", [record.format(item, item) for item in items]
    )
    status, out, _ = convert(
        capsys, "amazon-2014", tmp_path / "raw", tmp_path / "books", "--scene=main_category"
    )
    assert status == 0 and out.startswith(
        f"{len({row[0] for row in good})} users, {len(items)} items, {len(good)} interactions"
    )
    item = atomic(tmp_path / "books", "item")
    assert (
        item.title.tolist() == [f"Bob's {i}" for i in item.item_id]
        and set(item.categories) == {"Books Art Gifts"}
        and set(item.main_category) == {"Books"}
    )
    assert set(atomic(tmp_path / "books", "inter").scene) == {"Books"}
    write_lines(
        tmp_path / "raw" / "meta_Books.json.gz",
        [
            *(record.format(item, item) for item in items),
            "{'asin': open('x')}",
            "{'asin': '1', 'title': 'x'",
        ],
    )
    status, _, err = convert(capsys, "amazon-2014", tmp_path / "raw", tmp_path / "again")
    assert (
        status == 2
        and f"line {len(items) + 1}: it is no Python literal or JSON object" in err
        and f"line {len(items) + 2}: " in err
    )


def test_2023_is_joined_by_the_parent(tmp_path, capsys):
    good = reviews(3)
    rows = [
        {
            "rating": float(r),
            "title": "t",
            "text": "x",
            "images": [],
            "asin": "X" + i,
            "parent_asin": i,
            "user_id": u,
            "timestamp": t * 1000 + 7,
            "helpful_vote": 0,
            "verified_purchase": True,
        }
        for u, i, r, t in good
    ]
    write_lines(tmp_path / "raw" / "All_Beauty.jsonl", map(json.dumps, rows))
    meta = [
        {
            "main_category": "All Beauty",
            "title": f"T {i}",
            "average_rating": 4.8,
            "features": [],
            "description": ["a", "b"],
            "store": "S",
            "categories": [],
            "details": {"x": "y"},
            "parent_asin": i,
            "bought_together": None,
        }
        for i in sorted({row[1] for row in good})
    ]
    write_lines(tmp_path / "raw" / "meta_All_Beauty.jsonl", map(json.dumps, meta))
    assert convert(capsys, "amazon-2023", tmp_path / "raw", tmp_path / "beauty")[0] == 0
    inter, item = atomic(tmp_path / "beauty", "inter"), atomic(tmp_path / "beauty", "item")
    assert sorted(inter.itertuples(index=False, name=None)) == sorted(
        (u, i, str(r), str(t * 1000 + 7)) for u, i, r, t in good
    )
    assert item.iloc[0].to_dict() == {
        "item_id": item.item_id[0],
        "title": f"T {item.item_id[0]}",
        "brand": "S",
        "main_category": "All Beauty",
        "categories": "",
        "description": "a b",
    }


def test_several_categories_are_scenes(tmp_path, capsys):
    books, toys = reviews(4, items=5), reviews(5, items=8)
    write_lines(tmp_path / "raw" / "Books_5.json.gz", [review_2018(*row) for row in books])
    write_lines(
        tmp_path / "raw" / "Toys_and_Games.json.gz",
        [review_2018(u, "T" + i, r, t) for u, i, r, t in toys],
    )
    assert (
        convert(capsys, "amazon-2018", tmp_path / "raw", tmp_path / "two", "--scene=category")[0]
        == 0
    )
    inter = atomic(tmp_path / "two", "inter")
    assert inter.groupby("scene").size().to_dict() == {
        "Books": len(books),
        "Toys_and_Games": len(toys),
    }
    assert (inter.item_id.str.startswith("T") == (inter.scene == "Toys_and_Games")).all()


def test_wrong_releases_and_folders(folder_2018, tmp_path, capsys):
    raw, good, _ = folder_2018
    status, _, err = convert(capsys, "amazon-2023", raw, tmp_path / "x")
    assert (
        status == 2
        and "*.jsonl.gz or *.jsonl with reviews is missing (the folder holds: Prime_Pantry.json.gz"
        in err
    )
    write_lines(raw / "Prime_Pantry_5.json", [review_2018(*row) for row in good])
    status, _, err = convert(capsys, "amazon-2018", raw, tmp_path / "x")
    assert status == 2 and "both hold reviews of Prime_Pantry" in err
    other = write_lines(
        tmp_path / "wrong" / "X.json", [json.dumps({"user_id": "u", "parent_asin": "i"})] * 3000
    ).parent
    status, _, err = convert(capsys, "amazon-2018", other, tmp_path / "x", "--skip_bad_rows=True")
    assert (
        status == 2
        and "none of the first 1000 rows can be used (line 1: reviewerID is missing" in err
        and "--source" in err
    )


def test_a_damaged_download_is_told_even_when_bad_rows_are_left_out(folder_2018, tmp_path, capsys):
    raw, _, _ = folder_2018
    file = raw / "Prime_Pantry.json.gz"
    file.write_bytes(file.read_bytes()[:-40])
    status, _, err = convert(capsys, "amazon-2018", raw, tmp_path / "x", "--skip_bad_rows=True")
    assert (
        status == 2
        and "damaged or end early" in err
        and "download the file again" in err
        and not (tmp_path / "x").exists()
    )


def test_titles_that_are_scripts_are_no_text(tmp_path, capsys):
    write_lines(
        tmp_path / "raw" / "X.json", [review_2018("A1", "B1", 5, 9), review_2018("A1", "B2", 5, 8)]
    )
    write_lines(
        tmp_path / "raw" / "meta_X.json",
        [
            json.dumps({"asin": "B1", "title": "var aPageStart = (new Date()).getTime();"}),
            json.dumps({"asin": "B2", "title": "Tea"}),
        ],
    )
    _, out, _ = convert(capsys, "amazon-2018", tmp_path / "raw", tmp_path / "x")
    assert (
        dict(atomic(tmp_path / "x", "item")[["item_id", "title"]].itertuples(index=False))
        == {"B1": "", "B2": "Tea"}
        and "1 items have no text" in out
    )
