"""Temporary folders beside what is being written.

They are removed whatever happens, after a kill by the next command.

Each holds a lock of the operating system, which the death of its process releases. A folder whose
lock is free belongs to nobody and is removed; one without a lock file, or with a name of another
form, is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: leftovers then stay
    fcntl = None  # type: ignore[assignment]

_LOCK = "in-use.lock"
_PLACES = "places.json"  # in a folder of files set aside: where they belong


@contextlib.contextmanager
def workplace(parent: Path, command: str) -> Iterator[Path]:
    """Make a temporary folder `.<command>-...` in `parent` for the block.

    It is removed at the end of the block however it ends.

    Folders above it that had to be made are removed again when they are still empty. What killed
    processes left in `parent` and in the folders directly below it is removed first.

    Args:
        parent: where the folder is made, on the file system of what will be written.
        command: the name in front of it.

    Yields:
        The folder.

    Raises:
        OSError: `parent` cannot be written.
    """
    made: list[Path] = []
    place: Path | None = None
    lock: IO[str] | None = None
    try:
        _make_folders(parent, made)
        remove_leftovers(parent, command)
        # The name is known before there is a folder: an interrupt between the two must
        # not leave one.
        place = parent / f".{command}-{os.getpid()}-{secrets.token_hex(4)}"
        place.mkdir(mode=0o700)
        # Held to the end of the block.
        lock = (place / _LOCK).open("w", encoding="utf-8")
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield place
    finally:
        try:
            _tidy_up(place, lock, made)
        except KeyboardInterrupt:  # once more: what it interrupted is left
            _tidy_up(place, lock, made)
            raise


def _tidy_up(place: Path | None, lock: IO[str] | None, made: Iterable[Path]) -> None:
    if place is not None:
        _remove(place)
    if lock is not None:
        lock.close()
    for folder in reversed(list(made)):
        with contextlib.suppress(OSError):
            folder.rmdir()  # fails, as it should, where something has been written


@contextlib.contextmanager
def stopped_like_interrupted() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into a KeyboardInterrupt within the block.

    Temporary files are then removed.
    """

    def interrupt(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not stop the tidying up
        raise KeyboardInterrupt

    before = {}
    try:
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            # A command under nohup goes on when its terminal closes.
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, interrupt)
    except ValueError:  # not the main thread
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def remove_leftovers(parent: Path, command: str) -> None:
    """Remove the temporary folders of killed processes.

    In `parent` and in the folders directly below it.
    """
    form = re.compile(rf"\.{re.escape(command)}-(\d+)-\w+")
    with contextlib.suppress(OSError):
        found = [*parent.glob(f".{command}-*"), *parent.glob(f"*/.{command}-*")]
        for place in found:
            named = form.fullmatch(place.name)
            if named is None or place.is_symlink() or not place.is_dir():
                continue
            if (place / _LOCK).is_file():
                if _is_free(place / _LOCK):
                    _remove(place)
            elif not _is_alive(int(named[1])):
                with contextlib.suppress(OSError):
                    place.rmdir()  # killed before it had its lock: the folder is empty


def publish(contents: Mapping[Path, Path], stale: Iterable[Path], aside: Path) -> None:
    """Put finished files in their places, all of them or none.

    Earlier files are set aside first and come back when anything fails. The last of `contents`
    disappears first and arrives last, so that a kill between two files leaves no complete set of
    mixed files; `remove_leftovers` then brings the earlier ones back.

    Args:
        contents: place -> the finished file, on the same file system.
        stale: files that belong to what is replaced and are removed with it.
        aside: a folder that does not exist yet, on the same file system.

    Raises:
        OSError: a place cannot be written; all is as it was before.
    """
    made: list[Path] = []
    kept: dict[Path, Path] = {}
    placed: list[Path] = []
    try:
        aside.mkdir()
        _note_places(aside, contents, stale)
        for place in [*reversed(list(contents)), *stale]:
            if os.path.lexists(place):
                # Named before it is moved: an interrupt between the two must not lose the file.
                kept[place] = aside / place.name
                Path(place).replace(kept[place])
        for place, finished in contents.items():
            _make_folders(place.parent, made)
            placed.append(place)
            Path(finished).replace(place)
    except BaseException:
        for place in placed:
            if not os.path.lexists(contents[place]):
                with contextlib.suppress(OSError):
                    place.unlink()
        for place, old in kept.items():
            if os.path.lexists(old):
                Path(old).replace(place)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _note_places(aside: Path, contents: Mapping[Path, Path], stale: Iterable[Path]) -> None:
    """Write down what is about to be replaced, for whoever finds the folder after a kill."""
    every = [*contents, *stale]
    places = {place.name: str(place.absolute()) for place in every}
    earlier = [place.name for place in every if os.path.lexists(place)]
    *_, last = contents
    with (aside / _PLACES).open("w", encoding="utf-8") as file:
        json.dump({"places": places, "earlier": earlier, "last": last.name}, file)
        file.flush()
        os.fsync(file.fileno())


def _bring_back(aside: Path) -> None:
    """Bring earlier files back that a killed process had set aside.

    Unless the new ones are complete.
    """
    try:
        noted = json.loads((aside / _PLACES).read_text(encoding="utf-8"))
        places = {name: Path(place) for name, place in noted["places"].items()}
        last = places[noted["last"]]
        earlier = set(noted["earlier"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    set_aside = [name for name in places if os.path.lexists(aside / name)]
    if not set_aside or os.path.lexists(last):
        return
    for name, place in places.items():
        with contextlib.suppress(OSError):
            if name in set_aside:
                (aside / name).replace(place)
            elif name not in earlier:
                place.unlink(missing_ok=True)  # new, without the file that makes it a set


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it; each new one is appended to `made` at once."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        made.append(new)
        new.mkdir(exist_ok=True)


def _remove(place: Path) -> None:
    """Remove a temporary folder, its lock file last: half removed, it is still recognised."""
    with contextlib.suppress(OSError):
        for aside in sorted(place.glob(f"*/{_PLACES}")):
            _bring_back(aside.parent)
        for inside in list(place.iterdir()):
            if inside.name == _LOCK:
                continue
            if inside.is_dir() and not inside.is_symlink():
                shutil.rmtree(inside, ignore_errors=True)
            else:
                inside.unlink()
        (place / _LOCK).unlink(missing_ok=True)
        place.rmdir()


def _is_free(lock: Path) -> bool:
    """Whether no process holds the lock of this file."""
    if fcntl is None:
        return False
    try:
        with Path(lock).open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
