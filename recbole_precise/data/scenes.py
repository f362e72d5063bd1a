"""Several scenes in one id space (PRECISE, section III).

Which events belong to the target scene, and the views of the data.

All scenes share users, items and one sequence per user. The *target* view trains and evaluates on
the target scene's own sequences. The *universal* view trains on the events of all scenes and
evaluates the same targets, each behind the whole history of its user. The *context* view trains and
evaluates on the target scene's events, each behind the whole history of its user. None trains on an
event that is at or after the moment from which its user is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_precise.data.sequences import SequenceStore, ranges
from recbole_precise.data.splits import Split
from recbole_precise.errors import ConfigError, DataError, did_you_mean

VIEWS = ("universal", "target", "context")
_COMPARE = {
    ">=": np.greater_equal,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
}
_CONDITION = re.compile(
    r"""\s*([^\s<>=!'"]+)\s*(>=|<=|==|!=|>|<)\s*('[^']*'|"[^"]*"|[^\s<>=!'"]+)\s*"""
)
_AND = re.compile(r"and(?=\s|$)")
_FORM = (
    "write <column> <operator> <number or text>, with the operators >= <= > < == != and "
    "several conditions joined by `and`"
)
_SHOWN = 10  # scenes or values listed in a message


# --- Rules ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """`<column> <operator> <value>`.

    `text` is the value as written, `number` what it reads as, None for words.
    """

    column: str
    operator: str
    text: str
    number: float | None

    def check(self, kind: str) -> str | None:
        """Say what is wrong with comparing a column of the type `kind`, or None."""
        if kind == "float":
            return (
                f"compares the numbers in '{self.column}' with the text '{self.text}'"
                if self.number is None
                else None
            )
        if kind != "token":
            return (
                f"reads the column '{self.column}' of the type {kind}; only token and float "
                "columns can be compared"
            )
        if self.operator not in ("==", "!="):
            return (
                f"compares the column '{self.column}' by {self.operator}, but it holds "
                "tokens, which are only == or !=; give it the type float in the header"
            )
        return None

    def holds(self, values: pd.Series) -> np.ndarray:
        """Bool `[events]`; a missing value satisfies no condition."""
        compare = _COMPARE[self.operator]
        if self.number is not None and pd.api.types.is_numeric_dtype(values.dtype):
            numbers = values.to_numpy()
            return compare(numbers, self.number) & ~np.isnan(numbers)
        tokens = pd.Categorical(values)
        kept = compare(tokens.categories.astype(str).to_numpy(dtype=object), self.text).astype(bool)
        return np.append(kept, False)[tokens.codes]  # the code of a missing token is -1


@dataclass(frozen=True)
class Rule:
    """Conditions on the columns of .inter that the events of a scene satisfy, all of them."""

    name: str
    text: str
    conditions: tuple[Condition, ...]

    def holds(self, frame: pd.DataFrame) -> np.ndarray:
        """Bool `[events]` over the values of .inter as read."""
        return np.logical_and.reduce(
            [condition.holds(frame[condition.column]) for condition in self.conditions]
        )


def parse_rule(name: str, text: Any) -> Rule:
    """Read a rule such as `rating >= 4 and channel == "search"`; nothing in it is ever executed.

    Raises ConfigError that says where the text is no rule.
    """
    where = f"scene_rules: {name}"
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"{where}: the rule must be text such as 'rating >= 4', not {text!r}.")
    conditions = []
    place = 0
    while True:
        found = _CONDITION.match(text, place)
        if found is None:
            rest = text[place:].strip()
            hint = " A comparison is written ==." if re.match(r"[^\s<>=!]+\s*=[^=]", rest) else ""
            raise ConfigError(
                f"{where}: '{text}' cannot be read "
                f"{f'from {rest!r} on' if rest else 'at its end'}: {_FORM}.{hint}"
            )
        column, operator, value = found.groups()
        quoted = value[0] in "'\""
        conditions.append(
            Condition(
                column,
                operator,
                value[1:-1] if quoted else value,
                None if quoted else _number(value),
            )
        )
        place = found.end()
        if place == len(text):
            return Rule(name, text, tuple(conditions))
        joined = _AND.match(text, place)
        if joined is None:
            raise ConfigError(
                f"{where}: '{text}' cannot be read from {text[place:].strip()!r} on: {_FORM}; a "
                "value with blanks stands in quotes."
            )
        place = joined.end()


def _number(text: str) -> float | None:
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if np.isfinite(value) else None
    return None


def rules_of(settings: Mapping[str, Any]) -> list[Rule]:
    """Read the rules in `scene_rules`, in their order.

    ConfigError for one that cannot be read.
    """
    return [parse_rule(str(name), text) for name, text in (settings["scene_rules"] or {}).items()]


def columns_read(settings: Mapping[str, Any]) -> dict[str, str]:
    """Columns of .inter that the scenes need -> the key that names them."""
    read = {
        condition.column: f"scene_rules: {rule.name}"
        for rule in rules_of(settings)
        for condition in rule.conditions
    }
    return {settings["scene_field"]: "scene_field", **read} if settings["scene_field"] else read


def check_columns(
    settings: Mapping[str, Any], path: Path, types: Mapping[str, str], loaded: Sequence[str]
) -> None:
    """Refuse scenes over columns of .inter that cannot be used.

    They are missing, not loaded or of a type that cannot be compared.

    Args:
        types: column -> type, as in the header of the file. loaded: columns that load_col and
            unload_col leave.
    """
    for column, key in columns_read(settings).items():
        if column not in types:
            raise DataError(
                f"{path}: {key} reads the column '{column}', but the file has "
                f"{', '.join(types)}.{did_you_mean(column, types)}"
            )
        if column not in loaded:
            raise DataError(
                f"{path}: {key} reads the column '{column}', which is not loaded: add it to "
                "load_col under 'inter', and leave it out of unload_col."
            )
    field = settings["scene_field"]
    if field and types[field] != "token":
        raise DataError(
            f"{path}, line 1: scene_field names the column '{field}' of the type {types[field]}; "
            "scenes are tokens. Scenes by numbers are scene_rules."
        )
    for rule in rules_of(settings):
        for condition in rule.conditions:
            fault = condition.check(types[condition.column])
            if fault:
                raise DataError(f"{path}, line 1: scene_rules: {rule.name}: '{rule.text}' {fault}.")


# --- Which events are in which scene ----------------------------------------------------------


@dataclass(frozen=True)
class Scenes:
    """The scenes of a data set.

    Attributes:
        counts: scene -> number of its events; scenes by rules may share events.
        target: name of the target scene, or None.
        inside: bool `[events]`, whether an event is in the target scene; None without one.
    """

    counts: Mapping[str, int]
    target: str | None
    inside: np.ndarray | None

    @classmethod
    def of(cls, settings: Mapping[str, Any], frame: pd.DataFrame, path: Path) -> Scenes:
        """Derive the scenes of .inter from its values as read.

        Raises DataError for a target scene that there is not, a rule that no event satisfies, and a
        name with two meanings.
        """
        target = settings["target_scene"]
        counts = {}
        inside = None
        field = settings["scene_field"]
        if field:
            tokens = pd.Categorical(frame[field])
            sizes = np.bincount(tokens.codes[tokens.codes >= 0], minlength=len(tokens.categories))
            counts = {str(name): int(size) for name, size in zip(tokens.categories, sizes) if size}
            if target in counts:
                inside = np.append(tokens.categories.astype(str) == target, False)[tokens.codes]
        for rule in rules_of(settings):
            if rule.name in counts:
                raise DataError(
                    f"{path}: '{rule.name}' is both a scene in '{field}' (scene_field) and a "
                    "rule in scene_rules; rename the rule."
                )
            holds = rule.holds(frame)
            counts[rule.name] = int(holds.sum())
            if not counts[rule.name]:
                raise DataError(
                    f"{path}: none of {len(frame):,} events satisfies scene_rules: {rule.name}: "
                    f"'{rule.text}'; {_contents(rule, frame)}."
                )
            if rule.name == target:
                inside = holds
        scenes = cls(counts, target, inside)
        if target is not None and inside is None:
            raise DataError(
                f"{path}: there is no scene '{target}' "
                f"(target_scene).{did_you_mean(target, counts)} Scenes: {scenes.in_words()}."
            )
        return scenes

    def in_words(self) -> str:
        """List the scenes by falling size, with their numbers of events."""
        ordered = sorted(self.counts.items(), key=lambda pair: -pair[1])
        more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
        return ", ".join(f"{name} ({count:,} events)" for name, count in ordered[:_SHOWN]) + more


def _contents(rule: Rule, frame: pd.DataFrame) -> str:
    """Describe what the columns of a rule hold."""
    parts = []
    for column in dict.fromkeys(condition.column for condition in rule.conditions):
        values = frame[column]
        if pd.api.types.is_numeric_dtype(values.dtype):
            parts.append(f"'{column}' runs from {values.min():g} to {values.max():g}")
        else:
            tokens = [str(token) for token in pd.unique(values.dropna())[: _SHOWN + 1]]
            parts.append(
                f"'{column}' holds "
                f"{', '.join(tokens[:_SHOWN])}{' ...' if len(tokens) > _SHOWN else ''}"
            )
    return " and ".join(parts)


# --- Views ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """One way to see the data.

    The events of its sequences, where training ends, and what is evaluated.

    Attributes:
        store: the events seen. everything: those of all scenes.
        index: int64 `[events of store]`, their places in `everything`; None when the two are the
            same.
        train_last: int64 `[users of store]`, each user's last training target, or its first event
            when it has none.
        ends: int64 `[rows]`, the targets of training (None: everything up to `train_last`),
            validation and testing.
    """

    store: SequenceStore
    everything: SequenceStore
    index: Tensor | None
    train_last: Tensor
    ends: tuple[Tensor | None, Tensor, Tensor]

    def targets(self, part: int) -> Tensor:
        """int64 `[rows]`: the targets of a part (0 training, 1 validation, 2 testing)."""
        ends = self.ends[part]
        if ends is not None:
            return ends
        first = self.store.offsets[:-1]
        return ranges(first + 1, self.train_last - first)[1]

    def history(self, end: Tensor, field: str) -> tuple[Tensor, Tensor]:
        """`SequenceStore.history` of the targets `end`, over all scenes."""
        return self.everything.history(end if self.index is None else self.index[end], field)


def views_of(
    everything: SequenceStore,
    target: SequenceStore,
    index: Tensor | None,
    split: Split,
    times: np.ndarray,
) -> dict[str, View]:
    """Build the views of a split that was made in the target scene.

    Args:
        target: the events of the target scene; `index` int64 `[its events]`: their places in
            `everything`, or None when there is no target scene, so that all views are one.
        times: `[events of everything]`, the times by which they are ordered.
    """
    train, valid, test = split.parts
    first = target.offsets[:-1]
    train_last = first + torch.bincount(target.owner[train], minlength=len(target.user_ids))
    own = View(target, everything, index, train_last, (train, valid, test))
    if index is None:
        return dict.fromkeys(VIEWS, own)
    last = _universal_last(everything, [index[part] for part in split.parts], split.moment, times)
    rows = (index[train], index[valid], index[test])
    taught = everything.offsets[:-1].scatter_reduce(
        0, everything.owner[rows[0]].long(), rows[0], "amax"
    )
    return {
        "target": own,
        "universal": View(everything, everything, None, last, (None, *rows[1:])),
        "context": View(everything, everything, None, taught, rows),
    }


def _universal_last(
    store: SequenceStore, parts: Sequence[Tensor], moment: float | None, times: np.ndarray
) -> Tensor:
    """Find each user's last training target over all scenes: int64 `[users]`.

    Its first event when there is none.

    Training ends before the user's first validation or test target and, where the split is one of
    time, before `moment`; but it reaches at least to the user's last training target in the target
    scene (one that has the time of `moment` and comes before it by the rule for ties).
    """
    first = store.offsets[:-1]
    end = store.offsets[1:]
    owner = store.owner.long()
    if moment is not None:
        before = first + torch.from_numpy(
            np.bincount(store.owner.numpy()[times < moment], minlength=len(first))
        )
        end = before.scatter_reduce(0, owner[parts[0]], parts[0] + 1, "amax")
    evaluated = torch.cat(list(parts[1:]))
    end = end.scatter_reduce(0, owner[evaluated], evaluated, "amin")
    return torch.maximum(end - 1, first)
