"""Report what a study found.

There is a table for the terminal and as Markdown, the trials as JSON, and the best settings as
YAML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from recbole_precise.runs.checkpoint import write_atomically, write_json
from recbole_precise.runs.identity import HARMLESS
from recbole_precise.runs.result import numbers, settings_text
from recbole_precise.studies.text_tables import text_table
from recbole_precise.studies.tuning.study import SharedStudy, best_of, seconds_of, was_lost

#: Trials shown on the terminal; the Markdown table has all.
SHOWN = 10


@dataclass(frozen=True)
class Row:
    """A trial as the outputs show it.

    `state` is complete, cut, pruned, failed, lost or under way.
    """

    number: int
    state: str
    value: float | None
    settings: Mapping[str, Any]
    best_epoch: int | None
    epochs: int | None
    seconds: float
    valid: Mapping[str, float]
    reason: str


@dataclass(frozen=True)
class Report:
    """A study as it is.

    Attributes:
        rows: complete trials best first, then pruned, failed and lost ones by number.
        summary: one sentence of what was spent and how points were chosen.
    """

    model: str
    dataset: str
    metric: str
    bigger: bool
    keys: Sequence[str]
    rows: Sequence[Row]
    summary: str

    @property
    def best(self) -> Row | None:
        """The row to choose."""
        return next((row for row in self.rows if row.state in ("complete", "cut")), None)

    def terminal(self) -> str:
        """Write the first rows under the summary."""
        shown = [row for row in self.rows if row.state not in ("lost", "under way")]
        rest = f"\n... and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
        return (
            f"{self.summary}\n\n"
            f"{text_table(self._header(), [self._cells(row) for row in shown[:SHOWN]])}{rest}"
            if shown
            else self.summary
        )

    def markdown(self) -> str:
        """All rows, and why trials failed."""
        header = self._header()
        lines = [
            f"# {self.model} on {self.dataset}",
            "",
            self.summary,
            "",
            _pipes(header),
            _pipes(["---"] * len(header)),
        ]
        lines += [_pipes(self._cells(row)) for row in self.rows]
        failed = [row for row in self.rows if row.reason]
        if failed:
            lines += [
                "",
                "## Why trials failed",
                "",
                *(f"- trial {row.number}: {row.reason}" for row in failed),
            ]
        return "\n".join(lines) + "\n"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        trials = [vars(row) for row in self.rows]
        return numbers(
            {
                "model": self.model,
                "dataset": self.dataset,
                "metric": self.metric,
                "summary": self.summary,
                "trials": trials,
            }
        )

    def _header(self) -> list[str]:
        return [
            "trial",
            f"validation {self.metric}",
            "best epoch",
            "epochs",
            "seconds",
            "state",
            *self.keys,
        ]

    def _cells(self, row: Row) -> list[str]:
        value = "-" if row.value is None else f"{row.value:.4f}"
        epochs = ["-" if number is None else str(number) for number in (row.best_epoch, row.epochs)]
        return [
            str(row.number),
            value,
            *epochs,
            f"{row.seconds:.0f}",
            row.state,
            *(shown(row.settings[key]) if key in row.settings else "-" for key in self.keys),
        ]


def report_of(study: SharedStudy, model: str, dataset: str, metric: str) -> Report:
    """Return the report of a study as its storage holds it now, with all processes' trials."""
    plan, trials = study.plan, study.trials()
    rows = [
        _row(trial, plan.space.values(trial.params))
        for trial in trials
        if trial.state.name != "WAITING"
    ]
    places = {"complete": 0, "cut": 0, "pruned": 1, "failed": 2, "lost": 3, "under way": 4}
    rows.sort(
        key=lambda row: (
            places[row.state],
            _by_value(row, plan.bigger) if places[row.state] == 0 else 0.0,
            row.number,
        )
    )
    return Report(
        model,
        dataset,
        metric,
        plan.bigger,
        plan.space.names,
        rows,
        _summary(study, rows, trials, metric),
    )


def write_report(folder: Path, report: Report, given: Mapping[str, Any]) -> list[Path]:
    """Write trials.md, trials.json and, when a trial is complete, best.yaml; returns the files.

    Args:
        given: settings of the best trial that are no defaults, as its Config was given them.
    """
    files = [folder / "trials.md", folder / "trials.json"]
    write_atomically(
        files[0],
        lambda partial: partial.write_text(report.markdown(), encoding="utf-8"),
        "the table of trials",
    )
    write_json(files[1], report.plain(), "the trials")
    if report.best is not None:
        files.append(folder / "best.yaml")
        text = best_yaml(report, given)
        write_atomically(
            files[-1],
            lambda partial: partial.write_text(text, encoding="utf-8"),
            "the best settings",
        )
    return files


def best_yaml(report: Report, given: Mapping[str, Any]) -> str:
    """Write the best settings as a file for `--config_files`."""
    best = report.best
    assert best is not None
    settings = {
        key: value
        for key, value in given.items()
        if key not in HARMLESS and key not in ("model", "dataset")
    }
    where = f" --data_path={given['data_path']}" if "data_path" in given else ""
    cut = (
        "\n# The end of the budget cut this trial: trained to its end it may differ."
        if best.state == "cut"
        else ""
    )
    return (
        f"# {report.summary}\n"
        f"# Trial {best.number}: validation {report.metric} {best.value!r}, and the test data "
        f"not looked at.{cut}\n"
        f"# Run it with: recbole-precise --model={report.model} "
        f"--dataset={report.dataset}{where} --config_files=best.yaml\n"
    ) + settings_text(settings)


def settings_line(settings: Mapping[str, Any]) -> str:
    """Write settings in a line of text."""
    return ", ".join(f"{key} {shown(value)}" for key, value in settings.items())


def shown(value: Any) -> str:
    """Write a value as tables show it: numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)


def _row(trial: FrozenTrial, settings: Mapping[str, Any]) -> Row:
    kept = trial.user_attrs
    state = {
        "COMPLETE": "cut" if kept.get("cut") else "complete",
        "PRUNED": "pruned",
        "FAIL": "lost" if was_lost(trial) else "failed",
    }.get(trial.state.name, "under way")
    value = trial.value if state in ("complete", "cut", "pruned") else None
    return Row(
        trial.number,
        state,
        value,
        settings,
        kept.get("best_epoch"),
        kept.get("epochs"),
        kept.get("seconds", 0.0),
        kept.get("valid", {}),
        kept.get("reason", "") if state == "failed" else "",
    )


def _by_value(row: Row, bigger: bool) -> float:
    value = row.value if row.value is not None else 0.0
    return -value if bigger else value


def _summary(
    study: SharedStudy, rows: Sequence[Row], trials: Sequence[FrozenTrial], metric: str
) -> str:
    states = [row.state for row in rows]
    parts = [
        f"{states.count(state)} {state}"
        for state in ("complete", "cut", "pruned", "failed", "lost", "under way")
        if state in states
    ]
    total = len([state for state in states if state != "lost"])
    best = best_of(trials, study.plan.bigger)
    chosen = (
        f"best validation {metric} {best.value:.4f} in trial {best.number}"
        if best is not None
        else "no trial is complete"
    )
    plan = study.plan
    return (
        f"{total} trials ({', '.join(parts)}) in {_duration(seconds_of(trials))} of trials, "
        f"sampler {plan.sampler}, pruner {plan.pruner}, "
        f"seed {plan.seed}: {chosen}. Chosen on validation data alone."
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.2f} hours" if seconds >= 360 else f"{seconds:.0f} seconds"


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
