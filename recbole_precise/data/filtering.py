"""Which events a data set loses between its files and its split.

Counted and reported, cause by cause.

RecBole filters without saying how much goes. Its `Dataset` is therefore given a `_data_filtering`
that runs the same steps and counts between them (`count_filters`), so that every data set reports,
RecBole's own as well as ours.
"""

from __future__ import annotations

import codecs
import logging
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_precise.errors import ConfigError, DataError

logger = logging.getLogger("recbole_precise")

_SHOWN = 3  # names or lines given as examples
_EVERYTHING = (None, "", "[0,inf)", [("[", 0.0, float("inf"), ")")])
#: Encodings in which a line feed and a quote mark are single bytes that occur in no other
#: character.
_PLAIN = ("utf-8", "utf-8-sig", "ascii", "iso8859-1", "iso8859-15", "cp1252", "cp1251")


@dataclass(frozen=True)
class Dropped:
    """Events that one cause took out of a data set.

    Attributes:
        cause: the setting, or what is wrong with the file.
        events: how many.
        message: the sentence in the log.
        asked: whether the user's settings name this filter; a warning is logged where they do not.
    """

    cause: str
    events: int
    message: str
    asked: bool


def examples(names: Sequence[object], total: int | None = None) -> str:
    """Show the first three names, and three dots where there are more."""
    total = len(names) if total is None else total
    shown = ", ".join(str(name) for name in list(names)[:_SHOWN])
    return shown + (", ..." if total > _SHOWN else "")


def counted(number: int, word: str) -> str:
    """Write a count with its noun: '1 event', '1,200 events'."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def drop_events(dataset: Any, cause: str, gone: int, message: str, asked: bool) -> None:
    """Add to the data set's list of causes, and log it."""
    if not gone:
        return
    dropped = Dropped(cause, gone, message, asked)
    dataset.dropped = (*getattr(dataset, "dropped", ()), dropped)
    logger.log(logging.INFO if asked else logging.WARNING, "%s", message)


def count_filters(module: types.ModuleType) -> None:
    """Have RecBole's `Dataset`, of the module given, report the events that it drops."""
    dataset = module.Dataset
    load: Callable[..., None] = dataset._load_inter_feat

    def _load_inter_feat(self: Any, token: str, dataset_path: str) -> None:
        """RecBole's reading of .inter; lines that quote marks join are counted."""
        self.dropped = ()
        load(self, token, dataset_path)
        for field in (self.uid_field, self.iid_field):
            if field is not None and (self.inter_feat is None or field not in self.inter_feat):
                there = "nothing" if self.inter_feat is None else ", ".join(self.inter_feat)
                raise DataError(
                    f"{_inter_files(self)[0]}: the column '{field}' is needed, but load_col and "
                    f"the file give {there}."
                )
        _count_joined_lines(self, token, dataset_path)
        if self.benchmark_filename_list is not None:
            _drop_missing_ids_of_parts(self)

    def _data_filtering(self: Any) -> None:
        """RecBole's filters in RecBole's order, counted."""
        read = _names_read(self)
        total = len(self.inter_feat)
        _drop_rows_without_id(self)
        drop_missing_ids(self)
        _count_step(self, total, "rm_dup_inter", self._remove_duplication)
        _count_step(self, total, "val_interval", self._filter_by_field_value)
        _count_without_row(self, total, read)
        _count_by_number(self, total)
        self._reset_index()

    dataset._load_inter_feat = _load_inter_feat
    dataset._data_filtering = _data_filtering


# --- Files ------------------------------------------------------------------------------------


def _inter_files(dataset: Any) -> list[Path]:
    """List the .inter files of a data set, in the order in which they are read."""
    parts = dataset.benchmark_filename_list
    names = [dataset.dataset_name]
    if parts is not None:
        names = [f"{dataset.dataset_name}.{part}" for part in parts]
    return [Path(dataset.dataset_path, f"{name}.inter") for name in names]


def _count_joined_lines(dataset: Any, token: str, dataset_path: str) -> None:
    """Report lines that an opening quote mark joined with the ones after it."""
    files = _inter_files(dataset)
    sizes = dataset.file_size_list if dataset.benchmark_filename_list else [len(dataset.inter_feat)]
    for path, rows in zip(files, sizes):
        lines = _lines_if_quoted(path, dataset.config["encoding"])
        gone = 0 if lines is None else lines - rows
        if gone > 0:
            drop_events(
                dataset,
                "quote marks",
                gone,
                f"{counted(gone, 'event')} lost in {path}: its {lines:,} lines are read as "
                f"{rows:,} rows, because a quote "
                "mark at the begin of a field joins all lines up to the next one. Remove the "
                "quote marks.",
                asked=False,
            )


