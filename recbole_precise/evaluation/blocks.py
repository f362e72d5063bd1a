"""The blocks of rows in which a model is evaluated: their size follows from the catalogue alone.

The last bits of a row's scores depend on how many rows are computed together, because a product of
another shape takes another kernel; some models also pad a batch to its longest member. So a model
always meets a block of the same size, filled up by repeating its rows, and block `n` always holds
the same rows of a split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

#: Rows of a block, unless the catalogue is so large that the scores of fewer fill `SCORE_BYTES`.
BLOCK_ROWS = 128
#: Pairs of a user and an item that are rated at once by a model without scores for all items.
BLOCK_PAIRS = 1024
#: Scores of a block over the whole catalogue, with one copy that a model makes on the way.
SCORE_BYTES = 64 << 20


def block_rows(n_items: int | None = None) -> int:
    """Rows of a block: a power of two, at most `BLOCK_ROWS`.

    Args:
        n_items: of the catalogue, for a model that scores all items at once; None for one whose
            memory does not grow with the catalogue.
    """
    if n_items is None:
        return BLOCK_ROWS
    fitting = max(1, SCORE_BYTES // (8 * max(1, n_items)))
    return min(BLOCK_ROWS, 1 << (fitting.bit_length() - 1))


def blocks(n_rows: int, rows: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, first row, last row + 1) of each block."""
    for number, first in enumerate(range(0, n_rows, rows)):
        yield number, first, min(first + rows, n_rows)


def filled(batch: Any, size: int, rows: int) -> Any:
    """Fill a batch of `size` rows up to `rows` by repeating them in order.

    Args:
        batch: a tensor, a mapping of tensors, a tuple of batches, or what gives rows for an index
            (RecBole's Interaction).
    """
    if size == rows:
        return batch
    return _taken(batch, torch.arange(rows) % size)


def one_at_a_time(batch: Any, n_rows: int) -> Iterator[tuple[int, Any]]:
    """(row, batch that holds that row alone, twice) of each row of a batch.

    What a model makes of the first row of such a batch depends on nothing but the row: neither on
    the other rows that were asked for nor on their order or number. The row is there twice because
    some of RecBole's models drop a dimension of size one.
    """
    for row in range(n_rows):
        yield row, _taken(batch, torch.tensor([row, row]))


def in_blocks(
    function: Callable[[Any], Tensor], batch: Any, n_rows: int, rows: int = BLOCK_ROWS
) -> Tensor:
    """Compute `function` of a batch of any size in filled blocks.

    Args:
        function: batch of `rows` rows -> tensor `[rows, ...]`, each row from its row of the batch.
        batch: as for `filled`.

    Returns:
        `[n_rows, ...]`.
    """
    parts = []
    for _, first, last in blocks(n_rows, rows):
        index = first + torch.arange(rows) % (last - first)
        parts.append(function(_taken(batch, index))[: last - first])
    return torch.cat(parts)


def _taken(batch: Any, index: Tensor) -> Any:
    if isinstance(batch, Tensor):
        return batch[index.to(batch.device)]
    if isinstance(batch, Mapping):
        return {name: _taken(value, index) for name, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_taken(value, index) for value in batch)
    return batch[index]
