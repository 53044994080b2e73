"""Models in half precision, computed in single precision.

    x: f16 -> Conv -> Relu -> y: f16    =>    x: f16 -> Cast -> Conv -> Relu -> Cast -> y: f16, all between in f32

float16 and bfloat16 become float32 wherever they stand, casts among them, but for the graph's inputs and outputs. What
was rounded in between is no longer: results come nearer to those of the network before it was made smaller. It pays on
processors without arithmetic in half precision, which most are: each operand would be converted when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from convc.frontends.onnx.calls import nested
from convc.frontends.onnx.tensors import to_array

Types: TypeAlias = Mapping[int, str]
HALVES: Types = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
DOUBLE: Types = {TensorProto.DOUBLE: "float64"}
# The attributes that hold an element type.
_TYPES = frozenset({"dtype", "output_dtype", "softmax_precision", "stash_type", "to"})


def halves(model: onnx.ModelProto, types: Types = HALVES) -> list[str]:
    """The half-precision types (or `types`) that a model holds in weights or as inputs, outputs or types of casts."""
    found = {tensor.data_type for tensor in tensors(model)}
    found |= {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    found |= {attribute.i for node in _nodes(model) for attribute in node.attribute if attribute.name in _TYPES}
    return [name for data_type, name in types.items() if data_type in found]


def note(model: onnx.ModelProto) -> list[str]:
    """What the user should know of a model in half precision, in a line; nothing for others."""
    found = halves(model)
    return [f"{' and '.join(found)} in the model computed in float32"] if found else []


def in_single_precision(
    model: onnx.ModelProto, folder: Path | None, *, border: bool = True, types: Types = HALVES
) -> onnx.ModelProto:
    """The model with float32 in the place of half precision (or `types`); itself if there is none in it. `folder` is
    where external data lies. Without a `border` inputs and outputs are float32 too. Raises ImportProblem for weights
    that cannot be read."""
    if not halves(model, types):
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(typed(model))
    outer = {value.name: value.type.tensor_type.elem_type for value in (*changed.graph.input, *changed.graph.output)}
    for tensor in tensors(changed):
        _widen_tensor(tensor, folder, types)
    for node in _nodes(changed):
        for attribute in node.attribute:
            _widen_attribute(attribute, types)
    for function in changed.functions:
        for attribute in function.attribute_proto:
            _widen_attribute(attribute, types)
    for graph in _graphs(changed):
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in types:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
    if border:
        _cast_at_the_border(changed.graph, outer)
    return changed


def half_outputs(model: onnx.ModelProto, types: Types = HALVES) -> dict[str, np.dtype]:
    """The outputs of a model that have half precision (or `types`), with their types."""
    found = {value.name: value.type.tensor_type.elem_type for value in typed(model).graph.output}
    return {name: helper.tensor_dtype_to_np_dtype(each) for name, each in found.items() if each in types}


def _cast_at_the_border(graph: onnx.GraphProto, types: Mapping[str, int]) -> None:
    """Give the graph's inputs and outputs their types of before."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [v for v in graph.input if types[v.name] in HALVES and v.name not in weights]
    outputs = [v for v in graph.output if types[v.name] in HALVES]
    both = {v.name for v in inputs} & {v.name for v in outputs}  # passed through: nothing computes with them
    names = {v.name: f"{v.name}.single" for v in (*inputs, *outputs) if v.name not in both}
    for node in nested(graph.node):
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    first = [
        helper.make_node("Cast", [v.name], [names[v.name]], to=TensorProto.FLOAT) for v in inputs if v.name in names
    ]
    last = [helper.make_node("Cast", [names[v.name]], [v.name], to=types[v.name]) for v in outputs if v.name in names]
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in (*inputs, *outputs):
        value.type.tensor_type.elem_type = types[value.name]


def typed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a type for each output, where it can be inferred."""
    if all(value.type.tensor_type.elem_type for value in model.graph.output):
        return model
    try:
        return onnx.shape_inference.infer_shapes(model)
    except Exception:  # of a malformed model; the importer says what is wrong with it
        return model


def _widen_tensor(tensor: TensorProto, folder: Path | None, types: Types) -> None:
    if tensor.data_type in types:
        array = to_array(tensor, folder, f"initializer '{tensor.name}'")
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))


def _widen_attribute(attribute: AttributeProto, types: Types) -> None:
    if attribute.name in _TYPES and attribute.i in types:
        attribute.i = TensorProto.FLOAT


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from nested(model.graph.node)
    for function in model.functions:
        yield from nested(function.node)


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield model.graph
    for node in _nodes(model):
        for attribute in node.attribute:
            yield from _held(attribute)


def _held(attribute: AttributeProto) -> Iterable[onnx.GraphProto]:
    return (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor that a model holds: weights, and attributes of nodes at any depth."""
    for graph in _graphs(model):
        yield from graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
