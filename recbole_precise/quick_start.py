"""RecBole's functions with RecBole's signatures: run a model on a data set.

Each run leaves a directory that documents all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from logging import WARNING, getLogger
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import psutil
import torch
from recbole.data.transform import construct_transform
from recbole.utils import get_flops, get_gpu_usage, init_seed, set_color
from texttable import Texttable

from recbole_precise.errors import CheckpointError, ConfigError
from recbole_precise.evaluation.draws import own_draws
from recbole_precise.evaluation.metrics import rank_metric_names
from recbole_precise.evaluation.parts import test_cases
from recbole_precise.evaluation.slices import Cases, row_slices, slice_report
from recbole_precise.files import write_json
from recbole_precise.models.build import build_model
from recbole_precise.next_steps import after_a_run, resume_command
from recbole_precise.plugin.config import Config
from recbole_precise.plugin.data_settings import scene_view_of
from recbole_precise.plugin.launch import (
    RECBOLES_PORT,
    check_launch,
    free_port,
    start_processes,
    torchrun_settings,
    under_torchrun,
)
from recbole_precise.plugin.preparation import create_dataset, data_preparation
from recbole_precise.plugin.trainer import get_trainer
from recbole_precise.plugin.training_settings import cold_settings, processes_of, weights_to_load
from recbole_precise.registry import entry_of_class
from recbole_precise.runs.checked import read_checked
from recbole_precise.runs.folder import RunFolder
from recbole_precise.runs.identity import settings_identity
from recbole_precise.runs.result import (  # fmt: skip
    RANKS,
    RESULT,
    environment,
    metrics_of,
    peak_memory_mb,
    protocol_of,
    write_ranks,
    write_result,
)
from recbole_precise.system.interrupts import mark_reported
from recbole_precise.system.logs import log_to, on_a_terminal
from recbole_precise.training.cold_report import cold_ranks, cold_report, write_cold_ranks
from recbole_precise.training.processes import Processes, leave


def run(
    model: str | type,
    dataset: str,
    config_file_list: list[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    saved: bool = True,
    nproc: int = 1,
    world_size: int = -1,
    ip: str = "localhost",
    port: str | None = None,
    group_offset: int = 0,
    *,
    command_line: Sequence[str] | None = None,
) -> dict[str, Any] | None:
    """Run in this process, or in `nproc` processes of RecBole's kind (docs/distributed.md).

    Arguments and result as `recbole.quick_start.run`.

    Args:
        port: by default any free one, and RecBole's 5678 where other machines must know it.
        command_line: as of `Config`.
    """
    check_launch(nproc, world_size, ip, port, group_offset)
    if nproc == 1 and world_size <= 0:
        return run_recbole(
            model, dataset, config_file_list, config_dict, saved, command_line=command_line
        )
    if under_torchrun():
        raise ConfigError(
            "torchrun has started the processes already: leave out nproc and world_size."
        )
    import torch.multiprocessing as mp

    # A mistake is reported before processes are started.
    config = Config(model, dataset, config_file_list, config_dict, command_line=command_line)
    world_size = nproc if world_size == -1 else world_size
    port = port or (free_port() if world_size == nproc else RECBOLES_PORT)
    launch = {
        "world_size": world_size,
        "ip": ip,
        "port": port,
        "nproc": nproc,
        "offset": group_offset,
    }
    queue = mp.get_context("spawn").SimpleQueue()
    kwargs = {
        "config_dict": {**(config_dict or {}), **launch},
        "queue": queue,
        "saved": saved,
        "command_line": config.command_line,
    }
    if isinstance(model, type):
        # A class travels to another process by name alone.
        model = entry_of_class(model).source or model
    start_processes(run_recboles, (model, dataset, config_file_list, kwargs), nproc)
    return None if queue.empty() else queue.get()


def run_recboles(rank: int, *args: Any) -> None:
    """One of the processes of `run`; as `recbole.quick_start.run_recboles`."""
    kwargs = args[-1]
    if not isinstance(kwargs, MutableMapping):
        raise ValueError(
            f"The last argument of run_recboles should be a dict, but got {type(kwargs)}"
        )
    kwargs["config_dict"] = {**kwargs.get("config_dict", {}), "local_rank": rank}
    run_recbole(*args[:3], **kwargs)


def run_recbole(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: list[str] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    saved: bool = True,
    queue: Any = None,
    *,
    command_line: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Train, validate and test a model; arguments and result as `recbole.quick_start.run_recbole`.

    With `saved`, the run directory holds result.json, config.yaml, ranks.npz, the weights and the
    log. With `resume`, a run goes on where it stopped, and one that has ended gives its result
    again. Started by torchrun, it is one process of the run. `command_line`: as of `Config`.
    """
    started = perf_counter()
    config_dict = {**(config_dict or {}), **torchrun_settings(config_dict or {})}
    config = Config(
        model=model,
        dataset=dataset,
        config_file_list=config_file_list,
        config_dict=config_dict,
        command_line=command_line,
    )
    if config["threads"]:
        torch.set_num_threads(config["threads"])
    if config["single_spec"] and (config["nproc"] or 1) > 1:
        raise ConfigError(
            "nproc is read from the command line (--nproc=2) or given to `run`, not from config "
            "files or config_dict."
        )
    init_seed(config["seed"], config["reproducibility"])
    processes = processes_of(config)
    folder = _folder_of(config, processes) if saved else None
    own_folder = folder if processes.first else None  # only the first process writes

    held = ExitStack()

    def ended_before() -> bool:
        """Claim the run directory; whether the run in it has ended."""
        assert folder is not None, "a run that is not saved has no directory"
        held.enter_context(folder.hold())
        folder.claim(bool(config["resume"]))
        if config["resume"]:
            folder.check_settings(settings_identity(config.final_config_dict))
        return bool(config["resume"]) and (folder.path / RESULT).exists()

    with held:
        ended = processes.first_does(ended_before) if saved else False
        log_file = None if own_folder is None else own_folder.path / "train.log"
        with log_to(log_file, config["state"]):
            logger = getLogger()
            try:
                if ended:
                    assert folder is not None, "a run that has ended has a directory"
                    result = processes.first_does(partial(_result_again, config, folder))
                else:
                    result = _run(config, processes, own_folder, saved, started)
            except KeyboardInterrupt as interrupt:
                if own_folder is not None:
                    # Whatever `state` leaves out of the log, this line is in it.
                    level = max(WARNING, logger.getEffectiveLevel())
                    logger.log(
                        level,
                        "Interrupted. Go on with: "
                        f"{resume_command(config, own_folder.path, config_file_list)}",
                    )
                    mark_reported(interrupt)
                raise
    leave()
    if processes.first and queue is not None:
        queue.put(result)
    return result


