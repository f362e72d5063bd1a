"""Processor time of `convert` on a synthetic CSV, beside the same work in plain Python.

    python benchmarks/convert.py
    python benchmarks/convert.py --rows=2000000 --pairs=3

The table has the columns user, item, time and rating, a second one has the items' titles. Plain
Python reads both with csv.reader, checks every cell as `convert` does, keeps the rows in lists,
sorts them and writes the same two files, row by row; the outputs are compared. Unlike `convert` it
holds everything in memory, so that it stands for the least that such a program costs.

Each measurement runs in a process of its own, the two in turn, and counts processor seconds of all
its threads, imports included. Writes results/convert.md and prints it.
"""

from __future__ import annotations

import argparse
import csv
import html
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_BREAKS = re.compile(r"[\x00\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_MISSING = frozenset(
    ["", "NA", "N/A", "NULL", "NaN", "None", "n/a", "nan", "null", "<NA>", "[PAD]"]
)


def write_tables(folder: Path, rows: int) -> None:
    """Write `events.csv` and `items.csv`; a tenth of the titles is quoted and holds an entity."""
    draw = np.random.default_rng(0)
    items = 20_000
    columns = zip(
        draw.integers(max(rows // 20, 1), size=rows),
        draw.zipf(1.3, size=rows) % items,
        1_500_000_000 + draw.integers(10**8, size=rows),
        draw.integers(1, 6, size=rows),
        strict=True,
    )
    with (folder / "events.csv").open("w", encoding="utf-8") as file:
        file.write("user,item,time,rating\n")
        file.writelines(f"customer{u},product{i},{t},{r}\n" for u, i, t, r in columns)
    with (folder / "items.csv").open("w", encoding="utf-8") as file:
        file.write("item,title\n")
        for item in range(items):
            title = f'"Tea {item}, green &amp; fine"' if item % 10 == 0 else f"Tea {item} green"
            file.write(f"product{item},{title}\n")


def convert(folder: Path) -> None:
    """The command, in this process."""
    from recbole_precise.convert import SOURCES

    SOURCES["csv"](
        folder / "events.csv",
        folder / "convert",
        user="user",
        item="item",
        time="time",
        rating="rating",
        text="title",
        item_file=folder / "items.csv",
        tie_break="file",
    )


def plain(folder: Path) -> None:
    """The same in Python alone."""
    events = []
    for line, (user, item, moment, rating) in _rows(folder / "events.csv"):
        cells = (_token(user, line), _token(item, line), _number(moment, line))
        events.append((*cells, _number(rating, line)))
    used = {event[1] for event in events}
    titles: dict[str, str] = {}
    for line, (item, title) in _rows(folder / "items.csv"):
        if _token(item, line) in used:
            titles.setdefault(item, _text(title))
    users: dict[str, int] = {}
    for event in events:
        users.setdefault(event[0], len(users))
    events.sort(key=lambda event: (users[event[0]], event[2]))
    place = folder / "plain"
    place.mkdir(exist_ok=True)
    with (place / "plain.inter").open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\trating:float\ttimestamp:float\n")
        file.writelines(f"{u}\t{i}\t{r}\t{t}\n" for u, i, t, r in events)
    with (place / "plain.item").open("w", encoding="utf-8") as file:
        file.write("item_id:token\ttitle:token_seq\n")
        file.writelines(f"{item}\t{title}\n" for item, title in titles.items())


def _rows(path: Path):
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        width = len(next(reader))
        for row in reader:
            if len(row) != width:
                raise ValueError(f"line {reader.line_num}: {len(row)} fields")
            yield reader.line_num, row


def _token(cell: str, line: int) -> str:
    text = cell.strip()
    if text in _MISSING or _BREAKS.search(text) or text.startswith('"'):
        raise ValueError(f"line {line}: '{text}' is no id")
    return text


def _number(cell: str, line: int) -> int | float:
    text = cell.strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"line {line}: '{text}' is no number")
    try:
        return int(text)
    except ValueError:
        return float(text)


def _text(cell: str) -> str:
    text = _BREAKS.sub(" ", html.unescape(cell)).strip()
    return text.replace('"', "'") if text.startswith('"') else text


def measure(way: str, folder: Path) -> tuple[float, float, float]:
    """Run one way in a process of its own: processor seconds, seconds, MB at the highest."""
    command = [sys.executable, __file__, f"--run={way}", f"--folder={folder}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, wall, float(done.stdout)


def main() -> None:
    """Measure both ways in turn and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--run", choices=("convert", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        globals()[options.run](options.folder)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    found: dict[str, list[tuple[float, float, float]]] = {"convert": [], "plain": []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_tables(folder, options.rows)
        for _ in range(options.pairs):
            for way, values in found.items():
                values.append(measure(way, folder))
        for ending in ("inter", "item"):
            ours = (folder / "convert" / f"convert.{ending}").read_bytes()
            if ours != (folder / "plain" / f"plain.{ending}").read_bytes():
                raise SystemExit(f"the two ways wrote different files .{ending}")
    ratios = [b[0] / a[0] for a, b in zip(found["convert"], found["plain"], strict=True)]
    lines = [
        f"`python benchmarks/convert.py --rows={options.rows} --pairs={options.pairs}`, medians; "
        f"{platform.machine()}, Python {platform.python_version()}.",
        "",
        "| way | processor s | s | MB at the highest |",
        "|---|---|---|---|",
    ]
    for way, values in found.items():
        cpu, wall, memory = (statistics.median(column) for column in zip(*values, strict=True))
        lines.append(f"| {way} | {cpu:.2f} | {wall:.2f} | {memory:.0f} |")
    low, high = min(ratios), max(ratios)
    middle = statistics.median(ratios)
    lines += ["", f"Plain Python takes {middle:.1f} times as much ({low:.1f} to {high:.1f})."]
    text = "\n".join(lines) + "\n"
    (RESULTS / "convert.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
