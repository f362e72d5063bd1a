"""Trains the models of the golden file and says what their result files hold."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy
import torch
from command_server import CommandServer
from tiny_shop import write_shop

GOLDEN = Path(__file__).with_name("golden.json")
#: Models, and what keeps their training short.
MODELS: dict[str, dict[str, Any]] = {
    "SASRec-CE": {"epochs": 4},
    "PRECISE-UT": {"epochs": 4},
    "PRECISE": {"epochs": 3, "targeted_epochs": 3},
    "PAD": {"epochs": 3},
    "HSTU": {"epochs": 4},
}
SETTINGS: dict[str, Any] = {
    "dataset": "tiny",
    "data_path": "dataset",
    "load_col": "{inter: [user_id, item_id, timestamp], item: [item_id]}",
    "item_text": "{title}",
    "MAX_ITEM_LIST_LENGTH": 8,
    "train_batch_size": 64,
    "learning_rate": 0.003,
    "topk": "[1, 5, 10]",
    "valid_metric": "NDCG@10",
    "seed": 2020,
    "threads": 1,
    "gpu_id": "",
    "show_progress": False,
    "tensorboard": False,
    "text_cache_dir": "cache",
}


def describe_machine() -> dict[str, str]:
    """Return what the last bits of a training depend on."""
    return {
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "processor": _name_processor(),
    }


def train(model: str, folder: Path, server: CommandServer) -> dict[str, Any]:
    """Train a model in a folder by the command, and return the golden part of its results."""
    if not (folder / "dataset").exists():
        write_shop(folder / "dataset", "tiny")
    run_dir = folder / "saved" / model
    settings = {**SETTINGS, **MODELS[model], "model": model, "run_dir": str(run_dir)}
    done = server.run_command([f"--{key}={value}" for key, value in settings.items()], folder)
    if done.status:
        raise RuntimeError(f"{model} ended with status {done.status}:\n{done.output[-4000:]}")
    return read_run(run_dir)


def read_run(run_dir: Path) -> dict[str, Any]:
    """Return metrics, phases, losses and digests of ranks of a run directory."""
    result = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    kept = ("name", "epochs", "best_epoch")
    phases = [{key: phase[key] for key in kept} for phase in result["phases"]]
    with numpy.load(run_dir / "ranks.npz") as ranks:
        digests = {name: _digest(ranks[name]) for name in sorted(ranks.files)}
    return {
        "valid": result["valid"],
        "test": result["test"],
        "phases": phases,
        "train_loss": [epoch["train_loss"] for epoch in result["curve"]],
        "ranks": digests,
    }


def _digest(values: numpy.ndarray) -> str:
    """Return a digest of an array's values, whatever the width of its type."""
    text = "\n".join(str(value) for value in values.tolist())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _name_processor() -> str:
    """Return the name of the processor, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
