"""`demo`: PRECISE-UT beside the training-free floors on the data set that comes with RecBole."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from recbole_precise.cli.commands import need_recbole
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.studies.text_tables import results_table

MODELS = ("PRECISE-UT", "Pop", "Transition", "GraphHeuristic", "GraphForward")
DATASET = "ml-100k"

#: Settings of the first run that hold for the floors too: where things lie, what is shown, how
#: items become text.
_SHARED = frozenset(
    [
        "data_path",
        "checkpoint_dir",
        "load_col",
        "item_text",
        "text_file",
        "text_encoder",
        "text_cache_dir",
        "threads",
        "show_progress",
        "state",
        "tensorboard",
        "gpu_id",
        "use_gpu",
    ]
)


def demo(arguments: Sequence[str] = (), models: Sequence[str] = MODELS) -> str:
    """Train PRECISE-UT, evaluate the floors, and return a table of the four.

    Each run leaves its own run directory. `arguments` are settings of the PRECISE-UT run, as on a
    command line; the floors share those of `_SHARED`.
    """
    from recbole_precise.plugin.config import command_line
    from recbole_precise.quick_start import run_recbole

    settings = parse_arguments(arguments, strict=True)
    dataset = settings.pop("dataset", DATASET)
    shared = {key: value for key, value in settings.items() if key in _SHARED}
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            own = settings if model == models[0] else shared
            file = Path(own.get("result_file", Path(folder, f"{model}.json")))
            with command_line(
                [f"--{key}={value}" for key, value in {**own, "result_file": file}.items()]
            ):
                run_recbole(model=model, dataset=dataset)
            results.append(json.loads(file.read_text(encoding="utf-8")))
    return "\n" + results_table(results)


def main(arguments: Sequence[str]) -> None:
    """Print the table of `demo`."""
    need_recbole()
    print(demo(arguments))
