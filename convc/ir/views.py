"""Values that are views of others' memory: reshapes, slices and joins that move nothing.

In memory order a tensor is a list of digits, outermost first: a blocked axis has two. A slice or a join along an axis
whose first digit is the outermost of all is a contiguous range. So a join costs nothing if its parts are computed
where they lie in it, and a chain of joins, each of all before and one more (a DenseNet), is one buffer that grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

from xdsl.ir import Attribute, Block, SSAValue

from convc.ir.attributes import element_type, layout_of, physical_shape, shape_of
from convc.ir.data import ConcatOp, RelayoutOp, ReshapeOp, SliceOp
from convc.ir.dtypes import to_numpy
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_chunk, filled

ALIGNMENT = 64
"""Bytes: what kernels assume of their operands. A cache line, and the widest vector."""
_CHUNK_ALIGNMENT = 16
"""Of operands in the chunks of a GPU: what a thread or TMA reads at once."""


def nbytes(value: SSAValue | Attribute) -> int:
    """The memory that a value takes up in its layout, in bytes."""
    return prod(physical_shape(value)) * to_numpy(element_type(value)).itemsize


def moves_nothing(x: SSAValue | Attribute, changed: SSAValue | Attribute) -> bool:
    """Whether a value lies in the same memory with its layout changed: as 16 channels of one pixel each do."""
    return nbytes(x) == nbytes(changed) and _digits(x) == _digits(changed)


def slice_offset(op: SliceOp) -> int | None:
    """Where in x's memory a slice begins, in bytes; None if it is no aligned range of it."""
    shape, sizes, starts = shape_of(op.x), shape_of(op.result), op.starts.get_values()
    if layout_of(op.x) != layout_of(op.result) or any(s != 1 for s, n in zip(op.steps.get_values(), sizes) if n > 1):
        return None
    cut = [axis for axis, (size, whole) in enumerate(zip(sizes, shape)) if size != whole]
    if not cut:
        return 0
    axis, block = cut[0], _block(op.x, cut[0])
    whole_blocks = starts[axis] % block == 0 and (sizes[axis] % block == 0 or starts[axis] + sizes[axis] == shape[axis])
    if len(cut) > 1 or not whole_blocks or not _is_outermost(op.x, axis):
        return None
    return _aligned(starts[axis] * (nbytes(op.x) // _padded(op.x, axis)), op.x)


def part_offsets(op: ConcatOp) -> list[int] | None:
    """Where in the result's memory each part lies, in bytes; None if some part is no aligned range of it."""
    axis = op.axis.value.data
    block = _block(op.result, axis)
    sizes = [shape_of(part)[axis] for part in op.parts]
    same = all(layout_of(part) == layout_of(op.result) for part in op.parts)
    if not same or not _is_outermost(op.result, axis) or any(size % block for size in sizes[:-1]):
        return None
    unit = nbytes(op.result) // _padded(op.result, axis)
    offsets = [_aligned(sum(sizes[:i]) * unit, op.result) for i in range(len(sizes))]
    return [offset for offset in offsets if offset is not None] if None not in offsets else None


@dataclass
class Placement:
    """Which value's memory each value of @main lies in, and where in it. A `root` owns memory: a kernel's result, an
    argument, a weight, or a join. `misplaced` are the (join, number of the part) that would have to be copied."""

    misplaced: list[tuple[ConcatOp, int]] = field(default_factory=list)
    _alias: dict[SSAValue, tuple[SSAValue, int]] = field(default_factory=dict)

    @staticmethod
    def of(block: Block) -> Placement:
        """The placement of the values in the block of @main. Joins, slices and layout changes outside of kernels must
        be views, but for the misplaced parts of joins."""
        found = Placement()
        joins = []
        for op in block.ops:
            if isinstance(op, ReshapeOp | RelayoutOp):
                found._alias[op.result] = (op.x, 0)
            elif isinstance(op, SliceOp):
                offset = slice_offset(op)
                assert offset is not None, f"{op} is no view"
                found._alias[op.result] = (op.x, offset)
            elif isinstance(op, ConcatOp):
                joins.append(op)
        fixed = set(_returned_roots(found, block))
        # The last join first: those before are ranges of it, if their parts are.
        for join in reversed(joins):
            found._place(join, fixed)
        return found

    def root(self, value: SSAValue) -> tuple[SSAValue, int]:
        """The value whose memory a value lies in, and the byte offset in it."""
        offset = 0
        while value in self._alias:
            value, further = self._alias[value]
            offset += further
        return value, offset

    def _place(self, join: ConcatOp, fixed: set[SSAValue]) -> None:
        offsets = part_offsets(join)
        assert offsets is not None, f"{join} is no view"
        roots = [self.root(part) for part in join.parts]
        if join.result not in self._alias and join.result not in fixed and _in_a_row(roots, offsets, join):
            self._alias[join.result] = roots[0]
            return
        base, begin = self.root(join.result)
        for number, ((root, at), offset, part) in enumerate(zip(roots, offsets, join.parts, strict=True)):
            if (root, at) == (base, begin + offset):
                continue
            # Again, since a value may be two parts of one join.
            root, at = self.root(part)
            is_free = isinstance(root.owner, KernelOp | ConcatOp) and root not in fixed and root is not base
            if is_free and at == 0 and nbytes(root) == nbytes(part):
                self._alias[root] = (join.result, offset)
            else:
                self.misplaced.append((join, number))


def _in_a_row(roots: Sequence[tuple[SSAValue, int]], offsets: Sequence[int], join: ConcatOp) -> bool:
    """Whether all parts lie in one other buffer already, as they do in the join."""
    base, begin = roots[0]
    return isinstance(base.owner, ConcatOp) and all(
        root is base and at == begin + offset for (root, at), offset in zip(roots, offsets)
    )


def _returned_roots(placement: Placement, block: Block) -> Iterable[SSAValue]:
    last = block.last_op
    assert last is not None
    return (placement.root(value)[0] for value in last.operands)


def _digits(value: SSAValue | Attribute) -> list[tuple[int, int, int]]:
    """(axis, elements of the axis that a step moves, steps) in memory order, those of one step left out, neighbours
    that count as one joined."""
    layout, shape = layout_of(value), shape_of(value)
    if layout is None:
        found = [(axis, 1, size) for axis, size in enumerate(shape)]
    else:
        physical = layout.physical_shape(shape)
        found = [(axis, layout.block(axis), n) for axis, n in zip(layout.outer, physical)]
        for position, (axis, size) in enumerate(layout.blocks):
            finer = prod(n for other, n in layout.blocks[position + 1 :] if other == axis)
            found.append((axis, finer, size))
    merged: list[tuple[int, int, int]] = []
    for axis, step, count in found:
        if count == 1:
            continue
        if merged and merged[-1][0] == axis and merged[-1][1] == step * count:
            count *= merged.pop()[2]
        merged.append((axis, step, count))
    return merged


def _is_outermost(value: SSAValue, axis: int) -> bool:
    digits = _digits(value)
    return bool(digits) and digits[0][0] == axis and digits[0][1] <= _block(value, axis)


def _block(value: SSAValue, axis: int) -> int:
    layout = layout_of(value)
    return layout.block(axis) if layout else 1


def _padded(value: SSAValue, axis: int) -> int:
    """The extent of an axis with the padding of its last block."""
    return filled(shape_of(value)[axis], _block(value, axis))


def _aligned(offset: int, whole: SSAValue) -> int | None:
    alignment = _CHUNK_ALIGNMENT if channel_chunk(layout_of(whole)) else ALIGNMENT
    return offset if offset % alignment == 0 else None
