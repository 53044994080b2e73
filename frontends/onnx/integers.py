"""Convolutions and products of 8-bit integers, exact: in double precision, which holds every sum of such products.

Integers themselves would be exact as well, but only floating-point convolutions have fast templates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import f32, f64, i32
from xdsl.ir import SSAValue

from convc.frontends.onnx.convolution import convolution
from convc.frontends.onnx.products import matmul
from convc.frontends.onnx.quantisation import rounded
from convc.frontends.onnx.registry import Node, converter
from convc.ir.attributes import shape_of
from convc.ir.functions import Fn


def centred(node: Node, position: int, zero_point: int, line: Sequence[int] = ()) -> SSAValue:
    """An operand less its zero point, in double precision; a zero point of several numbers lies along `line`."""
    x = node.value(position)
    if not node.has(zero_point):
        return node.cast(x, f64)
    return node.apply(Fn.SUB, node.cast(x, f64), node.cast(along(node, zero_point, line), f64))


def along(node: Node, position: int, line: Sequence[int]) -> SSAValue:
    """A scale or zero point: one number, or several under the shape `line`, which has -1 in the place of their axis."""
    value = node.value(position)
    count = int(np.prod(shape_of(value)))
    if count == 1 and len(shape_of(value)) < 2:
        return node.reshape(value, [])
    if len(shape_of(value)) > 1:
        return value
    return node.reshape(value, [count if size == -1 else size for size in line])


def _outputs(rank: int) -> list[int]:
    """The line of a convolution's output channels in its weight."""
    return [-1, *[1] * (rank - 1)]


@converter("ConvInteger")
def convert_conv_integer(node: Node) -> SSAValue:
    x, w = centred(node, 0, 2), centred(node, 1, 3, _outputs(len(node.shape(1))))
    return node.cast(convolution(node, x, w, None), i32)


@converter("MatMulInteger")
def convert_matmul_integer(node: Node) -> SSAValue:
    return node.cast(_product(node, 0, 2, 1, 3), i32)


def _product(node: Node, a: int, a_zero: int, b: int, b_zero: int) -> SSAValue:
    """A matrix product; zero points are of rows on the left, of columns on the right."""
    return matmul(node, centred(node, a, a_zero, [-1, 1]), centred(node, b, b_zero, [-1]))


@converter("QLinearConv")
def convert_qlinear_conv(node: Node) -> SSAValue:
    """round((conv(x - x0, w - w0) + bias) * x_scale * w_scale / y_scale) + y0; the bias has the scale of the sum."""
    rank = len(node.shape(3))
    y = convolution(node, centred(node, 0, 2), centred(node, 3, 5, _outputs(rank)), None)
    channels = [-1, *[1] * (rank - 2)]
    if node.has(8):
        y = node.apply(Fn.ADD, y, node.cast(along(node, 8, channels), f64))
    return requantised(node, y, node.value(1), along(node, 4, channels), 6, 7)


@converter("QLinearMatMul")
def convert_qlinear_matmul(node: Node) -> SSAValue:
    y = _product(node, 0, 2, 3, 5)
    return requantised(node, y, along(node, 1, [-1, 1]), along(node, 4, [-1]), 6, 7)


def requantised(node: Node, y: SSAValue, a: SSAValue, b: SSAValue, scale: int, zero_point: int) -> SSAValue:
    """Exact sums of products of numbers in units of `a` and of `b`, in the result's units. The factor is rounded to
    single precision, as onnxruntime has it: half a unit must go the same way."""
    a, b, unit = (node.cast(value, f32) for value in (a, b, node.reshape(node.value(scale), [])))
    factor = node.apply(Fn.DIV, node.apply(Fn.MUL, a, b), unit)
    y = node.apply(Fn.MUL, node.cast(y, f32), factor)
    return rounded(node, y, node.reshape(node.value(zero_point), []), node.dtype(zero_point))
