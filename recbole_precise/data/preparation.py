"""From settings to data: the data set of a run, and RecBole's loaders of its parts."""

from __future__ import annotations

import logging

import recbole.data.dataset
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.utils import create_samplers, get_dataloader
from recbole.sampler import KGSampler
from recbole.utils import ModelType

from recbole_precise.data.dataset import SequenceDataset, trains_on_windows
from recbole_precise.errors import ConfigError

logger = logging.getLogger("recbole_precise")


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
    if kind is SequentialDataset and (config["benchmark_filename"] is None or trains_on_windows(config)):
        kind = SequenceDataset
    if not issubclass(kind, SequenceDataset) and (config["target_scene"] is not None or "DAYS" in config["eval_args"]["split"]):
        raise ConfigError(f"{config['model']} reads its data with RecBole's {kind.__name__}, which knows neither target_scene nor the split DAYS.")
    dataset = kind(config)
    if config["save_dataset"]:
        dataset.save()
    return dataset


def data_preparation(config, dataset: Dataset, built: list | None = None) -> tuple:
    """Loaders `(train, valid, test)` over the split data set (`built` where it is split already): RecBole's, never its saved ones."""
    if config["dataloaders_save_path"] is not None or config["save_dataloaders"]:
        logger.warning("save_dataloaders and dataloaders_save_path are passed over: loaders are always made anew.")
    built = dataset.build() if built is None else built
    if config["target_scene"] is not None or config["holdout_items"] or config["holdout_users"]:
        dataset = built[0].targets_alone()  # popular negatives are those of training
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
