"""Runs of these tests, apart from the fixtures so that child processes can import them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

#: Parts of result.json that a clock or a machine decides.
CLOCK = ("seconds", "peak_memory_mb", "environment")


def run_small(settings: dict[str, Any]) -> dict[str, Any]:
    """Run with these settings through the package's front door."""
    from command_lines import command_line

    from recbole_precise import run_recbole

    with command_line([]):
        return run_recbole(config_dict=settings)


def outcome(run_dir: Path) -> dict[str, Any]:
    """Everything that a run leaves, without what the clock decides: bytes of the weights, results
    and ranks.
    """
    result = json.loads((run_dir / "result.json").read_text())
    for record in (*result["phases"], *result["curve"]):
        del record["seconds"]
    with np.load(run_dir / "ranks.npz", allow_pickle=False) as arrays:
        ranks = {name: arrays[name].tolist() for name in arrays.files}
    return {
        "weights": (run_dir / "model.safetensors").read_bytes(),
        "result": {key: value for key, value in result.items() if key not in CLOCK},
        "ranks": ranks,
    }
