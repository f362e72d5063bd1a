"""How RecBole's Dataset reads, filters and numbers atomic files here: same values and ids, less
time and memory.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pandas as pd

from recbole_precise.data.beforehand import part_numbers
from recbole_precise.data.fingerprint import events_digest
from recbole_precise.data.reading import read_columns
from recbole_precise.data.scan import (
    ascii_compatible,
    check_id_columns,
    lines_with,
    not_numbers,
    read_header,
    scan,
)
from recbole_precise.data.scenes import Scenes, check_columns
from recbole_precise.data.tokens import codes_of, keep_by_count, number_together
from recbole_precise.errors import DataError, did_you_mean


class AtomicFiles:
    """Mixed into RecBole's Dataset: overrides its methods of the same names.

    Attributes:
        times: int64 or float64 `[interactions]`, the times as read, after filtering and before
            RecBole's normalisation.
        scenes: which interactions are in which scene, likewise by the values as read.
        row_lists: of files split beforehand whose rows give their histories: list column -> column
            of the target; else empty.
        item_rows: names of the items in the order of .item; None where that file was not read.
    """

    times: np.ndarray
    scenes: Scenes
    digest: str  # of the events as read
    events_read: int
    left_out = 0  # events on items that the finished run does not know
    new_items: Sequence[str] = ()  # names that the run does not know
    _found: Mapping[str, set[str]] = MappingProxyType({})
    row_lists: ClassVar[dict[str, str]] = {}
    item_rows: np.ndarray | None = None

    def _from_scratch(self) -> None:
        with warnings.catch_warnings():
            # RecBole's pandas idioms that are to change; `compat` sees to it that they do what is
            # meant.
            warnings.simplefilter("ignore", FutureWarning)
            super()._from_scratch()

    # --- Files split beforehand ---------------------------------------------------------------

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        if self.benchmark_filename_list is None:
            super()._load_inter_feat(token, dataset_path)
            return
        part_numbers(self.benchmark_filename_list)
        missing = [path for path in self._parts_files if not path.is_file()]
        if missing:
            raise DataError(
                f"{missing[0]}: there is no such file, but benchmark_filename names it "
                f"({', '.join(map(str, self.benchmark_filename_list))})."
            )
        self._check_same_columns()
        self.row_lists = self._find_row_lists()
        self.scenes = Scenes({}, None, None)
        super()._load_inter_feat(token, dataset_path)

    @property
    def _parts_files(self) -> list[Path]:
        return [
            Path(self.dataset_path, f"{self.dataset_name}.{part}.inter")
            for part in self.benchmark_filename_list
        ]

    def _check_same_columns(self) -> None:
        """Refuse files split beforehand that differ in the columns that are read."""
        separator, encoding = self.config["field_separator"], self.config["encoding"] or "utf-8"
        load, unload = self._get_load_and_unload_col("inter")
        headers = [
            {
                name: kind
                for name, kind in read_header(path, separator, encoding)
                if (load is None or name in load) and name not in (unload or ())
            }
            for path in self._parts_files
        ]
        for path, header in zip(self._parts_files, headers):
            if header != headers[0]:
                shown = [
                    ", ".join(f"{name}:{kind}" for name, kind in columns.items())
                    for columns in (header, headers[0])
                ]
                raise DataError(
                    f"{path}, line 1: has the columns {shown[0]}, but "
                    f"{self._parts_files[0].name} has {shown[1]}; files split beforehand need "
                    "the same."
                )

    def _find_row_lists(self) -> dict[str, str]:
        """`row_lists`, from the header of the first file.

        DataError for lists that cannot be read.
        """
        path, suffix = self._parts_files[0], self.config["LIST_SUFFIX"]
        types = dict(
            read_header(path, self.config["field_separator"], self.config["encoding"] or "utf-8")
        )
        items = f"{self.iid_field}{suffix}"
        if items not in types:
            return {}
        load = (self.config["load_col"] or {}).get("inter") if self._names_columns() else None
        lists = {items: self.iid_field}
        for name, kind in types.items():
            single = name.removesuffix(suffix)
            if (
                name == items
                or single == name
                or single not in types
                or (isinstance(load, (list, tuple)) and name not in load)
            ):
                continue
            if kind != "float_seq":
                raise DataError(
                    f"{path}, line 1: of the lists of a row, '{items}' and those of numbers are "
                    f"read, but '{name}' has the type {kind}; leave it out of load_col."
                )
            lists[name] = single
        if types[items] != "token_seq":
            raise DataError(
                f"{path}, line 1: '{items}' holds the history of a row and must have the type "
                f"token_seq, not {types[items]}."
            )
        return lists

    def _names_columns(self) -> bool:
        """Whether the user's settings say which columns are read."""
        return "load_col" in getattr(self.config, "external_config_dict", {})

    def _get_load_and_unload_col(self, source) -> tuple[set[str] | None, set[str] | None]:
        """RecBole's, with the list of items.

        Of rows that give their histories it needs no time, unless that is asked for.
        """
        load, unload = super()._get_load_and_unload_col(source)
        if load and self.row_lists and getattr(source, "value", source) == "inter":
            load = load | {f"{self.iid_field}{self.config['LIST_SUFFIX']}"}
            if not self._names_columns():
                load = load - {self.time_field}
        return load, unload

    def _set_alias(self, alias_name: str, default_value: list) -> None:
        """The items of a list are numbered with those of the targets, whether or not
        alias_of_item_id says so.
        """
        lists = list(self.row_lists)[:1] if alias_name == "item_id" else []
        super()._set_alias(alias_name, [*default_value, *lists])

    def _part_of_events(self) -> np.ndarray | None:
        """int64 `[events of .inter]`: the part of the file that each was read from.

        None without `benchmark_filename`.
        """
        if self.benchmark_filename_list is None:
            return None
        return np.repeat(part_numbers(self.benchmark_filename_list), self.file_size_list)

    def _place_of_row(self, row: int) -> str:
        """File and line of a row of .inter, in words."""
        begin = 0
        for path, size in zip(self._parts_files, self.file_size_list):
            if row < begin + size:
                return f"{path}, line {row - begin + 2}"
            begin += size
        return str(self._inter_file)

    # --- Reading ------------------------------------------------------------------------------

    def _load_feat(self, filepath, source) -> pd.DataFrame | None:
        path, config = Path(filepath), self.config
        name = getattr(source, "value", source)
        load, unload = self._get_load_and_unload_col(source)
        if load == set():
            return None
        separator, encoding = config["field_separator"], config["encoding"] or "utf-8"
        header = read_header(path, separator, encoding)
        types = dict(header)
        wanted = [
            column
            for column in types
            if (load is None or column in load) and column not in (unload or ())
        ]
        if name == "inter":
            check_columns(config, path, types, wanted)
        for column in sorted(load or ()):
            if column not in types:
                raise DataError(
                    f"{path}: load_col names the column '{column}' for .{name}, but the file has "
                    f"{', '.join(types)}.{did_you_mean(column, types)}"
                )
        self._check_columns(path, name, types, wanted)
        if not wanted:
            return super()._load_feat(filepath, source)  # which logs that nothing is loaded
        found = (
            scan(path, separator, len(header))
            if len(separator) == 1 and ascii_compatible(encoding)
            else None
        )
        if found is not None and found.rows < 1:
            raise DataError(f"{path}: the file holds no rows, only a header.")
        frame = None
        if found is None or found.quotes:
            frame = self._read_like_recbole(path, source, plain=found is not None)
        if frame is None:
            options = {
                "separator": separator,
                "encoding": encoding,
                "seq_separator": config["seq_separator"],
                "seq_len": config["seq_len"],
            }
            options["times"] = (
                [self.time_field] if name == "inter" and self.time_field in wanted else []
            )
            if not found.quotes:
                options["rows"] = found.rows
            frame = read_columns(
                path,
                header,
                wanted,
                quoting=csv.QUOTE_NONE if found.quotes else csv.QUOTE_MINIMAL,
                **options,
            )
            self._describe(frame, types, source)
        self._check_rows(
            path, name, frame, {column: place for place, (column, _) in enumerate(header)}
        )
        if name == "item":
            self.item_rows = frame[self.iid_field].to_numpy()
        return frame

    def _check_columns(
        self, path: Path, name: str, types: dict[str, str], wanted: list[str]
    ) -> None:
        """The columns that a sequential data set cannot do without."""
        needed = {
            "inter": [
                self.uid_field,
                self.iid_field,
                *([] if self.row_lists else [self.time_field]),
            ],
            "user": [self.uid_field],
            "item": [self.iid_field],
        }
        check_id_columns(path, types, (self.uid_field, self.iid_field))
        for column in needed.get(name, []):
            if column not in wanted:
                reason = (
                    f"load_col leaves it out: add it under '{name}'"
                    if column in types
                    else f"the file has {', '.join(types)}"
                )
                raise DataError(
                    f"{path}: the column '{column}' is needed, but "
                    f"{reason}.{'' if column in types else did_you_mean(column or '', types)}"
                )
        if name == "inter" and types.get(self.time_field, "float") != "float":
            raise DataError(
                f"{path}, line 1: the times in '{self.time_field}' must have the type float, not "
                f"{types[self.time_field]}, to be put in order."
            )

    def _read_like_recbole(self, path: Path, source, plain: bool) -> pd.DataFrame | None:
        """RecBole's reading of a file with quote marks.

        None when it fails on them and they can be read as characters.
        """
        try:
            return super()._load_feat(str(path), source)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: is not text in {self.config['encoding'] or 'utf-8'} (byte {error.start})."
            ) from None
        except (ValueError, csv.Error) as error:
            if plain:
                self.logger.warning(
                    f"{path}: RecBole cannot read its quote marks ({error}); they are read as "
                    "ordinary characters."
                )
                return None
            raise DataError(f"{path}: cannot be read: {error}.") from error

    def _describe(self, frame: pd.DataFrame, types: dict[str, str], source) -> None:
        """Tell RecBole of the columns, as its own reader does."""
        for field in frame:
            self.set_field_property(
                field,
                self.type_named(types[field]),
                source,
                max(map(len, frame[field])) if types[field].endswith("_seq") else 1,
            )
            if types[field].startswith("float"):
                self.field2bucketnum[field] = 2

    def _check_rows(
        self, path: Path, name: str, frame: pd.DataFrame, place: dict[str, int]
    ) -> None:
        """No row at all, two rows for one user or item, a time that is none."""
        if frame.empty:
            raise DataError(f"{path}: the file holds no rows, only a header.")
        separator, encoding = self.config["field_separator"], self.config["encoding"] or "utf-8"
        key = {"user": self.uid_field, "item": self.iid_field}.get(name)
        if key is not None:
            doubled = frame[key][frame[key].duplicated() & frame[key].notna()].unique()
            if len(doubled):
                lines = lines_with(path, separator, encoding, place[key], doubled[0])
                more = f"; {len(doubled) - 1} more stand there twice" if len(doubled) > 1 else ""
                raise DataError(
                    f"{path}: lines {' and '.join(map(str, lines))} both describe {key} "
                    f"'{doubled[0]}'{more}. Keep one row for each."
                )
        if (
            name == "inter"
            and self.time_field in frame
            and not np.isfinite(frame[self.time_field].to_numpy()).all()
        ):
            raise not_numbers(
                path, separator, encoding, place[self.time_field], self.time_field, missing=True
            ) or DataError(f"{path}: column '{self.time_field}' must hold finite numbers.")

    # --- Names that a finished run knows ---

    def _data_processing(self) -> None:
        """Take the measure of the events as read, before anything is filtered."""
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
            self._leave_out_unknown_items()

    def _filter_inter_by_user_or_item(self) -> None:
        if not self.whole_histories:
            super()._filter_inter_by_user_or_item()

    def found_names(self, field: str) -> set[str]:
        """The names of a token field that stand in the files, after filtering."""
        return self._found.get(field, set())

    def _leave_out_unknown_items(self) -> None:
        """Drop the events on items that the run has no row for, and remember how many they are."""
        known = set(self.known.items[1:].tolist())
        tokens, names = codes_of(self.inter_feat[self.iid_field])
        there = np.array([str(name) in known for name in names], dtype=bool)
        new = [str(name) for name in names[~there]]
        kept = there[tokens]
        self.left_out = int((~kept).sum())
        if not kept.any():
            raise DataError(
                f"{self._inter_file}: none of its items is one that the run knows "
                f"({', '.join(sorted(known)[:3])}, ...): the run belongs to another data set."
            )
        if self.left_out:
            self.inter_feat = self.inter_feat[kept].reset_index(drop=True)
            self.scenes = Scenes.of(self.config, self.inter_feat, self._inter_file)
        if self.item_feat is not None:
            tokens, names = codes_of(self.item_feat[self.iid_field])
            there = np.array([str(name) in known for name in names], dtype=bool)
            new += [str(name) for name in names[~there]]
            self.item_feat = self.item_feat[there[tokens]].reset_index(drop=True)
        self.new_items = tuple(dict.fromkeys(new))

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
        if all(
            not interval or interval == [("[", 0.0, float("inf"), ")")] for interval in intervals
        ):
            return
        codes, rows, allowed, least = [], [], [], []
        for field, feat, interval in zip(
            (self.uid_field, self.iid_field), (self.user_feat, self.item_feat), intervals
        ):
            ids, _ = number_together(
                [self.inter_feat[field]] + ([] if feat is None else [feat[field]])
            )
            codes.append(ids[0])
            rows.append(None if feat is None else ids[1])
            allowed.append(
                lambda n, i=interval: (
                    self._within_intervals(n, i) if i else np.ones(len(n), dtype=bool)
                )
            )
            least.append(interval[0][1] if interval else -1)
        kept, *feats_kept = keep_by_count(*codes, *allowed, *rows, *least)
        self.inter_feat = self.inter_feat[kept].reset_index(drop=True)
        for name, mask in zip(("user_feat", "item_feat"), feats_kept):
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
        self.scenes = Scenes.of(self.config, self.inter_feat, self._inter_file)

    @property
    def _inter_file(self) -> Path:
        return Path(self.dataset_path, f"{self.dataset_name}.inter")

    def _remap(self, remap_list) -> None:
        """Number tokens as RecBole does, without one Python string for each cell."""
        if not remap_list:
            return
        columns, lengths = [], []
        for feat, field, kind in remap_list:
            cells = feat[field]
            lengths.append([len(cell) for cell in cells] if kind.value == "token_seq" else None)
            columns.append(
                cells
                if kind.value == "token"
                else np.concatenate([np.asarray(cell, dtype=object) for cell in cells])
            )
        ids, tokens = number_together(columns)
        self._found = {
            **self._found,
            **{field: set(map(str, tokens)) for _, field, _ in remap_list},
        }
        ids, names = self._known_ids({field for _, field, _ in remap_list}, ids, tokens)
        numbers = {str(token): number for number, token in enumerate(names)}
        for (feat, field, _), values, sizes in zip(remap_list, ids, lengths):
            self.field2id_token.setdefault(field, names)
            self.field2token_id.setdefault(field, numbers)
            feat[field] = values if sizes is None else np.split(values, np.cumsum(sizes)[:-1])

    def _known_ids(
        self, fields: set[str], ids: list[np.ndarray], tokens: np.ndarray
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Ids and names of users or items as the run numbers them, names new to it behind its own.

        Args:
            ids: int64 arrays that number `tokens` from 1, 0 where missing.
        """
        own = None
        if self.known is not None:
            own = self.known.users if self.uid_field in fields else own
            own = self.known.items if self.iid_field in fields else own
        if own is None:
            return ids, np.array(["[PAD]", *tokens])
        place = {name: number for number, name in enumerate(own.tolist())}
        new = [str(token) for token in tokens if str(token) not in place]
        place.update({name: number for number, name in enumerate(new, start=len(own))})
        lookup = np.array([0, *(place[str(token)] for token in tokens)], dtype=np.int64)
        return [lookup[values] for values in ids], np.array([*own.tolist(), *new])

    def _normalize(self) -> None:
        if self.time_field not in self.inter_feat:
            self.times = None
            super()._normalize()
            return
        times = self.inter_feat[self.time_field].to_numpy()
        self.times = times.copy()
        self.inter_feat[self.time_field] = times.astype(np.float64)
        super()._normalize()
