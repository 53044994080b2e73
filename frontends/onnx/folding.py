"""Evaluate nodes whose inputs are known, with onnx's reference implementation.

What the reference cannot evaluate, or what would take more memory than the model's own weights can explain, is left
to the converters, which emit operations for the run time instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from convc.frontends.onnx.registry import Value, static_shape
from convc.frontends.onnx.tensors import to_array
from convc.ir.shapes import broadcast


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What exporters apply to shapes, indices, masks and weights. The rest is left to the compiled program: the reference
# computes windows tap by tap in Python, and is wrong on some rare forms of normalisations and pools.
_EVALUATED = _names(
    """Abs Add And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Clip Concat
    ConstantOfShape Cos CumSum DequantizeLinear Div Equal Exp Expand EyeLike Flatten Floor Gather Gemm Greater
    GreaterOrEqual Less LessOrEqual Log MatMul Max Min Mod Mul Neg NonZero Not OneHot Or Pad Pow Range
    Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Reshape ReverseSequence Round Sign Sin Split Sqrt Squeeze Sub Sum Tile TopK
    Transpose Trilu Unique Unsqueeze Where Xor"""
)
# The reference visits each element (or row) of these in Python, at about a microsecond each.
_LOOPS = _names("OneHot ReverseSequence TopK Unique")
# The reference has no older version of these; what older models hold of them means the same.
_OLDEST = {"DequantizeLinear": 19}
_FREE = 1 << 24  # elements that one import may produce beyond the size of what it reads: 128 MiB of int64
_LOOP_COST = 64  # how many numpy elements one visited in Python is worth


def evaluates(node: onnx.NodeProto) -> bool:
    """Whether the node is computed at import if its inputs are known."""
    legacy = any(attribute.name == "broadcast" for attribute in node.attribute)  # opset 6: unknown to the reference
    return node.domain in ("", "ai.onnx") and node.op_type in _EVALUATED and not legacy


class Evaluator:
    """Evaluates the nodes of one import within a budget of elements, so that no model asks for all memory."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._budget = float(_FREE)

    def credit(self, array: np.ndarray) -> None:
        """Count an array that the file itself holds: its size is earned."""
        self._budget += 4 * array.size

    def fold(self, node: onnx.NodeProto, inputs: Sequence[Value | None], opset: int) -> list[np.ndarray] | None:
        """The results of a node that can be evaluated now, else None. Raises ValueError or ImportProblem."""
        if node.domain not in ("", "ai.onnx"):
            return None
        if node.op_type == "Constant":
            return [self._constant(node)]
        first = inputs[0] if inputs else None
        if node.op_type in ("Shape", "Size") and first is not None:
            shape = static_shape(first)
            return [_shape_slice(node, shape) if node.op_type == "Shape" else np.array(prod(shape), np.int64)]
        arrays = [value for value in inputs if isinstance(value, np.ndarray)]
        if not evaluates(node) or len(arrays) < sum(value is not None for value in inputs):
            return None
        try:
            if (splat := _splat(node, arrays)) is not None:
                return [splat]
            cost = _elements(node, arrays) * (_LOOP_COST if node.op_type in _LOOPS else 1)
            if cost > self._budget:
                return None
            results = _evaluate(node, inputs, opset)
        except Exception:  # a malformed constant may make the reference raise anything; converters say what is wrong
            return None
        self._budget -= cost
        return results

    def _constant(self, node: onnx.NodeProto) -> np.ndarray:
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            match attribute.name:
                case "value":
                    array = to_array(value, self._folder, f"constant '{next(iter(node.output), '?')}'")
                    self.credit(array)
                    return array
                case "value_float" | "value_floats":
                    return np.array(value, np.float32)
                case "value_int" | "value_ints":
                    return np.array(value, np.int64)
        names = ", ".join(attribute.name for attribute in node.attribute) or "none"
        raise ValueError(f"expected a value, value_float(s) or value_int(s), got {names}")


def _evaluate(node: onnx.NodeProto, inputs: Sequence[Value | None], opset: int) -> list[np.ndarray]:
    # The node as a model of its own: only a model tells the evaluator which version of the operator it is.
    read, written = (
        [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name] for names in (node.input, node.output)
    )
    graph = onnx.helper.make_graph([node], "fold", read, written)
    version = onnx.helper.make_opsetid("", max(opset, _OLDEST.get(node.op_type, 0)))
    evaluator = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=[version]))
    feed = {name: value for name, value in zip(node.input, inputs) if name}
    with np.errstate(all="ignore"):
        results = dict(zip(evaluator.output_names, evaluator.run(None, feed), strict=True))
    return [np.asarray(results[name]) if name else np.empty(0) for name in node.output]


def _shape_slice(node: onnx.NodeProto, shape: Sequence[int]) -> np.ndarray:
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    return np.array(shape[bounds.get("start", 0) : bounds.get("end", len(shape))], np.int64)


def _splat(node: onnx.NodeProto, arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """One element seen under a larger shape, which takes no memory."""
    if node.op_type == "ConstantOfShape":
        values = [onnx.numpy_helper.to_array(attribute.t) for attribute in node.attribute]
        value = values[0].reshape(()) if values else np.float32(0)
        return np.broadcast_to(value, [int(size) for size in arrays[0]])
    if node.op_type == "Expand" and arrays[0].size == 1:
        return np.broadcast_to(arrays[0].reshape(()), broadcast(arrays[0].shape, [int(size) for size in arrays[1]]))
    return None


def _elements(node: onnx.NodeProto, arrays: Sequence[np.ndarray]) -> float:
    """A bound on the elements of a node's results, or on the multiplications that lead to them."""
    sizes = [float(array.size) for array in arrays]
    match node.op_type:
        case "Expand":
            return float(prod(broadcast(arrays[0].shape, [int(size) for size in arrays[1]])))
        case "Tile":
            return sizes[0] * float(np.prod(np.abs(arrays[1].astype(np.float64))))
        case "Range":
            start, limit, delta = (float(array.reshape(())) for array in arrays)
            return abs((limit - start) / delta)
        case "Pad":
            widest = float(np.abs(arrays[1].astype(np.float64)).max(initial=0)) if len(arrays) > 1 else 0.0
            return float(prod(size + 2 * widest for size in arrays[0].shape))
        case "MatMul" | "Gemm":
            return sizes[0] * max(arrays[1].shape, default=1)
        case "OneHot":
            return sizes[0] * abs(float(arrays[1].reshape(())))
        case "Gather":
            return sizes[1] * sizes[0] / max(min(arrays[0].shape, default=1), 1)
        case "NonZero" | "EyeLike":
            return sizes[0] * max(arrays[0].ndim, 1)
    try:
        return float(prod(broadcast(*(array.shape for array in arrays))))
    except ValueError:
        return sum(sizes)
