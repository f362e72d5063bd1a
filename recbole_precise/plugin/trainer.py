"""RecBole's Trainer with phases, exact ranks, and runs that a kill cannot spoil."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from recbole.evaluator import Collector, Evaluator
from recbole.trainer import Trainer
from recbole.utils import WandbLogger

from recbole_precise import registry
from recbole_precise.errors import CheckpointError
from recbole_precise.plugin.batches import to_device
from recbole_precise.plugin.combined_trainers import put_over
from recbole_precise.plugin.evaluation import Evaluation
from recbole_precise.plugin.reports import TrainerReports
from recbole_precise.plugin.run_folder import (
    choose_folder,
    load_best,
    make_folder,
    open_checkpoints,
    save_now,
    settings_of,
)
from recbole_precise.plugin.training_settings import loop_settings, processes_of
from recbole_precise.runs.folder import RunFolder
from recbole_precise.training import judging
from recbole_precise.training.checkpoints import Checkpoints
from recbole_precise.training.events import EventWriter
from recbole_precise.training.loop import Evaluated, TrainingLoop, other_parameter
from recbole_precise.training.memory import keep_freed_memory
from recbole_precise.training.progress import Progress

#: Settings that RecBole's trainers read as attributes.
_SETTINGS = (
    "learner",
    "learning_rate",
    "weight_decay",
    "epochs",
    "stopping_step",
    "clip_grad_norm",
    "valid_metric_bigger",
    "enable_amp",
    "eval_type",
)


class PreciseTrainer(Trainer):
    """Trains and evaluates our models and RecBole's, with the arithmetic of RecBole's steps.

    It is RecBole's interface to a `TrainingLoop`, which it owns.

    Attributes:
        loop: runs the phases.
        run_folder: the directory of the run; made when `fit` first saves.
        ranks: split ('valid', 'test') -> `Ranks` of the last evaluation of it.
        results: split -> metrics of that evaluation, not rounded.
        processes: this process among those that train the model; 0 writes the files and decides
            what a clock decides.
    """

    def __init__(self, config, model) -> None:
        # Not Trainer's own __init__: it makes directories wherever the process happens to run, and
        # of several processes it knows those with GPUs and one phase alone.
        self.config = config
        self.device = config["device"]
        self.processes = processes_of(config)
        self.model = self.processes.join(model, self.device)
        self.logger = getLogger()
        self._set_folder(choose_folder(config, self.processes))
        events = self.run_folder.path if config["tensorboard"] is not False else None
        self.tensorboard = EventWriter(events)
        self.wandblogger = WandbLogger(config)
        for name in _SETTINGS:
            setattr(self, name, config[name])
        self.valid_metric = config["valid_metric"].lower()
        self.eval_step = min(config["eval_step"], config["epochs"])
        self.test_batch_size = judging.RECBOLES_PAIRS  # eval_batch_size would change last bits
        self.gpu_available = torch.cuda.is_available() and self.device.type == "cuda"
        self.enable_scaler = torch.cuda.is_available() and config["enable_scaler"]
        self.start_epoch = 0
        self.cur_step = 0
        self.eval_collector = Collector(config)
        self.evaluator = Evaluator(config)
        self.item_tensor = None
        self.tot_item_num = None
        self._evaluation = Evaluation(self)
        self.exact = self._evaluation.exact
        self.ranks = self._evaluation.ranks
        self.results = self._evaluation.results
        self.loop = self._build_loop()
        self.train_loss_dict = self.loop.train_losses
        self.best_valid_score = self.loop.best_score
        self.best_valid_result = self.loop.best_result
        if any(True for _ in model.parameters()):
            self.optimizer = self._build_optimizer()

    def _build_loop(self) -> TrainingLoop:
        # RecBole's trainers of single models make several passes that have one position each.
        own_epoch = type(self)._train_epoch.__module__ == __name__
        return TrainingLoop(
            model=self.model,
            device=self.device,
            settings=loop_settings(self.config),
            build_optimizer=self._build_optimizer,
            evaluate=self._validate,
            train_epoch=lambda *args, **kwargs: self._train_epoch(*args, **kwargs),
            tracks_batches=own_epoch,
            reports=TrainerReports(self),
            processes=self.processes,
            to_device=to_device(self.device),
        )

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """Of the phase under way; RecBole's trainers of single models set it."""
        return self.loop.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer | None) -> None:
        self.loop.optimizer = optimizer

    @property
    def progress(self) -> Progress:
        """Epochs, losses and phases so far."""
        return self.loop.progress

    def _set_folder(self, folder: RunFolder) -> None:
        self.run_folder = folder
        self.checkpoint_dir = str(folder.path)
        self.saved_model_file = str(folder.weights)

    # --- Training -----------------------------------------------------------------------------

    def fit(
        self,
        train_data,
        valid_data=None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], Any] | None = None,
    ) -> tuple[float, Mapping[str, float] | None]:
        """Train all phases; returns the best validation score (exact) and result (rounded).

        Args:
            saved: write checkpoints, and the best weights at the end, into the run directory.
            callback_fn: called with (epoch, validation score) after each validation.
        """
        if self.device.type == "cpu" and self.config["keep_freed_memory"] is not False:
            keep_freed_memory()
        with ExitStack() as held:
            checkpoints = None
            if saved:
                checkpoints = self._open_folder(train_data._dataset, held)
            self.know_training(train_data)
            if self.config["train_neg_sample_args"].get("dynamic", False):
                train_data.get_model(self.model)
            self.best_valid_score, self.best_valid_result = self.loop.fit(
                train_data,
                valid_data,
                checkpoints=checkpoints,
                verbose=verbose,
                show_progress=show_progress,
                callback=callback_fn,
            )
        return self.best_valid_score, self.best_valid_result

    def _open_folder(self, train_set: Any, held: ExitStack) -> Checkpoints:
        """Make the run directory, which is held until `held` ends; returns its checkpoints."""
        self._set_folder(make_folder(self.config, self.run_folder, self.processes, train_set, held))
        self.tensorboard.move(self.run_folder.path)
        return open_checkpoints(
            self.config,
            self.run_folder,
            self.processes,
            self.model,
            train_set,
            writes=self.loop.tracks_batches,
        )

    def know_training(self, train_data) -> None:
        """Take what metrics need of the training data.

        `fit` does so, and a finished run is evaluated after it.
        """
        self._evaluation.know_training(train_data)

    def _train_epoch(self, train_data, epoch_idx: int, loss_func=None, show_progress: bool = False):
        return self.loop.train_epoch(train_data, epoch_idx, loss_func, show_progress=show_progress)

    # --- Weights ------------------------------------------------------------------------------

    def resume_checkpoint(self, resume_file) -> None:
        """Refuse RecBole's way to resume, which starts over from the best epoch."""
        raise CheckpointError(
            f"To go on with '{resume_file}', set run_dir to its directory and resume: True; fit "
            "then continues the run."
        )

    def _other_parameter(self) -> dict[str, Any]:
        return other_parameter(self.model)

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs) -> None:
        """Save the weights as they are: for RecBole's own loops (trainers of single models)."""
        if self.processes.first:
            file = Path(kwargs.get("saved_model_file", self.saved_model_file))
            state = {
                "epoch": epoch,
                "progress": self.progress.state(),
                "identity": settings_of(self.config, self.model),
            }
            save_now(self.model, file.parent, state, verbose)

    def _load_best(self, model_file: str | os.PathLike | None) -> None:
        file = Path(model_file or self.saved_model_file)
        best = self.loop.best if model_file is None else None
        load_best(self.model, file, best, self.config, self.processes)

    # --- Evaluation ---------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(
        self, eval_data, load_best_model: bool = True, model_file=None, show_progress: bool = False
    ) -> OrderedDict | None:
        """Metrics of a split, named and rounded as RecBole does.

        The exact ones are in `results`, the ranks in `ranks`.

        Args:
            load_best_model: evaluate the best weights of the run, or those in `model_file` (a run
                directory, its model.safetensors, or a .pth of RecBole's), and leave them in the
                model.
        """
        if not eval_data:
            return None
        if load_best_model:
            self._load_best(model_file)
        return OrderedDict(self._evaluation.measure(eval_data, show_progress).shown)

    def _split_of(self, eval_data) -> str:
        return self._evaluation.split_of(eval_data)

    def _validate(self, valid_data: Any, show_progress: bool) -> Evaluated:
        shown = self.evaluate(valid_data, load_best_model=False, show_progress=show_progress)
        split = self._split_of(valid_data)
        return Evaluated(shown or {}, self.results[split], self.ranks.get(split))


def get_trainer(config) -> type:
    """Return the trainer class for a configured model.

    It is ours, below a trainer that RecBole has for this model alone (S3Rec). A model with a
    trainer outside RecBole's Trainer (XGBoost, LightGBM) keeps it.
    """
    from recbole.utils import get_trainer as recbole_trainer

    entry = registry.find(config["model"])
    if entry is not None and entry.ours:
        return PreciseTrainer
    return combined(recbole_trainer(config["MODEL_TYPE"], config["model"]))


def loop_of_periods(config, model, where: str = "") -> TrainingLoop:
    """Return a loop that trains one model again and again, each time with a new optimizer.

    It validates nothing, and every step has the learning rate of its phase.

    Args:
        where: words before "epoch ..." in the message of a training that diverges.
    """
    settings = replace(
        loop_settings(config),
        lr_schedule="constant",
        warmup_steps=0,
        train_minutes=None,
        warm_start=None,
    )
    return TrainingLoop(
        model=model,
        device=config["device"],
        settings=settings,
        build_optimizer=PreciseTrainer(config, model)._build_optimizer,
        where=where,
    )


def combined(own: type) -> type:
    """Put a trainer of RecBole's over ours instead of over RecBole's Trainer."""
    return put_over(own, PreciseTrainer)
