"""A finished run evaluated once more.

Under other metrics or masks, on the other split, or with items that came after training.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_precise.config import parse_value, read_settings
from recbole_precise.config.known_keys import check_askable
from recbole_precise.errors import ConfigError, not_one_of
from recbole_precise.evaluation.blocks import block_rows, blocks, filled
from recbole_precise.evaluation.draws import own_draws, seed_block
from recbole_precise.evaluation.metrics import rank_metric_names
from recbole_precise.evaluation.slices import Cases, row_slices, slice_report
from recbole_precise.finished import FinishedRun, load_finished
from recbole_precise.plugin.trainer import get_trainer
from recbole_precise.plugin.training_settings import cold_settings
from recbole_precise.runs.checkpoint import write_json
from recbole_precise.runs.folder import find_run
from recbole_precise.runs.result import RESULT, metrics_of, numbers, protocol_of
from recbole_precise.runs.vocabulary import Difference
from recbole_precise.serving.top import top_items
from recbole_precise.system.locking import exclusive
from recbole_precise.training.cold_report import cold_ranks, cold_report

SPLITS = ("test", "valid")
_PATIENCE = 30.0  # seconds to wait for another evaluation that is being written


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        run_dir: of the run, as it was named.
        model: name of the model.
        dataset: name of the data set.
        split: `test` or `valid`.
        rows: number of cases.
        protocol: how they were ranked.
        metrics: name -> value, not rounded.
        slices: the metrics of parts of the cases.
        new_items: how many there are, how many have a text that the model can read, and their
            share of the top 10; None without new items.
        cold: the ranking of the items that were held out of training among themselves; None where
            the run held none out.
        difference: how the data at hand differ from those of the run; None when they do not.
        decimal_places: of the metrics, where they are printed.
    """

    run_dir: str
    model: str
    dataset: str
    split: str
    rows: int
    protocol: Mapping[str, Any]
    metrics: Mapping[str, float]
    slices: Mapping[str, Any] = field(default_factory=dict)
    new_items: Mapping[str, Any] | None = None
    cold: Mapping[str, Any] | None = None
    difference: Difference | None = None
    decimal_places: int = 4

    def to_dict(self) -> dict[str, Any]:
        """Return what is written to a file: plain values, the metrics under the split's name."""
        data: Mapping[str, Any] = {"name": self.dataset, "same": True}
        if self.difference is not None:
            data = self.difference.to_dict()
        report = {
            "model": self.model,
            "dataset": self.dataset,
            "split": self.split,
            "rows": self.rows,
            "protocol": self.protocol,
            self.split: self.metrics,
            "slices": self.slices,
            "new_items": self.new_items,
            "cold": self.cold,
            "run_dir": self.run_dir,
            "data": data,
        }
        return {name: value for name, value in report.items() if value is not None}

    def to_text(self) -> str:
        """Return what is printed."""
        lines = [] if self.difference is None else [self.difference.in_words()]
        lines.append(f"{self.split} result: {self._rounded(self.metrics)}")
        if self.new_items is not None:
            lines.append(
                f"new items: {self.new_items['items']} ({self.new_items['readable']} with a text "
                f"that the model can read), {100 * self.new_items['share_of_top_10']:.2f}% of the "
                "places in the top 10 of these rows"
            )
        for protocol, part in (self.cold or {}).items():
            if not isinstance(part, dict):
                continue
            means = {
                name: self._rounded({metric: value["mean"] for metric, value in row.items()})
                for name, row in part["metrics"].items()
            }
            lines.append(
                f"held-out items among themselves ({protocol}, {part['cases']} cases): {means}"
            )
        return "\n".join(lines)

    def _rounded(self, metrics: Mapping[str, float]) -> dict[str, float]:
        return {name: round(value, self.decimal_places) for name, value in metrics.items()}

    def write(self, file: Path | None = None) -> Path:
        """Write the report.

        Args:
            file: where; default: `evaluation-<split>.json` beside the run's result, with a number
                behind the name when that is taken.

        Returns:
            The file.
        """
        if file is not None:
            write_json(file, numbers(self.to_dict()), "the evaluation")
            return file
        folder = find_run(self.run_dir).path
        # Of two evaluations each takes a name of its own.
        with exclusive(folder, "run_dir", wait=_PATIENCE):
            file = _free(folder, f"evaluation-{self.split}")
            write_json(file, numbers(self.to_dict()), "the evaluation")
        return file


def evaluate(
    run_dir: str | os.PathLike[str],
    *,
    split: str = "test",
    items: str | os.PathLike[str] | None = None,
    cold: bool = True,
    **settings: Any,
) -> Evaluation:
    """Evaluate a finished run once more; nothing is written.

    Example:
        >>> recbole_precise.evaluate("saved/run", topk=[20], mask_history=True).metrics

    Args:
        run_dir: of a finished run.
        split: `test` or `valid`.
        items: a file of new items, which came after training and become candidates.
        cold: whether the items that were held out of training are ranked among themselves.
        settings: of the run that do not change what was trained: `metrics`, `topk`,
            `mask_history`, `slices`, `data_path` and others.

    Returns:
        What was found.

    Raises:
        ConfigError: an argument is wrong, or the run cannot be asked.
        CheckpointError: there is no finished run.
    """
    if split not in SPLITS:
        raise ConfigError(f"split {not_one_of(split, SPLITS)}")
    check_askable(settings)
    changed = _with_valid_metric(settings, find_run(str(run_dir)).path)
    run = load_finished(str(run_dir), changed, None if items is None else str(items))
    return _evaluate(run, str(run_dir), split, cold)


