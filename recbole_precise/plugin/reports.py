"""A training's log lines, events and progress bars in RecBole's form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from recbole.utils import dict2str, get_gpu_usage, set_color
from tqdm import tqdm

from recbole_precise.training.reports import Bar, Loss

if TYPE_CHECKING:
    from recbole_precise.plugin.trainer import PreciseTrainer

_GPU_REPORT = 20  # steps between two readings of the GPU's memory for the progress bar


class TrainerReports:
    """Writes what a loop reports to the log, to TensorBoard and to Weights & Biases.

    Args:
        trainer: its methods make RecBole's lines; its `tensorboard` and `wandblogger` get values.
    """

    def __init__(self, trainer: PreciseTrainer) -> None:
        self._trainer = trainer

    def begin(self, resumed_epoch: int | None) -> None:
        """Open the file of events."""
        self._trainer.tensorboard.open(resumed_epoch)

    def epoch(self, epoch: int, seconds: float, loss: Loss, verbose: bool) -> None:
        """Log the losses of an epoch."""
        trainer = self._trainer
        if verbose:
            line = trainer._generate_train_loss_output(epoch, 0.0, seconds, loss)
            trainer.logger.info(line)
        trainer._add_train_loss_to_tensorboard(epoch, loss)
        trainer.wandblogger.log_metrics(
            {"epoch": epoch, "train_loss": loss, "train_step": epoch}, head="train"
        )

    def validation(
        self,
        epoch: int,
        seconds: float,
        score: float,
        result: Mapping[str, float],
        number: int,
        verbose: bool,
    ) -> None:
        """Log the metrics of a validation."""
        trainer = self._trainer
        if verbose:
            title = (
                set_color("epoch %d evaluating", "green")
                + " ["
                + set_color("time", "blue")
                + ": %.2fs, "
                + set_color("valid_score", "blue")
                + ": %f]"
            )
            trainer.logger.info(title % (epoch, seconds, score))
            trainer.logger.info(set_color("valid result", "blue") + ": \n" + dict2str(result))
        # RecBole's spelling: its dashboards stay comparable.
        trainer.tensorboard.add_scalar("Vaild_score", score, epoch)
        trainer.wandblogger.log_metrics({**result, "valid_step": number}, head="valid")

    def finished(self, best_score: float) -> None:
        """Leave the settings beside the score among the events."""
        self._trainer._add_hparam_to_tensorboard(best_score)

    def end(self) -> None:
        """Close the file of events."""
        self._trainer.tensorboard.close()

    def bar(self, epoch: int, total: int, done: int) -> AbstractContextManager[Bar]:
        """Show a bar over the batches of an epoch, with the memory of a GPU."""
        device = self._trainer.device if self._trainer.gpu_available else None
        return _bar(f"Train {epoch:>5}", total, done, device)


@contextmanager
def _bar(title: str, total: int, done: int, gpu: Any) -> Iterator[Bar]:
    with tqdm(total=total, initial=done, ncols=100, desc=set_color(title, "pink")) as bar:
        yield bar if gpu is None else _GpuBar(bar, gpu, done)


class _GpuBar:
    """Counts batches, and shows the memory of a GPU every few of them."""

    def __init__(self, bar: Any, device: Any, done: int) -> None:
        self._bar = bar
        self._device = device
        self._number = done

    def update(self) -> None:
        self._bar.update()
        if self._number % _GPU_REPORT == 0:
            usage = get_gpu_usage(self._device)
            self._bar.set_postfix_str(set_color("GPU RAM: " + usage, "yellow"))
        self._number += 1
