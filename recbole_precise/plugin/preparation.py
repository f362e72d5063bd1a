"""From settings to data: the data set of a run, and RecBole's loaders of its parts."""

from __future__ import annotations

import codecs
import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import recbole.data.dataset
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.utils import create_samplers, get_dataloader
from recbole.evaluator import metric_types
from recbole.sampler import KGSampler
from recbole.utils import ModelType

from recbole_precise.data.beforehand import part_numbers
from recbole_precise.data.candidates import (
    check_candidates,
    check_cuts,
    check_labelled,
    check_labels,
    value_metrics,
)
from recbole_precise.data.filtering import refuse_filters_of_parts
from recbole_precise.data.fingerprint import file_digests
from recbole_precise.data.scan import check_file, not_numbers, read_header
from recbole_precise.errors import ConfigError, DataError, UserError
from recbole_precise.plugin.dataset import SequenceDataset

if TYPE_CHECKING:
    from recbole_precise.runs.vocabulary import Vocabulary

logger = logging.getLogger("recbole_precise")


def create_dataset(
    config, known: Vocabulary | None = None, whole_histories: bool = False
) -> Dataset:
    """Return the data set of a run: ours for every sequential model, RecBole's for others.

    A model for which RecBole has a data set of its own (DIEN, the ones with knowledge graphs) gets
    that one. Saved data sets are never read: RecBole reads them without looking whether the files
        have changed.

    Args:
        known, whole_histories: as of `SequenceDataset`; for other data sets they are not used.

    Raises DataError, ConfigError: for files and settings that cannot be used.
    """
    check_labelled(config, value_metrics(config["metrics"], metric_types)[0])
    if config["dataset_save_path"] is not None:
        logger.warning(
            "dataset_save_path is passed over: the data set is always read from its files."
        )
    own = getattr(recbole.data.dataset, f"{config['model']}Dataset", None)
    kinds = {
        ModelType.SEQUENTIAL: SequentialDataset,
        ModelType.KNOWLEDGE: recbole.data.dataset.KnowledgeBasedDataset,
    }
    kind = own or kinds.get(config["MODEL_TYPE"], Dataset)
    if kind is SequentialDataset:
        kind = SequenceDataset
    if not issubclass(kind, SequenceDataset) and (
        config["target_scene"] is not None or "DAYS" in config["eval_args"]["split"]
    ):
        raise ConfigError(
            f"{config['model']} reads its data with RecBole's {kind.__name__}, which knows "
            "neither target_scene nor the split DAYS."
        )
    if config["benchmark_filename"] is not None:
        part_numbers(config["benchmark_filename"])
        refuse_filters_of_parts(config)
        if issubclass(kind, SequentialDataset) and not issubclass(kind, SequenceDataset):
            raise ConfigError(
                f"benchmark_filename: {config['model']} reads its data with RecBole's "
                f"{kind.__name__}, which cannot read files split beforehand; remove the key to "
                "split by eval_args."
            )
    if issubclass(kind, SequenceDataset):
        dataset = kind(config, known, whole_histories)
    else:
        dataset = _read_by_recbole(kind, config)
    if config["save_dataset"]:
        dataset.save()
    return dataset


def _read_by_recbole(kind: type[Dataset], config) -> Dataset:
    """Return a data set of RecBole's own, whose files are checked first.

    Raises:
        DataError: for files that RecBole cannot read.
    """
    folder, name = Path(config["data_path"]), config["dataset"]
    separator, encoding = config["field_separator"], config["encoding"] or "utf-8"
    parts = [f"{part}.inter" for part in config["benchmark_filename"] or ()] or ["inter"]
    wanted = config["load_col"]
    files = [
        folder / f"{name}.{suffix}"
        for suffix in (*parts, "user", "item")
        if suffix.endswith("inter") or wanted is None or suffix in wanted
    ]
    for path in filter(Path.is_file, files):
        check_file(path, separator, encoding, (config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]))
    if encoding.lower() in ("utf-8", "utf8") and any(
        _begins_with_mark(path) for path in filter(Path.is_file, files)
    ):
        config["encoding"] = (
            "utf-8-sig"  # else RecBole takes the mark for a part of the first column's name
        )
    try:
        return kind(config)
    except UserError:
        raise
    except (ValueError, csv.Error) as error:
        raise _number_fault(files, separator, encoding) or DataError(
            f"{files[0]}: {error}"
        ) from error


def _begins_with_mark(path: Path) -> bool:
    """Whether a file begins with the byte order mark of UTF-8."""
    with Path(path).open("rb") as file:
        return file.read(3) == codecs.BOM_UTF8


