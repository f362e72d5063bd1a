"""The training batches of a period."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


class ShuffledRows:
    """Batches of rows, in another order in every pass, drawn from torch's global generator.

    Args:
        rows: anything with a length that an int64 index `[batch]` selects from.
        batch_size: rows of a batch; the last one may have fewer.
    """

    def __init__(self, rows: Any, batch_size: int) -> None:
        self._rows = rows
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __iter__(self) -> Iterator[Any]:
        for some in torch.randperm(len(self._rows)).split(self._batch_size):
            yield self._rows[some]
