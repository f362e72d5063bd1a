"""Make the loaders of a phase.

They give the same split under another view of the data, or with another kind of training rows.
"""

from __future__ import annotations

import copy
from logging import getLogger
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from recbole_precise.errors import ConfigError
from recbole_precise.training.phases import Phase


def phase_loaders(phase: Phase, train_data: Any, valid_data: Any) -> tuple[Any, Any]:
    """(training, validation) loaders of `phase`; those given where it asks for nothing else.

    Raises ConfigError when the data set is not this package's.
    """
    if phase.scene_view is None and phase.train_rows is None and phase.train_batch_size is None:
        return train_data, valid_data
    train = _loader(
        train_data,
        _view(train_data._dataset, phase.scene_view, phase.train_rows, phase.name),
        phase.train_batch_size,
    )
    if not valid_data or phase.scene_view is None:
        return train, valid_data
    return train, _loader(
        valid_data, _view(valid_data._dataset, phase.scene_view, None, phase.name), None
    )


def _view(part: Any, scene_view: str | None, train_rows: str | None, phase: str) -> Any:
    if scene_view is None and train_rows is None:
        return part
    if not hasattr(part, "view"):
        raise ConfigError(
            f"phase '{phase}' needs recbole_precise's dataset, but got {type(part).__name__}: "
            "create it with recbole_precise.create_dataset(config)."
        )
    return part.view(scene_view=scene_view, train_rows=train_rows)


def _loader(like: Any, part: Any, batch_size: int | None) -> Any:
    """Return a loader of RecBole's kind over `part`, with a generator of its own."""
    config = (
        like.config if batch_size is None else _changed(like.config, train_batch_size=batch_size)
    )
    return type(like)(config, part, like._sampler, shuffle=like.shuffle)


def _changed(config: Any, **settings: Any) -> Any:
    config = copy.copy(config)
    config.final_config_dict = {**config.final_config_dict, **settings}
    return config


def begin_epoch(loader: Any, epoch: int, generator: Any) -> None:
    """Put a training loader of RecBole's at the beginning of an epoch.

    Windows are shifted again, and rows are in the epoch's order.

    Args:
        generator: of the loader; it is at the same place in every process, and so are the windows.
    """
    load_in_order(loader)
    # The list of row numbers that RecBole's loader draws from; `loader.dataset` is another thing.
    rows: Any = vars(loader).get("dataset")
    part: Any = getattr(loader, "_dataset", None)
    if hasattr(part, "shift_windows") and part.shift_windows(generator):
        rows[:] = range(len(part))
    sampler = getattr(loader, "sampler", None)
    if isinstance(sampler, DistributedSampler):
        sampler.dataset = rows
        sampler.num_samples = -(-len(rows) // sampler.num_replicas)
        sampler.total_size = sampler.num_samples * sampler.num_replicas
        # RecBole leaves it at 0: runs with different seeds would meet the rows in one order.
        sampler.seed = loader.config["seed"]
        sampler.set_epoch(epoch)


def load_in_order(loader: Any) -> None:
    """Have a training loader that draws random numbers make its batches in the training process.

    Negative samples and random transforms are drawn from the global generators, batch after batch.
    Worker processes have generators of their own, with other numbers for each count of workers. A
    loader that draws nothing keeps its workers, which give the same batches.
    """
    for part in (loader, *vars(loader).values()):  # RecBole's loader of a knowledge graph holds two
        if isinstance(part, DataLoader) and part.num_workers and _draws(part):
            getLogger("recbole_precise").info(
                "worker: %s is not used: loading draws random numbers (negative samples or a "
                "transform), which come from the training process, so that results do not depend "
                "on the number of workers.",
                part.num_workers,
            )
            part.num_workers = 0


def _draws(loader: DataLoader) -> bool:
    """Whether making a batch takes a random number; yes for all that is not known to take none."""
    kind = type(loader).__name__
    if kind == "UserDataLoader":
        return False
    negatives = getattr(loader, "neg_sample_args", None)
    none = negatives is None or "none" in (negatives["distribution"], negatives["sample_num"])
    known = type(getattr(loader, "transform", None)).__name__ in ("Equal", "InverseItemSequence")
    return kind != "TrainDataLoader" or not (none and known)
