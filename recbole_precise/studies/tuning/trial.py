"""Run one trial in this process.

It is the training and validation of a run, without its test and without a run directory.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

from optuna.exceptions import OptunaError

from recbole_precise.errors import UserError
from recbole_precise.plugin.config import Config
from recbole_precise.plugin.dataset import SequenceDataset
from recbole_precise.plugin.preparation import create_dataset, data_preparation
from recbole_precise.quick_start import train_model
from recbole_precise.system.logs import log_to


@dataclass(frozen=True)
class Task:
    """What all trials of a study share.

    That is the model, the data set, config files, and `--key=value` of the command line.
    """

    model: str
    dataset: str
    config_files: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()

    def config(self, values: Mapping[str, Any] | None = None) -> Config:
        """Return the settings of a trial.

        `values` override config files, and the command line overrides `values`.
        """
        return Config(
            self.model,
            self.dataset,
            list(self.config_files),
            dict(values or {}),
            drawn=values or (),
            command_line=self.arguments,
        )


class PreparedData:
    """Loaders for trials.

    Data is read again only when a setting differs that was looked at while it was read and split.

    Each trial has loaders and row tables of its own, so that none sees what another did to them.
    """

    def __init__(self) -> None:
        self._read: dict[str, Any] = {}
        self._kept: tuple[SequenceDataset, list[SequenceDataset]] | None = None

    def __call__(self, config: Config) -> tuple:
        """RecBole's `data_preparation` of the settings: (training, validation, test) loaders."""
        if self._kept is None or any(config[key] != value for key, value in self._read.items()):
            self._kept = None  # the old one is not needed while the new one is made
            watched = WatchedConfig(config)
            dataset = create_dataset(watched)
            built = dataset.build()
            for part in (dataset, *built):
                part.config = config
            if not isinstance(dataset, SequenceDataset):
                return data_preparation(config, dataset, built)
            self._read = {key: copy.deepcopy(config[key]) for key in watched.keys}
            self._kept = dataset, built
        dataset, built = self._kept
        return data_preparation(
            config, _own(dataset, config), [_own(part, config) for part in built]
        )


def _own(dataset: SequenceDataset, config: Config) -> SequenceDataset:
    """Return the same data under other settings, with rows that can be changed apart."""
    own = dataset.copy(copy.deepcopy(dataset.inter_feat))
    own.config = config
    return own


class WatchedConfig:
    """Settings that write down which of their keys are read.

    Args:
        config: the settings.

    Attributes:
        keys: those that were read.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.keys: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.keys.add(key)
        return self._config[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._config[key] = value

    def __contains__(self, key: str) -> bool:
        self.keys.add(key)
        return key in self._config

    def __getattr__(self, name: str) -> Any:
        if name == "_config":  # of a copy that is not whole yet
            raise AttributeError(name)
        if name in self._config.final_config_dict:
            self.keys.add(name)
        return getattr(self._config, name)


class Stopped(Exception):
    """Raised by a trial's callback to end it.

    `how` is "pruned" or "cut" (by the end of the budget).
    """

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


@dataclass
class Outcome:
    """What came of a trial.

    Attributes:
        value: the best validation score, exact; None when the trial failed.
        stopped: "", "pruned" or "cut".
        found: `best_epoch`, `epochs` (validated so far), `valid` (metrics at the best epoch),
            `seconds`; `reason` of a failure.
    """

    value: float | None = None
    stopped: str = ""
    found: dict[str, Any] = field(default_factory=dict)


def run_trial(
    task: Task,
    values: Mapping[str, Any],
    data: Callable[[Config], tuple],
    watch: Callable[[int, float, float], None],
) -> Outcome:
    """Train and validate with `values`.

    The validation result is bit for bit that of the command with the same settings.

    Args:
        data: settings -> loaders, such as `PreparedData()`.
        watch: called after each validation with (epoch, score, seconds of the trial); it may raise
            `Stopped`. Seconds are those of the wall, or of the processor where the settings say
                `train_clock: processor`.

    Returns: an Outcome, also of a trial that fails: a combination that is refused, a loss that is
        NaN, memory that runs out.
    """
    outcome = Outcome()
    config: Config | None = None
    started = perf_counter(), process_time()
    best: list[float] = []

    def spent() -> float:
        on_processor = config is not None and config["train_clock"] == "processor"
        return process_time() - started[1] if on_processor else perf_counter() - started[0]

    def after_validation(epoch: int, score: float) -> None:
        assert config is not None
        bigger = config["valid_metric_bigger"]
        if not best or (score >= best[0] if bigger else score <= best[0]):
            best[:] = [score]
            outcome.found["best_epoch"] = epoch
        outcome.found["epochs"] = epoch + 1
        watch(epoch, score, spent())

    try:
        config = task.config(values)
        with log_to(None, "error"):
            trained = train_model(config, data, callback_fn=after_validation, saved=False)
        outcome.value = float(trained.best_valid_score)
        outcome.found["valid"] = {name: float(value) for name, value in trained.valid.items()}
    except Stopped as stop:
        outcome.stopped, outcome.value = stop.how, best[0]
    except OptunaError:  # of `watch`: the database, or another process has ended the trial
        raise
    except UserError as error:
        outcome.found["reason"] = str(error)
    except Exception as error:
        outcome.found.update(
            reason=f"{type(error).__name__}: {error}", traceback=traceback.format_exc()
        )
    outcome.found["seconds"] = spent()
    return outcome
