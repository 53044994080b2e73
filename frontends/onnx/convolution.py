"""Convolutions, pools and matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, converter
from convc.ir.attributes import PoolKind, ReduceKind, shape_of
from convc.ir.data import PadOp, ReshapeOp, TransposeOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import ConvOp, ConvTransposeOp, MatMulOp, PoolOp, ReduceOp


def window_pads(
    node: Node, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """Explicit pads (begins, then ends) from `pads` or `auto_pad`."""
    mode = node.attribute("auto_pad", "NOTSET")
    spatial = len(sizes)
    if mode in ("NOTSET", ""):
        pads = node.attribute("pads", [0] * (2 * spatial))
        if len(pads) != 2 * spatial:
            raise ValueError(f"expected {2 * spatial} pads, got {len(pads)}")
        return [int(pad) for pad in pads]
    if mode == "VALID":
        return [0] * (2 * spatial)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"expected auto_pad NOTSET, VALID, SAME_UPPER or SAME_LOWER, got {mode}")
    totals = [
        max((-(-size // stride) - 1) * stride + dilation * (k - 1) + 1 - size, 0)
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations)
    ]
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return less + more if mode == "SAME_UPPER" else more + less


def _window(node: Node, kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """(strides, dilations), checked against the kernel's rank."""
    strides = node.attribute("strides", [1] * len(kernel))
    dilations = node.attribute("dilations", [1] * len(kernel))
    if len(strides) != len(kernel) or len(dilations) != len(kernel):
        raise ValueError(f"expected {len(kernel)} strides and dilations, got {strides} and {dilations}")
    if min([*strides, *dilations, *kernel], default=1) < 1:
        raise ValueError(f"expected positive sizes, got kernel {kernel}, strides {strides}, dilations {dilations}")
    return strides, dilations


def _cropped(node: Node, x: SSAValue, pads: Sequence[int]) -> tuple[SSAValue, list[int]]:
    """Negative pads take elements off before the window; the operations of the IR only add."""
    if min(pads, default=0) >= 0:
        return x, list(pads)
    spatial = len(pads) // 2
    crop = [min(pad, 0) for pad in pads]
    x = node.emit(PadOp(x, [0, 0, *crop[:spatial], 0, 0, *crop[spatial:]]))
    return x, [max(pad, 0) for pad in pads]


@converter("Conv")
def convert_conv(node: Node) -> SSAValue:
    shape, weight = node.shape(0), node.shape(1)
    if len(shape) < 3 or len(weight) != len(shape):
        raise ValueError(f"expected input and weight of one rank of at least 3, got {shape} and {weight}")
    kernel = node.attribute("kernel_shape", list(weight[2:]))
    if tuple(kernel) != tuple(weight[2:]):
        raise ValueError(f"kernel_shape {kernel} differs from the weight's {list(weight[2:])}")
    strides, dilations = _window(node, kernel)
    pads = window_pads(node, shape[2:], kernel, strides, dilations)
    x, pads = _cropped(node, node.value(0), pads)
    bias = node.value(2) if node.has(2) else None
    group = node.attribute("group", 1)
    return node.emit(ConvOp(x, node.value(1), bias, strides=strides, pads=pads, dilations=dilations, group=group))


@converter("ConvTranspose")
def convert_conv_transpose(node: Node) -> SSAValue:
    shape, weight = node.shape(0), node.shape(1)
    if len(shape) < 3 or len(weight) != len(shape):
        raise ValueError(f"expected input and weight of one rank of at least 3, got {shape} and {weight}")
    spatial = len(shape) - 2
    kernel = node.attribute("kernel_shape", list(weight[2:]))
    strides, dilations = _window(node, kernel)
    extra = node.attribute("output_padding", [0] * spatial)
    full = [strides[i] * (shape[2 + i] - 1) + extra[i] + dilations[i] * (kernel[i] - 1) + 1 for i in range(spatial)]
    wanted = node.attribute("output_shape")
    mode = node.attribute("auto_pad", "NOTSET")
    if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * stride for size, stride in zip(shape[2:], strides)]
    if wanted is not None:
        wanted = wanted[-spatial:]
        totals = [size - want for size, want in zip(full, wanted)]
        less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
        # The odd element goes to the end for SAME_UPPER, to the beginning otherwise.
        pads = less + more if mode == "SAME_UPPER" else more + less
    else:
        pads = [0] * (2 * spatial) if mode == "VALID" else node.attribute("pads", [0] * (2 * spatial))
    # A negative pad widens the output: whole zero rows at the end are output padding, at the beginning a pad.
    for i in range(spatial):
        if pads[spatial + i] < 0:
            extra[i], pads[spatial + i] = extra[i] - pads[spatial + i], 0
    before = [max(-pad, 0) for pad in pads[:spatial]]
    pads = [max(pad, 0) for pad in pads]
    bias = node.value(2) if node.has(2) else None
    y = node.emit(
        ConvTransposeOp(
            node.value(0),
            node.value(1),
            None if any(before) else bias,
            strides=strides,
            pads=pads,
            dilations=dilations,
            output_padding=extra,
            group=node.attribute("group", 1),
        )
    )
    if any(before):
        y = node.emit(PadOp(y, [0, 0, *before, 0, 0, *[0] * spatial]))
        if bias is not None:
            per_channel = node.emit(ReshapeOp(bias, [1, shape_of(y)[1], *[1] * spatial]))
            y = node.emit(ElementwiseOp(Fn.ADD, y, per_channel))
    return y


