"""Full softmax, tiled and plain, beside sampled softmax: seconds and peak memory of one step's loss
and gradients.

    python benchmarks/softmax.py

Each measurement is a process of its own, so that peak memory is its own; 1,024 positions, width
128. The threshold of `softmax: auto` (nn/losses/full_softmax.py) is chosen from this table. Writes
`results/softmax.json`.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time

from sasrec_curve import RESULTS, write_atomically

FORMS = ("tiled", "tiled-bf16", "plain", "sampled-512")


def measure(
    form: str, n_items: int, positions: int, width: int, threads: int, repeats: int
) -> dict:
    """Seconds (median) and peak memory above the inputs of one forward and backward."""
    import torch
    import torch.nn.functional as F

    from recbole_precise.nn.losses import NegativeSampler, full_softmax_loss, sampled_softmax_loss

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    states = torch.randn(positions, width, requires_grad=True)
    items = (0.1 * torch.randn(n_items, width)).requires_grad_()
    targets = torch.randint(1, n_items, (positions,))
    sampler = NegativeSampler(n_items, 512, "mixed", torch.ones(n_items))
    items.grad = torch.zeros_like(items)  # the gradient itself is no one's overhead
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def step() -> None:
        if form == "plain":
            loss = F.cross_entropy(states @ items.t(), targets)
        elif form.startswith("tiled"):
            loss = full_softmax_loss(
                states,
                items,
                targets,
                product_dtype=torch.bfloat16 if form.endswith("bf16") else None,
            )
        else:
            negatives = sampler.draw(targets)
            loss = sampled_softmax_loss(
                states,
                items[targets],
                items[negatives],
                forbidden=targets[:, None] == negatives,
                log_probability=sampler.log_probability[negatives],
                logq="corrected",
            )
        loss.backward()

    step()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"form": form, "items": n_items, "seconds": statistics.median(seconds), "peak_mb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="10000 50000 100000 1000000")
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("FORM", "ITEMS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(
            json.dumps(
                measure(
                    arguments.one[0],
                    int(arguments.one[1]),
                    arguments.positions,
                    arguments.width,
                    arguments.threads,
                    arguments.repeats,
                )
            )
        )
        return
    rows = []
    for size in map(int, arguments.sizes.split()):
        for form in FORMS:
            if form == "plain" and size * arguments.positions * 4 * 4 > 12e9:
                continue  # the plain form would need more than 12 GB
            shared = [
                f"--{k}={getattr(arguments, k)}"
                for k in ("positions", "width", "threads", "repeats")
            ]
            done = subprocess.run(
                [sys.executable, __file__, *shared, "--one", form, str(size)],
                capture_output=True,
                text=True,
                check=True,
            )
            rows.append(json.loads(done.stdout))
            print(
                f"{size:>9,} items  {form:<12} {rows[-1]['seconds']:8.3f} s  "
                f"{rows[-1]['peak_mb']:8.0f} MB",
                flush=True,
            )
    write_atomically(
        RESULTS / "softmax.json",
        {
            "command": " ".join(["python benchmarks/softmax.py", *sys.argv[1:]]),
            "positions": arguments.positions,
            "width": arguments.width,
            "threads": arguments.threads,
            "rows": rows,
            "environment": {"python": platform.python_version(), "machine": platform.machine()},
        },
    )


if __name__ == "__main__":
    main()