def _lines_if_quoted(path: Path, encoding: str | None) -> int | None:
    """Lines after the header that are not blank.

    None for a file without quote marks or in an encoding of wide units.
    """
    try:
        if codecs.lookup(encoding or "utf-8").name not in _PLAIN:
            return None
    except LookupError:
        return None
    lines = 0
    quoted = False
    with Path(path).open("rb") as file:
        file.readline()
        for line in file:
            quoted = quoted or b'"' in line
            lines += bool(line.strip(b" \r\n"))
    return lines if quoted else None


# --- Missing ids ------------------------------------------------------------------------------


def _drop_rows_without_id(dataset: Any) -> None:
    """Drop rows of .user and .item without an id, which describe nobody."""
    for field, name in ((dataset.uid_field, "user"), (dataset.iid_field, "item")):
        feat = getattr(dataset, f"{name}_feat")
        missing = None if feat is None else feat[field].isna().to_numpy()
        if missing is not None and missing.any():
            file = Path(dataset.dataset_path, f"{dataset.dataset_name}.{name}")
            logger.warning(
                "%s of %s left out: %s is empty there, or a word that is read as missing, such "
                "as NA or null.",
                counted(int(missing.sum()), "row"), file, field,
            )  # fmt: skip
            setattr(dataset, f"{name}_feat", feat[~missing].reset_index(drop=True))


def missing_ids(dataset: Any) -> np.ndarray:
    """Bool `[events]`: events without a user or without an item."""
    missing = np.zeros(len(dataset.inter_feat), dtype=bool)
    for field in (dataset.uid_field, dataset.iid_field):
        if field is not None and field in dataset.inter_feat:
            missing |= dataset.inter_feat[field].isna().to_numpy()
    return missing


def drop_missing_ids(dataset: Any) -> np.ndarray:
    """Drop the events without a user or an item; returns which of the events they were.

    RecBole's own method takes labels of rows for places once a row is gone, and then drops other
    events.
    """
    missing = missing_ids(dataset)
    if not missing.any():
        return missing
    fields = [
        field
        for field in (dataset.uid_field, dataset.iid_field)
        if dataset.inter_feat[field].isna().any()
    ]
    gone = int(missing.sum())
    files = " and ".join(str(path) for path in _inter_files(dataset))
    places = examples((np.flatnonzero(missing)[:_SHOWN] + 1).tolist(), gone)
    drop_events(
        dataset,
        "missing ids",
        gone,
        f"{_share(gone, len(missing))} of {files} dropped: {' or '.join(fields)} is empty in "
        "them, or a word that is read "
        f"as missing, such as NA or null (events number {places}). Give every event its ids.",
        asked=False,
    )
    dataset.inter_feat = dataset.inter_feat[~missing].reset_index(drop=True)
    return missing


def _drop_missing_ids_of_parts(dataset: Any) -> None:
    """Drop missing ids of files that were split beforehand, which RecBole does not filter.

    Their sizes follow.
    """
    ends = np.cumsum(dataset.file_size_list)
    missing = drop_missing_ids(dataset)
    if missing.any():
        kept = [int((~part).sum()) for part in np.split(missing, ends[:-1])]
        dataset.file_size_list = kept


# --- Steps ------------------------------------------------------------------------------------


def _share(gone: int, total: int) -> str:
    return f"{gone:,} of {counted(total, 'event')}"


def _count_step(dataset: Any, total: int, key: str, step: Callable[[], None]) -> None:
    """Run a filter that nothing but the setting `key` asks for, and report what it takes."""
    before = len(dataset.inter_feat)
    step()
    gone = before - len(dataset.inter_feat)
    drop_events(
        dataset,
        key,
        gone,
        f"{_share(gone, total)} dropped by {key}: {dataset.config[key]}.",
        asked=True,
    )


def _names_read(dataset: Any) -> dict[str, pd.Series]:
    """List the ids in .user and .item as read, before any filter."""
    sides = (("user", dataset.uid_field), ("item", dataset.iid_field))
    feats = {name: (getattr(dataset, f"{name}_feat"), field) for name, field in sides}
    return {name: feat[field].copy() for name, (feat, field) in feats.items() if feat is not None}


