"""What a training loop is set to, as plain typed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Seconds between two checkpoints inside an epoch where nothing else is asked for.
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class LoopSettings:
    """Settings of a `TrainingLoop`; a `Phase` may override the first four.

    Attributes:
        epochs: of a model that has no phases of its own.
        learning_rate: of the optimizer of a phase.
        weight_decay: of the optimizer of a phase.
        stopping_step: a phase ends at more than this many validations without an improvement.
        eval_step: epochs between two validations; 0 never validates.
        valid_metric: name of the metric that early stopping watches.
        valid_metric_bigger: whether a larger value of it is better.
        amp_dtype: `bf16` or `fp16` for autocast, None for full precision.
        clip_grad_norm: arguments of `clip_grad_norm_`, or None.
        lr_schedule: `constant`, `cosine` or `linear`.
        warmup_steps: steps over which the learning rate rises to its schedule.
        train_minutes: a phase ends at the first epoch that ends after so many minutes, or None.
        train_clock: `wall` or `processor`, the clock of `train_minutes`.
        warm_start: directory of the run whose weights are copied first, or None.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    stopping_step: int
    eval_step: int
    valid_metric: str
    valid_metric_bigger: bool
    amp_dtype: str | None = None
    clip_grad_norm: Mapping[str, Any] | None = None
    lr_schedule: str = "constant"
    warmup_steps: int = 0
    train_minutes: float | None = None
    train_clock: str = "wall"
    warm_start: str | None = None
