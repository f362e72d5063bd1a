"""What PAD's gate learnt: the weight of every expert by frequency bucket (PAD Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.discrepancy import gate_by_bucket
from recbole_precise.nn.gated_items import GatedItems
from recbole_precise.nn.gates import NoGate
from recbole_precise.studies.benchmark.plots import COLOURS, MARKERS
from recbole_precise.studies.figures import look, new_figure
from recbole_precise.studies.inspection.runs import load_runs

_BATCH = 1024  # rows whose gates are computed at once


def summarise(
    folders: Sequence[Path], *, split: str = "test", changes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Mean and spread of the experts' weights in every bucket, of each run.

    A gate that knows the bucket alone is shown for every item, one that reads users for the cases
    of `split`, at the bucket of the case's target.

    Raises ConfigError for a run without a gate, or whose gate was never trained.
    """
    runs = []
    for label, folder, run in load_runs(folders, changes):
        items = _gated_items(run, folder)
        loader = run.loaders[("train", "valid", "test").index(split)]
        weights, rows = (
            _by_case(run.model, items, loader)
            if items.by_user
            else (run.model.gate_weights()[items.bucket].cpu().numpy(), items.bucket.cpu().numpy())
        )
        counts = run.loaders[0]._dataset.train_item_counts().numpy()
        bucket = items.bucket.cpu().numpy()
        table = gate_by_bucket(weights, rows, list(items.experts), items.n_buckets)
        for row in table:
            row["items"] = int((bucket == row["bucket"]).sum())
            row["training_events"] = int(counts[bucket == row["bucket"]].sum())
        runs.append({
            "run": label, "folder": str(folder), "dataset": run.config["dataset"],
            "gate": run.config["gate"], "experts": list(items.experts),
            "rows": f"{split} cases" if items.by_user else "items", "buckets": table,
        })  # fmt: skip
    return {"kind": "gates", "runs": runs}


def _gated_items(run: Any, folder: Path) -> GatedItems:
    items = getattr(run.model, "item_encoder", None)
    name = run.config["model"]
    if not isinstance(items, GatedItems):
        raise ConfigError(f"{name} in '{folder}' has no gate: a gate weighs the experts of PAD.")
    speaking = run.model.speaking()
    if speaking != items.experts:
        raise ConfigError(
            f"'{folder}' ended before the phase finetune, which trains the gate; it is ranked by "
            f"the expert {speaking[0]} alone."
        )
    if isinstance(items.gate, NoGate):
        raise ConfigError(
            f"'{folder}' has no gate: "
            + (
                f"it has one expert, {items.experts[0]}."
                if len(items.experts) == 1
                else "its experts' scores are added as they are."
            )
        )
    return items


@torch.no_grad()
def _by_case(model: Any, items: GatedItems, loader: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weights `[cases, experts]` at each target's bucket, and these buckets `[cases]`."""
    part = loader._dataset
    device = items.bucket.device
    found = []
    buckets = []
    for lo in range(0, len(part), _BATCH):
        interaction = part[np.arange(lo, min(lo + _BATCH, len(part)))].to(device)
        bucket = items.bucket[interaction[part.iid_field]]
        found.append(
            model.gate_weights(interaction)[torch.arange(len(bucket), device=device), bucket]
        )
        buckets.append(bucket)
    return torch.cat(found).cpu().numpy(), torch.cat(buckets).cpu().numpy()


def table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: the mean weight of each expert in a bucket of a run.

    A weight that varies inside a bucket has its spread.
    """
    experts = list(dict.fromkeys(name for run in summary["runs"] for name in run["experts"]))
    rows = []
    for run in summary["runs"]:
        for row in run["buckets"]:
            cells = []
            for name in experts:
                if row["mean"] is None or name not in row["mean"]:
                    cells.append("-")
                else:
                    cells.append(
                        f"{row['mean'][name]:.3f}"
                        + (f" ± {row['std'][name]:.3f}" if run["rows"] != "items" else "")
                    )
            rows.append(
                [
                    run["run"],
                    str(row["bucket"]),
                    f"{row['items']:,}",
                    f"{row['training_events']:,}",
                    f"{row['rows']:,}",
                    *cells,
                ]
            )
    return ["run", "bucket", "items", "training events", "rows", *experts], rows


def notes(summary: Mapping[str, Any]) -> list[str]:
    """Say what was read, in sentences."""
    runs = "; ".join(
        f"{run['run']}: {run['dataset']}, gate {run['gate']}, over {run['rows']}"
        for run in summary["runs"]
    )
    return [
        f"{runs}.",
        "Weights of a row sum to 1; bucket 1 holds the most frequent items. A weight is no share "
        "of a score: experts' scores differ in size.",
    ]


def draw(summary: Mapping[str, Any]) -> Any:
    """Draw a panel a run: the experts' weights against the bucket."""
    runs = summary["runs"]
    experts = list(dict.fromkeys(name for run in runs for name in run["experts"]))
    across = min(3, len(runs))
    with look():
        figure = new_figure(1.2 + 3.4 * across, 0.8 + 2.5 * -(-len(runs) // across))
        panels = figure.subplots(-(-len(runs) // across), across, sharey=True, squeeze=False)
        for panel in panels.flat[len(runs) :]:
            panel.set_axis_off()
        for panel, run in zip(panels.flat, runs):
            for name in run["experts"]:
                known = [
                    (row["bucket"], row["mean"][name], row["std"][name])
                    for row in run["buckets"]
                    if row["mean"] is not None
                ]
                place, (bucket, mean, std) = experts.index(name), np.array(known).T
                panel.plot(
                    bucket,
                    mean,
                    marker=MARKERS[place],
                    markersize=4,
                    color=COLOURS[place],
                    label=name,
                )
                if run["rows"] != "items":
                    panel.fill_between(
                        bucket, mean - std, mean + std, color=COLOURS[place], alpha=0.2, linewidth=0
                    )
            panel.set_ylim(0, 1)
            panel.set_xticks(
                [row["bucket"] for row in run["buckets"]],
                [f"{row['bucket']}\n{row['rows']:,}" for row in run["buckets"]],
                fontsize=7,
            )
            panel.grid(axis="y", alpha=0.3)
            panel.set_title(
                f"{run['run']} ({run['dataset']}), gate {run['gate']}", fontsize=9, loc="left"
            )
            panel.set_xlabel(f"frequency bucket (1: most frequent), {run['rows']}", fontsize=8)
        for row in panels:
            row[0].set_ylabel("weight of the expert")
        handles: dict[str, Any] = {}
        names = []
        for panel in panels.flat:
            handles |= {name: handle for handle, name in zip(*panel.get_legend_handles_labels())}
        names = [name for name in experts if name in handles]
        figure.legend(
            [handles[name] for name in names],
            names,
            frameon=False,
            fontsize=8,
            loc="outside lower center",
            ncols=len(names),
        )
    return figure
