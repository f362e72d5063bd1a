"""`tune` beside a random search of 30 points, both with the seconds that the random search took.

    python benchmarks/tune.py                                     # 3 repeats on ml-100k
    python benchmarks/tune.py --points=3 --repeats=1 --epochs=2   # a minute: does it work?

Each repeat has a seed, for the points and for the training of both sides. First the random search:
`--sampler=random --trials=30 --pruner=none`. Then `tune` as it is by default (TPE that begins with
the settings as they are, median pruning) with `--hours` set to the seconds of trials that the
random search took (of the processor, so that other work on the machine favours neither side); its
last trial is cut when they are over. Both are processes of their own, one after the other, on the
same space. What counts is the best validation NDCG@10; test metrics of the two winners come from a
run of each one's best.yaml after both searches have ended, and choose nothing.

Studies are kept under `--folder`, so that a killed benchmark goes on. Further `--key=value` go to
both sides. Writes `results/tune_<dataset>.json` and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from sasrec_curve import RESULTS, write_atomically

#: Small and quick, so that the search is what is measured.
MODEL = {"embedding_size": 16, "token_size": 16, "n_layers": 1}


def command(*words: str) -> None:
    """Run recbole-precise in a process of its own; its lines go to this screen."""
    subprocess.run(
        [sys.executable, "-m", "recbole_precise", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )


def search(
    name: str, folder: Path, model: str, dataset: str, settings: list[str], *how: str
) -> dict:
    """One study; returns what it found."""
    command(
        "tune",
        f"--model={model}",
        f"--dataset={dataset}",
        f"--study={name}",
        f"--storage={folder / name}.db",
        *settings,
        *how,
    )
    found = json.loads((folder / name / "trials.json").read_text())
    trials = [trial for trial in found["trials"] if trial["state"] != "lost"]
    best = next(trial for trial in trials if trial["state"] in ("complete", "cut"))
    states = [trial["state"] for trial in trials]
    return {
        "best": best["value"],
        "settings": best["settings"],
        "trials": len(trials),
        "states": {state: states.count(state) for state in sorted(set(states))},
        "seconds": sum(trial["seconds"] for trial in found["trials"]),
        "best_after_trials": running_best(trials),
    }


def running_best(trials: list[dict]) -> list[float | None]:
    """The best complete value after each trial, in the order in which they were begun."""
    values, best = [], None
    for trial in sorted(trials, key=lambda trial: trial["number"]):
        if trial["state"] in ("complete", "cut") and (best is None or trial["value"] > best):
            best = trial["value"]
        values.append(best)
    return values


def tested(name: str, folder: Path, model: str, dataset: str, settings: list[str]) -> dict:
    """Test metrics of a study's best settings."""
    run_dir = folder / name / "run"
    if not (run_dir / "result.json").exists():
        # best.yaml holds the settings of both sides already, but for those that say how a run goes.
        how = [
            setting
            for setting in settings
            if setting.split("=")[0]
            in ("--threads", "--gpu_id", "--data_path", "--show_progress", "--state")
        ]
        words = [
            f"--config_files={folder / name / 'best.yaml'}",
            f"--run_dir={run_dir}",
            *how,
            *(["--resume=True"] if run_dir.exists() else []),
        ]
        command(f"--model={model}", f"--dataset={dataset}", *words)
    return json.loads((run_dir / "result.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--model", default="PRECISE-ID")
    parser.add_argument("--points", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folder", default="saved/tune-benchmark")
    arguments, extra = parser.parse_known_args()
    folder = Path(arguments.folder)
    shared = {
        "epochs": arguments.epochs,
        "train_clock": "processor",
        "threads": 1,
        "gpu_id": "",
        "show_progress": False,
        "state": "ERROR",
        **(MODEL if arguments.model == "PRECISE-ID" else {}),
    }
    repeats = []
    for seed in range(1, arguments.repeats + 1):
        settings = [
            *(f"--{key}={value}" for key, value in shared.items()),
            f"--seed={seed}",
            *extra,
        ]
        where = (folder, arguments.model, arguments.dataset, settings)
        random = search(
            f"random-{seed}",
            *where,
            "--sampler=random",
            f"--trials={arguments.points}",
            "--pruner=none",
        )
        tpe = search(f"tpe-{seed}", *where, f"--hours={random['seconds'] / 3600!r}")
        for name, side in (("random", random), ("tpe", tpe)):
            result = tested(f"{name}-{seed}", *where)
            side["test"], environment = (
                {metric: result["test"][metric] for metric in ("recall@10", "ndcg@10")},
                result["environment"],
            )
        repeats.append({"seed": seed, "random": random, "tune": tpe})
        print(
            f"seed {seed}: random {random['best']:.4f}, tune {tpe['best']:.4f} in "
            f"{tpe['seconds'] / random['seconds']:.2f} of its seconds",
            flush=True,
        )
    payload = {
        "command": " ".join(["python benchmarks/tune.py", *sys.argv[1:]]),
        "dataset": arguments.dataset,
        "model": arguments.model,
        "environment": environment,
        "best_validation_ndcg@10": {
            side: [repeat[side]["best"] for repeat in repeats] for side in ("random", "tune")
        },
        "repeats": repeats,
    }
    write_atomically(RESULTS / f"tune_{arguments.dataset}.json", payload)
    print(
        "\n| seed | random, best validation NDCG@10 | trials | tune, best validation NDCG@10 | "
        "trials | seconds of each | test NDCG@10, random | tune |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for repeat in repeats:
        random, tpe = repeat["random"], repeat["tune"]
        tests = [f"{side['test']['ndcg@10']:.4f}" for side in (random, tpe)]
        print(
            f"| {repeat['seed']} | {random['best']:.4f} | {random['trials']} | {tpe['best']:.4f} "
            f"| {tpe['trials']} | {random['seconds']:.0f} | {tests[0]} | {tests[1]} |"
        )
    means = [
        statistics.mean(repeat[side]["best"] for repeat in repeats) for side in ("random", "tune")
    ]
    print(f"| mean | {means[0]:.4f} | | {means[1]:.4f} | | | | |")


if __name__ == "__main__":
    main()
