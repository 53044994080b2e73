"""The layouts that a kernel can compute in: channels in blocks of a vector, or plain.

    kernel(x: NCHW, w: OIHW) { conv }  =>  kernel(x: NCHW8c, w: OIHW8i8o) { conv }     of a CPU
    kernel(x: NCHW, w: OIHW) { conv }  =>  kernel(x: CNHW8c, w: IHWO8i) { conv }       of a GPU

A kernel is blocked or plain as a whole. Whether both are legal, and worth a thought, is asked here alone:

- convolutions are blocked where no block holds channels of two groups. Those of less than a block of outputs, which
  leave lanes empty, can be plain too: `PlainConv` has its vectors along the width. Transposed ones cannot: no template
  has them in plain layout. Those of a GPU are plain if they have a single output, and only then;
- pools of enough channels are blocked: convolutions around them are, too;
- smaller pools, spatial reductions and injective kernels can be either, if they keep to their channel or move whole
  blocks; on a GPU also if they move parts of blocks, which takes fewer trips to memory than to leave the blocks for
  that; and reductions there can read blocks and write plain memory;
- all else is plain.

Blocks have one size, the vector's. With half of it 24 channels would need no padding, but three vectors of half the
lanes for two whole ones: 3 x 24 multiply-adds a point and tap instead of 2 x 32, and relayouts where 32 channels or
Winograd's algorithm follow.

A GPU computes batches, and has their images side by side in each block: then channels of all of them are one range of
memory, so that joins and slices along the channels are views (`find-views`) as they are in a single image. A thread
reads 16 bytes of any block; nothing is lost where they are further apart.
"""

from __future__ import annotations

from math import prod

from xdsl.dialects.builtin import bf16, f16, f32
from xdsl.ir import Operation, SSAValue

from convc.ir.attributes import element_type, shape_of, with_layout
from convc.ir.data import (
    BroadcastOp,
    CastOp,
    ConcatOp,
    PadOp,
    ResizeOp,
    ShuffleOp,
    SliceOp,
)
from convc.ir.elementwise import ElementwiseOp
from convc.ir.kernel import KernelOp
from convc.ir.layout import (
    Layout,
    blocked_activation,
    blocked_weight,
    chunked_activation,
    chunked_transposed_weight,
    chunked_weight,
    transposed_weight,
)
from convc.ir.neural import MatMulOp, ReduceOp
from convc.ir.windows import ConvOp, ConvTransposeOp, PoolOp
from convc.passes.rewriting import detached, set_type, weight_behind

_FLOATS = (f32, f16, bf16)
_STREAM = 8
"""Vectors of sums that hide the latency of the multiply-adds: two begin each cycle and take four."""


def alternatives(kernel: KernelOp, block: int, *, chunks: bool) -> list[KernelOp]:
    """Copies of a kernel in each of the layouts that it can compute in, which stand in no module. `block` channels are
    a block; `chunks` are blocks as a GPU wants them (`AssignLayouts`)."""
    blocked, plain = _blocked(kernel, block, chunks), True
    anchor = kernel.anchor
    if blocked and isinstance(anchor, ConvOp | ConvTransposeOp):
        outputs = shape_of(anchor.result)[1]
        plain = outputs == 1 if chunks else outputs < block and isinstance(anchor, ConvOp)
        blocked = not (chunks and plain)
    elif blocked and isinstance(anchor, PoolOp):
        plain = shape_of(anchor.x)[1] < block
    found = [_in_blocks(kernel, block, chunks)] if blocked else []
    if chunks and blocked and isinstance(anchor, ReduceOp):
        found.append(_out_of_blocks(kernel, block))
    return [*found, _in_rows(kernel, block, chunks)] if plain else found


def adopt(kernel: KernelOp, alternative: KernelOp) -> None:
    """Give a kernel the layouts of one of its alternatives. Its operands keep their own."""
    for value, other in zip(_values(kernel), _values(alternative), strict=True):
        set_type(value, other.type)


def _values(kernel: KernelOp) -> list[SSAValue]:
    return [*kernel.block.args, *(value for op in kernel.block.ops for value in op.results), *kernel.outputs]


def _blocked(kernel: KernelOp, block: int, chunks: bool) -> bool:
    """Whether a kernel can compute in blocks."""
    ops = kernel.ops
    values = [*kernel.outputs, *(value for op in ops for value in op.results)]
    if any(element_type(value) not in _FLOATS for value in values) or len(shape_of(kernel.yielded[0])) not in (3, 4, 5):
        return False
    anchor = kernel.anchor
    if isinstance(anchor, ConvOp | ConvTransposeOp):
        return _keeps_groups(anchor, block)
    return bool(ops) and all(_indifferent(op, 1 if chunks else block) for op in ops)


