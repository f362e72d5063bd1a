"""Weights of a finished run as the beginning of another (PRECISE Sec.

IV-D: targeted training starts from universal training).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recbole_precise.errors import CheckpointError
from recbole_precise.runs.folder import RunFolder, find_run
from recbole_precise.runs.identity import check_text_encoder


@dataclass(frozen=True)
class WarmStart:
    """Names of tensors: `copied` bit for bit.

    `new`, which the run does not have; `dropped`, which the model does not have.
    """

    copied: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        def count(names: tuple[str, ...]) -> str:
            return f"{len(names)} ({', '.join(names)})" if names else "none"

        return (
            f"tensors copied: {len(self.copied)}; new here: {count(self.new)}; not needed "
            f"here: {count(self.dropped)}"
        )


def first_weights(
    run_dir: str | Path | None, resume: bool, warm_start: str | Path | None
) -> Mapping[str, torch.Tensor] | None:
    """Weights from which a training starts, None where it starts from nothing.

    Args:
        run_dir: directory of the run, whose weights come first if it is resumed.
        resume: continue the run in `run_dir`, if there is one.
        warm_start: another run, whose weights come next.

    Raises:
        CheckpointError: the weights are damaged, or there is no such run.
    """
    if resume and run_dir:
        folder = RunFolder(Path(run_dir))
        if folder.load_final() is not None:
            return folder.load_weights()[0]
        begun = folder.store.load()
        if begun is not None:
            return begun["training"]["weights"]
    return find_run(warm_start).load_weights()[0] if warm_start else None


def warm_start(model: Any, run_dir: str | Path, catalogue: str) -> WarmStart:
    """Copy what `model` shares with the run in `run_dir`.

    Args:
        catalogue: digest of the items' names (`catalogue_digest`): rows of a table belong to items,
            so it must be the run's.

    Raises CheckpointError when there is no finished run, when it has other items or read them with
    another text encoder, when a shared tensor has another shape, or when nothing is shared. A model
    may name tensors that the run never trained, which begin again where their shapes differ
    (`untrained_in(weights)`).
    """
    run = find_run(run_dir)
    finished = run.load_final()
    if finished is None:
        raise CheckpointError(f"warm_start '{run.path}': its run has not finished.")
    identity = finished["identity"]
    theirs = identity.get("data", {}).get("catalogue")
    if theirs != catalogue:
        raise CheckpointError(
            f"warm_start '{run.path}': its run has other items, or the same in another order, so "
            "its vectors would go to the wrong items. "
            "Train it on the same data set with the same load_col and filters."
        )
    check_text_encoder(identity, model, f"warm_start '{run.path}'")
    weights, _ = run.load_weights()
    own = model.state_dict()
    untrained = model.untrained_in(weights) if hasattr(model, "untrained_in") else ()
    for name in own:
        if name in weights and weights[name].shape != own[name].shape:
            if name in untrained:
                del weights[name]  # begins with new values
                continue
            raise CheckpointError(
                f"warm_start '{run.path}': tensor '{name}' has the shape "
                f"{list(weights[name].shape)}, this model's has {list(own[name].shape)}; "
                "give both the same widths, layers and MAX_ITEM_LIST_LENGTH."
            )
    copied = tuple(name for name in own if name in weights)
    if not copied:
        raise CheckpointError(
            f"warm_start '{run.path}': its run has no tensor that {type(model).__name__} has "
            f"({', '.join(list(weights)[:4])}, ...)."
        )
    with torch.no_grad():
        for name in copied:
            own[name].copy_(weights[name])
    return WarmStart(
        copied,
        tuple(name for name in own if name not in weights),
        tuple(name for name in weights if name not in own),
    )
