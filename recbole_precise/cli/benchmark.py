"""`benchmark`: models by data sets by seeds, each cell a run of its own.

Tables, tests and plots of what came out.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_precise.cli.commands import VERBS, need_recbole
from recbole_precise.cli.options import number, switch, whole_number, whole_numbers
from recbole_precise.config.arguments import parse_arguments, positional
from recbole_precise.config.verb_options import take_own
from recbole_precise.errors import ConfigError
from recbole_precise.files import output_folder
from recbole_precise.system.interrupts import report
from recbole_precise.system.locking import exclusive

_RUNS = "saved/benchmark"
_PATIENCE = 60.0  # seconds to wait for another report that is being written into the same folder


def main(arguments: Sequence[str]) -> None:
    """Run what a plan still lacks, write its report and print its tables.

    CellsFailed when a cell failed.
    """
    named, rest = positional(arguments)
    settings = parse_arguments(rest, strict=True)
    if named[1:] or (named and "plan" in settings):
        raise ConfigError(f"benchmark takes one plan: recbole-precise {VERBS['benchmark'].usage}.")
    own = take_own("benchmark", settings)
    plan_name = named[0] if named else own.get("plan")
    if plan_name is None:
        from recbole_precise.studies.benchmark.plan import shipped_plans

        raise ConfigError(
            f"benchmark needs --plan: one of {', '.join(shipped_plans())}, or a YAML file."
        )
    runs = output_folder(own.get("runs", _RUNS), "--runs")
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    jobs, memory_gb, seeds = (
        whole_number(own, "jobs", min(2, cores)),
        number(own, "memory_gb", 2.0),
        whole_numbers(own, "seeds"),
    )
    plots, dry_run, report_only = (
        switch(own, key, default)
        for key, default in (("plots", True), ("dry_run", False), ("report_only", False))
    )
    models, datasets = (_names(own, key) for key in ("models", "datasets"))
    against, output = own.get("against"), own.get("output")
    if output is not None:
        output_folder(output, "--output")  # before anything runs
    need_recbole()
    from recbole_precise.studies.benchmark.cells import make_cells
    from recbole_precise.studies.benchmark.plan import read_plan
    from recbole_precise.studies.benchmark.running import CellsFailed, Outcome, Runner
    from recbole_precise.studies.figures import need_matplotlib

    if plots:
        need_matplotlib()
    plan = read_plan(plan_name, seeds=seeds, models=models, datasets=datasets, against=against)
    threads = None if "threads" in settings else max(1, cores // jobs)
    cells = make_cells(plan, runs, settings, threads)
    if dry_run:
        for cell in cells:
            print(
                f"{'finished' if cell.finished else 'to run  '}  {cell.name}: recbole-precise "
                f"{shlex.join(cell.arguments())}"
            )
        return
    folder = (
        output_folder(output, "--output") if output is not None else runs / f"report-{plan.name}"
    )
    command = "recbole-precise benchmark " + shlex.join(arguments)
    if report_only:
        outcomes = [Outcome(cell, "finished" if cell.finished else "waiting") for cell in cells]
    else:
        runner = Runner(
            cells, jobs, memory_gb, threads or whole_number(settings, "threads", 1), say=_say
        )
        try:
            outcomes = runner.run()
        except KeyboardInterrupt as interrupt:
            report(interrupt, f"Interrupted. The same command goes on where it stopped: {command}")
            raise
    with exclusive(folder, "--output", wait=_PATIENCE):
        written = write_report(plan, outcomes, folder, command, plots)
    print(written)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise CellsFailed(
            f"{len(failed)} of {len(cells)} cells failed, the first {failed[0].cell.name}: "
            f"{failed[0].words} The others stand in '{folder}'; the same command tries again "
            "what failed."
        )


def write_report(plan, outcomes, folder: Path, command: str, plots: bool) -> str:
    """Write table.md, table.csv, table-<data set>.tex, results.json and plots.

    Returns what to print.
    """
    from recbole_precise.runs.checkpoint import write_atomically, write_json
    from recbole_precise.studies.benchmark import plots as pictures
    from recbole_precise.studies.benchmark import tables
    from recbole_precise.studies.benchmark.summary import summarize

    summary = summarize(plan, outcomes, command)
    texts = {"table.md": tables.markdown(summary), "table.csv": tables.csv_text(summary)}
    texts |= {
        f"table-{dataset}.tex": tables.latex(summary, dataset)
        for dataset, part in summary["datasets"].items()
        if part["rows"]
    }
    write_json(folder / "results.json", summary, "the results of the benchmark")
    for name, text in texts.items():
        write_atomically(
            folder / name,
            lambda partial, text=text: partial.write_text(text, encoding="utf-8"),
            "a table",
        )
    drawn = pictures.draw(summary, folder / "plots") if plots else []
    files = ", ".join([*texts, "results.json", *(f"plots/{file.name}" for file in drawn)])
    return f"{texts['table.md']}\nWritten to '{folder}': {files}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _names(options: Mapping[str, str], key: str) -> list[str] | None:
    """`options[key]` as names with blanks between them, None where it is missing.

    A name with a blank in it stands in quotes.
    """
    if key not in options:
        return None
    try:
        names = shlex.split(options[key])
    except ValueError:
        raise ConfigError(
            f"--{key}: a quote in {options[key]} is never closed; a name with a blank stands in "
            f"quotes, as in --{key}=\"Pop 'two words'\"."
        ) from None
    if not names or not all(names):
        raise ConfigError(f"--{key} names nothing; leave it out for all of the plan's.")
    return list(dict.fromkeys(names))
