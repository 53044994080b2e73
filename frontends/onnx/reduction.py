"""Reductions. They always keep their axes as 1; a reshape follows where ONNX drops them."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.ir import SSAValue

from convc.frontends.onnx.movement import reshaped
from convc.frontends.onnx.registry import Node, converter, normalise_axis
from convc.ir.attributes import ReduceKind
from convc.ir.neural import ArgReduceOp, ReduceOp
from convc.ir.shapes import reduce

_KINDS: Mapping[str, ReduceKind] = {
    "ReduceL1": ReduceKind.L1,
    "ReduceL2": ReduceKind.L2,
    "ReduceLogSum": ReduceKind.LOG_SUM,
    "ReduceLogSumExp": ReduceKind.LOG_SUM_EXP,
    "ReduceMax": ReduceKind.MAX,
    "ReduceMean": ReduceKind.MEAN,
    "ReduceMin": ReduceKind.MIN,
    "ReduceProd": ReduceKind.PROD,
    "ReduceSum": ReduceKind.SUM,
    "ReduceSumSquare": ReduceKind.SUM_SQUARE,
}


@converter(*_KINDS)
def convert_reduce(node: Node) -> SSAValue:
    """Axes are an attribute or (from opset 13 or 18 on) an input; none means all, or nothing at all."""
    rank = len(node.shape(0))
    axes = node.ints(1, "axes") if node.has(1) else node.attribute("axes", [])
    if not axes and node.attribute("noop_with_empty_axes", 0):
        return node.value(0)
    axes = sorted({normalise_axis(axis, rank) for axis in axes}) if axes else list(range(rank))
    result = node.emit(ReduceOp(_KINDS[node.op_type], node.value(0), axes))
    return reshaped(node, result, list(reduce(node.shape(0), axes, bool(node.attribute("keepdims", 1)))))


@converter("ArgMax", "ArgMin")
def convert_arg_reduce(node: Node) -> SSAValue:
    rank = len(node.shape(0))
    axis = node.axis(0, rank)
    kind = ReduceKind.MAX if node.op_type == "ArgMax" else ReduceKind.MIN
    last = bool(node.attribute("select_last_index", 0))
    result = node.emit(ArgReduceOp(kind, node.value(0), axis, select_last=last))
    return reshaped(node, result, list(reduce(node.shape(0), [axis], bool(node.attribute("keepdims", 1)))))
