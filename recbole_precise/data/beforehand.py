"""Files that were split beforehand (`benchmark_filename`).

What trains, what is evaluated, and the history before it.

Two forms are read. *Events*, one a line with its time: the first file trains; a row of validation
follows the training and validation events of its user that came before it, a row of testing
behind the events of all files that came before it. *Rows* (RecBole's form): each line has the whole
history in `item_id_list` and its target in `item_id`. Nothing of a later file is ever trained or
counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_precise.data.filtering import counted
from recbole_precise.data.ordering import stable_order
from recbole_precise.data.scenes import View
from recbole_precise.data.sequences import SequenceStore, ranges
from recbole_precise.errors import ConfigError, DataError

logger = logging.getLogger("recbole_precise")

#: Of each event: the part (0 training, 1 validation, 2 testing) of the file that it stands in.
PART_FIELD = "file_part"
PARTS = ("training", "validation", "testing")


def part_numbers(names: Sequence[object]) -> list[int]:
    """Return the number of the part of each file that `benchmark_filename` names.

    These are [train, valid, test] or [train, test].

    Raises:
        ConfigError: for another number of files, or one named twice.
    """
    if len(names) not in (2, 3) or len(set(map(str, names))) < len(names):
        raise ConfigError(
            "benchmark_filename must name two different files, [train, test], or three, [train, "
            f"valid, test], not {list(names)}."
        )
    return [0, 2] if len(names) == 2 else [0, 1, 2]


# --- Events -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Beforehand:
    """The parts of a data set whose files were split beforehand.

    Attributes:
        views: for training, validation and testing: the events that the part sees, and its rows.
        unasked: rows of validation and of testing that have no event before them.
        early: rows of validation and of testing that come before a training event of their user.
    """

    views: tuple[View, View, View]
    unasked: tuple[int, int]
    early: int


def check_parts(given: Beforehand, files: Mapping[int, Path]) -> None:
    """Refuse files that leave a part without a row.

    Log rows that cannot be asked, and training behind the tests.

    Args:
        files: the file of each part.

    Raises:
        DataError: for a file without a row for its part.
    """
    for number, path in files.items():
        if not len(given.views[number].targets(number)):
            reason = (
                "no user in it has an event before it" if number else "no user has two events in it"
            )
            raise DataError(f"{path}: leaves no row for {PARTS[number]}: {reason}.")
    for number, lost in zip((1, 2), given.unasked):
        if lost:
            events = counted(lost + len(given.views[number].targets(number)), "event")
            logger.warning(
                "%s of %s in %s cannot be asked: their users have no event before them.",
                f"{lost:,}",
                events,
                files[number],
            )
    if given.early:
        logger.warning(
            "%s of validation and testing come before training events of their user, so that the "
            "model learns from what came "
            "after them; a split by time (eval_args) avoids that.",
            counted(given.early, "event"),
        )


def split_events(
    store: SequenceStore, times_of: Callable[[SequenceStore], np.ndarray]
) -> Beforehand:
    """Parts of a store whose events know their file (`PART_FIELD`).

    Args:
        store: all events; those of one user and one time in the order of the files.
        times_of: gives the times `[events]` by which the events of a store are ordered.
    """
    part = store.fields[PART_FIELD]
    stores = [store.only(torch.nonzero(part <= number).squeeze(1)) for number in range(3)]
    ends: list[Tensor] = []
    unasked: list[int] = []
    for number, seen in enumerate(stores):
        mine = seen.fields[PART_FIELD] == number
        later = torch.ones(len(seen), dtype=torch.bool)
        later[seen.offsets[:-1]] = False
        ends.append(
            _in_order_of_users(seen, torch.nonzero(mine & later).squeeze(1), times_of(seen))
        )
        unasked.append(int((mine & ~later).sum()))
    last = torch.zeros(len(store.user_ids), dtype=torch.int64)
    trained = torch.nonzero(part == 0).squeeze(1)
    last = last.scatter_reduce(0, store.owner[trained].long(), trained, "amax", include_self=True)
    early = int(((part > 0) & (torch.arange(len(store)) < last[store.owner.long()])).sum())
    training, validation, testing = (
        _view(seen, number, ends[number]) for number, seen in enumerate(stores)
    )
    return Beforehand((training, validation, testing), (unasked[1], unasked[2]), early)


def _view(store: SequenceStore, part: int, ends: Tensor) -> View:
    """Build the view of one part, its targets in the place of the part.

    Training ends with the last event of each sequence.
    """
    rows = [ends[:0]] * 3
    rows[part] = ends
    return View(store, store, None, store.offsets[1:] - 1, (rows[0], rows[1], rows[2]))


def _in_order_of_users(store: SequenceStore, ends: Tensor, times: np.ndarray) -> Tensor:
    """Sort `ends` in RecBole's order of rows.

    Users by the time of their first row, then by id.

    A user's rows in order of time.
    """
    begin = (store.offsets[:-1] + 1).clamp_max(len(store) - 1)
    rank = np.empty(len(begin), dtype=np.int64)
    rank[stable_order([times[begin.numpy()]])] = np.arange(len(begin))
    owner = store.owner[ends].long().numpy()
    return ends[torch.from_numpy(stable_order([rank[owner]]))]


# --- Rows -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lists:
    """The lists of rows: for each of `rows` rows `lengths` values, one after the other.

    `fields`: event field -> `[sum of lengths]`.
    """

    lengths: Tensor
    fields: Mapping[str, Tensor]


def take_lists(frame: pd.DataFrame, pairs: Mapping[str, str], where: Callable[[int], str]) -> Lists:
    """Take the list columns out of the rows of .inter, as read and numbered.

    Args:
        frame: the rows; the list columns are removed.
        pairs: list column -> the column of the same meaning for the target; the first is that of
            the items.
        where: number of a row -> its file and line in words.

    Raises:
        DataError: for an empty list, and for lists of one row with different lengths.
    """
    first = next(iter(pairs))
    lengths = np.array([len(cell) for cell in frame[first]], dtype=np.int64)
    empty = np.flatnonzero(lengths == 0)
    if len(empty):
        raise DataError(
            f"{where(int(empty[0]))}: the list in '{first}' is empty"
            + (f", and in {len(empty) - 1} more rows" if len(empty) > 1 else "")
            + "; a row needs at least one item before its target. Remove these rows."
        )
    fields = {}
    for name, single in pairs.items():
        cells = frame[name]
        odd = np.flatnonzero(np.array([len(cell) for cell in cells], dtype=np.int64) != lengths)
        if len(odd):
            row = int(odd[0])
            raise DataError(
                f"{where(row)}: '{name}' has {len(cells.iloc[row])} values, but '{first}' has "
                f"{lengths[row]}; the lists of a row "
                "must be equally long."
            )
        fields[single] = torch.from_numpy(np.concatenate([np.asarray(cell) for cell in cells]))
    frame.drop(columns=list(pairs), inplace=True)
    return Lists(torch.from_numpy(lengths), fields)


def row_store(
    lists: Lists, rows: np.ndarray, user: Tensor, targets: Mapping[str, Tensor]
) -> SequenceStore:
    """Store some rows as sequences of their own.

    Each is the row's list and, as the last event, its target.

    Args:
        rows: int64 `[n]`, numbers of the rows.
        user: int64 `[all rows]`.
        targets: field -> `[all rows, ...]`, values of the targets; a field without a list is 0 in
            the list's events.
    """
    offsets = torch.cat([lists.lengths.new_zeros(1), lists.lengths.cumsum(0)])
    index = torch.from_numpy(rows)
    size = lists.lengths[index] + 1
    end = size.cumsum(0) - 1
    is_target = torch.zeros(int(size.sum()), dtype=torch.bool)
    is_target[end] = True
    source = ranges(offsets[index], lists.lengths[index])[1]
    fields = {}
    for name, values in targets.items():
        field = values.new_zeros(len(is_target), *values.shape[1:])
        field[is_target] = values[index]
        if name in lists.fields:
            field[~is_target] = lists.fields[name][source].to(values.dtype)
        fields[name] = field
    return SequenceStore.of_sequences(fields, user[index], size)


def chain_rows(
    lists: Lists, count: int, user: Tensor, item: str, target: Tensor, longest: int
) -> list[np.ndarray]:
    """Which of the first `count` rows, those of training, carry on a sequence of their user.

    RecBole's files of rows hold each prefix of a sequence; as sequences of their own an event of
    them would train, and count, as often as there are targets behind it. A row carries on the
    user's sequence when its list begins with it, or, cut to at least `longest` items, ends as it
    does.

    Args:
        item: name of the item field.
        user, target: int64 `[rows]`.

    Returns:
        For each sequence the numbers of its rows in the order of the file; sequences by user, then
        by file.
    """
    offsets = np.concatenate([[0], np.cumsum(lists.lengths.numpy())])
    items = lists.fields[item].numpy()
    goals = target.tolist()
    owners = user.tolist()
    current: dict[int, tuple[list[int], list[int]]] = {}
    sequences: list[list[int]] = []
    for row in range(count):
        listed = items[offsets[row] : offsets[row + 1]].tolist()
        chain, whole = current.get(owners[row], ([], []))
        if chain and _carries_on(whole, listed, longest):
            chain.append(row)
            if len(listed) >= len(whole):
                whole = listed
        else:
            chain = [row]
            whole = listed
            sequences.append(chain)
        current[owners[row]] = (chain, [*whole, goals[row]])
    sequences.sort(key=lambda chain: owners[chain[0]])
    return [np.array(chain, dtype=np.int64) for chain in sequences]


def _carries_on(whole: list[int], listed: list[int], longest: int) -> bool:
    """Return whether a list carries on the sequence so far.

    It is that sequence, or that and more, or its last items where it was cut.
    """
    if len(listed) >= len(whole):
        return listed[: len(whole)] == whole
    return len(listed) >= longest and whole[-len(listed) :] == listed


def chain_store(
    lists: Lists, sequences: Sequence[np.ndarray], user: Tensor, targets: Mapping[str, Tensor]
) -> tuple[SequenceStore, Tensor]:
    """One sequence for each chain of rows, and where each row's target is in it.

    Args:
        targets: as for `row_store`.

    Returns:
        The store; int64 `[training rows]`, the place of each row's target, in the order of the
        file.
    """
    offsets = torch.cat([lists.lengths.new_zeros(1), lists.lengths.cumsum(0)])
    pieces: dict[str, list[Tensor]] = {name: [] for name in targets}
    sizes = []
    ends = torch.zeros(sum(map(len, sequences)), dtype=torch.int64)
    begin = 0
    for chain in sequences:
        size = 0
        for row in chain.tolist():
            # Of a list that is shorter than the sequence so far, since it was cut, only the target
            # is new.
            added = max(int(lists.lengths[row]) - size, 0)
            new = slice(int(offsets[row + 1]) - added, int(offsets[row + 1]))
            for name, values in targets.items():
                listed = (
                    lists.fields[name][new].to(values.dtype)
                    if name in lists.fields
                    else values.new_zeros(added, *values.shape[1:])
                )
                pieces[name] += [listed, values[row : row + 1]]
            size += added + 1
            ends[row] = begin + size - 1
        sizes.append(size)
        begin += size
    fields = {name: torch.cat(parts) for name, parts in pieces.items()}
    heads = torch.tensor([int(chain[0]) for chain in sequences])
    return SequenceStore.of_sequences(fields, user[heads], torch.tensor(sizes)), ends


def split_rows_given(
    lists: Lists,
    part: np.ndarray,
    user: Tensor,
    item: str,
    targets: Mapping[str, Tensor],
    longest: int,
) -> Beforehand:
    """Split rows whose histories the files give.

    The chains of the first file train, every other row stands for itself.

    Args:
        part: int64 `[rows]`, the part of each row's file.
        longest: items of a history that a model sees (MAX_ITEM_LIST_LENGTH).
        The others as for `row_store` and `chain_rows`.
    """
    sequences = chain_rows(lists, int((part == 0).sum()), user, item, targets[item], longest)
    store, ends = chain_store(lists, sequences, user, targets)
    logger.info(
        "Training: %s make %s.", counted(len(ends), "row"), counted(len(store.user_ids), "sequence")
    )
    views = [_view(store, 0, ends)]
    for number in (1, 2):
        seen = row_store(lists, np.flatnonzero(part == number), user, targets)
        views.append(_view(seen, number, seen.offsets[1:] - 1))
    return Beforehand((views[0], views[1], views[2]), (0, 0), 0)


def latest_rows(part: np.ndarray, user: Tensor) -> np.ndarray:
    """Find the last row of the last part that has one, for each user by id: int64 `[users]`.

    It is the history that is known of them.
    """
    order = np.lexsort([np.arange(len(part)), part, user.numpy()])
    owners = user.numpy()[order]
    last = np.flatnonzero(np.append(owners[1:] != owners[:-1], True))
    return order[last]
