"""A study that processes share: which point is tried next, and what was found.

Points are a function of the seed, their number and, for TPE, the trials before them, whichever
process asks. Optuna keeps the trials, hands them out, and tries the point of a lost one again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import URL

from recbole_precise.errors import ConfigError
from recbole_precise.runs.checkpoint import differing_key
from recbole_precise.studies.tuning import store
from recbole_precise.studies.tuning.space import Space

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("median", "none")
#: How often a point is tried whose process dies each time.
ATTEMPTS = 3


@dataclass(frozen=True)
class Budget:
    """What a study may spend in all, over all processes: `trials`, and `seconds` of trials.

    None for no limit.
    """

    trials: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Plan:
    """How a study searches; the same for all processes that share it.

    Attributes:
        space: where. sampler: one of SAMPLERS. pruner: one of PRUNERS. seed: of the points.
        bigger: whether more of the metric is better.
        prune_after: epochs that every trial gets.
        start: settings that the first trial has, or None to draw it too.
        task: what else must be equal for trials to compare (settings, data), as plain values.
    """

    space: Space
    sampler: str
    pruner: str
    seed: int
    bigger: bool
    prune_after: int
    start: Mapping[str, Any] | None
    task: Mapping[str, Any]

    def identity(self) -> dict[str, Any]:
        """Plain values that distinguish this plan from another one."""
        space = {parameter.name: parameter.describe() for parameter in self.space.parameters}
        plan = {
            "sampler": self.sampler,
            "pruner": self.pruner,
            "prune_after": self.prune_after,
            "seed": self.seed,
        }
        return {
            **plan,
            "space": space,
            "start": dict(self.start) if self.start is not None else None,
            **self.task,
        }


class SharedStudy:
    """One process's hold on a study.

    Args:
        url: of the database.
        folder: of the study's report and lock.
        name: of the study in the database.
        plan: how it searches.
        budget: what it may spend.

    Raises:
        UserError: the database cannot be used, or holds a study of that name with another plan.
    """

    def __init__(self, url: URL, folder: Path, name: str, plan: Plan, budget: Budget) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.name = name
        self.plan = plan
        self.budget = budget
        self._grid = plan.space.grid() if plan.sampler == "grid" else []
        self._store = store.Store(url, folder)
        with self._store.faults(), self._store.turn():
            self.study = optuna.create_study(
                storage=self._store.rdb,
                study_name=name,
                direction="maximize" if plan.bigger else "minimize",
                sampler=self._sampler(0),
                pruner=self._pruner(),
                load_if_exists=True,
            )
            self._check_plan()

    def _check_plan(self) -> None:
        now = self.plan.identity()
        then = self.study.user_attrs.get("plan")
        if then is None:
            self.study.set_user_attr("plan", now)
        elif (difference := differing_key(then, now)) is not None:
            self.close()
            raise ConfigError(
                f"Study '{self.name}' in '{self._store.name}' cannot go on with these settings "
                f"({difference}): its trials would not compare. Choose another --study."
            )

    # --- Running ------------------------------------------------------------------------------

    def run_next(self, objective: Callable[[Trial], float]) -> FrozenTrial | None:
        """Run the next trial in this process and record what comes of it.

        Args:
            objective: trial -> value; NaN for a trial that failed. It may raise `TrialPruned`.

        Returns:
            The trial as it ended, lost where another process took this one for dead; None when the
            budget is used or the grid is through.

        Raises:
            KeyboardInterrupt: the trial is lost, and its point is tried again later.
        """
        with self._store.faults(), ExitStack() as turn:
            turn.enter_context(self._store.turn())
            number = self._queue()
            if number is None:
                return None

            taken = False

            def run(trial: Trial) -> float:
                nonlocal taken
                self.plan.space.suggest(trial)
                turn.close()
                try:
                    return objective(trial)
                except UpdateFinishedTrialError:
                    taken = True
                    raise

            try:
                self.study.optimize(run, n_trials=1)
            except ValueError:  # Optuna ends a trial once
                if not taken:
                    raise
            return self.trials()[number]

    def wait_for_lost(self, say: Callable[[str], None]) -> bool:
        """Wait until no trial is under way in another process, as long as it may be a lost one.

        Returns:
            Whether there is a trial to run.
        """
        end = monotonic() + store.GRACE + 2 * store.HEARTBEAT
        said = False
        while self.time_left() > 0 and monotonic() < end:
            with self._store.faults(), self._store.turn():
                self._requeue_lost()
            trials = self.trials()
            if _first_waiting(trials) is not None:
                return True
            running = [trial.number for trial in trials if trial.state == TrialState.RUNNING]
            if not running:
                return False
            if not said:
                numbers = ", ".join(map(str, running))
                say(f"Waiting up to {store.GRACE} s: is the process of trial {numbers} alive?")
                said = True
            sleep(1)
        return False

    def _queue(self) -> int | None:
        """Return the number of the trial that is next, queued if need be; None for the end."""
        self._requeue_lost()
        trials = self.trials()
        if self.time_left(trials) <= 0:
            return None
        if _first_waiting(trials) is None:
            point = self._next_point(trials)
            if point is None:
                return None
            self.study.enqueue_trial(dict(point))
            trials = self.trials()
        trial = _first_waiting(trials)
        assert trial is not None
        # A retry has the seed of the trial that was lost, so that a kill changes no later point.
        first = trial.system_attrs.get("failed_trial", trial.number)
        self.study.sampler = self._sampler(counted(trials[:first]))
        return trial.number

    def _next_point(self, trials: Sequence[FrozenTrial]) -> Mapping[str, Any] | None:
        """Return what is fixed of a new trial, None when there is to be none.

        Points of a grid come in the order of the file; Optuna's GridSampler would shuffle them.
        """
        if self.budget.trials is not None and counted(trials) >= self.budget.trials:
            return None
        if self.plan.sampler == "grid":
            taken = [point_of(trial) for trial in trials]
            return next((point for point in self._grid if point not in taken), None)
        return self.plan.start if self.plan.start is not None and not trials else {}

    def _requeue_lost(self) -> None:
        """Mark the trials of dead processes, and queue again the point of every lost trial.

        Trials that were interrupted are among them, and those whose process died right here.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            retry = RetryHeartbeatStaleTrialCallback(max_retry=ATTEMPTS - 1)
            fail_stale_trials(self.study)
        trials = self.study.get_trials()
        retried = {
            number for trial in trials for number in trial.system_attrs.get("retry_history", [])
        }
        for trial in trials:
            if was_lost(trial) and trial.number not in retried:
                trial.user_attrs = {}  # the seconds of one attempt are not those of the next
                retry(self.study, trial)

    def _sampler(self, number: int) -> BaseSampler:
        """Return what draws the point of that number.

        One generator for all would draw the same points in every process.
        """
        seed = int(np.random.SeedSequence([self.plan.seed, number]).generate_state(1)[0])
        if self.plan.sampler != "tpe":
            return RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            # Lying about the trials under way keeps processes apart; good settings depend on each
            # other.
            return TPESampler(seed=seed, multivariate=True, constant_liar=True)

    def _pruner(self) -> BasePruner:
        if self.plan.pruner == "none":
            return NopPruner()
        return MedianPruner(n_startup_trials=5, n_warmup_steps=self.plan.prune_after - 1)

    def spend(self, trial: Trial, seconds: float) -> None:
        """Note the seconds of a trial so far, which the budget counts."""
        trial.set_user_attr("seconds", seconds)

    def close(self) -> None:
        """End the connections to the database; a later use makes new ones."""
        self._store.close()

    # --- Looking ------------------------------------------------------------------------------

    def trials(self) -> list[FrozenTrial]:
        """Return all trials so far, of all processes, in the order of their numbers."""
        with self._store.faults():
            return self.study.get_trials(deepcopy=False)

    def time_left(self, trials: Sequence[FrozenTrial] | None = None) -> float:
        """Return the seconds of the budget that no trial has used yet."""
        if self.budget.seconds is None:
            return float("inf")
        return self.budget.seconds - seconds_of(self.trials() if trials is None else trials)


def was_lost(trial: FrozenTrial) -> bool:
    """Return whether a trial ended with its process: one that failed by itself has a reason."""
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs


def counted(trials: Sequence[FrozenTrial]) -> int:
    """Count trials as a budget does: a lost one and those that take its place are one."""
    return sum("failed_trial" not in trial.system_attrs for trial in trials)


def seconds_of(trials: Sequence[FrozenTrial]) -> float:
    """Sum the seconds of trials, those of lost ones too."""
    return sum(trial.user_attrs.get("seconds", 0.0) for trial in trials)


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the labels of a trial, also of one that waits or was lost while it was drawn."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def best_of(trials: Sequence[FrozenTrial], bigger: bool) -> FrozenTrial | None:
    """Return the completed trial with the best value, the earliest of equals."""
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values = [trial.values[0] for trial in done]
    if not done:
        return None
    return done[values.index(max(values) if bigger else min(values))]


def _first_waiting(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    return next((trial for trial in trials if trial.state == TrialState.WAITING), None)
