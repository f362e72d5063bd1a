"""Settings as classes: a dataclass names each key once, with its type, default, range and meaning.

    @dataclass
    class Settings(SASRecSettings):
        '''SASRec with a learned popularity bias.'''

        name = "SASRec-Pop"
        popularity_weight: float = setting(1.0, "First value of the bias's weight.", low=0)

A subclass takes over the keys of its parent; a key that it names again has a new default. The YAML
files of properties/, the checks, the help, the JSON Schema and the tables of the docs are made from
these classes.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from recbole_precise.config.key import Key

_METADATA = "recbole_precise"
_Settings = TypeVar("_Settings", bound="Settings")


@dataclass(frozen=True)
class Setting:
    """One key of a settings class.

    Attributes:
        default: its value where nobody gives one.
        meaning: a line for people.
        key: the values that it takes. For a key of RecBole's the entry in `config.schema` holds.
        group: the heading that it begins, such as "Items".
    """

    default: Any
    meaning: str
    key: Key
    group: str | None = None


def setting(default: Any, meaning: str, *, group: str | None = None, **limits: Any) -> Any:
    """Declare a key of a settings class.

    Args:
        default: its value where nobody gives one.
        meaning: a line for people, which the YAML file, the help and the docs show.
        group: a heading, given with the first key below it.
        **limits: `low`, `high`, `above`, `below` (bounds of numbers) and `choices` (of texts).

    Returns:
        A field of the dataclass.
    """
    metadata = {_METADATA: {"meaning": meaning, "group": group, "limits": limits}}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def same_as(cls: type[Settings], name: str, *, group: str | None = None) -> Any:
    """Declare a key as another settings class does: same default, meaning and limits.

    Args:
        cls: the class that declares it.
        name: the key.
        group: a heading, given with the first key below it.

    Returns:
        A field of the dataclass.
    """
    (part,) = (part for part in dataclasses.fields(cls) if part.name == name)
    about = part.metadata[_METADATA]
    return setting(_default_of(part), about["meaning"], group=group, **about["limits"])


@dataclass
class Settings:
    """Settings of a model. The docstring of a subclass says what the model is.

    `name` is the model's, as in `--model`; `notes` are lines of the YAML file's head that say what
    is worth knowing beside the docstring.
    """

    name: ClassVar[str] = ""
    notes: ClassVar[str] = ""

    @classmethod
    def lineage(cls) -> list[type[Settings]]:
        """List the settings classes of the models that this one extends, itself last."""
        named = (
            part for part in cls.__mro__ if issubclass(part, Settings) and "name" in vars(part)
        )
        return [part for part in reversed(list(named)) if part is not Settings]

    @classmethod
    def own(cls) -> dict[str, Setting]:
        """Return the keys that this class names itself, by name."""
        fields = {part.name: part for part in dataclasses.fields(cls)}
        mine = vars(cls).get("__annotations__", {})
        return {name: _setting_of(fields[name]) for name in mine if name in fields}

    @classmethod
    def declared(cls) -> dict[str, Setting]:
        """Return every key, those of the parents first; each as the last class names it."""
        return {part.name: _setting_of(part) for part in dataclasses.fields(cls)}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the default of every key."""
        return {key: copy.deepcopy(found.default) for key, found in cls.declared().items()}

    @classmethod
    def read(cls: type[_Settings], config: Any) -> _Settings:
        """Return the values that a run's `config[key]` holds, as a typed object."""
        return cls(**{part.name: config[part.name] for part in dataclasses.fields(cls)})


def _setting_of(part: dataclasses.Field) -> Setting:
    about = part.metadata.get(_METADATA)
    if about is None:
        raise TypeError(f"{part.name}: declare it with setting(default, meaning).")
    kinds = [kind.strip().split("[")[0] for kind in _annotation(part).split("|")]
    words = " or ".join(kind for kind in kinds if kind != "None")
    key = Key(words, nullable="None" in kinds, **about["limits"])
    return Setting(_default_of(part), about["meaning"], key, about["group"])


def _default_of(part: dataclasses.Field) -> Any:
    if part.default_factory is not dataclasses.MISSING:
        return part.default_factory()
    return part.default


def _annotation(part: dataclasses.Field) -> str:
    if isinstance(part.type, str):
        return part.type
    return getattr(part.type, "__name__", str(part.type))
