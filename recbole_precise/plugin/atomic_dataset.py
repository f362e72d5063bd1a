"""RecBole's sequential dataset over our reader of atomic files and of item texts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from recbole.data.dataset import SequentialDataset
from recbole.utils import FeatureType

from recbole_precise.data.fingerprint import events_digest
from recbole_precise.data.item_text import ItemTexts
from recbole_precise.data.loading import AtomicFiles, ids_behind, rows_by_count, rows_of_known
from recbole_precise.data.scenes import Scenes
from recbole_precise.data.tokens import codes_of, number_together
from recbole_precise.errors import DataError, UserError
from recbole_precise.plugin.data_settings import file_settings, text_settings
from recbole_precise.text.states import TokenStates

if TYPE_CHECKING:
    from recbole_precise.runs.vocabulary import Vocabulary

_EVERY_NUMBER = [("[", 0.0, float("inf"), ")")]


class AtomicDataset(SequentialDataset):
    """Reads, filters and numbers atomic files: RecBole's values and ids, in less time and memory.

    Attributes:
        files: reads the atomic files; all parts of a split share it.
        texts: gives the items' texts; all parts of a split share it.
        known: of data that a finished run is asked about: the run's own names, texts and training
            events; else None.
        times: int64 or float64 `[interactions]`, the times as read, after filtering and before
            RecBole's normalisation.
        scenes: which interactions are in which scene, likewise by the values as read.
        digest: of the events as read.
        events_read: their number.
        left_out: events on items that the finished run does not know.
        new_items: names that the run does not know.
        item_rows: names of the items in the order of .item; None where that file was not read.

    Raises:
        DataError, ConfigError: for files and settings that cannot be used.
    """

    inter_feat: Any
    user_feat: Any
    item_feat: Any
    times: Any
    scenes: Scenes
    digest: str
    events_read: int
    left_out = 0
    new_items: Sequence[str] = ()
    item_rows: Any = None

    def __init__(
        self, config, known: Vocabulary | None = None, whole_histories: bool = False
    ) -> None:
        """Read the files that the settings name.

        Args:
            known: the vocabulary of a finished run. Its names keep their ids, what a model derives
                from training comes from it, and events on items that it does not know are left out.
            whole_histories: with `known`, keep every event on a known item, whatever the filters by
                number of interactions or by rows of .user and .item say: they chose the vocabulary.
        """
        self.known = known
        self.whole_histories = whole_histories and known is not None
        self.files = AtomicFiles(file_settings(config))
        self.texts = ItemTexts(text_settings(config), None if known is None else known.texts)
        self._found: dict[str, set[str]] = {}
        try:
            super().__init__(config)
        except UserError:
            raise
        except ValueError as error:  # what RecBole itself refuses
            raise DataError(f"{config['data_path']}: {error}") from error

    @property
    def row_lists(self) -> dict[str, str]:
        """List column -> column of the target, of rows that give their histories; else empty."""
        return self.files.row_lists

    def _from_scratch(self) -> None:
        with warnings.catch_warnings():
            # RecBole's pandas idioms that are to change; `patches` sees to it that they do what is
            # meant.
            warnings.simplefilter("ignore", FutureWarning)
            super()._from_scratch()

    # --- Texts --------------------------------------------------------------------------------

    @property
    def _item_names(self) -> Sequence[str]:
        return self.field2id_token[self.iid_field]

    def item_records(self) -> list[dict[str, str]]:
        """Each item's columns as text, by item id; see `ItemTexts.records`."""
        return self.texts.records(self._item_names)

    def item_texts(self, report: bool = False) -> list[str]:
        """Each item's text by item id; see `ItemTexts.texts`."""
        return self.texts.texts(self._item_names, report)

    def token_states(self, below: int | None = None) -> TokenStates:
        """Return encoded item texts by item id; see `ItemTexts.states`."""
        return self.texts.states(self._item_names, below)

    # --- Reading ------------------------------------------------------------------------------

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        if self.benchmark_filename_list is not None:
            self.files.check_parts(*self._get_load_and_unload_col("inter"))
            self.scenes = Scenes({}, None, None)
        super()._load_inter_feat(token, dataset_path)

    def _get_load_and_unload_col(self, source) -> tuple[set[str] | None, set[str] | None]:
        load, unload = super()._get_load_and_unload_col(source)
        if load and self.row_lists and getattr(source, "value", source) == "inter":
            load = self.files.columns_with_lists(load)
        return load, unload

    def _set_alias(self, alias_name: str, default_value: list) -> None:
        # The items of a list are numbered with those of the targets, whether or not
        # alias_of_item_id says so.
        lists = list(self.row_lists)[:1] if alias_name == "item_id" else []
        super()._set_alias(alias_name, [*default_value, *lists])

    def _part_of_events(self) -> np.ndarray | None:
        """int64 `[events of .inter]`: the part of the file that each was read from.

        None without `benchmark_filename`.
        """
        if self.benchmark_filename_list is None:
            return None
        return self.files.part_of_events(self.file_size_list)

    def _place_of_row(self, row: int) -> str:
        """File and line of a row of .inter, in words."""
        return self.files.place_of_row(row, self.file_size_list)

    def _load_feat(self, filepath, source) -> pd.DataFrame | None:
        load, unload = self._get_load_and_unload_col(source)
        if load == set():
            return None
        read_by_recbole = super()._load_feat
        table = self.files.open(Path(filepath), getattr(source, "value", source), load, unload)
        if not table.wanted:
            return read_by_recbole(filepath, source)  # which logs that nothing is loaded
        frame = None
        if table.needs_recbole:
            frame = table.read_by(lambda: read_by_recbole(str(filepath), source))
        if frame is None:
            frame = table.read()
            self._describe(frame, table.types, source)
        table.check(frame)
        if table.kind == "item":
            self.item_rows = frame[self.iid_field].to_numpy()
        return frame

    def _describe(self, frame: pd.DataFrame, types: dict[str, str], source) -> None:
        """Register the columns with RecBole, as its own reader does."""
        for name in frame:
            kind = types[name]
            longest = max(map(len, frame[name])) if kind.endswith("_seq") else 1
            self.set_field_property(name, FeatureType(kind), source, longest)
            if kind.startswith("float"):
                self.field2bucketnum[name] = 2

    # --- Names that a finished run knows ------------------------------------------------------

    def _data_processing(self) -> None:
        # The digest is of the events as read, before anything is filtered.
        user, users = codes_of(self.inter_feat[self.uid_field])
        item, items = codes_of(self.inter_feat[self.iid_field])
        whole = (user >= 0) & (item >= 0)
        times = None
        if self.time_field in self.inter_feat:
            times = self.inter_feat[self.time_field].to_numpy()[whole]
        self.digest = events_digest(user[whole], users, item[whole], items, times)
        self.events_read = len(self.inter_feat)
        super()._data_processing()

    def _data_filtering(self) -> None:
        super()._data_filtering()
        if self.known is not None:
            self._leave_out_unknown_items(set(self.known.items[1:].tolist()))

    def _filter_inter_by_user_or_item(self) -> None:
        if not self.whole_histories:
            super()._filter_inter_by_user_or_item()

    def found_names(self, field: str) -> set[str]:
        """Return the names of a token field that are in the files, after filtering."""
        return self._found.get(field, set())

    def _leave_out_unknown_items(self, known: set[str]) -> None:
        """Drop the events on items that the run has no row for, and count them."""
        kept, new = rows_of_known(self.inter_feat[self.iid_field], known)
        self.left_out = int((~kept).sum())
        if not kept.any():
            raise DataError(
                f"{self.files.inter_file}: none of its items is one that the run knows "
                f"({', '.join(sorted(known)[:3])}, ...): the run belongs to another data set."
            )
        if self.left_out:
            self.inter_feat = self.inter_feat[kept].reset_index(drop=True)
            self._find_scenes()
        if self.item_feat is not None:
            kept, more = rows_of_known(self.item_feat[self.iid_field], known)
            new += more
            self.item_feat = self.item_feat[kept].reset_index(drop=True)
        self.new_items = tuple(dict.fromkeys(new))

    def _find_scenes(self) -> None:
        files = self.files
        self.scenes = Scenes.of(files.settings.scenes, self.inter_feat, files.inter_file)

    # --- Filtering and ids --------------------------------------------------------------------

    def _remove_duplication(self) -> None:
        if self.config["rm_dup_inter"] is not None:
            # RecBole's sort is not stable, so it must see the type that RecBole sees.
            self.inter_feat[self.time_field] = self.inter_feat[self.time_field].astype(np.float64)
        super()._remove_duplication()

    def _filter_by_inter_num(self) -> None:
        if self.whole_histories:
            return
        intervals = [
            self._parse_intervals_str(self.config[f"{side}_inter_num_interval"])
            for side in ("user", "item")
        ]
        if all(not interval or interval == _EVERY_NUMBER for interval in intervals):
            return

        def allow(interval: Any) -> Any:
            if interval:
                return lambda number: self._within_intervals(number, interval)
            return lambda number: np.ones(len(number), dtype=bool)

        feats = {"user_feat": self.uid_field, "item_feat": self.iid_field}
        described = [
            None if getattr(self, name) is None else getattr(self, name)[field]
            for name, field in feats.items()
        ]
        kept, *feats_kept = rows_by_count(
            self.inter_feat[self.uid_field],
            self.inter_feat[self.iid_field],
            described,
            [allow(interval) for interval in intervals],
            [interval[0][1] if interval else -1 for interval in intervals],
        )
        self.inter_feat = self.inter_feat[kept].reset_index(drop=True)
        for name, mask in zip(feats, feats_kept):
            if mask is not None:
                setattr(self, name, getattr(self, name)[mask].reset_index(drop=True))

    def _reset_index(self) -> None:
        for name in self.feat_name_list:
            if getattr(self, name).empty:
                raise DataError(
                    f"{self.dataset_path}: no row of .{name.removesuffix('_feat')} is left after "
                    "filtering; "
                    "look at val_interval, user_inter_num_interval, item_inter_num_interval and "
                    "filter_inter_by_user_or_item."
                )
        super()._reset_index()
        # Before missing numbers become means, tokens become ids and numbers are rounded.
        self._find_scenes()

    def _remap(self, remap_list) -> None:
        """Assign numbers to tokens as RecBole does, without one Python string for each cell."""
        if not remap_list:
            return
        columns = []
        lengths = []
        for feat, name, kind in remap_list:
            cells = feat[name]
            is_list = kind.value == "token_seq"
            lengths.append([len(cell) for cell in cells] if is_list else None)
            if is_list:
                cells = np.concatenate([np.asarray(cell, dtype=object) for cell in cells])
            columns.append(cells)
        ids, tokens = number_together(columns)
        fields = [name for _, name, _ in remap_list]
        self._found = {**self._found, **{name: set(map(str, tokens)) for name in fields}}
        own = self._own_names(fields)
        names = np.array(["[PAD]", *tokens])
        if own is not None:
            ids, names = ids_behind(own, ids, tokens)
        numbers = {str(token): number for number, token in enumerate(names)}
        for (feat, name, _), values, sizes in zip(remap_list, ids, lengths):
            self.field2id_token.setdefault(name, names)
            self.field2token_id.setdefault(name, numbers)
            feat[name] = values if sizes is None else np.split(values, np.cumsum(sizes)[:-1])

    def _own_names(self, fields: Sequence[str]) -> np.ndarray | None:
        """Return the finished run's names of users or items that `fields` hold; None without."""
        if self.known is None:
            return None
        if self.iid_field in fields:
            return self.known.items
        return self.known.users if self.uid_field in fields else None

    def _normalize(self) -> None:
        if self.time_field not in self.inter_feat:
            self.times = None
            super()._normalize()
            return
        times = self.inter_feat[self.time_field].to_numpy()
        self.times = times.copy()
        self.inter_feat[self.time_field] = times.astype(np.float64)
        super()._normalize()
