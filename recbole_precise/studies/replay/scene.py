"""The events that a model of the replay learns from: all of them, or those of the target task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_precise.data.sequences import RowColumns, RowFields, SequenceStore


@dataclass(frozen=True)
class Scene:
    """Events of a scene with their periods, and the rows that can be cut out of them.

    `store`: sorted by user and time; `period`: int64 `[events]`; `item`: name of its item field.
    """

    store: SequenceStore
    period: np.ndarray
    item: str

    @property
    def items(self) -> np.ndarray:
        """int64 `[events]`."""
        return self.store.fields[self.item].numpy()

    @property
    def offsets(self) -> np.ndarray:
        """int64 `[users + 1]`."""
        return self.store.offsets.numpy()

    def target(self) -> Scene:
        """Return the target scene: the events that are marked in the store, or all."""
        if self.store.marked is None:
            return self
        index = torch.nonzero(self.store.marked).squeeze(1)
        return Scene(self.store.only(index), self.period[index.numpy()], self.item)

    def rows(
        self,
        names: RowFields,
        end: Tensor,
        max_length: int,
        supervised: Tensor | None = None,
        stride: int | None = None,
    ) -> RowColumns:
        """Rows with the targets `end`: prefixes, or windows with `supervised` targets each."""
        visible = [names.user, self.item, names.length, *names.lists]
        columns = RowColumns(
            self.store, end, names, max_length, None if supervised is None else stride, visible
        )
        if supervised is not None:
            columns[names.supervised] = supervised
        return columns
