"""`tune`: search for the settings of a model on validation data, alone or with other processes that
share the study.
"""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_precise import registry
from recbole_precise.cli.commands import need_recbole, run_options
from recbole_precise.cli.options import number, one_of, whole_number
from recbole_precise.config import properties_folder
from recbole_precise.config.verb_options import take_own
from recbole_precise.errors import ConfigError
from recbole_precise.system.interrupts import report as report_interrupt
from recbole_precise.system.locking import exclusive

if TYPE_CHECKING:
    from recbole_precise.plugin.config import Config
    from recbole_precise.registry import Entry
    from recbole_precise.studies.tuning.space import Space
    from recbole_precise.studies.tuning.study import Budget

TRIALS, METRIC, PRUNE_AFTER = 30, "NDCG@10", 5
_PATIENCE = 60.0  # seconds to wait for another process of the study that is writing its report
_PACKAGES = ("optuna", "matplotlib")


def main(arguments: Sequence[str]) -> None:
    """Run trials until the budget is used, then print the table and where the files are."""
    run, rest = run_options(arguments)
    need_recbole()
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"tune needs the package '{package}': run `pip install {' '.join(_PACKAGES)}`."
            )
    settings = dict(argument[2:].split("=", 1) for argument in rest)
    own = take_own("tune", settings)  # all others are settings of every trial
    if run["model"] is None:
        raise ConfigError("No model was given: say --model=PRECISE-UT, or any model of RecBole.")
    _tune(registry.resolve(str(run["model"])), run, settings, own, arguments)


def _tune(
    entry: Entry,
    run: dict[str, Any],
    settings: dict[str, str],
    own: dict[str, str],
    arguments: Sequence[str],
) -> None:
    import torch

    from recbole_precise.runs.identity import data_identity, settings_identity
    from recbole_precise.studies.tuning.plot import plot_report
    from recbole_precise.studies.tuning.report import report_of, write_report
    from recbole_precise.studies.tuning.session import work
    from recbole_precise.studies.tuning.store import file_of, read_address
    from recbole_precise.studies.tuning.study import PRUNERS, SAMPLERS, Plan, SharedStudy
    from recbole_precise.studies.tuning.trial import PreparedData

    sampler, pruner = one_of(own, "sampler", SAMPLERS), one_of(own, "pruner", PRUNERS)
    start = one_of(
        own, "start", ("settings", "drawn"), default="settings" if sampler == "tpe" else "drawn"
    )
    task, config = _task(entry, run, settings, own.get("metric"))
    metric = config["valid_metric"].lower()
    space = _space(entry, own.get("params_file"), config, settings)
    budget = _budget(own, len(space.grid()) if sampler == "grid" else TRIALS)
    first = None
    if start == "settings" and sampler != "grid":
        first = space.labels(config.final_config_dict)
        if first is None:
            outside = [p.name for p in space.parameters if not p.holds(config[p.name])]
            print(
                "The settings as they are lie outside the space "
                f"({', '.join(f'{name} {config[name]}' for name in outside)}): the first trial "
                "is drawn."
            )
    name = own.get("study") or f"{entry.name}-{config['dataset']}"
    reports = Path(config["checkpoint_dir"], "tune")
    storage = read_address(own.get("storage", str(reports / f"{name}.db")))
    file = file_of(storage)
    folder = (reports if file is None else file.parent) / name
    prune_after = whole_number(own, "prune_after", PRUNE_AFTER)
    identity = {
        key: value
        for key, value in settings_identity(config.final_config_dict).items()
        if key not in space.names
    }
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    data = PreparedData()
    found = data_identity(data(config)[0]._dataset)
    plan = Plan(
        space,
        sampler,
        pruner,
        config["seed"],
        bool(config["valid_metric_bigger"]),
        prune_after,
        first,
        {"settings": identity, "data": found},
    )
    study = SharedStudy(storage, folder, name, plan, budget)
    print(
        f"Study '{name}' in {file or storage}: {', '.join(space.names)}; {_budget_line(budget)}; "
        f"{metric} on validation data.",
        flush=True,
    )
    try:
        work(study, task, data, metric, say=lambda line: print(line, flush=True))
    except KeyboardInterrupt as interrupt:
        command_line = shlex.join(["recbole-precise", "tune", *arguments])
        report_interrupt(
            interrupt, f"Interrupted. The same command goes on with the study: {command_line}"
        )
        raise
    finally:
        with exclusive(folder, "the report of the study", wait=_PATIENCE):
            report = report_of(study, entry.name, config["dataset"], metric)
            given = task.config(report.best.settings).external_config_dict if report.best else {}
            files = [*write_report(folder, report, given), *plot_report(folder, report, space)]
        study.close()
    print(f"\n{report.terminal()}\n\n{' '.join(map(str, files))}")
    if report.best is None:
        raise ConfigError(f"No trial is complete; '{folder / 'trials.md'}' says why.")


