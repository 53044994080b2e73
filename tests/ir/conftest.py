"""Fixtures of the interpreter's tests: models of one node, and the comparison with onnxruntime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import ValueInfoProto, helper

from convc.frontends.onnx import import_model
from convc.ir.dialect import CompilerContext
from convc.ir.interpreter import interpret


def make_model(op_type, inputs, constants=(), opset=18, outputs=1, **attributes):
    """A model of one node: inputs are (shape, dtype), constants are arrays or None for what is left out."""
    names = [f"x{i}" for i in range(len(inputs))]
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
        for name, (shape, dtype) in zip(names, inputs)
    ]
    tensors = [
        helper.make_tensor(f"c{i}", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.reshape(-1))
        for i, array in enumerate(constants)
        if array is not None
    ]
    operands = names + [f"c{i}" if array is not None else "" for i, array in enumerate(constants)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, operands, results, **attributes)
    graph = helper.make_graph([node], "one", values, [ValueInfoProto(name=name) for name in results], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def draw(shape, dtype, rng, low=-2.0, high=2.0):
    array = rng.uniform(low, high, shape)
    return array.astype(dtype) if np.dtype(dtype).kind == "f" else np.round(array * 5).astype(dtype)


def agree(proto, inputs, tolerance=1e-5, dtype=None):
    """The interpreter's results beside onnxruntime's: equal shapes, types and values (as max|diff| / max|ref|)."""
    feed = {value.name: array for value, array in zip(proto.graph.input, inputs)}
    context = CompilerContext()
    module = import_model(proto, context)
    found = interpret(module, context.weights, feed, dtype)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for (name, array), reference in zip(found.items(), session.run(None, feed), strict=True):
        assert array.shape == reference.shape, name
        if dtype is None:
            assert array.dtype == reference.dtype
        scale = np.abs(reference[np.isfinite(reference)]).max(initial=1e-30) if reference.dtype.kind == "f" else 1
        np.testing.assert_allclose(array / scale, reference / scale, rtol=0, atol=tolerance)


@pytest.fixture(scope="session")
def model():
    return make_model


@pytest.fixture(scope="session")
def random():
    """An array of a shape and type from a generator, by default between -2 and 2."""
    return draw


@pytest.fixture(scope="session")
def check():
    return agree