def _run(
    config: Config, processes: Processes, folder: RunFolder | None, saved: bool, started: float
) -> dict[str, Any]:
    logger = getLogger()
    logger.info(sys.argv)
    logger.info(config)
    seconds: dict[str, float] = {}

    dataset = create_dataset(config)
    logger.info(dataset)
    train_data, valid_data, test_data = data_preparation(config, dataset)
    seconds["data"] = perf_counter() - started
    init_seed(config["seed"] + processes.rank, config["reproducibility"])
    begin = perf_counter()
    model = build_model(config, train_data._dataset, weights_to_load(config))
    # A model with text has its item texts read, or their cache opened, while it is built.
    seconds["encode"] = perf_counter() - begin if getattr(model, "text_encoder", None) else 0.0
    logger.info(model)
    if config["log_flops"]:
        with own_draws():  # a transform draws
            flops = get_flops(model, dataset, config["device"], logger, construct_transform(config))
        logger.info(set_color("FLOPs", "blue") + f": {flops}")
    trainer = get_trainer(config)(config, model)

    bars = bool(config["show_progress"]) and on_a_terminal()
    best_valid_score, best_valid_result = trainer.fit(
        train_data, valid_data, saved=saved, show_progress=bars
    )
    begin = perf_counter()
    test_result = trainer.evaluate(test_data, load_best_model=saved, show_progress=bars)
    tested = perf_counter() - begin

    logger.info(
        "The running environment of this training is as follows:\n"
        + _usage(config, perf_counter() - started)
    )
    logger.info(set_color("best valid ", "yellow") + f": {best_valid_result}")
    logger.info(set_color("test result", "yellow") + f": {test_result}")
    if folder is not None:
        if "test" in getattr(trainer, "ranks", {}):
            histories = {"test": test_cases(test_data._dataset).history}
            write_ranks(folder.path / RANKS, {"test": trainer.ranks["test"]}, dataset, histories)
        spent = (
            trainer.progress.seconds
            if hasattr(trainer, "progress")
            else {"train": 0.0, "evaluate": 0.0}
        )
        seconds.update(train=spent["train"], evaluate=spent["evaluate"] + tested)
        # Sessions before an interruption count too.
        seconds["total"] = max(sum(seconds.values()), perf_counter() - started)
        report = _report(
            config,
            model,
            trainer,
            train_data._dataset,
            test_data._dataset,
            best_valid_result,
            test_result,
            seconds,
        )
        held_out = getattr(train_data._dataset, "held_out", None)
        if held_out is not None and test_result is not None:
            report["cold"] = _cold(config, model, train_data._dataset, test_data._dataset, folder)
        write_result(folder.path / RESULT, report, copy=config["result_file"])
        logger.info(f"Result written: {folder.path / RESULT}")
        if (commands := after_a_run(config, folder.path, dataset)) is not None:
            logger.info(commands)
    return {
        "best_valid_score": best_valid_score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": best_valid_result,
        "test_result": test_result,
    }