def _count_without_row(dataset: Any, total: int, read: dict[str, pd.Series]) -> None:
    """Run `filter_inter_by_user_or_item` and report each reason apart.

    The reasons are items, users, and rows that val_interval took.
    """
    key = "filter_inter_by_user_or_item"
    if dataset.uid_field is None:
        dataset._filter_inter_by_user_or_item()
        return
    events = _ids_of_events(dataset)
    left = _events_without_row(events, dataset, read)
    dataset._filter_inter_by_user_or_item()
    if len(events) == len(dataset.inter_feat):
        return
    asked = _names(dataset.config, key)
    for name, field in (("item", dataset.iid_field), ("user", dataset.uid_field)):
        if name not in read:
            continue
        mine = left & ~events[field].isin(read[name]).to_numpy()
        left &= ~mine
        number = int(mine.sum())
        if not number:
            continue
        lost = events[field][mine].drop_duplicates()
        file = Path(dataset.dataset_path, f"{dataset.dataset_name}.{name}")
        because = (
            f"load_col reads {file.name}"
            if _names_file(dataset.config, name)
            else "load_col is empty, so that all files are read"
        )
        drop_events(
            dataset,
            key,
            number,
            f"{_share(number, total)} dropped by {key}: {_those(lost, name)} no row in {file} "
            f"({because}). Complete the file, "
            + (f"leave '{name}' out of load_col, " if _names_file(dataset.config, name) else "")
            + f"or set {key}: False.",
            asked,
        )
    number = int(left.sum())
    drop_events(
        dataset,
        f"{key}, val_interval",
        number,
        f"{_share(number, total)} dropped by {key}: val_interval: "
        f"{dataset.config['val_interval']} left the row of their "
        "user or item out.",
        asked=True,
    )


def _ids_of_events(dataset: Any) -> pd.DataFrame:
    """Keep the user and item columns apart from filters that change the data set's own table."""
    return dataset.inter_feat[[dataset.uid_field, dataset.iid_field]].copy()


def _events_without_row(
    events: pd.DataFrame, dataset: Any, read: dict[str, pd.Series]
) -> np.ndarray:
    """Bool `[events]`: those whose user or item has no row left in .user or .item."""
    gone = np.zeros(len(events), dtype=bool)
    for name, field in (("item", dataset.iid_field), ("user", dataset.uid_field)):
        if name in read:
            gone |= ~events[field].isin(getattr(dataset, f"{name}_feat")[field]).to_numpy()
    return gone


def _those(names: pd.Series, word: str) -> str:
    """'their item i7 has', 'their 12 items (i1, i2, i3, ...) have'."""
    if len(names) == 1:
        return f"their {word} {names.iloc[0]} has"
    return (
        f"their {len(names):,} {word}s ({examples(names.iloc[:_SHOWN].tolist(), len(names))}) have"
    )


def _count_by_number(dataset: Any, total: int) -> None:
    """Run the filter by number of interactions.

    Report the events, users and items that it takes.
    """
    keys = [f"{side}_inter_num_interval" for side in ("user", "item")]
    if dataset.uid_field is None:
        dataset._filter_by_inter_num()
        return
    before = _ids_of_events(dataset)
    rows = {name: len(getattr(dataset, f"{name}_feat")) for name in _names_read(dataset)}
    dataset._filter_by_inter_num()
    gone = len(before) - len(dataset.inter_feat)
    set_here = [
        f"{key}: {dataset.config[key]}" for key in keys if dataset.config[key] not in _EVERYTHING
    ]
    shrunk = [
        f"{counted(count - len(getattr(dataset, f'{name}_feat')), 'row')} of .{name}"
        for name, count in rows.items()
        if count > len(getattr(dataset, f"{name}_feat"))
    ]
    if not gone:
        if shrunk:
            logger.info("%s left out by %s.", " and ".join(shrunk), " and ".join(set_here))
        return
    parts = []
    for name, field in (("user", dataset.uid_field), ("item", dataset.iid_field)):
        kept = dataset.inter_feat[field].drop_duplicates()
        had = before[field].drop_duplicates()
        lost = had[~had.isin(kept).to_numpy()]
        if len(lost):
            parts.append(
                f"{counted(len(lost), name)} ({examples(lost.iloc[:_SHOWN].tolist(), len(lost))})"
            )
    drop_events(
        dataset,
        "user_inter_num_interval, item_inter_num_interval",
        gone,
        f"{_share(gone, total)} dropped by {' and '.join(set_here)}: those of "
        f"{' and '.join([*parts, *shrunk])}.",
        asked=True,
    )


# --- Settings ---------------------------------------------------------------------------------


def _names(config: Any, key: str) -> bool:
    """Whether the user's own settings name a key."""
    return key in getattr(config, "external_config_dict", {})


def _names_file(config: Any, name: str) -> bool:
    """Whether load_col names the file .user or .item."""
    return name in (config["load_col"] or {})


def refuse_filters_of_parts(config: Any) -> None:
    """Refuse filters beside `benchmark_filename`.

    RecBole passes them over for files that were split beforehand.
    """
    if config["benchmark_filename"] is None:
        return
    for key in (
        "rm_dup_inter",
        "val_interval",
        "user_inter_num_interval",
        "item_inter_num_interval",
    ):
        if config[key] not in _EVERYTHING:
            raise ConfigError(
                f"{key}: {config[key]} filters nothing where the files are split beforehand "
                "(benchmark_filename): filter them "
                f"before they are split and leave {key} out."
            )
