"""The file of measurements: what was committed stays, whatever happens to the process that wrote it."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from convc.targets.cuda.target import parse_cuda
from convc.targets.measurements import Record, TuningError
from convc.targets.target import CpuTarget, parse_target
from convc.tuning.database import Database, Setting, default_path

HERE = Setting("a target", threads=1)


def record(number: int, outcome: str = "ok", ns: float = 0.0) -> Record:
    return Record("direct_conv", {"width": number}, outcome, ns)  # type: ignore[arg-type]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.create(tmp_path / "tuning.db")


def test_the_fastest_come_first_and_failures_last(database: Database) -> None:
    for each in (record(1, ns=30.0), record(2, "crashed"), record(3, ns=10.0), record(4, "wrong"), record(5, ns=20.0)):
        database.add("kernel", HERE, each, samples=4)
    found = database.records("kernel", HERE)
    assert [each.config["width"] for each in found[:3]] == [3, 5, 1]
    assert {each.outcome for each in found[3:]} == {"crashed", "wrong"}
    assert database.records("another kernel", HERE) == []


def test_a_later_outcome_replaces_an_earlier_one(database: Database) -> None:
    database.add("kernel", HERE, record(1, "crashed"), samples=0)
    database.add("kernel", HERE, Record("direct_conv", {"width": 1}, "ok", 5.0), samples=9)
    (found,) = database.records("kernel", HERE)
    assert (found.outcome, found.ns) == ("ok", 5.0)


OTHERS = {"target": "another", "threads": 2, "convc": "9.9", "tvm": "9.9"}


@pytest.mark.parametrize("field", OTHERS)
def test_measurements_hold_for_their_setting_alone(field: str, database: Database) -> None:
    database.add("kernel", HERE, record(1, ns=1.0), samples=1)
    assert database.records("kernel", replace(HERE, **{field: OTHERS[field]})) == []


def test_a_target_is_what_decides_the_code(target: CpuTarget) -> None:
    named = replace(target, name="cpu:by-its-name", cores=64)
    assert Setting.of(target, 1) == Setting.of(named, 1)
    for change in ({"l2_bytes": 1}, {"features": ("-avx512f",)}, {"vector_bits": 64}, {"cpu": "other"}):
        assert Setting.of(target, 1) != Setting.of(replace(target, **change), 1)
    assert Setting.of(parse_target("cpu:haswell"), 1) != Setting.of(parse_target("cpu:x86-64-v3"), 1)


def test_the_default_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "convc" / "tuning.db"
    for unusable in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert default_path() == Path.home() / ".cache" / "convc" / "tuning.db"


def test_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "tuning.db"
    Database.create(path).add("kernel", HERE, record(1, ns=1.0), samples=1)
    assert len(Database.read(path).records("kernel", HERE)) == 1


def text(path: Path) -> None:
    path.write_text("this is no database\n" * 1000)


def truncated(path: Path) -> None:
    database = Database.create(path)
    for number in range(200):
        database.add(f"kernel {number}" * 50, HERE, record(number, ns=1.0), samples=1)
    database.close()
    path.write_bytes(path.read_bytes()[:-20_000])


def overwritten(path: Path) -> None:
    truncated(path)
    path.write_bytes(path.read_bytes()[:4096] + bytes(20_000))


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE record (number INTEGER)")


def newer(path: Path) -> None:
    Database.create(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 7")


DAMAGE = {
    text: "is no tuning database, or is damaged",
    truncated: "is no tuning database, or is damaged",
    overwritten: "is no tuning database, or is damaged",
    foreign: "is no tuning database: name another file with --db",
    newer: "is a tuning database of version 7, this convc reads version 1: name another with --db, or remove it",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_any_other_file_is_one_clear_line(damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "tuning.db"
    damage(path)
    before = path.read_bytes()
    for use in (
        lambda: Database.create(path).add("k", HERE, record(1), 1),
        lambda: Database.read(path).records("k", HERE),
    ):
        with pytest.raises(TuningError) as caught:
            use()
        assert DAMAGE[damage] in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_file_whose_making_was_stopped_holds_nothing_yet(tmp_path: Path) -> None:
    path = tmp_path / "tuning.db"
    path.touch()
    assert Database.read(path).records("kernel", HERE) == []
    Database.create(path).add("kernel", HERE, record(1, ns=1.0), samples=1)
    assert len(Database.read(path).records("kernel", HERE)) == 1


def test_builds_read_while_a_tuner_writes(database: Database) -> None:
    reader = Database.read(database.path)
    for number in range(20):
        database.add("kernel", HERE, record(number, ns=1.0 + number), samples=1)
        assert len(reader.records("kernel", HERE)) == number + 1


WRITER = """
import sys
from pathlib import Path
from convc.targets.cuda.target import parse_cuda
from convc.targets.measurements import Record
from convc.tuning.database import Database, Setting
first = int(sys.argv[2])
database = Database.create(Path(sys.argv[1]))
for number in range(first, first + 100_000):
    database.add(f"kernel {number % 7}", Setting("a target", 1), Record("t", {"n": number}, "ok", 1.0 + number), 1)
    print(number, flush=True)
