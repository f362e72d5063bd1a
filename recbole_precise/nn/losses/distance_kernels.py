"""Kernels of a distance over all pairs of two sets of rows, never `[n, n, width]` in memory.

Gives their weighted sum and its gradient.

Each distance is computed once and serves all kernels. Squared distances come as tiles of a matrix
product and their gradient is two more products, in `tile_bytes` of memory whatever the number of
kernels. City-block distances have no such product; on a CPU they are one flat array of all pairs,
elsewhere tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Bytes of one tile of pairs. It should stay in a core's own cache with its few companions; a GPU
#: wants far larger ones.
TILE_BYTES = {"cpu": 1 << 19, "cuda": 64 << 20}

EUCLIDEAN_SQUARED = "euclidean_squared"
CITY_BLOCK = "city_block"

Numbers = tuple[float, ...]  # one a kernel


class PairWeights(NamedTuple):
    """Weight of every ordered pair of different rows: both from x, both from y, one of each."""

    within_x: float
    within_y: float
    across: float


def mean_distance(rows: Tensor, distance: str) -> Tensor:
    """Scalar: mean over all ordered pairs of rows, each with itself included, in O(rows) memory.

    Args: rows: `[n, width]`.
    """
    if distance == EUCLIDEAN_SQUARED:
        return 2 * (rows - rows.mean(0)).square().sum(1).mean()
    n = len(rows)
    place = torch.arange(
        1 - n, n, 2, device=rows.device, dtype=rows.dtype
    )  # the k-th smallest is added k-1 times and taken away n-k times
    return 2 * (place / n) @ (rows - rows.mean(0)).sort(0).values.sum(1) / n


def median_distance(rows: Tensor, distance: str) -> Tensor:
    """Scalar: median (the lower of two) over the unordered pairs of different rows.

    O(n^2) memory, once. Args: rows: `[n, width]`, n >= 2.
    """
    order = 1.0 if distance == CITY_BLOCK else 2.0
    if rows.device.type == "cpu":
        pairs = torch.pdist(rows, p=order)
    else:
        pairs = torch.cdist(rows, rows, p=order, compute_mode="donot_use_mm_for_euclid_dist")
        pairs = pairs[torch.triu(torch.ones_like(pairs, dtype=torch.bool), 1)]
    middle = pairs.median()
    return middle if distance == CITY_BLOCK else middle.square()


def pair_sum(
    x: Tensor,
    y: Tensor,
    distance: str,
    rates: Sequence[float],
    scales: Sequence[float],
    weights: PairWeights,
    tile_bytes: int | None = None,
) -> Tensor:
    """Sum kernels of a distance over all ordered pairs of different rows.

    A pair adds `weight * sum_q scales[q] * exp(-rates[q] * distance)`.

    A pair within x has `weights.within_x`, one within y `weights.within_y`, and each of the two
    orders of a pair of one row from x and one from y `weights.across`.

    Args:
        x: `[n, width]`. y: `[m, width]`. Both float32 or both float64.
        distance: `euclidean_squared` or `city_block`.
        rates: positive, one a kernel; doubled rates cost a product in place of an exponential.
        tile_bytes: memory of one tile; None: `TILE_BYTES`.

    Returns: scalar of x's type; second derivatives are not available.
    """
    order = sorted(range(len(rates)), key=lambda q: rates[q])
    rates = tuple(rates[q] for q in order)
    scales = tuple(scales[q] for q in order)
    tile_bytes = tile_bytes or TILE_BYTES.get(x.device.type, TILE_BYTES["cuda"])
    return _PairSum.apply(x, y, distance, rates, scales, weights, tile_bytes)


class _PairSum(torch.autograd.Function):
    """Forward computes the gradients as it goes, so that no tile is kept or computed twice."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        distance: str,
        rates: Numbers,
        scales: Numbers,
        weights: PairWeights,
        tile_bytes: int,
    ) -> Tensor:
        rows = torch.cat([x, y])
        n = len(x)
        wanted = ctx.needs_input_grad[:2]
        if distance == EUCLIDEAN_SQUARED:
            total, gradient = _over_squared(rows, n, rates, scales, weights, wanted, tile_bytes)
        elif rows.device.type == "cpu":
            total, gradient = _over_flat(rows, n, rates, scales, weights, wanted)
        else:
            total, gradient = _over_city_block(rows, n, rates, scales, weights, wanted, tile_bytes)
        of_x = of_y = None
        if gradient is not None:
            of_x = gradient[:n] if wanted[0] else None
            of_y = gradient[n:] if wanted[1] else None
        ctx.save_for_backward(of_x, of_y)
        return total.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        of_x, of_y = (
            None if gradient is None else gradient * grad_output for gradient in ctx.saved_tensors
        )
        return of_x, of_y, None, None, None, None, None


