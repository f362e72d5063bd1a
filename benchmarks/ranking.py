"""Full ranking of test rows, ours beside RecBole's evaluator: users per second and peak memory.

    python benchmarks/ranking.py
    python benchmarks/ranking.py --items 10000 100000 --threads 2

A model whose score is the inner product of a user vector (mean of the history's item vectors) and
an item vector, d = 64, through RecBole's own classes: Config, SequentialDataset, its full-sort
loader, and Trainer.evaluate with Recall and NDCG at 10. Ours ranks the rows of the same data set:

- *vectors*: the model's user and item vectors, as our models are ranked;
- *scores*: its full_sort_predict, as every model of RecBole is ranked by us.

RecBole runs at its default eval_batch_size of 4,096, halved until its batch (16 bytes a score, as
measured) fits --recbole_gb, and once more at 256 rows, as somebody would set it who looks after
memory. Each measurement is a process of its own, in turns; times are medians, as wall time and as
CPU time, which other work on the machine disturbs less. Peak memory is resident memory during the
evaluation above what was resident before it, which holds the libraries, the data and the item
table; `process_mb` is the whole. Writes results/ranking.json and prints a table.
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
import tempfile
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"
WIDTH, LENGTH, TOPK = 64, 5, 10
FORMS = ("recbole", "recbole (256)", "ours (vectors)", "ours (scores)")


def write_dataset(folder: Path, n_items: int, rows: int) -> None:
    """Atomic files with `rows` users of five events each and a catalogue of exactly `n_items` with
    the padding item.
    """
    folder.mkdir(parents=True)
    name, rng = folder.name, np.random.default_rng(0)
    with (folder / f"{name}.item").open("w") as file:
        file.write("item_id:token\n" + "".join(f"i{item}\n" for item in range(n_items - 1)))
    with (folder / f"{name}.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user, items in enumerate(rng.integers(0, n_items - 1, (rows, 5)).tolist()):
            file.writelines(f"u{user}\ti{item}\t{place}\n" for place, item in enumerate(items))


def resident_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def recbole_batch(n_items: int, gb: float) -> int:
    """RecBole's default, halved until it fits."""
    rows = 4096
    while rows > 1 and rows * n_items * 16 > gb * 2**30:
        rows //= 2
    return rows


def measure(
    form: str, data_path: str, n_items: int, threads: int, batch: int, budget_mb: float
) -> dict:
    """One evaluation of all test rows: seconds, memory, and the metrics as a check that both did
    the same work.
    """
    sys.argv = sys.argv[:1]  # RecBole's Config reads it
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.abstract_recommender import SequentialRecommender
    from recbole.trainer import Trainer
    from recbole.utils import InputType

    import recbole_precise  # noqa: F401
    from recbole_precise.evaluation import metrics_from_ranks, rank_rows

    torch.set_num_threads(threads)

    class Mean(SequentialRecommender):
        input_type = InputType.POINTWISE

        def __init__(self, config, dataset) -> None:
            super().__init__(config, dataset)
            self.item_embedding = torch.nn.Embedding(self.n_items, WIDTH, padding_idx=0)

        def user_vectors(self, interaction):
            return (
                self.item_embedding(interaction[self.ITEM_SEQ]).sum(1)
                / interaction[self.ITEM_SEQ_LEN][:, None]
            )

        def item_vectors(self):
            return self.item_embedding.weight

        def full_sort_predict(self, interaction):
            return self.user_vectors(interaction) @ self.item_vectors().t()

    settings = {
        "data_path": data_path, "load_col": {"inter": ["user_id", "item_id", "timestamp"],
            "item": ["item_id"]},
        "MAX_ITEM_LIST_LENGTH": LENGTH, "train_neg_sample_args": None, "metrics": ["Recall",
            "NDCG"], "topk": [TOPK],
        "valid_metric": f"NDCG@{TOPK}", "eval_batch_size": batch, "gpu_id": "",
        "show_progress": False, "metric_decimal_place": 8,
        "eval_args": {"split": {"LS": "test_only"}, "order": "TO", "mode": "full",
            "group_by": "user"}, "checkpoint_dir": data_path,
        "state": "ERROR",
    }  # fmt: skip
    config = Config(Mean, "synthetic", config_dict=settings)
    dataset = create_dataset(config)
    _, _, test = data_preparation(config, dataset)
    torch.manual_seed(0)
    model = Mean(config, test.dataset).eval()
    trainer = Trainer(config, model)
    rows = test.dataset
    assert rows.item_num == n_items

    def batches(lo: int, hi: int):
        interaction = rows[np.arange(lo, hi)]
        return interaction, interaction[dataset.iid_field], None

    def evaluate(until: int) -> dict:
        if form.startswith("recbole"):
            return dict(trainer.evaluate(test, load_best_model=False))
        users = rows.inter_feat[dataset.uid_field][:until]
        score = model.full_sort_predict if form == "ours (scores)" else None
        ranks = rank_rows(model, users, batches, score=score, budget_bytes=int(budget_mb * 2**20))
        return metrics_from_ranks(ranks.rank, ["Recall", "NDCG"], TOPK)

    if form.startswith("ours"):
        evaluate(
            64
            # loads the libraries; RecBole has no smaller step than a batch, whose share of the time
            # is measured below
        )
    with torch.no_grad():
        torch.topk(torch.randn(64, WIDTH) @ torch.randn(WIDTH, 4096), TOPK)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what loading left behind must not hide what ranking takes
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident_mb("VmRSS")
    started, worked = time.perf_counter(), time.process_time()
    metrics = evaluate(len(rows))
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    peak = resident_mb("VmHWM")
    return {
        "rows": len(rows), "seconds": seconds, "cpu_seconds": cpu_seconds,
        "users_per_second": len(rows) / seconds, "added_mb": peak - before,
        "process_mb": peak, "batch": batch if form.startswith("recbole") else None,
        "metrics": metrics,
    }  # fmt: skip


