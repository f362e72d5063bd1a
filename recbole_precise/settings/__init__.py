"""Settings as text: our YAML files, the user's YAML files, and values typed on a command line. Nothing is evaluated."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from recbole_precise.errors import ConfigError

if TYPE_CHECKING:
    from recbole_precise.registry import Entry


class SettingsLoader(yaml.SafeLoader):
    """YAML as RecBole reads it (`1e-3` is a number), without Python objects, and with no key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.value in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key_node.value}' is given twice", key_node.start_mark)
            seen.add(key_node.value) if isinstance(key_node.value, str) else None
        return super().construct_mapping(node, deep)


SettingsLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def read_settings(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file (an empty file is an empty mapping); a ConfigError that names file and line otherwise."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"Config file '{file}' does not exist.") from None
    except IsADirectoryError:
        raise ConfigError(f"Config file '{file}' is a folder.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Config file '{file}' cannot be read: {error}.") from error
    try:
        content = yaml.load(text, Loader=SettingsLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"Config file '{file}'{line}: {error.problem or error.context}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"Config file '{file}' is not YAML: {error}.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"Config file '{file}' must hold lines of the form 'key: value', not a {type(content).__name__}.")
    for key in content:
        if not isinstance(key, str):
            raise ConfigError(f"Config file '{file}': the key {key!r} must be text.")
    return content


def properties_folder() -> Path:
    """Our YAML files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "properties", package.parent / "properties"):
        if (folder / "overall.yaml").is_file():
            return folder
    raise FileNotFoundError(f"properties/overall.yaml is neither in nor beside {package}: the installation is incomplete")


def our_file(kind: str, name: str) -> dict[str, Any]:
    """properties/<kind>/<name>.yaml, or nothing when there is no such file."""
    file = properties_folder() / kind / f"{name}.yaml"
    return read_settings(file) if file.is_file() else {}


def model_files(name: str) -> list[str]:
    """The models whose files in properties/model hold the settings of one: what it extends first, itself last."""
    base = our_file("model", name).get("extends")
    return [*(model_files(base) if base else ()), name]


def model_settings(name: str) -> dict[str, Any]:
    """Keys of a model and their defaults: its file in properties/model over those that it extends."""
    settings: dict[str, Any] = {}
    for file in model_files(name):
        settings.update(our_file("model", file))
    settings.pop("extends", None)
    return settings


def our_settings(entry: Entry, dataset: str, recipe: str = "best") -> dict[str, Any]:
    """What we add to RecBole's defaults: overall, then for a model of ours its own, its recipe, the data set's, and its variant.

    With the recipe `best`, what was tuned for a model of ours on a data set (properties/best/<data set>/<Model>.yaml)
    goes before the data set's protocol; `default` leaves it out. A model that extends another takes over what was tuned for that
    one, but for the keys that its own file sets.
    """
    settings = read_settings(properties_folder() / "overall.yaml")
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
            for name in reversed(model_files(entry.settings)):
                tuned = {key: value for key, value in our_file(f"best/{dataset}", name).items() if key not in own} | tuned
                own |= our_file("model", name).keys()
            settings.update(tuned)
        settings.update(entry.preset)
    return settings


def parse_value(text: str, kinds: Collection[str] = ()) -> Any:
    """The value that a text stands for: a Python literal, true, false, ~, null, or a YAML list or mapping; else the text itself.

    `kinds` are the types that the key takes; they decide where a text could be read in two ways: a template such as
    `{title}` is text for a key that takes text, a mapping for a key that takes mappings.
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
        return value if isinstance(value, (int, float, str, list, tuple, dict)) else text
    opening = plain[:1]
    if (opening == "[" and (not kinds or "list" in kinds)) or (opening == "{" and (not kinds or "dict" in kinds)):
        try:
            value = yaml.load(plain, Loader=SettingsLoader)  # noqa: S506 - a SafeLoader
        except yaml.YAMLError:
            return text
        return value if isinstance(value, (list, dict)) else text
    return text


def _unquoted(plain: str, text: str) -> str:
    """A quoted text without its quotes, as Python reads it."""
    if len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "'\"":
        try:
            value = ast.literal_eval(plain)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
        return value if isinstance(value, str) else text
    return text
