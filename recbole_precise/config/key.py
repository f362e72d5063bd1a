"""The values that one setting may hold, and the sentence about a value that it may not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from recbole_precise.errors import ConfigError, nearest, shown

_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), "list": (list, tuple),
    "dict": (dict,),
}  # fmt: skip
_WORDS = {
    "int": "a whole number", "float": "a number", "bool": "True or False", "str": "text",
    "list": "a list", "dict": "a mapping",
}  # fmt: skip


@dataclass(frozen=True)
class Key:
    """The values that a key takes.

    `kinds`: its types, as in the comments of the YAML files: "int", "float or str", ... `low` and
    `high` bound numbers, `above` and `below` bound them without the bound itself. `choices` are
    compared without case when `any_case`. `infinite`: whether numbers in a list may be infinite.
    """

    kinds: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] | None = None
    nullable: bool = False
    any_case: bool = False
    infinite: bool = False

    @property
    def types(self) -> tuple[str, ...]:
        """Return the names of the types that a value may have."""
        return tuple(self.kinds.split(" or "))

    def check(self, name: str, value: Any, where: str) -> None:
        """Raise a ConfigError when `value`, found in `where`, is none that the key takes."""
        if value is None:
            if not self.nullable:
                raise ConfigError(f"{name} ({where}) must be {self.wanted()}, not empty.")
            return
        if not self._has_type(value):
            raise ConfigError(
                f"{name} ({where}) must be {self.wanted()}, not {shown(value)}.{_hint(self, value)}"
            )
        fault = "" if self.infinite else unusable_number(value)
        if fault:
            raise ConfigError(
                f"{name} ({where}) must be {self.wanted()}, not {shown(value)}, {fault}."
            )
        if self.choices is not None:
            for part in value if isinstance(value, (list, tuple)) else (value,):
                self._check_choice(name, part, where)
        elif (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and not self._in_range(value)
        ):
            raise ConfigError(f"{name} ({where}) must be {self.wanted()}, not {shown(value)}.")

    def wanted(self) -> str:
        """Say which values are taken: 'a number above 0', 'one of adam, adamw'."""
        if self.choices is not None and "list" not in self.types:
            return f"one of {', '.join(self.choices)}"
        if self.choices is not None:
            return f"one or a list of {', '.join(self.choices)}"
        return " or ".join(_WORDS[kind] for kind in self.types) + self._range()

    def _has_type(self, value: Any) -> bool:
        if isinstance(value, bool):
            return "bool" in self.types
        return any(isinstance(value, _TYPES[kind]) for kind in self.types)

    def _in_range(self, value: float) -> bool:
        if math.isnan(value):
            return False
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def _range(self) -> str:
        lower = upper = ""
        if self.low is not None:
            lower = f"at least {_digits(self.low)}"
        elif self.above is not None:
            lower = f"above {_digits(self.above)}"
        if self.high is not None:
            upper = f"at most {_digits(self.high)}"
        elif self.below is not None:
            upper = f"below {_digits(self.below)}"
        bounds = [bound for bound in (lower, upper) if bound]
        return f" {' and '.join(bounds)}" if bounds else ""

    def _check_choice(self, name: str, value: Any, where: str) -> None:
        known = {choice.lower() if self.any_case else choice for choice in self.choices or ()}
        if isinstance(value, str) and (value.lower() if self.any_case else value) in known:
            return
        near = nearest(value, self.choices or ()) if isinstance(value, str) else None
        hint = f" Did you mean '{near}'?" if near else ""
        raise ConfigError(f"{name} ({where}) must be {self.wanted()}, not {shown(value)}.{hint}")


#: Whole numbers that NumPy and torch can hold, and numbers that float32 can.
_LARGEST_INT = 2**63 - 1
_LARGEST_FLOAT = 3.4e38


def unusable_number(value: Any) -> str:
    """Why nothing can be computed with a number, or with one in a list or mapping.

    Empty where there is no such number.
    """
    if isinstance(value, (list, tuple)):
        return next((fault for fault in map(unusable_number, value) if fault), "")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    if isinstance(value, int):
        return "" if -_LARGEST_INT <= value <= _LARGEST_INT else f"a number beyond {_LARGEST_INT}"
    if not math.isfinite(value):
        return "which is not finite"
    return "" if abs(value) <= _LARGEST_FLOAT else f"a number beyond {_LARGEST_FLOAT:g}"


def _digits(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _hint(key: Key, value: Any) -> str:
    """Explain, about text in braces, that YAML reads it as a mapping."""
    if "str" in key.types and isinstance(value, dict):
        return ' Text with braces is written in quotes: "{title}".'
    if key.types == ("dict",) and isinstance(value, str) and value.strip().startswith("{"):
        return (
            " It cannot be read; text with brackets in it is written in quotes: {rating: "
            '"[3,inf)"}.'
        )
    return ""
