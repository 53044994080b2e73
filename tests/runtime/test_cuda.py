"""Artifacts for GPUs, on the software device."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convc.artifact.manifest import write_manifest
from convc.runtime import ArtifactError, Executable, InputError, load
from convc.runtime.cuda.dlpack import DeviceArray
from convc.runtime.cuda.driver import CudaError, Driver
from convc.runtime.cuda.engine import CudaEngine
from convc.runtime.cuda.memory import Allocation, Pool
from convc.runtime.cuda.streams import Event
from convc.targets.cuda.emulator.build import emulated_driver
from convc.targets.cuda.emulator.load import load_emulated


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, build_text: Callable[..., None], two_layers_text: str) -> Path:
    path = tmp_path_factory.mktemp("cuda") / "two.convc"
    build_text(path, two_layers_text, target="cuda:sm_90a")
    return path


@pytest.fixture(scope="module")
def executable(folder: Path) -> Executable:
    return load_emulated(folder)


@pytest.fixture
def inputs() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {"image": (2, 3, 5, 7), "gain": (1, 1, 1, 7)}
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def expected(
    two_layers: Callable[..., Any], weight: np.ndarray, inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return two_layers(inputs["image"].astype(float), inputs["gain"].astype(float), weight.astype(float))


def assert_close(outputs: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    assert outputs.keys() == expected.keys()
    for name, array in expected.items():
        assert np.abs(outputs[name] - array).max() <= 1e-5 * np.abs(array).max()


def test_runs_are_right_and_their_outputs_fresh(executable, inputs, expected) -> None:
    first = executable.run(inputs)
    assert_close(first, expected)
    kept = {name: array.copy() for name, array in first.items()}
    executable.run({name: array + 1 for name, array in inputs.items()})
    for name, array in kept.items():
        np.testing.assert_array_equal(first[name], array)
    assert_close(executable.run(inputs), expected)


def test_every_kernel_has_a_time(executable, inputs, expected) -> None:
    steps = executable.profile(inputs)
    assert len(steps) == len(executable.manifest["variants"][0]["steps"])
    assert all(step.nanoseconds >= 0 for step in steps)
    assert_close(executable.run(inputs), expected)


def test_runs_on_several_inputs_are_timed_together(executable, inputs, expected) -> None:
    feeds = [[on_gpu(executable, array * scale) for array in inputs.values()] for scale in (3, 2, 1)]
    engine = executable._engine
    assert engine.elapsed(0, feeds) > 0
    place = engine._variants[0]._outputs
    outputs = place.download(engine._context.stream)
    assert_close(dict(zip(("features", "flat"), outputs, strict=True)), expected)  # of the last


class Foreign:
    """What another library's tensor in the GPU's memory shows of itself."""

    def __init__(self, array: DeviceArray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def on_gpu(executable: Executable, array: np.ndarray) -> DeviceArray:
    context = executable._engine._context
    context.enter()
    address = context.memory(array.nbytes)
    context.stream.upload(address, array.ctypes.data, array.nbytes)
    context.stream.synchronise()
    return DeviceArray(address, array.shape, array.dtype, array)


@pytest.mark.parametrize("form", ["own", "DLPack", "array interface"])
def test_tensors_of_the_gpu_are_taken_and_given(form, executable, inputs, expected) -> None:
    """Twice: the second time with the graph of the first."""
    image = on_gpu(executable, inputs["image"])
    if form == "DLPack":
        given: Any = Foreign(image)
    elif form == "array interface":
        given = type("Array", (), {"__cuda_array_interface__": image.__cuda_array_interface__})()
    else:
        given = image
    for _ in range(2):
        outputs = executable.run({"image": given, "gain": inputs["gain"]})
        assert all(isinstance(array, DeviceArray) for array in outputs.values())
        assert outputs["flat"].__dlpack_device__() == (2, 0)
        assert_close({name: array.numpy() for name, array in outputs.items()}, expected)


def test_capsules_give_back_what_they_hold(executable, inputs) -> None:
    from convc.runtime.cuda import dlpack

    before = len(dlpack._handed_out)
    capsule = on_gpu(executable, inputs["gain"]).__dlpack__()
    assert len(dlpack._handed_out) == before + 1
    del capsule  # taken by nobody
    assert len(dlpack._handed_out) == before
    executable.run({**inputs, "gain": Foreign(on_gpu(executable, inputs["gain"]))})
    assert len(dlpack._handed_out) == before


def test_tensors_of_the_gpu_that_do_not_fit_are_refused(executable, inputs) -> None:
    wrong = on_gpu(executable, inputs["gain"].astype(np.float64))
    with pytest.raises(InputError, match="input 'gain': expected float32, got float64"):
        executable.run({**inputs, "gain": wrong})
    with pytest.raises(InputError, match="input 'image': expected shape 2x3x5x7, got 1x1x1x7"):
        executable.run({**inputs, "image": on_gpu(executable, inputs["gain"])})


def test_a_machine_without_a_driver_says_so(folder: Path) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has an NVIDIA driver")
    with pytest.raises(ArtifactError, match="built for cuda:sm_90a: this machine has no NVIDIA driver"):
        load(folder)


def test_too_little_memory_is_told_in_numbers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVC_EMULATED_MEMORY", str(64 << 20))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["variants"][0]["arena_bytes"] = 1 << 30
    path = with_manifest(folder, manifest, tmp_path / "large.convc")
    with pytest.raises(ArtifactError, match=r"it needs 1024 MiB of the GPU's memory, \d+ MiB are free"):
        load_emulated(path)


def test_a_driver_that_does_not_know_the_code_is_to_be_updated(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert re.fullmatch(r"NVRTC \d+\.\d+", manifest["compiler"])
    driver = Driver(emulated_driver())
    with pytest.raises(ArtifactError) as caught:
        CudaEngine(folder, manifest, driver, [b"made for newer drivers"])
    reason = f"the driver, of CUDA 13.0, does not load what {manifest['compiler']} has made: update it"
    assert str(caught.value) == f"cannot load {folder}: {reason}"


def test_a_tensor_map_that_leaves_its_operand_is_refused(folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    launch = next(iter(manifest["kernels"].values()))["launches"][0]
    launch["operands"][0] = {"operand": 0, "shape": [1 << 27], "strides": [], "box": [2], "steps": [1]}
    path = with_manifest(folder, manifest, tmp_path / "map.convc")
    with pytest.raises(ArtifactError, match=r"cannot load .*: a tensor map reaches over 1073741824 bytes"):
        load_emulated(path)


def with_manifest(folder: Path, manifest: dict[str, Any], path: Path) -> Path:
    """A copy of an artifact with another manifest."""
    shutil.copytree(folder, path)
    (path / "manifest.json").unlink()
    write_manifest(path, {key: value for key, value in manifest.items() if key not in ("files", "digest")})
    return path


def test_code_for_another_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from convc.runtime.cuda import engine
    from convc.runtime.cuda.driver import Driver
    from convc.targets.cuda.emulator.build import emulated_driver
    from convc.targets.cuda.target import parse_cuda

    path = emulated_driver()
    monkeypatch.setattr(engine, "Driver", lambda library: Driver(path))
    assert engine.lacking(parse_cuda("cuda:sm_90a").to_dict()) == ""
    assert engine.lacking(parse_cuda("cuda:sm_90").to_dict()) == ""
    assert "is sm_90: build it again" in engine.lacking(parse_cuda("cuda:sm_80").to_dict())
    assert "is sm_90: build it again" in engine.lacking(parse_cuda("cuda:sm_100").to_dict())


def test_kernels_of_a_network_begin_early_and_wait_themselves(folder: Path, tmp_path: Path) -> None:
    """Without what waits in their code, the software device finds that they do not."""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert all(launch["early"] for kernel in manifest["kernels"].values() for launch in kernel["launches"])
    path = with_manifest(folder, manifest, tmp_path / "hasty.convc")
    source = path / "kernels.cu"
    assert "convc_grid_begin();" in source.read_text()
    source.write_text(source.read_text().replace("  convc_grid_begin();\n", ""))
    (path / "manifest.json").unlink()
    write_manifest(path, {key: value for key, value in manifest.items() if key not in ("files", "digest")})
    command = [sys.executable, "-m", "convc", "run", str(path), "--random", "0", "--emulate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # whose device is lost after it
    assert done.returncode == 1
    assert "before the launches before have been waited for" in done.stderr


def test_kernels_of_gpus_without_such_launches_do_not(tmp_path: Path, build_text, two_layers_text: str) -> None:
    build_text(tmp_path / "old.convc", two_layers_text, target="cuda:sm_80")
    manifest = json.loads((tmp_path / "old.convc" / "manifest.json").read_text())
    assert not any(launch["early"] for kernel in manifest["kernels"].values() for launch in kernel["launches"])


def test_what_a_fault_has_taken_is_freed_in_silence(monkeypatch) -> None:
    """Destructors that fail print a traceback each, after the line that says what happened."""
    driver = Driver(emulated_driver())
    pool = Pool(driver)
    event, memory = Event(pool.context), Allocation(pool, 100, pool.context.stream)

    def lost(function: str, *arguments: Any) -> None:
        raise CudaError(f"{function}: CUDA_ERROR_ILLEGAL_ADDRESS", 700)

    told: list[Any] = []
    monkeypatch.setattr(driver, "call", lost)
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    del event, memory
    pool.context.close()
    assert told == []
