"""Give each kernel the layouts that its schedule wants: channels in blocks of a vector for whatever convolves.

    kernel(x: NCHW, w: OIHW) { conv }  =>  kernel(x: NCHW8c, w: OIHW8i8o) { conv }

A kernel is blocked or plain as a whole. Convolutions decide for themselves (`_wants_blocks`), and pools of enough
channels are blocked; spatial reductions and injective kernels can be either and follow the larger part of what they
read, so that no layout changes inside the body of a network; all else is plain. `convc.relayout` is put on the edges
that still differ, once for each value and layout; on weights it is packed away by `prepack-weights`.

The decision is one forward sweep (`_decide`); a global choice would replace that function only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, bf16, f16, f32
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import element_type, layout_of, shape_of, with_layout
from convc.ir.data import (
    BroadcastOp,
    CastOp,
    ConcatOp,
    PadOp,
    RelayoutOp,
    ResizeOp,
    SliceOp,
    WeightOp,
)
from convc.ir.elementwise import ElementwiseOp
from convc.ir.kernel import KernelOp
from convc.ir.layout import (
    Layout,
    blocked_activation,
    blocked_weight,
    chunked_transposed_weight,
    chunked_weight,
    transposed_weight,
)
from convc.ir.neural import MatMulOp, ReduceOp
from convc.ir.windows import ConvOp, ConvTransposeOp, PoolOp
from convc.passes.rewriting import main_block, set_type

_FLOATS = (f32, f16, bf16)
_STREAM = 8
"""Vectors of sums that hide the latency of the multiply-adds: two begin each cycle and take four."""


@dataclass(frozen=True)
class AssignLayouts(ModulePass):
    """`channel_block`: how many channels a block holds, the target's f32 lanes. `weights`: `blocks` of inputs and of
    outputs, as vectors of a CPU want them; or `chunks` of inputs for all outputs side by side, as the threads of a GPU
    do, which then has blocks in the first layer too, and leaves the weights of matrix products as they are."""

    name = "assign-layouts"
    channel_block: int = 8
    weights: str = "blocks"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if self.weights not in ("blocks", "chunks"):
            raise ValueError(f"assign-layouts: expected weights blocks or chunks, got {self.weights}")
        block, chunks = main_block(op), self.weights == "chunks"
        kernels = [inner for inner in block.ops if isinstance(inner, KernelOp)]
        blocked: set[SSAValue] = set()  # results whose kernels chose blocks
        for kernel in kernels:
            if _decide(kernel, blocked, self.channel_block):
                blocked.update(kernel.outputs)
                _retype(kernel, self.channel_block, chunks)
            elif not chunks and isinstance(kernel.anchor, MatMulOp):
                _pack_product(kernel, kernel.anchor, self.channel_block)
        _connect([*kernels, *(inner for inner in block.ops if not isinstance(inner, KernelOp))])


def _decide(kernel: KernelOp, blocked: set[SSAValue], block: int) -> bool:
    """Whether a kernel computes in blocks, knowing which values before it are."""
    values = [*kernel.outputs, *(v for op in kernel.ops for v in op.results)]
    if any(element_type(value) not in _FLOATS for value in values) or len(shape_of(kernel.yielded[0])) not in (3, 4, 5):
        return False
    anchor = kernel.anchor
    if isinstance(anchor, ConvOp | ConvTransposeOp):
        return _wants_blocks(anchor, block)
    if not all(_indifferent(op, block) for op in kernel.ops) or not kernel.ops:
        return False
    if isinstance(anchor, PoolOp) and shape_of(anchor.x)[1] >= block:  # no template has windows in plain layout
        return True
    reads = [value for value in kernel.inputs if len(shape_of(value)) == len(shape_of(kernel.yielded[0]))]
    size = {True: 0, False: 0}
    for value in reads:
        if not isinstance(value.owner, WeightOp):
            size[value in blocked] += prod(shape_of(value))
    return size[True] > size[False]


def _wants_blocks(op: ConvOp | ConvTransposeOp, block: int) -> bool:
    """Dense and depthwise convolutions always; grouped ones when no block holds channels of two groups."""
    group = op.group.value.data
    channels, outputs = shape_of(op.x)[1], shape_of(op.result)[1]
    if group == 1 or (isinstance(op, ConvOp) and group == channels == outputs):
        return outputs > 1
    return isinstance(op, ConvOp) and channels // group % block == 0 and outputs // group % block == 0


def _indifferent(op: Operation, block: int) -> bool:
    """Whether an operation is as good in blocks: it keeps to its channel, or moves whole blocks."""
    rank = len(shape_of(op.results[0]))
    match op:
        case ElementwiseOp() | BroadcastOp() | CastOp():
            return rank >= 3
        case PoolOp():
            return True
        case ReduceOp():
            return op.keepdims is not None and all(axis > 1 for axis in op.axes.get_values())
        case ConcatOp():
            return op.axis.value.data != 1 or all(shape_of(part)[1] % block == 0 for part in op.parts[:-1])
        case SliceOp():
            whole = shape_of(op.results[0])[1] == shape_of(op.x)[1]
            return op.steps.get_values()[1] == 1 and (whole or op.starts.get_values()[1] % block == 0)
        case PadOp():
            return not op.pads.get_values()[1] and not op.pads.get_values()[rank + 1]
        case ResizeOp():
            return shape_of(op.x)[1] == shape_of(op.result)[1]
        case _:
            return False


def _pack_product(kernel: KernelOp, op: MatMulOp, lanes: int) -> None:
    """`[N, K]` weights as OI{b}o; a product with a vector reads them as one stream of several vectors."""
    if op.b not in kernel.block.args or op.transpose_b is None or len(shape_of(op.b)) != 2:
        return
    source = next(value for value, argument in zip(kernel.inputs, kernel.block.args) if argument is op.b).owner
    if isinstance(source, WeightOp) and element_type(op.b) == f32:
        vectors = min(_STREAM, -(-shape_of(op.b)[0] // lanes)) if prod(shape_of(op.a)[:-1]) == 1 else 1
        set_type(op.b, with_layout(op.b.type, blocked_weight(2, vectors * lanes)))


def _retype(kernel: KernelOp, block: int, chunks: bool) -> None:
    """Change the types of a kernel's region, arguments and results to blocked layouts."""
    rank = len(shape_of(kernel.yielded[0]))
    activation = blocked_activation(rank, block)
    layouts: dict[SSAValue, Layout | None] = {}
    values: list[SSAValue] = [*kernel.block.args, *(result for op in kernel.ops for result in op.results)]
    for each in values:
        layouts[each] = activation if len(shape_of(each)) == rank and shape_of(each)[1] > 1 else None
    anchor = kernel.anchor
    if isinstance(anchor, ConvOp | ConvTransposeOp):
        layouts.update(_convolution_layouts(anchor, rank, block, chunks))
        # What is converted as it is read lies as the anchor wants it.
        layouts.update({op.x: layouts[op.result] for op in kernel.ops if isinstance(op, CastOp)})
    for each, layout in layouts.items():
        if element_type(each) in _FLOATS:
            set_type(each, with_layout(each.type, layout))
    for result, yielded in zip(kernel.outputs, kernel.yielded, strict=True):
        set_type(result, yielded.type)


