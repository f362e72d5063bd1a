"""What a training loop reports of itself while it runs, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

Loss = float | tuple[float, ...] | None


class Bar(Protocol):
    """A progress bar over the batches of an epoch."""

    def update(self) -> object:
        """Count one batch as done."""


class Reports(Protocol):
    """Receives what happens in a training: for a log, for TensorBoard, for a progress bar."""

    def begin(self, resumed_epoch: int | None) -> None:
        """Report that training begins; called before the first phase.

        `resumed_epoch` is that of a checkpoint, or None.
        """

    def epoch(self, epoch: int, seconds: float, loss: Loss, verbose: bool) -> None:
        """Report an epoch with the sum of its losses; called after each."""

    def validation(
        self,
        epoch: int,
        seconds: float,
        score: float,
        result: Mapping[str, float],
        number: int,
        verbose: bool,
    ) -> None:
        """Report a validation; called after each.

        `number` counts them from 0.
        """

    def finished(self, best_score: float) -> None:
        """Report the end of training; called when its best weights are saved."""

    def end(self) -> None:
        """Clean up at the end, also of a training that fails."""

    def bar(self, epoch: int, total: int, done: int) -> AbstractContextManager[Bar]:
        """Return a progress bar that begins at the batch `done` of `total`."""


class _NoBar:
    def update(self) -> None:
        """Show nothing."""


class Silence:
    """Reports to nobody."""

    def begin(self, resumed_epoch: int | None) -> None:
        """Report nothing."""

    def epoch(self, epoch: int, seconds: float, loss: Loss, verbose: bool) -> None:
        """Report nothing."""

    def validation(
        self,
        epoch: int,
        seconds: float,
        score: float,
        result: Mapping[str, float],
        number: int,
        verbose: bool,
    ) -> None:
        """Report nothing."""

    def finished(self, best_score: float) -> None:
        """Report nothing."""

    def end(self) -> None:
        """Report nothing."""

    def bar(self, epoch: int, total: int, done: int) -> AbstractContextManager[Any]:
        """Return a bar that shows nothing."""
        return nullcontext(_NoBar())
