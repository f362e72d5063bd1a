"""Write TensorBoard events in the run directory.

Nothing is written when they are not wanted or cannot be written.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any


class EventWriter:
    """A SummaryWriter that makes its file when the first value comes.

    A full disk is a warning: results are elsewhere.

    Args:
        folder: where the events go; None writes none. Nothing is written before `open` either.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._writer: Any = None
        self._purge_step: int | None = None
        self._open = False

    def move(self, folder: Path) -> None:
        """Write into another directory, if anywhere."""
        if self._folder is not None:
            self._folder = folder

    def open(self, purge_step: int | None = None) -> None:
        """From now on values are written.

        Those of earlier sessions from `purge_step` on are to be forgotten.
        """
        self._open = True
        self._purge_step = purge_step

    def close(self) -> None:
        """Finish the file; a later `open` begins another."""
        if self._writer is not None:
            self._try(self._writer.close)
        self._writer = None
        self._open = False

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """As SummaryWriter."""
        self._try(lambda: self._add("add_scalar", name, value, step))

    def add_hparams(self, settings: dict[str, Any], metrics: dict[str, float]) -> None:
        """As SummaryWriter, but into the same directory."""
        self._try(lambda: self._add("add_hparams", settings, metrics, run_name="."))

    def _add(self, method: str, *arguments: Any, **more: Any) -> None:
        writer = self._get()
        if writer is not None:
            getattr(writer, method)(*arguments, **more)

    def _try(self, write: Callable[[], object]) -> None:
        """Write something; where the disk refuses it, say so and write no more."""
        try:
            write()
        except OSError as error:
            logging.getLogger().warning(
                f"TensorBoard events end here ('{self._folder}': {error.strerror or error})."
            )
            writer = self._writer
            self._writer = None
            self._folder = None
            if writer is not None:
                with contextlib.suppress(OSError):
                    writer.close()

    def _get(self) -> Any:
        if not self._open or self._folder is None:
            return None
        if self._writer is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._folder = None
                return None
            _keep_faults_quiet()
            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge_step)
        return self._writer


@functools.cache
def _keep_faults_quiet() -> None:
    """Print no stack trace when the disk refuses TensorBoard's events.

    TensorBoard's thread raises that error, which the caller gets, too.
    """
    from tensorboard.summary.writer import event_file_writer

    thread = getattr(event_file_writer, "_AsyncWriterThread", None)
    if thread is None:
        return
    run = thread.run

    def quiet(self: Any) -> None:
        with contextlib.suppress(OSError):
            run(self)

    thread.run = quiet
