"""Settings as text: our YAML files, the user's YAML files, and values typed on a command line.

Nothing is evaluated.
"""

from __future__ import annotations

import ast
import copy
import functools
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from recbole_precise import registry
from recbole_precise.config.loader import MOST_LEVELS, SettingsLoader
from recbole_precise.config.run_settings import RunSettings
from recbole_precise.config.setting import Settings
from recbole_precise.errors import ConfigError
from recbole_precise.system.importing import load_target

if TYPE_CHECKING:
    from recbole_precise.registry import Entry


#: Bytes of a config file at most; no file of settings comes near.
MOST_BYTES = 16 << 20
#: How a file begins that this package wrote: a run's config.yaml, the best.yaml of tuning.
_WRITTEN_HERE = re.compile(r"^#[^\n]*\brun it (?:again )?with\b", re.IGNORECASE | re.MULTILINE)


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read the mapping in a YAML file (an empty file is an empty mapping).

    A ConfigError that names file and line otherwise.
    """
    file = Path(path)
    text = settings_text_of(path)
    try:
        content = yaml.load(text, Loader=SettingsLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"Config file '{file}'{line}: {error.problem or error.context}."
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f"Config file '{file}' is not YAML: {' '.join(str(error).split())}."
        ) from error
    except (RecursionError, ValueError, TypeError) as error:
        raise ConfigError(
            f"Config file '{file}' is not YAML that settings are written in: {error}."
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"Config file '{file}' must hold lines of the form 'key: value', not a "
            f"{type(content).__name__}."
        )
    for key in content:
        if not isinstance(key, str):
            raise ConfigError(f"Config file '{file}': the key {key!r} must be text.")
    return content


def settings_text_of(path: str | Path) -> str:
    """Read the text of a config file; a ConfigError names it where it cannot be read."""
    file = Path(path)
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"Config file '{file}' does not exist.") from None
    except IsADirectoryError:
        raise ConfigError(f"Config file '{file}' is a folder.") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"Config file '{file}' cannot be read: {error}.") from error
    if len(content) > MOST_BYTES:
        raise ConfigError(
            f"Config file '{file}' is larger than {MOST_BYTES >> 20} MB: it is no file of settings."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"Config file '{file}' cannot be read as UTF-8 text: {error}.") from error


def written_here(path: str | Path) -> bool:
    """Return whether a config file was written by this package.

    It then holds the settings of a run, or the best of a search.

    Such a file holds every key of a run, also those that the run's other settings make idle.
    """
    head = settings_text_of(path)[:4096]
    comments = re.match(r"(?:#[^\n]*\n)*", head)
    assert comments is not None, "the pattern matches an empty text too"
    return bool(_WRITTEN_HERE.search(comments.group()))


def properties_folder() -> Path:
    """Our YAML files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "properties", package.parent / "properties"):
        if (folder / "overall.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"properties/overall.yaml is neither in nor beside {package}: the installation is "
        "incomplete"
    )


def our_file(kind: str, name: str) -> dict[str, Any]:
    """properties/<kind>/<name>.yaml, or nothing when there is no such file."""
    return copy.deepcopy(_our_file(properties_folder() / kind / f"{name}.yaml"))


@functools.cache
def _our_file(file: Path) -> dict[str, Any]:
    return read_settings(file) if file.is_file() else {}


def settings_class(name: str) -> type[Settings]:
    """Return the settings class of a model; one without keys for a model that declares none.

    Args:
        name: the `settings` of the model's registry entry, such as "PRECISE-UT".
    """
    target = registry.SETTINGS.get(name)
    if target is None:
        return registry.SETTINGS_OF_OUTSIDE.get(name, Settings)
    return load_target(target)


def model_files(name: str) -> list[str]:
    """List the models whose settings make up those of one: what it extends first, itself last."""
    return [part.name for part in settings_class(name).lineage()] or [name]


def model_settings(name: str) -> dict[str, Any]:
    """Return the keys of a model and their defaults, those that it takes over included."""
    return settings_class(name).defaults()


def our_settings(entry: Entry, dataset: str, recipe: str = "best") -> dict[str, Any]:
    """Return what we add to RecBole's defaults.

    Overall, then for a model of ours its own, its recipe, the data set's, and its variant.

    With the recipe `best`, what was tuned for a model of ours on a data set (properties/best/<data
    set>/<Model>.yaml) overrides the data set's protocol; `default` leaves it out. A model that
    extends another takes over what was tuned for that one, but for the keys that its own file sets.
    """
    settings = RunSettings.defaults()
    if entry.ours:
        settings.update(model_settings(entry.settings))
        if recipe == "paper":
            for name in model_files(entry.settings):
                settings.update(our_file("model", f"{name}.paper"))
    settings.update(our_file("dataset", dataset))
    if entry.ours:
        if recipe == "best":
            tuned: dict[str, Any] = {}
            own: set[str] = set()  # keys of the files of models that extend the one at hand
            for part in reversed(settings_class(entry.settings).lineage()):
                tuned = {
                    key: value
                    for key, value in our_file(f"best/{dataset}", part.name).items()
                    if key not in own
                } | tuned
                own |= part.own().keys()
            settings.update(tuned)
        settings.update(entry.preset)
    return settings


def parse_value(text: str, kinds: Collection[str] = ()) -> Any:
    """Parse the value that a text stands for.

    A Python literal, true, false, ~, null, or a YAML list or mapping; else the text itself.

    `kinds` are the types that the key takes; they decide where a text could be read in two ways: a
    template such as `{title}` is text for a key that takes text, a mapping for a key that takes
    mappings.
    """
    plain = text.strip()
    if plain.lower() in ("true", "false"):
        return plain.lower() == "true"
    if plain in ("~", "null", "None"):
        return None
    if set(kinds) == {"str"}:
        return _unquoted(plain, text)
    try:
        value = ast.literal_eval(plain)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    else:
        return (
            value
            if isinstance(value, (int, float, str, list, tuple, dict)) and _is_shallow(value)
            else text
        )
    opening = plain[:1]
    if (opening == "[" and (not kinds or "list" in kinds)) or (
        opening == "{" and (not kinds or "dict" in kinds)
    ):
        try:
            value = yaml.load(plain, Loader=SettingsLoader)
        except (yaml.YAMLError, RecursionError, ValueError, TypeError):
            return text
        return value if isinstance(value, (list, dict)) else text
    return text


def _unquoted(plain: str, text: str) -> str:
    """Unquote a quoted text, as Python reads it."""
    if len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "'\"":
        try:
            value = ast.literal_eval(plain)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
        return value if isinstance(value, str) else text
    return text


def _is_shallow(value: Any, level: int = 0) -> bool:
    """Whether a value nests no deeper than a file of settings may."""
    if level > MOST_LEVELS:
        return False
    if isinstance(value, dict):
        return all(_is_shallow(part, level + 1) for pair in value.items() for part in pair)
    return not isinstance(value, (list, tuple)) or all(
        _is_shallow(part, level + 1) for part in value
    )
