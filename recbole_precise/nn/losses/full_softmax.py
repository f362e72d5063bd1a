"""Cross entropy over the whole catalogue, in tiles.

Memory does not grow with positions x catalogue.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_precise.nn.precision import autocast_dtype

#: Bytes of one tile of logits; small enough to stay in a CPU's last-level cache, large enough for
#: full GEMM speed.
TILE_BYTES = 16 << 20


class _TiledCrossEntropy(torch.autograd.Function):
    """Forward computes the gradients as it goes, so that no tile is stored or computed twice."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, items: Tensor, targets: Tensor, weights: Tensor,
        bias: Tensor | None, smoothing: float, tile_bytes: int, product_dtype: torch.dtype,
        pair_row: Tensor | None, pair_item: Tensor | None, pair_value: Tensor | None,
    ) -> Tensor:  # fmt: skip
        n_rows = states.shape[0]
        n_items = items.shape[0]
        want_states, want_items, _, _, want_bias = ctx.needs_input_grad[:5]
        want_pairs = ctx.needs_input_grad[10]
        grad_states = torch.empty_like(states) if want_states else None
        grad_items = torch.zeros_like(items) if want_items else None
        grad_bias = None if bias is None or not want_bias else torch.zeros_like(bias)
        grad_pairs = None if pair_value is None or not want_pairs else torch.empty_like(pair_value)
        step = max(1, min(n_rows, tile_bytes // (4 * n_items)))
        real_items = n_items - 1  # row 0 is padding and never a class
        exact = product_dtype == states.dtype
        factors = items.to(product_dtype)
        buffer = states.new_empty((step, n_items))
        total = states.new_zeros(())
        if pair_row is not None and pair_item is not None:
            pair_place = pair_row * n_items + pair_item
            bounds = torch.searchsorted(
                pair_row, torch.arange(0, n_rows + step, step, device=pair_row.device)
            ).tolist()
        for start in range(0, n_rows, step):
            rows = states[start : start + step].to(product_dtype)
            target = targets[start : start + step]
            weight = (1 - smoothing) * weights[start : start + step]
            logits = buffer[: rows.shape[0]]
            if exact:
                torch.mm(rows, factors.t(), out=logits)
            else:
                logits.copy_(torch.mm(rows, factors.t()))
            if bias is not None:
                logits += bias
            if pair_value is not None:
                span = slice(bounds[start // step], bounds[start // step + 1])
                place = pair_place[span] - start * n_items
                flat = logits.view(-1)
                flat[place] += pair_value[span]
            logits[:, 0] = -torch.inf
            picked = (logits.gather(1, target) * weight).sum()
            mean_logit = logits[:, 1:].mean(1).sum() if smoothing else 0.0
            top = logits.amax(1, keepdim=True)
            logits.sub_(top).exp_()
            norm = logits.sum(1, keepdim=True)
            total += (norm.log() + top).sum() - picked - smoothing * mean_logit
            if not (want_states or want_items or want_bias or want_pairs):
                continue
            logits.div_(norm)  # now d loss / d logits, once the targets are subtracted
            if smoothing:
                logits[:, 1:] -= smoothing / real_items
            logits.scatter_add_(1, target, -weight)
            if grad_bias is not None:
                grad_bias += logits.sum(0)
            if grad_pairs is not None:
                grad_pairs[span] = flat[place]
            gradient = logits.to(product_dtype)
            if grad_states is not None:
                grad_states[start : start + step] = torch.mm(gradient, factors)
            if grad_items is not None:
                if exact:
                    grad_items.addmm_(gradient.t(), rows)
                else:
                    grad_items += torch.mm(gradient.t(), rows)
        ctx.gradients = (grad_states, grad_items, grad_bias, grad_pairs)
        ctx.scale = 1.0 / max(n_rows, 1)
        return total * ctx.scale

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        factor = grad_output * ctx.scale
        states, items, bias, pairs = (None if g is None else g.mul_(factor) for g in ctx.gradients)
        ctx.gradients = None
        return states, items, None, None, bias, None, None, None, None, None, pairs


def full_softmax_loss(
    states: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    *,
    target_weights: Tensor | None = None,
    item_bias: Tensor | None = None,
    pairs: tuple[Tensor, Tensor, Tensor] | None = None,
    label_smoothing: float = 0.0,
    tile_bytes: int = TILE_BYTES,
    product_dtype: torch.dtype | None = None,
) -> Tensor:
    """Compute the mean cross entropy of every state against every real item.

    PRECISE Sec. IV-C, full form of Eq. 5.

    The same value and gradients as `F.cross_entropy(states @ item_vectors.T, targets)` with the
    padding row excluded from the classes, in `tile_bytes` of extra memory instead of positions x
    catalogue.

    Args:
        states: `[positions, width]` transformer outputs, already divided by a temperature where one
            is used.
        item_vectors: `[items, width]`; row 0 is padding.
        targets: int64 `[positions]` in `1..items-1`, or `[positions, k]` for soft targets.
        target_weights: `[positions, k]`, the share of each of the k targets; the shares of a
            position sum to 1.
        item_bias: optional `[items]` added to the logits.
        pairs: optional (position, item, value) `[n]` each, sorted by position, no pair twice: value
            is added to that single logit.
        label_smoothing: share of the targets' mass spread evenly over the real items.
        tile_bytes: memory for one tile of logits; at least one row is always computed at a time.
        product_dtype: type of the factors of the matrix products; sums, exponentials and the
            returned gradients stay in float32. Default: autocast's type where autocast is on, the
                inputs' otherwise.

    Returns:
        scalar; second derivatives are not available.
    """
    device = states.device.type
    if product_dtype is None:
        product_dtype = autocast_dtype(device) or states.dtype
    if states.dtype != torch.float64:
        states = states.float()
        item_vectors = item_vectors.float()
    if target_weights is None:
        targets = targets[:, None]
        target_weights = torch.ones(targets.shape, device=targets.device)
    target_weights = target_weights.to(states.dtype)
    *place, value = (None, None, None) if pairs is None else pairs
    value = None if value is None else value.to(states.dtype)
    with torch.autocast(device_type=device, enabled=False):
        return _TiledCrossEntropy.apply(
            states,
            item_vectors,
            targets,
            target_weights,
            item_bias,
            label_smoothing,
            tile_bytes,
            product_dtype,
            *place,
            value,
        )


#: Above this many items an epoch with the full softmax costs more than it gains over sampling on a
#: CPU (benchmarks/softmax.py measures both).
FULL_SOFTMAX_MAX_ITEMS = 50_000


def full_softmax_pays(n_items: int) -> bool:
    """Whether `softmax: auto` means the full softmax for a catalogue of `n_items`."""
    return n_items <= FULL_SOFTMAX_MAX_ITEMS
