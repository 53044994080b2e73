"""Packs for machines with GPUs: what travels, and what is made again there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from types import ModuleType

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convc.artifact.manifest import check_files, read_manifest
from convc.ir.layout import Layout
from convc.ir.winograd import transformed_weight
from convc.targets.cuda.emulator.load import load_emulated
from convc.verify.reference import Reference


@pytest.fixture
def weights() -> ModuleType:
    from gpu import weights

    return weights


def test_drawn_weights_have_the_size_that_is_asked_for(weights) -> None:
    array = weights.drawn(7, [101, 99], 0.25)
    assert array.dtype == np.float32
    assert array.shape == (101, 99)
    assert abs(float(np.sqrt(np.mean(array**2))) / 0.25 - 1) < 0.02
    assert abs(float(array.mean())) < 0.01
    assert len(np.unique(array)) > 0.99 * array.size
    assert not np.array_equal(array, weights.drawn(8, [101, 99], 0.25))
    # The same generator's own floats are its 53 upper bits: drawn numbers are the 24 upper ones of each half.
    raw = np.random.Philox(7).random_raw(1)
    halves = np.array([raw[0] & 0xFFFFFFFF, raw[0] >> 32], dtype=np.float64)
    np.testing.assert_allclose(array.reshape(-1)[:2], (halves * 2.0**-31 - 1) * 0.25 * 3**0.5, atol=1e-7)


def test_names_say_how_weights_are_packed(weights) -> None:
    held = {"w": weights.drawn(1, [5, 7, 3, 3], 1.0), "w.1": weights.drawn(2, [5, 7], 3.0)}
    assert weights.packed("w", held) is held["w"]
    np.testing.assert_array_equal(weights.packed("w.float16", held), held["w"].astype(np.float16))
    layout = Layout.parse("OIHW8i4o")
    half = layout.pack(held["w"].astype(np.float16))
    np.testing.assert_array_equal(weights.packed("w.float16.OIHW8i4o", held), half)
    bits = held["w.1"].astype(ml_dtypes.bfloat16).view(np.uint16)
    np.testing.assert_array_equal(weights.packed("w.1.bfloat16", held), bits)
    filtered = Layout.parse("OIHW4i").pack(transformed_weight(held["w"], 4))
    np.testing.assert_array_equal(weights.packed("w.winograd4.OIHW4i", held), filtered)
    for unknown in ("w.winograd3", "v", "wide", "w.sum", "w.OI8o", "w.2"):
        assert weights.packed(unknown, held) is None


def test_a_network_made_again_computes_what_onnxruntime_does(weights, model, packed) -> None:
    contents = json.loads((packed / "pack.json").read_text())
    (entry,) = contents["models"]
    assert list(entry["drawn"]) == ["w1"]
    folder = packed / "models" / "small"
    with np.load(folder / "weights.npz") as carried:
        held = weights.graph_weights(entry["drawn"], carried)
    artifact = folder / "fp16.convc"
    assert not (artifact / "weights.safetensors").exists()
    weights.restore(artifact, held)
    check_files(artifact, read_manifest(artifact))
    executable = load_emulated(artifact)
    proto = onnx.load(model)
    (w1,) = (tensor for tensor in proto.graph.initializer if tensor.name == "w1")
    w1.CopyFrom(numpy_helper.from_array(held["w1"], "w1"))
    for batch in (1, 2):
        x = np.random.default_rng(batch).standard_normal((batch, 3, 9, 11), np.float32)
        expected = Reference(proto, shapes={"x": x.shape})({"x": x})["y"]
        error = np.abs(executable(x) - expected).max() / np.abs(expected).max()
        assert error <= contents["precisions"]["fp16"]
    (artifact / "weights.safetensors").unlink()


def test_transformed_weights_do_not_travel(weights, tmp_path) -> None:
    import cuda

    shape = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 128, 28, 28]) for name in "xy"}
    w = numpy_helper.from_array(np.random.default_rng(0).standard_normal((128, 128, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    graph = helper.make_graph([node], "wide", [shape["x"]], [shape["y"]], [w])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "w.onnx")
    shapes = {"x": (32, 128, 28, 28)}
    size = cuda.pack(tmp_path / "pack", {tmp_path / "w.onnx": shapes}, batches=[32], precisions=["fp32"])
    assert size < w.ByteSize() / 2
    folder = tmp_path / "pack" / "models" / "w"
    artifact = folder / "fp32.convc"
    assert {kernel["template"] for kernel in read_manifest(artifact)["kernels"].values()} >= {"winograd"}
    entry = json.loads((tmp_path / "pack" / "pack.json").read_text())["models"][0]
    weights.restore(artifact, weights.graph_weights(entry["drawn"], {}))
    check_files(artifact, read_manifest(artifact))


ALONE = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tvm", "tvm_ffi", "xdsl", "onnx", "onnxruntime", "safetensors", "ml_dtypes"):
            raise AssertionError(name)

sys.meta_path.insert(0, Refused())
sys.path.insert(0, sys.argv[1])
sys.modules["torch"] = None
import convc, gpu, run
for module in (convc, gpu, run):
    assert module.__file__.startswith(sys.argv[1]), module.__file__
"""


def test_what_travels_needs_no_compiler(tmp_path) -> None:
    import cuda

    size = cuda.pack(tmp_path / "pack", {})
    assert size == (tmp_path / "pack.tar.gz").stat().st_size
    shutil.rmtree(tmp_path / "pack")
    with tarfile.open(tmp_path / "pack.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    command = [sys.executable, "-c", ALONE, str(tmp_path / "pack")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "-S", str(tmp_path / "pack" / "run.py")]  # where nothing is installed
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        "run.py needs numpy here, and torch to compare with: pip install numpy torch\n",
    )
    with pytest.raises(cuda.PackError, match="exists: name another, or remove it"):
        cuda.pack(tmp_path / "pack", {})


def test_a_pack_that_is_too_large_is_refused_in_a_line(tmp_path, monkeypatch) -> None:
    import cuda

    monkeypatch.setattr(cuda, "MOST_BYTES", 10_000)
    with pytest.raises(cuda.PackError, match=r"^the pack has 0 MB, at most 60 MB travel: fewer models, or --large$"):
        cuda.pack(tmp_path / "pack", {})
    assert not list(tmp_path.iterdir())
    assert cuda.pack(tmp_path / "pack", {}, large=True) > 10_000


def test_inputs_that_cannot_be_drawn_are_refused(residual, tmp_path) -> None:
    import cuda

    model = onnx.ModelProto()
    model.CopyFrom(residual)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["x"], ["xf"], to=onnx.TensorProto.FLOAT))
    model.graph.node[1].input[0] = "xf"
    path = tmp_path / "integers.onnx"
    onnx.save(model, path)
    with pytest.raises(cuda.PackError, match="expected inputs of float32 to draw, 'x' is int32"):
        cuda.pack(tmp_path / "pack", {path: {}}, batches=[1], precisions=["fp32"])
