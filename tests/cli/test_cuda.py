"""Verbs on artifacts for GPUs, as a user on a machine without one types them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convc.artifact.manifest import SOURCE, read_manifest, write_manifest

without_gpu = pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="this machine has an NVIDIA driver")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A convolution, a pool, a dense layer and a softmax."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((12, 3, 3, 3)).astype(np.float32),
        "b": rng.standard_normal(12).astype(np.float32),
        "d": rng.standard_normal((12, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "d"], ["m"]),
        helper.make_node("Softmax", ["m"], ["y"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 9, 11])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "small", [image], [y], held)
    path = tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_every_precision_is_verified_by_emulation(precision, convc, model, tmp_path) -> None:
    done = convc("build", model, "--target", "cuda:sm_90a", "--precision", precision, "--emulate")
    assert done.returncode == 0, done.stderr
    assert "agrees with onnxruntime" in done.stdout
    manifest = json.loads((tmp_path / "small.convc" / "manifest.json").read_text())
    assert manifest["precision"] == precision
    done = convc("verify", "small.convc", model, "--emulate", "--json")
    assert json.loads(done.stdout)["passed"]
    done = convc("run", "small.convc", "--random", "3", "--emulate", "--json")
    assert done.returncode == 0, done.stderr


def test_levels_are_verified_by_emulation(convc, model) -> None:
    for level in ("0", "2"):
        done = convc("build", model, "--target", "cuda:sm_80", "-O", level, "--emulate")
        assert done.returncode == 0, done.stderr
        assert "agrees with onnxruntime" in done.stdout


@without_gpu
def test_a_build_without_a_gpu_says_that_it_is_not_verified(convc, model) -> None:
    done = convc("build", model, "--target", "cuda:sm_90a")
    assert done.returncode == 0, done.stderr
    assert "not verified: cuda:sm_90a is another machine (this machine has no NVIDIA driver" in done.stdout
    assert "--emulate does it on the CPU" in done.stdout
    shown = convc("inspect", "small.convc")
    assert shown.returncode == 0, shown.stderr
    assert "implicit_gemm rows=" in shown.stdout
    assert "target      cuda:sm_90a: H100 (sm_90a), 132 multiprocessors" in shown.stdout


REFUSED = {
    "this machine's GPU": (["--target", "cuda"], 'target "cuda": this machine has no NVIDIA driver'),
    "an unknown architecture": (["--target", "cuda:sm_10"], 'unknown target "cuda:sm_10"; known: cuda'),
    "an unknown feature": (["--target", "cuda:sm_80+fast"], 'unknown target "cuda:sm_80+fast"; known: cuda'),
    "a precision of GPUs": (["--precision", "fp16"], "--precision fp16: only a GPU computes in it, the target is cpu"),
    "tuning": (["--target", "cuda:sm_80", "--tune", "3"], "--tune measures kernels on CPUs; for cuda:sm_80"),
}


@without_gpu
@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_built_is_one_line(what, convc, model, tmp_path) -> None:
    options, message = REFUSED[what]
    done = convc("build", model, *options)
    assert done.returncode != 0
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "small.convc").exists()


@without_gpu
def test_an_artifact_for_a_gpu_does_not_run_without_one(convc, model) -> None:
    assert convc("build", model, "--target", "cuda:sm_90a", "--no-verify").returncode == 0
    done = convc("run", "small.convc", "--random", "0")
    assert done.returncode == 1
    assert "built for cuda:sm_90a: this machine has no NVIDIA driver" in done.stderr
    assert convc("build", model, "-o", "cpu.convc", "--no-verify").returncode == 0
    assert "only code for GPUs is emulated" in convc("run", "cpu.convc", "--random", "0", "--emulate").stderr


def test_a_kernel_that_faults_is_one_line(convc, model, tmp_path) -> None:
    """What was made on a device cannot be freed after that, and need not be."""
    artifact = tmp_path / "small.convc"
    assert convc("build", model, "--target", "cuda:sm_80", "-O", "0", "--no-verify").returncode == 0
    head, begin, rest = (artifact / SOURCE).read_text().partition("{\n")
    (artifact / SOURCE).write_text(f"{head}{begin}  __trap();\n{rest}")
    write_manifest(artifact, read_manifest(artifact))
    done = convc("run", "small.convc", "--random", "0", "--emulate")
    assert done.returncode == 1
    device, line = done.stderr.strip().splitlines()
    assert re.match(r"emulated CUDA device: kernel \w+, block .*: __trap was called", device)
    assert re.fullmatch(r"convc: error: cu\w+: CUDA_ERROR_LAUNCH_FAILED", line)


@without_gpu
def test_tuning_in_halves(convc, model, tmp_path) -> None:
    """What can be done without a GPU, and what cannot in one line."""
    emit = ("tune", model, "--target", "cuda:sm_90a", "--precision", "fp16", "--emit-candidates", "c", "--trials", 2)
    done = convc(*emit, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    kernels = json.loads((tmp_path / "c" / "candidates.json").read_text())["kernels"]
    assert facts["kernels"] == len(kernels) > 0
    assert facts["candidates"] == 2 * len(kernels)
    assert facts["refused"] == 0
    assert "r" in {kernel["name"] for kernel in kernels}, "the convolution"
    for kernel in kernels:
        for candidate in kernel["candidates"]:
            assert (tmp_path / "c" / candidate["file"]).read_bytes().startswith(b"\x7fELF")
            assert all(launch["registers"] > 0 == launch["spilled_bytes"] for launch in candidate["launches"])
    refused = {
        "c cannot be measured here, it is for cuda:sm_90a: this machine has no NVIDIA driver": ["--measure", "c"],
        "c was not measured: convc tune --measure it where its GPU is": ["--merge", "c"],
        "expected the folder of a set of candidates, nowhere does not exist": ["--measure", "nowhere"],
        "small.onnx is a file": ["--merge", "small.onnx"],
        "--threads is for tuning on CPUs": ["--measure", "c", "--threads", 2],
        "expected a MODEL, or --measure DIR or --merge DIR alone": [model, "--measure", "c"],
        "cuda:sm_80 is another machine (this machine has no NVIDIA driver": [model, "--target", "cuda:sm_80"],
        "--emit-candidates is for GPUs, the target is cpu": [model, "--emit-candidates", "d"],
        "--db: --emit-candidates measures nothing": [model, "--emit-candidates", "d", "--db", "x"],
        "small.onnx exists and is no set of candidates": [*emit[1:6], "--emit-candidates", "small.onnx"],
        "--precision fp16: only a GPU computes in it, the target is cpu": [model, "--precision", "fp16"],
    }
    for message, options in refused.items():
        done = convc("tune", *options)
        assert done.returncode in (1, 2)
        assert done.stderr.startswith("convc: error: ")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    (tmp_path / "c" / "k0c1.cubin").write_bytes(b"altered")
    assert "k0c1.cubin was altered since it was made: emit it again" in convc("tune", "--measure", "c").stderr
