"""Make the numbers of a benchmark, as plain values for results.json.

They are what its tables and plots show, and nothing that they do not.
"""

from __future__ import annotations

import math
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.errors import CheckpointError, DataError, UserError
from recbole_precise.evaluation.list_metrics import SMALLER_IS_BETTER, is_list_metric, is_share
from recbole_precise.evaluation.metrics import is_rank_metric, per_case
from recbole_precise.runs.checked import CheckedRun, read_checked
from recbole_precise.runs.result import RESULT, numbers
from recbole_precise.studies.benchmark.cells import Cell
from recbole_precise.studies.benchmark.pairing import (
    Runs,
    cases_difference,
    compare_runs,
    corrected,
    protocol_difference,
    read_runs,
)
from recbole_precise.studies.benchmark.plan import BenchmarkPlan, Row
from recbole_precise.studies.benchmark.running import Outcome
from recbole_precise.system.clock import timestamp


def summarize(
    plan: BenchmarkPlan, outcomes: Sequence[Outcome], command: str = ""
) -> dict[str, Any]:
    """Means, spreads, places, gains and paired tests of what is finished.

    Raises:
        DataError: rows are not comparable. CheckpointError: a run's files contradict each other, or
            its cell.

    Returns:
        {"plan", "title", "note", "command", "commit", "made", "environment", "hours", "metrics",
        "slices", "percent", "datasets": {name: {"protocol", "cases", "valid_cases", "rows": [...],
        "published": [...], "best_baseline": {metric: row}}}, "significance": {"against",
        "confidence", "tests": [...]} or None, "failed": [...], "waiting": [...]}
    """
    datasets = {}
    runs = {}
    hours = 0.0
    environments = []
    read = cache(read_checked)  # several rows may begin after one run
    for dataset in plan.datasets:
        rows: list[dict[str, Any]] = []
        tested: list[tuple[str, CheckedRun]] = []
        for row in plan.rows:
            mine = [
                outcome
                for outcome in outcomes
                if outcome.cell.dataset == dataset and outcome.cell.row.name == row.name
            ]
            chains = [outcome.cell.chain() for outcome in mine if outcome.status == "finished"]
            if not chains:
                continue
            folders = [chain[-1].folder for chain in chains]
            checked = [[_run_of(cell, read) for cell in chain] for chain in chains]
            ways = [[run.result for run in way] for way in checked]
            results = [way[-1] for way in ways]
            try:
                hours += sum(result["seconds"]["total"] for result in results) / 3600
                environments += [result["environment"] for result in results]
                rows.append(_row(plan, row, [way[-1] for way in checked], ways))
                tested += [(row.name, way[-1]) for way in checked]
            except (KeyError, TypeError, AttributeError) as error:
                raise CheckpointError(
                    f"A {RESULT} of the row '{row.name}' on {dataset} ('{folders[0].parent}') "
                    f"lacks what a table needs: {error!r}."
                ) from error
            runs[dataset, row.name] = folders
        _check_protocols(dataset, rows)
        _check_cases(dataset, tested)
        best = _judge(plan, rows)
        published = [
            {
                "name": entry.name,
                "source": entry.source,
                "note": entry.note,
                "test": dict(entry.values[dataset]),
            }
            for entry in plan.published
            if dataset in entry.values
        ]
        counts = {key: rows[0][key] if rows else 0 for key in ("cases", "valid_cases")}
        datasets[dataset] = {
            "protocol": rows[0]["protocol"] if rows else None,
            **counts,
            "rows": rows,
            "published": published,
            "best_baseline": best,
        }
    return numbers(
        {
            "plan": plan.name,
            "title": plan.title,
            "note": plan.note,
            "command": command,
            "commit": commit(),
            "made": timestamp(),
            "environment": _one_environment(environments),
            "hours": hours,
            "metrics": list(plan.metrics),
            "slices": list(plan.slices),
            "percent": plan.percent,
            "datasets": datasets,
            "significance": _significance(plan, runs),
            "failed": [
                {"cell": o.cell.name, "folder": str(o.cell.folder), "words": o.words}
                for o in outcomes
                if o.status == "failed"
            ],
            "waiting": [o.cell.name for o in outcomes if o.status == "waiting"],
        }
    )


def commit(folder: Path | None = None) -> str | None:
    """Return the commit of this package where it is in a checkout; None elsewhere.

    It has `+changes` when files differ from it.
    """
    folder = folder or Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout.strip()

    try:
        if not git("ls-files", "recbole_precise/studies/benchmark/summary.py"):
            return None  # an installed copy inside another repository
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def spread(values: Sequence[float]) -> dict[str, Any]:
    """`values`, their mean and their sample standard deviation (None for a single one)."""
    return {
        "values": list(values),
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
    }


