"""Elementwise functions: activations, arithmetic, comparisons, casts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, Value, converter, normalise_axis
from convc.ir.attributes import element_type, shape_of
from convc.ir.data import CastOp, ReshapeOp
from convc.ir.dtypes import from_numpy, is_float
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import FUNCTIONS, Fn

_UNARY: Mapping[str, Fn] = {
    "Abs": Fn.ABS,
    "Acos": Fn.ACOS,
    "Acosh": Fn.ACOSH,
    "Asin": Fn.ASIN,
    "Asinh": Fn.ASINH,
    "Atan": Fn.ATAN,
    "Atanh": Fn.ATANH,
    "Ceil": Fn.CEIL,
    "Celu": Fn.CELU,
    "Cos": Fn.COS,
    "Cosh": Fn.COSH,
    "Elu": Fn.ELU,
    "Erf": Fn.ERF,
    "Exp": Fn.EXP,
    "Floor": Fn.FLOOR,
    "HardSigmoid": Fn.HARD_SIGMOID,
    "HardSwish": Fn.HARD_SWISH,
    "IsInf": Fn.IS_INF,
    "IsNaN": Fn.IS_NAN,
    "LeakyRelu": Fn.LEAKY_RELU,
    "Log": Fn.LOG,
    "Mish": Fn.MISH,
    "Neg": Fn.NEG,
    "Not": Fn.NOT,
    "Reciprocal": Fn.RECIPROCAL,
    "Relu": Fn.RELU,
    "Round": Fn.ROUND,
    "Selu": Fn.SELU,
    "Shrink": Fn.SHRINK,
    "Sigmoid": Fn.SIGMOID,
    "Sign": Fn.SIGN,
    "Sin": Fn.SIN,
    "Sinh": Fn.SINH,
    "Softplus": Fn.SOFTPLUS,
    "Softsign": Fn.SOFTSIGN,
    "Sqrt": Fn.SQRT,
    "Tan": Fn.TAN,
    "Tanh": Fn.TANH,
    "ThresholdedRelu": Fn.THRESHOLDED_RELU,
}
_BINARY: Mapping[str, Fn] = {
    "Add": Fn.ADD,
    "And": Fn.AND,
    "Div": Fn.DIV,
    "Equal": Fn.EQUAL,
    "Greater": Fn.GREATER,
    "GreaterOrEqual": Fn.GREATER_OR_EQUAL,
    "Less": Fn.LESS,
    "LessOrEqual": Fn.LESS_OR_EQUAL,
    "Mul": Fn.MUL,
    "Or": Fn.OR,
    "Sub": Fn.SUB,
    "Xor": Fn.XOR,
}
_NARY: Mapping[str, Fn] = {"Max": Fn.MAX, "Mean": Fn.ADD, "Min": Fn.MIN, "Sum": Fn.ADD}


@converter(*_UNARY)
def convert_unary(node: Node) -> SSAValue:
    fn = _UNARY[node.op_type]
    params = {name: float(node.attribute(name, default)) for name, default in FUNCTIONS[fn].params.items()}
    return node.emit(ElementwiseOp(fn, node.value(0), **params))


@converter(*_BINARY)
def convert_binary(node: Node) -> SSAValue:
    return node.emit(ElementwiseOp(_BINARY[node.op_type], node.value(0), node.value(1)))


@converter(*_NARY)
def convert_nary(node: Node) -> SSAValue:
    values = node.values()
    if not values:
        raise ValueError("expected at least one input, got none")
    result = values[0]
    for value in values[1:]:
        result = node.emit(ElementwiseOp(_NARY[node.op_type], result, value))
    if node.op_type == "Mean":
        share = node.weight(np.array(1 / len(values), node.dtype(0)), "share")
        result = node.emit(ElementwiseOp(Fn.MUL, result, share))
    return result


@converter("Mod")
def convert_mod(node: Node) -> SSAValue:
    fn = Fn.FMOD if node.attribute("fmod", 0) else Fn.MOD
    return node.emit(ElementwiseOp(fn, node.value(0), node.value(1)))


@converter("Pow")
def convert_pow(node: Node) -> SSAValue:
    """The result has the base's type; the exponent may have another."""
    base, exponent = node.value(0), node.value(1)
    if element_type(base) != element_type(exponent):
        exponent = node.emit(CastOp(exponent, element_type(base)))
    return node.emit(ElementwiseOp(Fn.POW, base, exponent))


