"""The vocabulary of a run by name: its users, items, texts and training sequences.

Internal ids follow the first appearance of a name in the data files, so that one new line can shift
them all. A run therefore keeps the names that its weights belong to, and everything that a model
derives from its training data, in its own directory:

- `items.parquet`: a row for each internal id, with `item_id`, `train_count`, `bucket`, `text`,
  `trained` and `held_out`;
- `users.parquet`: a row for each internal id, with `user_id`, `history` (item ids, oldest first, up
  to the model's window) and `last_time`;
- `training.safetensors`: the training sequences.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from recbole_precise.data.frequency import frequency_buckets
from recbole_precise.errors import CheckpointError, ConfigError, DataError, TextError
from recbole_precise.files import write_atomically
from recbole_precise.runs.checkpoint import load_tensors, write_tensors
from recbole_precise.runs.manifest import check_file

ITEMS = "items.parquet"
USERS = "users.parquet"
TRAINING = "training.safetensors"
#: All files of a vocabulary.
FILES = (ITEMS, USERS, TRAINING)
_KEY = b"recbole_precise"
_SHOWN = 3

#: Training events of all users: items `[events]`, offsets `[users + 1]`, user ids `[users]`, int64.
Sequences = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Histories:
    """Each user's latest events, oldest first.

    Attributes:
        items: int64 `[events]`. offsets: int64 `[users + 1]`, a row for every internal user id.
        last_time: int64 or float64 `[users]`; None where nothing is known of times.
    """

    items: np.ndarray
    offsets: np.ndarray
    last_time: np.ndarray | None


@dataclass(frozen=True)
class Vocabulary:
    """The names and training data of a run.

    Attributes:
        users, items: names by internal id, row 0 the padding.
        data: what the run's data set was: `name`, `events`, `users`, `items`, `digest` of the
            events (see `events_digest`), `files` (SHA-256 by name).
        texts: the text of each item by internal id, empty where there is none; None without texts.
        trained: bool `[items]`, items with a training event in any view; None where not known.
        held_out: bool `[items]`, items held out of training; None: none are.
        sequences: the training events; None for data that are not read as sequences.
        counts: int64 `[items]`, training events of each item.
    """

    users: np.ndarray
    items: np.ndarray
    data: Mapping[str, Any]
    texts: tuple[str, ...] | None = None
    trained: np.ndarray | None = None
    held_out: np.ndarray | None = None
    sequences: Sequences | None = None
    counts: np.ndarray | None = None


@dataclass(frozen=True)
class Difference:
    """How data at hand differ from those of a run.

    Attributes:
        name: of the data set at hand. then, now: events in the files.
        new_users, gone_users, new_items, gone_items: names.
        left_out: events at hand on items that the run does not know, which nothing can score.
    """

    name: str
    then: int
    now: int
    new_users: Sequence[str]
    gone_users: Sequence[str]
    new_items: Sequence[str]
    gone_items: Sequence[str]
    left_out: int

    def in_words(self) -> str:
        """One line: what differs, with counts and examples."""
        parts = [f"events {self.now:,} ({self.then:,} when it was trained)"]
        for what, names in (
            ("new users", self.new_users),
            ("missing users", self.gone_users),
            ("new items, which the run cannot rank", self.new_items),
            ("missing items, which it still ranks", self.gone_items),
        ):
            if len(names):
                parts.append(f"{what} {len(names):,} ({_some(names)})")
        if self.left_out:
            parts.append(f"events left out with new items {self.left_out:,}")
        return f"Data: '{self.name}' differs from what the run was trained on: {'; '.join(parts)}."

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, for a report."""
        return {
            "name": self.name,
            "same": False,
            "events": self.now,
            "events_of_the_run": self.then,
            "new_users": len(self.new_users),
            "gone_users": len(self.gone_users),
            "new_items": len(self.new_items),
            "gone_items": len(self.gone_items),
            "events_left_out": self.left_out,
        }


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(str(name) for name in names[:_SHOWN])
    return f"{shown}, ..." if len(names) > _SHOWN else shown


def vocabulary_of(train_set: Any, data: Mapping[str, Any]) -> Vocabulary | None:
    """Build the vocabulary of a training part; None for data without users or items.

    Args:
        train_set: the training part of a RecBole dataset, ours or RecBole's.
        data: as in `Vocabulary`.
    """
    names = train_set.field2id_token
    if train_set.uid_field not in names or train_set.iid_field not in names:
        return None
    users = np.asarray(names[train_set.uid_field], dtype=str)
    items = np.asarray(names[train_set.iid_field], dtype=str)
    if not hasattr(train_set, "train_sequences"):
        events = np.asarray(train_set.inter_feat[train_set.iid_field])
        counts = np.bincount(events.ravel(), minlength=len(items))
        return Vocabulary(users, items, data, counts=counts)
    held_out = train_set.held_out
    return Vocabulary(
        users,
        items,
        data,
        texts=_texts(train_set),
        trained=train_set.trained_items().numpy(),
        held_out=None if held_out is None else held_out.numpy(),
        sequences=tuple(part.clone() for part in train_set.train_sequences()),
        counts=train_set.train_item_counts().numpy(),
    )


def _texts(train_set: Any) -> tuple[str, ...] | None:
    """Read the items' texts where the settings name some that can be read."""
    try:
        return tuple(train_set.item_texts())
    except (TextError, ConfigError, DataError):
        return None


