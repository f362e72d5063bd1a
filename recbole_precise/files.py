"""Write files and folders of the package.

Names and places are checked first, and what a disk refuses is reported in one sentence.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from recbole_precise.errors import CheckpointError, ConfigError

_BLOCK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: What a disk, and not a fault of the package, makes fail.
_DISK = frozenset(
    {
        *_FULL,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EIO,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EMFILE,
        errno.ENFILE,
        errno.ELOOP,
        getattr(errno, "ESTALE", errno.EIO),
    }
)
_LONGEST = 255  # bytes of a name on the usual file systems
_OF_A_RUN = frozenset(
    [
        "result.json",
        "state.json",
        "config.yaml",
        "ranks.npz",
        "cold.npz",
        "model.safetensors",
        "train.log",
        "manifest.json",
        "items.parquet",
        "users.parquet",
        "training.safetensors",
    ]
)
_SHOWN = 120  # characters of a path in a message


def is_full(error: BaseException) -> bool:
    """Return whether a write failed for want of room."""
    return getattr(error, "errno", None) in _FULL


def is_disk_fault(error: OSError) -> bool:
    """Return whether the disk is the cause: full, read-only, forbidden or an impossible place."""
    return error.errno in _DISK


def sentence_of(error: OSError) -> str:
    """Return a sentence for people that names the file, where it is known, and the reason."""
    where = f"'{short(error.filename)}'" if error.filename else "A file or the output"
    room = " Free some space there." if is_full(error) else ""
    return f"{where} cannot be read or written: {error.strerror or error}.{room}"


def cannot_write(folder: Path, what: str, error: Exception) -> CheckpointError:
    """Return the error of a write into `folder` that failed; `what` it was, in words."""
    if is_full(error):
        return CheckpointError(
            f"No space left in '{short(folder)}' for {what}. "
            "Free some space there; whatever was complete before is intact."
        )
    reason = getattr(error, "strerror", None) or error
    named = getattr(error, "filename", None)
    blamed = (
        f"'{short(named)}': "
        if isinstance(named, (str, os.PathLike)) and Path(named) == folder
        else ""
    )
    return CheckpointError(
        f"{what[:1].upper()}{what[1:]} cannot be written in '{short(folder)}': {blamed}{reason}. "
        "Whatever was complete before is intact."
    )


def make_folder(folder: Path, what: str) -> None:
    """Make a folder for output where it does not exist.

    Args:
        folder: the folder.
        what: what it is for, in words.

    Raises:
        CheckpointError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise cannot_write(folder, what, error) from error


def output_folder(text: str, what: str) -> Path:
    """Check the name of a folder that a command is to write into, before anything is written.

    Args:
        text: as the user wrote it; a `~` in front is the home folder.
        what: what the user calls it: `run_dir`, `--output`.

    Returns: the folder, which need not exist.

    Raises:
        ConfigError: the name is empty or no name, or a file is in its place.
    """
    path = _checked(text, what, "a folder")
    if path.resolve() == Path(path.resolve().anchor):
        raise ConfigError(
            f"{what} '{short(text)}' is the root of the file system; name a folder below it."
        )
    _need_folders((path, *path.parents), path, what)
    return path


def output_file(text: str, what: str, replaces: str | None = None) -> Path:
    """Check the name of a file that a command is to write, before anything is written.

    It is checked as by `output_folder`.

    Args:
        text: as the user wrote it.
        what: what the user calls it.
        replaces: ending of the files that may be replaced, such as `.json`; None: any that is no
            part of a run.
    """
    path = _checked(text, what, "a file")
    if text.endswith(("/", os.sep)) or path.is_dir():
        raise ConfigError(f"{what} '{short(path)}' is a folder; name a file.")
    if path.exists() and not path.is_file():
        raise ConfigError(
            f"{what} '{short(path)}' is a device or a pipe, which is not replaced; name a file."
        )
    _need_folders(path.parents, path, what)
    if path.exists():
        if path.name in _OF_A_RUN and any(
            path.with_name(name).exists() for name in ("state.json", "result.json")
        ):
            raise ConfigError(
                f"{what} '{short(path)}' is a part of a run, which a command never writes over; "
                "choose another name."
            )
        if replaces is not None and path.suffix != replaces:
            raise ConfigError(
                f"{what} '{short(path)}' exists and is no {replaces} file, so it is not "
                "replaced; choose another name."
            )
    return path


