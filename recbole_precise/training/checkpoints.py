"""When a training writes a checkpoint, what one holds, and what a finished training leaves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from logging import getLogger
from time import monotonic
from typing import Any

import torch

from recbole_precise.evaluation.ranking import Ranks
from recbole_precise.runs.folder import RunFolder
from recbole_precise.runs.result import RANKS, write_ranks
from recbole_precise.training.processes import ALONE, Processes, RareQuestion
from recbole_precise.training.settings import CHECKPOINT_SECONDS

# A checkpoint at the end of an epoch may cost a twentieth of the time; epochs shorter than that
# share one.
_COST_SHARE = 20


@dataclass
class Best:
    """The best weights of a phase so far.

    Attributes:
        weights: the model's state_dict, copied to the CPU.
        other: what the model keeps beside its state_dict.
        ranks: of the validation that chose them, None without one.
        written: whether a checkpoint holds them already.
    """

    weights: dict[str, torch.Tensor]
    other: dict[str, Any]
    ranks: Ranks | None = None
    written: bool = False


class Checkpoints:
    """The checkpoints of one training in its run directory.

    Args:
        folder: of the run.
        identity: settings and data that decide the result; a checkpoint of another identity is
            refused.
        processes: those that train together; the first one writes.
        seconds: between two checkpoints inside an epoch.
        resume: continue from the newest checkpoint, or from a finished training.
        writes: whether checkpoints are written; False where an epoch has no single position.
    """

    def __init__(
        self,
        folder: RunFolder,
        identity: Mapping[str, Any],
        *,
        processes: Processes = ALONE,
        seconds: float = CHECKPOINT_SECONDS,
        resume: bool = False,
        writes: bool = True,
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.resume = resume
        self._processes = processes
        self._seconds = seconds
        self._writes = writes
        self._question = RareQuestion(processes)
        self._written_at = monotonic()
        self._cost = 0.0

    # --- When ---------------------------------------------------------------------------------

    def start_clock(self) -> None:
        """Count the time to the next checkpoint from now."""
        self._written_at = monotonic()

    def due_inside_epoch(self) -> bool:
        """Whether one is due after this step; every process must ask after every step."""
        return self._writes and self._question.ask(lambda: self._age > self._seconds)

    def due_before_validation(self) -> bool:
        """Whether one is due between an epoch's last step and its validation."""
        return self._processes.agree(self._age > self._seconds) and self._writes

    def due_after_epoch(self) -> bool:
        """Whether one is due at the end of an epoch: sooner, where writing one is cheap."""
        pause = min(_COST_SHARE * self._cost, self._seconds)
        return self._processes.agree(self._age > pause) and self._writes

    @property
    def _age(self) -> float:
        return monotonic() - self._written_at

    # --- Write --------------------------------------------------------------------------------

    def write(self, training: Mapping[str, Any], own: Mapping[str, Any], best: Best | None) -> None:
        """Write a checkpoint; every process must call this.

        Args:
            training: what is the same in all processes.
            own: what each process has of its own: randomness and the sum of its losses.
            best: the best weights so far, written only where no checkpoint holds them.
        """
        started = monotonic()
        content = {
            "identity": self.identity,
            **training,
            "processes": self._processes.gather(dict(own)),
        }
        if self._processes.first:
            self._write(content, best)
        if best is not None:
            best.written = True
        self._written_at = monotonic()
        self._cost = self._written_at - started

    def _write(self, training: dict[str, Any], best: Best | None) -> None:
        parts: dict[str, Any] = {"training": training}
        reuse: Collection[str] = ()
        if best is not None and best.written:
            reuse = ("best",)
        elif best is not None:
            ranks = best.ranks
            parts["best"] = {
                "weights": best.weights,
                "other": best.other,
                "ranks": None if ranks is None else [ranks.user_id, ranks.target, ranks.rank],
            }
        self.folder.store.save(parts, reuse)

    def finish(
        self, best: Best, progress: Mapping[str, Any], rng: Mapping[str, Any], valid_part: Any
    ) -> bool:
        """Leave the files of a finished training; returns whether this process wrote them.

        Args:
            progress: of the training (`Progress.state`).
            rng: the randomness that the next step would draw from.
            valid_part: the data set of the validation rows, which names the users of the ranks.
        """
        if not self._processes.first:
            return False
        if best.ranks is not None:
            write_ranks(self.folder.path / RANKS, {"valid": best.ranks}, valid_part)
        state = {"progress": progress, "identity": self.identity, "rng": rng}
        self.folder.save_final(best.weights, best.other, state)
        return True

    # --- Read ---------------------------------------------------------------------------------

    def read(self) -> dict[str, Any] | None:
        """Read the parts of the newest good checkpoint, None where there is none yet."""
        logger = getLogger()
        parts = self._processes.first_does(
            lambda: self.folder.load_checkpoint(self.identity, logger.warning)
        )
        if parts is None:
            logger.info(
                f"'{self.folder.path}' holds no checkpoint yet: training begins at the beginning."
            )
        return parts

    def read_best(self, parts: Mapping[str, Any]) -> Best | None:
        """Read the best weights in the parts of a checkpoint."""
        best = parts.get("best")
        if best is None:
            return None
        ranks = None if best["ranks"] is None else Ranks(*best["ranks"])
        return Best(best["weights"], best["other"], ranks, written=True)

    def read_own(self, training: Mapping[str, Any]) -> dict[str, Any]:
        """Read what a checkpoint holds for this process alone.

        Those of one process once held it among the rest.
        """
        if "processes" in training:
            return training["processes"][self._processes.rank]
        return {"rng": training["rng"], "loss": training["progress"]["loss"]}

    def read_finished(self) -> dict[str, Any] | None:
        """Read the state of a finished training in the directory, None where there is none."""
        return self._processes.first_does(lambda: self.folder.load_finished(self.identity))
