"""Files made from the settings classes: the YAML of properties/, a JSON Schema, a page of the docs.

`python -m recbole_precise.config.written` writes them all; a test holds that they are up to date.
"""

from __future__ import annotations

import json
import re
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from recbole_precise import registry
from recbole_precise.config import properties_folder, schema, settings_class
from recbole_precise.config.key import Key
from recbole_precise.config.run_settings import RunSettings
from recbole_precise.config.setting import Setting, Settings
from recbole_precise.files import write_atomically

SCHEMA_FILE = "settings.schema.json"
_JSON_TYPES = {
    "int": "integer", "float": "number", "bool": "boolean", "str": "string", "list": "array",
    "dict": "object",
}  # fmt: skip
_EDITED = "Made from {source}: edit that, then run `make settings`."


def yaml_of(cls: type[Settings], schema_path: str) -> str:
    """Write a settings class as the YAML file that people read and copy from.

    Args:
        cls: the class; only keys that it names itself are written.
        schema_path: where the JSON Schema is, relative to the file, for editors.
    """
    lines = [f"# yaml-language-server: $schema={schema_path}"]
    about = " ".join((cls.__doc__ or "").split())
    made = _EDITED.format(source=cls.__module__.replace(".", "/") + ".py")
    for text in (about, " ".join(cls.notes.split()), made):
        lines += textwrap.wrap(text, 98, initial_indent="# ", subsequent_indent="# ")
    for name, found in cls.own().items():
        if found.group or name == next(iter(cls.own())):
            lines.append("")
        if found.group:
            lines.append(f"# {found.group}")
        written = f"{name}: {_yaml_value(found.default)}"
        lines.append(f"{written.ljust(31)} # ({_kinds(name, found)}) {found.meaning}")
    return "\n".join(lines) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a file of settings: every key of a run, ours and RecBole's."""
    properties: dict[str, Any] = {}
    classes: list[type[Settings]] = [RunSettings, *map(settings_class, registry.SETTINGS)]
    for cls in classes:
        for name, found in cls.own().items():
            if name in properties:
                continue
            key = schema.RECBOLE.get(name, found.key)
            properties[name] = {"description": found.meaning, **_schema_of(key)}
    for name, key in schema.RECBOLE.items():
        properties.setdefault(name, _schema_of(key))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of recbole_precise",
        "type": "object",
        "properties": dict(sorted(properties.items())),
    }


def settings_page() -> str:
    """Write the page of the docs that lists every setting."""
    lines = [
        "# Settings",
        "",
        "Every key, its default and its meaning. `--key=value` sets one for a run, a YAML file",
        "(`--config_files=mine.yaml`) sets many. Keys of RecBole keep RecBole's meaning.",
        "",
        "An editor completes and checks a YAML file whose first line is",
        f"`# yaml-language-server: $schema=PATH/{SCHEMA_FILE}` (the file is in `properties/`).",
        "",
        "## Every run",
        "",
        *_table(RunSettings),
    ]
    for name in registry.SETTINGS:
        cls = settings_class(name)
        about = " ".join((cls.__doc__ or "").split())
        lines += ["", f"## {name}", "", *textwrap.wrap(about, 110), ""]
        parents = [part.name for part in cls.lineage()[:-1]]
        if parents:
            lines += [f"It takes over the keys of {', '.join(reversed(parents))}.", ""]
        lines += _table(cls)
    return "\n".join(lines) + "\n"


def help_of(name: str) -> str:
    """Write the settings of a model as the command's help shows them.

    Args:
        name: the `settings` of its registry entry.
    """
    lines = []
    for key, found in settings_class(name).declared().items():
        meaning = textwrap.wrap(found.meaning, 96, break_on_hyphens=False)
        lines.append(f"  --{key}={_yaml_value(found.default)}  ({_kinds(key, found)})")
        lines += [f"      {line}" for line in meaning]
    return "\n".join(lines)


def files() -> dict[Path, str]:
    """Return every file that is made from the settings classes, with its content."""
    folder = properties_folder()
    made = {folder / "overall.yaml": yaml_of(RunSettings, SCHEMA_FILE)}
    for name in registry.SETTINGS:
        made[folder / "model" / f"{name}.yaml"] = yaml_of(settings_class(name), f"../{SCHEMA_FILE}")
    made[folder / SCHEMA_FILE] = json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"
    made[folder.parent / "docs" / "settings.md"] = settings_page()
    return made


def _table(cls: type[Settings]) -> list[str]:
    """List the keys of a class, three short lines each, so that no line is wide."""
    lines: list[str] = []
    for name, found in cls.own().items():
        if found.group:
            lines += [*([""] if lines else []), f"**{found.group}**", ""]
        lines.append(f"- `{name}: {_yaml_value(found.default)}` ({_kinds(name, found)})")
        meaning = _for_markdown(found.meaning)
        lines += textwrap.wrap(
            meaning, 110, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
        )
    return lines


def _for_markdown(text: str) -> str:
    """Escape what Markdown would read as marks: stars, underscores in words, angle brackets."""
    return re.sub(r"([*<>\[\]])", r"\\\1", text)


def _kinds(name: str, found: Setting) -> str:
    return schema.RECBOLE.get(name, found.key).kinds


def _yaml_value(value: Any) -> str:
    """Write a default on one line of YAML; ~ for none."""
    if value is None:
        return "~"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return repr(value).replace("e-0", "e-")
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.strip().removesuffix("\n...").strip()


def _schema_of(key: Key) -> dict[str, Any]:
    types = [_JSON_TYPES[kind] for kind in key.types]
    if key.nullable:
        types.append("null")
    found: dict[str, Any] = {"type": types[0] if len(types) == 1 else types}
    bounds = {
        "minimum": key.low,
        "maximum": key.high,
        "exclusiveMinimum": key.above,
        "exclusiveMaximum": key.below,
    }
    found.update({name: bound for name, bound in bounds.items() if bound is not None})
    if key.choices is not None and not key.any_case:
        choices = [*key.choices, *([None] if key.nullable else [])]
        if "list" in key.types:
            found["items"] = {"enum": list(key.choices)}
        else:
            found["enum"] = choices
    return found


def main() -> None:
    """Write every file that is made from the settings classes."""
    for path, content in files().items():
        write_atomically(path, partial(Path.write_text, data=content, encoding="utf-8"))


if __name__ == "__main__":
    main()
