"""Whole networks on this machine's GPU beside onnxruntime: `make test-gpu`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from convc.pipeline import Build
from convc.runtime import Executable, load
from convc.targets.target import AnyTarget, TargetError, parse_target
from convc.verify import PRECISIONS, verify_variants

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
ZOO = sorted(Path(os.environ["CONVC_ZOO"]).glob("*.onnx")) if "CONVC_ZOO" in os.environ else []


@pytest.fixture(scope="session")
def gpu() -> AnyTarget:
    try:
        return parse_target("cuda")
    except TargetError as error:
        pytest.skip(str(error))


def built(model: Path, target: AnyTarget, precision: str, folder: Path, **shape: tuple[int, ...]) -> Executable:
    Build(target, precision=precision).run(model, folder / "model.convc", [shape])
    return load(folder / "model.convc")


@pytest.fixture(scope="session")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ResNet-50 that the demo makes."""
    spec = importlib.util.spec_from_file_location("resnet50", ROOT / "examples" / "resnet50.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("models") / "resnet50.onnx"
    onnx.save(module.resnet50(), path)
    return path


@pytest.mark.parametrize("precision", PRECISIONS)
def test_digits(precision: str, gpu: AnyTarget, tmp_path: Path) -> None:
    model = ROOT / "examples" / "digits" / "digits.onnx"
    executable = built(model, gpu, precision, tmp_path, image=(5, 1, 8, 8))
    assert all(report.passed for report in verify_variants(executable, model, samples=3, seed=0))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_resnet50(precision: str, gpu: AnyTarget, resnet50: Path, tmp_path: Path) -> None:
    executable = built(resnet50, gpu, precision, tmp_path)
    for report in verify_variants(executable, resnet50, samples=3, seed=0):
        assert report.passed, report.summary()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("model", ZOO, ids=lambda path: path.stem)
def test_zoo(model: Path, precision: str, gpu: AnyTarget, tmp_path: Path) -> None:
    executable = built(model, gpu, precision, tmp_path)
    for report in verify_variants(executable, model, samples=3, seed=0):
        assert report.passed, report.summary()


def test_runs_repeat_to_the_last_bit(gpu: AnyTarget, resnet50: Path, tmp_path: Path) -> None:
    """No sum depends on the order in which blocks end."""
    executable = built(resnet50, gpu, "fp16", tmp_path)
    (name, shape, dtype), *_ = executable.inputs
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    first = executable(x)
    for _ in range(5):
        np.testing.assert_array_equal(executable({name: x}), first)