@converter("MaxPool", "AveragePool")
def convert_pool(node: Node) -> SSAValue:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise ValueError("its second output (Indices) is used, which convc does not compute")
    shape, kernel = node.shape(0), node.attribute("kernel_shape")
    if kernel is None or len(kernel) != len(shape) - 2:
        raise ValueError(f"expected a kernel_shape of {len(shape) - 2} axes, got {kernel}")
    strides, dilations = _window(node, kernel)
    pads = window_pads(node, shape[2:], kernel, strides, dilations)
    return node.emit(
        PoolOp(
            PoolKind.MAX if node.op_type == "MaxPool" else PoolKind.AVERAGE,
            node.value(0),
            kernel,
            strides=strides,
            pads=pads,
            dilations=dilations,
            ceil_mode=bool(node.attribute("ceil_mode", 0)),
            count_include_pad=bool(node.attribute("count_include_pad", 0)),
        )
    )


@converter("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def convert_global_pool(node: Node) -> SSAValue:
    if node.op_type == "GlobalLpPool":
        p = node.attribute("p", 2)
        if p not in (1, 2):
            raise ValueError(f"expected p 1 or 2, got {p}")
        kind = ReduceKind.L1 if p == 1 else ReduceKind.L2
    else:
        kind = ReduceKind.MEAN if node.op_type == "GlobalAveragePool" else ReduceKind.MAX
    return node.emit(ReduceOp(kind, node.value(0), range(2, len(node.shape(0)))))


@converter("Gemm")
def convert_gemm(node: Node) -> SSAValue:
    """alpha * A' * B' + beta * C."""
    a = node.value(0)
    if node.attribute("transA", 0):
        a = node.emit(TransposeOp(a, [1, 0]))
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    scaled = node.known(1)
    if scaled is not None and alpha != 1:
        b, alpha = node.weight((scaled * alpha).astype(scaled.dtype), "scaled"), 1.0
    else:
        b = node.value(1)
    y = node.emit(MatMulOp(a, b, transpose_b=bool(node.attribute("transB", 0))))
    if alpha != 1:
        y = node.emit(ElementwiseOp(Fn.MUL, y, node.weight(np.array(alpha, node.dtype(0)), "alpha")))
    if node.has(2) and beta != 0:
        c = node.value(2)
        if beta != 1:
            c = node.emit(ElementwiseOp(Fn.MUL, c, node.weight(np.array(beta, node.dtype(0)), "beta")))
        y = node.emit(ElementwiseOp(Fn.ADD, y, c))
    return y


@converter("MatMul")
def convert_matmul(node: Node) -> SSAValue:
    """numpy's matmul: a vector gets an axis of 1, which the result loses again."""
    a, b = node.value(0), node.value(1)
    row, column = len(shape_of(a)) == 1, len(shape_of(b)) == 1
    if row:
        a = node.emit(ReshapeOp(a, [1, *shape_of(a)]))
    if column:
        b = node.emit(ReshapeOp(b, [*shape_of(b), 1]))
    y = node.emit(MatMulOp(a, b))
    if row or column:
        shape = list(shape_of(y))
        shape = shape[: -2 if row and column else -1] if column else [*shape[:-2], shape[-1]]
        y = node.emit(ReshapeOp(y, shape))
    return y
