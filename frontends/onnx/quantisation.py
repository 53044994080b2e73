"""Between floats and the integers that stand for them, in float arithmetic: `q = round(x / scale) + zero_point`."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, converter
from convc.frontends.onnx.slicing import taken
from convc.frontends.onnx.tensors import element_dtype
from convc.ir.attributes import element_type, shape_of
from convc.ir.data import BroadcastOp
from convc.ir.dtypes import from_numpy, is_float
from convc.ir.functions import Fn


def stored(node: Node, x: SSAValue, dtype: np.dtype, saturate: bool = True) -> SSAValue:
    """Floats rounded to a type of 8 bits or fewer; what is too large for a saturating one becomes its
    largest number."""
    if dtype.name == "float8_e8m0fnu":
        return _power_of_two(node, x, saturate)
    if saturate and dtype.name.startswith("float8"):
        largest = float(ml_dtypes.finfo(dtype).max)
        x = node.apply(Fn.CLIP, x, min=-largest, max=largest)
    return node.cast(x, from_numpy(dtype))


def _power_of_two(node: Node, x: SSAValue, saturate: bool) -> SSAValue:
    """The power of two next to x: the IR's cast takes the nearest, and of 2**e * m it goes up from m = 1.5 on. A factor
    moves that limit to just above 1, or to 2."""
    mode = node.attribute("round_mode", "up")
    factors = {"up": float(np.nextafter(np.float32(1.5), np.float32(1))), "down": 0.75, "nearest": 1.0}
    if mode not in factors:
        raise ValueError(f"expected a round_mode of {', '.join(factors)}, got {mode}")
    if saturate:
        x = node.apply(Fn.CLIP, x, max=2.0**127)
    if factors[mode] != 1:
        x = node.apply(Fn.MUL, x, node.scalar(factors[mode], x))
    return node.cast(node.apply(Fn.CLIP, x, min=2.0**-127), from_numpy(ml_dtypes.float8_e8m0fnu))


@converter("QuantizeLinear")
def convert_quantize_linear(node: Node) -> SSAValue:
    """Saturated to the range of the zero point's type (uint8 without one)."""
    x = node.value(0)
    x = x if is_float(element_type(x)) else node.cast(x, f32)
    output = node.attribute("output_dtype", 0)
    dtype = node.dtype(2) if node.has(2) else element_dtype(output) if output else np.dtype(np.uint8)
    x = node.apply(Fn.DIV, x, node.cast(_along_axis(node, 1), element_type(x)))
    if dtype.name.startswith("float"):
        return stored(node, x, dtype, bool(node.attribute("saturate", 1)))
    return rounded(node, x, _along_axis(node, 2) if node.has(2) else None, dtype)


def rounded(node: Node, x: SSAValue, zero_point: SSAValue | None, dtype: np.dtype) -> SSAValue:
    """Floats rounded to integers above a zero point, saturated to the range of an integer type."""
    x = node.apply(Fn.ROUND, x)
    if zero_point is not None:
        x = node.apply(Fn.ADD, x, node.cast(zero_point, element_type(x)))
    limits = ml_dtypes.iinfo(dtype)
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
    """A scale or zero point, for the whole tensor, for each index of an axis or for each block of them."""
    shape, value = node.shape(0), node.value(position)
    if shape_of(value) in ((), (1,)):
        return node.reshape(value, [])
    axis, block = node.axis(1, len(shape)), node.attribute("block_size", 0)
    if block:
        return _of_blocks(node, value, axis, block)
    if shape_of(value) != (shape[axis],):
        raise ValueError(f"expected a scalar or {shape[axis]} numbers (axis {axis}), got shape {shape_of(value)}")
    return node.reshape(value, [size if i == axis else 1 for i, size in enumerate(shape)])


def _of_blocks(node: Node, value: SSAValue, axis: int, block: int) -> SSAValue:
    """Numbers for blocks of an axis, each repeated over its block; the last block may be shorter."""
    shape, given = node.shape(0), shape_of(value)
    expected = (*shape[:axis], -(-shape[axis] // block), *shape[axis + 1 :])
    if given != expected:
        raise ValueError(f"expected numbers of shape {expected} for blocks of {block}, got {given}")
    value = node.reshape(value, [*given[: axis + 1], 1, *given[axis + 1 :]])
    value = node.emit(BroadcastOp(value, [*given[: axis + 1], block, *given[axis + 1 :]]))
    value = node.reshape(value, [*given[:axis], given[axis] * block, *given[axis + 1 :]])
    return taken(node, value, axis, 0, shape[axis])