def check_output(run_dir: str | os.PathLike[str], file: Path | None) -> None:
    """Refuse a place that `Evaluation.write` could not write to, before anything is evaluated."""
    if file is None:
        with exclusive(find_run(str(run_dir)).path, "run_dir", wait=_PATIENCE):
            return  # whoever trains there says so now
    if file.name == RESULT and file.resolve().parent.joinpath("state.json").exists():
        raise ConfigError(
            f"--output '{file}' is the result of a run, which evaluate never writes over; "
            "choose another name."
        )


def _free(folder: Path, name: str) -> Path:
    """`<folder>/<name>.json`, with a number behind the name when that is taken."""
    number = 1
    path = folder / f"{name}.json"
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.json"
    return path


def _with_valid_metric(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return settings with a metric of early stopping that is among those computed.

    RecBole asks for one, though nothing is stopped here.
    """
    if not {"metrics", "topk"} & settings.keys():
        return dict(settings)
    file = folder / "config.yaml"
    then = read_settings(file) if file.is_file() else {}
    first = []
    for key in ("metrics", "topk"):
        value = then.get(key)
        if key in settings:
            value = parse_value(str(settings[key]), ("list",))
        if isinstance(value, (list, tuple)) and value:
            value = value[0]
        first.append(value)
    return {**settings, "valid_metric": f"{first[0]}@{first[1]}"}


def _evaluate(run: FinishedRun, run_dir: str, split: str, cold: bool) -> Evaluation:
    config = run.config
    train_set = run.loaders[0]._dataset
    loader = run.loaders[1 if split == "valid" else 2]
    if loader is None or not len(loader._dataset):
        raise ConfigError(f"The run has no {split} rows.")
    config["tensorboard"] = False
    trainer = get_trainer(config)(config, run.model)
    exact = getattr(trainer, "exact", False)
    if len(run.readable) and not exact:
        raise ConfigError(
            "--items needs exact ranks over the whole catalogue (evaluator: exact), which this "
            "run was not evaluated by."
        )
    if hasattr(trainer, "know_training"):
        trainer.know_training(run.loaders[0])
    rounded = trainer.evaluate(loader, load_best_model=False, show_progress=config["show_progress"])
    results = getattr(trainer, "results", {})
    ranks = getattr(trainer, "ranks", {})
    slices: Mapping[str, Any] = {}
    if ranks:
        slices = _slices(run, next(iter(ranks.values())), loader._dataset, split)
    new_items = None
    if len(run.readable):
        new_items = {
            "items": len(run.readable),
            "readable": int(run.readable.sum()),
            "share_of_top_10": _share_of_top(run, loader, 10),
        }
    held_out = getattr(train_set, "held_out", None)
    cold_part = None
    if cold and exact and held_out is not None and run.loaders[2] is not None:
        cold_part = cold_report(
            cold_ranks(run.model, train_set, run.loaders[2]._dataset, cold_settings(config)),
            int(held_out.sum()),
        )
    return Evaluation(
        run_dir=run_dir,
        model=config["model"],
        dataset=config["dataset"],
        split=split,
        rows=len(loader._dataset),
        protocol=protocol_of(config, len(run.tokens)),
        metrics=metrics_of(next(iter(results.values())) if results else rounded),
        slices=slices,
        new_items=new_items,
        cold=cold_part,
        difference=run.difference,
        decimal_places=config["metric_decimal_place"],
    )


def _slices(run: FinishedRun, ranks: Any, dataset: Any, split: str) -> Mapping[str, Any]:
    config = run.config
    train_set = run.loaders[0]._dataset
    if not config["slices"] or not hasattr(train_set, "train_item_counts"):
        return {}
    cases = Cases.of(
        ranks.target,
        dataset.history(slice(None)),
        train_set.train_item_counts(),
        getattr(train_set, "held_out", None),
    )
    names = rank_metric_names(config["metrics"])
    return slice_report(ranks, row_slices(cases, config["slices"]), names, config["topk"], split)


def _share_of_top(run: FinishedRun, loader: Any, k: int) -> float:
    """Share of the places in the rows' top k that new items take."""
    config = run.config
    dataset = loader._dataset
    allowed = torch.ones(len(run.tokens), dtype=torch.bool)
    taken = 0
    places = 0
    size = block_rows(None if hasattr(run.model, "user_vectors") else len(run.tokens))
    with own_draws():
        for number, low, high in blocks(len(dataset), size):
            seed_block(config["seed"], number)
            rows = np.arange(low, high)
            batch = loader.transform(dataset, dataset[rows]).to(config["device"])
            excluded = None
            if config["mask_history"]:
                excluded = tuple(part.to(config["device"]) for part in dataset.history(rows))
            found = top_items(
                run.model,
                filled(batch, high - low, size),
                k,
                allowed=allowed,
                excluded=excluded,
                alone=False,
            )
            items = found.items[: high - low]
            real = torch.isfinite(found.scores[: high - low])
            taken += int((real & (items >= run.first_new)).sum())
            places += int(real.sum())
    return taken / max(places, 1)