def _cold(config: Config, model, train_set, test_set, folder: RunFolder) -> dict[str, Any]:
    """Rank the held-out items, report it in the log and leave the ranks in cold.npz."""
    found = cold_ranks(model, train_set, test_set, cold_settings(config))
    write_cold_ranks(folder.path / "cold.npz", found, train_set)
    report = cold_report(found, int(train_set.held_out.sum()))
    for protocol in found:
        metrics = {
            name: {metric: round(value["mean"], 4) for metric, value in row.items()}
            for name, row in report[protocol]["metrics"].items()
        }
        getLogger().info(
            set_color("held-out items", "yellow")
            + f" among themselves ({protocol}, {report[protocol]['cases']} cases): {metrics}"
        )
    return report


def _usage(config: Config, seconds: float) -> str:
    """Return RecBole's table of the machine.

    With the mean load of this process instead of the load of one more second.
    """
    memory = psutil.Process().memory_info().rss / 2**30
    total = psutil.virtual_memory().total / 2**30
    table = Texttable()
    table.set_cols_align(["l", "c"])
    table.add_rows(
        [
            ["Environment", "Usage"],
            [
                "CPU",
                f"{100 * process_time() / max(seconds, 1e-9) / (psutil.cpu_count() or 1):.2f} %",
            ],
            [
                "GPU",
                get_gpu_usage(config["device"]) if config["device"].type == "cuda" else "0.0 / 0.0",
            ],
            ["Memory", f"{memory:.2f} G/{total:.2f} G"],
        ]
    )
    return table.draw()


