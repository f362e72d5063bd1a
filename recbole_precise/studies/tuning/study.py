"""A study that processes share: which point is tried next, what was found, and what a killed
process left behind.

Points are a function of the seed, their number and, for TPE, the trials before them, whichever
process asks. A trial whose process died is marked and its point is handed out again, at most
`ATTEMPTS` times in all.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_precise.errors import ConfigError
from recbole_precise.runs.checkpoint import differing_key
from recbole_precise.studies.tuning.space import Space
from recbole_precise.studies.tuning.store import Workers, open_storage

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("median", "none")
#: A point whose process dies this often is taken for the cause and left.
ATTEMPTS = 3
_LOST = ("killed", "interrupted")


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
        """Plain values that tell this plan from another one."""
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
    """One process's hold on a study in `storage`.

    Raises ConfigError: when `storage` cannot be used, or holds a study of that name with another
        plan.
    """

    def __init__(self, storage: Path, name: str, plan: Plan, budget: Budget) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.name, self.plan, self.budget = name, plan, budget
        self._distributions = plan.space.distributions()
        self._grid = plan.space.grid() if plan.sampler == "grid" else []
        self._store = open_storage(storage)
        self._workers = Workers(storage)
        with self._workers.turn:
            if name not in optuna.get_all_study_names(self._store):
                optuna.create_study(
                    storage=self._store,
                    study_name=name,
                    direction="maximize" if plan.bigger else "minimize",
                )
            self.study = optuna.load_study(
                storage=self._store,
                study_name=name,
                sampler=self._sampler(0),
                pruner=self._pruner(),
            )
            self._same_plan(storage)

    def _same_plan(self, storage: Path) -> None:
        now, then = self.plan.identity(), self.study.user_attrs.get("plan")
        if then is None:
            self.study.set_user_attr("plan", now)
        elif (difference := differing_key(then, now)) is not None:
            self.leave()
            raise ConfigError(
                f"study '{self.name}' in '{storage}' cannot go on with these settings "
                f"({difference}): its trials would not compare. Choose another --study."
            )

    # --- Handing out --------------------------------------------------------------------------

    def begin(self) -> Trial | None:
        """The next trial of this process, None when the budget is used or the grid is through."""
        with self._workers.turn:
            self._recover()
            trials = self.trials()
            if self.time_left(trials) <= 0:
                return None
            if not any(trial.state.name == "WAITING" for trial in trials):
                if self.budget.trials is not None and counted(trials) >= self.budget.trials:
                    return None
                if self.plan.sampler == "grid" and not self._enqueue_of_grid(trials):
                    return None
                if self.plan.start is not None and not trials:
                    self.study.enqueue_trial(dict(self.plan.start))
            # Points are numbered without their further attempts, so that a kill changes no later
            # point.
            self.study.sampler = self._sampler(
                sum("again" not in trial.user_attrs for trial in trials)
            )
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # choices that are None, and TPE's experimental arguments
                trial = self.study.ask(fixed_distributions=self._distributions)
            trial.set_user_attr("worker", self._workers.name)
            return trial

    def _enqueue_of_grid(self, trials: Sequence[FrozenTrial]) -> bool:
        taken = [point_of(trial) for trial in trials]
        point = next((point for point in self._grid if point not in taken), None)
        if point is not None:
            self.study.enqueue_trial(point)
        return point is not None

    def _recover(self) -> None:
        """Mark the trials of dead processes, and put the points of lost trials back in line."""
        from optuna.trial import TrialState

        for trial in self.trials():
            # A trial is given its worker before `turn` is: one without has lost its process in
            # between.
            worker = trial.user_attrs.get("worker")
            if trial.state == TrialState.RUNNING and (
                worker is None or not self._workers.alive(worker)
            ):
                self._store.set_trial_user_attr(trial._trial_id, "ended", "killed")
                self.study.tell(trial.number, state=TrialState.FAIL)
        trials = self.trials()
        again = {trial.user_attrs.get("again") for trial in trials}
        for trial in trials:
            attempt = trial.user_attrs.get("attempt", 1)
            if was_lost(trial) and trial.number not in again and attempt < ATTEMPTS:
                self.study.enqueue_trial(
                    point_of(trial), user_attrs={"again": trial.number, "attempt": attempt + 1}
                )

    def _sampler(self, number: int) -> BaseSampler:
        """Draws for the point of that number.

        One generator for all would draw the same points in every process.
        """
        from optuna.samplers import RandomSampler, TPESampler

        seed = int(np.random.SeedSequence([self.plan.seed, number]).generate_state(1)[0])
        if self.plan.sampler != "tpe":
            return RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Lying about the trials under way keeps processes apart; good settings depend on each
            # other.
            return TPESampler(seed=seed, multivariate=True, constant_liar=True)

    def _pruner(self) -> Any:
        from optuna.pruners import MedianPruner, NopPruner

        return (
            NopPruner()
            if self.plan.pruner == "none"
            else MedianPruner(n_startup_trials=5, n_warmup_steps=self.plan.prune_after - 1)
        )

    # --- Taking back --------------------------------------------------------------------------

    def spend(self, trial: Trial, seconds: float) -> None:
        """The seconds of a trial so far; the budget counts what was last said."""
        trial.set_user_attr("seconds", seconds)

    def finish(self, trial: Trial, value: float, found: Mapping[str, Any]) -> None:
        """A trial has its value, and what else is to be kept of it."""
        self._keep(trial, found)
        self.study.tell(trial, value)

    def prune(self, trial: Trial, found: Mapping[str, Any]) -> None:
        """A trial was not worth going on with."""
        from optuna.trial import TrialState

        self._keep(trial, found)
        self.study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: Trial, found: Mapping[str, Any]) -> None:
        """A trial has no value: `found["reason"]` says why, or `found["ended"]` that its point is
        to be tried again.
        """
        from optuna.trial import TrialState

        self._keep(trial, found)
        self.study.tell(trial, state=TrialState.FAIL)

    def _keep(self, trial: Trial, found: Mapping[str, Any]) -> None:
        for key, value in found.items():
            trial.set_user_attr(key, value)

    def leave(self) -> None:
        """This process takes no more trials."""
        self._workers.leave()

    # --- Looking ------------------------------------------------------------------------------

    def trials(self) -> list[FrozenTrial]:
        """All trials so far, of all processes, in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    def time_left(self, trials: Sequence[FrozenTrial] | None = None) -> float:
        """Seconds of the budget that no trial has used yet."""
        if self.budget.seconds is None:
            return float("inf")
        return self.budget.seconds - seconds_of(self.trials() if trials is None else trials)


def was_lost(trial: FrozenTrial) -> bool:
    """Whether a trial ended with its process, not by itself."""
    return trial.state.name == "FAIL" and trial.user_attrs.get("ended") in _LOST


def counted(trials: Sequence[FrozenTrial]) -> int:
    """Trials that a budget counts: a lost one and the one that takes its place are one."""
    again = {trial.user_attrs.get("again") for trial in trials}
    return sum(not (was_lost(trial) and trial.number in again) for trial in trials)


def seconds_of(trials: Sequence[FrozenTrial]) -> float:
    """Seconds that trials took, those of lost ones too."""
    return sum(trial.user_attrs.get("seconds", 0.0) for trial in trials)


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """The labels of a trial, also of one that waits or was lost while it was drawn."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def best_of(trials: Sequence[FrozenTrial], bigger: bool) -> FrozenTrial | None:
    """The completed trial with the best value, the earliest of equals."""
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    return (
        min(done, key=lambda trial: (-trial.value if bigger else trial.value, trial.number))
        if done
        else None
    )
