"""Record the learning curve of RecBole's own SASRec: validation and seconds after every epoch.

Everything is stock RecBole 1.2.1 (dataset, loaders, trainer, evaluator); only the names that
NumPy 2 removed are given back. `benchmarks/time_to_quality.py` reads the curve, so that it need
not repeat an hour of SASRec training: it measures SASRec's seconds per epoch anew in its own run.

    python benchmarks/sasrec_curve.py --dataset=ml-100k --length=50 --epochs=20
    python benchmarks/sasrec_curve.py --dataset=prime-pantry --data_path=dataset --length=20
    --epochs=40

Writes `benchmarks/results/sasrec_curve_<dataset>.json` after every epoch (atomically).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np

for _name, _type in (("float_", np.float64), ("complex_", np.complex128), ("unicode_", np.str_)):
    if not hasattr(np, _name):
        setattr(np, _name, _type)

RESULTS = Path(__file__).resolve().parent / "results"


def stock_data(
    dataset: str,
    length: int,
    seed: int,
    data_path: str | None = None,
    epochs: int = 300,
    model: str = "SASRec",
    **more,
):
    """(config, (training, validation, test) loaders) of a model of stock RecBole with its published
    defaults; `more`: other settings.
    """
    argv, sys.argv = sys.argv, sys.argv[:1]
    try:
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, init_seed

        overrides = {
            "train_neg_sample_args": None,
            "MAX_ITEM_LIST_LENGTH": length,
            "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
            "valid_metric": "NDCG@10",
            "metric_decimal_place": 8,
            "epochs": epochs,
            "seed": seed,
            "gpu_id": "",
            "show_progress": False,
            **more,
        }
        if data_path:
            overrides["data_path"] = data_path
        config = Config(model=get_model(model), dataset=dataset, config_dict=overrides)
        config["metrics"] = ["Recall", "NDCG"]
        init_seed(config["seed"], config["reproducibility"])
        return config, data_preparation(config, create_dataset(config))
    finally:
        sys.argv = argv


def stock_model(config, train):
    """Model and trainer of stock RecBole over the training loader of `stock_data`."""
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed

    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, train._dataset).to(config["device"])
    return model, Trainer(config, model)


def stock_parts(
    dataset: str, length: int, seed: int, data_path: str | None = None, epochs: int = 300
):
    """Config, loaders, model and trainer of stock RecBole SASRec with its published defaults."""
    config, loaders = stock_data(dataset, length, seed, data_path, epochs)
    return config, loaders, *stock_model(config, loaders[0])


def write_atomically(path: Path, payload: dict) -> None:
    """Write JSON so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(payload, indent=1))
    Path(temporary).replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--length", type=int, required=True, help="MAX_ITEM_LIST_LENGTH")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--stopping_step", type=int, default=10)
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data_path", default=None)
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    _config, (train, valid, test), _model, trainer = stock_parts(
        arguments.dataset, arguments.length, arguments.seed, arguments.data_path, arguments.epochs
    )
    out = RESULTS / f"sasrec_curve_{arguments.dataset}.json"
    curve = {
        "command": " ".join(["python benchmarks/sasrec_curve.py", *sys.argv[1:]]),
        "model": "RecBole SASRec (CE)",
        "dataset": arguments.dataset,
        "length": arguments.length,
        "seed": arguments.seed,
        "threads": arguments.threads,
        "train_rows": len(train._dataset),
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "epochs": [],
    }
    best, since_best = -1.0, 0
    for epoch in range(arguments.epochs):
        started = time.perf_counter()
        loss = trainer._train_epoch(train, epoch)
        trained = time.perf_counter()
        valid_result = trainer.evaluate(valid, load_best_model=False)
        validated = time.perf_counter()
        row = {
            "epoch": epoch,
            "loss": float(loss),
            "train_seconds": trained - started,
            "valid_seconds": validated - trained,
            "valid": {k: float(v) for k, v in valid_result.items()},
        }
        if row["valid"]["ndcg@10"] > best:
            best, since_best = row["valid"]["ndcg@10"], 0
            row["test"] = {
                k: float(v) for k, v in trainer.evaluate(test, load_best_model=False).items()
            }
            curve["best_epoch"] = epoch
        else:
            since_best += 1
        curve["epochs"].append(row)
        write_atomically(out, curve)
        print(json.dumps(row), flush=True)
        if since_best > arguments.stopping_step:
            break
    curve["finished"] = True
    write_atomically(out, curve)


if __name__ == "__main__":
    main()
