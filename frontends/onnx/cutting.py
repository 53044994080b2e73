"""Part of a model: what computes some of its values, which become its outputs.

x -> Conv -> a -> NonMaxSuppression -> y, a as output    =>    x -> Conv -> a
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper

from convc.frontends.onnx.precision import tensors, typed
from convc.frontends.onnx.problem import ImportProblem
from convc.frontends.onnx.scope import live_nodes, names_read
from convc.frontends.onnx.tensors import to_array


def cut(model: onnx.ModelProto, outputs: Sequence[str], folder: Path | None) -> onnx.ModelProto:
    """The part of a model that computes the values `outputs`, with the inputs that it reads; the model itself where
    those are its outputs or none are named. The weights of the part that lie in other files (below `folder`) are read.
    Raises ImportProblem for names that no node computes."""
    wanted = list(dict.fromkeys(outputs))
    if not wanted or wanted == list(dict.fromkeys(output.name for output in model.graph.output)):
        return model
    names = {name: None for node in model.graph.node for name in node.output if name}
    for name in wanted:
        if name not in names:
            near = get_close_matches(name, names, n=3)
            hint = f"; near it are {', '.join(near)}" if near else ""
            raise ImportProblem(f"expected outputs that nodes of the model compute, none computes '{name}'{hint}")
    part = needed(select_outputs(model, wanted))
    for tensor in tensors(part):
        if tensor.data_location == TensorProto.EXTERNAL:
            array = to_array(tensor, folder, f"initializer '{tensor.name}'")
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    part = typed(part)
    del part.graph.value_info[:]
    return part


def select_outputs(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """The model with other values as its outputs (types left to shape inference); as it is if none are named."""
    if not outputs:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    known = {value.name: value for value in (*model.graph.output, *model.graph.value_info)}
    del changed.graph.output[:]
    changed.graph.output.extend(known.get(name, onnx.ValueInfoProto(name=name)) for name in outputs)
    return changed


def needed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without what its outputs do not need."""
    outputs = [output.name for output in model.graph.output]
    kept = live_nodes(model.graph.node, outputs)
    read = names_read(kept, outputs)
    inputs = [value for value in model.graph.input if value.name in read]
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in read]
    graph = onnx.helper.make_graph(kept, model.graph.name, inputs, model.graph.output, initializers)
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )
