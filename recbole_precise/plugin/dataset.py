"""RecBole's sequential dataset over flat arrays.

It has the same ids, rows and splits in a fraction of the time and memory.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType
from torch import Tensor

from recbole_precise.data import beforehand
from recbole_precise.data.fingerprint import tie_keys
from recbole_precise.data.holdout import hold_out
from recbole_precise.data.scenes import VIEWS, View, views_of
from recbole_precise.data.sequences import (
    RowColumns,
    RowFields,
    SequenceStore,
    ranges,
    train_windows,
)
from recbole_precise.data.splits import check_parts, split_rows
from recbole_precise.data.ties import log_order
from recbole_precise.errors import ConfigError, DataError, did_you_mean
from recbole_precise.plugin.atomic_dataset import AtomicDataset
from recbole_precise.plugin.data_settings import scene_view_of

logger = logging.getLogger("recbole_precise")

SUPERVISED_FIELD = "supervised_length"
#: Of windows that train some of their positions alone: which ones, bool `[rows,
#: MAX_ITEM_LIST_LENGTH]`.
TRAINED_FIELD = "trained_positions"
#: Asked for by `sequence_fields`: the times as read. RecBole's own are float32, steps of 128
#: seconds in a Unix time.
EXACT_TIME = "exact_time"


class Rows(Interaction):
    """An Interaction whose columns are computed from a SequenceStore when they are asked for."""

    def __init__(self, columns: RowColumns) -> None:
        self._take(columns)

    def _take(self, columns: RowColumns) -> None:
        self.interaction = columns
        self.length = columns.end.numel()

    def __getitem__(self, index):
        """Return a column by name, or the rows of an index as a plain Interaction."""
        return (
            self.interaction[index]
            if isinstance(index, str)
            else Interaction(self.interaction.take(index).dictionary())
        )

    def _reindex(self, index) -> None:
        self._take(self.interaction.take(index))

    def __deepcopy__(self, memo) -> Rows:
        return Rows(self.interaction.take(slice(None)))


class SequenceDataset(AtomicDataset):
    """RecBole's SequentialDataset, with each event stored once.

    Its rows are indices into the store.

    Validation and test rows are RecBole's, tensor for tensor. Training rows are RecBole's too
    (`train_rows: prefixes`), or windows that train all their positions at once (`train_rows:
    windows`). `store` holds the events of all users in order, `store.times` the times as read; that
    of a part from `build` holds the events that its view of the scenes sees.

    Raises DataError, ConfigError: for files and settings that cannot be used.
    """

    store: SequenceStore
    all_events: SequenceStore  # of every part: the events of all users in all scenes
    held_out: Tensor | None = None  # bool [items]: no training row has them (holdout_items)
    _trained_on: SequenceDataset | None = (
        None  # of an evaluated part: the training part, where items or users are held out of it
    )
    _views: dict[str, View] | None = (
        None  # of a part from `build`: the views of the scenes, which part it is, and what it sees
    )
    _part = 0
    _scene_view = "target"
    _given: beforehand.Beforehand | None = None  # the parts of rows that give their histories

    def _benchmark_presets(self) -> None:
        """Skip RecBole's preparation of rows with lists; `_lay_out_rows` replaces it."""

    # --- Sequences ----------------------------------------------------------------------------

    def data_augmentation(self) -> None:
        """Order the events and make one row of each target.

        Takes the place of RecBole's padded copies.
        """
        self._aug_presets()
        config = self.config
        read = self.inter_feat
        fields = {name: read[name] for name in read if name != self.uid_field}
        lists = self._list_fields()
        if EXACT_TIME in lists:
            fields[EXACT_TIME] = torch.from_numpy(np.ascontiguousarray(self.times))
        parts = self._part_of_events()
        self.store = SequenceStore.build(
            fields if parts is None else {**fields, beforehand.PART_FIELD: torch.from_numpy(parts)},
            read[self.uid_field],
            _rounded(read[self.time_field]) if config["time_order"] == "recbole" else self.times,
            tie_key=self._tie_key() if config["tie_break"] == "random" else None,
            times=self.times,
            marked=self.scenes.inside,
            then_by=parts,
        )
        self.all_events = self.store
        self.times = self.store.times
        log_order(
            self.store,
            self._order_times(self.store),
            self.iid_field,
            self.field2id_token[self.iid_field],
            self.item_rows,
            config["tie_break"] or "file",
        )
        self._row_fields = RowFields(
            self.uid_field,
            self.item_list_length_field,
            {f"{name}{config['LIST_SUFFIX']}": name for name in lists},
            SUPERVISED_FIELD,
        )
        self._visible = [
            *read,
            *(fields.keys() - set(read)),
            self._row_fields.length,
            *self._row_fields.lists,
        ]
        self.inter_feat = Rows(self._columns(self.store.targets()))

    def _tie_key(self) -> np.ndarray:
        """uint64 `[interactions]`: a random order of events with equal times, by their names."""
        seed = self.config["tie_seed"]
        return tie_keys(
            self.inter_feat[self.uid_field].numpy(),
            self.field2id_token[self.uid_field],
            self.inter_feat[self.iid_field].numpy(),
            self.field2id_token[self.iid_field],
            seed=2020 if seed is None else seed,
        )

    def _list_fields(self) -> list[str]:
        """Fields given to the model as lists."""
        asked = self.config["sequence_fields"]
        there = [name for name in self.inter_feat if name != self.uid_field]
        if self.row_lists:
            there = list(self.row_lists.values())
        if asked is None:
            asked = self.iid_field if trains_on_windows(self.config) else "all"
        if self.row_lists and asked is not None and EXACT_TIME in asked:
            self.raw_times()  # which says that there are none
        if asked == "all":
            asked = there
        asked = [asked] if isinstance(asked, str) else list(asked)
        for name in asked:
            if name not in (*there, EXACT_TIME):
                raise ConfigError(
                    f"sequence_fields: '{name}' is not a loaded field of .inter "
                    f"({', '.join(there)}), nor {EXACT_TIME}.{did_you_mean(name, there)}"
                )
        # The order of the file, as RecBole has it; a model without items would be none.
        return [
            name
            for name in dict.fromkeys([*there, EXACT_TIME])
            if name in asked or name == self.iid_field
        ]

    # --- Splitting ----------------------------------------------------------------------------

    def build(self) -> list[SequenceDataset]:
        """Split the data into parts for training, validation and testing.

        `eval_args` split them as in RecBole.

        Raises DataError when a part that the split asks for is empty.
        """
        if self.benchmark_filename_list is not None:
            return self._build_beforehand()
        settings = self.config["eval_args"]
        if settings["order"] != "TO":
            raise ConfigError(
                "eval_args: sequences are split in the order of time (order: TO), not "
                f"{settings['order']}."
            )
        self._change_feat_format()
        store = self.store
        index = None
        if store.marked is not None and self.scenes.target is not None:
            index = torch.nonzero(store.marked).squeeze(1)
            store = store.only(index)
        try:
            split = split_rows(
                store,
                self._order_times(store),
                self._rounded_times(store),
                settings["split"],
                settings["group_by"],
                self._calcu_split_ids,
            )
        except ValueError as error:
            raise DataError(f"{self.dataset_path}: {error}") from None
        check_parts(
            split.parts,
            settings["split"],
            store,
            self.dataset_path,
            self.scenes.target,
            universal=scene_view_of(self.config) == "universal",
        )
        self._drop_unused_col()
        self._visible = self.inter_feat.interaction.visible
        views = views_of(self.store, store, index, split, self._order_times(self.store))
        self._train_last = views["universal"].train_last
        training = views
        if self.known is not None:
            self.held_out = self._known_held_out()
        elif self.config["holdout_items"] or self.config["holdout_users"]:
            self.held_out, training = hold_out(self, views)
        parts: list[SequenceDataset] = []
        for number in range(3):
            part = self.copy(self.inter_feat)
            part._views = views if number else training
            part._part = number
            part._trained_on = parts[0] if number and training is not views else None
            parts.append(
                part.view(
                    scene_view_of(self.config) or "target",
                    "windows" if _wants_windows(self.config) else "prefixes",
                )
            )
        if self.scenes.counts:
            logger.info(
                "Scenes: %s; target scene: %s, seen in the view: %s.",
                self.scenes.in_words(),
                self.scenes.target,
                scene_view_of(self.config),
            )
        return parts

    def _known_held_out(self) -> Tensor | None:
        held_out = None if self.known is None else self.known.held_out
        return None if held_out is None else torch.from_numpy(np.array(held_out))

    def prepare_histories(self) -> None:
        """Put all events in order without splitting them, to ask what comes next."""
        self._change_feat_format()
        self.held_out = self._known_held_out()

    def next_rows(self, users: np.ndarray | None = None) -> SequenceDataset:
        """Return a part with one row for each user: the whole history, and the event that is next.

        It is made as the parts of `build` are, so that a model reads of a user what it reads of a
        test row with the same history. The next event itself is empty, at the time of the last.

        Args:
            users: int64 ids of users with events in the view of the scenes; default: all of them.
        """
        view = scene_view_of(self.config) or "target"
        store = self.all_events
        if view == "target" and self.scenes.target is not None and store.marked is not None:
            store = store.only(torch.nonzero(store.marked).squeeze(1))
        store, ends = store.with_next_events()
        if users is not None:
            place = np.searchsorted(store.user_ids.numpy(), users)
            ends = ends[torch.from_numpy(place)]
        part = self.copy(self.inter_feat)
        part.store = store
        part.times = store.times
        part._views = None
        part.inter_feat = Rows(part._columns(ends))
        return part

    def latest_histories(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return what a model reads of each user who is asked about now, oldest event first.

        Returns:
            int64 `(items [events], offsets [users + 1])` with a row for every internal user id, and
            the time of each user's last event `[users]`, 0 for those without events; None for data
            without times.
        """
        part = self.next_rows()
        rows = part.inter_feat.interaction
        length = rows.lengths()
        event = ranges(rows.end - length, length)[1]
        users = part.store.user_ids
        sizes = torch.zeros(self.user_num, dtype=torch.int64)
        sizes[users] = length
        last = None
        if part.times is not None:
            last = np.zeros(self.user_num, dtype=part.times.dtype)
            last[users.numpy()] = part.times[rows.end.numpy()]
        offsets = np.concatenate([[0], np.cumsum(sizes.numpy())])
        return part.store.fields[self.iid_field][event].numpy(), offsets, last

    def as_trained(self) -> SequenceDataset:
        """Return this data set as a model of the run is built from it: no users but the run's."""
        if self.known is None:
            return self
        part = self.copy(self.inter_feat)
        names = {self.uid_field: self.known.users}
        part.field2id_token = {**self.field2id_token, **names}
        return part

    def _change_feat_format(self) -> None:
        """Tables to tensors, and events to sequences."""
        if not self.row_lists:
            Dataset._change_feat_format(self)
            self.data_augmentation()
            return
        lists = beforehand.take_lists(self.inter_feat, self.row_lists, self._place_of_row)
        Dataset._change_feat_format(self)
        self._lay_out_rows(lists)

    def _lay_out_rows(self, lists: beforehand.Lists) -> None:
        """Rows whose histories the files give, one sequence each.

        `store` holds the longest known of each user.
        """
        self._aug_presets()
        read = self.inter_feat
        part: Any = self._part_of_events()  # there are parts where rows give their histories
        user = read[self.uid_field]
        targets = {name: read[name] for name in read if name != self.uid_field}
        named = {f"{name}{self.config['LIST_SUFFIX']}": name for name in self._list_fields()}
        self._row_fields = RowFields(
            self.uid_field, self.item_list_length_field, named, SUPERVISED_FIELD
        )
        self._visible = [*read, self._row_fields.length, *named]
        self._given = beforehand.split_rows_given(
            lists, part, user, self.iid_field, targets, self.max_item_list_len
        )
        self.store = beforehand.row_store(lists, beforehand.latest_rows(part, user), user, targets)
        self.all_events = self.store
        every = beforehand.row_store(lists, np.arange(len(part)), user, targets)
        self.inter_feat = Rows(
            RowColumns(
                every,
                every.offsets[1:] - 1,
                self._row_fields,
                self.max_item_list_len,
                visible=self._visible,
            )
        )

    def _build_beforehand(self) -> list[SequenceDataset]:
        """Return the parts of files that were split beforehand."""
        self._change_feat_format()
        given = self._given or beforehand.split_events(self.store, self._order_times)
        beforehand.check_parts(
            given,
            dict(
                zip(beforehand.part_numbers(self.benchmark_filename_list), self.files.parts_files)
            ),
        )
        self._drop_unused_col()
        self._visible = self.inter_feat.interaction.visible
        self._train_last = self.store.offsets[1:] - 1
        parts: list[SequenceDataset] = []
        for number, view in enumerate(given.views):
            part = self.copy(self.inter_feat)
            part._views = dict.fromkeys(VIEWS, view)
            part._part = number
            part._trained_on = parts[0] if number else None
            parts.append(
                part.view("target", "windows" if _wants_windows(self.config) else "prefixes")
            )
        return parts

    def view(self, scene_view: str | None = None, train_rows: str | None = None) -> SequenceDataset:
        """Return this part under a view of the scenes, with training rows of a kind.

        The part is one of training, validation or testing.

        What is evaluated is the same in all views. All views share events, token states and feature
        tables. Without a target scene all views are one.

        Args:
            scene_view: universal, target or context; default: as this one. train_rows: windows or
                prefixes; default: as this one; it concerns the training part alone.

        Windows in the view context hold events of all scenes and train the target scene's alone
        (`TRAINED_FIELD`).

        Raises ValueError for other names and for a data set that `build` did not give; DataError
        when there is nothing to train on.
        """
        if self._views is None:
            raise ValueError("only the parts that build() gives have views")
        if scene_view not in (None, *self._views) or train_rows not in (
            None,
            "windows",
            "prefixes",
        ):
            raise ValueError(
                f"a view is one of {', '.join(VIEWS)}, with windows or prefixes, not "
                f"{scene_view!r} and {train_rows!r}"
            )
        part = self.copy(self.inter_feat)
        part._scene_view = scene_view or self._scene_view
        seen = self._views[part._scene_view]
        part._trained_on = (
            None if self._trained_on is None else self._trained_on.view(scene_view, "prefixes")
        )
        part.store = seen.store
        part.times = seen.store.times
        part._train_last = seen.train_last
        targets = seen.targets(self._part)
        if not self._part and not len(targets):
            raise DataError(
                f"{self.dataset_path}: {self._what_narrows()} leaves no row for training: no "
                "user has two events to train on."
            )
        windows = self._windows if train_rows is None else train_rows == "windows"
        if (
            windows
            and not self._part
            and part._scene_view == "context"
            and self.scenes.target is not None
        ):
            before = torch.zeros(len(part.store), dtype=torch.bool)
            before[targets - 1] = True
            part.store = part.store.with_field(TRAINED_FIELD, before)
        part.inter_feat = Rows(
            part._window_columns() if windows and not self._part else part._columns(targets)
        )
        return part

    def _order_times(self, store: SequenceStore) -> Any:
        """`[events]`: the times by which the events of a store are ordered; None without times."""
        return self._rounded_times(store) if self.config["time_order"] == "recbole" else store.times

    def _rounded_times(self, store: SequenceStore) -> np.ndarray:
        return _rounded(store.fields[self.time_field])

    def _what_narrows(self) -> str:
        """Say in words what leaves fewer training rows than the split."""
        causes = (
            [f"the target scene '{self.scenes.target}'"] if self.scenes.target is not None else []
        )
        return " with ".join(
            [
                *causes,
                *(
                    f"{key}: {self.config[key]}"
                    for key in ("holdout_items", "holdout_users")
                    if self.config[key]
                ),
            ]
        )

    def _columns(self, end: Tensor, stride: int | None = None) -> RowColumns:
        """Rows with the targets `end`, with the fields that `unused_col` left."""
        if stride is None:
            return RowColumns(
                self.store, end, self._row_fields, self.max_item_list_len, visible=self._visible
            )
        names = self._row_fields
        added = {SUPERVISED_FIELD}
        if TRAINED_FIELD in self.store.fields:
            names = replace(
                names, trained=TRAINED_FIELD, lists={**names.lists, TRAINED_FIELD: TRAINED_FIELD}
            )
            added.add(TRAINED_FIELD)
        columns = RowColumns(self.store, end, names, self.max_item_list_len, stride)
        columns.visible = [
            name
            for name in dict.fromkeys(columns.visible)
            if name in self._visible or name in added
        ]
        return columns

    def _window_columns(self, shift: int = 0) -> RowColumns:
        stride = self.config["window_stride"]
        longest = self.max_item_list_len
        if stride is not None and not 1 <= stride <= longest:
            raise ConfigError(
                f"window_stride must lie between 1 and MAX_ITEM_LIST_LENGTH ({longest}), not "
                f"{stride}."
            )
        stride = stride or longest
        end, _, supervised = train_windows(
            self.store.offsets[:-1], self._train_last, longest, stride, shift
        )
        if TRAINED_FIELD in self.store.fields:
            trained = torch.cat([end.new_zeros(1), self.store.fields[TRAINED_FIELD].cumsum(0)])
            some = trained[end] > trained[end - supervised]
            end = end[some]
            supervised = supervised[some]
        columns = self._columns(end, stride)
        columns[SUPERVISED_FIELD] = supervised
        return columns

    def shift_windows(self, generator: torch.Generator | None) -> bool:
        """Draw again where the training windows begin, if `window_shift` asks for it.

        Whether it did.
        """
        if not self.config["window_shift"] or not self._windows:
            return False
        shift = torch.randint(self.inter_feat.interaction.stride, (1,), generator=generator)
        self.inter_feat = Rows(self._window_columns(int(shift)))
        return True

    # --- What models and the evaluation ask for -----------------------------------------------

    def __getitem__(self, index, join: bool = True) -> Interaction:
        """Return the rows of an index.

        Features of user and target item are joined as in RecBole, but not to windows.
        """
        rows = super().__getitem__(index, join and not self._windows)
        if self.known is not None and isinstance(rows, Interaction):
            # A model has no row for a user who came after its training: to it that is nobody.
            user = rows[self.uid_field]
            rows[self.uid_field] = user.masked_fill(user >= len(self.known.users), 0)
        return rows

    @property
    def _windows(self) -> bool:
        return isinstance(self.inter_feat, Rows) and self.inter_feat.interaction.stride is not None

    def raw_times(self) -> Any:
        """int64 or float64 `[events]`: times of the events of `store` as they are in the file.

        Raises DataError for rows that were given with their histories, whose events have none.
        """
        if self.row_lists:
            raise DataError(
                f"{self.dataset_path}: {self.config['model']} reads the times of all events, "
                f"which rows with {next(iter(self.row_lists))} lack."
            )
        return self.store.times

    def train_sequences(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return each user's training events.

        They are everything up to the last training target, no validation or test target among them.

        Returns:
            int64 `(items [n], offsets [users + 1], user_ids [users])` of the users who have any.
        """
        if self.known is not None and self.known.sequences is not None:
            return self.known.sequences
        if self._trained_on is not None:
            return self._trained_on.train_sequences()
        first = self.store.offsets[:-1]
        length = torch.where(self._train_last > first, self._train_last - first + 1, 0)
        users = torch.nonzero(length).squeeze(1)
        event = ranges(first[users], length[users])[1]
        return (
            self.store.fields[self.iid_field][event],
            torch.cat([length.new_zeros(1), length[users].cumsum(0)]),
            self.store.user_ids[users],
        )

    def train_item_counts(self) -> Tensor:
        """int64 `[items]`: how often each item occurs in `train_sequences`."""
        return torch.bincount(self.train_sequences()[0], minlength=self.item_num)

    def trained_items(self) -> Tensor:
        """Bool `[items]`: those with a training event in any view of the scenes."""
        if self.known is not None and self.known.trained is not None:
            return torch.from_numpy(np.array(self.known.trained))
        return (self if self._views is None else self.view("universal")).train_item_counts() > 0

    def history(self, rows: slice | Sequence[int] | np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
        """All earlier events of each row's user in all scenes, not cut at MAX_ITEM_LIST_LENGTH.

        Returns: int64 `(row [n], item [n])`; `row` counts the rows asked for.
        """
        end = self.inter_feat.interaction.end[
            torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows
        ]
        if self._views is None:
            return self.store.history(end, self.iid_field)
        return self._views[self._scene_view].history(end, self.iid_field)

    def history_lengths(self) -> Tensor:
        """Return how many earlier events each row's user has: int64 `[rows]`.

        Events of all scenes count, not cut at any length.
        """
        end = self.inter_feat.interaction.end
        store = self.store
        if self._views is not None:
            view = self._views[self._scene_view]
            end = end if view.index is None else view.index[end]
            store = view.everything
        return end - store.first_of(end)

    # --- RecBole's statistics, in which every target counts, also when a row trains many ------

    def targets_alone(self) -> SequenceDataset:
        """Return a copy with one of RecBole's rows for each target.

        That is so also where a row trains many.
        """
        return self.copy(Rows(self._columns(self.inter_feat.interaction.targets())))

    def _one_row_per_target(self) -> SequenceDataset:
        return self.targets_alone() if self._windows else self

    @property
    def inter_num(self) -> int:
        """Number of interactions; of targets after `build`."""
        return len(self._one_row_per_target())

    @property
    def avg_actions_of_users(self) -> float:
        """Mean number of interactions (targets) of the users who have any."""
        return SequentialDataset.avg_actions_of_users.fget(self._one_row_per_target())

    @property
    def avg_actions_of_items(self) -> float:
        """Mean number of interactions (targets) of the items that have any."""
        return SequentialDataset.avg_actions_of_items.fget(self._one_row_per_target())

    def counter(self, field: str) -> Counter:
        """How often each value of a token field occurs."""
        rows = self._one_row_per_target()
        if (
            not isinstance(rows.inter_feat, Rows)
            or field not in rows.inter_feat
            or self.field2type[field] != FeatureType.TOKEN
        ):
            return SequentialDataset.counter(rows, field)
        values, counts = np.unique(rows.inter_feat[field].numpy(), return_counts=True)
        return Counter(dict(zip(values.tolist(), counts.tolist())))

    def inter_matrix(self, form: str = "coo", value_field: str | None = None):
        """Return a sparse matrix `[users, items]` of the targets.

        As in RecBole, it also has first events whose second is a target.
        """
        if not isinstance(self.inter_feat, Rows):
            return Dataset.inter_matrix(self, form, value_field)
        columns = self._one_row_per_target().inter_feat.interaction
        targets = columns.end
        store = columns.store
        second = targets[store.first_of(targets) + 1 == targets]
        event = torch.cat([targets, second - 1])
        if value_field is not None and value_field not in store.fields:
            raise ValueError(f"Value_field [{value_field}] should be one of `df_feat`'s features.")
        values = {
            name: store.fields[name][event] for name in {self.iid_field, value_field} - {None}
        }
        values[self.uid_field] = store.users_of(event)
        return self._create_sparse_matrix(
            Interaction(values), self.uid_field, self.iid_field, form, value_field
        )

    def _history_matrix(
        self, row: str, value_field: str | None = None, max_history_len: int | None = None
    ):
        return SequentialDataset._history_matrix(
            self._one_row_per_target(), row, value_field, max_history_len
        )


def _rounded(times: Tensor) -> np.ndarray:
    """RecBole's float32 times `[events]`.

    It stores those of a numerical feature beside a weight.
    """
    return (times if times.dim() == 1 else times[..., 0]).numpy()


def trains_on_windows(config) -> bool:
    """Whether the model of a run trains on windows of sequences."""
    return bool(getattr(config.model_class, "trains_on_windows", False))


def _wants_windows(config) -> bool:
    chosen = config["train_rows"]
    if chosen not in (None, "windows", "prefixes"):
        raise ConfigError(f"train_rows is 'windows' or 'prefixes', not {chosen!r}.")
    return trains_on_windows(config) if chosen is None else chosen == "windows"
