"""Two gloo processes for these tests, apart from the fixtures so that they can import it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from trainer_runs import run_small

from recbole_precise.plugin.launch import free_port

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["recbole_precise.quick_start"])


def start(work: Callable[..., Any], arguments: Sequence[Any], count: int = 2) -> tuple[list, Any]:
    """(processes, queue of (rank, outcome)): `work(*arguments)` in processes with torchrun's
    environment.
    """
    port, outcomes = free_port(), _context.SimpleQueue()
    environments = [
        {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": port,
        }
        for rank in range(count)
    ]
    children = [
        _context.Process(
            target=_child, args=(environment, work, tuple(arguments), outcomes), daemon=True
        )
        for environment in environments
    ]
    for child in children:
        child.start()
    return children, outcomes


def in_processes(work: Callable[..., Any], *arguments: Any, count: int = 2) -> list[Any]:
    """What `work(*arguments)` gave in each process.

    A fault in any is an AssertionError with its traceback.
    """
    children, outcomes = start(work, arguments, count)
    found: dict[int, Any] = {}
    while len(found) < count:
        rank, value, fault = outcomes.get()
        if fault:
            for child in children:
                child.kill()
            raise AssertionError(f"process {rank}: {fault}")
        found[rank] = value
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * count
    return [found[rank] for rank in range(count)]


def _child(
    environment: dict[str, str], work: Callable[..., Any], arguments: tuple, outcomes: Any
) -> None:
    import torch

    torch.set_num_threads(1)
    sys.argv = ["test"]
    os.environ.update(environment)
    try:
        outcomes.put((int(environment["RANK"]), work(*arguments), None))
    except Exception:
        outcomes.put((int(environment["RANK"]), None, traceback.format_exc()))
        sys.exit(1)


def run_here(settings: dict[str, Any]) -> dict[str, Any]:
    """One run, as each of the processes makes it."""
    return run_small(settings)


def evaluate_here(run_dir: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Exact metrics and ranks of a finished run's weights, evaluated by as many processes as there
    are.
    """
    from command_lines import command_line

    from recbole_precise.finished import load_data_and_model
    from recbole_precise.plugin.launch import torchrun_settings
    from recbole_precise.plugin.trainer import get_trainer
    from recbole_precise.training.processes import leave

    with command_line([]):
        config, model, _, train, valid, test = load_data_and_model(
            run_dir, {**settings, **torchrun_settings({})}
        )
    trainer = get_trainer(config)(config, model)
    trainer.eval_collector.data_collect(train)
    found = {}
    for name, loader in (("valid", valid), ("test", test)):
        trainer.evaluate(loader, load_best_model=False)
        found[name] = trainer.results[name]
        if name in trainer.ranks:
            ranks = trainer.ranks[name]
            found[f"{name}_ranks"] = [
                ranks.user_id.tolist(),
                ranks.target.tolist(),
                ranks.rank.tolist(),
            ]
    leave()
    return found
