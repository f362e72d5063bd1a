"""`benchmark`: models by data sets by seeds, each cell a run of its own."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.settings import RUN_SETTINGS, need_recbole
from recbole_precise.cli.values import (
    folder,
    number,
    quoted_words,
    switch,
    whole_number,
    whole_numbers,
)
from recbole_precise.config import properties_folder
from recbole_precise.errors import ConfigError
from recbole_precise.system.interrupts import report as report_interrupt
from recbole_precise.system.locking import exclusive

_PATIENCE = 60.0  # seconds to wait for another report that is being written into the same folder


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "run the models, data sets and seeds of a plan, and write tables, paired tests and plots; "
        "goes on where it stopped"
    )
    parser.setting_names = RUN_SETTINGS
    add = parser.add_argument
    add("plans", nargs="*", metavar="PLAN")
    add("--plan", metavar="NAME_OR_YAML", help="a shipped plan or a file of one, as an option")
    parser.suggestions["plan"] = plans
    parser.suggestions["plans"] = plans
    add(
        "--datasets",
        type=quoted_words,
        metavar='"A B"',
        help="data sets of the plan, or one that it names on request alone; default: all but those",
    )
    add(
        "--models",
        type=quoted_words,
        metavar="\"A 'B C'\"",
        help="rows of the plan, names with spaces in quotes; default: all",
    )
    add("--seeds", type=whole_numbers, metavar='"1 2"', help="seeds; default: the plan's")
    add(
        "--against",
        metavar="ROW",
        help="row that every other one is paired with; default: the plan's",
    )
    add(
        "--runs",
        type=folder,
        default="saved/benchmark",
        help="folder of the runs; what is finished there is not run again",
    )
    add("--output", type=folder, metavar="RUNS/report-PLAN", help="folder of the report")
    add("--jobs", type=whole_number(), metavar="2", help="cells at a time; 1 on one core")
    add(
        "--memory_gb",
        type=number(),
        default=2.0,
        help="memory that a cell needs as long as none of its row is finished; 0: do not look at "
        "memory",
    )
    add("--dry_run", type=switch, default=False, help="print the commands alone")
    add(
        "--report_only",
        type=switch,
        default=False,
        help="tables of what is finished, and run nothing",
    )
    add("--plots", type=switch, default=True, help="False: draw nothing, and need no matplotlib")


def main(args: Namespace) -> None:
    """Run what a plan still lacks, write its report and print its tables.

    Raises:
        CellsFailed: a cell failed.
    """
    name = _plan_of(args)
    need_recbole()
    from recbole_precise.studies.benchmark.cells import make_cells
    from recbole_precise.studies.benchmark.plan import read_plan
    from recbole_precise.studies.benchmark.running import CellsFailed
    from recbole_precise.studies.benchmark.write import write_report
    from recbole_precise.studies.figures import need_matplotlib

    if args.plots:
        need_matplotlib()
    plan = read_plan(
        name, seeds=args.seeds, models=args.models, datasets=args.datasets, against=args.against
    )
    cores = _cores()
    jobs = args.jobs or min(2, cores)
    threads = None if "threads" in args.settings else max(1, cores // jobs)
    cells = make_cells(plan, args.runs, args.settings, threads)
    if args.dry_run:
        for cell in cells:
            state = "finished" if cell.finished else "to run  "
            print(f"{state}  {cell.name}: recbole-precise {shlex.join(cell.arguments())}")
        return
    outcomes = _outcomes(args, cells, jobs, threads)
    target = args.output or args.runs / f"report-{plan.name}"
    with exclusive(target, "--output", wait=_PATIENCE):
        written = write_report(plan, outcomes, target, args.command_line, args.plots)
    print(written)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise CellsFailed(
            f"{len(failed)} of {len(cells)} cells failed, the first {failed[0].cell.name}: "
            f"{failed[0].words} The others stand in '{target}'; the same command tries again "
            "what failed."
        )


def plans() -> list[str]:
    """Return the names of the plans that come with the package."""
    return sorted(file.stem for file in Path(properties_folder(), "benchmark").glob("*.yaml"))


def _plan_of(args: Namespace) -> str:
    named = [*args.plans, *([] if args.plan is None else [args.plan])]
    if not named:
        raise ConfigError(f"benchmark needs --plan: one of {', '.join(plans())}, or a YAML file.")
    if len(named) > 1:
        raise ConfigError("benchmark takes one plan: recbole-precise benchmark PLAN.")
    return str(named[0])


def _outcomes(args: Namespace, cells: list[Any], jobs: int, threads: int | None) -> list[Any]:
    """Run the cells that are not finished and return the outcome of every cell."""
    from recbole_precise.studies.benchmark.running import Outcome, Runner

    if args.report_only:
        return [Outcome(cell, "finished" if cell.finished else "waiting") for cell in cells]
    if threads is None:
        threads = _threads_of(args)
    try:
        return Runner(cells, jobs, args.memory_gb, threads, say=_say).run()
    except KeyboardInterrupt as interrupt:
        report_interrupt(
            interrupt,
            f"Interrupted. The same command goes on where it stopped: {args.command_line}",
        )
        raise


def _threads_of(args: Namespace) -> int:
    """Return the setting `threads`, which is one of every cell."""
    try:
        return whole_number()(args.settings["threads"])
    except ArgumentTypeError as error:
        raise ConfigError(f"--threads {error}") from None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
