"""One process's share of a study: trial after trial until the budget is used, a line on the screen
for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from recbole_precise.errors import ConfigError
from recbole_precise.studies.tuning.report import settings_line
from recbole_precise.studies.tuning.study import SharedStudy, best_of
from recbole_precise.studies.tuning.trial import Outcome, PreparedData, Stopped, Task, run_trial

if TYPE_CHECKING:
    from optuna.trial import Trial

#: So many trials that fail before any other are taken for a mistake in the settings or the space.
HOPELESS = 5


def work(
    study: SharedStudy,
    task: Task,
    data: PreparedData,
    metric: str,
    say: Callable[[str], None] = print,
) -> None:
    """Run trials of `study` in this process until there is none left to run.

    A process that is interrupted gives its trial back, so that its point is tried again. Raises
    ConfigError when the first `HOPELESS` trials of the study have all failed.
    """
    while (trial := study.begin()) is not None:
        values = study.plan.space.values(trial.params)
        try:
            outcome = run_trial(task, values, data, _watcher(study, trial))
        except BaseException:  # an interrupt, or the process being told to end
            study.fail(trial, {"ended": "interrupted"})
            raise
        _record(study, trial, outcome)
        say(_line(study, trial, outcome, metric))
        _check_hope(study)


def _watcher(study: SharedStudy, trial: Trial) -> Callable[[int, float, float], None]:
    def watch(epoch: int, score: float, seconds: float) -> None:
        study.spend(trial, seconds)
        trial.report(score, epoch)
        if study.time_left() <= 0:
            raise Stopped("cut")
        if trial.should_prune():
            raise Stopped("pruned")

    return watch


def _record(study: SharedStudy, trial: Trial, outcome: Outcome) -> None:
    if outcome.stopped == "pruned":
        study.prune(trial, outcome.found)
    elif outcome.value is not None and math.isfinite(outcome.value):
        study.finish(
            trial,
            outcome.value,
            {**outcome.found, "cut": True} if outcome.stopped == "cut" else outcome.found,
        )
    else:
        outcome.found.setdefault("reason", "There was no validation score.")
        study.fail(trial, outcome.found)


def _line(study: SharedStudy, trial: Trial, outcome: Outcome, metric: str) -> str:
    found, of = (
        outcome.found,
        f" of {study.budget.trials}" if study.budget.trials is not None else "",
    )
    if "reason" in found:
        came = f"failed: {found['reason']}"
    else:
        end = {"": "", "pruned": ", pruned", "cut": ", cut by the end of the budget"}[
            outcome.stopped
        ]
        epochs = (
            f" (best epoch {found['best_epoch']}, {found['epochs']} run)"
            if "best_epoch" in found
            else ""
        )
        came = f"{metric} {outcome.value:.4f}{epochs}, {found['seconds']:.0f} s{end}"
    best = best_of(study.trials(), study.plan.bigger)
    so_far = f" | best {best.value:.4f} (trial {best.number})" if best is not None else ""
    return (
        f"trial {trial.number}{of}: {came} | "
        f"{settings_line(study.plan.space.values(trial.params))}{so_far}"
    )


def _check_hope(study: SharedStudy) -> None:
    trials = study.trials()
    failed = [
        trial for trial in trials if trial.state.name == "FAIL" and "reason" in trial.user_attrs
    ]
    if len(failed) >= HOPELESS and not any(
        trial.state.name in ("COMPLETE", "PRUNED") for trial in trials
    ):
        raise ConfigError(
            f"The first {len(failed)} trials have all failed, the last one so: "
            f"{failed[-1].user_attrs['reason']}"
        )
