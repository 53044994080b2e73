"""Arithmetic work: multiply-accumulates, the unit in which networks are compared."""

from __future__ import annotations

from math import prod

from xdsl.ir import Operation

from convc.ir.attributes import shape_of
from convc.ir.kernel import KernelOp
from convc.ir.neural import MatMulOp
from convc.ir.windows import ConvOp, ConvTransposeOp, WinogradConvOp, window_of


def macs(op: Operation) -> int:
    """Multiply-accumulates of a convolution, a matrix product or a kernel around one; 0 for all else. Taps that
    fall on padding count, as is usual."""
    match op:
        case KernelOp():
            return sum(map(macs, op.ops))
        case ConvOp():
            return prod(shape_of(op.result)) * prod(shape_of(op.w)[1:])
        case WinogradConvOp():  # those of the convolution that it stands for
            return prod(shape_of(op.result)) * shape_of(op.w)[1] * prod(window_of(op))
        case ConvTransposeOp():
            return prod(shape_of(op.x)) * prod(shape_of(op.w)[1:])
        case MatMulOp():
            return prod(shape_of(op.result)) * shape_of(op.a)[-1]
        case _:
            return 0
