"""What all sources share: filters against pandas, order inside equal times, the YAML in a real run,
memory, progress.
"""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from convert_helpers import atomic, convert, filtered, review_2018, reviews, write_lines
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.convert import SOURCES
from recbole_precise.convert.store import Store
from recbole_precise.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
NAMES = {"user": "u", "item": "i", "time": "t", "rating": "r"}


def csv_of(rows, path):
    return write_lines(path, ["u,i,r,t", *(",".join(map(str, row)) for row in rows)])


def cored(rows, min_user, min_item):
    """Users and items with fewer events go until none is left, one pass after the other."""
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "time"])
    while True:
        size = len(frame)
        frame = frame[frame.groupby("user").item.transform("size") >= min_user]
        frame = frame[frame.groupby("item").user.transform("size") >= min_item]
        if len(frame) == size:
            return frame


@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(1, 5), st.integers(1,
        8)), min_size=1, max_size=60),
    min_rating=st.one_of(st.none(), st.integers(1, 5)), min_user=st.integers(1, 6),
    last=st.one_of(st.none(), st.integers(1, 6)), less=st.integers(0, 2),
)  # fmt: skip
def test_filters_keep_what_pandas_keeps(rows, min_rating, min_user, last, less, tmp_path_factory):
    folder = tmp_path_factory.mktemp("filters")
    of_longer = None if last is None else max(last - less, 1)
    options = {
        "min_rating": min_rating,
        "min_user_events": min_user,
        "last_events": last,
        "last_of_longer": of_longer,
        "tie_break": "file",
    }
    expected = filtered(
        [(f"u{u}", f"i{i}", r, t) for u, i, r, t in rows],
        None,
        min_rating,
        min_user,
        last,
        of_longer,
    )
    file = csv_of([(f"u{u}", f"i{i}", r, t) for u, i, r, t in rows], folder / "t.csv")
    chosen = {key: value for key, value in options.items() if value is not None}
    if expected.empty:
        with pytest.raises(DataError, match="no interaction is left"):
            SOURCES["csv"](file, folder / "out", **NAMES, **chosen)
        return
    done = SOURCES["csv"](file, folder / "out", **NAMES, **chosen)
    assert (done.users, done.items, done.interactions) == (
        expected.user.nunique(),
        expected.item.nunique(),
        len(expected),
    )
    written = atomic(folder / "out", "inter")
    for user, events in expected.groupby("user"):
        mine = written[written.user_id == user]
        # The order within equal times included: that of the file.
        assert list(zip(mine.item_id, mine.rating.astype(int), mine.timestamp.astype(int))) == list(
            zip(events.item, events.rating, events.time)
        )


@given(
    rows=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=80),
    min_user=st.integers(2, 4),
    min_item=st.integers(2, 4),
)
def test_both_sides_are_filtered_until_none_is_left(rows, min_user, min_item, tmp_path_factory):
    folder = tmp_path_factory.mktemp("core")
    rows = [(f"u{u}", f"i{i}", 1, n + 1) for n, (u, i) in enumerate(rows)]
    expected, file = cored(rows, min_user, min_item), csv_of(rows, folder / "t.csv")
    if expected.empty:
        with pytest.raises(DataError, match="no interaction is left"):
            SOURCES["csv"](
                file, folder / "out", **NAMES, min_user_events=min_user, min_item_events=min_item
            )
        return
    SOURCES["csv"](
        file, folder / "out", **NAMES, min_user_events=min_user, min_item_events=min_item
    )
    assert sorted(atomic(folder / "out", "inter").timestamp.astype(int)) == sorted(expected.time)


def test_equal_times_are_put_in_a_random_order_that_a_seed_fixes(tmp_path):
    """Amazon's files are sorted by item, so the order inside equal times would be that of the
    catalogue.
    """
    rows = reviews(8, events=3000, users=60, items=200, equal_times=True)
    file = csv_of(rows, tmp_path / "t.csv")

    def ascending(name, **options):
        SOURCES["csv"](file, tmp_path / name, **NAMES, **options)
        frame = atomic(tmp_path / name, "inter")
        assert sorted(zip(frame.user_id, frame.item_id, frame.timestamp.astype(int))) == sorted(
            (u, i, t) for u, i, _, t in rows
        )
        same = (
            (frame.user_id == frame.user_id.shift())
            & (frame.timestamp == frame.timestamp.shift())
            & (frame.item_id != frame.item_id.shift())
        )
        return float((frame.item_id > frame.item_id.shift())[same].mean())

    assert ascending("file", tie_break="file") == 1.0
    share = ascending("random")
    pairs = 3000 - 60 * 5
    assert (
        abs(share - 0.5) < 5 * np.sqrt(0.25 / pairs) * 1.5
    )  # pairs share events, so the spread is a little wider
    ascending("again")
    ascending("other", tie_seed=1)
    texts = {
        name: (tmp_path / name / f"{name}.inter").read_bytes()
        for name in ("random", "again", "other")
    }
    assert texts["random"] == texts["again"] != texts["other"]


