"""Operators on 8-bit integers that onnxruntime's static quantiser writes (domain com.microsoft).

Every integer is onnxruntime's: what lies half-way between two goes where its rounding of the steps before sends it, so
each step is rounded as there. Double precision around a sum keeps compilers from joining it with the product before.
"""

from __future__ import annotations

from math import prod

import numpy as np
from xdsl.dialects.builtin import f32, f64
from xdsl.ir import SSAValue

from convc.frontends.onnx.activation import activation
from convc.frontends.onnx.integers import along, centred, requantised
from convc.frontends.onnx.products import matmul
from convc.frontends.onnx.quantisation import rounded
from convc.frontends.onnx.registry import MICROSOFT, Node, converter
from convc.ir.attributes import ReduceKind, shape_of
from convc.ir.data import ConcatOp
from convc.ir.functions import Fn


def _scale(node: Node, position: int) -> np.float32:
    return np.float32(_single(node, position, "scale"))


def _zero_point(node: Node, position: int) -> np.ndarray:
    """A zero point of the tensor's type; 0 where it is left out."""
    return _single(node, position, "zero point") if node.has(position) else np.zeros((), node.dtype(0))


def _single(node: Node, position: int, what: str) -> np.ndarray:
    value = node.constant(position, what)
    if value.size != 1:
        raise ValueError(f"expected one {what} (input {position}), got shape {value.shape}")
    return value.reshape(())


def _rounded(node: Node, x: SSAValue, zero_point: np.ndarray) -> SSAValue:
    """Floats rounded, then raised by a zero point, saturated."""
    return rounded(node, x, node.weight(zero_point, "zero"), zero_point.dtype)


def _plus(node: Node, x: SSAValue, y: SSAValue) -> SSAValue:
    """x + y rounded to single precision."""
    return node.cast(node.apply(Fn.ADD, node.cast(x, f64), node.cast(y, f64)), f32)


@converter("QLinearAdd", domain=MICROSOFT)
def convert_qlinear_add(node: Node) -> SSAValue:
    """round(a * a_scale / y_scale + (b * b_scale / y_scale + rest)), where the rest is all that zero points make. Each
    product goes into its sum unrounded."""
    zeros = [_zero_point(node, position) for position in (2, 5, 7)]
    a, b = (_scale(node, position) / _scale(node, 6) for position in (1, 4))
    rest = np.float32(zeros[2]) - np.float32(np.float64(a) * float(zeros[0]) + b * np.float32(zeros[1]))
    y = node.weight(np.array(rest), "rest")
    for position, factor in ((3, b), (0, a)):
        x = node.cast(node.value(position), f64)
        y = _plus(node, node.apply(Fn.MUL, x, node.scalar(float(factor), x)), y)
    return rounded(node, y, None, zeros[2].dtype)


@converter("QLinearMul", domain=MICROSOFT)
def convert_qlinear_mul(node: Node) -> SSAValue:
    """round((a - a0) * (b - b0) * (a_scale * b_scale / y_scale) + y0)"""
    factor = _scale(node, 1) * _scale(node, 4) / _scale(node, 6)
    product = node.cast(node.apply(Fn.MUL, centred(node, 0, 2), centred(node, 3, 5)), f32)
    scaled, zero = node.apply(Fn.MUL, product, node.scalar(float(factor), product)), _zero_point(node, 7)
    return rounded(node, _plus(node, scaled, node.scalar(float(zero), scaled)), None, zero.dtype)


@converter("QLinearGlobalAveragePool", domain=MICROSOFT)
def convert_qlinear_global_average_pool(node: Node) -> SSAValue:
    """round(sum(x - x0) * (x_scale / (y_scale * pixels))) + y0"""
    rank = len(node.shape(0))
    axes = range(1, rank - 1) if node.attribute("channels_last", 0) else range(2, rank)
    total = node.cast(node.reduce(ReduceKind.SUM, centred(node, 0, 2), axes), f32)
    pixels = np.float32(prod(node.shape(0)[axis] for axis in axes))
    factor = _scale(node, 1) / (_scale(node, 3) * pixels)
    return _rounded(node, node.apply(Fn.MUL, total, node.scalar(float(factor), total)), _zero_point(node, 4))


@converter("QLinearLeakyRelu", "QLinearSigmoid", domain=MICROSOFT)
def convert_qlinear_activation(node: Node) -> SSAValue:
    params = [node.attribute("alpha", 0.01)] if node.op_type == "QLinearLeakyRelu" else []
    x = activation(node, node.op_type.removeprefix("QLinear"), _dequantised(node, 0), params)
    return _quantised(node, x, 3)


@converter("QLinearConcat", domain=MICROSOFT)
def convert_qlinear_concat(node: Node) -> SSAValue:
    """Parts `(x, scale, zero point)...` after the result's scale and zero point; those of its units are kept."""
    unit, parts = (_scale(node, 0), int(_zero_point(node, 1))), []
    for position in range(2, len(node), 3):
        same = (_scale(node, position + 1), int(_zero_point(node, position + 2))) == unit
        parts.append(node.value(position) if same else _quantised(node, _dequantised(node, position), 0))
    return node.emit(ConcatOp(parts, node.axis(0, len(node.shape(2)))))


def _dequantised(node: Node, position: int) -> SSAValue:
    """Integers of the scale and the zero point that follow, as floats."""
    x = node.cast(centred(node, position, position + 2), f32)
    return node.apply(Fn.MUL, x, node.scalar(float(_scale(node, position + 1)), x))


def _quantised(node: Node, x: SSAValue, position: int) -> SSAValue:
    """Floats in units of the scale at `position`, above the zero point after it."""
    scaled = node.apply(Fn.DIV, x, node.scalar(float(_scale(node, position)), x))
    return _rounded(node, scaled, _zero_point(node, position + 1))


@converter("QGemm", domain=MICROSOFT)
def convert_qgemm(node: Node) -> SSAValue:
    """(A' * B' + C) * alpha * a_scale * b_scale, in units of the result's scale if it has one, else as floats."""
    a = node.transpose(centred(node, 0, 2), [1, 0] if node.attribute("transA", 0) else [0, 1])
    transposed = bool(node.attribute("transB", 0))
    y = matmul(node, a, centred(node, 3, 5, [-1, 1] if transposed else [-1]), transposed)
    shape = shape_of(y)
    if node.has(6):
        y = node.apply(Fn.ADD, y, node.cast(node.value(6), f64))
    if shape_of(y) != shape:
        raise ValueError(f"expected a C that broadcasts to {shape}, got {node.shape(6)}")
    unit = along(node, 1, [])
    alpha = node.attribute("alpha", 1.0)
    if alpha != 1:
        unit = node.apply(Fn.MUL, unit, node.scalar(alpha, unit))
    columns = along(node, 4, [-1])
    if node.has(7):
        return requantised(node, y, unit, columns, 7, 8)
    return node.apply(Fn.MUL, node.cast(y, f32), node.apply(Fn.MUL, unit, columns))
