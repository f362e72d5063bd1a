"""Which columns of a data set a run loads, from `load_col` and the headers of its files.

No row is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_precise.config.known_keys import recbole_folder
from recbole_precise.data.scan import read_header
from recbole_precise.errors import ConfigError, DataError, did_you_mean

#: Files that RecBole reads without being asked for.
FILES = ("inter", "user", "item", "kg", "link", "net")


def folder_of(settings: Mapping[str, Any], dataset: str) -> Path:
    """Return the folder of a data set's atomic files.

    RecBole reads ml-100k from its own, whatever data_path says.
    """
    if dataset == "ml-100k":
        return recbole_folder() / "dataset_example" / "ml-100k"
    return Path(str(settings["data_path"]), dataset)


def file_of(settings: Mapping[str, Any], dataset: str, suffix: str) -> Path:
    """Return the file of a suffix.

    Of data that was split beforehand it is the first of its `.inter` files.
    """
    parts = settings.get("benchmark_filename")
    first = (
        f".{parts[0]}" if suffix == "inter" and isinstance(parts, (list, tuple)) and parts else ""
    )
    return folder_of(settings, dataset) / f"{dataset}{first}.{suffix}"


def suffixes_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the suffixes of the files that a run may read."""
    more = settings.get("additional_feat_suffix") or ()
    return (*FILES, *([more] if isinstance(more, str) else more))


def columns_in(settings: Mapping[str, Any], dataset: str, suffix: str) -> dict[str, str] | None:
    """Column -> type of a file.

    None where there is no such file, or one that loading will refuse.
    """
    file = file_of(settings, dataset, suffix)
    if not file.is_file():
        return None
    try:
        return dict(
            read_header(
                file,
                str(settings.get("field_separator") or "\t"),
                settings.get("encoding") or "utf-8",
            )
        )
    except (DataError, ValueError):
        return None


def loaded_columns(settings: Mapping[str, Any], dataset: str) -> dict[str, str] | None:
    """Column -> type of all columns that a run loads; None where a file's header cannot be read."""
    load = settings.get("load_col")
    unload = settings.get("unload_col") or {}
    found: dict[str, str] = {}
    for suffix in suffixes_of(settings):
        wanted = "*" if load is None else load.get(suffix)
        if wanted is None or not file_of(settings, dataset, suffix).is_file():
            continue
        columns = columns_in(settings, dataset, suffix)
        if columns is None:
            return None
        left_out = unload.get(suffix) or ()
        found.update(
            {
                name: kind
                for name, kind in columns.items()
                if (wanted == "*" or name in wanted) and name not in left_out
            }
        )
    return found


def check_loaded(key: str, columns: list[str], where: str, types: Mapping[str, str] | None) -> None:
    """Refuse a key that names columns which are not loaded."""
    if types is None:
        return
    for column in columns:
        if column not in types:
            raise ConfigError(
                f"{key} ({where}) names the column '{column}', which is not loaded; add it to "
                "load_col, or take one of "
                f"{', '.join(types)}.{did_you_mean(column, types)}"
            )
