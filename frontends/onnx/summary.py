"""What a model holds, node by node, whether or not it can be compiled: for tables that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from convc.frontends.onnx.calls import called, nested
from convc.frontends.onnx.folding import evaluates
from convc.frontends.onnx.importer import Importer
from convc.frontends.onnx.loading import check, load, opsets
from convc.frontends.onnx.precision import in_single_precision, note
from convc.frontends.onnx.problem import ImportProblem, node_name, operator_name
from convc.frontends.onnx.refusals import Refusals
from convc.frontends.onnx.registry import find_converter, static_shape
from convc.frontends.onnx.schemas import has_function_body
from convc.frontends.onnx.scope import Refused, live_nodes
from convc.ir.dialect import CompilerContext
from convc.ir.macs import macs

Dims = tuple[int | None, ...] | None
"""A shape whose axes may be unknown, or unknown as a whole."""

_MULTIPLY = ("Conv", "ConvTranspose", "FusedConv", "Gemm", "MatMul")
"""The operators that multiply and accumulate once an element of their result."""
_RECURRENT = ("GRU", "LSTM", "RNN")
"""Those that do so at each step of a sequence."""


@dataclass(frozen=True)
class Layer:
    """A node that computes something at run time. `macs` is None where it depends on a shape that is not known."""

    name: str
    type: str
    output: Dims
    parameters: int
    macs: int | None


@dataclass(frozen=True)
class Summary:
    """A model in numbers. `folded` counts the nodes that are computed at import: constants and shape arithmetic.
    `macs` is None where some shape is not known. `problem` says why the model cannot be compiled, `needs`
    what has to be said of its inputs first; both are empty for one that can be compiled as it is."""

    inputs: list[tuple[str, Dims, str]]
    outputs: list[tuple[str, Dims, str]]
    layers: list[Layer]
    folded: Counter[str]
    parameters: int
    weight_bytes: int
    macs: int | None
    problem: str
    needs: str
    notes: list[str]


def summarise(model: Path | onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> Summary:
    """The summary of a model at some input shapes; those that it leaves open may stay so. Raises ImportProblem for
    what is no model."""
    folder = None if isinstance(model, onnx.ModelProto) else model.parent
    if isinstance(model, onnx.ModelProto):
        check(model, "the model")
    else:
        model = load(model)
    context = CompilerContext()
    importer = Importer(in_single_precision(model, folder), context, folder)
    module, problem, needs = None, "", ""
    try:
        module = importer.module("model", shapes, {})
    except ImportProblem as error:
        if importer.scope:
            problem = str(error)
        else:  # nothing was converted, but the operators that no shape helps are known
            problem, needs = _unsupported(model), str(error)
    known = _inferred(model, shapes)
    for name, value in (importer.scope.values if importer.scope else {}).items():
        if value is not None and not isinstance(value, Refused):
            known[name] = static_shape(value)
    table = _Table(model, known)
    layers = list(table.layers())
    return Summary(
        [_described(value, known) for value in model.graph.input if value.name not in table.weights],
        [_described(value, known) for value in model.graph.output],
        layers,
        table.folded,
        sum(layer.parameters for layer in layers),
        table.weight_bytes,
        sum(macs(op) for op in module.walk()) - importer.filling if module is not None else _sum(layers),
        problem,
        needs,
        note(model),
    )


def _sum(layers: Sequence[Layer]) -> int | None:
    """The multiply-accumulates of a model that is no module, which would count what functions and branches hold."""
    counts = [layer.macs for layer in layers]
    return None if None in counts else sum(count or 0 for count in counts)


class _Table:
    """Goes through a graph in order, and counts each weight where it is first used."""

    def __init__(self, model: onnx.ModelProto, known: Mapping[str, Dims]) -> None:
        self._graph = model.graph
        self._known = known
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.folded: Counter[str] = Counter()
        self.weight_bytes = 0

    def layers(self) -> Iterator[Layer]:
        # What is known at import, with the weights that it is made of.
        held: dict[str, dict[str, TensorProto]] = {name: {name: tensor} for name, tensor in self.weights.items()}
        shapes = dict(self._known)
        shapes |= {name: tuple(tensor.dims) for name, tensor in self.weights.items()}
        counted: set[str] = set()
        for node in self._graph.node:
            used = {key: tensor for name in node.input for key, tensor in held.get(name, {}).items()}
            if node.op_type == "Constant" and not node.domain:
                for attribute in node.attribute:
                    if attribute.name == "value":
                        used[node.output[0]] = attribute.t
                        shapes[node.output[0]] = tuple(attribute.t.dims)
            elif node.op_type in ("Shape", "Size"):
                used = {}
            elif not (evaluates(node) and all(name in held for name in node.input if name)):
                new = [tensor for key, tensor in used.items() if key not in counted and _is_weight(tensor)]
                counted |= set(used)
                self.weight_bytes += sum(_bytes(tensor) for tensor in new)
                output = shapes.get(node.output[0]) if node.output else None
                parameters = sum(prod(tensor.dims) for tensor in new)
                yield Layer(node_name(node), operator_name(node), output, parameters, _macs(node, shapes))
                continue
            self.folded[operator_name(node)] += 1
            held |= dict.fromkeys(node.output, used)


def _is_weight(tensor: TensorProto) -> bool:
    """Rather than a shape, an index or the bound of a clip."""
    return bool(tensor.dims) and tensor.data_type not in (TensorProto.INT32, TensorProto.INT64)


def _bytes(tensor: TensorProto) -> int:
    return prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _macs(node: onnx.NodeProto, shapes: Mapping[str, Dims]) -> int | None:
    """Multiply-accumulates, taps on padding counted as is usual."""
    if node.op_type in _RECURRENT:  # at each step of each sequence, all of W and of R
        steps = _product((shapes.get(node.input[0]) or (None, None))[:2])
        weights = [_product(shapes.get(name)) for name in node.input[1:3]]
        return None if steps is None or None in weights else steps * sum(count or 0 for count in weights)
    if node.op_type not in _MULTIPLY:
        return 0
    x, w = (shapes.get(name) for name in node.input[:2])
    y = shapes.get(node.output[0])
    if node.op_type == "MatMul":
        return _product(y, x[-1:] if x else None)
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return _product(y, (x[:1] if transposed else x[1:]) if x else None)
    return _product(x if node.op_type == "ConvTranspose" else y, w[1:] if w else None)


def _product(*shapes: Dims) -> int | None:
    sizes = [size for shape in shapes for size in (shape if shape is not None else (None,))]
    return None if None in sizes else prod(size for size in sizes if size is not None)


def _described(value: onnx.ValueInfoProto, known: Mapping[str, Dims]) -> tuple[str, Dims, str]:
    tensor = value.type.tensor_type
    try:
        dtype = str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError:
        dtype = "unknown"
    return value.name, known.get(value.name, _dims(value)), dtype


def _dims(value: onnx.ValueInfoProto) -> Dims:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)


def _unsupported(model: onnx.ModelProto) -> str:
    """The operators that cannot be imported whatever the shapes, in a message; empty if there are none."""
    refusals, versions = Refusals(), opsets(model)
    functions = {(function.domain, function.name, function.overload) for function in model.functions}
    live = live_nodes(model.graph.node, (output.name for output in model.graph.output))
    for node in reversed(list(nested(live))):
        supported = (
            called(node) in functions
            or node.op_type in ("Constant", "If", "Shape", "Size")
            or find_converter(node.domain, node.op_type)
            or evaluates(node)
            or has_function_body(node, versions.get("" if node.domain == "ai.onnx" else node.domain, 0))
        )
        if not supported:
            refusals.unsupported(node)
    return refusals.message()


def _inferred(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> dict[str, Dims]:
    """Shapes as onnx infers them, for what convc does not import. Weights have types in their place."""
    skeleton = onnx.ModelProto(ir_version=model.ir_version)
    skeleton.opset_import.extend(model.opset_import)
    skeleton.functions.extend(model.functions)
    graph = skeleton.graph
    graph.name = "graph"
    graph.node.extend(model.graph.node)
    weights = {tensor.name for tensor in model.graph.initializer}
    graph.input.extend(value for value in model.graph.input if value.name not in weights)
    graph.output.extend(model.graph.output)
    for value in graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ())):
            dim.dim_value = size
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.INT64 and tensor.data_location != TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        graph = onnx.shape_inference.infer_shapes(skeleton, data_prop=True).graph
    except Exception:  # of a malformed model: what it declares remains
        graph = model.graph
    return {value.name: _dims(value) for value in (*graph.input, *graph.value_info, *graph.output)}
