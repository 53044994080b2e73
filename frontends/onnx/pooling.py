"""Pooling over windows and over whole images."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from xdsl.ir import SSAValue

from convc.frontends.onnx.convolution import auto_pad, cropped, same_totals, split_pads, window_pads, window_steps
from convc.frontends.onnx.registry import Node, converter
from convc.ir import shapes
from convc.ir.attributes import PoolKind, ReduceKind, shape_of
from convc.ir.functions import Fn
from convc.ir.windows import ArgPoolOp, PoolOp


@converter("MaxPool", "AveragePool", "LpPool")
def convert_pool(node: Node) -> list[SSAValue]:
    shape = node.shape(0)
    spatial = len(shape) - 2
    kernel = node.attribute("kernel_shape")
    if spatial < 1 or len(kernel) != spatial:
        raise ValueError(f"expected a kernel_shape of {max(spatial, 1)} axes for input {shape}, got {kernel}")
    strides, dilations = window_steps(node, kernel)
    x = node.value(0)
    if auto_pad(node).startswith("SAME"):
        x, pads = cropped(node, x, _same_pads(node, kernel, strides, dilations))
    elif min(pads := window_pads(node, shape[2:], kernel, strides, dilations)) < 0:
        raise ValueError(f"expected pads of at least 0, got {pads}")
    # Where the pads of SAME make the windows fit exactly nothing is left to round up.
    ceil_mode = bool(node.attribute("ceil_mode", 0)) and (auto_pad(node) in ("NOTSET", "VALID") or max(dilations) > 1)
    if node.op_type == "LpPool":
        return [_lp_pool(node, x, kernel, strides, pads, dilations, ceil_mode)]
    window: dict[str, Any] = {"strides": strides, "pads": pads, "dilations": dilations}
    pooled = PoolOp(
        PoolKind.MAX if node.op_type == "MaxPool" else PoolKind.AVERAGE,
        x,
        kernel,
        **window,
        ceil_mode=ceil_mode,
        count_include_pad=bool(node.attribute("count_include_pad", 0)),
    )
    if node.op_type != "MaxPool" or not any(node.wanted[1:]):
        return [node.emit(pooled)]
    places = node.emit(ArgPoolOp(x, kernel, **window, ceil_mode=ceil_mode))
    return [node.emit(pooled), _column_major(node, places) if node.attribute("storage_order", 0) else places]


def _same_pads(node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """The pads of auto_pad SAME as onnxruntime has them. It counts no dilation, where the standard does (ONNX says
    ceil(size / stride) windows, there are fewer); and where the stride goes past the kernel there is less than nothing
    to add, and edges are left out. Maxima, which it then computes with dilation only, else begin where the image does
    (as TensorFlow's), and so do those whose places are wanted."""
    totals = same_totals(node.shape(0)[2:], kernel, strides, [1] * len(kernel))
    if node.op_type == "MaxPool" and (max(dilations) == 1 or any(node.wanted[1:])):
        totals = [max(total, 0) for total in totals]
    return split_pads(totals, upper=auto_pad(node) == "SAME_UPPER")


def _column_major(node: Node, places: SSAValue) -> SSAValue:
    """Positions in an array `[N, C, *S]` as those in one whose spatial axes lie in reverse order."""
    sizes = node.shape(0)[2:]
    rest = node.apply(Fn.MOD, places, node.scalar(prod(sizes), places))
    result = node.apply(Fn.SUB, places, rest)
    for axis, size in enumerate(sizes):
        place = node.apply(Fn.DIV, rest, node.scalar(prod(sizes[axis + 1 :]), rest))
        place = node.apply(Fn.MOD, place, node.scalar(size, place))
        result = node.apply(Fn.ADD, result, node.apply(Fn.MUL, place, node.scalar(prod(sizes[:axis]), place)))
    return result


def _lp_pool(
    node: Node,
    x: SSAValue,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    ceil_mode: bool,
) -> SSAValue:
    """sum(|x|^p)^(1/p) as an average that counts its padding: all its windows are of one size, which multiplies."""
    p = node.attribute("p", 2)
    spatial, pads = len(kernel), list(pads)
    for i in range(spatial):  # what ceil_mode adds at the end becomes declared padding
        size, span = shape_of(x)[2 + i], dilations[i] * (kernel[i] - 1) + 1
        count = shapes.window(size, kernel[i], strides[i], dilations[i], pads[i], pads[spatial + i], ceil_mode)
        pads[spatial + i] = max(pads[spatial + i], (count - 1) * strides[i] + span - size - pads[i])
    mean = node.emit(
        PoolOp(
            PoolKind.AVERAGE,
            _power(node, node.apply(Fn.ABS, x), p),
            kernel,
            strides=strides,
            pads=pads,
            dilations=dilations,
            count_include_pad=True,
        )
    )
    return _root(node, node.apply(Fn.MUL, mean, node.scalar(prod(kernel), mean)), p)


@converter("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def convert_global_pool(node: Node) -> SSAValue:
    """A reduction of all spatial axes, which stay as 1."""
    x, axes = node.value(0), range(2, len(node.shape(0)))
    if node.op_type != "GlobalLpPool":
        return node.reduce(ReduceKind.MEAN if node.op_type == "GlobalAveragePool" else ReduceKind.MAX, x, axes)
    p = node.attribute("p", 2)
    if p in (1, 2):
        return node.reduce(ReduceKind.L1 if p == 1 else ReduceKind.L2, x, axes)
    return _root(node, node.reduce(ReduceKind.SUM, _power(node, node.apply(Fn.ABS, x), p), axes), p)


def _power(node: Node, x: SSAValue, p: int) -> SSAValue:
    """x^p for x >= 0."""
    if p < 1:
        raise ValueError(f"expected p of at least 1, got {p}")
    if p == 1:
        return x
    return node.apply(Fn.MUL, x, x) if p == 2 else node.apply(Fn.POW, x, node.scalar(p, x))


def _root(node: Node, x: SSAValue, p: int) -> SSAValue:
    if p == 1:
        return x
    return node.apply(Fn.SQRT, x) if p == 2 else node.apply(Fn.POW, x, node.scalar(1 / p, x))
