"""Time and peak memory of the data path on synthetic interactions, ours beside RecBole's
SequentialDataset.

    python benchmarks/data_path.py
    python benchmarks/data_path.py --sizes 1000000 --recbole_sizes 1000000 --max_gb 24

Users have 2 + Geometric events, 20 on average; items follow Zipf's law; times are seconds over
three years; the file is in the order of time. Each measurement runs in a process of its own:

- *load*: from `.inter` on disk to the split data set (reading, filtering, ids, build);
- *build*: the part of it that RecBole calls `build` (ordering events, making rows, splitting).

CPU seconds stand beside wall seconds, for machines that do other things too. Peak memory is the
process's resident set; what was resident before (interpreter, libraries, and for *build* the data
set as read) is subtracted in `added_mb`. A process that grows beyond `--max_gb` is ended and
reported as such. Writes results/data_path.json and prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"
MEAN_LENGTH, LONGEST = 20, 50


def write_interactions(path: Path, events: int, seed: int = 0) -> None:
    """A synthetic `.inter` with about `events` rows in the order of time, written in pieces."""
    rng = np.random.default_rng(seed)
    lengths = 2 + rng.geometric(1 / (MEAN_LENGTH - 1), events // MEAN_LENGTH) - 1
    user = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    items = max(1000, events // 100)
    chance = 1 / np.arange(1, items + 1)
    item = (
        np.searchsorted(np.cumsum(chance / chance.sum()), rng.random(len(user)))
        .clip(max=items - 1)
        .astype(np.int32)
    )
    item = rng.permutation(items).astype(np.int32)[item]
    seconds = 1_500_000_000 + rng.integers(0, 3 * 365 * 86400, len(user))
    order = np.argsort(seconds, kind="stable")
    with Path(path).open("w", encoding="ascii") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for part in np.array_split(order, max(1, len(order) // 500_000)):
            file.write(
                "".join(
                    f"u{u}\ti{i}\t{t}\n" for u, i, t in zip(user[part], item[part], seconds[part])
                )
            )


def resident_mb() -> tuple[float, float]:
    """Resident set of this process in MB: (now, at its highest)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(status["VmRSS"].split()[0]) / 1024, float(status["VmHWM"].split()[0]) / 1024


def measure(kind: str, folder: Path, name: str) -> dict:
    """Load and build one data set in this process."""
    sys.argv = [sys.argv[0]]
    import torch
    from recbole.config import Config
    from recbole.data.dataset import SequentialDataset

    import recbole_precise  # noqa: F401
    from recbole_precise.plugin.dataset import SequenceDataset

    torch.set_num_threads(1)
    settings = {
        "data_path": str(folder), "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": LONGEST,
        "train_neg_sample_args": None, "gpu_id": "",
        "train_rows": "windows" if kind == "windows" else "prefixes",
    }  # fmt: skip
    config = Config("SASRec", name, config_dict=settings)
    start_mb, start, start_cpu = resident_mb()[0], time.perf_counter(), time.process_time()
    dataset = (SequentialDataset if kind == "recbole" else SequenceDataset)(config)
    read, read_cpu = time.perf_counter(), time.process_time()
    read_mb, read_peak = resident_mb()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    parts = dataset.build()
    done, done_cpu = time.perf_counter(), time.process_time()
    build_peak = resident_mb()[1]
    return {
        "interactions": int(dataset.store.owner.numel())
        if kind != "recbole"
        else int(sum(map(len, parts)) + dataset.user_num - 1),
        "rows": [len(part) for part in parts],
        "load": {
            "seconds": done - start,
            "cpu_seconds": done_cpu - start_cpu,
            "peak_mb": max(read_peak, build_peak),
            "added_mb": max(read_peak, build_peak) - start_mb,
        },
        "build": {
            "seconds": done - read,
            "cpu_seconds": done_cpu - read_cpu,
            "peak_mb": build_peak,
            "added_mb": build_peak - read_mb,
        },
    }


def run(kind: str, folder: Path, name: str, max_gb: float) -> dict:
    """`measure` in a process of its own, ended when it holds more than `max_gb`."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(RESULTS.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, __file__, "--measure", kind, "--folder", str(folder), "--name", name]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    start, peak = time.perf_counter(), 0.0
    while process.poll() is None:
        try:
            peak = max(
                peak,
                float(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                * os.sysconf("SC_PAGE_SIZE")
                / 2**20,
            )
        except (OSError, IndexError):
            break
        if peak > max_gb * 1024:
            process.kill()
            process.wait()
            return {"ended": f"over {max_gb} GiB after {time.perf_counter() - start:.0f} s"}
        time.sleep(0.05)
    output = process.communicate()[0]
    return (
        json.loads(output.splitlines()[-1])
        if process.returncode == 0
        else {"ended": f"left with status {process.returncode}"}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 3_000_000, 10_000_000])
    parser.add_argument(
        "--recbole_sizes",
        type=int,
        nargs="*",
        default=[1_000_000, 3_000_000],
        help="sizes at which RecBole runs too",
    )
    parser.add_argument("--max_gb", type=float, default=24.0)
    parser.add_argument("--output", type=Path, default=RESULTS / "data_path.json")
    parser.add_argument(
        "--measure", choices=["recbole", "prefixes", "windows"], help=argparse.SUPPRESS
    )
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folder, arguments.name)))
        return
    sizes = {}
    with tempfile.TemporaryDirectory() as temporary:
        for size in arguments.sizes:
            name = f"synthetic-{size}"
            folder = Path(temporary, name)
            folder.mkdir()
            write_interactions(folder / f"{name}.inter", size)
            sizes[str(size)] = {}
            for kind in ["prefixes", "windows"] + ["recbole"] * (size in arguments.recbole_sizes):
                sizes[str(size)][kind] = found = run(kind, Path(temporary), name, arguments.max_gb)
                print(f"{size:>10} {kind:<9}", _line(found), flush=True)
            (folder / f"{name}.inter").unlink()
    common = [size for size, found in sizes.items() if "build" in found.get("recbole", {})]
    ratios = {}
    for size in common:
        ours, theirs = sizes[size]["prefixes"], sizes[size]["recbole"]
        ratios[size] = {
            part: {
                key: theirs[part][key] / ours[part][key]
                for key in ("seconds", "cpu_seconds", "added_mb")
            }
            for part in ("build", "load")
        }
        print(
            f"{size:>10} RecBole / ours: "
            + ", ".join(
                f"{part} {r['seconds']:.0f}x the time ({r['cpu_seconds']:.0f}x of CPU), "
                f"{r['added_mb']:.1f}x the memory"
                for part, r in ratios[size].items()
            )
        )
    payload = {
        "command": " ".join(["python "
                             "benchmarks/data_path.py", *sys.argv[1:]]),
                             "MAX_ITEM_LIST_LENGTH": LONGEST, "mean_length": MEAN_LENGTH,
        "machine": {"platform": platform.platform(), "python": platform.python_version(),
            "cores": os.cpu_count()},
        "sizes": sizes, "recbole_over_ours": ratios,
    }  # fmt: skip
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(payload, indent=1) + "\n")


def _line(found: dict) -> str:
    if "ended" in found:
        return found["ended"]
    return ", ".join(
        f"{part} {found[part]['seconds']:.2f} s ({found[part]['cpu_seconds']:.2f} of CPU), peak "
        f"{found[part]['peak_mb']:.0f} MB (added {found[part]['added_mb']:.0f})"
        for part in ("load", "build")
    )


if __name__ == "__main__":
    main()
