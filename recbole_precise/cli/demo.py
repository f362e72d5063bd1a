"""`demo`: PRECISE-UT beside the training-free floors on the data set that comes with RecBole."""

from __future__ import annotations

import json
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.settings import (
    BUNDLED,
    RUN_SETTINGS,
    as_words,
    check_run_settings,
    data_sets,
    need_recbole,
)

MODELS = ("PRECISE-UT", "Pop", "Transition", "GraphHeuristic", "GraphForward")

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


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "PRECISE-UT and the training-free floors on MovieLens-100k, and a table of their results"
    )
    parser.setting_names = RUN_SETTINGS
    parser.add_argument("--dataset", default=BUNDLED, help="the data set")
    parser.suggestions["dataset"] = data_sets


def main(args: Namespace) -> None:
    """Print the table of `demo`."""
    need_recbole()
    check_run_settings(args, MODELS[0])
    print(demo(args.settings, dataset=args.dataset))


def demo(
    settings: Mapping[str, str], *, dataset: str = BUNDLED, models: Sequence[str] = MODELS
) -> str:
    """Train PRECISE-UT, evaluate the floors, and return a table of their results.

    Each run leaves its own run directory.

    Args:
        settings: of the run of PRECISE-UT, as on a command line; the floors share those of
            `_SHARED`.
        dataset: its name.
        models: the first is trained with all settings.
    """
    from recbole_precise.quick_start import run_recbole
    from recbole_precise.studies.text_tables import results_table

    shared = {key: value for key, value in settings.items() if key in _SHARED}
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            own = dict(settings) if model == models[0] else shared
            file = own.setdefault("result_file", str(Path(folder, f"{model}.json")))
            run_recbole(model=model, dataset=dataset, command_line=as_words(own))
            results.append(json.loads(Path(file).read_text(encoding="utf-8")))
    return "\n" + results_table(results)
