"""Generalised binary cross entropy, and how it is calibrated (gSASRec)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def gbce_beta(n_negatives: int, n_items: int, calibration: float) -> float:
    """Beta of gBCE: `a (t (1 - 1/a) + 1/a)` with the sampling rate `a = negatives / (items - 1)`.

    With the calibration t = 0 it is 1, plain binary cross entropy; with t = 1 it is a, for which
    scores converge to probabilities.

    Args:
        n_items: items that can be drawn or asked for, without the padding.

    Raises ValueError for a rate or a calibration outside of 0 .. 1.
    """
    rate = n_negatives / (n_items - 1)
    if not 0 < rate <= 1:
        raise ValueError(
            f"gBCE draws between 1 and {n_items - 1} negatives from {n_items} items, not "
            f"{n_negatives}"
        )
    if not 0 <= calibration <= 1:
        raise ValueError(f"the calibration t of gBCE lies between 0 and 1, not {calibration}")
    return rate * (calibration * (1 - 1 / rate) + 1 / rate)


def gbce_loss(
    positive: Tensor, negative: Tensor, beta: float, forbidden: Tensor | None = None
) -> Tensor:
    """Mean over positions of `-(beta log sigmoid(s+) + sum log(1 - sigmoid(s-))) / (k + 1)`.

    Reference: Aleksandr Petrov and Craig Macdonald. "gSASRec: Reducing Overconfidence in Sequential
        Recommendation Trained
    with Negative Sampling." RecSys 2023, arXiv 2308.07192, Sec. 5. The authors transform the
    positive score so that an ordinary BCE gives sigmoid^beta, in float64; taking beta out of the
    logarithm needs neither.

    Args:
        positive: `[positions]` scores of the targets. negative: `[positions, k]` scores of the
            negatives.
        forbidden: bool `[positions, k]`, negatives that do not count: those that are the target
            itself.

    Returns: scalar.
    """
    pushed = F.softplus(negative)
    if forbidden is not None:
        pushed = pushed.masked_fill(forbidden, 0.0)
    return ((beta * F.softplus(-positive) + pushed.sum(1)) / (negative.shape[1] + 1)).mean()
