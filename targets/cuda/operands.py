"""What the anchors of kernels read."""

from __future__ import annotations

from xdsl.ir import OpResult, SSAValue

from convc.ir.attributes import element_type
from convc.ir.data import CastOp
from convc.ir.dtypes import to_numpy
from convc.ir.kernel import KernelOp


def type_of(value: SSAValue) -> str:
    """The element type of a value by its own name, whatever it is stored as."""
    return str(to_numpy(element_type(value)))


def source(kernel: KernelOp, value: SSAValue) -> SSAValue | None:
    """The operand in memory that a value is, or that it is a conversion of."""
    if isinstance(value, OpResult) and isinstance(value.op, CastOp):
        value = value.op.x
    return value if value in kernel.block.args else None
