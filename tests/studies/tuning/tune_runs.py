"""Runs of these tests, apart from the fixtures so that child processes can be started with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

#: A model that learns in a second on the 150 users of ml-100k with the fewest ratings.
SMALL: dict[str, Any] = {
    "model": "PRECISE-ID", "dataset": "ml-100k", "user_inter_num_interval": "[5,25]",
    "MAX_ITEM_LIST_LENGTH": 8, "embedding_size": 8, "token_size": 8,
    "n_layers": 1, "epochs": 3, "gpu_id": "", "show_progress": False, "threads": 1,
    "learning_rate": 0.005,
}  # fmt: skip
SASREC = {
    **{key: value for key, value in SMALL.items() if key not in ("embedding_size", "token_size")},
    "model": "SASRec", "hidden_size": 8, "inner_size": 8, "epochs": 2, "train_batch_size": 256,
}  # fmt: skip


def arguments(settings: dict[str, Any], **more: Any) -> list[str]:
    """`--key=value` of settings."""
    return [f"--{key}={value}" for key, value in {**settings, **more}.items()]


def start(*words: str, cwd: Path) -> subprocess.Popen:
    """The command as a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "recbole_precise", *words],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen, status: int = 0) -> str:
    """What a process printed, once it has ended as it should."""
    out, _ = process.communicate(timeout=900)
    assert process.returncode == status, out
    return out
