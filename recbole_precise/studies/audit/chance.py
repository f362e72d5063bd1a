"""Estimate how sure a figure is.

There are intervals over users, what chance gives, and p-values that hold over several questions at
once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm

_WIDTH = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95% interval and the number of pairs or cases that it is the mean of.

    All NaN when there are none.
    """

    value: float
    low: float
    high: float
    n: int


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Chance:
    """The same figure in random copies of the data.

    Attributes:
        how: what was made random.
        mean, low, high: of the copies, 2.5% below `low` and 2.5% above `high`.
        draws: how many copies.
        p: share of the copies, the data itself among them, that are at least as far out; None when
            no question hangs on it.
    """

    how: str
    mean: float
    low: float
    high: float
    draws: int
    p: float | None


def per_user(
    numerator: np.ndarray, denominator: np.ndarray, owner: np.ndarray, users: int
) -> tuple[float, np.ndarray]:
    """(ratio of sums, float64 `[users]`: each user's part in the error of the ratio).

    Pairs of one user are not independent, so that the spread is taken over users (the ratio
    estimator of survey statistics, linearised). Parts of several figures may be added and
    subtracted for the error of their sum and difference.

    Args:
        numerator, denominator: `[entries]`; owner: int64 `[entries]`, index of each entry's user.
    """
    above, below = (
        np.bincount(owner, weights=values, minlength=users) for values in (numerator, denominator)
    )
    total = below.sum()
    if total == 0:
        return math.nan, np.zeros(users)
    value = float(above.sum() / total)
    return value, (above - value * below) / total


def interval(value: float, parts: np.ndarray, n: int) -> Estimate:
    """Return the estimate of a figure whose error is the sum of `parts [users]`."""
    if n == 0 or math.isnan(value):
        return NOTHING
    users = int(np.count_nonzero(parts)) or 1
    error = math.sqrt(float((parts**2).sum()) * (users / (users - 1) if users > 1 else 1.0))
    return Estimate(value, value - _WIDTH * error, value + _WIDTH * error, n)


def share(chosen: np.ndarray, owner: np.ndarray | None = None) -> Estimate:
    """Estimate a share of cases, bool `[cases]`.

    The interval is Wilson's where each user (`owner [cases]`) has one case, else one over users as
    in `mean`.
    """
    n = len(chosen)
    if n == 0:
        return NOTHING
    if owner is not None and len(np.unique(owner)) < n and chosen.any():
        return mean(chosen.astype(np.float64), owner)
    found = binomtest(int(chosen.sum()), n).proportion_ci(method="wilson")
    return Estimate(float(chosen.mean()), float(found.low), float(found.high), n)


def mean(values: np.ndarray, owner: np.ndarray | None = None) -> Estimate:
    """Estimate a mean of cases, float `[cases]`, which are independent between users.

    A mean of gains that are all 0 is bounded as a share is.

    `owner` int64 `[cases]`: each case's user; without it every case counts as a user's only one.
    """
    n = len(values)
    if n == 0:
        return NOTHING
    if not values.any():
        return share(np.zeros(n, dtype=bool))
    owner = np.arange(n) if owner is None else owner
    return interval(*per_user(values, np.ones(n), owner, int(owner.max()) + 1), n)


def beside(value: float, draws: Sequence[float] | np.ndarray, how: str, side: str | None) -> Chance:
    """`value` beside the same figure of random copies.

    Args:
        side: `greater`: chance explains a value as large as this one; `two`: one as far from the
            middle; None: no question.
    """
    draws = np.asarray(draws, dtype=np.float64)
    low, high = np.quantile(draws, [0.025, 0.975])
    if side is None or math.isnan(value):
        p = None
    else:
        everything = np.append(draws, value)
        # The data is one of the copies under the null hypothesis, thus also in the middle from
        # which distances are taken.
        out = everything if side == "greater" else np.abs(everything - everything.mean())
        # Sums in another order differ in the last bits.
        p = float(np.mean(out >= out[-1] - 1e-12 * max(1.0, abs(out[-1]))))
    return Chance(how, float(draws.mean()), float(low), float(high), len(draws), p)