def write_vocabulary(folder: Path, vocabulary: Vocabulary, histories: Histories | None) -> None:
    """Write the vocabulary of a run into its directory, each file whole or not at all.

    Raises:
        CheckpointError: there is no room, or the directory cannot be written to.
    """
    folder = Path(folder)
    if vocabulary.sequences is not None:
        names = ("items", "offsets", "users")
        tensors = dict(zip(names, map(_small, vocabulary.sequences), strict=True))
        write_tensors(folder / TRAINING, tensors, "the training sequences")
    _write_table(folder / USERS, _user_columns(vocabulary, histories), {})
    # The last file is the one that a reader asks for: with it, all are there.
    _write_table(folder / ITEMS, _item_columns(vocabulary), {"data": dict(vocabulary.data)})


def keep_names(
    folder: Path, train_set: Any, data: Mapping[str, Any], trained: np.ndarray | None = None
) -> None:
    """Keep the names of users and items: the rows of a run's weights mean nothing without them.

    Args:
        folder: the run directory.
        train_set: the training part; data without users or items have no names to keep.
        data: as in `Vocabulary`.
        trained: bool `[items]`, where that is not what the training part says.

    Raises:
        CheckpointError: there is no room, or the directory cannot be written to.
    """
    known = vocabulary_of(train_set, data)
    if known is None:
        return
    if trained is not None:
        known = replace(known, trained=trained)
    latest = None
    if hasattr(train_set, "latest_histories"):
        latest = Histories(*train_set.latest_histories())
    write_vocabulary(folder, known, latest)


def _small(values: Tensor) -> Tensor:
    """int32 where the values fit."""
    fits = not len(values) or int(values.max()) < 2**31
    return values.to(torch.int32) if fits else values


def _item_columns(vocabulary: Vocabulary) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {"item_id": pa.array(vocabulary.items, pa.string())}
    if vocabulary.counts is not None:
        counts = torch.from_numpy(np.asarray(vocabulary.counts, dtype=np.int64))
        columns["train_count"] = pa.array(counts.numpy())
        columns["bucket"] = pa.array(frequency_buckets(counts).numpy().astype(np.int16))
    if vocabulary.texts is not None:
        columns["text"] = pa.array([_clean(text) for text in vocabulary.texts], pa.string())
    for name in ("trained", "held_out"):
        values = getattr(vocabulary, name)
        if values is not None:
            columns[name] = pa.array(np.asarray(values, dtype=bool))
    return columns


def _clean(text: str) -> str:
    """Clean a text so that it can be written as UTF-8.

    Half a surrogate pair is replaced, as before encoding.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _user_columns(vocabulary: Vocabulary, histories: Histories | None) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {"user_id": pa.array(vocabulary.users, pa.string())}
    if histories is None:
        return columns
    items = pa.array(vocabulary.items, pa.string()).take(pa.array(histories.items))
    offsets = pa.array(histories.offsets.astype(np.int64))
    columns["history"] = pa.LargeListArray.from_arrays(offsets, items)
    if histories.last_time is not None:
        empty = np.diff(histories.offsets) == 0
        columns["last_time"] = pa.array(histories.last_time, mask=empty)
    return columns


def _write_table(path: Path, columns: Mapping[str, pa.Array], about: Mapping[str, Any]) -> None:
    table = pa.table(dict(columns))
    content = json.dumps({"format": 1, **about}, ensure_ascii=False, sort_keys=True)
    table = table.replace_schema_metadata({_KEY: content.encode()})
    write_atomically(path, lambda partial: pq.write_table(table, partial), "the vocabulary")


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """Read the vocabulary that a run left; None for a run of a version that left none.

    Raises:
        CheckpointError: a file of it is missing, damaged or not the one that the run left.
    """
    folder = Path(folder)
    if not (folder / ITEMS).exists():
        check_file(folder, ITEMS)
        return None
    items, about = _read_table(folder, ITEMS)
    users, _ = _read_table(folder, USERS)
    sequences = None
    check_file(folder, TRAINING)
    if (folder / TRAINING).exists():
        tensors = load_tensors(folder / TRAINING)
        try:
            sequences = (
                tensors["items"].long(),
                tensors["offsets"].long(),
                tensors["users"].long(),
            )
        except KeyError as error:
            raise _damaged(folder / TRAINING, f"there is no tensor {error}") from None
    names = set(items.column_names)
    return Vocabulary(
        _column(folder / USERS, users, "user_id").astype(str),
        _column(folder / ITEMS, items, "item_id").astype(str),
        about.get("data", {}),
        texts=tuple(items["text"].to_pylist()) if "text" in names else None,
        trained=_column(folder / ITEMS, items, "trained") if "trained" in names else None,
        held_out=_column(folder / ITEMS, items, "held_out") if "held_out" in names else None,
        sequences=sequences,
        counts=_column(folder / ITEMS, items, "train_count") if "train_count" in names else None,
    )


def _read_table(folder: Path, name: str) -> tuple[pa.Table, dict[str, Any]]:
    path = folder / name
    check_file(folder, name)
    if not path.is_file():
        raise CheckpointError(f"'{path}' is missing: the run cannot tell users and items by name.")
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[_KEY])
    except (OSError, KeyError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    return table, about


def _column(path: Path, table: pa.Table, name: str) -> np.ndarray:
    try:
        return table[name].to_numpy()
    except (KeyError, pa.ArrowInvalid) as error:
        raise _damaged(path, f"column {name}: {error}") from error


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"'{path}' is damaged: {reason}. Restore it from a copy, or run again.")