def _number_fault(files: Sequence[Path], separator: str, encoding: str) -> DataError | None:
    """Return the error that names the first column of numbers that holds something else.

    None when there is none.
    """
    for path in filter(Path.is_file, files):
        for place, (column, kind) in enumerate(read_header(path, separator, encoding)):
            fault = (
                not_numbers(path, separator, encoding, place, column, missing=False)
                if kind == "float"
                else None
            )
            if fault is not None:
                return fault
    return None


def data_preparation(config, dataset: Dataset, built: list | None = None) -> tuple:
    """Return loaders `(train, valid, test)` over the split data set.

    `built` is the data set where it is split already. The loaders are RecBole's, never its saved
    ones.
    """
    if config["dataloaders_save_path"] is not None or config["save_dataloaders"]:
        logger.warning(
            "save_dataloaders and dataloaders_save_path are passed over: loaders are always made "
            "anew."
        )
    built = dataset.build() if built is None else built
    if len(built) == 2:  # benchmark_filename: [train, test]
        built = [built[0], built[0].copy(built[0].inter_feat[:0]), built[1]]
    beforehand = config["benchmark_filename"] is not None and isinstance(dataset, SequenceDataset)
    if (
        beforehand
        or config["target_scene"] is not None
        or config["holdout_items"]
        or config["holdout_users"]
    ):
        dataset = built[0].targets_alone()  # popular negatives are those of training
    if isinstance(dataset, SequenceDataset) and "popularity" in (
        config[f"{phase}_neg_sample_args"]["distribution"] for phase in ("train", "valid", "test")
    ):
        dataset.sort(by=dataset.time_field)  # the order in which RecBole's sampler meets the items
    check_labels(config, built)
    check_cuts(config, dataset)
    check_candidates(config, dataset, built)
    samplers = create_samplers(config, dataset, built)
    loaders = []
    for phase, part, sampler in zip(("train", "valid", "test"), built, samplers):
        extra = []
        if phase == "train" and config["MODEL_TYPE"] == ModelType.KNOWLEDGE:
            negatives = config["train_neg_sample_args"]
            extra = [KGSampler(dataset, negatives["distribution"], negatives["alpha"])]
        loaders.append(
            get_dataloader(config, phase)(
                config,
                part,
                sampler,
                *extra,
                shuffle=phase == "train" and bool(config["shuffle"] or extra),
            )
        )
    logger.info(
        "Training batches of %s, %s rows; evaluation: %s.",
        config["train_batch_size"],
        len(built[0]),
        config["eval_args"],
    )
    return tuple(loaders)


_SUFFIXES = ("inter", "user", "item", "net", "kg", "link")


def data_files(config) -> list[Path]:
    """Return the atomic files of a data set that exist."""
    folder = Path(config["data_path"])
    stem = config["dataset"]
    suffixes = [*_SUFFIXES, *(config["additional_feat_suffix"] or ())]
    parts = [f"{part}.inter" for part in config["benchmark_filename"] or ()]
    files = (folder / f"{stem}.{ending}" for ending in (*suffixes, *parts))
    return [file for file in files if file.is_file()]


def described(dataset: Any) -> dict[str, Any]:
    """Describe a data set for later readers of a run of it: see `Vocabulary.data`."""
    config = dataset.config
    found: dict[str, Any] = {
        "name": str(config["dataset"]),
        "files": file_digests(data_files(config)),
    }
    if isinstance(dataset, SequenceDataset):
        found |= {"events": dataset.events_read, "digest": dataset.digest}
    return found


def reads_columns(dataset: Any, ours: bool) -> str | None:
    """Why a model's input depends on more than the names of users and items; None when it does not.

    The values of other columns are numbered or scaled over the whole file, so that a changed file
    changes what they mean.

    Args:
        ours: whether the model is one of this package, which reads sequences and texts alone.
    """
    if not isinstance(dataset, SequenceDataset):
        return f"RecBole's {type(dataset).__name__} numbers its columns by the order of the files"
    if dataset.config["benchmark_filename"] is not None:
        return "its files were split beforehand"
    if ours:
        return None
    config = dataset.config
    own = {dataset.uid_field, dataset.iid_field}
    tokens = [name for name in dataset.token_like_fields if name not in own]
    numbers = config["numerical_features"] or config["normalize_field"] or config["normalize_all"]
    if tokens or numbers:
        names = ", ".join(map(str, tokens or ["numbers"]))
        return f"it may read columns ({names}) that are numbered or scaled over the whole file"
    return None
