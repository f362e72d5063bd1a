"""A search for the settings of a model, alone or with other processes that share the study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recbole_precise.config import properties_folder
from recbole_precise.config.known_keys import our_keys, recbole_keys
from recbole_precise.errors import ConfigError
from recbole_precise.plugin.checks.known_keys import keys_of_model
from recbole_precise.plugin.config import Config
from recbole_precise.registry import Entry
from recbole_precise.runs.identity import data_identity, settings_identity
from recbole_precise.studies.tuning.plot import plot_report
from recbole_precise.studies.tuning.report import report_of, write_report
from recbole_precise.studies.tuning.session import work
from recbole_precise.studies.tuning.space import Space, parse_space, read_space
from recbole_precise.studies.tuning.store import file_of, read_address
from recbole_precise.studies.tuning.study import Budget, Plan, SharedStudy
from recbole_precise.studies.tuning.trial import PreparedData, Task
from recbole_precise.system.locking import exclusive

METRIC = "NDCG@10"
_PATIENCE = 60.0  # seconds to wait for another process of the study that is writing its report

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How a search is done.

    Attributes:
        params_file: the space; None: the one that comes with the model.
        trials: in all; None: no limit, and for a grid all of its points.
        hours: of trials in all; None: no limit.
        sampler: of `study.SAMPLERS`.
        start: `settings`: the first trial has the settings as they are; `drawn`.
        pruner: of `study.PRUNERS`.
        prune_after: epochs that every trial gets.
        metric: on validation data; None: the setting `valid_metric`.
        study: its name; None: of model and data set.
        storage: file of the study; None: below `checkpoint_dir`.
    """

    params_file: str | None
    trials: int | None
    hours: float | None
    sampler: str
    start: str
    pruner: str
    prune_after: int
    metric: str | None
    study: str | None
    storage: str | None


def search(
    entry: Entry,
    run: Mapping[str, Any],
    settings: Mapping[str, str],
    options: Options,
    say: Say,
) -> None:
    """Run trials until the budget is used, then write and show the report.

    Args:
        entry: of the model.
        run: `dataset` and `config_file_list`.
        settings: of every trial, as on a command line.
        options: of the search.
        say: prints a line.

    Raises:
        ConfigError: the settings, the space or the study are wrong, or no trial is complete.
    """
    fixed = dict(settings)
    task, config = _task(entry, run, fixed, options.metric)
    metric = config["valid_metric"].lower()
    space = _space(entry, options.params_file, config, fixed, say)
    budget = _budget(options, space)
    first = _first_trial(options, space, config, say)
    name = options.study or f"{entry.name}-{config['dataset']}"
    reports = Path(config["checkpoint_dir"], "tune")
    address = str(reports / f"{name}.db") if options.storage is None else options.storage
    storage = read_address(address)
    file = file_of(storage)
    folder = (reports if file is None else file.parent) / name
    identity = {
        key: value
        for key, value in settings_identity(config.final_config_dict).items()
        if key not in space.names
    }
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    data = PreparedData()
    plan = Plan(
        space,
        options.sampler,
        options.pruner,
        config["seed"],
        bool(config["valid_metric_bigger"]),
        options.prune_after,
        first,
        {"settings": identity, "data": data_identity(data(config)[0]._dataset)},
    )
    study = SharedStudy(storage, folder, name, plan, budget)
    say(
        f"Study '{name}' in {file or storage}: {', '.join(space.names)}; {_in_words(budget)}; "
        f"{metric} on validation data."
    )
    try:
        work(study, task, data, metric, say=say)
    finally:
        with exclusive(folder, "the report of the study", wait=_PATIENCE):
            report = report_of(study, entry.name, config["dataset"], metric)
            given = task.config(report.best.settings).external_config_dict if report.best else {}
            files = [*write_report(folder, report, given), *plot_report(folder, report, space)]
        study.close()
    say(f"\n{report.terminal()}\n\n{' '.join(map(str, files))}")
    if report.best is None:
        raise ConfigError(f"No trial is complete; '{folder / 'trials.md'}' says why.")


