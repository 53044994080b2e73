"""Whole networks, built by the compiler and compared with onnxruntime."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from convc.pipeline import Build
from convc.runtime import Executable, load
from convc.targets.target import parse_target
from convc.verify import Reference, verify
from convc.verify.report import Network, Report

Shapes = Mapping[str, Sequence[int]]


@pytest.fixture
def built(tmp_path: Path) -> Callable[..., Executable]:
    """`built(model, shapes)`: the model compiled at -O3 for this machine. The folder goes as soon as it is loaded."""
    count = 0

    def build(model: Path, shapes: Shapes | None = None) -> Executable:
        nonlocal count
        count += 1
        path = tmp_path / f"{count}.convc"
        Build(parse_target("cpu")).run(model, path, [shapes or {}])
        executable = load(path)
        shutil.rmtree(path)
        return executable

    return build


@pytest.fixture
def agrees(built: Callable[..., Executable]) -> Callable[..., Report]:
    """`agrees(model, shapes, reference)`: build the model and compare every output with the reference's, by default
    onnxruntime's on the same model, as `convc build` does."""

    def check(model: Path, shapes: Shapes | None = None, reference: Network | None = None) -> Report:
        executable = built(model, shapes)
        own = Reference(model, shapes=shapes)
        report = verify(executable.run, reference or own, executable.inputs, nearby=None if reference else own.nearby)
        print(report.summary())
        assert report.passed, report.summary()
        return report

    return check


@pytest.fixture
def same(built: Callable[..., Executable]) -> Callable[..., dict[str, np.ndarray]]:
    """`same(model, inputs)`: build the model for inputs of these shapes, and compare what it makes of them with what
    onnxruntime does, as `convc build` does with random ones; what it makes."""

    def check(model: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        executable = built(model, {name: array.shape for name, array in inputs.items()})
        reference = Reference(model)
        report = verify(
            executable.run, reference, executable.inputs, samples=1, draw=lambda *_: inputs, nearby=reference.nearby
        )
        print(*report.rows(), report.summary(), sep="\n")
        assert report.passed, report.summary()
        return executable.run(inputs)

    return check
