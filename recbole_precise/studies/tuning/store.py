"""The database of a study: a SQLite file, or a server that several machines reach.

The tables are those of Optuna's `RDBStorage`. A trial under way gives a sign of life every
`HEARTBEAT` seconds. After `GRACE` seconds without one it counts as lost, and its point is tried
again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from time import sleep
from typing import Any

from optuna.exceptions import ExperimentalWarning, OptunaError, StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import URL, Select, column, make_url, select, table
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from recbole_precise.errors import CheckpointError, ConfigError, UserError
from recbole_precise.files import cannot_write, output_file, short
from recbole_precise.system.locking import exclusive

#: Seconds between two signs of life of a trial.
HEARTBEAT = 5
#: Seconds of silence after which a trial counts as lost.
GRACE = 30
#: Seconds that a process waits for others: for a lock of the file, for its turn.
PATIENCE = 60
#: Seconds that a server may take to answer.
ANSWER = 10
#: How often a process tries to make the tables of a server while others do.
_TRIES = 5

#: What drivers call the seconds that a connection may take.
_TIMEOUTS = {
    "psycopg": "connect_timeout",
    "psycopg2": "connect_timeout",
    "pg8000": "timeout",
    "mysqldb": "connect_timeout",
    "pymysql": "connect_timeout",
    "mysqlconnector": "connection_timeout",
}
#: Packages of drivers, by the module that is missing, where their names differ.
_PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


def read_address(text: str) -> URL:
    """Return the address that `--storage` names.

    Args:
        text: the name of a SQLite file, or a SQLAlchemy URL such as sqlite:///FILE or
            postgresql://user@host/database.

    Raises:
        ConfigError: it names neither.
    """
    if "://" not in text:
        return _of_file(text)
    try:
        url = make_url(text)
        if url.get_backend_name() != "sqlite":
            url.get_dialect()
            return url
    except (ArgumentError, ValueError) as error:
        scheme = text.partition("://")[0]  # the rest may hold a password
        raise ConfigError(
            f"--storage '{short(scheme)}://...' is no address of a database: {_reason(error)}. "
            "Write FILE.db, or for example postgresql://user@host/database."
        ) from error
    return _of_file(url.database or "")


def _of_file(name: str) -> URL:
    file = output_file(name, "--storage")
    if file.suffix == ".journal":
        raise ConfigError(
            f"--storage '{short(file)}': journals are those of earlier versions and are not read "
            "any more. Name a SQLite file such as study.db, which begins a new study."
        )
    return URL.create("sqlite", database=str(file))


def file_of(url: URL) -> Path | None:
    """Return the file of a SQLite address, None for a server."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


class Store:
    """One process's connection to a database of studies.

    Attributes:
        rdb: Optuna's storage.
        name: of the database, for messages.

    Args:
        url: of the database, which is made where it is a file that does not exist.
        folder: of the study; its lock gives turns to the processes that share a file.

    Raises:
        UserError: the database cannot be used.
    """

    def __init__(self, url: URL, folder: Path) -> None:
        self.url = url
        self.name = short(file_of(url) or url.render_as_string())
        self._file = file_of(url)
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)  # which the lock would remove again
        except OSError as error:
            raise cannot_write(folder, "the study", error) from error
        with self.faults(), self._file_lock():
            self.rdb = self._open()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Keep out all other processes: within it one can look and act in several steps.

        A SQLite file is guarded by a lock of the study's folder, a server by the lock of a row.
        Both end with the process that holds them.
        """
        with self._file_lock() if self._file is not None else self._row_lock():
            yield

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Turn the errors of the database into sentences for people."""
        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            raise self._sentence(error) from error

    def close(self) -> None:
        """End the connections; a later use makes new ones."""
        self.rdb.remove_session()
        self.rdb.engine.dispose()

    # --- Opening ------------------------------------------------------------------------------

    def _open(self) -> RDBStorage:
        try:
            for _ in range(_TRIES):
                with suppress(ProgrammingError, IntegrityError):  # others make the tables too
                    return self._connect()
                sleep(1)
            return self._connect()
        except ImportError as error:
            missing = getattr(error.__cause__, "name", None)
            if missing is None:
                raise ConfigError(f"{self._what} cannot be used: {_reason(error)}.") from error
            raise ConfigError(
                f"{self._what} needs the package of its driver: run "
                f"`pip install '{_PACKAGES.get(missing, missing)}'`."
            ) from error
        except (OptunaError, RuntimeError) as error:
            raise self._sentence(error) from error

    def _connect(self) -> RDBStorage:
        engine: dict[str, object] = {"pool_pre_ping": True}
        if self._file is not None:
            engine = {"connect_args": {"timeout": PATIENCE}}
        else:
            timeout = _TIMEOUTS.get(self.url.get_driver_name())
            if timeout is not None and timeout not in self.url.query:
                engine["connect_args"] = {timeout: ANSWER}
        address = self.url.render_as_string(hide_password=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return _Storage(
                address.replace("{", "{{").replace("}", "}}"),  # Optuna takes it for a template
                engine_kwargs=engine,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
            )

    # --- Locks --------------------------------------------------------------------------------

    def _file_lock(self) -> AbstractContextManager[None]:
        if self._file is None:
            return nullcontext()
        return exclusive(self._folder, "the folder of the study", wait=PATIENCE)

    @contextmanager
    def _row_lock(self) -> Iterator[None]:
        row: Select[Any] = select(column("version_num")).select_from(table("alembic_version"))
        with self.rdb.engine.begin() as connection:
            connection.execute(row.with_for_update())
            yield

    # --- Faults -------------------------------------------------------------------------------

    @property
    def _what(self) -> str:
        return f"storage '{self.name}'"

    def _sentence(self, error: BaseException) -> UserError:
        reason = _reason(error)
        if self._file is None:
            return ConfigError(f"{self._what} cannot be used: {reason}.")
        if "disk" in reason:
            return CheckpointError(
                f"No space left in '{short(self._file.parent)}' for the study, or its disk is "
                f"faulty ({reason}). Trials that have ended are kept."
            )
        if "locked" in reason:
            return ConfigError(f"{self._what} is held by another program for {PATIENCE} s.")
        if "is not a database" in reason:
            return ConfigError(f"{self._what} is no SQLite file: choose another name.")
        if "readonly" in reason or "unable to open" in reason:
            return ConfigError(f"{self._what} cannot be written ({reason}).")
        return ConfigError(f"{self._what} cannot be used: {reason}.")


class _Storage(RDBStorage):
    """Optuna's storage, in which no trial is under way without a sign of life."""

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Give the first sign of life before a trial begins, so that a kill is always seen."""
        if state == TrialState.RUNNING:
            self.record_heartbeat(trial_id)
        return super().set_trial_state_values(trial_id, state, values)

    def record_heartbeat(self, trial_id: int) -> None:
        """Pass over a sign of life that cannot be written.

        Optuna gives it in a thread, whose error would be a traceback on the screen. The trial
        itself reports the fault.
        """
        with suppress(StorageInternalError, SQLAlchemyError):
            super().record_heartbeat(trial_id)


def _reason(error: BaseException) -> str:
    """Return the first line of what the driver says, in an error of Optuna or SQLAlchemy."""
    while isinstance(error, OptunaError) and error.__cause__ is not None:
        error = error.__cause__
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return said.splitlines()[0].rstrip(".")
