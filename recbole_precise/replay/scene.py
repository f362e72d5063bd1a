"""The events that a model of the replay learns from: all of them, or those of the target task."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_precise.data.sequences import RowColumns, RowFields, SequenceStore
from recbole_precise.errors import ConfigError, did_you_mean

_COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt}


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

    def select(self, kept: np.ndarray) -> Scene:
        """The scene of the events that bool `kept [events]` says."""
        index = torch.from_numpy(np.flatnonzero(kept))
        fields = {name: values[index] for name, values in self.store.fields.items()}
        times = None if self.store.times is None else self.store.times[kept]
        return Scene(SequenceStore(fields, self.store.user[index], times), self.period[kept], self.item)

    def rows(self, names: RowFields, end: Tensor, max_length: int, supervised: Tensor | None = None, stride: int | None = None) -> RowColumns:
        """Rows with the targets `end`: prefixes, or windows with `supervised` targets each."""
        visible = [names.user, self.item, names.length, *names.lists]
        columns = RowColumns(self.store, end, names, max_length, None if supervised is None else stride, visible)
        if supervised is not None:
            columns[names.supervised] = supervised
        return columns


def rule_mask(rule: str, fields: dict[str, Any]) -> np.ndarray:
    """bool `[events]`: where a rule such as `rating >= 4` holds; a ConfigError when it is none or keeps nothing."""
    found = re.fullmatch(r"\s*(\w+)\s*(>=|<=|==|!=|>|<)\s*(-?\d+(?:\.\d+)?)\s*", rule)
    if found is None:
        raise ConfigError(f"--target_rule='{rule}' is no rule: write a loaded column, a comparison and a number, as in 'rating >= 4'.")
    name, sign, number = found.groups()
    if name not in fields:
        raise ConfigError(f"--target_rule: '{name}' is not a loaded field of .inter ({', '.join(fields)}); add it to load_col.{did_you_mean(name, fields)}")
    values = fields[name]
    if not values.is_floating_point():
        raise ConfigError(f"--target_rule: '{name}' holds names, not numbers: a rule compares a column of type float.")
    values = values if values.dim() == 1 else values[..., 0]  # RecBole keeps a weight beside a numerical feature
    kept = _COMPARE[sign](values.numpy().astype(np.float64), float(number))
    if not kept.any():
        raise ConfigError(f"--target_rule='{rule}' keeps no event.")
    return kept
