"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from convc.targets.target import CpuTarget


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--vectors-of",
        metavar="TARGET",
        help="in this process `cpu` has the vectors, registers and caches of another processor, such as "
        "cpu:skylake-avx512, and this machine's instructions: its schedules run where it is not",
    )
    parser.addoption(
        "--emulate", action="store_true", help="run the tests that need a GPU (-m gpu) on the software device, slowly"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not (name := config.getoption("--vectors-of")):
        return
    from convc.targets import cpus
    from convc.targets.target import parse_target

    other, describe = parse_target(name), cpus._this_machine

    def scheduled_as_the_other(text: str) -> CpuTarget:
        here = describe(text)
        same = {name: getattr(here, name) for name in ("triple", "cpu", "features", "cores", "required_features")}
        return replace(other, name=text, **same)

    cpus._this_machine = scheduled_as_the_other


TWO_LAYERS = """
builtin.module {
  func.func @main(%x: tensor<2x3x5x7xf32>, %k: tensor<1x1x1x7xf32>) -> (tensor<2x4x5x7xf32>, tensor<2x140xf32>)
      attributes {convc.input_names = ["image", "gain"], convc.output_names = ["features", "flat"]} {
    %w = convc.weight @w : tensor<4x3x1x1xf32>
    %y = convc.conv %x, %w strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
      : (tensor<2x3x5x7xf32>, tensor<4x3x1x1xf32>) -> tensor<2x4x5x7xf32>
    %z = convc.elementwise mul(%y, %k) : (tensor<2x4x5x7xf32>, tensor<1x1x1x7xf32>) -> tensor<2x4x5x7xf32>
    %e = convc.elementwise exp(%z) : (tensor<2x4x5x7xf32>) -> tensor<2x4x5x7xf32>
    %f = convc.reshape %e : (tensor<2x4x5x7xf32>) -> tensor<2x140xf32>
    func.return %z, %f : tensor<2x4x5x7xf32>, tensor<2x140xf32>
  }
}
"""
"""Two inputs, two outputs, one of which the other is computed from."""


def two_layers(image: np.ndarray, gain: np.ndarray, weight: np.ndarray) -> dict[str, np.ndarray]:
    """What TWO_LAYERS computes."""
    features = np.einsum("nchw,oc->nohw", image, weight[:, :, 0, 0]) * gain
    return {"features": features, "flat": np.exp(features).reshape(2, 140)}


@pytest.fixture(scope="session", name="two_layers")
def _two_layers() -> Callable[..., dict[str, np.ndarray]]:
    return two_layers


@pytest.fixture(scope="session")
def two_layers_text() -> str:
    return TWO_LAYERS


@pytest.fixture(scope="session")
def weight() -> np.ndarray:
    """@w of TWO_LAYERS."""
    return np.random.default_rng(5).standard_normal((4, 3, 1, 1)).astype(np.float32)


@pytest.fixture(scope="session")
def build_text(weight: np.ndarray) -> Callable[..., None]:
    """Builds modules in text form, which refer to @w, into an artifact: `build_text(path, text, ..., target="cpu")`."""
    from convc.ir.dialect import CompilerContext
    from convc.ir.text import parse
    from convc.passes.registry import pipeline
    from convc.pipeline import Build
    from convc.targets.target import parse_target

    def build(path: Path, *texts: str, target: str = "cpu", threads: int | None = None) -> None:
        modules = []
        for text in texts:
            context = CompilerContext()
            context.weights.add(weight, "w")
            module = parse(text, context)
            pipeline(f'fuse,select{{target="{target}"}}').apply(context, module)
            modules.append((module, context))
        Build(parse_target(target), threads=threads).finish(modules, path)

    return build


@pytest.fixture(scope="session")
def artifact(build_text: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TWO_LAYERS, built. Not to be changed: copy it first."""
    path = tmp_path_factory.mktemp("artifact") / "two.convc"
    build_text(path, TWO_LAYERS)
    return path


@pytest.fixture
def lines_run() -> Callable[[Callable[[], object]], int]:
    """How many lines of Python a call runs, those of a comprehension once for each element: the work it does, the same
    on a busy machine."""

    def count(call: Callable[[], object]) -> int:
        lines = 0

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal lines
            lines += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            call()
        finally:
            sys.settrace(before)
        return lines

    return count
