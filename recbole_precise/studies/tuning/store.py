"""A study on disk: Optuna's storage in one file, and locks by which processes know of each other.

A journal (the default) only ever grows by whole lines and needs no server: processes on one machine
share it, and machines share it through a common folder whose file system has locks (a local disk,
NFS 4). SQLite (`.db`) is for one machine. The operating system frees the lock of a process that has
died, however it died, so that its trial is known to be lost at once.
"""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_precise.errors import ConfigError

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from optuna.storages import BaseStorage

SQLITE = (".db", ".sqlite", ".sqlite3")


def open_storage(path: Path) -> BaseStorage:
    """Optuna's storage in a file, made when it is not there.

    A ConfigError when the file is none.
    """
    from optuna.exceptions import StorageInternalError
    from optuna.storages import JournalStorage, RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    if re.match(r"\w{2,}:/", str(path)):
        raise ConfigError(
            f"storage is a file, not the address '{path}': name a journal, or a .db file for "
            "SQLite."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in SQLITE:
            return RDBStorage(
                f"sqlite:///{path.resolve()}", engine_kwargs={"connect_args": {"timeout": 60}}
            )
        return JournalStorage(_whole_lines()(str(path)))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        SQLAlchemyError,
        StorageInternalError,
        RuntimeError,
    ) as error:
        kind = "database of studies" if path.suffix in SQLITE else "journal of studies"
        raise ConfigError(
            f"storage '{path}' is no {kind} or cannot be used: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}."
        ) from error


def _whole_lines() -> type:
    from filelock import FileLock
    from optuna.storages.journal import JournalFileBackend

    class Guard:
        """Optuna's interface of a lock over one that the operating system frees. Optuna's own locks
        are files that outlive a killed process, and its test of their age never ends when the
        journal's path is relative.
        """

        def __init__(self, file: str) -> None:
            self._lock = FileLock(f"{file}.lock")

        def acquire(self) -> bool:
            self._lock.acquire()
            return True

        def release(self) -> None:
            self._lock.release()

    class WholeLines(JournalFileBackend):
        """Optuna's journal file, which a line cut short (a full disk, a power cut) does
        not spoil.
        """

        def __init__(self, file: str) -> None:
            self._journal = Path(file)
            self._guard = Guard(file)
            super().__init__(file, lock_obj=self._guard)

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            self._guard.acquire()
            try:
                self._drop_torn_line()
                with Path(self._journal).open("ab") as file:
                    file.write(
                        "".join(
                            json.dumps(log, separators=(",", ":")) + "\n" for log in logs
                        ).encode("utf-8")
                    )
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                self._guard.release()

        def _drop_torn_line(self) -> None:
            """What stands behind the last line break was never acknowledged to anyone."""
            if not self._ends_whole():
                with Path(self._journal).open("rb+") as file:
                    file.truncate(file.read().rfind(b"\n") + 1)

        def _ends_whole(self) -> bool:
            with Path(self._journal).open("rb") as file:
                if not file.seek(0, os.SEEK_END):
                    return True
                file.seek(-1, os.SEEK_END)
                return file.read(1) == b"\n"

    return WholeLines


class Workers:
    """The processes that share a storage, each known by a lock that it holds while it lives.

    Attributes:
        name: of this process, as its trials carry it.
        turn: held while a trial is handed out; between two holders nothing is half done.
    """

    def __init__(self, storage: Path) -> None:
        from filelock import FileLock

        self._folder = storage.with_name(f"{storage.name}.workers")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"storage '{storage}': the folder '{self._folder}' cannot be made: {error}."
            ) from error
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.turn: BaseFileLock = FileLock(self._folder / "turn")
        self._own: BaseFileLock = FileLock(self._folder / self.name)
        self._own.acquire()

    def alive(self, name: str) -> bool:
        """Whether the process of that name lives. Asked while `turn` is held."""
        from filelock import FileLock, Timeout

        if name == self.name:
            return True
        file = self._folder / name
        if not file.exists():
            return False
        lock = FileLock(file, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return True
        lock.release()
        file.unlink(missing_ok=True)
        return False

    def leave(self) -> None:
        """This process has no more trials."""
        self._own.release()
        (self._folder / self.name).unlink(missing_ok=True)
