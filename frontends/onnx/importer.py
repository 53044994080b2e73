"""From an ONNX graph to a module of the convc dialect.

Nodes are taken in order. A value is either known now (an array) or an SSA value of static shape. A node whose
inputs are all known is evaluated with onnx's reference implementation, and so is `Shape` of anything: exporters'
shape arithmetic never reaches the IR.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region, SSAValue

from convc.frontends.onnx import (  # noqa: F401 - importing a family registers its converters
    convolution,
    elementwise,
    movement,
    normalisation,
    reduction,
    resize,
)
from convc.frontends.onnx.folding import fold
from convc.frontends.onnx.loading import Initializers, check, load, opset
from convc.frontends.onnx.problem import ImportProblem
from convc.frontends.onnx.registry import Node, Value, find_converter, problem
from convc.ir.attributes import shape_of, tensor
from convc.ir.data import ConstantOp, WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.dtypes import from_numpy
from convc.ir.signature import INPUT_NAMES, OUTPUT_NAMES

_MAX_ELEMENTS = 1 << 31  # of one tensor: more than any network needs, less than an index can hold


def import_model(
    model: str | Path | onnx.ModelProto,
    context: CompilerContext,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> ModuleOp:
    """The module of an ONNX model, its weights put into the context's store.

    `shapes` gives inputs their shapes where the model leaves them symbolic. Raises ImportProblem.
    """
    folder = None
    if isinstance(model, onnx.ModelProto):
        check(model, "the model")
        name = model.graph.name or "model"
    else:
        path = Path(model)
        folder, name = path.parent, path.stem
        model = load(path)
    return Importer(model, context, folder, shapes or {}).module(name)


class Importer:
    """One import: the values known so far, and the block that operations are appended to."""

    def __init__(
        self,
        model: onnx.ModelProto,
        context: CompilerContext,
        folder: Path | None,
        shapes: Mapping[str, Sequence[int]],
    ) -> None:
        self.graph = model.graph
        self.opset = opset(model)
        self.context = context
        self.shapes = shapes
        self.folder = folder
        self.initializers = Initializers({t.name: t for t in self.graph.initializer}, folder)
        self.values: dict[str, Value] = {}
        self.block = Block()
        self._materialised: dict[int, tuple[np.ndarray, SSAValue]] = {}
        self._names: dict[int, str] = {}

    def module(self, name: str) -> ModuleOp:
        self._report_unsupported()
        inputs = self._inputs()
        for value, argument in zip(inputs, self.block.args, strict=True):
            self.values[value.name] = argument
        self._convert(self.graph.node)
        outputs = [value.name for value in self.graph.output]
        results = [self.materialise(self._lookup(output), output) for output in outputs]
        self.append(ReturnOp(*results))
        types = ([argument.type for argument in self.block.args], [result.type for result in results])
        function = FuncOp("main", types, Region([self.block]))
        function.attributes[INPUT_NAMES] = ArrayAttr([StringAttr(value.name) for value in inputs])
        function.attributes[OUTPUT_NAMES] = ArrayAttr([StringAttr(output) for output in outputs])
        return ModuleOp([function], sym_name=StringAttr(name))

    # Inputs

    def _inputs(self) -> list[onnx.ValueInfoProto]:
        inputs = [value for value in self.graph.input if value.name not in self.initializers]
        names = [value.name for value in inputs]
        if unknown := [name for name in self.shapes if name not in names]:
            raise ImportProblem(f"a shape is given for '{unknown[0]}', but the inputs are {', '.join(names)}")
        for value in inputs:
            shape = self._input_shape(value)
            try:
                dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
                element = from_numpy(dtype)
            except (KeyError, ValueError):
                kind = value.type.tensor_type.elem_type
                raise ImportProblem(f"input '{value.name}' has the element type {kind}, which convc lacks") from None
            self.block.insert_arg(tensor(element, shape), len(self.block.args))
        return inputs

    def _input_shape(self, value: onnx.ValueInfoProto) -> tuple[int, ...]:
        if not value.type.HasField("tensor_type"):
            raise ImportProblem(f"input '{value.name}' is not a tensor")
        declared: list[int | str] = [
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or "?"
            for dim in value.type.tensor_type.shape.dim
        ]
        known = value.type.tensor_type.HasField("shape")
        text = "x".join(map(str, declared)) if known else "unknown"
        given = self.shapes.get(value.name)
        if given is None:
            if known and all(isinstance(dim, int) for dim in declared):
                given = [int(dim) for dim in declared]
            else:
                example = "x".join(str(dim) if isinstance(dim, int) else "1" for dim in declared) or "1x3x224x224"
                raise ImportProblem(
                    f"input '{value.name}' has the symbolic shape {text}: fix it with --shape {value.name}={example}"
                )
        shape = tuple(int(size) for size in given)
        fits = not known or (
            len(shape) == len(declared)
            and all(not isinstance(dim, int) or dim == size for dim, size in zip(declared, shape))
        )
        if not fits or any(size < 1 for size in shape):
            raise ImportProblem(f"input '{value.name}' has the shape {text}, got {'x'.join(map(str, shape))}")
        if prod(shape) > _MAX_ELEMENTS:
            raise ImportProblem(f"input '{value.name}' of shape {'x'.join(map(str, shape))} is too large")
        return shape

    # Nodes

    def _report_unsupported(self) -> None:
        missing: dict[str, list[str]] = defaultdict(list)
        for node in self.graph.node:
            if find_converter(node.domain, node.op_type) is None:
                name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
                missing[name].append(node.name or (node.output[0] if node.output else "?"))
        if missing:
            lines = [
                f"{op} ({len(nodes)}: {', '.join(nodes[:3])}{', ...' if len(nodes) > 3 else ''})"
                for op, nodes in missing.items()
            ]
            raise ImportProblem(f"unsupported operators: {'; '.join(lines)}")

    def _convert(self, nodes: Sequence[onnx.NodeProto]) -> None:
        for proto in nodes:
            inputs = [self._lookup(name, proto) if name else None for name in proto.input]
            function = find_converter(proto.domain, proto.op_type)
            assert function is not None
            try:
                results = fold(proto, inputs, self.opset, self.folder)
                if results is None:
                    converted = function(Node(proto, inputs, self))
                    results = converted if isinstance(converted, list | tuple) else [converted]
            except ImportProblem:
                raise
            except ValueError as error:
                raise problem(proto, error) from None
            for name, value in zip(proto.output, results):
                self._define(name, value, proto)

    def _define(self, name: str, value: Value, node: onnx.NodeProto) -> None:
        if not name:
            return
        if name in self.values or name in self.initializers:
            raise problem(node, f"defines '{name}', which is defined already")
        shape = value.shape if isinstance(value, np.ndarray) else shape_of(value)
        if prod(shape) > _MAX_ELEMENTS:
            raise problem(node, f"its result '{name}' of shape {'x'.join(map(str, shape))} is too large")
        if isinstance(value, np.ndarray):
            self._names.setdefault(id(value), name)
        elif not value.name_hint:
            value.name_hint = _hint(name)
        self.values[name] = value

    def _lookup(self, name: str, node: onnx.NodeProto | None = None) -> Value:
        if name in self.values:
            return self.values[name]
        if name in self.initializers:
            array = self.values[name] = self.initializers[name]
            self._names[id(array)] = name
            return array
        reason = f"value '{name}' is used before it is defined, or never is"
        raise problem(node, reason) if node is not None else ImportProblem(reason)

    # What converters use

    def append(self, op: Operation) -> Any:
        """Append an operation to the function; its first result, if it has one."""
        self.block.add_op(op)
        return op.results[0] if op.results else None

    def materialise(self, value: Value, hint: str) -> SSAValue:
        """An SSA value for a value: known arrays become splat constants (one element) or weights."""
        if isinstance(value, SSAValue):
            return value
        if id(value) in self._materialised:
            return self._materialised[id(value)][1]
        array = np.asarray(value)
        type_ = tensor(from_numpy(array.dtype), array.shape)
        if array.size == 1 and (array.dtype.kind in "fb" or abs(int(array.reshape(-1)[0])) <= 2**53):
            result = self.append(ConstantOp(float(array.reshape(-1)[0]), type_))
        else:
            name = self.context.weights.add(array, self._names.get(id(value), hint))
            result = self.append(WeightOp(name, type_))
        self._materialised[id(value)] = (value, result)  # the array is kept so that its id stays its own
        return result


def _hint(name: str) -> str:
    """An ONNX name as an MLIR value name."""
    text = "".join(c if (c.isalnum() and c.isascii()) or c in "_$." else "_" for c in name)
    return text if text[:1].isalpha() else f"v_{text}"
