"""TensorBoard events in the run directory, and nowhere when they are not wanted or cannot be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class EventWriter:
    """A SummaryWriter that makes its file when the first value comes.

    Args:
        folder: where the events go; None writes none. Nothing is written before `open` either.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._writer, self._purge_step, self._open = folder, None, None, False

    def move(self, folder: Path) -> None:
        """Write into another directory, if anywhere."""
        if self._folder is not None:
            self._folder = folder

    def open(self, purge_step: int | None = None) -> None:
        """From now on values are written; those of earlier sessions from `purge_step` on are to be forgotten."""
        self._open, self._purge_step = True, purge_step

    def close(self) -> None:
        """Finish the file; a later `open` begins another."""
        if self._writer is not None:
            self._writer.close()
        self._writer, self._open = None, False

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """As SummaryWriter."""
        writer = self._get()
        if writer is not None:
            writer.add_scalar(name, value, step)

    def add_hparams(self, settings: dict[str, Any], metrics: dict[str, float]) -> None:
        """As SummaryWriter, but into the same directory."""
        writer = self._get()
        if writer is not None:
            writer.add_hparams(settings, metrics, run_name=".")

    def _get(self) -> Any:
        if not self._open or self._folder is None:
            return None
        if self._writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._folder = None
                return None
            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge_step)
        return self._writer
