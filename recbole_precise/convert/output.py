"""The place that a conversion writes to.

The name of the data set and the place of its files are checked before anything is written.
"""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from recbole_precise.errors import ConfigError, DataError

ENDINGS = ("inter", "item", "yaml", "bad_rows.tsv")
_BUNDLED = "ml-100k"  # RecBole reads it from its own folder, whatever data_path says
_LONGEST = 200  # bytes of a name; file systems take 255, and endings and run directories add to it
_SIGNS = '<>:"/\\|?*'
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_output(output: str | Path) -> Path:
    """Check the folder that a conversion writes; its last part names the data set.

    Returns:
        The folder, with `..` resolved.

    Raises:
        ConfigError: the last part cannot be the name of a data set.
        DataError: something that is no folder is in the way.
    """
    text = str(output)
    if not text:
        raise ConfigError(
            "--output is empty: give the folder of the new data set, as in --output=dataset/shop."
        )
    folder = Path(text)
    reason = _why_no_name(folder.name)
    if reason:
        raise ConfigError(
            f"--output={_shown(text)}: {reason}. The last part of --output is the name of the data "
            "set, as in "
            "--output=dataset/shop."
        )
    if "\0" in text or not _is_text(text):
        raise ConfigError(f"--output={_shown(text)}: the path holds bytes that are no text.")
    if ".." in folder.parts:
        folder = Path(os.path.realpath(folder.parent), folder.name)
    _check_place(folder)
    return folder


def files_of(folder: Path) -> list[Path]:
    """Every file that a conversion into the folder may write."""
    return [folder / f"{folder.name}.{ending}" for ending in ENDINGS]


def check_inputs_stay(folder: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that would replace a file that is being read.

    Raises:
        ConfigError: one of the inputs is where a file would be written.
    """
    inputs = list(inputs)
    for target in files_of(folder):
        for file in inputs:
            if target.exists() and file.exists() and target.samefile(file):
                raise ConfigError(
                    f"--output={folder}: {target.name} would replace the file {file} that is being "
                    "converted; choose "
                    "another --output."
                )


def _why_no_name(name: str) -> str | None:
    """Why a data set cannot have this name, or None when it can."""
    if name in ("", ".", ".."):
        return "it names no data set"
    if not _is_text(name):
        return "the name holds bytes that are no text"
    if name == _BUNDLED:
        return (
            f"a run reads {_BUNDLED} from RecBole's own folder, whatever data_path says, and would "
            "never see these "
            "files; choose another name"
        )
    for sign in name:
        if unicodedata.category(sign)[0] in "CZ" or sign in _SIGNS:
            called = unicodedata.name(sign, "control character").lower()
            return f"the name '{_shown(name)}' holds a character that a name cannot have ({called})"
    if name[0] in "-.":
        return f"the name '{_shown(name)}' begins with '{name[0]}'"
    if name.endswith("."):
        return f"the name '{_shown(name)}' ends with a full stop"
    ending = name.rpartition(".")[2].lower()
    if ending in ("inter", "item", "user", "yaml", "yml"):
        return f"'{_shown(name)}' is the name of a file; give the folder, without .{ending}"
    if _DEVICES.fullmatch(name):
        return f"the name '{name}' is that of a device on Windows"
    if len(name.encode()) > _LONGEST:
        return f"the name is longer than {_LONGEST} bytes"
    return None


def _check_place(folder: Path) -> None:
    """Raise a DataError when the folder cannot be made or holds folders where files will be."""
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(folder)  # a path that is too long
        for place in (folder, *folder.parents):
            if place.is_symlink() and not place.exists():
                raise DataError(
                    f"{folder}: cannot be written: '{place}' is a symbolic link that leads nowhere."
                )
            if os.path.lexists(place):
                if not place.is_dir():
                    raise DataError(
                        f"{folder}: cannot be written: '{place}' is no folder; choose another "
                        "--output."
                    )
                break
        for file in files_of(folder):
            if file.is_dir():
                raise DataError(
                    f"{folder}: cannot be written: '{file}' is a folder; remove it first."
                )
    except OSError as error:
        raise DataError(
            f"{_shown(str(folder))}: cannot be written ({error.strerror or error}); choose another "
            "--output."
        ) from error


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str, most: int = 120) -> str:
    """Shorten a path for a message: on one line, printable, not too long."""
    shown = "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)
    return shown if len(shown) <= most else shown[:most] + "..."
