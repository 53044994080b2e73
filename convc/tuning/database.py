"""The database of measurements: one SQLite file, to which every outcome is committed as soon as it is known.

A record is one candidate of one kernel: a template and its configuration, on a target, with so many threads, by the
versions of convc and TVM that made the code. Write-ahead logging keeps what was committed through `kill -9`, and lets
builds read while a tuner writes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from platform import node
from typing import TYPE_CHECKING, Any

from convc import __version__
from convc.targets.measurements import Record, TuningError

if TYPE_CHECKING:
    from convc.targets.target import AnyTarget

SCHEMA = 1
_APPLICATION = 0x636E7663  # "cnvc", in the header of the file
_BUSY_SECONDS = 30  # to wait for another writer
_TABLES = (
    "CREATE TABLE workload (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, text TEXT NOT NULL)",
    "CREATE TABLE setting (id INTEGER PRIMARY KEY, target TEXT NOT NULL, threads INTEGER NOT NULL, "
    "convc TEXT NOT NULL, tvm TEXT NOT NULL, UNIQUE (target, threads, convc, tvm))",
    "CREATE TABLE record (workload INTEGER NOT NULL, setting INTEGER NOT NULL, template TEXT NOT NULL, "
    "config TEXT NOT NULL, outcome TEXT NOT NULL, ns REAL NOT NULL, samples INTEGER NOT NULL, at REAL NOT NULL, "
    "machine TEXT NOT NULL, PRIMARY KEY (workload, setting, template, config)) WITHOUT ROWID",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {SCHEMA}",
)
_WHICH = (
    "digest = :digest AND target = :target AND threads = :threads AND convc = :convc AND tvm = :tvm"  # one kernel's
)


@dataclass(frozen=True)
class Setting:
    """What a measurement holds for, besides its kernel."""

    target: str
    threads: int
    convc: str = __version__
    tvm: str = field(default_factory=lambda: version("apache-tvm"))  # where there is a compiler

    @staticmethod
    def of(target: AnyTarget, threads: int, **versions: str) -> Setting:
        """All of a target that decides which code is made, on so many threads (0 on a GPU); `versions` of what made it,
        if that was elsewhere."""
        return Setting(json.dumps(target.identity(), sort_keys=True), threads, **versions)

    def and_kernel(self, text: str) -> dict[str, Any]:
        """As parameters of a query."""
        return vars(self) | {"digest": digest(text), "text": text}


def digest(text: str) -> str:
    """What stands for a kernel's text."""
    return sha256(text.encode()).hexdigest()[:24]


def default_path() -> Path:
    """The user's database: ~/.cache/convc/tuning.db, or in XDG_CACHE_HOME."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "convc" / "tuning.db"


class Database:
    """An open database, for the process that opened it alone: SQLite's connections do not survive a fork."""

    def __init__(self, path: Path, mode: str) -> None:
        self.path = path
        if path.is_dir():
            raise TuningError(f"expected the file of a tuning database, {path} is a folder")
        with self._explained():
            uri = f"{path.absolute().as_uri()}?mode={mode}"
            self._connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)

    @staticmethod
    def create(path: Path) -> Database:
        """Open a database to write to; it is made if there is none. Raises TuningError for any other file, and where
        none can be made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        database = Database(path, "rwc")
        with database._explained():
            if database._is_new():
                database._connection.execute("PRAGMA journal_mode = WAL")
                with database._transaction() as connection:
                    for statement in _TABLES if database._is_new() else ():  # another process may have been faster
                        connection.execute(statement)
            database._check()
        return database

    @staticmethod
    def read(path: Path) -> Database:
        """Open a database to read from. Raises TuningError for any other file."""
        # In a folder that it may not write to, a reader cannot make the index of the log that it shares with writers.
        database = Database(path, "ro" if os.access(path.parent, os.W_OK) else "ro&immutable=1")
        with database._explained():
            if not database._is_new():
                database._check()
        return database

    def close(self) -> None:
        self._connection.close()

    def add(self, text: str, setting: Setting, record: Record, samples: int, machine: str = "") -> None:
        """Commit the outcome of one candidate of a kernel, in place of what was known of it."""
        values = setting.and_kernel(text) | vars(record)
        values |= {"config": json.dumps(record.config, sort_keys=True), "samples": samples}
        values |= {"at": record.at or time.time(), "machine": machine or node()}
        with self._explained(), self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO workload (digest, text) VALUES (:digest, :text)", values)
            connection.execute(
                "INSERT OR IGNORE INTO setting (target, threads, convc, tvm) VALUES (:target, :threads, :convc, :tvm)",
                values,
            )
            connection.execute(
                "INSERT OR REPLACE INTO record SELECT workload.id, setting.id, :template, :config, :outcome, :ns, "
                f":samples, :at, :machine FROM workload, setting WHERE {_WHICH}",
                values,
            )

    def records(self, text: str, setting: Setting) -> list[Record]:
        """What is known of a kernel: the fastest candidate first, then those that failed."""
        with self._explained():
            if self._is_new():
                return []
            rows = self._connection.execute(
                "SELECT template, config, outcome, ns, at FROM record JOIN workload ON workload.id = workload "
                f"JOIN setting ON setting.id = setting WHERE {_WHICH} ORDER BY outcome != 'ok', ns, at",
                setting.and_kernel(text),
            )
            return [Record(template, json.loads(config), *rest) for template, config, *rest in rows]

    def _number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0])

    def _is_new(self) -> bool:
        """Whether the file is empty, as one is whose maker was stopped before it committed the tables."""
        return not self._number("PRAGMA user_version") and not self._number("SELECT count(*) FROM sqlite_schema")

    def _check(self) -> None:
        if self._number("PRAGMA application_id") != _APPLICATION:
            raise TuningError(f"{self.path} is no tuning database: name another file with --db")
        if (found := self._number("PRAGMA user_version")) != SCHEMA:
            raise TuningError(
                f"{self.path} is a tuning database of version {found}, this convc reads version {SCHEMA}: "
                "name another with --db, or remove it"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as one line for the user."""
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, full, not writable
            raise TuningError(f"tuning database {self.path}: {error}") from None
        except (sqlite3.DatabaseError, ValueError) as error:
            raise TuningError(
                f"{self.path} is no tuning database, or is damaged ({error}): name another with --db, or remove it"
            ) from None
