"""Training in phases with early stopping, checkpoints and resume."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from time import perf_counter, process_time
from typing import Any, Protocol

import torch
from torch import nn

from recbole_precise.evaluation.draws import own_draws
from recbole_precise.evaluation.ranking import Ranks
from recbole_precise.runs.folder import load_into
from recbole_precise.runs.identity import catalogue_digest
from recbole_precise.runs.packing import rng_state, set_rng_state
from recbole_precise.training.checkpoints import Best, Checkpoints
from recbole_precise.training.epochs import EpochRunner, LossFunction, move_to
from recbole_precise.training.phases import Phase, check_phases, freeze_for, rate_groups
from recbole_precise.training.processes import ALONE, Processes
from recbole_precise.training.progress import Progress
from recbole_precise.training.reports import Loss, Reports, Silence
from recbole_precise.training.schedule import learning_rate_factor
from recbole_precise.training.settings import LoopSettings
from recbole_precise.training.steps import EarlyStopping, LossSum
from recbole_precise.training.views import phase_loaders
from recbole_precise.training.warm_start import warm_start

Callback = Callable[[int, float], object]


@dataclass(frozen=True)
class Evaluated:
    """Metrics of the validation rows.

    Attributes:
        shown: rounded for people.
        exact: not rounded; early stopping reads them.
        ranks: of the rows, None where the evaluator gives none.
    """

    shown: Mapping[str, float]
    exact: Mapping[str, float]
    ranks: Ranks | None = None


class BuildOptimizer(Protocol):
    """Makes the optimizer of a phase."""

    def __call__(
        self, *, params: Any, learning_rate: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """Return an optimizer over parameters, or over groups of them."""


class TrainEpoch(Protocol):
    """Trains one epoch."""

    def __call__(self, loader: Any, epoch: int, *, show_progress: bool) -> Loss:
        """Return the sum of the losses of the epoch."""


@dataclass
class _Session:
    """One call of `TrainingLoop.fit`.

    Attributes:
        checkpoints: None where nothing is saved.
        trainable: parameter name -> whether the model itself wants it trained.
        first: the weights that the model was built with, where a phase starts from them.
    """

    checkpoints: Checkpoints | None
    verbose: bool
    show_progress: bool
    callback: Callback | None
    trainable: Mapping[str, bool]
    first: Mapping[str, torch.Tensor] | None = None


class TrainingLoop:
    """Runs the phases of a model: epochs, validations, early stopping, checkpoints, resume.

    Everything is deterministic but for the moments of checkpoints. A checkpoint holds all that the
    next batch depends on, so that a killed and resumed run computes, bit for bit on a CPU, what an
    uninterrupted one does.

    Example:
        >>> loop = TrainingLoop(
        ...     model=model, device=device, settings=settings, build_optimizer=build_optimizer
        ... )
        >>> loop.fit(loader, None, phases=[Phase("train", epochs=3)])

    Args:
        model: a module that is trained; its methods `phases`, `set_phase` and `other_parameter`
            are called where it has them.
        device: where the model is.
        settings: of the loop.
        build_optimizer: makes the optimizer of a phase.
        evaluate: (loader, show_progress) -> `Evaluated`; needed to validate.
        train_epoch: takes the place of `train_epoch`, where several passes are one epoch.
        tracks_batches: whether an epoch is one pass, so that a checkpoint can be inside it.
        reports: who hears of epochs and validations.
        processes: those that train the model together.
        to_device: puts a batch on the device.
        where: words before "epoch ..." in the message of a training that diverges.

    Attributes:
        progress: epochs, losses and phases so far.
        phase: under way, None outside of `fit`.
        best: the best weights of the last phase, None before any.
        best_score: of the validations of the last phase; an infinity before any.
        best_result: metrics of that validation, rounded for people.
        train_losses: epoch -> sum of its losses.
        valid_loader: the validation rows that are looked at.
    """

    def __init__(
        self,
        *,
        model: Any,
        device: torch.device,
        settings: LoopSettings,
        build_optimizer: BuildOptimizer,
        evaluate: Callable[[Any, bool], Evaluated] | None = None,
        train_epoch: TrainEpoch | None = None,
        tracks_batches: bool = True,
        reports: Reports | None = None,
        processes: Processes = ALONE,
        to_device: Callable[[Any], Any] | None = None,
        where: str = "",
    ) -> None:
        self.progress = Progress()
        self.phase: Phase | None = None
        self.best: Best | None = None
        self.best_score = -math.inf if settings.valid_metric_bigger else math.inf
        self.best_result: Mapping[str, float] | None = None
        self.train_losses: dict[int, Any] = {}
        self.valid_loader: Any = None
        self._model = model
        self._settings = settings
        self._build_optimizer = build_optimizer
        self._evaluate = evaluate
        self._train_epoch = self.train_epoch if train_epoch is None else train_epoch
        self.tracks_batches = tracks_batches
        self._reports = Silence() if reports is None else reports
        self._processes = processes
        self._epochs = EpochRunner(
            model,
            device,
            settings,
            processes=processes,
            reports=self._reports,
            to_device=move_to(device) if to_device is None else to_device,
            where=where,
        )
        self._session: _Session | None = None
        self._generators: dict[str, torch.Generator | None] = {}
        self._resumed_draws: Mapping[str, Any] | None = None
        self._epoch_started = 0.0
        self._ticked = 0.0

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """Of the phase under way, or of the last one."""
        return self._epochs.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer | None) -> None:
        self._epochs.optimizer = optimizer

    @property
    def generators(self) -> tuple[torch.Generator | None, ...]:
        """The generators of the loaders, whose states are part of a checkpoint."""
        return tuple(self._generators.values())

    # --- The loop -----------------------------------------------------------------------------

    def fit(
        self,
        train: Any,
        valid: Any,
        *,
        phases: Sequence[Phase] | None = None,
        checkpoints: Checkpoints | None = None,
        verbose: bool = True,
        show_progress: bool = False,
        callback: Callback | None = None,
    ) -> tuple[float, Mapping[str, float] | None]:
        """Train all phases.

        Args:
            train: loader of the training batches.
            valid: loader of the validation rows; None validates nothing.
            phases: default: those of the model.
            checkpoints: of the run directory; None saves nothing.
            verbose: log phases, epochs and validations.
            show_progress: show bars.
            callback: called with (epoch, validation score) after each validation.

        Returns:
            The best validation score of the last phase, and its metrics rounded for people.
        """
        planned = check_phases(list(self._phases() if phases is None else phases))
        parameters = self._model.named_parameters()
        trainable = {name: parameter.requires_grad for name, parameter in parameters}
        self._session = _Session(checkpoints, verbose, show_progress, callback, trainable)
        self._use(train, valid)
        try:
            # Importing RecBole's sequential models switches anomaly detection on for the whole
            # process (sine.py): every backward pass is slower for it, and a NaN is a stack trace.
            # Losses are checked here anyway.
            with torch.autograd.set_detect_anomaly(False):
                self._fit(train, valid, planned)
        finally:
            for name, parameter in self._model.named_parameters():
                parameter.requires_grad_(trainable.get(name, True))
            self.phase = None
            self._epochs.rate_factor = None
            self._session = None
            self._reports.end()
        return self.best_score, self.best_result

    def _fit(self, train: Any, valid: Any, phases: Sequence[Phase]) -> None:
        session = self._of_fit()
        checkpoints = session.checkpoints
        parts = None
        if checkpoints is not None and checkpoints.resume:
            if self._take_finished(checkpoints):
                return
            parts = self._take_checkpoint(checkpoints)
        if self._settings.warm_start:
            self._warm_start(self._settings.warm_start, train._dataset)
        if any(phase.starts_from is None for phase in phases[1:]):
            session.first = self._copy_weights()
        if checkpoints is not None:
            if self._processes.first:
                self._reports.begin(self.progress.epoch if parts else None)
            checkpoints.start_clock()
        for index in range(self.progress.phase, len(phases)):
            phase = phases[index]
            phase_train, phase_valid = phase_loaders(phase, train, valid)
            self._use(phase_train, phase_valid)
            self._begin_phase(phase, index, len(phases), parts)
            parts = None
            self._run_phase(phase, phase_train)
            if self.best is None:
                self._keep_best(None)
            self.progress.next_phase(phase.name, last=index == len(phases) - 1)
        self._finish()

    def _phases(self) -> list[Phase]:
        if hasattr(self._model, "phases"):
            return self._model.phases()
        return [Phase(name="train", epochs=self._settings.epochs)]

    def _use(self, train: Any, valid: Any) -> None:
        """Take the loaders of what comes next: their generators are part of a checkpoint."""
        self.valid_loader = valid
        self._generators = {
            name: getattr(loader, "generator", None)
            for name, loader in (("train", train), ("valid", valid))
        }

    def _warm_start(self, run_dir: str, dataset: Any) -> None:
        found = self._processes.first_does(
            lambda: warm_start(self._model, run_dir, catalogue_digest(dataset))
        )
        self._processes.share(self._model.state_dict().values())
        getLogger().info(f"Warm start from '{run_dir}': {found}")

    # --- A phase ------------------------------------------------------------------------------

    def _begin_phase(
        self, phase: Phase, index: int, total: int, parts: Mapping[str, Any] | None
    ) -> None:
        """Put weights, gradients and optimizer where the phase, or a checkpoint in it, has them."""
        session = self._of_fit()
        if index and parts is None:
            self._load_start(phase)
            self.best = None
        self.phase = phase
        if hasattr(self._model, "set_phase"):
            self._model.set_phase(phase)
        settings = self._settings
        rate = settings.learning_rate if phase.learning_rate is None else phase.learning_rate
        decay = settings.weight_decay if phase.weight_decay is None else phase.weight_decay
        trained = freeze_for(phase, self._model, session.trainable)
        groups = rate_groups(phase, self._model, trained, rate)
        optimizer = None
        if trained:
            optimizer = self._build_optimizer(params=groups, learning_rate=rate, weight_decay=decay)
        self._epochs.begin_phase(optimizer)
        self._epochs.rate_factor = self._rate_factor(phase)
        if total > 1 and session.verbose:
            counted = sum(parameter.numel() for parameter in trained)
            getLogger().info(
                f"phase {index + 1} of {total}, {phase.name}: at most {phase.epochs} epochs, "
                f"learning rate {rate}, {counted} parameters trained"
            )
        if parts is not None:
            self._restore(parts)
        self.best_score = self._early_stopping(phase).best
        self.best_result = self.progress.best_result

    def _load_start(self, phase: Phase) -> None:
        """Load the weights that a phase behind another starts from."""
        start = self._of_fit().first
        if phase.starts_from is not None:
            start = self._kept().weights
        if start is None:
            raise ValueError("the weights that the model was built with were not kept")
        load_into(self._model, start, "the phase before")

    def _rate_factor(self, phase: Phase) -> Callable[[int, int], float] | None:
        """Return the schedule of the learning rate; None where every step has the same rate."""
        schedule = self._settings.lr_schedule
        warmup = self._settings.warmup_steps
        if schedule == "constant" and not warmup:
            return None

        def factor(batch: int, batches: int) -> float:
            step = (self.progress.epoch - self.progress.phase_start) * batches + batch
            return learning_rate_factor(schedule, step, phase.epochs * batches, warmup)

        return factor

    def _run_phase(self, phase: Phase, train: Any) -> None:
        progress = self.progress
        session = self._of_fit()
        eval_step = min(self._settings.eval_step, phase.epochs)
        validates = phase.validate and eval_step > 0 and bool(self.valid_loader)
        self._ticked = self._clock()
        at_start = progress.epoch == progress.phase_start and not progress.batch
        if validates and phase.validate_start and progress.best_score is None and at_start:
            self._validate_start(phase)
        while not progress.stopped and progress.epoch - progress.phase_start < phase.epochs:
            epoch = progress.epoch
            if progress.train_loss is None:
                self._run_epoch(phase, train, epoch)
                checkpoints = session.checkpoints
                if checkpoints is not None and checkpoints.due_before_validation():
                    self._checkpoint(checkpoints)
            if validates and (epoch - progress.phase_start + 1) % eval_step == 0:
                self._validate(phase, epoch)
            self._tick()
            self._stop_by_clock(epoch)
            progress.next_epoch()
            if session.checkpoints is not None and session.checkpoints.due_after_epoch():
                self._checkpoint(session.checkpoints)

    def _stop_by_clock(self, epoch: int) -> None:
        minutes = self._settings.train_minutes
        progress = self.progress
        if not minutes or progress.stopped:
            return
        if self._processes.agree(progress.clock_seconds >= 60 * minutes):
            progress.ended = "train_minutes"
            getLogger().info(
                f"{minutes:g} minutes of training (train_minutes) are over after epoch {epoch}"
            )

    # --- An epoch -----------------------------------------------------------------------------

    def _run_epoch(self, phase: Phase, train: Any, epoch: int) -> None:
        progress = self.progress
        session = self._of_fit()
        started = perf_counter()
        self._epoch_started = started
        loss = self._train_epoch(train, epoch, show_progress=session.show_progress)
        progress.spend("train", perf_counter() - self._epoch_started)
        progress.train_loss = loss
        self.train_losses[epoch] = sum(loss) if isinstance(loss, tuple) else loss
        seconds = perf_counter() - started
        progress.history.append(
            {"epoch": epoch, "phase": phase.name, "train_loss": loss, "train_seconds": seconds}
        )
        self._reports.epoch(epoch, perf_counter() - started, loss, session.verbose)

    def train_epoch(
        self,
        loader: Any,
        epoch: int,
        loss_function: LossFunction | None = None,
        *,
        show_progress: bool = False,
    ) -> Loss:
        """One pass over the training data; inside `fit` from the batch where a resumed run stood.

        Args:
            loader: of the training batches.
            epoch: its number.
            loss_function: batch -> loss; default: the model's `calculate_loss`.
            show_progress: show a bar.

        Returns:
            The sum of the losses.
        """
        tracked = self._session is not None and self.tracks_batches
        return self._epochs.run(
            loader,
            epoch,
            loss_function or self._model.calculate_loss,
            progress=self.progress if tracked else None,
            restore_draws=self._restore_draws,
            after_step=self._checkpoint_inside,
            show_progress=show_progress,
        )

    # --- Validation ---------------------------------------------------------------------------

    def _measure(self) -> Evaluated:
        if self._evaluate is None:
            raise ValueError("a loop without `evaluate` cannot validate")
        return self._evaluate(self.valid_loader, self._of_fit().show_progress)

    def _validate_start(self, phase: Phase) -> None:
        """Validate what the phase starts from: the first score that an epoch must reach."""
        progress = self.progress
        started = perf_counter()
        found = self._measure()
        self._take_best(found)
        progress.best_epoch = progress.phase_start - 1
        progress.spend("evaluate", perf_counter() - started)
        self._keep_best(found.ranks)
        if self._of_fit().verbose:
            getLogger().info(
                f"{phase.name} starts from {self._settings.valid_metric} {self.best_score:.6f}"
            )

    def _validate(self, phase: Phase, epoch: int) -> None:
        progress = self.progress
        session = self._of_fit()
        started = perf_counter()
        found = self._measure()
        score = found.exact[self._settings.valid_metric]
        seconds = perf_counter() - started
        progress.spend("evaluate", seconds)
        stopping = self._early_stopping(phase)
        improved, stopped = stopping.update(score)
        if stopped:
            progress.ended = "stopping_step"
        progress.best_score = stopping.best
        progress.waited = stopping.waited
        self.best_score = stopping.best
        progress.history[-1].update(valid_score=score, valid=found.exact, valid_seconds=seconds)
        self._reports.validation(
            epoch, seconds, score, found.shown, progress.evaluations, session.verbose
        )
        progress.evaluations += 1
        if improved:
            progress.best_epoch = epoch
            self._take_best(found)
            self._keep_best(found.ranks)
        if session.callback is not None:
            with own_draws(*self.generators):
                session.callback(epoch, score)
        if progress.stopped and session.verbose:
            getLogger().info(f"Finished training, best eval result in epoch {progress.best_epoch}")

    def _take_best(self, found: Evaluated) -> None:
        """Make a validation the best one."""
        progress = self.progress
        progress.best_result = dict(found.shown)
        progress.best_exact = dict(found.exact)
        progress.best_score = found.exact[self._settings.valid_metric]
        self.best_score = progress.best_score
        self.best_result = found.shown

    def _early_stopping(self, phase: Phase) -> EarlyStopping:
        patience = self._settings.stopping_step
        if phase.stopping_step is not None:
            patience = phase.stopping_step
        stopping = EarlyStopping(patience, self._settings.valid_metric_bigger)
        if self.progress.best_score is not None:
            stopping.best = self.progress.best_score
            stopping.waited = self.progress.waited
        return stopping

    # --- The end ------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Validate where no epoch was, and leave the files of a finished training."""
        session = self._of_fit()
        validates = bool(self.valid_loader) and self._settings.eval_step > 0
        if self.progress.best_result is None and validates:
            # A model without training, or a last phase that does not look at the validation data.
            self._validate_end()
        if self.best is None:
            self._keep_best(None)
        if session.checkpoints is None:
            return
        part = self.valid_loader._dataset if self.valid_loader else None
        draws = rng_state(self._generators)
        if session.checkpoints.finish(self._kept(), self.progress.state(), draws, part):
            if session.verbose:
                weights = session.checkpoints.folder.weights
                getLogger().info(f"Saved the best weights: {weights}")
            self._reports.finished(self.best_score)

    def _validate_end(self) -> None:
        started = perf_counter()
        found = self._measure()
        self.progress.spend("evaluate", perf_counter() - started)
        self._take_best(found)
        if self._of_fit().verbose:
            shown = "    ".join(f"{name} : {value}" for name, value in found.shown.items())
            getLogger().info("valid result: \n" + shown)
        if self.best is None:
            self._keep_best(found.ranks)
        else:
            self.best.ranks = found.ranks

    # --- Clock --------------------------------------------------------------------------------

    def _clock(self) -> float:
        return process_time() if self._settings.train_clock == "processor" else perf_counter()

    def _tick(self) -> None:
        """Count what has passed since the last tick on the clock of `train_minutes`."""
        now = self._clock()
        self.progress.clock_seconds += now - self._ticked
        self._ticked = now

    # --- Weights and checkpoints --------------------------------------------------------------

    def _of_fit(self) -> _Session:
        if self._session is None:
            raise ValueError("this is part of `fit`")
        return self._session

    def _kept(self) -> Best:
        if self.best is None:
            raise ValueError("no weights were kept")
        return self.best

    def _copy_weights(self) -> dict[str, torch.Tensor]:
        state = self._model.state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def _keep_best(self, ranks: Ranks | None) -> None:
        self.best = Best(self._copy_weights(), other_parameter(self._model), ranks)

    def _checkpoint_inside(self, losses: LossSum) -> None:
        """Inside an epoch: write a checkpoint when the last one is old enough."""
        checkpoints = self._of_fit().checkpoints
        if checkpoints is None or not checkpoints.due_inside_epoch():
            return
        # This raises when training has diverged: NaN is never saved.
        self.progress.loss = losses.state()
        self.progress.spend("train", perf_counter() - self._epoch_started)
        self._epoch_started = perf_counter()
        self._checkpoint(checkpoints)

    def _checkpoint(self, checkpoints: Checkpoints) -> None:
        self._tick()
        optimizer = self.optimizer
        training = {
            "progress": self.progress.state(),
            "weights": dict(self._model.state_dict()),
            "other": other_parameter(self._model),
            "optimizer": None if optimizer is None else optimizer.state_dict(),
            "scaler": self._epochs.scaler_state(),
        }
        own = {"rng": rng_state(self._generators), "loss": self.progress.loss}
        checkpoints.write(training, own, self.best)

    def _take_checkpoint(self, checkpoints: Checkpoints) -> dict[str, Any] | None:
        """Take over progress and losses of the newest checkpoint; its weights come later."""
        parts = checkpoints.read()
        if parts is None:
            return None
        self.progress = Progress.from_state(parts["training"]["progress"])
        self.progress.loss = checkpoints.read_own(parts["training"])["loss"]
        self._take_losses()
        getLogger().info(
            f"Checkpoint loaded. Resume training from epoch {self.progress.epoch}, batch "
            f"{self.progress.batch}"
        )
        return parts

    def _restore(self, parts: Mapping[str, Any]) -> None:
        """Load weights, optimizer, best weights and randomness; the phase is set up already."""
        checkpoints = self._of_fit().checkpoints
        if checkpoints is None:
            raise ValueError("nothing is saved")
        training = parts["training"]
        load_into(self._model, training["weights"], checkpoints.folder.store.folder)
        self._model.load_other_parameter(training["other"])
        if self.optimizer is not None and training["optimizer"] is not None:
            self.optimizer.load_state_dict(training["optimizer"])
        if training["scaler"] is not None:
            self._epochs.stepper.load_scaler(training["scaler"])
        best = checkpoints.read_best(parts)
        if best is not None:
            self.best = best
        self._resumed_draws = checkpoints.read_own(training)["rng"]
        self._restore_draws()

    def _restore_draws(self) -> None:
        if self._resumed_draws is not None:
            set_rng_state(self._resumed_draws, self._generators)

    def _take_finished(self, checkpoints: Checkpoints) -> bool:
        """Take over the outcome of a finished training; `evaluate` loads its weights."""
        state = checkpoints.read_finished()
        if state is None:
            return False
        self.progress = Progress.from_state(state["progress"])
        self.best_result = self.progress.best_result
        if self.progress.best_score is not None:
            self.best_score = self.progress.best_score
        self._take_losses()
        set_rng_state(state["rng"], self._generators)
        getLogger().info(
            f"The training in '{checkpoints.folder.path}' is finished: nothing to train."
        )
        return True

    def _take_losses(self) -> None:
        self.train_losses.clear()
        self.train_losses.update(
            {record["epoch"]: record["train_loss"] for record in self.progress.history}
        )


def other_parameter(model: Any) -> dict[str, Any]:
    """Return what RecBole's models keep beside their weights.

    Modules among it are in the state_dict already.
    """
    if not hasattr(model, "other_parameter"):
        return {}
    kept = model.other_parameter()
    return {name: value for name, value in kept.items() if not isinstance(value, nn.Module)}
