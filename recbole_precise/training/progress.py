"""The state of a training.

It is everything between two batches that the next one depends on, beside weights and randomness.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class Progress:
    """Position and records of a training, in plain values.

    Attributes:
        phase: index of the phase under way; `phase_start`: epochs trained before it.
        epoch: epochs trained in all phases, the number of the one under way.
        batch: batches trained in this epoch; `loss`: their sum (`LossSum.state`).
        epoch_generator: state of the loader's generator when the epoch began.
        train_loss: of this epoch when all its batches are done and its evaluation is not.
        ended: the key that ends the phase: epochs, or stopping_step or train_minutes once they have
            ended it early.
        best_score, waited: early stopping's state. best_epoch, best_result, best_exact: of the best
            evaluation of the phase; rounded as RecBole prints it, and exact.
        evaluations: validations so far, in all phases.
        history: one record per epoch. phases: one record per finished phase.
        seconds: spent on training and on evaluation; `phase_seconds`: on both, in this phase;
            `clock_seconds`: the same on the clock of `train_minutes`.
    """

    phase: int = 0
    phase_start: int = 0
    epoch: int = 0
    batch: int = 0
    loss: dict[str, Any] | None = None
    epoch_generator: str | None = None
    train_loss: float | tuple[float, ...] | None = None
    ended: str = "epochs"
    best_score: float | None = None
    waited: int = 0
    best_epoch: int | None = None
    best_result: dict[str, float] | None = None
    best_exact: dict[str, float] | None = None
    evaluations: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "evaluate": 0.0})
    phase_seconds: float = 0.0
    clock_seconds: float = 0.0

    @property
    def stopped(self) -> bool:
        """The phase is at its end before its last epoch."""
        return self.ended != "epochs"

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Progress:
        """Undo `state`."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in state.items() if key in known})

    def curve(self) -> list[dict[str, Any]]:
        """Return one record per epoch for result.json.

        It has number, phase, summed training loss, validation metrics (None without), and the
        seconds of training and validation since the beginning.
        """
        records = []
        spent = 0.0
        for record in self.history:
            spent += record["train_seconds"] + record.get("valid_seconds", 0.0)
            loss = record["train_loss"]
            total = sum(loss) if isinstance(loss, (tuple, list)) else loss
            records.append(
                {
                    "epoch": record["epoch"],
                    "phase": record["phase"],
                    "train_loss": total,
                    "valid": record.get("valid"),
                    "seconds": spent,
                }
            )
        return records

    def spend(self, kind: str, seconds: float) -> None:
        """Book time on `train` or `evaluate`."""
        self.seconds[kind] += seconds
        self.phase_seconds += seconds

    def next_epoch(self) -> None:
        """End the epoch under way; its evaluation is done, too."""
        self.epoch += 1
        self.batch = 0
        self.loss = None
        self.train_loss = None
        self.epoch_generator = None

    def next_phase(self, name: str, last: bool) -> None:
        """End the phase under way: record it and, unless it was the last, forget its best."""
        best = None if self.best_epoch is None else self.best_epoch - self.phase_start
        self.phases.append(
            {
                "name": name,
                "epochs": self.epoch - self.phase_start,
                "best_epoch": best,
                "ended": self.ended,
                "seconds": self.phase_seconds,
            }
        )
        self.phase += 1
        self.phase_start = self.epoch
        self.phase_seconds = 0.0
        self.clock_seconds = 0.0
        self.ended = "epochs"
        if not last:
            self.waited = 0
            self.best_score = None
            self.best_epoch = None
            self.best_result = None
            self.best_exact = None
