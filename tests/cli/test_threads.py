"""Builds choose kernels by what was measured on so many threads: every way to build says how many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import convc
from convc.cli.main import main
from convc.pipeline import Build
from convc.targets.target import parse_target


@pytest.fixture
def threads(monkeypatch) -> list[int | None]:
    """The threads of every build."""
    found: list[int | None] = []
    prepare = Build.__post_init__

    def noted(build: Build) -> None:
        found.append(build.threads)
        prepare(build)

    monkeypatch.setattr(Build, "__post_init__", noted)
    return found


def network(seed: int, path: Path) -> Path:
    text = '<ir_version: 9, opset_import: ["" : 17]> net (float[1, 3, 6, 6] x) => (float[1, 8, 6, 6] y) '
    model = parser.parse_model(text + "{ y = Conv <pads = [1, 1, 1, 1]> (x, w) }")
    weight = np.random.default_rng(seed).standard_normal((8, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    onnx.save(model, path)
    return path


def test_compile(threads, tmp_path):
    executable = convc.compile(network(0, tmp_path / "net.onnx"), threads=1)
    assert threads == [1]
    assert executable.manifest["threads"] == 1


def test_bench_of_a_model(threads, tmp_path):
    assert main(["bench", str(network(0, tmp_path / "net.onnx")), "--threads", "1", "--seconds", "0.01"]) == 0
    assert threads == [1]


def test_bench_of_a_model_is_on_one_thread_unless_told(threads, tmp_path):
    assert main(["bench", str(network(0, tmp_path / "net.onnx")), "--seconds", "0.01"]) == 0
    assert threads == [1]


def test_bisection_builds_what_the_artifact_was_built_for(threads, tmp_path):
    artifact, other = tmp_path / "net.convc", network(1, tmp_path / "other.onnx")
    Build(parse_target("cpu"), threads=1).run(network(0, tmp_path / "net.onnx"), artifact)
    assert main(["verify", str(artifact), str(other), "--bisect"]) == 1
    assert len(threads) > 1
    assert set(threads) == {1}
