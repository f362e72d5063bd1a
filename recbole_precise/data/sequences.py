"""Users' sequences as flat arrays, and the rows that training and evaluation cut out of them.

RecBole writes a padded copy of the history for each target: 600 bytes and a turn of a Python loop
for each event. Here an event is stored once; a row is the index of its target, and lists are
gathered when a batch is made. A *prefix* row is RecBole's: one target with the history before it. A
*window* row trains several targets in one pass over up to `max_length` inputs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_precise.data.ordering import stable_order


def ranges(begin: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Enumerate ranges: `(row, value)`, int64 `[sum of length]` each.

    begin[i], begin[i] + 1, ... with `length[i]` values for each row i.
    """
    row = torch.repeat_interleave(torch.arange(len(length)), length)
    before = torch.cumsum(length, 0) - length
    return row, torch.arange(len(row)) + (begin - before)[row]


class SequenceStore:
    """All events, sorted by user and, within a user, by time.

    Attributes:
        fields: name -> `[events, ...]`, one value per event.
        owner: int32 `[events]`, index of the event's user in `user_ids`.
        user_ids: int64 `[users]`, ascending; every one of them has events.
        offsets: int64 `[users + 1]`; user u owns the events offsets[u] .. offsets[u + 1] - 1.
        times: int64 or float64 `[events]`, times as read (None when none were given).
        marked: bool `[events]`, the events of a chosen kind (None when none were marked).
    """

    def __init__(
        self,
        fields: Mapping[str, Tensor],
        user: Tensor,
        times: np.ndarray | None = None,
        marked: Tensor | None = None,
    ) -> None:
        """`user` int64 `[events]` must be ascending; `build` sorts first."""
        self.fields = dict(fields)
        self.user_ids, owner, counts = torch.unique_consecutive(
            user, return_inverse=True, return_counts=True
        )
        if len(self.user_ids) > 1 and not bool((self.user_ids[1:] > self.user_ids[:-1]).all()):
            raise ValueError("events must be sorted by user; use SequenceStore.build")
        self.owner = owner.to(torch.int32)
        self.offsets = torch.cat([counts.new_zeros(1), torch.cumsum(counts, 0)])
        self.times = times
        self.marked = marked

    @classmethod
    def build(
        cls,
        fields: Mapping[str, Tensor],
        user: Tensor,
        order_by: np.ndarray,
        *,
        tie_key: np.ndarray | None = None,
        times: np.ndarray | None = None,
        marked: np.ndarray | None = None,
        then_by: np.ndarray | None = None,
    ) -> SequenceStore:
        """Sort events by user, then by `order_by [events]`, then by `then_by [events]` where given.

        Args:
            fields: name -> `[events, ...]`; `user`: int64 `[events]`; `times`, `marked`: kept
                beside the events.
            tie_key: `[events]`, sorts a user's events with equal `order_by`; None: they stay as
                given.

        Raises ValueError for an `order_by` that is not finite.
        """
        keys = [order_by, user.numpy()]
        if then_by is not None:
            keys.insert(0, then_by)
        if tie_key is not None:
            keys.insert(0, tie_key)
        order = stable_order(keys)
        index = torch.from_numpy(order)
        sorted_fields = {name: values[index] for name, values in fields.items()}
        return cls(
            sorted_fields,
            user[index],
            None if times is None else times[order],
            None if marked is None else torch.from_numpy(marked[order]),
        )

    @classmethod
    def of_sequences(
        cls, fields: Mapping[str, Tensor], user: Tensor, lengths: Tensor
    ) -> SequenceStore:
        """Store sequences as they are given, of which a user may have several.

        Their events have no times.

        Args:
            fields: name -> `[events, ...]`, one sequence after the other.
            user: int64 `[sequences]`, the user of each; `user_ids` then.
            lengths: int64 `[sequences]`, events of each.
        """
        store = cls.__new__(cls)
        store.fields = dict(fields)
        store.user_ids = user
        store.owner = torch.repeat_interleave(
            torch.arange(len(lengths), dtype=torch.int32), lengths
        )
        store.offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        store.times = None
        store.marked = None
        return store

    def with_field(self, name: str, values: Tensor) -> SequenceStore:
        """Return this store with one more field, `values [events, ...]`."""
        store = copy.copy(self)
        store.fields = {**self.fields, name: values}
        return store

    def with_next_events(self) -> tuple[SequenceStore, Tensor]:
        """Return this store with one empty event behind each user's last, at the same time.

        Returns:
            The store, and int64 `[users]`, where the new events are in it.
        """
        users = len(self.user_ids)
        position = torch.arange(len(self)) + self.owner.long()
        ends = self.offsets[1:] + torch.arange(users)
        total = len(self) + users
        fields = {}
        for name, values in self.fields.items():
            wider = values.new_zeros((total, *values.shape[1:]))
            wider[position] = values
            fields[name] = wider
        user = torch.empty(total, dtype=self.user_ids.dtype)
        user[position] = self.user
        user[ends] = self.user_ids
        times = None
        if self.times is not None:
            times = np.empty(total, dtype=self.times.dtype)
            times[position.numpy()] = self.times
            times[ends.numpy()] = self.times[self.offsets[1:].numpy() - 1]
        return SequenceStore(fields, user, times), ends

    def only(self, event: Tensor) -> SequenceStore:
        """Return a store of some events alone, in the same order.

        `event`: int64 `[n]`, ascending.
        """
        fields = {name: values[event] for name, values in self.fields.items()}
        return SequenceStore(
            fields, self.users_of(event), None if self.times is None else self.times[event.numpy()]
        )

    def __len__(self) -> int:
        return len(self.owner)

    @property
    def user(self) -> Tensor:
        """int64 `[events]`: user id of each event."""
        return self.user_ids[self.owner.long()]

    def targets(self) -> Tensor:
        """int64 `[events - users]`: every event that has another one of its user before it."""
        first = torch.zeros(len(self), dtype=torch.bool)
        first[self.offsets[:-1]] = True
        return torch.nonzero(~first).squeeze(1)

    def users_of(self, event: Tensor) -> Tensor:
        """User ids of events, in the shape of `event`."""
        return self.user_ids[self.owner[event].long()]

    def first_of(self, event: Tensor) -> Tensor:
        """Index of the first event of each event's user, in the shape of `event`."""
        return self.offsets[self.owner[event].long()]

    def history_length(self, end: Tensor, max_length: int) -> Tensor:
        """Events before each target `end`, at most `max_length`."""
        return (end - self.first_of(end)).clamp_max(max_length)

    def gather(self, end: Tensor, length: Tensor, max_length: int, field: str) -> Tensor:
        """Gather `field` at the events end - length .. end - 1.

        Right-padded with 0 as in RecBole.

        Args:
            end: int64 `[batch]` (or any shape), index of the target event. length: int64 `[batch]`,
                at most `max_length`.

        Returns: `[batch, max_length, ...]` in the dtype of the field.
        """
        return self.gather_many(end, length, max_length, [field])[field]

    def gather_many(
        self, end: Tensor, length: Tensor, max_length: int, names: Sequence[str]
    ) -> dict[str, Tensor]:
        """`gather` for several fields, with one computation of the positions."""
        step = torch.arange(max_length)
        real = step < length[..., None]
        position = ((end - length)[..., None] + step).clamp_max(len(self) - 1)
        gathered = {}
        for name in names:
            values = self.fields[name][position]
            padding = ~real.reshape(real.shape + (1,) * (values.dim() - real.dim()))
            gathered[name] = values.masked_fill_(padding, 0)
        return gathered

    def history(self, end: Tensor, field: str) -> tuple[Tensor, Tensor]:
        """All events of the user before each target, not cut at any length.

        Args:
            end: int64 `[rows]`.

        Returns: `(row, value)` `[total]` each: index into `end`, and `field` of the earlier event.
        """
        begin = self.first_of(end)
        row, event = ranges(begin, end - begin)
        return row, self.fields[field][event]