def run(form: str, data_path: str, n_items: int, args: argparse.Namespace) -> dict:
    command = [
        sys.executable, __file__, "--measure", form, "--data_path", data_path, "--items",
        str(n_items), "--threads", str(args.threads),
        "--recbole_gb", str(args.recbole_gb), "--budget_mb", str(args.budget_mb),
    ]  # fmt: skip
    root = str(Path(__file__).resolve().parents[1])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(args.threads),
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return {
            "failed": done.stderr.strip().splitlines()[-1]
            if done.stderr.strip()
            else f"ended by signal {-done.returncode}: out of memory"
        }
    return json.loads(done.stdout.splitlines()[-1])


def summary(runs: list[dict]) -> dict:
    """Medians of the runs of one form; the memory is the largest."""
    if any("failed" in run for run in runs):
        return next(run for run in runs if "failed" in run)
    seconds = [run["seconds"] for run in runs]
    middle = statistics.median(seconds)
    return {
        **{key: runs[0][key] for key in ("rows", "batch", "metrics")}, "seconds": middle,
        "seconds_of_runs": seconds,
        "cpu_seconds": statistics.median(run["cpu_seconds"] for run in runs),
        "users_per_second": runs[0]["rows"] / middle,
        "added_mb": max(run["added_mb"] for run in runs),
        "process_mb": max(run["process_mb"] for run in runs),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument(
        "--rows",
        type=int,
        help="test rows; default 16,384 at 10,000 items, 4,096 at 100,000 and 512 beyond",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--recbole_gb", type=float, default=8.0)
    parser.add_argument("--budget_mb", type=float, default=64.0, help="our score_budget_mb")
    parser.add_argument("--output", type=Path, default=RESULTS / "ranking.json")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--data_path", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        n_items = args.items[0]
        batch = 256 if args.measure == "recbole (256)" else recbole_batch(n_items, args.recbole_gb)
        print(
            json.dumps(
                measure(args.measure, args.data_path, n_items, args.threads, batch, args.budget_mb)
            )
        )
        return
    sizes = []
    for n_items in args.items:
        rows = args.rows or (16_384 if n_items <= 10_000 else 4_096 if n_items <= 100_000 else 512)
        with tempfile.TemporaryDirectory() as folder:
            write_dataset(Path(folder, "synthetic"), n_items, rows)
            runs: dict[str, list[dict]] = {form: [] for form in FORMS}
            for _ in range(args.repeats):
                for form in FORMS:
                    runs[form].append(run(form, folder, n_items, args))
        forms = {form: summary(of_form) for form, of_form in runs.items()}
        stock, sizes_of = forms["recbole"], {"items": n_items, **forms}
        for form in FORMS:
            result = forms[form]
            if "failed" in result:
                print(f"{n_items:>9,} items  {form:<15} failed: {result['failed']}", flush=True)
                continue
            line = (
                f"{n_items:>9,} items  {form:<15} {result['users_per_second']:>10,.0f} "
                f"users/s  {result['added_mb']:>8,.0f} MB added"
            )
            if form != "recbole" and "failed" not in stock:
                assert all(
                    abs(result["metrics"][name] - value) < 1e-6
                    for name, value in stock["metrics"].items()
                ), "not the same ranking"
                result["speed_ratio"] = result["users_per_second"] / stock["users_per_second"]
                result["cpu_ratio"] = (stock["cpu_seconds"] / stock["rows"]) / (
                    result["cpu_seconds"] / result["rows"]
                )
                result["memory_ratio"] = stock["added_mb"] / max(result["added_mb"], 1.0)
                line += (
                    f"  {result['speed_ratio']:.1f}x users/s ({result['cpu_ratio']:.1f}x by "
                    f"CPU time), 1/{result['memory_ratio']:.0f} of the memory"
                )
            print(line, flush=True)
        sizes.append(sizes_of)
    import torch

    report = {
        "command": "python benchmarks/ranking.py", "width": WIDTH, "threads": args.threads,
        "repeats": args.repeats, "budget_mb": args.budget_mb,
        "recbole_gb": args.recbole_gb,
        "machine": {"processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count()},
        "environment": {"python": platform.python_version(), "torch": torch.__version__,
            "numpy": np.__version__}, "sizes": sizes,
    }  # fmt: skip
    args.output.parent.mkdir(exist_ok=True)
    args.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