def _run_of(cell: Cell, read: Callable[[Path], CheckedRun]) -> CheckedRun:
    """Return the run of a cell.

    Raises:
        CheckpointError: the directory holds another cell's run.
    """
    run = read(cell.folder)
    wanted = {"model": cell.row.model, "dataset": cell.source, "seed": cell.seed}
    for key, value in wanted.items():
        if run.result[key] != value:
            raise CheckpointError(
                f"'{cell.folder / RESULT}' is of a run with {key} {run.result[key]!r}, but the "
                f"directory is that of {cell.name} "
                f"({key} {value!r}). Delete '{cell.folder}'; the same command runs it again."
            )
    return run


def _row(
    plan: BenchmarkPlan,
    row: Row,
    runs: Sequence[CheckedRun],
    ways: Sequence[Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Make a row of the table.

    Args:
        runs: one for each seed.
        ways: for each seed the results of the runs that led to it, its own last; times and epochs
            are of all of them.
    """
    results = [run.result for run in runs]
    splits: dict[str, dict[str, Any]] = {}
    for split in ("valid", "test"):
        splits[split] = {}
        for metric in plan.metrics:
            values = [_value(run, split, metric) for run in runs]
            known = [value for value in values if value is not None]
            if len(known) == len(values):
                splits[split][metric] = spread(known)
    slices = {}
    for name in plan.slices:
        parts = [result["slices"].get(name) for result in results]
        if None in parts:
            continue
        # The rows of a slice follow from the training data, which all seeds share.
        slices[name] = {
            "n": parts[0]["n"],
            **{
                metric: spread([part["test"][metric] for part in parts])
                for metric in plan.metrics
                if all(metric in part["test"] for part in parts)
            },
        }
    curves = [_curve(way, plan.metrics[0]) for way in ways]
    return {
        "name": row.name,
        "model": row.model,
        "recipe": results[0]["recipe"],
        "baseline": row.baseline,
        "note": row.note,
        "after": row.after,
        "draws_nothing": row.draws_nothing,
        "seeds": [result["seed"] for result in results],
        "seeds_wanted": len(row.seeds),
        "folders": [str(run.folder) for run in runs],
        "protocol": results[0]["protocol"],
        "protocols": [result["protocol"] for result in results],
        "cases": _cases(runs[0], "test"),
        "valid_cases": _cases(runs[0], "valid"),
        **splits,
        "slices": slices,
        "curves": curves,
        "seconds": {
            kind: spread([sum(result["seconds"].get(kind, 0.0) for result in way) for way in ways])
            for kind in ("train", "total")
        },
        "epochs": [
            sum(phase["epochs"] for result in way for phase in result["phases"]) for way in ways
        ],
        "parameters": results[0]["parameters"],
        "peak_memory_mb": max(result["peak_memory_mb"] for result in results),
        "text_encoder": results[0]["text_encoder"],
    }


def _curve(way: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return the validation metric of a run, epoch by epoch.

    `seconds` are counted from the beginning of the first run that led to it; `tested`: of the last
    phase, whose best weights are tested.
    """
    *before, last = (result.get("curve", []) for result in way)
    spent = sum(curve[-1]["seconds"] for curve in before if curve)
    return [
        {
            "epoch": record["epoch"],
            "seconds": spent + record["seconds"],
            "valid": (record["valid"] or {}).get(metric),
            "tested": record.get("phase") == last[-1].get("phase"),
        }
        for record in last
    ]


def _value(run: CheckedRun, split: str, metric: str) -> float | None:
    """Return a metric of a run: that of result.json, else from its ranks.

    None where neither has it.
    """
    if run.result[split].get(metric) is not None:
        return run.result[split][metric]
    if split not in run.ranks or not is_rank_metric(metric.partition("@")[0]):
        return None
    return float(per_case(run.ranks[split].rank, metric).mean())


def _cases(run: CheckedRun, split: str) -> int:
    if split in run.ranks:
        return len(run.ranks[split])
    return run.result.get("test_cases", {}).get("rows", 0) if split == "test" else 0


def _check_cases(dataset: str, tested: Sequence[tuple[str, CheckedRun]]) -> None:
    """Refuse rows, or seeds of a row, that were tested on different cases."""
    for name, run in tested[1:]:
        first_name, first = tested[0]
        text = cases_difference(
            first.result, run.result, first.cases, run.cases, f"'{first_name}'", f"'{name}'"
        )
        if text is not None:
            raise DataError(
                f"'{first_name}' and '{name}' on {dataset} were not tested on the same cases and "
                f"cannot stand in one table: {text}. Their "
                f"results are in '{first.folder}' and '{run.folder}'; look for events that one "
                "of them dropped (load_col, filters, other files)."
            )


def _check_protocols(dataset: str, rows: list[dict[str, Any]]) -> None:
    """Refuse rows of different protocols; leaves one protocol in each row."""
    for row in rows:
        for protocol in row.pop("protocols"):
            difference = protocol_difference(rows[0]["protocol"], protocol)
            if difference:
                key, first, other = difference
                raise DataError(
                    f"'{rows[0]['name']}' and '{row['name']}' on {dataset} were ranked under "
                    f"different protocols ({key}: {first} and {other}) and cannot "
                    f"stand in one table; their results are in '{rows[0]['folders'][0]}' and "
                    f"'{row['folders'][0]}'."
                )


def _judge(plan: BenchmarkPlan, rows: list[dict[str, Any]]) -> dict[str, str]:
    """Give each row its place (1 best, 2 second) and its gain over the best baseline, by metric.

    Returns the best baselines.
    """
    best = {}
    for metric in plan.metrics:
        having = [row for row in rows if metric in row["test"]]
        bigger = metric.partition("@")[0] not in SMALLER_IS_BETTER
        order = sorted({row["test"][metric]["mean"] for row in having}, reverse=bigger)
        baselines = [row for row in having if row["baseline"]]
        top = (
            min(baselines, key=lambda row: order.index(row["test"][metric]["mean"]))
            if baselines
            else None
        )
        if top is not None:
            best[metric] = top["name"]
        for row in having:
            entry = row["test"][metric]
            entry["place"] = (
                order.index(entry["mean"]) + 1 if order.index(entry["mean"]) < 2 else None
            )
            base = top["test"][metric]["mean"] if top is not None and not row["baseline"] else None
            entry["gain"] = _gain(entry["mean"], base, bigger) if base else None
    return best


def _gain(mean: float, base: float, bigger: bool) -> float:
    """How much better a mean is than the baseline's, as a share of it."""
    return mean / base - 1 if bigger else 1 - mean / base


def _significance(
    plan: BenchmarkPlan, runs: Mapping[tuple[str, str], Sequence[Path]]
) -> dict[str, Any] | None:
    """Paired tests of every row against the plan's, Holm-corrected over the whole benchmark.

    `skipped` says what could not be paired.
    """
    metrics = [metric for metric in plan.metrics if not is_list_metric(metric)]
    if plan.against is None or not metrics:
        return None
    found = {}
    skipped = []
    for dataset in plan.datasets:
        if (dataset, plan.against) not in runs:
            continue
        opponent: Runs | None = None
        for row in plan.rows:
            if row.name == plan.against or (dataset, row.name) not in runs:
                continue
            try:
                opponent = opponent or read_runs(runs[dataset, plan.against])
                tests = compare_runs(
                    read_runs(runs[dataset, row.name]),
                    opponent,
                    metrics,
                    confidence=plan.confidence,
                    n_resamples=plan.resamples,
                )
            except UserError as error:
                skipped.append({"dataset": dataset, "row": row.name, "why": str(error)})
                continue
            found.update({(dataset, row.name, metric): test for metric, test in tests.items()})
    adjusted = corrected({key: test.p_value for key, test in found.items()})
    rows = [
        {
            "dataset": key[0], "row": key[1], "metric": key[2], **test.to_dict(),
            "p_holm": adjusted[key],
            "significant": adjusted[key] < 1 - plan.confidence and (test.low > 0 or test.high < 0),
        }
        for key, test in found.items()
    ]  # fmt: skip
    return {
        "against": plan.against,
        "confidence": plan.confidence,
        "resamples": plan.resamples,
        "tests": rows,
        "skipped": skipped,
    }


def _one_environment(environments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the cells ran on: a value, or a list of values where cells differ."""
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for environment in environments for key in environment):
        values = list(dict.fromkeys(environment.get(key) for environment in environments))
        merged[key] = values[0] if len(values) == 1 else values
    return merged


def scale(value: float, percent: bool, metric: str = "") -> str:
    """Write a metric as it is printed.

    It has two decimals of a percentage, or four of a fraction or of what is no share.
    """
    if value is None or not np.isfinite(value):
        return "-"
    percent = percent and is_share(metric)
    return f"{100 * value:.2f}" if percent else f"{value:.4f}"


def sign_test(
    summary: Mapping[str, Any], dataset: str, row: str, metric: str
) -> Mapping[str, Any] | None:
    """Return the paired test of a row and a metric, None without one."""
    tests = (summary["significance"] or {}).get("tests", [])
    return next(
        (
            test
            for test in tests
            if (test["dataset"], test["row"], test["metric"]) == (dataset, row, metric)
        ),
        None,
    )


def p_text(p: float) -> str:
    """Write a p-value with two digits, `<0.001` below that."""
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def is_number(value: Any) -> bool:
    """Whether a value of results.json is a number that can be drawn."""
    return isinstance(value, (int, float)) and math.isfinite(value)
