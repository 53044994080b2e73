"""Whole networks on this machine's GPU beside onnxruntime: `make test-gpu`; on the software device with
`pytest -m gpu --emulate tests/gpu`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import onnx
import pytest

from convc.targets.cuda.target import CudaTarget, parse_cuda
from convc.verify import PRECISIONS

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits" / "digits.onnx"
ZOO = sorted(Path(os.environ["CONVC_ZOO"]).glob("*.onnx")) if "CONVC_ZOO" in os.environ else []

Try: TypeAlias = Callable[..., None]


@pytest.fixture(scope="session")
def resnet50(tmp_path_factory: pytest.TempPathFactory, emulate: bool) -> Path:
    """The ResNet-50 that the demo makes."""
    if emulate:
        pytest.skip("a ResNet-50 on the software device takes minutes")
    spec = importlib.util.spec_from_file_location("resnet50", ROOT / "examples" / "resnet50.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("models") / "resnet50.onnx"
    onnx.save(module.resnet50(), path)
    return path


@pytest.mark.parametrize("precision", PRECISIONS)
def test_digits(precision: str, check: Try) -> None:
    """Variants of several batch sizes."""
    check(DIGITS, precision, {"image": (1, 1, 8, 8)}, {"image": (5, 1, 8, 8)})


@pytest.mark.parametrize("level", range(3))
def test_levels(level: int, check: Try) -> None:
    check(DIGITS, "fp32", {"image": (2, 1, 8, 8)}, level=level)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_older_architectures(precision: str, gpu: CudaTarget, check: Try) -> None:
    """Hopper runs what any GPU of capability 9.0 would."""
    if gpu.arch != "sm_90a":
        pytest.skip(f"{gpu.arch} has no instructions of its own")
    check(DIGITS, precision, {"image": (2, 1, 8, 8)}, target=parse_cuda("cuda:sm_90"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_resnet50(precision: str, resnet50: Path, check: Try) -> None:
    check(resnet50, precision)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("model", ZOO, ids=lambda path: path.stem)
def test_zoo(model: Path, precision: str, check: Try) -> None:
    check(model, precision)


@pytest.mark.parametrize("model", ["digits", "resnet50"])
def test_runs_repeat_to_the_last_bit(model: str, gpu: CudaTarget, run: Try, request: pytest.FixtureRequest) -> None:
    """No sum depends on the order in which blocks end."""
    path, shapes = (DIGITS, {"image": (5, 1, 8, 8)}) if model == "digits" else (request.getfixturevalue(model), {})
    run("repeats.py", path, "fp16", shapes)


def test_tensors_of_torch(run: Try, emulate: bool) -> None:
    if emulate:
        pytest.skip("torch's tensors lie in a GPU's memory")
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    run("tensors.py", DIGITS, "fp16", {"image": (5, 1, 8, 8)})
