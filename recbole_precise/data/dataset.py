"""RecBole's sequential dataset over flat arrays: the same ids, rows and splits in a fraction of its time and memory."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import recbole.data.dataset
import torch
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.data.utils import create_samplers, get_dataloader
from recbole.sampler import KGSampler
from recbole.utils import FeatureType, ModelType
from torch import Tensor

from recbole_precise.data import splits
from recbole_precise.data.holdout import hold_out
from recbole_precise.data.item_text import default_template, item_states, read_records
from recbole_precise.data.loading import AtomicFiles
from recbole_precise.data.ordering import stable_order
from recbole_precise.data.sequences import RowColumns, RowFields, SequenceStore, ranges, train_windows
from recbole_precise.errors import ConfigError, DataError, TextError, UserError, did_you_mean
from recbole_precise.text.states import TokenStates

logger = logging.getLogger("recbole_precise")

SUPERVISED_FIELD = "supervised_length"


class Rows(Interaction):
    """An Interaction whose columns are computed from a SequenceStore when they are asked for."""

    def __init__(self, columns: RowColumns) -> None:
        self.interaction = columns
        self.length = columns.end.numel()

    def __getitem__(self, index):
        """A column by name; the rows of an index as a plain Interaction."""
        return self.interaction[index] if isinstance(index, str) else Interaction(self.interaction.take(index).dictionary())

    def _reindex(self, index) -> None:
        self.__init__(self.interaction.take(index))

    def __deepcopy__(self, memo) -> Rows:
        return Rows(self.interaction.take(slice(None)))


class SequenceDataset(AtomicFiles, SequentialDataset):
    """RecBole's SequentialDataset, with each event stored once and rows that are indices into the store.

    Validation and test rows are RecBole's, tensor for tensor. Training rows are RecBole's too (`train_rows: prefixes`), or
    windows that train all their positions at once (`train_rows: windows`). After `build`, the data set and its parts share
    `store`, the events of all users in order; `store.times` are the times as read.

    Raises DataError, ConfigError: for files and settings that cannot be used.
    """

    type_named = FeatureType
    store: SequenceStore
    held_out: Tensor | None = None  # bool [items]: no training row has them (holdout_items)
    _trained_on: SequenceDataset | None = None  # the training part, where items are held out of it

    def __init__(self, config) -> None:
        if config["benchmark_filename"] is not None:
            raise ConfigError("benchmark_filename: data split beforehand is read for RecBole's models alone; remove the key to split by eval_args.")
        self._states: list[TokenStates] = []  # a list, so that the parts of a split share it
        try:
            super().__init__(config)
        except UserError:
            raise
        except ValueError as error:  # what RecBole itself refuses
            raise DataError(f"{config['data_path']}: {error}") from error

    # --- Sequences ----------------------------------------------------------------------------------------------------

    def data_augmentation(self) -> None:
        """Order the events and make one row of each target; takes the place of RecBole's padded copies."""
        self._aug_presets()
        config, read = self.config, self.inter_feat
        fields = {name: read[name] for name in read if name != self.uid_field}
        self.store = SequenceStore.build(
            fields,
            read[self.uid_field],
            _rounded(read[self.time_field]) if config["time_order"] == "recbole" else self.times,
            tie_break=config["tie_break"] or "file",
            tie_seed=2020 if config["tie_seed"] is None else config["tie_seed"],
            times=self.times,
        )
        self.times = self.store.times
        names = RowFields(self.uid_field, self.item_list_length_field, {f"{name}{config['LIST_SUFFIX']}": name for name in self._list_fields()}, SUPERVISED_FIELD)
        first = torch.zeros(len(self.store), dtype=torch.bool)
        first[self.store.offsets[:-1]] = True
        end = torch.nonzero(~first).squeeze(1)
        self.inter_feat = Rows(RowColumns(self.store, end, names, self.max_item_list_len, visible=[*read, names.length, *names.lists]))

    def _list_fields(self) -> list[str]:
        """Fields given to the model as lists."""
        asked, there = self.config["sequence_fields"], [name for name in self.inter_feat if name != self.uid_field]
        if asked is None:
            asked = self.iid_field if _trains_on_windows(self.config) else "all"
        asked = there if asked == "all" else [asked] if isinstance(asked, str) else list(asked)
        for name in asked:
            if name not in there:
                raise ConfigError(f"sequence_fields: '{name}' is not a loaded field of .inter ({', '.join(there)}).{did_you_mean(name, there)}")
        # The order of the file, as RecBole has it; a model without items would be none.
        return [name for name in there if name in asked or name == self.iid_field]

    # --- Splitting ----------------------------------------------------------------------------------------------------

    def build(self) -> list[SequenceDataset]:
        """The parts for training, validation and testing, split by `eval_args` as RecBole splits them.

        Raises DataError when a part that the split asks for is empty.
        """
        settings = self.config["eval_args"]
        if settings["order"] != "TO":
            raise ConfigError(f"eval_args: sequences are split in the order of time (order: TO), not {settings['order']}.")
        self._change_feat_format()
        parts = self._split(settings["split"], settings["group_by"])
        self._check_parts(settings["split"], parts)
        self._train_last = self._last_targets(parts[0])
        self._drop_unused_col()
        built = [self.copy(Rows(self._columns(end))) for end in parts]
        if _wants_windows(self.config):
            built[0].inter_feat = Rows(self._window_columns())
        return hold_out(self, built)

    def _split(self, split: dict, group_by: str | None) -> list[Tensor]:
        """int64 `[rows]` for each part: the rows' targets, in RecBole's order of rows."""
        (mode, how), store = *split.items(), self.store
        rounded = _rounded(store.fields[self.time_field])
        times = rounded if self.config["time_order"] == "recbole" else store.times
        rows = (store.offsets.diff() - 1).numpy()
        if mode == "RS" and (group_by is None or str(group_by).lower() == "none"):
            end = self.inter_feat.interaction.end.numpy()
            end = torch.from_numpy(end[stable_order([times[end]])])
            cuts = self._calcu_split_ids(len(end), [share / sum(how) for share in how])
            return list(torch.tensor_split(end, [int(cut) for cut in cuts]))
        if mode == "RS":
            counts = splits.by_ratio(rows, partial(self._calcu_split_ids, ratios=[share / sum(how) for share in how]))
        elif mode == "LS":
            counts = splits.leave_one_out(rows, how)
        elif mode == "TS":
            ratios = [share / sum(how) for share in how]
            end = self.inter_feat.interaction.end.numpy()
            if len(np.unique(rounded)) == len(np.unique(times)):
                times = rounded  # the same order, and the border rounds as in RecBole
            border = np.percentile(times[end], 100 * (1 - ratios[-1]))
            before = np.bincount(store.owner.numpy()[end], weights=times[end] <= border, minlength=len(rows)).astype(np.int64)
            counts = splits.by_time(rows, before, ratios)
        else:
            raise ConfigError(f"eval_args: the split '{mode}' is not known; use LS, RS or TS.")
        # RecBole sorts all rows by time and takes users as they come: by the time of their first row, then by id.
        begin = store.offsets[:-1] + 1
        users = np.flatnonzero(rows > 0)
        users = torch.from_numpy(users[stable_order([times[begin.numpy()[users]]])])
        parts = []
        for count in map(torch.from_numpy, counts):
            parts.append(ranges(begin[users], count[users])[1])
            begin = begin + count
        return parts

    def _check_parts(self, split: dict, parts: list[Tensor]) -> None:
        (mode, how) = next(iter(split.items()))
        if len(parts) != 3:
            raise ConfigError(f"eval_args: the split {mode} needs three shares (train, valid, test), not {how}.")
        wanted = [True, how in ("valid_and_test", "valid_only"), how in ("valid_and_test", "test_only")] if mode == "LS" else [share > 0 for share in how]
        empty = [name for name, part, asked in zip(("training", "validation", "testing"), parts, wanted) if asked and not len(part)]
        if empty:
            events = self.store.offsets.diff()
            raise DataError(
                f"{self.dataset_path}: the split {mode}: {how} leaves no row for {' and '.join(empty)}. The longest of {len(events)} users has "
                f"{int(events.max())} events; a user needs 2 to train on one target, and one more for each event left out."
            )

    def _columns(self, end: Tensor, stride: int | None = None) -> RowColumns:
        """Rows with the targets `end`, with the fields that `unused_col` left."""
        all_rows = self.inter_feat.interaction
        if stride is None:
            return RowColumns(self.store, end, all_rows.names, self.max_item_list_len, visible=all_rows.visible)
        columns = RowColumns(self.store, end, all_rows.names, self.max_item_list_len, stride)
        columns.visible = [name for name in columns.visible if name in all_rows.visible or name == SUPERVISED_FIELD]
        return columns

    def _window_columns(self, shift: int = 0) -> RowColumns:
        stride, longest = self.config["window_stride"], self.max_item_list_len
        if stride is not None and not 1 <= stride <= longest:
            raise ConfigError(f"window_stride must lie between 1 and MAX_ITEM_LIST_LENGTH ({longest}), not {stride}.")
        stride = stride or longest
        end, _, supervised = train_windows(self.store.offsets[:-1], self._train_last, longest, stride, shift)
        columns = self._columns(end, stride)
        columns[SUPERVISED_FIELD] = supervised
        return columns

    def shift_windows(self, generator: torch.Generator | None) -> bool:
        """Draw anew where the training windows begin, if `window_shift` asks for it; whether it did."""
        if not self.config["window_shift"] or not self._windows:
            return False
        shift = torch.randint(self.inter_feat.interaction.stride, (1,), generator=generator)
        self.inter_feat = Rows(self._window_columns(int(shift)))
        return True

    def _last_targets(self, train: Tensor) -> Tensor:
        """int64 `[users]`: each user's last training target, or its first event when there is none."""
        return self.store.offsets[:-1] + torch.bincount(self.store.owner[train], minlength=len(self.store.user_ids))

    # --- What models and the evaluation ask for -----------------------------------------------------------------------

    def __getitem__(self, index, join: bool = True) -> Interaction:
        """The rows of an index; features of user and target item are joined as in RecBole, but not to windows."""
        return super().__getitem__(index, join and not self._windows)

    @property
    def _windows(self) -> bool:
        return isinstance(self.inter_feat, Rows) and self.inter_feat.interaction.stride is not None

    def raw_times(self) -> np.ndarray:
        """int64 or float64 `[events]`: times of the events of `store` as they stand in the file."""
        return self.store.times

    def train_sequences(self) -> tuple[Tensor, Tensor, Tensor]:
        """Each user's training events: everything up to the last training target, no validation or test target among them.

        Returns: int64 `(items [n], offsets [users + 1], user_ids [users])` of the users who have any.
        """
        if self._trained_on is not None:
            return self._trained_on.train_sequences()
        first = self.store.offsets[:-1]
        length = torch.where(self._train_last > first, self._train_last - first + 1, 0)
        users = torch.nonzero(length).squeeze(1)
        event = ranges(first[users], length[users])[1]
        return self.store.fields[self.iid_field][event], torch.cat([length.new_zeros(1), length[users].cumsum(0)]), self.store.user_ids[users]

    def train_item_counts(self) -> Tensor:
        """int64 `[items]`: how often each item occurs in `train_sequences`."""
        return torch.bincount(self.train_sequences()[0], minlength=self.item_num)

    def history(self, rows: slice | Sequence[int] | np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
        """All earlier events of each row's user, not cut at MAX_ITEM_LIST_LENGTH.

        Returns: int64 `(row [n], item [n])`; `row` counts the rows asked for.
        """
        end = self.inter_feat.interaction.end[torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows]
        return self.store.history(end, self.iid_field)

    def item_records(self) -> list[dict[str, str]]:
        """Each item's columns as text, by item id; `{}` for the padding and for items without a row.

        Raises TextError when there is no file with item texts, DataError when it is malformed.
        """
        records = self._records()
        return [{}, *(records.get(str(token), {}) for token in self.field2id_token[self.iid_field][1:])]

    def token_states(self) -> TokenStates:
        """Encoded item texts by item id, row 0 empty; encoded at most once, through the cache on disk.

        Raises TextError when no text is configured or no item has one.
        """
        if not self._states:
            config, records = self.config, None
            template = config["item_text"]
            if template is None and config["text_file"] is not None:
                records = self._records()
                template = default_template(records, self.iid_field)
            if template is None:
                raise TextError(
                    f"{config['model']} reads item texts, but {self.dataset_name} says nothing of them: set item_text to a template over the "
                    'columns of .item, for example item_text: "{title}".'
                )
            records = self._records() if records is None else records
            settings = {name: config[f"text_{name}"] for name in ("max_tokens", "batch_size", "dtype") if config[f"text_{name}"] is not None}
            states = item_states(
                records,
                template,
                self.field2id_token[self.iid_field],
                str(config["text_file"] or self._item_file),
                encoder=config["text_encoder"] or "auto",
                device=config["text_device"] or config["device"],
                cache_dir=config["text_cache_dir"],
                progress=bool(config["show_progress"]),
                **settings,
            )
            self._states.append(states)
        return self._states[0]

    @property
    def _item_file(self) -> Path:
        return Path(self.dataset_path, f"{self.dataset_name}.item")

    def _records(self) -> dict[str, dict[str, str]]:
        config = self.config
        return read_records(self._item_file, config["text_file"], self.iid_field, config["field_separator"], config["encoding"] or "utf-8")

    # --- RecBole's statistics, in which every target counts, also when a row trains many ---------------------------------

    def _one_row_per_target(self) -> SequenceDataset:
        """Itself, or its windows as RecBole's rows."""
        return self.copy(Rows(self._columns(self.inter_feat.interaction.targets()))) if self._windows else self

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
        if not isinstance(rows.inter_feat, Rows) or field not in rows.inter_feat or self.field2type[field] != FeatureType.TOKEN:
            return SequentialDataset.counter(rows, field)
        values, counts = np.unique(rows.inter_feat[field].numpy(), return_counts=True)
        return Counter(dict(zip(values.tolist(), counts.tolist())))

    def inter_matrix(self, form: str = "coo", value_field: str | None = None):
        """Sparse matrix `[users, items]` of the targets, and of first events whose second is a target, as RecBole has it."""
        if not isinstance(self.inter_feat, Rows):
            return Dataset.inter_matrix(self, form, value_field)
        targets = self._one_row_per_target().inter_feat.interaction.end
        second = targets[self.store.first_of(targets) + 1 == targets]
        event = torch.cat([targets, second - 1])
        if value_field is not None and value_field not in self.store.fields:
            raise ValueError(f"Value_field [{value_field}] should be one of `df_feat`'s features.")
        columns = {name: self.store.fields[name][event] for name in {self.iid_field, value_field} - {None}}
        columns[self.uid_field] = self.store.users_of(event)
        return self._create_sparse_matrix(Interaction(columns), self.uid_field, self.iid_field, form, value_field)

    def _history_matrix(self, row: str, value_field: str | None = None, max_history_len: int | None = None):
        return SequentialDataset._history_matrix(self._one_row_per_target(), row, value_field, max_history_len)


def _rounded(times: Tensor) -> np.ndarray:
    """RecBole's float32 times `[events]`; it stores those of a numerical feature beside a weight."""
    return (times if times.dim() == 1 else times[..., 0]).numpy()


def _trains_on_windows(config) -> bool:
    return bool(getattr(config.model_class, "trains_on_windows", False))


def _wants_windows(config) -> bool:
    chosen = config["train_rows"]
    if chosen not in (None, "windows", "prefixes"):
        raise ConfigError(f"train_rows is 'windows' or 'prefixes', not {chosen!r}.")
    return _trains_on_windows(config) if chosen is None else chosen == "windows"


def create_dataset(config) -> Dataset:
    """The data set of a run: ours for every sequential model, RecBole's own for all others.

    A model for which RecBole has a data set of its own (DIEN, the ones with knowledge graphs) gets that one, and so does
    data that was split beforehand (`benchmark_filename`). Saved data sets are never read: RecBole reads them without
    looking whether the files have changed.

    Raises DataError, ConfigError: for files and settings that cannot be used.
    """
    if config["dataset_save_path"] is not None:
        logger.warning("dataset_save_path is passed over: the data set is always read from its files.")
    own = getattr(recbole.data.dataset, f"{config['model']}Dataset", None)
    kinds = {ModelType.SEQUENTIAL: SequentialDataset, ModelType.KNOWLEDGE: recbole.data.dataset.KnowledgeBasedDataset}
    kind = own or kinds.get(config["MODEL_TYPE"], Dataset)
    if kind is SequentialDataset and (config["benchmark_filename"] is None or _trains_on_windows(config)):
        kind = SequenceDataset
    dataset = kind(config)
    if config["save_dataset"]:
        dataset.save()
    return dataset


def data_preparation(config, dataset: Dataset, built: list | None = None) -> tuple:
    """Loaders `(train, valid, test)` over the split data set (`built` where it is split already): RecBole's, never its saved ones."""
    if config["dataloaders_save_path"] is not None or config["save_dataloaders"]:
        logger.warning("save_dataloaders and dataloaders_save_path are passed over: loaders are always made anew.")
    built = dataset.build() if built is None else built
    if isinstance(dataset, SequenceDataset) and "popularity" in (config[f"{phase}_neg_sample_args"]["distribution"] for phase in ("train", "valid", "test")):
        dataset.sort(by=dataset.time_field)  # the order in which RecBole's sampler meets the items
    samplers = create_samplers(config, dataset, built)
    loaders = []
    for phase, part, sampler in zip(("train", "valid", "test"), built, samplers):
        extra = []
        if phase == "train" and config["MODEL_TYPE"] == ModelType.KNOWLEDGE:
            negatives = config["train_neg_sample_args"]
            extra = [KGSampler(dataset, negatives["distribution"], negatives["alpha"])]
        loaders.append(get_dataloader(config, phase)(config, part, sampler, *extra, shuffle=phase == "train" and bool(config["shuffle"] or extra)))
    logger.info("Training batches of %s, %s rows; evaluation: %s.", config["train_batch_size"], len(built[0]), config["eval_args"])
    return tuple(loaders)