"""


def test_kill_at_ten_random_moments_loses_nothing_committed(tmp_path: Path) -> None:
    path, committed, generator = tmp_path / "tuning.db", set[int](), random.Random(0)
    for kill in range(10):
        command = [sys.executable, "-c", WRITER, str(path), str(kill * 100_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = process.stdout.readline()  # the moment is counted from when it writes
            time.sleep(generator.random() * 0.2)
            process.send_signal(signal.SIGKILL)
            committed.update(int(line) for line in [first, *process.stdout] if line.endswith("\n"))
        database = Database.read(path)
        found = {each.config["n"] for i in range(7) for each in database.records(f"kernel {i}", HERE)}
        assert committed <= found
        assert len(found - committed) <= kill + 1, "one may have been committed and not told of"
        committed = found
    assert len(committed) > 10


def test_processes_may_make_and_write_one_file_together(tmp_path: Path) -> None:
    path = tmp_path / "tuning.db"
    script = WRITER.replace("100_000", "50")
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(path), str(i * 1000)], stdout=subprocess.DEVNULL)
        for i in range(3)
    ]
    assert [process.wait() for process in writers] == [0, 0, 0]
    database = Database.read(path)
    assert sum(len(database.records(f"kernel {i}", HERE)) for i in range(7)) == 150


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_read(database: Database, tmp_path: Path) -> None:
    database.add("kernel", HERE, record(1, ns=1.0), samples=1)
    database.close()
    tmp_path.chmod(0o555)
    try:
        assert len(Database.read(database.path).records("kernel", HERE)) == 1
    finally:
        tmp_path.chmod(0o755)


def test_a_gpu_is_the_same_by_its_data_sheet_and_by_its_driver() -> None:
    sheet = parse_cuda("cuda:sm_90a")
    asked = replace(sheet, name="cuda", device="NVIDIA H100 80GB HBM3", clock=1.98e9, bandwidth=3.352e12)
    assert Setting.of(asked, 0) == Setting.of(sheet, 0)
    assert asked.processor == sheet.processor
    h200 = parse_cuda("cuda:h200")
    assert Setting.of(replace(h200, name="cuda", device="NVIDIA H200", clock=1.98e9), 0) == Setting.of(h200, 0)
    others = [
        h200,
        replace(asked, device="NVIDIA H100 PCIe", multiprocessors=114),
        parse_cuda("cuda:sm_90"),
        sheet.with_tf32(),
    ]
    assert all(Setting.of(other, 0) != Setting.of(sheet, 0) for other in others)
    assert len({other.processor for other in (*others, sheet)}) == 5
