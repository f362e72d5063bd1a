"""The run directory of a trainer: its name, its claim, and the weights in it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole.utils import set_color

from recbole_precise.errors import CheckpointError
from recbole_precise.plugin.pickles.checkpoints import (
    check_other_parameter,
    load_recbole_checkpoint,
)
from recbole_precise.plugin.preparation import described
from recbole_precise.plugin.training_settings import checkpoint_seconds
from recbole_precise.runs.folder import RunFolder, load_into, read_weights
from recbole_precise.runs.identity import data_identity, settings_identity, text_identity
from recbole_precise.runs.packing import rng_state
from recbole_precise.runs.result import write_settings
from recbole_precise.runs.vocabulary import ITEMS, keep_names
from recbole_precise.training.checkpoints import Best, Checkpoints
from recbole_precise.training.loop import other_parameter
from recbole_precise.training.processes import Processes


def choose_folder(config: Any, processes: Processes) -> RunFolder:
    """Return the run directory of the settings, or one named by model, data set and time."""
    if config["run_dir"]:
        folder = RunFolder(Path(config["run_dir"]))
    else:
        name = f"{config['model']}-{config['dataset']}"
        folder = RunFolder.named(Path(config["checkpoint_dir"]), name)
    return RunFolder(processes.agree(folder.path))


def make_folder(
    config: Any, chosen: RunFolder, processes: Processes, train_set: Any, held: ExitStack
) -> RunFolder:
    """Make the run directory, held until `held` ends, with settings and names in it.

    Of two runs that chose one name in the same second, the second takes another.

    Args:
        chosen: by `choose_folder`.
        train_set: the training part, whose names of users and items are kept.
        held: releases the directory.
    """
    folder = chosen
    if not config["run_dir"]:
        path = processes.first_does(lambda: RunFolder.made_at(chosen.path).path)
        folder = RunFolder(path)

    def claim() -> None:
        held.enter_context(folder.hold())
        folder.claim(bool(config["resume"]))
        if not folder.begun:
            write_settings(folder.path / "config.yaml", config.final_config_dict)
        if not (folder.begun and (folder.path / ITEMS).exists()):
            keep_names(folder.path, train_set, described(train_set))

    processes.first_does(claim)
    return folder


def settings_of(config: Any, model: Any) -> dict[str, Any]:
    """Return the class and the settings of a run, as a part of its identity."""
    settings = settings_identity(config.final_config_dict)
    return {"model_class": type(model).__name__, "settings": settings}


def open_checkpoints(
    config: Any,
    folder: RunFolder,
    processes: Processes,
    model: Any,
    train_set: Any,
    writes: bool,
) -> Checkpoints:
    """Open the checkpoints of a run in its directory.

    Args:
        train_set: the training part, which is part of the run's identity.
        writes: whether checkpoints are written.
    """
    identity: dict[str, Any] = {}
    if processes.first:
        identity = settings_of(config, model)
        identity["data"] = data_identity(train_set)
        identity.update(text_identity(model))
    return Checkpoints(
        folder,
        identity,
        processes=processes,
        seconds=checkpoint_seconds(config),
        resume=bool(config["resume"]),
        writes=writes,
    )


def save_now(model: Any, folder: Path, state: Mapping[str, Any], verbose: bool) -> None:
    """Save the weights as they are, with the state of their training and of the randomness."""
    run = RunFolder(folder)
    run.save_final(model.state_dict(), other_parameter(model), {**state, "rng": rng_state()})
    if verbose:
        getLogger().info(set_color("Saving current", "blue") + f": {run.weights}")


def load_best(model: Any, file: Path, best: Best | None, config: Any, processes: Processes) -> None:
    """Load weights into a model, and what is kept beside them, in all processes.

    Args:
        file: a run directory, its model.safetensors, or a .pth of RecBole's.
        best: the weights to take where `file` was never written.

    Raises:
        CheckpointError: there are no such weights, or they do not fit.
    """
    trust_pickle = bool(config["trust_pickle"])
    other = processes.first_does(lambda: _read_best(model, file, best, trust_pickle))
    processes.share(model.state_dict().values())
    model.load_other_parameter(other)
    getLogger().info(f"Loading model structure and parameters from {file}")


def _read_best(
    model: Any, file: Path, best: Best | None, trust_pickle: bool
) -> dict[str, Any] | None:
    """Load weights into a model; returns what is kept beside them."""
    other: dict[str, Any] | None
    if file.suffix == ".pth":
        checkpoint = load_recbole_checkpoint(file, trust_pickle)
        weights = checkpoint["state_dict"]
        other = check_other_parameter(model, checkpoint.get("other_parameter"), file)
    elif best is not None and not file.exists():
        weights = best.weights
        other = best.other
    elif not file.exists():
        raise CheckpointError(
            f"'{file}' does not exist: train with saved=True first, or give "
            "load_best_model=False or a model_file."
        )
    else:
        weights, other = read_weights(file)
    load_into(model, weights, file)
    return other
