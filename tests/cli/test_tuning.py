"""`convc tune` and `convc build --tune`, as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Convc = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The user's cache is in the test's folder."""
    return os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture
def convc(tmp_path: Path, environment: dict[str, str]) -> Convc:
    """Runs `convc ARGUMENTS` in a folder that holds net.onnx, a convolution and a mean."""
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((32, 32, 1, 1)).astype(np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["conv"])]
    nodes.append(helper.make_node("GlobalAveragePool", ["conv"], ["mean"]))
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {"x": [1, 32, 10, 10], "mean": [1, 32, 1, 1]}.items()
    )
    graph = helper.make_graph(nodes, "network", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "convc", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def succeeded(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON that a command printed."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def assert_one_line(done: subprocess.CompletedProcess[str], message: str, status: int = 1) -> None:
    """Failed before anything was measured, with one line that says why, after any lines of progress."""
    *progress, last = done.stderr.splitlines()
    assert done.returncode == status, done.stderr
    assert last.startswith("convc: error: ")
    assert message in last
    assert all(line.endswith(" ...") for line in progress), done.stderr
    assert not done.stdout


def kernels(convc: Convc, artifact: str) -> dict[str, Any]:
    """By what they compute, as `convc inspect` tells."""
    found = succeeded(convc("inspect", artifact, "--json"))
    return {step["name"]: found["kernels"][step["kernel"]] for step in found["variants"][0]["steps"]}


def test_builds_choose_by_what_was_tuned(convc: Convc, tmp_path: Path) -> None:
    assert convc("build", "net.onnx", "-o", "untuned", "--threads", 1).returncode == 0
    facts = succeeded(convc("tune", "net.onnx", "--threads", 1, "--trials", 14, "--json"))
    assert 10 <= facts["trials"] <= 14, "at least all that templates propose"
    assert facts["threads"] == 1
    assert Path(facts["database"]) == tmp_path / "cache" / "convc" / "tuning.db"
    assert facts["network"]["untuned_ms"] > 0 < facts["network"]["tuned_ms"]
    assert facts["target"]["name"] == "cpu"
    best = {row["name"]: row for row in facts["kernels"]}
    assert 0 < facts["ratio"] <= 1
    assert all(0 < row["tuned_us"] <= row["untuned_us"] and not row["failed"] for row in best.values())

    assert "agrees with onnxruntime" in convc("build", "net.onnx", "-o", "tuned", "--threads", 1).stdout
    built = kernels(convc, "tuned")
    for name in ("conv", "mean"):
        row = best[name]
        assert (built[name]["template"], built[name]["config"]) == (row["template"], row["config"])
        assert built[name]["cost"] == {"ns": pytest.approx(1e3 * row["tuned_us"], abs=1)}
    assert built["conv"]["runner_up"]["cost"]["ns"] >= built["conv"]["cost"]["ns"]
    table = convc("inspect", "tuned").stdout
    assert f"{built['conv']['cost']['ns'] / 1e3:,.1f} us" in table

    # On other threads or another target nothing is known: the model decides, as it did before tuning.
    untuned = kernels(convc, "untuned")
    assert all("ns" not in kernel["cost"] for kernel in untuned.values())
    for options in (["--threads", 2], ["--threads", 1, "--target", "cpu:haswell"]):
        assert convc("build", "net.onnx", "-o", "other", "--no-verify", *options).returncode == 0
        assert all("ns" not in kernel["cost"] for kernel in kernels(convc, "other").values())


def test_an_untuned_build_is_the_same_every_time(convc: Convc) -> None:
    for name in ("one", "two"):
        assert convc("build", "net.onnx", "-o", name, "--no-verify").returncode == 0
    assert kernels(convc, "one") == kernels(convc, "two")
    for kernel in kernels(convc, "one").values():
        assert kernel["template"]
        assert kernel["cost"]["cycles"] >= 0


def test_tuning_tells_its_progress_in_plain_lines_and_sums_it_up(convc: Convc, tmp_path: Path) -> None:
    done = convc("tune", "net.onnx", "--threads", 1, "--time-limit", "60s", "--trials", 3, "--db", "here.db")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert "\r" not in done.stderr + done.stdout
    steps = [line for line in done.stderr.splitlines() if not line.startswith("  ")]
    assert all(line.endswith(" ...") for line in steps)
    (batch,) = [line for line in done.stderr.splitlines() if line.startswith("  ")]
    assert batch.startswith("  conv (conv 1x1 1x32x10x10 -> 1x32x10x10): ")
    assert "3 candidates" in batch
    assert batch.endswith(" left")
    assert done.stdout.splitlines()[0].split()[:2] == ["kernel", "of"]
    assert "measured    3 candidates in " in done.stdout
    assert "database    here.db" in done.stdout
    assert not (tmp_path / "cache" / "convc" / "tuning.db").exists()


def test_tuning_goes_on_where_it_was(convc: Convc, tmp_path: Path) -> None:
    tune = ("tune", "net.onnx", "--threads", 1, "--db", "t.db", "--json")
    assert succeeded(convc(*tune, "--trials", 2))["trials"] == 2
    assert succeeded(convc(*tune, "--trials", 3))["trials"] == 3
    with sqlite3.connect(tmp_path / "t.db") as connection:
        assert connection.execute("SELECT count(*) FROM record").fetchone() == (5,)


def test_build_tunes_in_place(convc: Convc) -> None:
    facts = succeeded(convc("build", "net.onnx", "--threads", 1, "--tune", "20s", "--json"))
    assert facts["verified"]["passed"]
    assert facts["tuning"]["trials"] > 0
    assert all("ns" in kernel["cost"] for name, kernel in kernels(convc, "net.convc").items() if name == "conv")
    again = convc("build", "net.onnx", "--threads", 1, "--tune", "1", "--db", "new.db")
    assert again.returncode == 0, again.stderr
    assert "tuned: 1 candidates in " in again.stdout
    assert "agrees with onnxruntime" in again.stdout


def test_choices_are_exported(convc: Convc, tmp_path: Path) -> None:
    for _ in range(2):
        done = convc("tune", "net.onnx", "--threads", 1, "--trials", 2, "--export", "known.json", "--json")
        succeeded(done)
    exported = json.loads((tmp_path / "known.json").read_text())
    ((processor, choices),) = exported["choices"].items()
    assert processor.endswith(", 1 thread")
    assert all(ns > 0 for _, _, ns in choices.values())


def test_ctrl_c_is_one_line_and_keeps_what_was_measured(
    convc: Convc, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "convc", "tune", "net.onnx", "--threads", "1", "--db", "t.db"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # ignored where a shell runs it with &
    ) as process:
        assert process.stderr is not None
        assert any(line.startswith("  conv") for line in process.stderr), "a batch is over"
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate()
    assert process.returncode == 130
    assert out == ""
    *progress, last = rest.splitlines()
    assert last == "convc: interrupted"
    assert all(line.startswith("  ") for line in progress), "more batches may have ended meanwhile"
    with sqlite3.connect(tmp_path / "t.db") as connection:
        assert connection.execute("SELECT count(*) FROM record").fetchone()[0] > 0


def no_database(folder: Path) -> None:
    (folder / "x").write_text("this is no database\n" * 1000)


def foreign_database(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "x")) as connection, connection:
        connection.execute("CREATE TABLE record (number INTEGER)")


def nothing(folder: Path) -> None:
    """Leaves the folder as it is."""


def other_export(folder: Path) -> None:
    (folder / "x").write_text('{"format": 99}')


REFUSED: dict[str, tuple[Callable[[Path], None], list[str], str, int]] = {
    "a text file for a database": (no_database, ["--db", "x"], "x is no tuning database, or is damaged", 1),
    "another program's database": (foreign_database, ["--db", "x"], "x is no tuning database: name another", 1),
    "a folder for a database": (nothing, ["--db", "."], "expected the file of a tuning database, . is a folder", 1),
    "a database where none can be": (nothing, ["--db", "net.onnx/t.db"], "net.onnx", 1),
    "another file for an export": (other_export, ["--export", "x"], "x is no file that convc tune --export wrote", 1),
    "an export to nowhere": (nothing, ["--export", "no/x"], "cannot export to no/x: no is no folder", 1),
    "no trials": (nothing, ["--trials", "0"], "expected a whole number of at least 1, got '0'", 2),
    "no time": (nothing, ["--time-limit", "soon"], "expected a time such as 90s, 2m or 1h30m, got 'soon'", 2),
    "more threads than cores": (nothing, ["--threads", "4096"], "--threads 4096: this process may use", 2),
    "an RPC address without a key": (nothing, ["--rpc", "host:9190"], "--rpc HOST:PORT and --key K go together", 2),
    "a wrong RPC address": (nothing, ["--rpc", "host", "--key", "k"], "--rpc: expected HOST:PORT, got 'host'", 2),
    "no tracker": (nothing, ["--rpc", "127.0.0.1:1", "--key", "k"], "no RPC tracker answers at 127.0.0.1:1: ", 1),
    "an unknown target": (nothing, ["--target", "cpu:znver99"], 'unknown target "cpu:znver99"', 1),
    "another machine": (nothing, ["--target", "cpu:OTHER"], "is another machine", 1),
}


@pytest.mark.parametrize("what", REFUSED)
def test_tune_refuses_in_one_line(what: str, convc: Convc, tmp_path: Path) -> None:
    make, options, message, status = REFUSED[what]
    make(tmp_path)
    other = "cortex-a76" if os.uname().machine == "x86_64" else "haswell"
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = convc("tune", "net.onnx", "--trials", 1, *(option.replace("OTHER", other) for option in options))
    assert_one_line(done, message, status)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


BUILD_REFUSED: dict[str, tuple[list[str], str, int]] = {
    "no trials": (["--tune", "0"], "expected a whole number of at least 1, got '0'", 2),
    "no time": (["--tune", "soon"], "expected a number of trials, or a time such as 90s", 2),
    "a low level": (["--tune", "1", "-O", "1"], "--tune needs -O3: at -O1 there is one way to compute each", 2),
    "no such database": (["--db", "none.db"], "no tuning database none.db: make it with convc tune --db", 1),
    "a text file for a database": (["--db", "net.onnx"], "net.onnx is no tuning database, or is damaged", 1),
    "a text file to tune into": (["--db", "net.onnx", "--tune", "1"], "net.onnx is no tuning database", 1),
}


@pytest.mark.parametrize("what", BUILD_REFUSED)
def test_build_refuses_in_one_line(what: str, convc: Convc, tmp_path: Path) -> None:
    options, message, status = BUILD_REFUSED[what]
    assert_one_line(convc("build", "net.onnx", *options), message, status)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
