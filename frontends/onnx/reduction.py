"""Reductions. They keep their axes as 1; a reshape follows where ONNX drops them."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.dialects.builtin import IntegerType, Signedness, i1
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, converter, normalise_axes
from convc.ir.attributes import ReduceKind, element_type
from convc.ir.neural import ArgReduceOp
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
    """Axes are an attribute or (from opset 13 or 18 on) an input; none means all, or with a flag none."""
    shape = node.shape(0)
    axes = node.ints(1, "axes") if node.has(1) else node.attribute("axes", [])
    x = node.value(0)
    axes = sorted(normalise_axes(axes, len(shape)))
    if not axes and not node.attribute("noop_with_empty_axes", 0):
        axes = list(range(len(shape)))
    boolean = element_type(x) == i1  # any and all: maximum and minimum of booleans
    x = node.cast(x, IntegerType(8, Signedness.UNSIGNED)) if boolean else x
    result = node.reduce(_KINDS[node.op_type], x, axes)
    result = node.cast(result, i1) if boolean else result
    return node.reshape(result, reduce(shape, axes, bool(node.attribute("keepdims", 1))))


@converter("ArgMax", "ArgMin")
def convert_arg_reduce(node: Node) -> SSAValue:
    shape = node.shape(0)
    axis = node.axis(0, len(shape))
    kind = ReduceKind.MAX if node.op_type == "ArgMax" else ReduceKind.MIN
    last = bool(node.attribute("select_last_index", 0))
    result = node.emit(ArgReduceOp(kind, node.value(0), axis, select_last=last))
    return node.reshape(result, reduce(shape, [axis], bool(node.attribute("keepdims", 1))))