def test_the_files_and_the_yaml_run(tmp_path, capsys):
    """A run reads what was converted: every item with an event is a candidate, times order events,
    the scene is there.
    """
    rows = reviews(9, events=900, users=30)
    write_lines(tmp_path / "raw" / "X.json", [review_2018(*row) for row in rows])
    write_lines(
        tmp_path / "raw" / "meta_X.json",
        [
            json.dumps({"asin": item, "title": f'"Tea" {item}'})
            for item in sorted({row[1] for row in rows})[:-4]
        ],
    )
    assert (
        convert(capsys, "amazon-2018", tmp_path / "raw", tmp_path / "shop", "--scene=rating")[0]
        == 0
    )
    from recbole_precise import Config
    from recbole_precise.plugin.preparation import create_dataset

    config = Config(
        "PRECISE-UT",
        "shop",
        [str(tmp_path / "shop" / "shop.yaml")],
        {"data_path": str(tmp_path), "gpu_id": "", "checkpoint_dir": str(tmp_path / "saved")},
    )
    dataset = create_dataset(config)
    train, valid, test = dataset.build()
    assert (dataset.user_num - 1, dataset.item_num - 1, dataset.inter_num) == (
        30,
        len({row[1] for row in rows}),
        900 - 30,
    )
    assert len(test) == len(valid) == 30 and set(dataset.field2id_token["scene"]) == {
        "[PAD]",
        "high",
        "low",
    }
    assert (
        config["tie_break"] == "random"
        and sum(bool(record["title"]) for record in dataset.item_records()[1:])
        == len({row[1] for row in rows}) - 4
    )
    latest = {
        user: max(time for u, _, _, time in rows if u == user) for user in {row[0] for row in rows}
    }
    users, times = test.inter_feat["user_id"], dataset.raw_times()[test.inter_feat.interaction.end]
    assert {
        dataset.field2id_token["user_id"][user]: int(time) for user, time in zip(users, times)
    } == latest


def test_a_data_set_is_not_replaced_unasked(tmp_path, capsys):
    file = csv_of([("u", "i", 1, 1)], tmp_path / "t.csv")
    arguments = ("csv", file, tmp_path / "shop", "--user=u", "--item=i", "--time=t")
    assert convert(capsys, *arguments)[0] == 0
    before = (tmp_path / "shop" / "shop.inter").read_bytes()
    csv_of([("u", "other", 1, 1)], tmp_path / "t.csv")
    status, _, err = convert(capsys, *arguments)
    assert (
        status == 2
        and "is there already" in err
        and "--overwrite=True" in err
        and (tmp_path / "shop" / "shop.inter").read_bytes() == before
    )
    assert convert(capsys, *arguments, "--overwrite")[0] == 0 and atomic(
        tmp_path / "shop", "inter"
    ).item_id.tolist() == ["other"]


def test_a_failure_while_writing_leaves_the_old_files(tmp_path, monkeypatch):
    file = csv_of([("u", "i", 1, 1)], tmp_path / "t.csv")
    SOURCES["csv"](file, tmp_path / "shop", **NAMES)
    before = {path.name: path.read_bytes() for path in (tmp_path / "shop").iterdir()}

    def no_room(self, path, *_):
        path.write_text("user_id:token\n")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write", no_room)
    with pytest.raises(DataError, match="No space left"):
        SOURCES["csv"](file, tmp_path / "shop", **NAMES)
    assert {path.name: path.read_bytes() for path in (tmp_path / "shop").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop", "t.csv"]


MEASURE = """
import resource, sys
from recbole_precise.convert import SOURCES, store
store.MEMORY_MIB = 128
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
columns = dict(user="u", item="i", time="t", rating="r")
done = SOURCES["csv"](sys.argv[1], sys.argv[2], **columns, min_user_events=2, last_events=30)
print(done.interactions, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    def grown(events):
        generator = np.random.default_rng(0)
        columns = {
            "u": generator.integers(events // 20, size=events),
            "i": generator.integers(events // 4, size=events),
            "r": 5,
            "t": generator.integers(1, 10**9, size=events),
        }
        file = tmp_path / f"{events}.csv"
        pd.DataFrame(columns).assign(pad="x" * 80).to_csv(file, index=False)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, file, tmp_path / f"d{events}"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
        assert int(done.stdout.split()[0]) > 0.8 * events
        return int(done.stdout.split()[1])

    small, large = grown(1_000_000), grown(2_000_000)  # 100 and 200 MB
    assert large < small + 48 * 1024 and large < 288 * 1024  # KiB; the rows would not fit into it


def test_progress_is_shown_on_a_terminal_alone(tmp_path):
    file = csv_of([(f"u{n % 50}", f"i{n}", 1, n + 1) for n in range(5000)], tmp_path / "t.csv")
    command = [
        sys.executable,
        "-m",
        "recbole_precise",
        "convert",
        "--source=csv",
        f"--input={file}",
        f"--output={tmp_path / 'a'}",
        "--user=u",
        "--item=i",
        "--time=t",
        "--overwrite",
    ]
    ours, theirs = pty.openpty()
    fcntl.ioctl(
        theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0)
    )  # a terminal of 100 columns
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT, text=True)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert (
        process.wait() == 0
        and b"t.csv: 100%" in shown
        and b"t.csv" not in process.stdout.readline().encode()
    )
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr == ""
