"""Spaces in RecBole's .hyper format: a key, how it is drawn, and from what, one key a line.

    learning_rate loguniform -8,-4            e ** x, x uniform: between 0.00034 and 0.018
    hidden_dropout_prob uniform 0.1,0.6
    n_layers quniform 1,4,1                   multiples of the third number
    train_batch_size choice [512, 1024, 2048]
    n_heads uniformint 1,4                    whole numbers, both ends too; RecBole has no such line

RecBole passes over lines that it cannot read and evaluates the lists as Python; here each line is
read or refused, with its number, and nothing is evaluated. Lines that begin with # are comments.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_precise.config import parse_value
from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.runs.identity import HARMLESS

if TYPE_CHECKING:
    from optuna.trial import Trial

_NUMBERS = {"uniform": 2, "loguniform": 2, "quniform": 3, "uniformint": 2}
KINDS = ("choice", *_NUMBERS)
_FORMS = {
    "choice": "choice [1, 2, 'x']", "uniform": "uniform low,high",
    "loguniform": "loguniform low,high (powers of e)",
    "quniform": "quniform low,high,step", "uniformint": "uniformint low,high",
}  # fmt: skip

#: Settings by which trials are judged, or which name the task itself: with them in a space, trials
#: would not compare.
_JUDGES = frozenset(
    [
        "model",
        "dataset",
        "seed",
        "metrics",
        "topk",
        "valid_metric",
        "eval_args",
        "eval_step",
        "repeatable",
        "evaluator",
        "mask_history",
        "load_col",
        "unload_col",
        "val_interval",
        "threshold",
        "user_inter_num_interval",
        "item_inter_num_interval",
        "filter_inter_by_user_or_item",
        "rm_dup_inter",
        "benchmark_filename",
        "tie_break",
        "tie_seed",
        "time_order",
    ]
)


@dataclass(frozen=True)
class Parameter:
    """One line of a space.

    `choices` of a choice, else `low` and `high` (both may be drawn; of loguniform they are the
    values, not the exponents) and the `step` of quniform and uniformint. `whole`: what is drawn is
    a whole number. `line`: of the file.
    """

    name: str
    kind: str
    line: int
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    whole: bool = False

    def values(self) -> list[Any] | None:
        """All values that can be drawn, None when they are not finitely many."""
        if self.kind == "choice":
            return list(self.choices)
        if self.step is None:
            return None
        count = round((self.high - self.low) / self.step) + 1
        return [self._number(self.low + index * self.step) for index in range(count)]

    def extremes(self) -> list[Any]:
        """Return values whose validity shows that of all.

        They are every choice, or what is just inside the ends.
        """
        values = self.values()
        if values is not None:
            return values if self.kind == "choice" else [values[0], values[-1]]
        inside = 1e-6 * (self.high - self.low)
        return [self.low + inside, self.high - inside]

    def holds(self, value: Any) -> bool:
        """Whether `value` can be drawn."""
        if self.kind == "choice":
            return any(_same(value, choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if self.step is None:
            return self.low <= value <= self.high
        return any(math.isclose(value, other) for other in self.values() or ())

    def label(self, value: Any) -> Any:
        """How a study knows a value: itself, and a list or mapping as text."""
        return (
            value
            if value is None or isinstance(value, (bool, int, float, str))
            else json.dumps(value)
        )

    def value(self, label: Any) -> Any:
        """Return the value of a label."""
        if self.kind != "choice":
            return self._number(label)
        return next(choice for choice in self.choices if _same(self.label(choice), label))

    def suggest(self, trial: Trial) -> None:
        """Have Optuna draw this parameter for a trial, or take what the trial has already."""
        if self.kind == "choice":
            trial.suggest_categorical(self.name, [self.label(choice) for choice in self.choices])
        elif self.whole:
            step = int(self.step or 1)
            trial.suggest_int(self.name, int(self.low), int(self.high), step=step)
        else:
            logarithmic = self.kind == "loguniform"
            trial.suggest_float(self.name, self.low, self.high, step=self.step, log=logarithmic)

    def describe(self) -> Any:
        """Plain values by which a study recognises whether its space is still the same."""
        if self.kind == "choice":
            return [self.label(choice) for choice in self.choices]
        return [self.kind, self.low, self.high, self.step, self.whole]

    def _number(self, value: float) -> float | int:
        # A multiple such as 3 * 0.1 is written as a person would write it.
        return (
            round(value) if self.whole else value if self.step is None else float(f"{value:.12g}")
        )


@dataclass(frozen=True)
class Space:
    """The parameters of a file, in its order."""

    file: Path
    parameters: tuple[Parameter, ...]

    @property
    def names(self) -> list[str]:
        """Return the names of the parameters."""
        return [parameter.name for parameter in self.parameters]

    def without(self, names: Sequence[str] | Mapping[str, Any]) -> Space:
        """Return the space without some keys."""
        return replace(
            self,
            parameters=tuple(
                parameter for parameter in self.parameters if parameter.name not in names
            ),
        )

    def suggest(self, trial: Trial) -> None:
        """Have Optuna draw every parameter for a trial."""
        for parameter in self.parameters:
            parameter.suggest(trial)

    def values(self, labels: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings from what a study holds."""
        return {
            parameter.name: parameter.value(labels[parameter.name])
            for parameter in self.parameters
            if parameter.name in labels
        }

    def labels(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what a study holds of settings, None when one of them is outside the space."""
        if not all(
            parameter.name in values and parameter.holds(values[parameter.name])
            for parameter in self.parameters
        ):
            return None
        return {
            parameter.name: parameter.label(values[parameter.name]) for parameter in self.parameters
        }

    def grid(self) -> list[dict[str, Any]]:
        """Every point, as labels; the last key of the file changes fastest.

        A ConfigError when there are infinitely many.
        """
        columns = []
        for parameter in self.parameters:
            values = parameter.values()
            if values is None:
                raise ConfigError(
                    f"{self._at(parameter)}: a grid needs finitely many values, and "
                    f"{parameter.name} is drawn by {parameter.kind}; "
                    f"write {_FORMS['choice']} or {_FORMS['quniform']}, or take --sampler=tpe or "
                    "random."
                )
            columns.append([parameter.label(value) for value in values])
        return [dict(zip(self.names, point)) for point in product(*columns)]

    def checked(
        self,
        known: Sequence[str] | set[str],
        entry_of: Callable[[str], Any],
        defaults: Mapping[str, Any],
    ) -> Space:
        """Check that every key is known and takes every value, and return the space.

        The values are whole numbers where a key counts something.

        Args:
            known: keys that the model, RecBole or we read. entry_of: key -> `settings.schema.Key`
                or None.
            defaults: what the keys are without the space.

        Raises ConfigError: that names the line, and the nearest key for a misspelt one.
        """
        checked = []
        for parameter in self.parameters:
            name, at = parameter.name, self._at(parameter)
            if name not in known:
                raise ConfigError(f"{at}: unknown key '{name}'.{did_you_mean(name, known)}")
            if name in _JUDGES or name in HARMLESS:
                raise ConfigError(
                    f"{at}: '{name}' cannot be tuned: it says how trials are run and judged, "
                    "which must be the same for all of them."
                )
            entry = entry_of(name)
            kinds = entry.types if entry else ()
            parameter = _whole(parameter, kinds, defaults.get(name))
            parameter = replace(
                parameter,
                choices=tuple(
                    parse_value(choice, kinds) if isinstance(choice, str) else choice
                    for choice in parameter.choices
                ),
            )
            for value in parameter.extremes() if entry else ():
                entry.check(name, value, at)
            checked.append(parameter)
        return replace(self, parameters=tuple(checked))

    def _at(self, parameter: Parameter) -> str:
        return f"{self.file}, line {parameter.line}"


def read_space(path: str | Path) -> Space:
    """Read the space of a .hyper file.

    A ConfigError that names file and line for what cannot be read.
    """
    file = Path(path)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ConfigError(f"Params file '{file}' does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Params file '{file}' cannot be read: {error}.") from error
    return parse_space(lines, str(file))


def parse_space(lines: Sequence[str], where: str) -> Space:
    """Read the lines of a space, as a .hyper file or `tuning_space` of a model class holds them.

    Args:
        lines: such as "learning_rate loguniform -8,-4".
        where: what holds them, for messages.

    Raises:
        ConfigError: with the line that cannot be read.
    """
    found: dict[str, Parameter] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parameter = _read_line(line, number, f"{where}, line {number}")
        if parameter.name in found:
            raise ConfigError(
                f"{where}, line {number}: '{parameter.name}' stands in line "
                f"{found[parameter.name].line} already."
            )
        found[parameter.name] = parameter
    if not found:
        raise ConfigError(f"'{where}' holds no line such as 'learning_rate loguniform -8,-4'.")
    return Space(Path(where), tuple(found.values()))


def _read_line(line: str, number: int, at: str) -> Parameter:
    parts = line.split(None, 2)
    if len(parts) < 3:
        raise ConfigError(
            f"{at}: '{line.strip()}' is not of the form 'key kind values'; kinds are "
            f"{', '.join(KINDS)}."
        )
    name, kind, rest = parts
    if kind not in KINDS:
        raise ConfigError(
            f"{at}: unknown kind '{kind}' of {name}.{did_you_mean(kind, KINDS)} The kinds are "
            f"{', '.join(KINDS)}."
        )
    if kind == "choice":
        try:
            choices = ast.literal_eval(rest)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            choices = None
        if not isinstance(choices, (list, tuple)) or not choices:
            raise ConfigError(
                f"{at}: '{rest}' is no list of values; write {name} {_FORMS['choice']}, with "
                "text in quotes."
            )
        if any(
            _same(first, second)
            for index, first in enumerate(choices)
            for second in choices[:index]
        ):
            raise ConfigError(f"{at}: {name} has a value twice.")
        return Parameter(name, kind, number, choices=tuple(choices))
    try:
        numbers = [float(part) for part in "".join(rest.split()).split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != _NUMBERS[kind] or not all(map(math.isfinite, numbers)):
        raise ConfigError(
            f"{at}: '{rest}' are not the {_NUMBERS[kind]} numbers of '{name} {_FORMS[kind]}'."
        )
    low, high, step = numbers[0], numbers[1], None
    if low >= high:
        raise ConfigError(f"{at}: {name} needs its lower end first: {low:g} is not below {high:g}.")
    if kind == "loguniform":
        if high > 700 or low < -700:
            raise ConfigError(
                f"{at}: the ends of loguniform are powers of e, and e ** {max(high, -low):g} is "
                "no number that a computer holds."
            )
        low, high = math.exp(low), math.exp(high)
    elif kind == "uniformint":
        if low % 1 or high % 1:
            raise ConfigError(f"{at}: {name} uniformint needs whole numbers, not {rest}.")
        step = 1.0
    elif kind == "quniform":
        step = numbers[2]
        if step <= 0:
            raise ConfigError(f"{at}: the step of {name} must be above 0, not {step:g}.")
        # hyperopt draws between the ends and rounds to the nearest multiple: those that more than a
        # single number leads to.
        first, last = math.floor(round(low / step, 9) + 0.5), math.ceil(round(high / step, 9) - 0.5)
        if last <= first:
            raise ConfigError(
                f"{at}: {name} can only be {first * step:g}, the one multiple of {step:g} near "
                "its ends, which is nothing to search."
            )
        low, high = first * step, last * step
    return Parameter(name, kind, number, low=low, high=high, step=step, whole=kind == "uniformint")


def _whole(parameter: Parameter, kinds: Sequence[str], default: Any) -> Parameter:
    """Quniform as whole numbers, where its numbers are whole and so is what the key takes."""
    if parameter.kind != "quniform" or parameter.low % 1 or (parameter.step or 0) % 1:
        return parameter
    return replace(
        parameter,
        whole="int" in kinds or (isinstance(default, int) and not isinstance(default, bool)),
    )


def _same(first: Any, second: Any) -> bool:
    """Equal and of one kind: True is not 1 here, but 1.0 is."""
    return isinstance(first, bool) == isinstance(second, bool) and first == second