def _report(
    config, model, trainer, train_set, test_set, best_valid, test, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Build the content of result.json."""
    progress = getattr(trainer, "progress", None)
    exact = getattr(trainer, "results", {})
    slices: dict[str, Any] = {}
    if (
        "test" in getattr(trainer, "ranks", {})
        and config["slices"]
        and hasattr(train_set, "train_item_counts")
    ):
        ranks = trainer.ranks["test"]
        cases = Cases.of(
            ranks.target,
            test_set.history(slice(None)),
            train_set.train_item_counts(),
            getattr(train_set, "held_out", None),
        )
        slices = slice_report(
            ranks,
            row_slices(cases, config["slices"]),
            rank_metric_names(config["metrics"]),
            config["topk"],
        )
    return {
        "model": config["model"],
        "dataset": config["dataset"],
        "recipe": config["recipe"],
        "seed": config["seed"],
        "protocol": protocol_of(config, train_set.item_num),
        "scene_view": scene_view_of(config),
        "valid": metrics_of(
            progress.best_exact if progress is not None and progress.best_exact else best_valid
        ),
        "test": metrics_of(exact.get("test") or test),
        "test_cases": test_cases(test_set).digest(),
        "slices": slices,
        "phases": progress.phases if progress is not None else [],
        "curve": progress.curve() if progress is not None else [],
        "seconds": dict(seconds),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "peak_memory_mb": peak_memory_mb(),
        "environment": environment(config["device"]),
        "text_encoder": getattr(model, "text_encoder", None),
    }


def _result_again(config: Config, folder: RunFolder) -> dict[str, Any]:
    """Return the return value of a run that has ended, from what it left.

    Nothing is trained or evaluated.
    """
    finished = folder.load_final()
    if finished is None:
        raise CheckpointError(
            f"'{folder.path}' holds a {RESULT} but no state.json: it was not left by a run that "
            "can be resumed. Choose another run_dir."
        )
    report = read_checked(folder.path).result
    getLogger().info(f"The run in '{folder.path}' has ended; this is its result.")
    if config["result_file"]:
        write_json(Path(config["result_file"]), report, "the copy of the result")
    places = config["metric_decimal_place"]
    rounded = [
        {name: round(value, places) for name, value in report[split].items()} or None
        for split in ("valid", "test")
    ]
    worst = -float("inf") if config["valid_metric_bigger"] else float("inf")
    return {
        "best_valid_score": report["valid"].get(config["valid_metric"].lower(), worst),
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": rounded[0],
        "test_result": rounded[1],
    }


def _folder_of(config: Config, processes: Processes) -> RunFolder:
    """Return the run directory, named by the time where the settings name none.

    The settings of every process know it afterwards.
    """
    if not config["run_dir"]:
        parent = Path(config["checkpoint_dir"])
        name = f"{config['model']}-{config['dataset']}"
        config["run_dir"] = processes.first_does(lambda: str(RunFolder.made(parent, name).path))
    return RunFolder(Path(config["run_dir"]))


def objective_function(
    config_dict: Mapping[str, Any] | None = None,
    config_file_list: list[str] | None = None,
    saved: bool = True,
) -> dict[str, Any]:
    """One trial of RecBole's HyperTuning.

    Arguments and result as `recbole.quick_start.objective_function`.
    """
    config = Config(
        config_dict=config_dict, config_file_list=config_file_list, drawn=config_dict or ()
    )
    with log_to(None, "error"):
        trained = train_model(config, saved=saved)
        test_result = trained.trainer.evaluate(trained.loaders[2], load_best_model=saved)
    return {
        "model": config["model"],
        "best_valid_score": trained.best_valid_score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": trained.best_valid_result,
        "test_result": test_result,
    }


@dataclass(frozen=True)
class Trained:
    """A model after training.

    Its trainer, the loaders (training, validation, test), and the best validation.

    `best_valid_score` and `valid` are exact, `best_valid_result` is rounded as RecBole prints it.
    """

    trainer: Any
    loaders: tuple
    best_valid_score: float
    best_valid_result: Mapping[str, float] | None

    @property
    def valid(self) -> dict[str, float]:
        """Return the validation metrics of the best epoch."""
        progress = getattr(self.trainer, "progress", None)
        return metrics_of(
            progress.best_exact
            if progress is not None and progress.best_exact
            else self.best_valid_result
        )


def train_model(
    config: Config,
    prepare: Callable[[Config], tuple] | None = None,
    callback_fn: Callable[[int, float], Any] | None = None,
    saved: bool = True,
) -> Trained:
    """Train and validate a model, as quietly as the log allows; the test data is not looked at.

    Args:
        prepare: settings -> loaders; default: read and split the data.
        callback_fn: called with (epoch, validation score) after each validation; what it raises
            ends the training.
    """
    init_seed(config["seed"], config["reproducibility"])
    loaders = (
        data_preparation(config, create_dataset(config)) if prepare is None else prepare(config)
    )
    init_seed(config["seed"], config["reproducibility"])
    model = build_model(config, loaders[0]._dataset, weights_to_load(config))
    trainer = get_trainer(config)(config, model)
    score, result = trainer.fit(
        loaders[0], loaders[1], verbose=False, saved=saved, callback_fn=callback_fn
    )
    return Trained(trainer, loaders, score, result)
