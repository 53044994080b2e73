"""How movements relate axes: transposes, and reshapes that only insert and remove axes of one element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from convc.ir.attributes import shape_of
from convc.ir.data import ConstantOp, ReshapeOp, TransposeOp, WeightOp
from convc.passes.rules import Rewriter

Axes = tuple[int | None, ...]


@dataclass(frozen=True)
class Movement:
    """Axis i of a moved value is axis `axes[i]` of its source, or a new axis of one element (None). Axes of the
    source that are not named have one element."""

    source: SSAValue
    axes: Axes
    transposes: bool

    @staticmethod
    def of(value: SSAValue) -> Movement | None:
        """The movement that makes a value, if one does."""
        op = value.owner
        if isinstance(op, TransposeOp):
            return Movement(op.x, tuple(op.perm.get_values()), True)
        if not isinstance(op, ReshapeOp):
            return None
        axes = unit_axes(shape_of(op.x), shape_of(value))
        return None if axes is None else Movement(op.x, axes, False)

    @property
    def rank(self) -> int:
        """The number of axes of the source."""
        return len(shape_of(self.source))

    def back(self, axes: Sequence[int]) -> list[int]:
        """Axes of a moved value as axes of its source; new ones are left out."""
        return [axis for i in axes if (axis := self.axes[i]) is not None]

    def back_each(self, entries: Sequence[int], neutral: int) -> list[int] | None:
        """A list with an entry for each axis, as one for each axis of the source. None if an entry does something to
        a new axis."""
        result = [neutral] * self.rank
        for axis, entry in zip(self.axes, entries):
            if axis is not None:
                result[axis] = entry
            elif entry != neutral:
                return None
        return result

    def of_another(self, value: SSAValue, shape: Sequence[int], rewriter: Rewriter) -> SSAValue:
        """The same movement of another value, to the shape that it then has."""
        if not self.transposes:
            return reshaped(value, shape, rewriter)
        return rewriter.emit(TransposeOp(value, [axis for axis in self.axes if axis is not None]))

    def undoes(self, value: SSAValue) -> bool:
        """Whether `undone` knows what this movement makes `value` of, at no cost at run time."""
        shape = shape_of(value)
        same = Movement.of(value)
        if not shape or (same is not None and same.axes == self.axes and same.rank == self.rank):
            return True
        full = of_rank(shape, len(self.axes))
        if len(full) > len(self.axes) or self.back_each(full, 1) is None:
            return False
        # A reshape undone by a reshape could be moved back and forth for ever.
        return isinstance(value.owner, ConstantOp | WeightOp) or (self.transposes and keeps_order(full, self.axes))

    def undone(self, value: SSAValue, rewriter: Rewriter) -> SSAValue:
        """What this movement makes `value` of (up to broadcasting): its own source, or constants and axes of one
        element moved back."""
        shape = shape_of(value)
        same = Movement.of(value)
        if same is not None and same.axes == self.axes and same.rank == self.rank:
            return same.source
        if not shape:
            return value
        full = of_rank(shape, len(self.axes))
        before = self.back_each(full, 1)
        assert before is not None
        if keeps_order(full, self.axes):
            return reshaped(value, before, rewriter)
        inverse = [self.axes.index(axis) for axis in range(self.rank)]
        return rewriter.emit(TransposeOp(reshaped(value, full, rewriter), inverse))


def of_rank(shape: Sequence[int], rank: int) -> tuple[int, ...]:
    """A shape with axes of one element in front, as broadcasting sees it beside one of this rank."""
    return (1,) * (rank - len(shape)) + tuple(shape)


def along(axis: int, rank: int, size: int = -1) -> list[int]:
    """The shape of a vector along one of so many axes: `[1, size, 1, 1]`; without a size as numpy reshapes to it."""
    return [size if i == axis else 1 for i in range(rank)]


def keeps_order(shape: Sequence[int], axes: Axes) -> bool:
    """Whether a movement to this shape is a reshape: the axes of more than one element keep their order."""
    order = [axis for axis, size in zip(axes, shape) if size != 1 and axis is not None]
    return order == sorted(order)


def reshaped(value: SSAValue, shape: Sequence[int], rewriter: Rewriter) -> SSAValue:
    """A value under another shape: itself if it has that shape."""
    return value if shape_of(value) == tuple(shape) else rewriter.emit(ReshapeOp(value, shape))


def unit_axes(before: Sequence[int], after: Sequence[int]) -> Axes | None:
    """For each axis of `after` the axis of `before` that it is, or None for a new one. None if the shapes differ by
    more than axes of one element."""
    axes: list[int | None] = []
    i = 0
    for size in after:
        while size != 1 and i < len(before) and before[i] == 1:
            i += 1
        if i < len(before) and before[i] == size:
            axes.append(i)
            i += 1
        elif size == 1:
            axes.append(None)
        else:
            return None
    return tuple(axes) if all(size == 1 for size in before[i:]) else None


def runs(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """A reshape as pairs of the shortest runs of axes that hold the same elements: (of `before`, of `after`)."""
    result = []
    i = j = 0
    while i < len(before) or j < len(after):
        left, right = list(range(i, min(i + 1, len(before)))), list(range(j, min(j + 1, len(after))))
        i, j = i + len(left), j + len(right)
        sizes = [before[left[0]] if left else 1, after[right[0]] if right else 1]
        while sizes[0] != sizes[1]:
            if sizes[0] < sizes[1]:
                left.append(i)
                sizes[0] *= before[i]
                i += 1
            else:
                right.append(j)
                sizes[1] *= after[j]
                j += 1
        result.append((left, right))
    return result