def _task(
    entry: Entry, run: Mapping[str, Any], settings: dict[str, str], metric: str | None
) -> tuple[Task, Config]:
    """Return what all trials share, and the settings as they are without a space.

    Adds to `settings` what every trial has.
    """
    if metric is not None and settings.setdefault("valid_metric", metric) != metric:
        raise ConfigError(
            f"--metric={metric} and --valid_metric={settings['valid_metric']} are two names "
            "of one setting: give one."
        )
    settings.setdefault("show_progress", "False")
    for key in ("run_dir", "result_file", "resume"):
        if key in settings:
            raise ConfigError(
                f"tune takes no --{key}: trials leave no run directory; the study is kept in "
                "--storage."
            )
    files = tuple(run["config_file_list"] or ())

    def task_of() -> Task:
        words = tuple(f"--{key}={value}" for key, value in settings.items())
        return Task(entry.name, run["dataset"], files, words)

    config = task_of().config()
    if "valid_metric" not in config.external_config_dict:
        # RecBole's models would be stopped by MRR@10 and ours by NDCG@10.
        settings["valid_metric"] = METRIC
        config = task_of().config()
    if not config["eval_step"]:
        raise ConfigError("tune needs validation after epochs: eval_step must be at least 1.")
    return task_of(), config


def _space(
    entry: Entry, file: str | None, config: Config, settings: Mapping[str, str], say: Say
) -> Space:
    """Return the space of a file without what the command line or a variant's name fixes."""
    own = keys_of_model(entry, config.model_class)
    offered = getattr(config.model_class, "tuning_space", None)
    if file is None and offered is not None:
        space = parse_space(offered.strip().splitlines(), f"{entry.name}.tuning_space")
    else:
        space = read_space(file or _shipped_space(entry))
    space = space.checked(
        {*recbole_keys(), *our_keys(), *own},
        lambda key: config.key_of(key, own),
        config.final_config_dict,
    )
    fixed = [name for name in space.names if name in settings or name in entry.preset]
    if fixed:
        values = ", ".join(f"{name} {config[name]}" for name in fixed)
        say(f"Not searched, because it is fixed: {values}.")
    space = space.without(fixed)
    if not space.parameters:
        raise ConfigError(
            f"{space.file} has nothing to search that is not fixed already ({', '.join(fixed)})."
        )
    return space


def _shipped_space(entry: Entry) -> str:
    """Return the file of the space that comes with a model."""
    folder = properties_folder() / "tune"
    for name in (entry.name, entry.settings):
        file = folder / f"{name}.hyper"
        if file.is_file():
            return str(file)
    at_hand = ", ".join(sorted(path.stem for path in folder.glob("*.hyper")))
    raise ConfigError(
        f"There is no space for {entry.name} (there is for {at_hand}): write one and say "
        "--params_file=FILE.hyper."
    )


def _first_trial(options: Options, space: Space, config: Config, say: Say) -> Any:
    """Return the settings as they are, for the first trial; None where it is drawn."""
    if options.start != "settings" or options.sampler == "grid":
        return None
    first = space.labels(config.final_config_dict)
    if first is None:
        outside = [
            f"{parameter.name} {config[parameter.name]}"
            for parameter in space.parameters
            if not parameter.holds(config[parameter.name])
        ]
        say(
            f"The settings as they are lie outside the space ({', '.join(outside)}): the first "
            "trial is drawn."
        )
    return first


def _budget(options: Options, space: Space) -> Budget:
    """Trials and hours in all; for a grid without either all of its points."""
    trials = options.trials
    if trials is None and options.hours is None:
        trials = len(space.grid())
    return Budget(trials, None if options.hours is None else 3600 * options.hours)


def _in_words(budget: Budget) -> str:
    parts = []
    if budget.trials is not None:
        parts.append(f"{budget.trials} trials")
    if budget.seconds is not None:
        parts.append(f"{budget.seconds / 3600:g} hours of trials")
    return f"{' or '.join(parts)} in all"
