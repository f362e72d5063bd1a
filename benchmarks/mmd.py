"""MK-MMD's loss and gradients, ours beside plain forms of the same loss: seconds and peak memory of
one step.

    python benchmarks/mmd.py
    python benchmarks/mmd.py --sizes 672 2688 --threads 2

n rows of either side, width 128, five kernels of one family, biased estimator, bandwidth from the
mean. The forms:

- *stacked*: PAD's released way: differences of the stacked rows, `[2n, 2n, width]`, anew for each
  kernel;
- *blocks*: three blocks of differences, `[n, n, width]`, anew for each kernel: the same without the
  pairs that are not needed;
- *matrix*: one distance matrix for all kernels (of a matrix product or of torch.cdist), the rest
  left to autograd;
- *ours*: `MultiKernelMMD`.

All give the same value and gradients, which is checked. Each measurement is a process of its own,
in turns, that keeps the memory which it frees, as our training does: a process that gives it back,
as by default, spends most of a plain form's time in getting it again, and the first step does so
here (`first_seconds`). Times are medians over the other steps, then over turns, as wall time and as
CPU time, which other work on the machine disturbs less. Peak memory is resident memory during the
first step above what was resident before it, which holds the libraries, the inputs and their
gradients; below 1 MB it counts as 1 MB. A form that would need more than --max_gb is left out.
Writes results/mmd.json and prints a table.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from sasrec_curve import RESULTS, write_atomically

FORMS = ("stacked", "blocks", "matrix", "ours")
MULTIPLIERS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def resident_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def plain_loss(form: str, kernel: str):
    """The loss as a function of x and y, `[n, width]` each, in the form that is named."""
    import torch

    factor = 2.0 if kernel == "gaussian" else 1.0

    def sizes(a, b):
        gap = a[:, None] - b[None]
        return (gap.square() if kernel == "gaussian" else gap.abs()).sum(-1)

    def bandwidth(xx, yy, xy):
        return (xx.mean() + yy.mean() + 2 * xy.mean()).detach() / 4

    def stacked(x, y):
        n, rows, total = len(x), torch.cat([x, y]), 0.0
        for m in MULTIPLIERS:
            distances = sizes(rows, rows)
            kernels = torch.exp(-distances / (factor * m * distances.detach().mean()))
            total = (
                total + kernels[:n, :n].mean() + kernels[n:, n:].mean() - 2 * kernels[:n, n:].mean()
            )
        return total

    def blocks(x, y):
        total = 0.0
        for m in MULTIPLIERS:
            parts = sizes(x, x), sizes(y, y), sizes(x, y)
            xx, yy, xy = (torch.exp(-part / (factor * m * bandwidth(*parts))) for part in parts)
            total = total + xx.mean() + yy.mean() - 2 * xy.mean()
        return total

    def matrix(x, y):
        n, rows = len(x), torch.cat([x, y])
        if kernel == "gaussian":
            norms = rows.square().sum(1)
            distances = (norms[:, None] + norms - 2 * rows @ rows.t()).clamp_min(0)
        else:
            distances = torch.cdist(rows, rows, p=1.0)
        width = distances.detach().mean()
        kernels = sum(torch.exp(-distances / (factor * m * width)) for m in MULTIPLIERS)
        return kernels[:n, :n].mean() + kernels[n:, n:].mean() - 2 * kernels[:n, n:].mean()

    return {"stacked": stacked, "blocks": blocks, "matrix": matrix}[form]


def gigabytes(form: str, n: int, width: int) -> float:
    """Roughly what a plain form takes at its peak: one tensor of differences a kernel, and two more
    on the way.
    """
    pairs = {"stacked": 4 * n * n, "blocks": 3 * n * n}.get(form, 0)
    return pairs * width * 4 * (len(MULTIPLIERS) + 2) / 2**30


def measure(form: str, kernel: str, n: int, width: int, threads: int, steps: int) -> dict:
    import torch

    from recbole_precise.nn.losses import MultiKernelMMD
    from recbole_precise.training.memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(threads)
    loss = (
        MultiKernelMMD([kernel], "biased", "mean", MULTIPLIERS)
        if form == "ours"
        else plain_loss(form, kernel)
    )

    def clouds(n: int):
        generator = torch.Generator().manual_seed(0)
        x, y = (
            torch.randn(n, width, generator=generator),
            1.2 * torch.randn(n, width, generator=generator) + 0.1,
        )
        for rows in (x, y):
            rows.requires_grad_().grad = torch.zeros_like(rows)
        return x, y

    def step(x, y):
        x.grad.zero_(), y.grad.zero_()
        value = loss(x, y)
        value.backward()
        return value.item()

    step(*clouds(8))  # loads what the first step loads
    x, y = clouds(n)
    torch.mm(x.detach(), y.detach().t())
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what loading left behind must not hide what a step takes
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident_mb("VmRSS")
    started = time.perf_counter()
    value = step(x, y)
    first, peak = time.perf_counter() - started, resident_mb("VmHWM")
    seconds, cpu_seconds = [], []
    for _ in range(steps):
        started, worked = time.perf_counter(), time.process_time()
        step(x, y)
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - worked)
    return {
        "seconds": statistics.median(seconds), "cpu_seconds": statistics.median(cpu_seconds),
        "first_seconds": first, "added_mb": peak - before,
        "value": value, "gradient_norms": [x.grad.norm().item(), y.grad.norm().item()],
    }  # fmt: skip


def run(form: str, kernel: str, n: int, args: argparse.Namespace) -> dict:
    steps = args.steps * (1 if form in ("stacked", "blocks") else 10)
    command = [
        sys.executable,
        __file__,
        "--measure",
        form,
        kernel,
        "--sizes",
        str(n),
        "--width",
        str(args.width),
        "--threads",
        str(args.threads),
        "--steps",
        str(steps),
    ]
    root = str(Path(__file__).resolve().parents[1])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(args.threads),
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
    }
    return json.loads(
        subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.splitlines()[-1]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[672],
        help="rows of either side; 672 is a batch of PAD: 16 sequences of 21 places, two items "
        "each",
    )
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--steps",
        type=int,
        default=3,
        help="steps a measurement of the slow forms, ten times as many of the others",
    )
    parser.add_argument("--max_gb", type=float, default=9.0)
    parser.add_argument("--output", type=Path, default=RESULTS / "mmd.json")
    parser.add_argument("--measure", nargs=2, metavar=("FORM", "KERNEL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(
            json.dumps(measure(*args.measure, args.sizes[0], args.width, args.threads, args.steps))
        )
        return
    rows = []
    for n in args.sizes:
        for kernel in ("gaussian", "laplacian"):
            forms = [form for form in FORMS if gigabytes(form, n, args.width) <= args.max_gb]
            runs: dict[str, list[dict]] = {form: [] for form in forms}
            for _ in range(args.repeats):
                for form in forms:
                    runs[form].append(run(form, kernel, n, args))
            ours = runs["ours"][0]
            row = {
                "n": n,
                "kernel": kernel,
                "left_out": [form for form in FORMS if form not in forms],
            }
            for form in forms:
                first = runs[form][0]
                assert abs(first["value"] - ours["value"]) < 1e-5 * len(MULTIPLIERS), (
                    form,
                    first,
                    ours,
                )
                assert all(
                    abs(a - b) < 1e-3 * b
                    for a, b in zip(first["gradient_norms"], ours["gradient_norms"])
                ), (form, first, ours)
                row[form] = {
                    key: statistics.median(each[key] for each in runs[form])
                    for key in ("seconds", "cpu_seconds", "first_seconds")
                }
                row[form]["added_mb"] = max(each["added_mb"] for each in runs[form])
            for form in forms:
                result, mine = row[form], row["ours"]
                line = (
                    f"{n:>6} rows  {kernel:<10} {form:<8} {result['seconds']:9.4f} s  "
                    f"{result['cpu_seconds']:9.4f} CPU s  {result['added_mb']:8.1f} MB"
                )
                if form != "ours":
                    mine[f"times_less_than_{form}"] = ratios = {
                        "seconds": result["seconds"] / mine["seconds"],
                        "cpu_seconds": result["cpu_seconds"] / mine["cpu_seconds"],
                        "memory": max(result["added_mb"], 1.0) / max(mine["added_mb"], 1.0),
                    }  # fmt: skip
                    line += (
                        f"   ours: {ratios['seconds']:.0f}x less time "
                        f"({ratios['cpu_seconds']:.0f}x less CPU time), "
                        f"{ratios['memory']:.0f}x less memory"
                    )
                print(line, flush=True)
            rows.append(row)
    import torch

    write_atomically(args.output, {
        "command": " ".join(["python benchmarks/mmd.py", *sys.argv[1:]]), "width": args.width,
        "kernels": len(MULTIPLIERS), "threads": args.threads,
        "repeats": args.repeats, "rows": rows,
        "environment": {"python": platform.python_version(), "torch": torch.__version__,
            "machine": platform.machine(), "cpu": cpu_name()},
    })  # fmt: skip


if __name__ == "__main__":
    main()