def _checked(text: str, what: str, kind: str) -> Path:
    if not text.strip():
        raise ConfigError(f"{what} is empty: name {kind}, or leave it out.")
    wrong = next((char for char in text if unicodedata.category(char) in ("Cc", "Cs")), None)
    if wrong is not None:
        raise ConfigError(
            f"{what} {short(text)!r} has the character {wrong!r} in it, which no name should have."
        )
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(f"{what} '{short(text)}': there is no such home folder.") from None
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > _LONGEST:
        raise ConfigError(
            f"{what} '{short(text)}' is too long: a name may have {_LONGEST} bytes, not {longest}."
        )
    for place in (path, *path.parents):
        if place.name != place.name.strip() and not os.path.lexists(place):
            raise ConfigError(
                f"{what} '{short(text)}': '{place.name}' begins or ends with a blank; name "
                f"{kind} without it."
            )
    try:
        path.resolve()
        path.exists()
    except (OSError, RuntimeError) as error:  # longer than the system takes, or a loop of links
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{what} '{short(text)}' is no place for {kind}: {reason}.") from None
    return path


def _need_folders(places: Iterable[Path], path: Path, what: str) -> None:
    """Refuse a file in the place of the first of `places` that exists; innermost first."""
    for place in places:
        if place.is_dir():
            return
        if os.path.lexists(place):
            raise ConfigError(f"{what} '{short(path)}': '{short(place)}' is a file; name a folder.")


def short(text: str | os.PathLike[str]) -> str:
    """Return a path for a message; of one that is too long the beginning and its length."""
    text = str(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def write_atomically(path: Path, write: Callable[[Path], object], what: str = "a file") -> None:
    """Write a file whole or not at all.

    It is written beside its place, synchronised to disk and put in its place at once.

    Args:
        path: the file; its folder is made where it does not exist.
        write: called with the path of a temporary file beside it.
        what: what the file is, in words, for the message.

    Raises:
        CheckpointError: there is no room, or the place cannot be written; the old `path` is then as
            it was.
    """
    partial = path.with_name(_partial_name(path.name))
    try:
        if (
            path.exists() and not path.is_file()
        ):  # a device would be replaced, and a folder cannot be
            subject = f"{what[:1].upper()}{what[1:]}"
            raise CheckpointError(
                f"{subject} cannot be written: '{short(path)}' exists and is no file."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        mode = (
            partial.stat().st_mode
        )  # what the user's umask says; safetensors makes files that nobody else may read
        write(partial)
        partial.chmod(mode)
        with Path(partial).open("rb+") as file:
            os.fsync(file.fileno())
        Path(partial).replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path.parent, what, error) from error
    except ValueError as error:
        if "null byte" not in str(error):
            raise
        raise cannot_write(path.parent, what, error) from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            partial.unlink(missing_ok=True)


def _partial_name(name: str) -> str:
    """Name of the file that is written first, as long as file systems let it be."""
    ending = f".{os.getpid()}.tmp"
    while len(os.fsencode(f".{name}{ending}")) > 255 and name:
        name = name[:-1]
    return f".{name}{ending}"


def json_bytes(content: Any) -> bytes:
    """Return plain values as `write_json` writes them."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # Half a surrogate pair, as in a file name that is no UTF-8, becomes JSON's own escape of it.
    return text.encode("utf-8", "backslashreplace")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's contents as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, content: Any, what: str = "a file") -> None:
    """Write plain, indented JSON; every float reads back to the same bits.

    Args:
        path: the file. content: plain values. what: what the file is, in words.

    Raises:
        CheckpointError: as `write_atomically`.
    """
    data = json_bytes(content)
    write_atomically(path, lambda partial: partial.write_bytes(data), what)


def sync_folder(folder: Path) -> None:
    """Make a rename last; systems that cannot open a folder need not."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