def _keeps_groups(op: ConvOp | ConvTransposeOp, block: int) -> bool:
    """Dense and depthwise convolutions; grouped ones if no block holds channels of two groups."""
    group = op.group.value.data
    channels, outputs = shape_of(op.x)[1], shape_of(op.result)[1]
    if group == 1 or (isinstance(op, ConvOp) and group == channels == outputs):
        return True
    return isinstance(op, ConvOp) and channels // group % block == 0 and outputs // group % block == 0


def _indifferent(op: Operation, block: int) -> bool:
    """Whether an operation is as good in blocks: it keeps to its channel, or moves so many channels, or multiples of
    that, at once."""
    rank = len(shape_of(op.results[0]))
    if rank < 3:
        return False
    match op:
        case ElementwiseOp() | BroadcastOp() | CastOp() | PoolOp():
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
        case ShuffleOp():
            return block == 1
        case ResizeOp():
            return shape_of(op.x)[1] == shape_of(op.result)[1]
        case _:
            return False


def _in_rows(kernel: KernelOp, block: int, chunks: bool) -> KernelOp:
    """In plain layout; the `[N, K]` weights of a product as OI{b}o, which a product with a vector reads as one stream
    of several vectors."""
    copy = detached(kernel)
    op = copy.anchor
    if chunks or not isinstance(op, MatMulOp) or op.b not in copy.block.args:
        return copy
    if op.transpose_b is None or len(shape_of(op.b)) != 2 or element_type(op.b) != f32:
        return copy
    position = copy.block.args.index(op.b)
    if weight_behind(copy.operands[position]) is not None:
        vectors = min(_STREAM, -(-shape_of(op.b)[0] // block)) if prod(shape_of(op.a)[:-1]) == 1 else 1
        set_type(op.b, with_layout(op.b.type, blocked_weight(2, vectors * block)))
        set_type(copy.operands[position], op.b.type)
    return copy


def _in_blocks(kernel: KernelOp, block: int, chunks: bool) -> KernelOp:
    """With the channels of all values in blocks, where there are several."""
    copy = detached(kernel)
    shape = shape_of(copy.yielded[0])
    activation = (chunked_activation if chunks else blocked_activation)(len(shape), block)
    layouts: dict[SSAValue, Layout | None] = {}
    anchor = copy.anchor
    convolves = isinstance(anchor, ConvOp | ConvTransposeOp)
    for each in _values(copy):
        own = shape_of(each)
        several = len(own) == len(shape) and own[1] > 1
        layouts[each] = activation if several or (convolves and own == shape) else None
    if isinstance(anchor, ConvOp | ConvTransposeOp):
        layouts.update(_convolution_layouts(anchor, activation, block, chunks))
        # What is converted as it is read lies as the anchor wants it.
        layouts.update({op.x: layouts[op.result] for op in copy.ops if isinstance(op, CastOp)})
    for each, layout in layouts.items():
        if element_type(each) in _FLOATS:
            set_type(each, with_layout(each.type, layout))
    return _agreeing(copy)


def _out_of_blocks(kernel: KernelOp, block: int) -> KernelOp:
    """With channels in blocks up to the anchor, and plain from there on: what a classifier reads after a global pool.
    For a single image the two are the same memory, for several they are not."""
    copy = _in_blocks(kernel, block, chunks=True)
    anchor = copy.anchor
    assert anchor is not None
    blocked = set(anchor.operands)
    for op in reversed(copy.ops):
        if blocked.intersection(op.results):
            blocked.update(op.operands)
    for each in _values(copy):
        if each not in blocked:
            set_type(each, with_layout(each.type, None))
    return _agreeing(copy)


def _agreeing(kernel: KernelOp) -> KernelOp:
    """The kernel, with its operands and results of the types that they have inside."""
    for outer, inner in zip((*kernel.operands, *kernel.outputs), (*kernel.block.args, *kernel.yielded), strict=True):
        set_type(outer, inner.type)
    return kernel


def _convolution_layouts(
    op: ConvOp | ConvTransposeOp, activation: Layout, block: int, chunks: bool
) -> dict[SSAValue, Layout | None]:
    rank = activation.rank
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
