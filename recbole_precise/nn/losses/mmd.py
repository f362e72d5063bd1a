"""Multi-kernel maximum mean discrepancy (MK-MMD): how far apart two clouds of vectors are.

PAD Sec. 3.2; docs/alignment.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .distance_kernels import (
    CITY_BLOCK,
    EUCLIDEAN_SQUARED,
    PairWeights,
    mean_distance,
    median_distance,
    pair_sum,
)

#: `cosine_author` is `1 - cos`, the class in PAD's released code: its MMD is that of `cosine` with
#: the sign turned, so that a loss drives the clouds apart.
KERNELS = ("gaussian", "laplacian", "linear", "cosine", "cosine_author")
#: Kernels that have a bandwidth: the distance that they take, and what stands before the bandwidth
#: in the exponent.
_DISTANCE = {"gaussian": (EUCLIDEAN_SQUARED, 2.0), "laplacian": (CITY_BLOCK, 1.0)}
ESTIMATORS = ("biased", "unbiased", "linear", "author")
BANDWIDTHS = ("mean", "median")
#: The released code's bandwidths as multiples of the mean.
MULTIPLIERS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)
#: A bandwidth is never below this share of the mean distance: the median is 0 where more than half
#: of the pairs coincide.
_LEAST_SHARE = 1e-6


class MultiKernelMMD(nn.Module):
    """Squared MMD of the rows of x and of y under `k(a, b) = sum_q weight_q k_q(a, b)`.

    It has no parameters.

    Kernels: `gaussian`: exp(-|a - b|^2 / (2 m s)) and `laplacian`: exp(-|a - b|_1 / (m s)), one for
    each multiplier m, with s the mean or median of the distance (squared Euclidean, city-block)
    over x and y together, without gradient; these two are characteristic: their MMD is 0 for equal
    distributions only. `linear`: a . b compares nothing but means; `cosine`: a . b / (|a| |b|), 0
    for a row of zeros.

    Estimators, with n rows of x and m of y (`linear` and `author` need n = m; all but `biased` need
    two rows of each):

    * `biased`: means over all pairs, a row with itself included; never negative.
    * `unbiased`: a row with itself left out of the means within x and within y.
    * `linear`: mean over i of k(x_i, x_i+1) + k(y_i, y_i+1) - k(x_i, y_i+1) - k(x_i+1, y_i), the
      last row followed by the first; O(n) time. It trusts that rows are in random order.
    * `author`: `unbiased` plus 2 / (n - 1), the released code's form: same gradients, and no
      calibrated value.

    Args:
        kernels: names from `KERNELS`, each at most once.
        estimator: one of `ESTIMATORS`.
        bandwidth: `mean` (over all ordered pairs, a row with itself included, as released),
            `median` (over pairs of different rows), or a positive number: s itself, for every
            kernel that has one.
        multipliers: of the bandwidth; positive.
        weights: one for every function of `self.functions`, not negative; None: 1 each.
        tile_bytes: memory of one tile of pairs; None: what suits the device.

    Raises ValueError for arguments that are none of these.
    """

    def __init__(
        self,
        kernels: Sequence[str] = ("gaussian",),
        estimator: str = "biased",
        bandwidth: str | float = "mean",
        multipliers: Sequence[float] = MULTIPLIERS,
        weights: Sequence[float] | None = None,
        tile_bytes: int | None = None,
    ) -> None:
        super().__init__()
        kernels = tuple(kernels)
        multipliers = tuple(float(m) for m in multipliers)
        if not kernels or len(set(kernels)) < len(kernels) or not set(kernels) <= set(KERNELS):
            raise ValueError(
                f"kernels must be different names from {KERNELS}, at least one, not {kernels}"
            )
        if estimator not in ESTIMATORS:
            raise ValueError(f"estimator must be one of {ESTIMATORS}, not {estimator!r}")
        if bandwidth not in BANDWIDTHS if isinstance(bandwidth, str) else not bandwidth > 0:
            raise ValueError(
                f"bandwidth must be one of {BANDWIDTHS} or a positive number, not {bandwidth!r}"
            )
        if not multipliers or not all(0 < m < float("inf") for m in multipliers):
            raise ValueError(
                f"multipliers must be positive numbers, at least one, not {multipliers}"
            )
        #: Every kernel function of the sum, in the order of `weights`: its name and its multiplier
        #: (None: it has no bandwidth).
        self.functions = [
            (name, m) for name in kernels for m in (multipliers if name in _DISTANCE else (None,))
        ]
        weights = (
            (1.0,) * len(self.functions) if weights is None else tuple(float(w) for w in weights)
        )
        if len(weights) != len(self.functions) or not all(0 <= w < float("inf") for w in weights):
            raise ValueError(
                f"weights must be {len(self.functions)} numbers of at least 0, one for each of "
                f"{self.functions}, not {weights}"
            )
        self.kernels = kernels
        self.multipliers = multipliers
        self.weights = weights
        self.estimator = estimator
        self.bandwidth = bandwidth
        self.tile_bytes = tile_bytes

    def extra_repr(self) -> str:
        """Return the settings, for the printed form of the module."""
        return (
            f"kernels={self.kernels}, estimator={self.estimator!r}, "
            f"bandwidth={self.bandwidth!r}, multipliers={self.multipliers}"
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the squared MMD, a scalar.

        float64 where an input is, float32 otherwise, also under autocast. Second derivatives are
        not available.

        Args: x: `[n, width]`. y: `[m, width]`.

        Raises ValueError for shapes that the estimator cannot take.
        """
        self._check(x, y)
        dtype = torch.float64 if torch.float64 in (x.dtype, y.dtype) else torch.float32
        with torch.autocast(device_type=x.device.type, enabled=False):
            x = x.to(dtype)
            y = y.to(dtype)
            total = x.new_full((), 2.0 / (len(x) - 1) if self.estimator == "author" else 0.0)
            for name in self.kernels:
                weighted = [
                    (m, w)
                    for (of, m), w in zip(self.functions, self.weights)
                    if of == name and w > 0
                ]
                if not weighted:
                    continue
                if name in _DISTANCE:
                    scaled = [(m, w) for m, w in weighted if m is not None]
                    total = total + self._distance_kernels(name, x, y, scaled)
                else:
                    total = total + weighted[0][1] * self._inner_product(name, x, y)
        return total

    def _check(self, x: Tensor, y: Tensor) -> None:
        if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1]:
            raise ValueError(
                f"x and y must be [n, width] and [m, width], not {tuple(x.shape)} and "
                f"{tuple(y.shape)}"
            )
        if min(len(x), len(y)) < (1 if self.estimator == "biased" else 2):
            raise ValueError(
                f"the {self.estimator} estimator cannot take {len(x)} and {len(y)} rows"
            )
        if self.estimator in ("linear", "author") and len(x) != len(y):
            raise ValueError(
                f"the {self.estimator} estimator needs as many rows of x as of y, not {len(x)} "
                f"and {len(y)}"
            )

    def _pair_weights(self, n: int, m: int) -> PairWeights:
        """Weights of pairs of different rows; what a row with itself adds is the caller's."""
        if self.estimator == "biased":
            return PairWeights(1 / n**2, 1 / m**2, -1 / (n * m))
        return PairWeights(1 / (n * (n - 1)), 1 / (m * (m - 1)), -1 / (n * m))

    def _scale(self, rows: Tensor, distance: str) -> Tensor | float:
        """Return the bandwidth before its multipliers."""
        if not isinstance(self.bandwidth, str):
            return float(self.bandwidth)
        mean = mean_distance(rows, distance)
        scale = (
            mean
            if self.bandwidth == "mean"
            else torch.maximum(median_distance(rows, distance), _LEAST_SHARE * mean)
        )
        return torch.where(
            scale > 0, scale, torch.ones_like(scale)
        )  # all rows equal: any bandwidth gives 0

    def _distance_kernels(
        self, name: str, x: Tensor, y: Tensor, weights: list[tuple[float, float]]
    ) -> Tensor:
        distance, factor = _DISTANCE[name]
        with torch.no_grad():
            rows = torch.cat([x, y])
            centre = rows.mean(0)  # distances do not know of it, rounding does
            scale = self._scale(rows - centre, distance)
        # Rows are measured in units of the widest kernel's bandwidth, so that its exponent is the
        # distance itself.
        widest = max(m for m, _ in weights)
        unit = factor * widest * scale
        if distance == EUCLIDEAN_SQUARED:
            unit = unit**0.5
        x = (x - centre) / unit
        y = (y - centre) / unit
        rates = [widest / m for m, _ in weights]
        scales = [w for _, w in weights]
        if self.estimator == "linear":
            return _linear_time(
                x, y, lambda a, b: _functions_of(_distances(a, b, distance), rates, scales)
            )
        total = pair_sum(
            x, y, distance, rates, scales, self._pair_weights(len(x), len(y)), self.tile_bytes
        )
        if self.estimator != "biased":
            return total
        return total + sum(scales) * (1 / len(x) + 1 / len(y))

    def _inner_product(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        """MMD of a kernel that is an inner product: of sums of rows, without any pair."""
        sign = -1.0 if name == "cosine_author" else 1.0
        if name != "linear":
            x = _directions(x)
            y = _directions(y)
        if self.estimator == "linear":
            return sign * _linear_time(x, y, lambda a, b: (a * b).sum(1))
        if self.estimator == "biased":
            return sign * (x.mean(0) - y.mean(0)).square().sum()
        weights = self._pair_weights(len(x), len(y))
        sum_x = x.sum(0)
        sum_y = y.sum(0)
        within_x = sum_x @ sum_x - x.square().sum()
        within_y = sum_y @ sum_y - y.square().sum()
        return sign * (
            weights.within_x * within_x
            + weights.within_y * within_y
            + 2 * weights.across * (sum_x @ sum_y)
        )


def _directions(rows: Tensor) -> Tensor:
    """Rows of length 1; a row of zeros stays one, with a finite gradient."""
    length = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, torch.ones_like(length))


def _distances(a: Tensor, b: Tensor, distance: str) -> Tensor:
    """`[n]` of rows that are beside each other."""
    return (a - b).square().sum(1) if distance == EUCLIDEAN_SQUARED else (a - b).abs().sum(1)


def _functions_of(distances: Tensor, rates: list[float], scales: list[float]) -> Tensor:
    total = torch.zeros_like(distances)
    for rate, scale in zip(rates, scales):
        total = total + scale * torch.exp(-rate * distances)
    return total


def _linear_time(x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Estimate the MMD in linear time; `kernel` takes two `[n, width]` and gives `[n]`."""
    next_x = x.roll(-1, 0)
    next_y = y.roll(-1, 0)
    return (kernel(x, next_x) + kernel(y, next_y) - kernel(x, next_y) - kernel(next_x, y)).mean()
