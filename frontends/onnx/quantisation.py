"""Between floats and the integers that stand for them, in float arithmetic: `q = round(x / scale) + zero_point`."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, converter
from convc.frontends.onnx.tensors import element_dtype
from convc.ir.attributes import element_type, shape_of
from convc.ir.dtypes import from_numpy
from convc.ir.functions import Fn


@converter("QuantizeLinear")
def convert_quantize_linear(node: Node) -> SSAValue:
    """Saturated to the range of the zero point's type (uint8 without one)."""
    x = node.value(0)
    output = node.attribute("output_dtype", 0)
    dtype = node.dtype(2) if node.has(2) else element_dtype(output) if output else np.dtype(np.uint8)
    if dtype.kind not in "iu":
        raise ValueError(f"expected a result of integers, got {dtype}")
    x = node.apply(Fn.ROUND, node.apply(Fn.DIV, x, node.cast(_along_axis(node, 1), element_type(x))))
    if node.has(2):
        x = node.apply(Fn.ADD, x, node.cast(_along_axis(node, 2), element_type(x)))
    limits = np.iinfo(dtype)
    return node.cast(node.apply(Fn.CLIP, x, min=float(limits.min), max=float(limits.max)), from_numpy(dtype))


@converter("DequantizeLinear")
def convert_dequantize_linear(node: Node) -> SSAValue:
    """(x - zero_point) * scale"""
    scale = _along_axis(node, 1)
    x = node.cast(node.value(0), element_type(scale))
    if node.has(2):
        x = node.apply(Fn.SUB, x, node.cast(_along_axis(node, 2), element_type(scale)))
    return node.apply(Fn.MUL, x, scale)


def _along_axis(node: Node, position: int) -> SSAValue:
    """A scale or zero point, for the whole tensor or one for each index of an axis."""
    shape, value = node.shape(0), node.value(position)
    if node.attribute("block_size", 0):
        raise ValueError("expected a scale for the tensor or for an axis, got one for blocks (block_size)")
    if shape_of(value) in ((), (1,)):
        return node.reshape(value, [])
    axis = node.axis(1, len(shape))
    if shape_of(value) != (shape[axis],):
        raise ValueError(f"expected a scalar or {shape[axis]} numbers (axis {axis}), got shape {shape_of(value)}")
    return node.reshape(value, [size if i == axis else 1 for i, size in enumerate(shape)])
