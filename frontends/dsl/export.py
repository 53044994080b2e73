"""A model as ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

from convc.frontends.dsl.emitter import IR_VERSION, OPSET, Emitter, Value
from convc.frontends.dsl.tensor import Shape, SymbolicTensor

if TYPE_CHECKING:
    from convc.frontends.dsl.model import Model


_MAX_PARAMETERS = 1 << 29  # 2 GiB of float32: protobuf messages cannot be larger


def check_size(model: Model) -> None:
    """Raises ModelError for a model that is too large for a ModelProto."""
    if (count := model.count_params()) > _MAX_PARAMETERS:
        raise model.problem(f"expected at most {_MAX_PARAMETERS:,} parameters, got {count:,}")


def export(model: Model) -> onnx.ModelProto:
    """See Model.to_onnx."""
    calls = model.graph  # first: without one, what is missing is the input's shape, not the parameters' count
    check_size(model)
    emitter = Emitter()
    names = [emitter.unique(tensor.layer.name) for tensor in model.inputs]
    results = [emitter.unique(tensor.layer.name) for tensor in model.outputs]
    inputs = [_input(emitter, tensor, name) for tensor, name in zip(model.inputs, names, strict=True)]
    found = []
    for tensor, value in zip(model.outputs, emitter.run(calls, inputs), strict=True):
        with emitter.scope(tensor.layer.name):
            found.append(emitter.last(value))
    _rename(emitter, found, results)
    graph = helper.make_graph(
        emitter.nodes,
        model.name,
        [_info(name, tensor, tensor.dtype) for name, tensor in zip(names, model.inputs)],
        [_info(name, tensor, "float32") for name, tensor in zip(results, model.outputs)],
        emitter.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="convc.dsl")


def _input(emitter: Emitter, tensor: SymbolicTensor, name: str) -> Value:
    """The value of an input: what is no float32 is converted once, here."""
    if tensor.dtype != "float32":
        with emitter.scope(name):
            name = emitter.node("Cast", [name], to=TensorProto.FLOAT)
    return Value(tensor.shape, name, first=False)


def _rename(emitter: Emitter, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Give the values found the names of the model's outputs. An input, or one value twice, is copied."""
    renamed: dict[str, str] = {}
    made = {name for node in emitter.nodes for name in node.output}
    for name, result in zip(found, wanted, strict=True):
        if name in made and name not in renamed:
            renamed[name] = result
        else:
            emitter.nodes.append(helper.make_node("Identity", [name], [result], name=result))
    for node in emitter.nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]


def _info(name: str, tensor: SymbolicTensor, dtype: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), _dims(name, tensor.shape)
    )


def _dims(name: str, shape: Shape) -> list[int | str]:
    """Open sizes by name: all inputs have one batch, other axes are their own."""
    open_names = ["batch", *(f"{name}_axis{axis}" for axis in range(1, len(shape)))]
    return [size if size is not None else open_ for size, open_ in zip(shape, open_names)]
