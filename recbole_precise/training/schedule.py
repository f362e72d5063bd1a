"""Compute the learning rate over a phase from the step alone.

There is nothing to save, and nothing to lose on resume.
"""

from __future__ import annotations

import math

SCHEDULES = ("constant", "cosine", "linear")


def learning_rate_factor(
    schedule: str, step: int, total_steps: int, warmup_steps: int = 0
) -> float:
    """Return what multiplies the phase's learning rate at `step` (counted from 0).

    Args:
        schedule: `constant`; `cosine` or `linear`: from 1 down to 0 at `total_steps`.
        total_steps: steps of the whole phase, all its epochs.
        warmup_steps: steps over which the factor first rises from 0 to the schedule's value.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"lr_schedule must be one of {SCHEDULES}, not {schedule!r}")
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if schedule == "constant":
        return warm
    done = min(step / max(total_steps, 1), 1.0)
    return warm * (0.5 * (1 + math.cos(math.pi * done)) if schedule == "cosine" else 1 - done)