@converter("PRelu")
def convert_prelu(node: Node) -> SSAValue:
    x, slope = node.value(0), node.value(1)
    rank, shape = len(shape_of(x)), shape_of(slope)
    # Exporters also write one slope a channel as [C] or [C, 1, 1]; opset 7 and 8 say [C] means channels.
    if len(shape) == 1 and shape[0] not in (1, shape_of(x)[-1]) and rank > 2 and shape[0] == shape_of(x)[1]:
        slope = node.emit(ReshapeOp(slope, [shape[0], *[1] * (rank - 2)]))
    return node.emit(ElementwiseOp(Fn.PRELU, x, slope))


@converter("Where")
def convert_where(node: Node) -> SSAValue:
    return node.emit(ElementwiseOp(Fn.WHERE, *node.values()))


@converter("Gelu")
def convert_gelu(node: Node) -> SSAValue:
    fn = Fn.GELU_TANH if node.attribute("approximate", "none") == "tanh" else Fn.GELU
    return node.emit(ElementwiseOp(fn, node.value(0)))


@converter("Clip")
def convert_clip(node: Node) -> SSAValue:
    """Bounds are attributes before opset 11, inputs after; computed ones become min and max."""
    x = node.value(0)
    if node.opset < 11:
        low, high = node.attribute("min", -np.inf), node.attribute("max", np.inf)
        return node.emit(ElementwiseOp(Fn.CLIP, x, min=float(low), max=float(high)))
    known = all(not node.has(i) or node.known(i) is not None for i in (1, 2))
    if known and is_float(node.element()):
        bounds = {}
        for position, name in ((1, "min"), (2, "max")):
            if (bound := node.known(position)) is not None:
                bounds[name] = float(bound.reshape(-1)[0])
        return node.emit(ElementwiseOp(Fn.CLIP, x, **bounds))
    for position, fn in ((1, Fn.MAX), (2, Fn.MIN)):
        if node.has(position):
            bound_value = node.value(position)
            if shape_of(bound_value):
                bound_value = node.emit(ReshapeOp(bound_value, []))
            x = node.emit(ElementwiseOp(fn, x, bound_value))
    return x


@converter("Cast")
def convert_cast(node: Node) -> SSAValue:
    return _cast(node, onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to")))


@converter("CastLike")
def convert_cast_like(node: Node) -> SSAValue:
    return _cast(node, node.dtype(1))


def _cast(node: Node, dtype: np.dtype) -> SSAValue:
    x, element = node.value(0), from_numpy(dtype)
    return x if element_type(x) == element else node.emit(CastOp(x, element))


@converter("Identity", "Dropout")
def convert_identity(node: Node) -> list[Value]:
    """Dropout does nothing at inference; its mask, if asked for, keeps everything."""
    mask = np.ones(node.shape(0), bool)
    return [node.value(0), mask][: max(len(node.outputs), 1)]


@converter("Softmax", "LogSoftmax")
def convert_softmax(node: Node) -> SSAValue:
    """Before opset 13 the input is seen as a matrix: the axis and all after it are normalised together."""
    from convc.ir.neural import SoftmaxOp

    rank = len(node.shape(0))
    axis = normalise_axis(node.attribute("axis", 1 if node.opset < 13 else -1), rank)
    axes = range(axis, rank) if node.opset < 13 else [axis]
    return node.emit(SoftmaxOp(node.value(0), axes, log=node.op_type == "LogSoftmax"))
