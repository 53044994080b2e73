"""What the anchors of kernels read."""

from __future__ import annotations

from xdsl.ir import OpResult, SSAValue

from convc.ir.attributes import element_type
from convc.ir.data import CastOp
from convc.ir.dtypes import to_numpy
from convc.ir.kernel import KernelOp
from convc.targets.cuda.tiling import DTYPES


def type_of(value: SSAValue) -> str:
    """The element type of a value by its own name, whatever it is stored as."""
    return str(to_numpy(element_type(value)))


def source(kernel: KernelOp, value: SSAValue) -> SSAValue | None:
    """The operand in memory that a value is, or that it is a conversion of."""
    if isinstance(value, OpResult) and isinstance(value.op, CastOp):
        value = value.op.x
    return value if value in kernel.block.args else None


def multiplied(kernel: KernelOp, a: SSAValue, b: SSAValue) -> tuple[SSAValue, SSAValue] | None:
    """The operands in memory of a product of two values; None unless they are of one type that tiles are made of."""
    found = source(kernel, a), source(kernel, b)
    if found[0] is None or found[1] is None or type_of(found[0]) != type_of(found[1]):
        return None
    return (found[0], found[1]) if type_of(found[0]) in DTYPES else None


def factors(kernel: KernelOp, a: SSAValue, b: SSAValue) -> tuple[SSAValue, SSAValue]:
    """The same, of a product that a template applies to."""
    found = multiplied(kernel, a, b)
    assert found is not None
    return found
