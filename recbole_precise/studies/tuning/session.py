"""Do one process's share of a study.

It runs trial after trial until the budget is used, and prints a line on the screen for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from optuna.exceptions import TrialPruned
from optuna.trial import FrozenTrial, Trial, TrialState

from recbole_precise.errors import ConfigError
from recbole_precise.studies.tuning import store
from recbole_precise.studies.tuning.report import settings_line
from recbole_precise.studies.tuning.study import SharedStudy, best_of
from recbole_precise.studies.tuning.trial import PreparedData, Stopped, Task, run_trial

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

    Raises:
        ConfigError: the first `HOPELESS` trials of the study have all failed.
        KeyboardInterrupt: the trial under way is lost, and its point is tried again later.
    """

    def objective(trial: Trial) -> float:
        return _run(study, task, data, trial)

    while True:
        trial = study.run_next(objective)
        if trial is not None:
            trials = study.trials()
            say(_line(study, trial, trials, metric))
            _check_hope(trials)
        elif not study.wait_for_lost(say):
            return


def _run(study: SharedStudy, task: Task, data: PreparedData, trial: Trial) -> float:
    """Return the value of a trial, NaN where it failed; what else was found is kept with it."""

    def watch(epoch: int, score: float, seconds: float) -> None:
        study.spend(trial, seconds)
        trial.report(score, epoch)
        if study.time_left() <= 0:
            raise Stopped("cut")
        if trial.should_prune():
            raise Stopped("pruned")

    outcome = run_trial(task, study.plan.space.values(trial.params), data, watch)
    found = dict(outcome.found)
    value = math.nan if outcome.value is None else outcome.value
    if outcome.stopped == "cut":
        found["cut"] = True
    if outcome.stopped != "pruned" and not math.isfinite(value):
        found.setdefault("reason", "There was no validation score.")
        value = math.nan
    for key, kept in found.items():
        trial.set_user_attr(key, kept)
    if outcome.stopped == "pruned":
        raise TrialPruned
    return value


def _line(
    study: SharedStudy, trial: FrozenTrial, trials: Sequence[FrozenTrial], metric: str
) -> str:
    parts = [_came(trial, metric), settings_line(study.plan.space.values(trial.params))]
    best = best_of(trials, study.plan.bigger)
    if best is not None:
        parts.append(f"best {best.value:.4f} (trial {best.number})")
    of = "" if study.budget.trials is None else f" of {study.budget.trials}"
    return f"trial {trial.number}{of}: {' | '.join(parts)}"


def _came(trial: FrozenTrial, metric: str) -> str:
    found = trial.user_attrs
    if trial.state == TrialState.FAIL:
        lost = f"it was silent for {store.GRACE} s, and its point is tried again"
        return f"failed: {found.get('reason', lost)}"
    epochs = ""
    if "best_epoch" in found:
        epochs = f" (best epoch {found['best_epoch']}, {found['epochs']} run)"
    end = ""
    if trial.state == TrialState.PRUNED:
        end = ", pruned"
    elif "cut" in found:
        end = ", cut by the end of the budget"
    value = "-" if trial.value is None else f"{trial.value:.4f}"
    return f"{metric} {value}{epochs}, {found['seconds']:.0f} s{end}"


def _check_hope(trials: Sequence[FrozenTrial]) -> None:
    reasons = [
        trial.user_attrs["reason"]
        for trial in trials
        if trial.state == TrialState.FAIL and "reason" in trial.user_attrs
    ]
    if any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials):
        return
    if len(reasons) >= HOPELESS:
        raise ConfigError(
            f"The first {len(reasons)} trials have all failed, the last one so: {reasons[-1]}"
        )
