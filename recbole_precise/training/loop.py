"""Training in phases with early stopping, checkpoints and resume: the loop around epochs, without
RecBole.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, perf_counter, process_time
from typing import Any

import torch

from recbole_precise.evaluation.draws import own_draws
from recbole_precise.evaluation.ranking import Ranks
from recbole_precise.runs.folder import load_into
from recbole_precise.runs.identity import (
    catalogue_digest,
    data_identity,
    settings_identity,
    text_identity,
)
from recbole_precise.runs.packing import rng_state, set_rng_state
from recbole_precise.runs.result import write_ranks
from recbole_precise.training.phases import Phase, check_phases, freeze_for, rate_groups
from recbole_precise.training.processes import RareQuestion
from recbole_precise.training.progress import Progress
from recbole_precise.training.steps import EarlyStopping, LossSum, Stepper
from recbole_precise.training.views import phase_loaders
from recbole_precise.training.warm_start import warm_start

# A checkpoint at the end of an epoch may cost a twentieth of the time; epochs shorter than that
# share one.
_COST_SHARE = 20


class PhasedTraining:
    """What `PreciseTrainer` adds to RecBole's loop. Everything here is deterministic but for the
    moments of checkpoints.

    A checkpoint holds all that the next batch depends on, so that a killed and resumed run
    computes, bit for bit on a CPU, what an uninterrupted one does. Inside an epoch the loader is
    brought back to its place by drawing the batches before it again.
    """

    def _begin_phased(self) -> None:
        self.progress = Progress()
        self._phase: Phase | None = None
        self._stepper: Stepper | None = None
        self._averaged: Callable[[Any, Any], Any] | None = (
            None  # the loss, its gradients averaged over the processes
        )
        self._best: dict[str, Any] | None = None  # weights, what is kept beside them, ranks
        self._best_is_new = False
        self._tracks_batches, self._saving = False, False
        self._valid_data: Any = None
        self._generators: dict[str, torch.Generator | None] = {}
        self._resumed_rng: dict[str, Any] = {}
        self._identity: dict[str, Any] = {}
        self._last_checkpoint, self._checkpoint_cost = monotonic(), 0.0
        self._checkpoint_due = RareQuestion(self.processes)
        self._ticked = 0.0

    # --- The loop -----------------------------------------------------------------------------

    def _fit_phases(
        self,
        train_data,
        valid_data,
        verbose: bool,
        saved: bool,
        show_progress: bool,
        callback: Callable | None,
    ):
        self._valid_data, self._saving = valid_data, saved
        phases = check_phases(
            list(self.model.phases()) if hasattr(self.model, "phases") else self._default_phases()
        )
        self._tracks_batches = self._has_own_loop()
        self._use(train_data, valid_data)
        trainable = {
            name: parameter.requires_grad for name, parameter in self.model.named_parameters()
        }
        self._identity = (
            {
                **self._settings_identity(),
                "data": data_identity(train_data._dataset),
                **text_identity(self.model),
            }
            if saved and self.processes.first
            else {}
        )
        parts = None
        if saved and self.config["resume"]:
            if self._read_finished():
                return self.best_valid_score, self.best_valid_result
            parts = self._read_checkpoint()
        if self.config["warm_start"]:
            self._warm_start(train_data._dataset)
        first = (
            self._weights(copy=True)
            if any(phase.starts_from is None for phase in phases[1:])
            else None
        )
        if saved and self.processes.first:
            self.tensorboard.open(self.progress.epoch if parts else None)
        self._last_checkpoint = monotonic()
        try:
            for index in range(self.progress.phase, len(phases)):
                phase = phases[index]
                phase_train, phase_valid = phase_loaders(phase, train_data, valid_data)
                self._use(phase_train, phase_valid)
                self._begin_phase(phase, index, len(phases), trainable, first, parts, verbose)
                parts = None
                self._run_phase(phase, phase_train, phase_valid, verbose, show_progress, callback)
                if self._best is None:
                    self._keep_best()
                self.progress.next_phase(phase.name, last=index == len(phases) - 1)
            self._finish(self._valid_data, verbose, show_progress)
        finally:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(trainable.get(name, True))
            self._phase, self._tracks_batches = None, False
            self.tensorboard.close()
        return self.best_valid_score, self.best_valid_result

    def _use(self, train_data, valid_data) -> None:
        """The loaders of what comes next: their generators are part of a checkpoint."""
        self._valid_data = valid_data
        self._generators = {
            name: getattr(loader, "generator", None)
            for name, loader in (("train", train_data), ("valid", valid_data))
        }

    def _warm_start(self, dataset) -> None:
        found = self.processes.first_does(
            lambda: warm_start(self.model, self.config["warm_start"], catalogue_digest(dataset))
        )
        self.processes.share(self.model.state_dict().values())
        self.logger.info(f"Warm start from '{self.config['warm_start']}': {found}")

    def _begin_phase(
        self, phase: Phase, index: int, total: int, trainable, first, parts, verbose: bool
    ) -> None:
        """Put weights, gradients and optimizer where the phase, or the checkpoint inside it, has
        them.
        """
        if index and parts is None:
            load_into(
                self.model,
                first if phase.starts_from is None else self._best["weights"],
                "the phase before",
            )
            self._best, self._best_is_new = None, False
        self._phase = phase
        if hasattr(self.model, "set_phase"):
            self.model.set_phase(phase)
        rate = self.learning_rate if phase.learning_rate is None else phase.learning_rate
        decay = self.weight_decay if phase.weight_decay is None else phase.weight_decay
        trained = freeze_for(phase, self.model, trainable)
        groups = rate_groups(phase, self.model, trained, rate)
        self.optimizer = (
            self._build_optimizer(params=groups, learning_rate=rate, weight_decay=decay)
            if trained
            else None
        )
        self._stepper = self._averaged = None
        if total > 1 and verbose:
            counted = sum(parameter.numel() for parameter in trained)
            self.logger.info(
                f"phase {index + 1} of {total}, {phase.name}: at most {phase.epochs} epochs, "
                f"learning rate {rate}, {counted} parameters trained"
            )
        if parts is not None:
            self._restore(parts)
        self.best_valid_score = self._early_stopping(phase).best
        self.best_valid_result = self.progress.best_result

    def _run_phase(
        self,
        phase: Phase,
        train_data,
        valid_data,
        verbose: bool,
        show_progress: bool,
        callback: Callable | None,
    ) -> None:
        progress = self.progress
        eval_step = min(self.config["eval_step"], phase.epochs)
        validates = phase.validate and eval_step > 0 and bool(valid_data)
        self._ticked = self._clock()
        if (
            validates
            and phase.validate_start
            and progress.best_score is None
            and progress.epoch == progress.phase_start
            and not progress.batch
        ):
            self._validate_start(phase, valid_data, verbose, show_progress)
        while not progress.stopped and progress.epoch - progress.phase_start < phase.epochs:
            epoch = progress.epoch
            if progress.train_loss is None:
                started = perf_counter()
                self._epoch_started = started
                loss = self._train_epoch(train_data, epoch, show_progress=show_progress)
                progress.spend("train", perf_counter() - self._epoch_started)
                progress.train_loss = loss
                self.train_loss_dict[epoch] = sum(loss) if isinstance(loss, tuple) else loss
                progress.history.append(
                    {
                        "epoch": epoch,
                        "phase": phase.name,
                        "train_loss": loss,
                        "train_seconds": perf_counter() - started,
                    }
                )
                self._log_epoch(epoch, perf_counter() - started, loss, verbose)
                self._checkpoint_if(
                    self.processes.agree(
                        monotonic() - self._last_checkpoint > self._checkpoint_seconds()
                    )
                )
            if validates and (epoch - progress.phase_start + 1) % eval_step == 0:
                self._validate(phase, valid_data, epoch, verbose, show_progress, callback)
            self._tick()
            if (
                self.train_minutes
                and not progress.stopped
                and self.processes.agree(progress.clock_seconds >= 60 * self.train_minutes)
            ):
                progress.ended = "train_minutes"
                self.logger.info(
                    f"{self.train_minutes:g} minutes of training (train_minutes) are over after "
                    f"epoch {epoch}"
                )
            progress.next_epoch()
            pause = min(_COST_SHARE * self._checkpoint_cost, self._checkpoint_seconds())
            self._checkpoint_if(self.processes.agree(monotonic() - self._last_checkpoint > pause))

    def _validate_start(self, phase: Phase, valid_data, verbose: bool, show_progress: bool) -> None:
        """The first bar to pass: what the phase starts from."""
        progress, started = self.progress, perf_counter()
        result = self.evaluate(valid_data, load_best_model=False, show_progress=show_progress)
        progress.best_exact, progress.best_result = self.results["valid"], dict(result)
        progress.best_score = self.best_valid_score = progress.best_exact[self.valid_metric]
        progress.best_epoch, self.best_valid_result = progress.phase_start - 1, result
        progress.spend("evaluate", perf_counter() - started)
        self._keep_best()
        if verbose:
            self.logger.info(
                f"{phase.name} starts from {self.valid_metric} {progress.best_score:.6f}"
            )

    def _validate(
        self,
        phase: Phase,
        valid_data,
        epoch: int,
        verbose: bool,
        show_progress: bool,
        callback: Callable | None,
    ) -> None:
        progress, started = self.progress, perf_counter()
        result = self.evaluate(valid_data, load_best_model=False, show_progress=show_progress)
        exact = self.results["valid"]
        score, seconds = exact[self.valid_metric], perf_counter() - started
        progress.spend("evaluate", seconds)
        stopping = self._early_stopping(phase)
        improved, stopped = stopping.update(score)
        if stopped:
            progress.ended = "stopping_step"
        progress.best_score, progress.waited = self.best_valid_score, self.cur_step = (
            stopping.best,
            stopping.waited,
        )
        progress.history[-1].update(valid_score=score, valid=exact, valid_seconds=seconds)
        self._log_validation(epoch, seconds, score, result, progress.evaluations, verbose)
        progress.evaluations += 1
        if improved:
            progress.best_epoch, progress.best_result, progress.best_exact = (
                epoch,
                dict(result),
                exact,
            )
            self.best_valid_result = result
            self._keep_best()
        if callback:
            with own_draws(*self._generators.values()):
                callback(epoch, score)
        if progress.stopped and verbose:
            self.logger.info(f"Finished training, best eval result in epoch {progress.best_epoch}")

    def _finish(self, valid_data, verbose: bool, show_progress: bool) -> None:
        """After the last phase: a validation if there was none, and the files that a finished
        training leaves.
        """
        progress = self.progress
        if progress.best_result is None and valid_data and self.config["eval_step"] > 0:
            # A model without training, or a last phase that does not look at the validation data.
            started = perf_counter()
            result = self.evaluate(valid_data, load_best_model=False, show_progress=show_progress)
            progress.spend("evaluate", perf_counter() - started)
            progress.best_result, progress.best_exact = dict(result), self.results["valid"]
            self.best_valid_score, self.best_valid_result = (
                self.results["valid"][self.valid_metric],
                result,
            )
            progress.best_score = self.best_valid_score
            if verbose:
                self.logger.info(
                    "valid result: \n"
                    + "    ".join(f"{name} : {value}" for name, value in result.items())
                )
            if self._best is not None:
                self._best["ranks"] = self.ranks.get("valid")
        if self._best is None:
            self._keep_best()
        if not self._saving or not self.processes.first:
            return
        if self._best["ranks"] is not None:
            write_ranks(
                self.run_folder.path / "ranks.npz",
                {"valid": self._best["ranks"]},
                valid_data._dataset,
            )
        state = {
            "progress": progress.state(),
            "identity": self._identity,
            "rng": rng_state(self._generators),
        }
        self.run_folder.save_final(self._best["weights"], self._best["other"], state)
        if verbose:
            self.logger.info(f"Saved the best weights: {self.run_folder.weights}")
        self._add_hparam_to_tensorboard(self.best_valid_score)

    def _clock(self) -> float:
        return process_time() if self.config["train_clock"] == "processor" else perf_counter()

    def _tick(self) -> None:
        """Book what has passed since the last tick on the clock of `train_minutes`."""
        now = self._clock()
        self.progress.clock_seconds += now - self._ticked
        self._ticked = now

    def _early_stopping(self, phase: Phase) -> EarlyStopping:
        patience = self.stopping_step if phase.stopping_step is None else phase.stopping_step
        stopping = EarlyStopping(patience, self.valid_metric_bigger)
        if self.progress.best_score is not None:
            stopping.best, stopping.waited = self.progress.best_score, self.progress.waited
        return stopping

    def _has_own_loop(self) -> bool:
        """Whether the epoch is ours.

        RecBole's trainers of single models make several passes that have one position each.
        """
        return type(self)._train_epoch.__module__ == "recbole_precise.plugin.trainer"

    # --- Checkpoints --------------------------------------------------------------------------

    def _weights(self, copy: bool = False) -> dict[str, torch.Tensor]:
        state = self.model.state_dict()
        return (
            {name: value.detach().cpu().clone() for name, value in state.items()}
            if copy
            else dict(state)
        )

    def _keep_best(self) -> None:
        self._best = {
            "weights": self._weights(copy=True),
            "other": self._other_parameter(),
            "ranks": self.ranks.get("valid"),
        }
        self._best_is_new = True

    def _settings_identity(self) -> dict[str, Any]:
        return {
            "model_class": type(self.model).__name__,
            "settings": settings_identity(self.config.final_config_dict),
        }

    def _checkpoint_seconds(self) -> float:
        seconds = self.config["checkpoint_seconds"]
        return 60.0 if seconds is None else seconds

    def _maybe_checkpoint(self, losses: LossSum) -> None:
        """Inside an epoch: write a checkpoint when the last one is old enough."""
        if not self._saving or not self._checkpoint_due.ask(
            lambda: monotonic() - self._last_checkpoint > self._checkpoint_seconds()
        ):
            return
        self.progress.loss = losses.state()  # raises when training has diverged: NaN is never saved
        self.progress.spend("train", perf_counter() - self._epoch_started)
        self._epoch_started = perf_counter()
        self._checkpoint_if(True)

    def _checkpoint_if(self, due: bool) -> None:
        if not (due and self._saving and self._tracks_batches):
            return
        started = monotonic()
        self._tick()
        training = {
            "identity": self._identity,
            "progress": self.progress.state(),
            "weights": self._weights(),
            "other": self._other_parameter(),
            "optimizer": self.optimizer.state_dict() if self.optimizer is not None else None,
            "scaler": self._stepper.scaler_state() if self._stepper is not None else None,
            # Each process has randomness and a sum of losses of its own; all else is the same in
            # all.
            "processes": self.processes.gather(
                {"rng": rng_state(self._generators), "loss": self.progress.loss}
            ),
        }
        if self.processes.first:
            self._write_checkpoint(training)
        self._best_is_new = False
        self._last_checkpoint = monotonic()
        self._checkpoint_cost = self._last_checkpoint - started

    def _write_checkpoint(self, training: dict[str, Any]) -> None:
        parts, reuse = {"training": training}, ()
        if self._best is not None and self._best_is_new:
            ranks = self._best["ranks"]
            parts["best"] = {
                **self._best,
                "ranks": None if ranks is None else [ranks.user_id, ranks.target, ranks.rank],
            }
        elif self._best is not None:
            reuse = ("best",)
        self.run_folder.store.save(parts, reuse)

    def _read_checkpoint(self) -> dict[str, Any] | None:
        parts = self.processes.first_does(
            lambda: self.run_folder.load_checkpoint(self._identity, self.logger.warning)
        )
        if parts is None:
            self.logger.info(
                f"'{self.run_folder.path}' holds no checkpoint yet: training begins at the "
                "beginning."
            )
            return None
        self.progress = progress = Progress.from_state(parts["training"]["progress"])
        progress.loss = self._own(parts["training"])["loss"]
        self.train_loss_dict = {
            record["epoch"]: record["train_loss"] for record in progress.history
        }
        self.logger.info(
            f"Checkpoint loaded. Resume training from epoch {progress.epoch}, batch "
            f"{progress.batch}"
        )
        return parts

    def _restore(self, parts: dict[str, Any]) -> None:
        """Weights, optimizer, best weights and randomness of a checkpoint.

        The phase is set up already.
        """
        training = parts["training"]
        load_into(self.model, training["weights"], self.run_folder.store.folder)
        self.model.load_other_parameter(training["other"])
        if self.optimizer is not None and training["optimizer"] is not None:
            self.optimizer.load_state_dict(training["optimizer"])
        if training["scaler"] is not None:
            self._stepper_of(self.optimizer).scaler.load_state_dict(training["scaler"])
        best = parts.get("best")
        if best is not None:
            self._best = {**best, "ranks": None if best["ranks"] is None else Ranks(*best["ranks"])}
        self.cur_step = self.progress.waited
        self._resumed_rng = self._own(training)["rng"]
        set_rng_state(self._resumed_rng, self._generators)

    def _own(self, training: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint holds for this process alone.

        Those of one process once held it among the rest.
        """
        if "processes" in training:
            return training["processes"][self.processes.rank]
        return {"rng": training["rng"], "loss": training["progress"]["loss"]}

    def _read_finished(self) -> bool:
        """Take over the outcome of a finished training; its weights are loaded by `evaluate`."""
        state = self.processes.first_does(lambda: self.run_folder.load_finished(self._identity))
        if state is None:
            return False
        self.progress = Progress.from_state(state["progress"])
        self.best_valid_result = self.progress.best_result
        if self.progress.best_score is not None:
            self.best_valid_score = self.progress.best_score
        self.train_loss_dict = {
            record["epoch"]: record["train_loss"] for record in self.progress.history
        }
        set_rng_state(state["rng"], self._generators)
        self.logger.info(f"The training in '{self.run_folder.path}' is finished: nothing to train.")
        return True
