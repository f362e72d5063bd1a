"""Models by seeds on one data set through the command line, with means, spreads and a paired test.

    python benchmarks/quality.py --dataset=ml-100k --models="PRECISE-UT PRECISE-ID Pop Transition
    GraphHeuristic GraphForward" --seeds="2020 2021 2022 2023 2024" --against=PRECISE-ID python
    benchmarks/quality.py --dataset=prime-pantry --data_path=dataset --models="PRECISE-UT Pop
    Transition GraphHeuristic GraphForward" --seeds="2020 2021 2022"

Every cell is a process of its own (`python -m recbole_precise --model=... --seed=...`) with a run
directory under `--runs`; cells whose result.json exists are not run again. Models that draw no
random numbers (the floors) run once. Further `--key=value` go to every cell. Writes
`results/quality_<dataset><suffix>.json` and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from sasrec_curve import RESULTS, write_atomically

FLOORS = {"Pop", "Transition", "GraphHeuristic", "GraphForward"}
METRICS = ("recall@10", "ndcg@10")


def run_cell(model: str, seed: int, dataset: str, runs: Path, extra: list[str]) -> Path:
    """Train and evaluate one model with one seed; returns its run directory."""
    run_dir = runs / f"{model}-{dataset}-{seed}"
    if (run_dir / "result.json").exists():
        return run_dir
    command = [
        sys.executable,
        "-m",
        "recbole_precise",
        f"--model={model}",
        f"--dataset={dataset}",
        f"--seed={seed}",
        f"--run_dir={run_dir}",
        "--show_progress=False",
        "--threads=1",
        "--gpu_id=",
        *extra,
    ]
    if (run_dir / "state.json").exists() or run_dir.exists():
        command.append("--resume=True")
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)}\nleft with status {done.returncode}:\n{done.stderr[-2000:]}"
        )
    print(
        f"{model} seed {seed}: {json.loads((run_dir / 'result.json').read_text())['test']}",
        flush=True,
    )
    return run_dir


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--models", required=True)
    parser.add_argument("--seeds", default="2020 2021 2022")
    parser.add_argument(
        "--against", default=None, help="model that the paired test compares the first model with"
    )
    parser.add_argument("--runs", default="saved/quality")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--suffix", default="")
    arguments, extra = parser.parse_known_args()
    models, seeds = arguments.models.split(), [int(s) for s in arguments.seeds.split()]
    runs = Path(arguments.runs)
    cells = [(m, s) for m in models for s in (seeds[:1] if m in FLOORS else seeds)]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        folders = list(
            pool.map(lambda cell: run_cell(*cell, arguments.dataset, runs, extra), cells)
        )
    rows: dict[str, dict] = {}
    for model in models:
        mine = [folder for (m, _), folder in zip(cells, folders) if m == model]
        results = [json.loads((folder / "result.json").read_text()) for folder in mine]
        rows[model] = {
            "seeds": [r["seed"] for r in results],
            "test": {k: [r["test"][k] for r in results] for k in METRICS},
            "mean": {k: statistics.mean(r["test"][k] for r in results) for k in METRICS},
            "std": {
                k: statistics.stdev(r["test"][k] for r in results) if len(results) > 1 else 0.0
                for k in METRICS
            },
            "valid_mean": {k: statistics.mean(r["valid"][k] for r in results) for k in METRICS}
            if results[0]["valid"]
            else {},
            "slices": results[0]["slices"],
            "train_seconds": statistics.mean(r["seconds"]["train"] for r in results),
            "protocol": results[0]["protocol"],
            "text_encoder": results[0]["text_encoder"],
        }
    payload = {
        "command": " ".join(["python benchmarks/quality.py", *sys.argv[1:]]),
        "dataset": arguments.dataset,
        "environment": json.loads((folders[0] / "result.json").read_text())["environment"],
        "models": rows,
    }
    if arguments.against:
        from recbole_precise.evaluation.ranking import Ranks
        from recbole_precise.evaluation.significance import compare
        from recbole_precise.runs.result import read_ranks

        def ranks(model: str) -> list:
            return [
                Ranks(*read_ranks(folder, "test"))
                for (m, _), folder in zip(cells, folders)
                if m == model
            ]

        ours, theirs = ranks(models[0]), ranks(arguments.against)
        payload["paired_test"] = {
            "of": models[0],
            "against": arguments.against,
            **{metric: compare(ours, theirs, metric).to_dict() for metric in METRICS},
        }
    payload = json.loads(
        json.dumps(
            payload,
            default=lambda x: x.tolist() if isinstance(x, (np.generic, np.ndarray)) else str(x),
        )
    )
    write_atomically(RESULTS / f"quality_{arguments.dataset}{arguments.suffix}.json", payload)
    print(
        f"\n| {arguments.dataset} | Recall@10 | NDCG@10 | seeds | train s |\n|---|---|---|---|---|"
    )
    for model, row in rows.items():
        cell = [
            f"{row['mean'][k]:.4f} ± {row['std'][k]:.4f}"
            if len(row["seeds"]) > 1
            else f"{row['mean'][k]:.4f}"
            for k in METRICS
        ]
        print(
            f"| {model} | {cell[0]} | {cell[1]} | {len(row['seeds'])} | "
            f"{row['train_seconds']:.0f} |"
        )
    if "paired_test" in payload:
        print(json.dumps(payload["paired_test"], indent=1))


if __name__ == "__main__":
    main()
