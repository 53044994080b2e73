"""Elementwise functions of several tensors: arithmetic, comparisons, choices; and conversions between types."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from convc.frontends.onnx.quantisation import stored
from convc.frontends.onnx.registry import Node, converter
from convc.frontends.onnx.tensors import element_dtype
from convc.ir.attributes import element_type, shape_of
from convc.ir.dtypes import from_numpy, is_float, is_storage
from convc.ir.functions import Fn

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
_VARIADIC: Mapping[str, Fn] = {"Max": Fn.MAX, "Mean": Fn.ADD, "Min": Fn.MIN, "Sum": Fn.ADD}


@converter(*_BINARY)
def convert_binary(node: Node) -> SSAValue:
    return node.apply(_BINARY[node.op_type], node.value(0), _aligned(node))


def _aligned(node: Node) -> SSAValue:
    """The right operand. Before opset 7 an attribute says which axis of the left its first one is."""
    right, rank = node.value(1), len(node.shape(0))
    if node.opset >= 7 or not node.attribute("broadcast", 0) or node.attribute("axis") is None:
        return right
    after = rank - node.axis(0, rank) - len(shape_of(right))
    return node.reshape(right, [*shape_of(right), *[1] * after])


@converter(*_VARIADIC)
def convert_variadic(node: Node) -> SSAValue:
    first, *others = node.values()
    result = first
    for value in others:
        result = node.apply(_VARIADIC[node.op_type], result, value)
    if node.op_type == "Mean" and others:
        result = node.apply(Fn.MUL, result, node.scalar(1 / len(node), result))
    return result


@converter("Mod")
def convert_mod(node: Node) -> SSAValue:
    """fmod takes the sign of the dividend, the other that of the divisor."""
    return node.apply(Fn.FMOD if node.attribute("fmod", 0) else Fn.MOD, node.value(0), node.value(1))


@converter("Pow")
def convert_pow(node: Node) -> SSAValue:
    """The result has the base's type, whatever the exponent's: integers are floats while a power of floats is taken."""
    base, exponent = node.value(0), _aligned(node)
    element = element_type(base)
    if is_float(element_type(exponent)) and not is_float(element):
        base = node.cast(base, element_type(exponent))
    power = node.apply(Fn.POW, base, node.cast(exponent, element_type(base)))
    return node.cast(power, element)


@converter("PRelu")
def convert_prelu(node: Node) -> SSAValue:
    x, slope = node.value(0), node.value(1)
    rank, shape = len(shape_of(x)), shape_of(slope)
    # [C] is one slope a channel before opset 7; later the slope broadcasts to x, but some exporters still mean that.
    if len(shape) == 1 and rank > 2 and shape[0] == shape_of(x)[1] and (node.opset < 7 or shape[0] != shape_of(x)[-1]):
        slope = node.reshape(slope, [shape[0], *[1] * (rank - 2)])
    return node.apply(Fn.PRELU, x, slope)


@converter("Where")
def convert_where(node: Node) -> SSAValue:
    return node.apply(Fn.WHERE, node.value(0), node.value(1), node.value(2))


@converter("Clip")
def convert_clip(node: Node) -> SSAValue:
    """Bounds are attributes before opset 11, inputs after; computed and integer ones become max and min."""
    x = node.value(0)
    if node.opset < 11:
        low, high = node.attribute("min", -np.inf), node.attribute("max", np.inf)
        return node.apply(Fn.CLIP, x, min=float(low), max=float(high))
    given = {name: position for position, name in ((1, "min"), (2, "max")) if node.has(position)}
    bounds = {name: node.known(position) for name, position in given.items()}
    if any(node.shape(position) not in ((), (1,)) for position in given.values()):
        raise ValueError(f"expected scalars as bounds, got shapes {[node.shape(i) for i in given.values()]}")
    if is_float(element_type(x)) and all(bound is not None for bound in bounds.values()):
        known = {name: float(bound.reshape(())) for name, bound in bounds.items() if bound is not None}
        return node.apply(Fn.CLIP, x, **known) if known else x
    for name, fn in (("min", Fn.MAX), ("max", Fn.MIN)):
        if name in given:
            x = node.apply(fn, x, node.reshape(node.value(given[name]), []))
    return x


@converter("Cast", "CastLike")
def convert_cast(node: Node) -> SSAValue:
    dtype = node.dtype(1) if node.op_type == "CastLike" else element_dtype(node.attribute("to"))
    x, element = node.value(0), from_numpy(dtype)
    if is_storage(element) and element != element_type(x):
        x = x if is_float(element_type(x)) else node.cast(x, f32)
        return stored(node, x, dtype, bool(node.attribute("saturate", 1)))
    return node.cast(x, element)


_BITWISE: Mapping[str, Fn] = {
    "BitwiseAnd": Fn.BITWISE_AND,
    "BitwiseNot": Fn.BITWISE_NOT,
    "BitwiseOr": Fn.BITWISE_OR,
    "BitwiseXor": Fn.BITWISE_XOR,
}


@converter(*_BITWISE)
def convert_bitwise(node: Node) -> SSAValue:
    return node.apply(_BITWISE[node.op_type], *node.values())


@converter("BitShift")
def convert_bit_shift(node: Node) -> SSAValue:
    left = node.attribute("direction") == "LEFT"
    return node.apply(Fn.SHIFT_LEFT if left else Fn.SHIFT_RIGHT, node.value(0), node.value(1))
