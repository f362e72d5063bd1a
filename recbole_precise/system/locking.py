"""One writer at a time in a directory.

By a lock of the operating system that ends with the process that holds it.

The lock is taken on a file in the directory. The file is removed when the lock is released; one
that a killed process left behind is unlocked and does no harm. Reading a directory needs no lock.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_precise.errors import CheckpointError
from recbole_precise.system.clock import timestamp

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_POLL = 0.05  # seconds between two tries while waiting
_WINDOWS_BYTE = (
    1 << 30
)  # far behind the content: Windows forbids others to read bytes that are locked
#: What flock fails with where the file system has no locks (some network and FUSE file systems).
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP})

_log = logging.getLogger("recbole_precise")


class InUseError(CheckpointError):
    """Another process, or another thread of this one, writes into the directory."""


@dataclass
class _Hold:
    """A directory that this process holds.

    Attributes:
        descriptor: of the lock file; None where the file system has no locks.
        thread: that took it, and may take it again.
        count: how many times it is held.
    """

    descriptor: int | None
    thread: int
    since: str
    count: int = 1


_holds: dict[str, _Hold] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def exclusive(folder: str | os.PathLike[str], what: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the right to write into a directory; the thread that holds it may take it again.

    Where the file system has no locks a warning is logged, and nothing is held.

    Args:
        folder: the directory, made where it does not exist, and removed again where nothing was
            written into it.
        what: what the user calls it, for the message: `run_dir`, `--output`.
        wait: seconds to wait for another holder.

    Raises:
        InUseError: another process or thread holds it.
        CheckpointError: the directory cannot be made or written.
    """
    path = Path(folder)
    made = _make(path, what)
    try:
        key = os.path.realpath(path)
        deadline = time.monotonic() + wait
        while not _take(path, key, what, last=time.monotonic() >= deadline):
            time.sleep(_POLL)
        try:
            yield
        finally:
            _give_back(path, key)
    finally:
        _remove_empty(made)


def _make(path: Path, what: str) -> list[Path]:
    """Make a directory; return those that did not exist, the innermost first."""
    try:
        missing = []
        parent = path
        while not parent.exists() and parent != parent.parent:
            missing.append(parent)
            parent = parent.parent
        path.mkdir(parents=True, exist_ok=True)
        return missing
    except (FileExistsError, NotADirectoryError):
        place = next(
            (str(each) for each in (path, *path.parents) if os.path.lexists(each)), str(path)
        )
        raise CheckpointError(f"{what} '{path}': '{place}' is a file; name a directory.") from None
    except OSError as error:
        raise CheckpointError(
            f"{what} '{_short(path)}' cannot be made: {error.strerror or error}."
        ) from error
    except ValueError as error:  # a NUL
        raise CheckpointError(f"{what} {str(path)!r} cannot be made: {error}.") from error


def _take(path: Path, key: str, what: str, last: bool) -> bool:
    """Try to take the lock.

    Where another holds it, return False, or raise where this was the last try.
    """
    me = threading.get_ident()
    with _guard:
        hold = _holds.get(key)
        if hold is not None and hold.thread == me:
            hold.count += 1
            return True
        if hold is None:
            try:
                descriptor = _lock_file(path / LOCK)
            except BlockingIOError:
                owner = _owner(path / LOCK)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    reason = error.strerror or str(error)
                    raise CheckpointError(
                        f"{what} '{_short(path)}' cannot be written: {reason}."
                    ) from error
                _log.warning(
                    "%s '%s' lies on a file system without locks (%s): see to it yourself that "
                    "one process alone writes there.",
                    what,
                    path,
                    error.strerror or error,
                )
                _holds[key] = _Hold(None, me, timestamp())
                return True
            else:
                _holds[key] = _Hold(descriptor, me, timestamp())
                return True
        else:
            owner = {"process": os.getpid(), "host": socket.gethostname(), "since": hold.since}
    if not last:
        return False
    raise InUseError(
        f"{what} '{path}' is in use by {_words(owner)}. Wait until it has ended, or choose "
        "another directory."
    )


def _give_back(path: Path, key: str) -> None:
    with _guard:
        hold = _holds.get(key)
        if hold is None:  # this is a fork of the process that holds it
            return
        hold.count -= 1
        if hold.count:
            return
        del _holds[key]
        if hold.descriptor is None:
            return
        # Removed before it is unlocked: who opens it later finds another file, or none, and looks
        # again.
        with contextlib.suppress(OSError):
            (path / LOCK).unlink()
        os.close(hold.descriptor)
        if fcntl is None:  # Windows removes no file that is open
            with contextlib.suppress(OSError):
                (path / LOCK).unlink()


def _lock_file(file: Path) -> int:
    """Lock a file, made where it does not exist; return its descriptor.

    Raises:
        BlockingIOError: another process holds it.
    """
    while True:
        # Not inherited by programs that this process starts, and closed in its forks (`_forget`).
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if _is_still(descriptor, file):
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder has removed it in between


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    os.lseek(descriptor, _WINDOWS_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError as error:
        raise BlockingIOError(errno.EAGAIN, "locked by another process") from error


def _is_still(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), Path(file).stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    """Write down who holds the lock, for the message that others get.

    Without room on the disk the lock holds all the same.
    """
    owner = {"process": os.getpid(), "host": socket.gethostname(), "since": timestamp()}
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, (json.dumps(owner) + "\n").encode())


def _owner(file: Path) -> dict[str, Any]:
    try:
        owner = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _words(owner: dict[str, Any]) -> str:
    if not {"process", "host", "since"} <= owner.keys():
        return "another process"  # which has not signed yet
    return f"process {owner['process']} on host {owner['host']} since {owner['since']}"


def _remove_empty(made: list[Path]) -> None:
    for folder in made:
        try:
            folder.rmdir()
        except OSError:
            return


def _short(path: Path) -> str:
    """Shorten a path for a message: of one that is too long the beginning."""
    text = str(path)
    return text if len(text) <= 200 else text[:200] + "..."


def _forget() -> None:
    """Forget the locks in a fork.

    With its copies of the descriptors closed, the locks end with the process that took them.
    """
    global _guard
    _guard = threading.Lock()
    for hold in _holds.values():
        if hold.descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(hold.descriptor)
    _holds.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
