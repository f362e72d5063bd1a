"""One epoch of a training: a step for each batch, from the batch where a resumed run stood."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from recbole_precise.runs.packing import generator_state, set_generator_state
from recbole_precise.training.processes import Processes, averaged
from recbole_precise.training.progress import Progress
from recbole_precise.training.reports import Bar, Loss, Reports, Silence
from recbole_precise.training.settings import LoopSettings
from recbole_precise.training.steps import LossSum, Stepper
from recbole_precise.training.views import begin_epoch

LossFunction = Callable[[Any], Any]


def move_to(device: torch.device) -> Callable[[Any], Any]:
    """Return a function that puts a batch on `device`."""
    return lambda batch: batch.to(device)


class EpochRunner:
    """Makes the training steps of epochs with one optimizer at a time.

    Args:
        model: what is trained.
        device: where the model is.
        settings: of the loop.
        processes: those that train the model together.
        reports: who hears of the steps.
        to_device: puts a batch on the device.
        where: words before "epoch ..." in the message of a training that diverges.

    Attributes:
        optimizer: of the present phase, None where nothing is trained.
        rate_factor: (batch, batches of the epoch) -> factor on the phase's learning rate; None
            leaves the rate alone.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        settings: LoopSettings,
        *,
        processes: Processes,
        reports: Reports,
        to_device: Callable[[Any], Any],
        where: str = "",
    ) -> None:
        self.optimizer: torch.optim.Optimizer | None = None
        self.rate_factor: Callable[[int, int], float] | None = None
        self._model = model
        self._device = device
        self._settings = settings
        self._processes = processes
        self._reports = reports
        self._to_device = to_device
        self._where = where
        self._stepper: Stepper | None = None
        self._averaged: Callable[[LossFunction, Any], Any] | None = None

    def begin_phase(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Train with another optimizer, and with other parameters, from now on."""
        self.optimizer = optimizer
        self._stepper = None
        self._averaged = None

    @property
    def stepper(self) -> Stepper:
        """The stepper of the optimizer; fp16's scale is kept as long as the optimizer is."""
        if self.optimizer is None:
            raise ValueError("nothing is trained, so there are no steps")
        if self._stepper is None or self._stepper.optimizer is not self.optimizer:
            self._stepper = Stepper(
                self._model,
                self.optimizer,
                self._device,
                amp_dtype=self._settings.amp_dtype,
                clip=self._settings.clip_grad_norm,
            )
        return self._stepper

    def scaler_state(self) -> dict[str, Any] | None:
        """Return the state of fp16's loss scaling, None without one."""
        return None if self._stepper is None else self._stepper.scaler_state()

    def run(
        self,
        loader: Any,
        epoch: int,
        loss_function: LossFunction,
        *,
        progress: Progress | None = None,
        restore_draws: Callable[[], object] = lambda: None,
        after_step: Callable[[LossSum], object] = lambda losses: None,
        show_progress: bool = False,
    ) -> Loss:
        """One pass over the training data.

        Inside an epoch a resumed run brings the loader back to its place by drawing the batches
        before it again.

        Args:
            loader: of the training batches.
            epoch: its number, for messages and for the order of the rows.
            loss_function: batch -> loss, or a tuple of the parts of the loss.
            progress: the state of the epoch, which the steps update; None always begins it.
            restore_draws: called where the epoch continues, once the loader is at its place.
            after_step: called after each step that `progress` knows, with the sum of losses.
            show_progress: show a bar.

        Returns:
            The sum of the losses, a mean over the processes; a tuple where the model gives parts.
        """
        self._model.train()
        stepper = self.stepper
        group = stepper.optimizer.param_groups[0]
        rate = group.get("initial_lr", group["lr"])
        losses = LossSum(
            self._device,
            f"{self._where}epoch {epoch} (learning_rate {rate:g})",
            None if progress is None else progress.loss,
        )
        if self._averaged is None:
            self._averaged = averaged(self._model, self._processes)
        compute = functools.partial(self._averaged, loss_function)
        generator = getattr(loader, "generator", None)
        done = 0 if progress is None else progress.batch
        if progress is not None and done:
            set_generator_state(generator, progress.epoch_generator)
        elif progress is not None:
            progress.epoch_generator = generator_state(generator)
        begin_epoch(loader, epoch, generator)
        total = len(loader)
        batches = iter(loader)
        for _ in range(done):  # the sampler gives its batches in order alone
            next(batches)
        if done:
            restore_draws()
        with self._bar(epoch, total, done, show_progress) as bar:
            for number, batch in enumerate(batches, start=done):
                self._set_rate(number, total)
                losses.add(stepper.step(compute, self._to_device(batch)))
                if progress is not None:
                    progress.batch = number + 1
                    after_step(losses)
                bar.update()
        # Running statistics, which each process has of its own rows.
        self._processes.share(self._model.buffers())
        return self._processes.mean(losses.total())

    def _bar(
        self, epoch: int, total: int, done: int, show_progress: bool
    ) -> AbstractContextManager[Bar]:
        reports = self._reports if show_progress else Silence()
        return reports.bar(epoch, total, done)

    def _set_rate(self, batch: int, batches: int) -> None:
        if self.rate_factor is None or self.optimizer is None:
            return
        factor = self.rate_factor(batch, batches)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor
