"""`similarity`: do the ID vectors of finished runs know which items are alike? PRECISE's test of alternate training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.errors import ConfigError
from recbole_precise.settings.arguments import positional
from recbole_precise.verbs import VERBS, need_recbole, own_options
from recbole_precise.verbs.options import whole_number


@dataclass(frozen=True)
class _Run:
    label: str
    folder: Path
    items: int
    found: Any


def main(arguments: Sequence[str]) -> None:
    """Print the mean cosine of ID vectors within similar and random pairs of each run; with --output draw and write them."""
    folders, rest = positional(arguments)
    options = own_options("similarity", rest, required=(), optional=("neighbours", "output", "seed", "data_path", "text_cache_dir"))
    if not folders:
        raise ConfigError(f"similarity needs a run directory or several: recbole-precise {VERBS['similarity'].usage}.")
    neighbours, seed = whole_number(options, "neighbours", 10), whole_number(options, "seed", 0, least=0)
    if "output" in options:
        from recbole_precise.figures import need_matplotlib

        need_matplotlib()
    need_recbole()
    changes = {key: options[key] for key in ("data_path", "text_cache_dir") if key in options}
    runs = [_look(Path(folder), neighbours, seed, changes) for folder in folders]
    from recbole_precise.report import text_table

    rows = [
        [run.label, str(run.folder), f"{run.items:,}", *(f"{values.mean():.4f}" for values in (run.found.similar, run.found.random)), f"{run.found.gap:+.4f}"] for run in runs
    ]
    print(text_table(["run", "folder", "items", "similar pairs", "random pairs", "gap"], rows))
    print(f"\nMean cosine of ID vectors, trained items alone; similar: each item's {neighbours} nearest by cosine of its whole vector (ID and text).")
    if "output" in options:
        _write(Path(options["output"]), runs, neighbours)


def _look(folder: Path, neighbours: int, seed: int, changes: dict[str, str]) -> _Run:
    from recbole_precise.config import command_line
    from recbole_precise.evaluation.id_similarity import id_similarity
    from recbole_precise.nn.item_encoders import IdEncoder, TextEncoder
    from recbole_precise.quick_start import load_data_and_model

    with command_line([]):
        config, model, _, train_data, *_ = load_data_and_model(folder, {"show_progress": False, **changes})
    parts = getattr(getattr(model, "item_encoder", None), "parts", ())
    ids = next((part for part in parts if isinstance(part, IdEncoder)), None)
    if ids is None or not any(isinstance(part, TextEncoder) for part in parts):
        raise ConfigError(f"similarity: the items of {config['model']} in '{folder}' have no vectors of both ID and text (PRECISE-UT, PRECISE-Pool and what extends them have).")
    model.eval()
    trained = np.flatnonzero(train_data._dataset.train_item_counts().numpy() > 0)
    vectors = model.item_encoder.all_items().detach().numpy()[trained]
    table = ids.table.weight.detach().numpy()[trained]
    if len(trained) <= neighbours:
        raise ConfigError(f"--neighbours={neighbours} needs more than the {len(trained)} trained items of '{folder}'.")
    label = config["model"] + (", alternate" if config["alternate"] else "")
    return _Run(label, folder, len(trained), id_similarity(table, vectors, neighbours, seed))


def _write(folder: Path, runs: list[_Run], neighbours: int) -> None:
    from recbole_precise.figures import look, new_figure, save_figure
    from recbole_precise.trainer.checkpoint import write_json

    folder.mkdir(parents=True, exist_ok=True)
    content = [
        {"run": run.label, "folder": str(run.folder), "items": run.items, "similar": float(run.found.similar.mean()), "random": float(run.found.random.mean()), "gap": run.found.gap}
        for run in runs
    ]
    write_json(folder / "similarity.json", {"neighbours": neighbours, "runs": content}, "the similarities")
    with look():
        figure = new_figure(6.4, 2.6 * len(runs) + 0.6)
        panels = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
        for panel, run in zip(panels, runs):
            for values, color, name in ((run.found.random, "#8a8a8a", "random pairs"), (run.found.similar, "#1b6ca8", f"each item and its {neighbours} nearest")):
                panel.hist(values.ravel(), bins=np.linspace(-1, 1, 81), density=True, histtype="stepfilled", alpha=0.5, color=color, label=f"{name}, mean {values.mean():.3f}")
            panel.set_ylabel("density")
            panel.set_title(f"{run.label} ({run.folder.name}), n = {run.items:,} trained items", fontsize=9, loc="left")
            panel.legend(frameon=False, fontsize=8)
        panels[-1].set_xlabel("cosine of two items' ID vectors")
        save_figure(figure, folder, "similarity")
    print(f"Written: {folder / 'similarity.json'}, {folder / 'similarity.png'}, {folder / 'similarity.svg'}")
