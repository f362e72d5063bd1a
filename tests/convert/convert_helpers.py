"""Raw files in the formats of their publishers, and the atomic files that came out, read without
this package.
"""

import csv
import gzip
import json
import random
from pathlib import Path

import pandas as pd

from recbole_precise import cli


def convert(capsys, source, path, output, *more):
    """The command in this process: (status, stdout, stderr)."""
    status = cli.main(
        ["convert", f"--source={source}", f"--input={path}", f"--output={output}", *more]
    )
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def atomic(output, suffix):
    """An atomic file as a frame of texts, read by pandas without quoting rules."""
    frame = pd.read_csv(
        Path(output) / f"{Path(output).name}.{suffix}",
        sep="\t",
        dtype=str,
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
    )
    return frame.rename(columns=lambda name: name.split(":")[0])


def write_lines(path, lines):
    """Bytes or text lines; gzip when the name says so."""
    data = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def reviews(seed=0, events=400, users=40, items=30, equal_times=False):
    """Random (user, item, rating, time), in the order of items as Amazon's files are."""
    generator = random.Random(seed)
    rows = [
        (
            f"A{generator.randrange(users):03d}",
            f"B{generator.randrange(items):04d}",
            generator.randint(1, 5),
            1_300_000_000 + generator.randrange(5 if equal_times else 10**7),
        )
        for _ in range(events)
    ]
    return sorted(rows, key=lambda row: row[1])


def review_2018(user, item, rating, time):
    return json.dumps(
        {
            "overall": float(rating), "verified": True, "reviewTime": "05 20, 2014",
            "reviewerID": user, "asin": item, "style": {"Size:": " 5 oz"},
            "reviewerName": "Jo \"J\" Doe", "reviewText": "Good,\tvery good\n"
                                                          "indeed", "summary": "Five Stars",
                                                          "unixReviewTime": time,
        }
    )  # fmt: skip


def filtered(rows, known=None, min_rating=None, min_user=1, last=None, last_of_longer=None):
    """What the filters keep of good rows, computed with pandas.

    Columns user, item, rating, time in the order of user and time.
    """
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "time"])
    if known is not None:
        frame = frame[frame.item.isin(known)]
    if min_rating is not None:
        frame = frame[frame.rating >= min_rating]
    frame = frame[frame.groupby("user").item.transform("size") >= min_user]
    frame = frame.sort_values(["user", "time"], kind="stable")
    if last is not None:
        size = frame.groupby("user").item.transform("size")
        keep = size.where(size <= last, last_of_longer or last)
        frame = frame[frame.groupby("user").cumcount(ascending=False) < keep]
    return frame