def _task(
    entry: Entry, run: dict[str, Any], settings: dict[str, str], metric: str | None
) -> tuple[Any, Config]:
    """What all trials share, and the settings as they are without a space."""
    from recbole_precise.studies.tuning.trial import Task

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
        return Task(
            entry.name,
            run["dataset"],
            files,
            tuple(f"--{key}={value}" for key, value in settings.items()),
        )

    config = task_of().config()
    if "valid_metric" not in config.external_config_dict:
        settings["valid_metric"] = (
            METRIC  # RecBole's models would be stopped by MRR@10 and ours by NDCG@10
        )
        config = task_of().config()
    if not config["eval_step"]:
        raise ConfigError("tune needs validation after epochs: eval_step must be at least 1.")
    return task_of(), config


def _space(entry: Entry, file: str | None, config: Config, settings: dict[str, str]) -> Space:
    """The space of a file, without what the command line or the name of a variant says already."""
    from recbole_precise.plugin.checks.known_keys import keys_of_model, our_keys, recbole_keys
    from recbole_precise.studies.tuning.space import parse_space, read_space

    offered = getattr(config.model_class, "tuning_space", None)
    if file is None and offered is None:
        folder = properties_folder() / "tune"
        shipped = [
            path
            for name in (entry.name, entry.settings)
            if (path := folder / f"{name}.hyper").is_file()
        ]
        if not shipped:
            at_hand = ", ".join(sorted(path.stem for path in folder.glob("*.hyper")))
            raise ConfigError(
                f"There is no space for {entry.name} (there is for {at_hand}): write one and say "
                "--params_file=FILE.hyper."
            )
        file = str(shipped[0])
    own = keys_of_model(entry, config.model_class)
    if file is None:
        space = parse_space(offered.strip().splitlines(), f"{entry.name}.tuning_space")
    else:
        space = read_space(file)
    space = space.checked(
        recbole_keys() | our_keys() | own.keys(),
        lambda key: config.key_of(key, own),
        config.final_config_dict,
    )
    fixed = [name for name in space.names if name in settings or name in entry.preset]
    if fixed:
        print(
            "Not searched, because it is fixed: "
            f"{', '.join(f'{name} {config[name]}' for name in fixed)}."
        )
    space = space.without(fixed)
    if not space.parameters:
        raise ConfigError(
            f"{space.file} has nothing to search that is not fixed already ({', '.join(fixed)})."
        )
    return space


def _budget(own: dict[str, str], trials: int) -> Budget:
    """Trials and hours in all; without either so many trials."""
    from recbole_precise.studies.tuning.study import Budget

    hours = number(own, "hours", None, above=0)
    return Budget(
        whole_number(own, "trials", trials if hours is None else None),
        None if hours is None else 3600 * hours,
    )


def _budget_line(budget: Budget) -> str:
    parts = [f"{budget.trials} trials"] if budget.trials is not None else []
    parts += [f"{budget.seconds / 3600:g} hours of trials"] if budget.seconds is not None else []
    return f"{' or '.join(parts)} in all"