def train_windows(
    first: Tensor, last: Tensor, max_length: int, stride: int | None = None, shift: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut each user's training targets into windows.

    Every target is trained in exactly one of them.

    Windows are laid from the last target backwards. Each has up to `max_length` inputs, of which
    the last `stride` positions carry loss: with stride = max_length windows are disjoint, with less
    each target keeps at least max_length - stride + 1 items of history when the user has them.

    Args:
        first: int64 `[users]`, index of each user's first event.
        last: int64 `[users]`, index of the last training target; `last <= first` means that there
            is none.
        max_length: inputs of a row at most. stride: targets of a row at most, 1 .. max_length (the
            default).
        shift: targets of the last window of a user who needs several, 0 .. stride - 1 (0: as many
            as the others); drawn for each epoch it lets a target meet histories of all
            lengths.

    Returns: `(end, length, supervised)` int64 `[rows]` each: index of the row's last target, number
        of inputs before it, number of trailing positions that carry loss. Rows are in the order of
        users and time.

    Raises ValueError when `stride` or `shift` is out of range.
    """
    stride = max_length if stride is None else stride
    if not 1 <= stride <= max_length:
        raise ValueError(f"stride must lie between 1 and max_length ({max_length}), not {stride}")
    if not 0 <= shift < stride:
        raise ValueError(f"shift must lie between 0 and stride - 1 ({stride - 1}), not {shift}")
    targets = (last - first).clamp_min(0)
    tail = torch.where(targets > stride, shift, 0)
    whole = (targets - tail + stride - 1) // stride
    rows = whole + (tail > 0)
    owner, number = ranges(torch.zeros_like(rows), rows)
    is_tail = number == whole[owner]
    end = torch.where(
        is_tail, last[owner], last[owner] - tail[owner] - (whole[owner] - 1 - number) * stride
    )
    behind = end - first[owner]
    return (
        end,
        behind.clamp_max(max_length),
        torch.where(is_tail, tail[owner], behind.clamp_max(stride)),
    )


@dataclass(frozen=True)
class RowFields:
    """Names under which the columns of rows go: RecBole's fields."""

    user: str
    length: str
    lists: Mapping[str, str]  # list field -> event field
    supervised: str = "supervised_length"
    trained: str | None = (
        # bool event field: the event that follows is a target; None: every one is (in windows)
        None
    )


class RowColumns(MutableMapping[str, Tensor]):
    """Columns of rows over a store, computed when they are asked for.

    A row is the index of its target event. With `stride` given rows are windows of at most `stride`
    targets each, else RecBole's prefixes. A list asked for as a whole column
    (`columns["item_id_list"]`) is kept: a model that wants RecBole's full table pays for it once,
    all others never do.

    Attributes:
        end: int64 `[rows]`, index of each row's (last) target.
        visible: names of the columns, in order.
    """

    def __init__(
        self,
        store: SequenceStore,
        end: Tensor,
        names: RowFields,
        max_length: int,
        stride: int | None = None,
        visible: Sequence[str] | None = None,
    ) -> None:
        self.store = store
        self.end = end
        self.names = names
        self.max_length = max_length
        self.stride = stride
        if visible is None:
            lists = list(names.lists)
            if stride is None:
                visible = [names.user, *store.fields, names.length, *lists]
            else:
                visible = [
                    names.user,
                    *names.lists.values(),
                    names.length,
                    *lists,
                    names.supervised,
                ]
        self.visible = list(visible)
        self._set: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}

    def take(self, index: slice | list[int] | np.ndarray | Tensor | int) -> RowColumns:
        """Rows by slice, list, array or tensor of indices (int: a row without batch dimension)."""
        if isinstance(index, np.ndarray):
            index = torch.from_numpy(index)
        taken = RowColumns(
            self.store, self.end[index], self.names, self.max_length, self.stride, self.visible
        )
        taken._set = {name: value[index] for name, value in self._set.items()}
        return taken

    def lengths(self) -> Tensor:
        """int64 `[rows]`: events in each row's history."""
        return self.store.history_length(self.end, self.max_length)

    def targets(self) -> Tensor:
        """int64 `[targets]`: index of every event that the rows train or test."""
        if self.stride is None:
            return self.end
        supervised = self[self.names.supervised]
        followed = ranges(self.end - supervised + 1, supervised)[1]
        return (
            followed
            if self.names.trained is None
            else followed[self.store.fields[self.names.trained][followed - 1]]
        )

    def dictionary(self) -> dict[str, Tensor]:
        """All visible columns, computed together."""
        lists = {
            name: self.names.lists[name]
            for name in self.visible
            if name in self.names.lists and name not in self._set
        }
        length = self.lengths()
        gathered = self.store.gather_many(self.end, length, self.max_length, list(lists.values()))
        computed = {name: gathered[event] for name, event in lists.items()}
        computed[self.names.length] = length
        computed.update(self._set)
        return {name: computed[name] if name in computed else self[name] for name in self.visible}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.visible:
            raise KeyError(name)
        if name in self._set:
            return self._set[name]
        if name == self.names.user:
            return self.store.users_of(self.end)
        if name == self.names.length:
            return self.lengths()
        if name in self.names.lists:
            if name not in self._kept:
                self._kept[name] = self.store.gather(
                    self.end, self.lengths(), self.max_length, self.names.lists[name]
                )
            return self._kept[name]
        if name == self.names.supervised and self.stride is not None:
            return self.store.history_length(self.end, self.stride)
        return self.store.fields[name][self.end]

    def __setitem__(self, name: str, value: Tensor) -> None:
        if name not in self.visible:
            self.visible.append(name)
        self._set[name] = value

    def __delitem__(self, name: str) -> None:
        if name not in self.visible:
            raise KeyError(name)
        self.visible.remove(name)
        self._set.pop(name, None)
        self._kept.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self.visible

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.visible))

    def __len__(self) -> int:
        return len(self.visible)