def _mix(
    exponent: Tensor, rates: Numbers, scales: Numbers, slopes: bool
) -> tuple[Tensor, Tensor | None]:
    """Sum the kernels, and `scale * rate * kernel`, at `exponent` = -distance.

    The second sum is the negative slope; None unless `slopes`.
    """
    power = torch.exp(_times(rates[0], exponent))
    values = scales[0] * power
    slope = scales[0] * rates[0] * power if slopes else None
    for before, rate, scale in zip(rates, rates[1:], scales[1:]):
        if rate == 2 * before:
            power.mul_(power)
        else:
            power = torch.exp(_times(rate, exponent))
        values.add_(power, alpha=scale)
        if slope is not None:
            slope.add_(power, alpha=scale * rate)
    return values, slope


def _times(rate: float, exponent: Tensor) -> Tensor:
    return exponent if rate == 1 else rate * exponent


def _tiles(
    n_rows: int, n: int, weights: PairWeights, tile_bytes: int, like: Tensor
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield first and end of a tile's rows, and the weights of its columns.

    The columns are all rows from the tile's first on.

    Every unordered pair is met once, with twice its weight, except in the square at a tile's left,
    where both orders are. No tile has rows of both x and y.
    """
    bounds = {0: n, n: n_rows}
    for begin, end in bounds.items():
        first = begin
        while first < end:
            last = min(end, first + max(1, tile_bytes // (like.element_size() * (n_rows - first))))
            columns = like.new_empty(n_rows - first)
            same = weights.within_x if begin == 0 else weights.within_y
            columns[: last - first] = same
            columns[last - first : end - first] = 2 * same
            columns[end - first :] = 2 * weights.across
            yield first, last, columns
            first = last


def _diagonal(n_rows: int, n: int, scales: Numbers, weights: PairWeights) -> float:
    """Return what each row with itself adds to a sum over tiles; it is no pair."""
    return sum(scales) * (n * weights.within_x + (n_rows - n) * weights.within_y)


def _over_squared(
    rows: Tensor,
    n: int,
    rates: Numbers,
    scales: Numbers,
    weights: PairWeights,
    wanted: tuple[bool, bool],
    tile_bytes: int,
) -> tuple[Tensor, Tensor | None]:
    """Compute sum and gradient with distances from one matrix product.

    `-|a - b|^2 = 2 a.b - |a|^2 - |b|^2` is one product of widened rows. The gradient is `[rows,
    width]`, None if not wanted.
    """
    norms = rows.square().sum(1, keepdim=True)
    ones = rows.new_ones(len(rows), 1)
    left = torch.cat([2 * rows, -norms, -ones], 1)
    right = torch.cat([rows, ones, norms], 1)
    # a product with it gives the sum of weighted rows and, in its last column, of the weights
    marked = right[:, : rows.shape[1] + 1]
    pulled = torch.zeros_like(marked) if any(wanted) else None
    from_row = 0 if wanted[0] else n
    to_row = len(rows) if wanted[1] else n
    total = rows.new_zeros((), dtype=torch.float64)
    for first, last, columns in _tiles(len(rows), n, weights, tile_bytes, rows):
        exponent = torch.mm(left[first:last], right[first:].t()).clamp_max_(0)
        exponent.diagonal().zero_()
        pull_rows = from_row <= first < to_row
        begin = max(first, from_row)
        end = to_row
        values, slope = _mix(exponent, rates, scales, pull_rows or begin < end)
        total += values.sum(0).double() @ columns.double()
        if slope is not None and pulled is not None:
            slope *= columns
            if pull_rows:
                pulled[first:last].addmm_(slope, marked[first:])
            if begin < end:
                pulled[begin:end].addmm_(
                    slope[:, begin - first : end - first].t(), marked[first:last]
                )
    total -= _diagonal(len(rows), n, scales, weights)
    if pulled is None:
        return total, None
    return total, 2 * (pulled[:, :-1] - pulled[:, -1:] * rows)


def _over_flat(
    rows: Tensor,
    n: int,
    rates: Numbers,
    scales: Numbers,
    weights: PairWeights,
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor | None]:
    """Compute sum and gradient with all city-block distances in one flat array.

    Several times faster than `cdist` on a CPU.
    """
    slopes = any(wanted)
    with torch.enable_grad():
        leaf = rows.detach().requires_grad_(slopes)
        distances = torch.pdist(leaf, p=1.0)
    factors = _flat_weights(n, len(rows) - n, weights, rows)
    total = rows.new_zeros((), dtype=torch.float64)
    slope_of_pairs = torch.empty_like(factors) if slopes else None
    step = TILE_BYTES["cpu"] // rows.element_size()
    with torch.no_grad():
        for first in range(0, len(factors), step):
            factor = factors[first : first + step]
            values, slope = _mix(
                distances.detach()[first : first + step].neg(), rates, scales, slopes
            )
            total += torch.dot(values, factor)
            if slope is not None and slope_of_pairs is not None:
                torch.mul(slope, factor, out=slope_of_pairs[first : first + step])
    if slope_of_pairs is None:
        return total, None
    return total, -torch.autograd.grad(distances, leaf, slope_of_pairs)[0]


def _flat_weights(n: int, m: int, weights: PairWeights, like: Tensor) -> Tensor:
    """Return the weights of all unordered pairs of n + m rows in the order of `pdist`.

    Both orders of a pair in one, `[pairs]`.
    """
    flat = like.new_full(((n + m) * (n + m - 1) // 2,), 2 * weights.within_x)
    end = 0
    for after in range(n - 1, -1, -1):  # rows of x that come after this one, then all of y
        end += after + m
        flat[end - m : end] = 2 * weights.across
    flat[end:] = 2 * weights.within_y
    return flat


def _over_city_block(
    rows: Tensor,
    n: int,
    rates: Numbers,
    scales: Numbers,
    weights: PairWeights,
    wanted: tuple[bool, bool],
    tile_bytes: int,
) -> tuple[Tensor, Tensor | None]:
    """Compute sum and gradient by tiles of `cdist`.

    `pdist` takes `[n, n, width]` for its gradient on a GPU.
    """
    slopes = any(wanted)
    gradient = torch.zeros_like(rows) if slopes else None
    total = rows.new_zeros((), dtype=torch.float64)
    for first, last, columns in _tiles(len(rows), n, weights, tile_bytes, rows):
        with torch.enable_grad():
            upper = rows[first:last].detach().requires_grad_(slopes)
            lower = rows[first:].detach().requires_grad_(slopes)
            distances = torch.cdist(upper, lower, p=1.0)
        values, slope = _mix(-distances.detach(), rates, scales, slopes)
        total += values.sum(0).double() @ columns.double()
        if slope is not None and gradient is not None:
            upper_pull, lower_pull = torch.autograd.grad(
                distances, (upper, lower), slope.mul_(columns)
            )
            gradient[first:last] -= upper_pull
            gradient[first:] -= lower_pull
    total -= _diagonal(len(rows), n, scales, weights)
    return total, gradient
