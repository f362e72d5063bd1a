"""`evaluate`: a finished run once more, under other metrics or masks, on the other split, or with
items that came after training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_precise.cli.commands import VERBS
from recbole_precise.cli.options import one_of, switch
from recbole_precise.cli.recommend import settings_of
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.config.verb_options import take_own
from recbole_precise.errors import ConfigError
from recbole_precise.files import output_file
from recbole_precise.system.locking import exclusive

if TYPE_CHECKING:
    from recbole_precise.finished import FinishedRun

_PATIENCE = 30.0  # seconds to wait for another evaluation that is being written


def main(arguments: Sequence[str]) -> None:
    """Print the metrics and write them, beside the run's own result, as evaluation-<split>.json or
    to `--output`.
    """
    given = parse_arguments(arguments, strict=True)
    own = take_own("evaluate", given)
    settings: dict[str, Any] = settings_of("evaluate", given)
    if not own.get("run_dir"):
        raise ConfigError(
            "evaluate needs --run_dir, the directory of a finished run: recbole-precise "
            f"{VERBS['evaluate'].usage}."
        )
    split, cold = one_of(own, "split", ("test", "valid")), switch(own, "cold", True)
    from recbole_precise.finished import load_finished
    from recbole_precise.runs.checkpoint import write_json
    from recbole_precise.runs.folder import find_run
    from recbole_precise.runs.result import RESULT, numbers

    folder = find_run(own["run_dir"]).path
    output = output_file(own["output"], "--output", replaces=".json") if "output" in own else None
    if output is None:
        with exclusive(folder, "run_dir", wait=_PATIENCE):
            pass  # whoever trains there says so now, not after the evaluation
    elif output.name == RESULT and output.resolve().parent.joinpath("state.json").exists():
        raise ConfigError(
            f"--output '{output}' is the result of a run, which evaluate never writes over; "
            "choose another name."
        )
    run = load_finished(own["run_dir"], _with_valid_metric(settings, folder), own.get("items"))
    report = evaluate(run, split, cold=cold)
    report["run_dir"] = str(own["run_dir"])
    report["data"] = {"name": run.config["dataset"], "same": True}
    if run.difference is not None:
        report["data"] = run.difference.to_dict()
        print(run.difference.in_words())
    places = run.config["metric_decimal_place"]
    print(
        f"{split} result: "
        f"{ ({name: round(value, places) for name, value in report[split].items()}) }"
    )
    if "new_items" in report:
        new = report["new_items"]
        print(
            f"new items: {new['items']} ({new['readable']} with a text that the model can read), "
            f"{100 * new['share_of_top_10']:.2f}% of the places in the top 10 of these rows"
        )
    for protocol, part in report.get("cold", {}).items():
        if isinstance(part, dict):
            metrics = {
                name: {metric: round(value["mean"], places) for metric, value in row.items()}
                for name, row in part["metrics"].items()
            }
            print(f"held-out items among themselves ({protocol}, {part['cases']} cases): {metrics}")
    if output is not None:
        write_json(output, numbers(report), "the evaluation")
    else:
        with exclusive(
            folder, "run_dir", wait=_PATIENCE
        ):  # of two evaluations each takes a name of its own
            output = _free(folder, f"evaluation-{split}")
            write_json(output, numbers(report), "the evaluation")
    print(f"Written: {output}")


def _free(folder: Path, name: str) -> Path:
    """`<folder>/<name>.json`, with a number behind the name when that is taken."""
    number, path = 1, folder / f"{name}.json"
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}.json"
    return path


def _with_valid_metric(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The metric of early stopping must be among those computed, though nothing is stopped here:
    name one that is.
    """
    from recbole_precise.config import parse_value, read_settings

    if not {"metrics", "topk"} & settings.keys():
        return settings
    then = read_settings(folder / "config.yaml") if (folder / "config.yaml").is_file() else {}
    metrics, topk = (
        parse_value(str(settings[key]), ("list",)) if key in settings else then.get(key)
        for key in ("metrics", "topk")
    )
    first = [
        value[0] if isinstance(value, (list, tuple)) and value else value
        for value in (metrics, topk)
    ]
    return {**settings, "valid_metric": f"{first[0]}@{first[1]}"}


def evaluate(run: FinishedRun, split: str = "test", *, cold: bool = True) -> dict[str, Any]:
    """The report of a split: protocol, metrics, slices.

    Of the new items; and, where the run held items out, the cold report.
    """
    from recbole_precise.plugin.trainer import get_trainer
    from recbole_precise.runs.result import metrics_of, protocol_of

    config, train_set = run.config, run.loaders[0]._dataset
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
    results, ranks = getattr(trainer, "results", {}), getattr(trainer, "ranks", {})
    metrics = metrics_of(next(iter(results.values())) if results else rounded)
    report: dict[str, Any] = {
        "model": config["model"],
        "dataset": config["dataset"],
        "split": split,
        "rows": len(loader._dataset),
        "protocol": protocol_of(config, len(run.tokens)),
        split: metrics,
        "slices": _slices(run, next(iter(ranks.values())), loader._dataset, split) if ranks else {},
    }
    if len(run.readable):
        report["new_items"] = {
            "items": len(run.readable),
            "readable": int(run.readable.sum()),
            "share_of_top_10": _share_of_top(run, loader, 10),
        }
    if (
        cold
        and exact
        and getattr(train_set, "held_out", None) is not None
        and run.loaders[2] is not None
    ):
        from recbole_precise.plugin.training_settings import cold_settings
        from recbole_precise.training.cold_report import cold_ranks, cold_report

        report["cold"] = cold_report(
            cold_ranks(run.model, train_set, run.loaders[2]._dataset, cold_settings(config)),
            int(train_set.held_out.sum()),
        )
    return report


def _slices(run: FinishedRun, ranks: Any, dataset: Any, split: str) -> dict[str, Any]:
    from recbole_precise.evaluation.metrics import rank_metric_names
    from recbole_precise.evaluation.slices import Cases, row_slices, slice_report

    config, train_set = run.config, run.loaders[0]._dataset
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
    import numpy as np
    import torch

    from recbole_precise.evaluation.blocks import block_rows, blocks, filled
    from recbole_precise.evaluation.draws import own_draws, seed_block
    from recbole_precise.serving.top import top_items

    config, dataset = run.config, loader._dataset
    allowed, taken, places = torch.ones(len(run.tokens), dtype=torch.bool), 0, 0
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
