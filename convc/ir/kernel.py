"""`convc.kernel`: a region that becomes exactly one PrimFunc.

Fusion is outlining: an anchor (a convolution, pool, product, reduction ...) and what is computed before and after
it move into one region. Everything outside is a value that lives in memory; everything inside is in registers. A
kernel within a kernel computes, part by part, what its reader wants next: its results live in scratch memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import DictionaryAttr, StringAttr, TensorType
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.irdl import (
    IRDLOperation,
    irdl_op_definition,
    opt_prop_def,
    region_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.traits import IsolatedFromAbove, IsTerminator, Pure
from xdsl.utils.exceptions import VerifyException

from convc.ir.data import ConstantOp
from convc.ir.neural import ArgReduceOp, LRNOp, MatMulOp, ReduceOp, SoftmaxOp
from convc.ir.ordering import ScanOp, TopKOp
from convc.ir.sampling import GatherOp, GridSampleOp, ScatterOp
from convc.ir.windows import ArgPoolOp, ConvOp, ConvTransposeOp, PoolOp, WinogradConvOp

ANCHORS = (
    ConvOp,
    WinogradConvOp,
    ConvTransposeOp,
    PoolOp,
    MatMulOp,
    ReduceOp,
    ArgReduceOp,
    SoftmaxOp,
    LRNOp,
    ArgPoolOp,
    GatherOp,
    GridSampleOp,
    ScanOp,
    ScatterOp,
    TopKOp,
)
"""The operations that reduce over some of their input, or read or write where other elements say: a kernel holds at
most one. All others are injective: each output element is an expression of single input elements, at places that
follow from its own, computed wherever it is needed."""


@irdl_op_definition
class YieldOp(IRDLOperation):
    """Ends a kernel's region with the values it writes to memory."""

    name = "convc.yield"
    values = var_operand_def(TensorType)
    traits = traits_def(IsTerminator())
    assembly_format = "$values attr-dict `:` type($values)"

    def __init__(self, *values: SSAValue) -> None:
        super().__init__(operands=[values])


@irdl_op_definition
class KernelOp(IRDLOperation):
    """One kernel: operands and results live in memory in their types' layouts. `template` and `config` are what
    `select` chose; they are absent before it runs."""

    name = "convc.kernel"
    inputs = var_operand_def(TensorType)
    template = opt_prop_def(StringAttr)
    config = opt_prop_def(DictionaryAttr)
    outputs = var_result_def(TensorType)
    body = region_def("single_block")
    traits = traits_def(Pure(), IsolatedFromAbove())
    assembly_format = (
        "(`template` $template^)? (`config` $config^)? `(` $inputs `)` attr-dict "
        "`:` functional-type($inputs, $outputs) $body"
    )

    def __init__(
        self,
        inputs: Sequence[SSAValue],
        body: Region,
        outputs: Sequence[Attribute],
    ) -> None:
        super().__init__(operands=[inputs], regions=[body], result_types=[outputs])

    @property
    def block(self) -> Block:
        return self.body.block

    @property
    def ops(self) -> list[Operation]:
        """The operations of the region in order, without constants and the terminator."""
        return [op for op in self.block.ops if not isinstance(op, ConstantOp | YieldOp)]

    @property
    def yielded(self) -> Sequence[SSAValue]:
        """The values that the region ends with, one a result."""
        last = self.block.last_op
        assert isinstance(last, YieldOp)
        return last.values

    @property
    def anchor(self) -> Operation | None:
        """The reducing operation, or None for an injective kernel."""
        return next((op for op in self.ops if isinstance(op, ANCHORS)), None)

    @property
    def inner(self) -> KernelOp | None:
        """The kernel within this one, if there is one."""
        return next((op for op in self.ops if isinstance(op, KernelOp)), None)

    def verify_(self) -> None:
        if not isinstance(self.block.last_op, YieldOp):
            raise VerifyException("a kernel's region ends with convc.yield")
        inner = [argument.type for argument in self.block.args]
        if inner != [value.type for value in self.inputs]:
            raise VerifyException(f"kernel operands and region arguments differ: {inner}")
        if [value.type for value in self.yielded] != [value.type for value in self.outputs]:
            raise VerifyException("kernel results and yielded values differ in type")
        if len(found := [op.name for op in self.ops if isinstance(op, ANCHORS)]) > 1:
            raise VerifyException(f"a kernel holds at most one anchor, this one holds {', '.join(found)}")
