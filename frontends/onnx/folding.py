"""Evaluate nodes whose inputs are known, with onnx's reference implementation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from convc.frontends.onnx.loading import to_array
from convc.frontends.onnx.registry import Value, problem
from convc.ir.attributes import shape_of

MAX_BYTES = 1 << 31
"""The most that one folded node may produce."""

# Operators that the reference computes tap by tap in Python: left to the compiled program.
_SLOW = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "LRN", "Resize", "Upsample", "GridSample"}


def fold(
    node: onnx.NodeProto, inputs: Sequence[Value | None], opset: int, folder: Path | None
) -> list[np.ndarray] | None:
    """The results of a node that can be evaluated now, else None. Raises ValueError or ImportProblem."""
    if node.op_type == "Constant":
        return [_constant(node, folder)]
    first = inputs[0] if inputs else None
    if node.op_type in ("Shape", "Size") and first is not None:
        shape = np.array(first.shape if isinstance(first, np.ndarray) else shape_of(first), np.int64)
        return [_shape_slice(node, shape) if node.op_type == "Shape" else np.array(shape.prod(), np.int64)]
    if node.op_type in _SLOW or not all(value is None or isinstance(value, np.ndarray) for value in inputs):
        return None
    _check_size(node, inputs)
    try:
        evaluator = ReferenceEvaluator(_model(node, opset))
        feed = {name: value for name, value in zip(node.input, inputs) if name}
        results = evaluator.run(None, feed)  # type: ignore[arg-type]
    except MemoryError:
        raise problem(node, "its constant result does not fit in memory") from None
    except Exception as error:  # whatever a malformed constant makes the reference raise is a fault of the model
        raise problem(node, f"its constant inputs cannot be evaluated: {error}") from error
    return [np.asarray(result) for result in results]


def _model(node: onnx.NodeProto, opset: int) -> onnx.ModelProto:
    """The node as a model of its own: only a model tells the evaluator which version of the operator it is."""
    untyped = [[onnx.ValueInfoProto(name=name) for name in names if name] for names in (node.input, node.output)]
    graph = onnx.helper.make_graph([node], "fold", *untyped)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])


def _constant(node: onnx.NodeProto, folder: Path | None) -> np.ndarray:
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        match attribute.name:
            case "value":
                return to_array(value, folder, f"constant '{node.output[0]}'")
            case "value_float" | "value_floats":
                return np.array(value, np.float32)
            case "value_int" | "value_ints":
                return np.array(value, np.int64)
    names = ", ".join(attribute.name for attribute in node.attribute) or "none"
    raise ValueError(f"expected a value, value_float(s) or value_int(s), got {names}")


def _shape_slice(node: onnx.NodeProto, shape: np.ndarray) -> np.ndarray:
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    return shape[bounds.get("start", 0) : bounds.get("end", len(shape))]


def _check_size(node: onnx.NodeProto, inputs: Sequence[Value | None]) -> None:
    """Bound what the operators produce whose result grows with the *values* of their inputs."""
    arrays = [value for value in inputs if isinstance(value, np.ndarray)]
    count = float(max((array.size for array in arrays), default=0))
    if node.op_type in ("Expand", "ConstantOfShape", "Tile") and arrays:
        sizes = np.abs(arrays[-1].astype(np.float64))
        count = float(np.prod(sizes)) * (arrays[0].size if node.op_type != "ConstantOfShape" else 1)
        if node.op_type == "Expand":  # a dimension that is kept is counted twice: divide it out again
            count = float(np.prod(np.maximum(sizes, 1)))
    elif node.op_type == "Range" and len(arrays) == 3:
        start, limit, delta = (float(array.reshape(-1)[0]) for array in arrays)
        count = abs((limit - start) / delta) if delta else 0
    elif node.op_type == "Pad" and len(arrays) > 1:
        count = arrays[0].size + float(np.abs(arrays[1].astype(np.float64)).sum()) * max(arrays[0].size, 1)
    if count * 8 > MAX_BYTES:
        raise ValueError(f"its constant result would have {count:.3g} elements")
