"""Networks on a GPU, each in a process of its own: one that faults or hangs costs its own test alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from convc.pipeline import Build
from convc.targets.cuda.target import CudaTarget, parse_cuda
from convc.targets.target import TargetError

SECONDS, STEPS_SECONDS = 180, 30
"""What a network may take, the reference on the CPU included, and what its steps may, one by one."""
FOLDER = Path(__file__).parent

Shapes = Mapping[str, Sequence[int]]


@pytest.fixture(scope="session")
def emulate(request: pytest.FixtureRequest) -> bool:
    """Whether the software device is the GPU."""
    return bool(request.config.getoption("--emulate"))


@pytest.fixture(scope="session")
def gpu(emulate: bool) -> CudaTarget:
    try:
        return parse_cuda("cuda:sm_90a" if emulate else "cuda")
    except TargetError as error:
        pytest.skip(str(error))


@pytest.fixture
def run(gpu: CudaTarget, emulate: bool, tmp_path: Path) -> Callable[..., None]:
    """`run(script, model, precision, shapes..., target=None, level=3)`: builds a variant for each set of shapes, and
    lets a script of this folder, or `convc verify`, try them."""

    def tried(script: str, model: Path, precision: str, *shapes: Shapes, target: Any = None, level: int = 3) -> None:
        artifact = tmp_path / "model.convc"
        Build(target or gpu, level, precision).run(model, artifact, shapes or [{}])
        command = ["-m", "convc", "verify"] if script == "verify" else [str(FOLDER / script)]
        options = [artifact, *([model] if script == "verify" else []), *(["--emulate"] if emulate else [])]
        if problem := _problem([sys.executable, *command, *map(str, options)], SECONDS):
            pytest.fail(f"{problem}\n{_steps(artifact, emulate)}", pytrace=False)

    return tried


@pytest.fixture
def check(run: Callable[..., None]) -> Callable[..., None]:
    """`check(model, precision, shapes..., target=None, level=3)`: compares it with onnxruntime."""
    return lambda model, precision, *shapes, **options: run("verify", model, precision, *shapes, **options)


def _problem(command: Sequence[str], seconds: int) -> str:
    """What went wrong with a command, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"not done after {seconds} s"
    return f"status {done.returncode}: {done.stdout}{done.stderr}" if done.returncode else ""


def _steps(artifact: Path, emulate: bool) -> str:
    """How far a network comes when each of its steps is launched by itself."""
    command = [sys.executable, str(FOLDER / "steps.py"), str(artifact), *(["--emulate"] if emulate else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            said, _ = process.communicate(timeout=STEPS_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
    if process.returncode == 0:
        return "each step by itself goes through"
    *_, last = ["", *said.splitlines()]
    return f"launched one by one, its steps stop in {last}" if last else "it cannot be loaded to launch its steps"
