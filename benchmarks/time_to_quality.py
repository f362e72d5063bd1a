"""Wall time for PRECISE-UT to reach the best validation NDCG@10 of RecBole's own SASRec.

    python benchmarks/time_to_quality.py --dataset=ml-100k
    python benchmarks/time_to_quality.py --dataset=prime-pantry --data_path=dataset

Both sides run on the same machine, with the same threads, maximum length and candidates, validated
after every epoch and not masking the history (RecBole's protocol). SASRec's learning curve (which
epoch is its best, and how good) is read from `results/sasrec_curve_<dataset>.json`, recorded by
`sasrec_curve.py`; its seconds per epoch are measured anew here, in turns with our runs:
S P S P S P, medians of 3. A run of ours ends when its validation passes SASRec's best. Text
encoding is measured once from an empty cache and reported as a ratio of its own. Processor seconds
stand beside wall seconds: on a machine that other work shares, they are what a quiet machine's wall
clock would show.

SASRec is RecBole's, in a process as RecBole leaves it. Last, its epoch is measured once more with
the memory setting that our trainer makes on a CPU (`keep_freed_memory`), which is what SASRec takes
when it runs through our command.

Writes `results/time_to_quality_<dataset>.json`.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sasrec_curve import RESULTS, stock_parts, write_atomically


class Reached(Exception):
    """Validation has passed the target."""


def time_sasrec(
    dataset: str, length: int, seed: int, data_path: str | None, batches: int | None
) -> dict:
    """Seconds of one stock SASRec epoch (scaled up from its first `batches` where given) and of one
    validation.
    """
    _, (train, valid, _), _model, trainer = stock_parts(dataset, length, seed, data_path)
    total = len(train)
    used = min(batches or total, total)

    class FirstBatches:
        shuffle = False

        def __len__(self):
            return used

        def __iter__(self):
            for index, batch in enumerate(train):
                if index == used:
                    return
                yield batch

    started, cpu = time.perf_counter(), time.process_time()
    trainer._train_epoch(FirstBatches(), 0)
    trained, trained_cpu = time.perf_counter(), time.process_time()
    trainer.evaluate(valid, load_best_model=False)
    return {
        "train_seconds": (trained - started) * total / used,
        "valid_seconds": time.perf_counter() - trained,
        "cpu_seconds": (trained_cpu - cpu) * total / used + time.process_time() - trained_cpu,
        "batches_measured": used,
        "batches": total,
    }


def overrides_for(length: int, seed: int, data_path: str | None, cache: str) -> dict:
    settings = {
        "MAX_ITEM_LIST_LENGTH": length,
        "seed": seed,
        "mask_history": False,
        "metrics": ["Recall", "NDCG"],
        "valid_metric": "NDCG@10",
        "show_progress": False,
        "gpu_id": "",
        "text_cache_dir": cache,
        "tensorboard": False,
        # it would speed up the SASRec that is measured next in this process
        "keep_freed_memory": False,
    }
    if data_path:
        settings["data_path"] = data_path
    return settings


def time_precise(dataset: str, target: float, overrides: dict, run_dir: Path) -> dict:
    """Train PRECISE-UT until validation NDCG@10 >= `target`.

    Seconds of loading, encoding and training apart.
    """
    from recbole.utils import init_seed

    import recbole_precise as rp

    started = time.perf_counter()
    config = rp.Config(
        model="PRECISE-UT", dataset=dataset, config_dict={**overrides, "run_dir": str(run_dir)}
    )
    init_seed(config["seed"], config["reproducibility"])
    data = rp.create_dataset(config)
    train, valid, _ = rp.data_preparation(config, data)
    loaded = time.perf_counter()
    train._dataset.token_states()
    encoded = time.perf_counter()
    init_seed(config["seed"], config["reproducibility"])
    model = rp.get_model(config["model"])(config, train._dataset).to(config["device"])
    trainer = rp.get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    curve: list[dict] = []
    begin, cpu = time.perf_counter(), time.process_time()

    def check(epoch: int, score: float) -> None:
        curve.append(
            {
                "epoch": epoch,
                "valid_ndcg@10": float(score),
                "seconds": time.perf_counter() - begin,
                "cpu_seconds": time.process_time() - cpu,
            }
        )
        if score >= target:
            raise Reached

    try:
        trainer.fit(train, valid, verbose=False, saved=False, callback_fn=check)
        reached = False
    except Reached:
        reached = True
    return {
        "seed": overrides["seed"],
        "reached": reached,
        "seconds": curve[-1]["seconds"] if reached else None,
        "cpu_seconds": curve[-1]["cpu_seconds"] if reached else None,
        "load_seconds": loaded - started,
        "encode_seconds": encoded - loaded,
        "curve": curve,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--sasrec_batches",
        type=int,
        default=None,
        help="measure SASRec's epoch on its first batches only",
    )
    arguments = parser.parse_args()
    given, sys.argv = sys.argv[1:], sys.argv[:1]  # RecBole's Config would read them too

    import torch

    torch.set_num_threads(arguments.threads)
    recorded = json.loads((RESULTS / f"sasrec_curve_{arguments.dataset}.json").read_text())
    best = recorded["epochs"][recorded["best_epoch"]]
    target, epochs, length = (
        best["valid"]["ndcg@10"],
        recorded["best_epoch"] + 1,
        recorded["length"],
    )
    print(
        f"SASRec's best validation NDCG@10: {target:.6f} after {epochs} epochs (L={length})",
        flush=True,
    )
    sasrec, precise = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for repeat in range(arguments.repeats):
            row = time_sasrec(
                arguments.dataset,
                length,
                2020 + repeat,
                arguments.data_path,
                arguments.sasrec_batches,
            )
            row["seconds_to_best"] = epochs * (row["train_seconds"] + row["valid_seconds"])
            row["cpu_seconds_to_best"] = epochs * row["cpu_seconds"]
            sasrec.append(row)
            print("SASRec    ", json.dumps(row), flush=True)
            overrides = overrides_for(
                length, 2020 + repeat, arguments.data_path, str(Path(scratch) / "cache")
            )
            row = time_precise(arguments.dataset, target, overrides, Path(scratch) / f"run{repeat}")
            precise.append(row)
            print(
                "PRECISE-UT", json.dumps({k: v for k, v in row.items() if k != "curve"}), flush=True
            )
    from recbole_precise.training.memory import keep_freed_memory

    kept = (
        time_sasrec(arguments.dataset, length, 2020, arguments.data_path, arguments.sasrec_batches)
        if keep_freed_memory()
        else None
    )
    kept_seconds = epochs * (kept["train_seconds"] + kept["valid_seconds"]) if kept else None
    theirs = statistics.median(row["seconds_to_best"] for row in sasrec)
    all_reached = all(row["reached"] for row in precise)
    ours = statistics.median(row["seconds"] for row in precise) if all_reached else None
    their_cpu = statistics.median(row["cpu_seconds_to_best"] for row in sasrec)
    our_cpu = statistics.median(row["cpu_seconds"] for row in precise) if all_reached else None
    encode = max(row["encode_seconds"] for row in precise)
    result = {
        "command": " ".join(["python benchmarks/time_to_quality.py", *given]),
        "dataset": arguments.dataset,
        "length": length,
        "threads": arguments.threads,
        "target_valid_ndcg@10": target,
        "sasrec_epochs_to_best": epochs,
        "sasrec_seconds_median": theirs,
        "precise_seconds_median": ours,
        "ratio": theirs / ours if ours else None,
        "sasrec_cpu_seconds_median": their_cpu,
        "precise_cpu_seconds_median": our_cpu,
        "ratio_cpu": their_cpu / our_cpu if ours else None,
        "encode_seconds_empty_cache": encode,
        "ratio_with_encoding": theirs / (ours + encode) if ours else None,
        "sasrec_kept_memory_seconds": kept_seconds,
        "ratio_kept_memory": kept_seconds / ours if kept and ours else None,
        "sasrec": sasrec,
        "sasrec_kept_memory": kept,
        "precise": precise,
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "machine": platform.machine(),
        },
    }
    write_atomically(RESULTS / f"time_to_quality_{arguments.dataset}.json", result)
    if ours:
        print(
            f"{arguments.dataset}: SASRec {theirs:.0f} s, PRECISE-UT {ours:.1f} s: "
            f"{theirs / ours:.1f} times faster "
            f"({theirs / (ours + encode):.1f} with text encoding; {their_cpu / our_cpu:.1f} in "
            "processor seconds)"
        )
        if kept:
            print(
                f"SASRec in a process that keeps freed memory: {kept_seconds:.0f} s, PRECISE-UT "
                f"{kept_seconds / ours:.1f} times faster"
            )
    else:
        print(f"{arguments.dataset}: not every run of PRECISE-UT reached {target:.6f}")


if __name__ == "__main__":
    main()