def _convolution_layouts(
    op: ConvOp | ConvTransposeOp, rank: int, block: int, chunks: bool
) -> dict[SSAValue, Layout | None]:
    activation = blocked_activation(rank, block)
    layouts: dict[SSAValue, Layout | None] = {op.x: activation, op.result: activation}
    if isinstance(op, ConvTransposeOp):
        layouts[op.w] = (chunked_transposed_weight if chunks else transposed_weight)(rank, block)
    elif op.group.value.data == shape_of(op.x)[1] > 1:  # depthwise: one input channel a filter
        layouts[op.w] = blocked_weight(rank, block)
    elif chunks:
        layouts[op.w] = chunked_weight(rank, block)
    elif shape_of(op.x)[1] < block:  # the first layer: blocks of so few channels would be mostly padding
        layouts[op.x], layouts[op.w] = None, blocked_weight(rank, block)
    else:
        layouts[op.w] = blocked_weight(rank, block, block)
    if op.bias is not None:
        layouts[op.bias] = Layout.parse(f"O{block}o")
    return layouts


def _connect(ops: Iterable[Operation]) -> None:
    """Put a relayout on each operand whose value lies otherwise than its reader wants it."""
    made: dict[tuple[SSAValue, str], SSAValue] = {}
    for op in ops:
        if isinstance(op, RelayoutOp):  # reads any layout
            continue
        for position, value in enumerate(op.operands):
            wanted = layout_of(op.block.args[position]) if isinstance(op, KernelOp) else None
            if layout_of(value) == wanted:
                continue
            key = (value, str(wanted))
            if key not in made:
                relayout = RelayoutOp(value, wanted)
                owner = value.owner
                if isinstance(owner, Operation):
                    assert owner.parent is not None
                    owner.parent.insert_op_after(relayout, owner)
                else:
                    owner.insert_op_before(relayout, owner.first_op)  # type: ignore[arg-type]
                made[key] = relayout.result
            op.operands[position] = made[key]
