"""What a conversion keeps and how: options of the command, and the presets of the papers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from recbole_precise.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Options:
    """How raw rows become a data set; the same for every source. Filters are applied in this order.

    Attributes:
        known_items: leave out events of items without metadata.
        min_rating: leave out events rated lower.
        min_user_events, min_item_events: leave out users and items with fewer events; when both
            are given, again and again until none is left with fewer.
        last_events: a user's latest events to keep; `last_of_longer`: as many of a user who has
            more than `last_events`.
        items: `interacted`, the items that have an event left, or `all` that have metadata.
        tie_break: `random` puts events of one user and one time in a random order fixed by
            `tie_seed`, `file` leaves them as they stand in the raw file, where they often stand
            in catalogue order.
        scene: what becomes the column `scene`; `scene_rating`: for `scene: rating`, from which
            rating on the scene is `high`.
        skip_bad_rows: leave out rows that cannot be used, and list them, instead of refusing them.
    """

    known_items: bool = False
    min_rating: float | None = None
    min_user_events: int = 1
    min_item_events: int = 1
    last_events: int | None = None
    last_of_longer: int | None = None
    items: str = "interacted"
    tie_break: str = "random"
    tie_seed: int = 2020
    scene: str | None = None
    scene_rating: float = 4.0
    skip_bad_rows: bool = False
    preset: str | None = None
    protocol: Mapping[str, Any] = field(
        default_factory=dict
    )  # settings of a run that the preset adds to the YAML
    changes: tuple[str, ...] = ()  # what options beside a preset change of its rules


@dataclass(frozen=True)
class Preset:
    """Options that belong together.

    `filters`: Options of each source that it is meant for; `protocol`: settings of a run that
    belong to it.
    """

    filters: Mapping[str, Mapping[str, Any]]
    protocol: Mapping[str, Any]


_PAD_AMAZON = {
    "known_items": True,
    "min_rating": 4.0,
    "min_user_events": 5,
    "last_events": 23,
    "last_of_longer": 22,
    "tie_break": "file",
}

PRESETS: dict[str, Preset] = {
    # PAD (arXiv 2412.04107), data sets. The text keeps a user's latest 23 events; the released
    # files, which have the published sizes, keep 22 of a user who has more: `last_events: 23` on
    # the command line is the rule of the text.
    "pad": Preset(
        {
            "amazon-2018": _PAD_AMAZON,
            "amazon-2014": _PAD_AMAZON,
            "mind": {"min_user_events": 5, "last_events": 23, "tie_break": "file"},
        },
        {"MAX_ITEM_LIST_LENGTH": 20, "mask_history": True, "item_text": "{title}"},
    ),
    # PRECISE (arXiv 2412.06308), Amazon Books: reviews of 3 stars and more, users with at least 3
    # of them; titles, descriptions and categories are the text.
    "precise-books": Preset(
        {"kaggle-books": {"min_rating": 3.0, "min_user_events": 3}},
        {"item_text": ["title", "description", "categories"]},
    ),
}

_CHOICES = {"items": ("interacted", "all"), "tie_break": ("random", "file")}
_COUNTS = ("min_user_events", "min_item_events", "last_events", "last_of_longer")
_SWITCHES = ("known_items", "skip_bad_rows")
NAMES = tuple(
    option.name for option in fields(Options) if option.name not in ("protocol", "changes")
)
_MOST = 2**63 - 1  # the largest whole number that the data base of a conversion holds


def read_options(given: Mapping[str, Any], source: str, defaults: Mapping[str, Any]) -> Options:
    """Read options from texts of a command line or from values.

    The preset's options override the source's defaults, and what is given overrides both.

    Raises ConfigError for a value that an option does not take, and for a preset that is not meant
    for the source.
    """
    values: dict[str, Any] = dict(defaults)
    name = given.get("preset")
    if name is not None:
        preset = PRESETS.get(name)
        if preset is None:
            raise ConfigError(
                f"Unknown preset '{name}'.{did_you_mean(name, PRESETS)} The presets are "
                f"{', '.join(PRESETS)}."
            )
        if source not in preset.filters:
            raise ConfigError(
                f"The preset '{name}' is meant for {' and '.join(preset.filters)}, not for the "
                f"source {source}."
            )
        values.update(preset.filters[source], protocol=preset.protocol)
        if "last_events" in given and "last_of_longer" not in given:
            values.pop("last_of_longer", None)
    ruled = dict(values)
    values.update({key: _value(key, value) for key, value in given.items()})
    options = Options(**values)
    if options.last_of_longer is not None and (
        options.last_events is None or options.last_of_longer > options.last_events
    ):
        raise ConfigError(
            "last_of_longer is a number up to last_events, which must be given with it."
        )
    if options.last_events is not None and options.last_of_longer is None:
        options = replace(options, last_of_longer=options.last_events)
    if name is None:
        return options
    return replace(options, changes=_changes(Options(**ruled), options, given))


def _changes(ruled: Options, options: Options, given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options that change what a preset says, as they are written."""
    rules = [
        key for key in given if key not in ("preset", "skip_bad_rows", "scene", "scene_rating")
    ]
    changed = [key for key in rules if getattr(options, key) != getattr(ruled, key)]
    return tuple(f"{key}={getattr(options, key)}" for key in changed)


def _value(key: str, value: Any) -> Any:
    """Read the value of an option from its text."""
    if key in _CHOICES and value not in _CHOICES[key]:
        raise ConfigError(f"--{key} is {' or '.join(_CHOICES[key])}, not '{value}'.")
    if key in _SWITCHES:
        return switch(key, value)
    if key in _COUNTS or key == "tie_seed":
        return _whole_number(key, value, least=0 if key == "tie_seed" else 1)
    if key in ("min_rating", "scene_rating"):
        return _finite_number(key, value)
    return value


def _whole_number(key: str, value: Any, least: int) -> int:
    try:
        number = int(value)
    except (ValueError, TypeError, OverflowError):
        number = -1
    if not least <= number <= _MOST:
        wanted = "a whole number above 0" if least else "a whole number from 0 on"
        raise ConfigError(f"--{key} must be {wanted}, not '{str(value)[:60]}'.")
    return number


def _finite_number(key: str, value: Any) -> float:
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"--{key} must be a number, not '{str(value)[:60]}'.")
    return number


def switch(key: str, value: Any) -> bool:
    """Read True or False from its text."""
    if isinstance(value, bool):
        return value
    if str(value).lower() not in ("true", "false"):
        raise ConfigError(f"--{key} is True or False, not '{str(value)[:60]}'.")
    return str(value).lower() == "true"
