"""Files that nobody vouches for: each fault is one line that says what was expected, what was found, and where."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from convc.frontends.onnx import import_model
from convc.ir.dialect import CompilerContext


@pytest.fixture(name="model")
def _model(model_of):
    node = helper.make_node("Add", ["x", "w"], ["y"])
    return model_of([node], {"x": (2, 3)}, ["y"], weights={"w": np.ones((2, 3), np.float32)})


def test_a_path_as_text_and_as_a_path(model, tmp_path):
    onnx.save(model, tmp_path / "net.onnx")
    for path in (tmp_path / "net.onnx", str(tmp_path / "net.onnx")):
        module = import_model(path, CompilerContext())
        assert module.sym_name.data == "net"


def test_a_file_that_is_no_model(refusal, tmp_path, model):
    path = tmp_path / "net.onnx"
    assert refusal(path) == f"cannot read {path}: No such file or directory"
    assert refusal(tmp_path) == f"expected an ONNX file, {tmp_path} is a folder"
    assert "null byte" in refusal("net\0.onnx")
    path.write_bytes(b"")
    assert refusal(path) == f"expected an ONNX file, {path} is empty"
    path.write_text("# A readme, and not a network.\n" * 10)
    assert "is not an ONNX model" in refusal(path)
    path.write_bytes(model.SerializeToString()[:-20])
    assert refusal(path) == f"{path} is not an ONNX model, or is truncated: it does not parse"
    path.write_bytes(onnx.TensorProto(dims=[1], data_type=1).SerializeToString())
    assert "is not an ONNX model" in refusal(path)
    assert refusal(onnx.ModelProto()) == "the model is not an ONNX model: it has no operator set or no outputs"


def test_what_is_no_regular_file(refusal, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == f"expected an ONNX file, {tmp_path / 'pipe'} is no regular file"


def test_an_unreadable_file(refusal, tmp_path, model):
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert refusal(path) == f"cannot read {path}: Permission denied"


@pytest.mark.parametrize("opset", [onnx.defs.onnx_opset_version() + 1, 1 << 40])
def test_an_opset_of_the_future(refusal, model, opset):
    model.opset_import[0].version = opset
    assert f"expected ONNX opset {onnx.defs.onnx_opset_version()} or older" in refusal(model)
    assert f"the model has {opset}" in refusal(model)


def test_an_operator_that_has_changed_since_opset_5(refusal, model):
    model.opset_import[0].version = 5
    assert refusal(model) == "node 'y' (Add): expected its definition of opset 6 or newer, the model has opset 5"


def test_a_model_that_does_not_say_its_opset(refusal, model):
    model.opset_import[0].domain = "elsewhere"
    assert refusal(model) == "node 'y' (Add): expected the model to say which ONNX opset it uses, it does not"


# Weights


def tensor(**fields):
    return TensorProto(**{"name": "w", "data_type": TensorProto.FLOAT, "dims": [2, 3], **fields})


FAULTY = [
    (tensor(raw_data=bytes(20)), "initializer 'w' of shape (2, 3) needs 24 bytes, the file has 20"),
    (tensor(float_data=[1.0] * 5), "initializer 'w' of shape (2, 3) needs 6 elements, the file has 5 in float_data"),
    (tensor(dims=[1 << 40, 1 << 20], raw_data=bytes(24)), "needs 4611686018427387904 bytes, the file has 24"),
    (tensor(dims=[2, -3], raw_data=bytes(24)), "expected sizes of at least 0, initializer 'w' has the shape (2, -3)"),
    (tensor(), "needs 6 elements, the file has 0 in float_data"),
    (tensor(data_type=TensorProto.FLOAT16, int32_data=[1] * 7), "the file has 7 in int32_data"),
    (tensor(data_type=TensorProto.STRING, string_data=[b"a"] * 6), "initializer 'w': element type string is not"),
    (tensor(data_type=TensorProto.COMPLEX64, raw_data=bytes(48)), "element type complex64 is not supported"),
    (tensor(data_type=TensorProto.INT4, raw_data=bytes(6)), "of shape (2, 3) needs 3 bytes, the file has 6"),
    (tensor(data_type=99, raw_data=bytes(24)), "element type 99 is not supported"),
    (tensor(dims=[1] * 65, raw_data=bytes(4)), "initializer 'w' cannot be read"),
    (
        tensor(raw_data=bytes(24), segment=TensorProto.Segment(begin=0, end=6)),
        "expected initializer 'w' in one piece, it is a segment of a larger tensor",
    ),
]


@pytest.mark.parametrize(("weight", "message"), FAULTY, ids=[case[1][-30:] for case in FAULTY])
def test_a_weight_whose_data_does_not_fit(refusal, model, weight, message):
    model.graph.initializer[0].CopyFrom(weight)
    assert message in refusal(model)


def test_a_weight_of_a_type_that_the_ir_lacks(refusal, model):
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((2, 3), np.complex128), "w"))
    assert "initializer 'w': element type complex128 is not supported" in refusal(model)
    model.graph.output[0].name = "w"
    del model.graph.node[:]
    assert "initializer 'w': element type complex128 is not supported" in refusal(model)


# External data


@pytest.fixture(name="external")
def _external(model, tmp_path):
    """`external(location=..., ...)`: the path of a model whose weight lies in `folder/w.bin` or as the entries say."""
    folder = tmp_path / "folder"
    folder.mkdir()
    data = np.arange(8, dtype=np.float32).tobytes()
    (folder / "w.bin").write_bytes(data)
    (tmp_path / "outside.bin").write_bytes(data)

    def write(**entries):
        weight = tensor(data_location=TensorProto.EXTERNAL)
        for key, value in {"location": "w.bin", **entries}.items():
            weight.external_data.add(key=key, value=str(value))
        model.graph.initializer[0].CopyFrom(weight)
        onnx.save_model(model, folder / "net.onnx")
        return folder / "net.onnx"

    return write


@pytest.mark.parametrize("entries", [{}, {"offset": 8, "length": 24}, {"location": "./w.bin"}], ids=str)
def test_external_data_is_read(external, entries):
    context = CompilerContext()
    import_model(external(**entries), context)
    first = entries.get("offset", 0) // 4
    np.testing.assert_array_equal(context.weights["w"], np.arange(first, first + 6).reshape(2, 3))


OUTSIDE = "expected external data in the model's folder, initializer 'w' lies in '{}': refused"


def test_external_data_outside_the_models_folder(refusal, external, tmp_path):
    for location in ("../outside.bin", "a/../../outside.bin", "", "."):
        message = refusal(external(location=location))
        assert message == OUTSIDE.format(location) if location != "." else "which is none" in message
    inside = tmp_path / "folder" / "w.bin"
    assert refusal(external(location=inside)) == OUTSIDE.format(inside)
    assert refusal(external(location="/dev/zero")) == OUTSIDE.format("/dev/zero")


def test_external_data_behind_a_link(refusal, external, tmp_path):
    (tmp_path / "folder" / "link.bin").symlink_to("../outside.bin")
    (tmp_path / "folder" / "sub").symlink_to("..")
    (tmp_path / "folder" / "circle").symlink_to("circle")
    for location in ("link.bin", "sub/outside.bin"):
        assert refusal(external(location=location)) == OUTSIDE.format(location)
    assert "initializer 'w' lies in 'circle', which cannot be read" in refusal(external(location="circle"))


def test_external_data_that_is_missing_or_too_short(refusal, external, tmp_path):
    assert refusal(external(location="v.bin")) == (
        "initializer 'w' lies in 'v.bin', which cannot be read: No such file or directory"
    )
    short = "initializer 'w' needs 24 bytes; the model says {} at {} of 'w.bin', which has 32"
    assert refusal(external(offset=16)) == short.format(24, 16)
    assert refusal(external(length=20)) == short.format(20, 0)
    assert refusal(external(offset=-8)) == short.format(24, -8)
    assert refusal(external(offset=1 << 70)) == short.format(24, 1 << 70)
    assert "external data that cannot be read: invalid literal" in refusal(external(offset="first"))
    os.mkfifo(tmp_path / "folder" / "pipe")
    assert "initializer 'w' lies in 'pipe', which is none" in refusal(external(location="pipe"))


def test_external_data_of_a_model_in_memory(refusal, external):
    model = onnx.load(external(), load_external_data=False)
    assert refusal(model) == "initializer 'w' lies in the file 'w.bin', but the model was not read from a file"


def test_an_absurd_size_takes_no_memory(refusal, external, model):
    path = external()
    model.graph.initializer[0].dims[:] = [1 << 31, 1 << 31]
    onnx.save_model(model, path)
    assert "needs 18446744073709551616 bytes" in refusal(path)
