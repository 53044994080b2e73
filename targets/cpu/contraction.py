"""What convolutions and matrix products have in common: sums of products of x and w over some reduction axes.

    y[point, block, lane] = sum over r of x[point, r] * w[block, r, lane]

Points are the batch and the output positions (the rows, in a matrix product); blocks and lanes are the output
channels. Both operands are seen as flat memory, so an axis is nothing but its extent and strides. `register_tile`
writes a contraction out, cut as a `Tiling` says; `tiling` has the best for a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T
from tvm import tirx

from convc.targets.cpu.axes import Axis


@dataclass(frozen=True)
class Window:
    """What the taps of a reduction axis, `axis` by its number, read along rows or columns: tap t of point i reads place
    `i * stride - pad + t * dilation` of x, which is zero before 0 and from `size` on."""

    axis: int
    stride: int
    pad: int
    dilation: int
    size: int

    def reading(self, first: Any, last: Any, taps: int) -> tuple[Any, Any]:
        """(first, how many): the taps outside of which all those of some neighbouring points read zeros."""
        first, last = tirx.const(0, "int32") + first, tirx.const(0, "int32") + last
        begin = T.max((self.pad + self.dilation - 1 - last * self.stride) // self.dilation, 0)
        end = T.min((self.pad + self.size - 1 - first * self.stride) // self.dilation + 1, taps)
        return begin, T.max(end - begin, 0)


@dataclass(frozen=True)
class Contraction:
    """`points` and `reduction` are in memory order; the first `around` point axes are never those of a tile, and may
    have weights of their own. A group has `blocks` output blocks of `block` lanes, and its inputs start `group_stride`
    elements of x after those of the group before. The first point's first inputs and weights are at `x_base` and
    `w_base`. Where `flat`, the last two point axes that have an extent, which follow one another in memory, are one row
    of points. Taps of a `row_window` or a `column_window` that read zeros all over a tile are left out."""

    points: tuple[Axis, ...]
    reduction: tuple[Axis, ...]
    blocks: int
    block: int
    block_stride: int
    groups: int = 1
    group_stride: int = 0
    dtype: str = "float32"
    x_base: int = 0
    w_base: int = 0
    around: int = 0
    flat: bool = False
    row_window: Window | None = None
    column_window: Window | None = None

    @property
    def multiplications(self) -> int:
        """Scalar multiply-adds."""
        return prod(axis.extent for axis in (*self.points, *self.reduction)) * self.groups * self.blocks * self.block

    @property
    def steps(self) -> int:
        """Steps of the reduction."""
        return prod(axis.extent for axis in self.reduction)

    @property
    def rows(self) -> Axis:
        """The last point axis but one that has an extent, or a single row."""
        return self._tiled[-2] if len(self._tiled) > 1 and not self.flat else Axis(1, 0)

    @property
    def columns(self) -> Axis:
        """The last point axis that has an extent, or a single point."""
        if self.flat:
            rows, columns = self._tiled[-2:]
            return Axis(rows.extent * columns.extent, columns.x)
        return self._tiled[-1] if self._tiled else Axis(1, 0)

    @property
    def can_be_flat(self) -> bool:
        """Whether each row of points follows the one before without a seam."""
        return len(self._tiled) > 1 and self.rows.x == self.columns.extent * self.columns.x

    @property
    def outer(self) -> tuple[Axis, ...]:
        """The point axes around rows and columns."""
        return (*(axis for axis in self.points[: self.around] if axis.extent > 1), *self._tiled[:-2])

    @property
    def _tiled(self) -> tuple[Axis, ...]:
        return tuple(axis for axis in self.points[self.around :] if axis.extent > 1)

    def coordinates(self, outer: Sequence[Any], row: Any, column: Any) -> list[Any]:
        """The index along each axis of `points` of a point given by outer axes, rows and columns."""
        if self.flat:
            row, column = column // self._tiled[-1].extent, column % self._tiled[-1].extent
        inner = [row, column][2 - min(len(self._tiled), 2) :]
        place = iter([*outer, *inner])
        return [next(place) if axis.extent > 1 else 0 for axis in self.points]


@dataclass(frozen=True)
class Tiling:
    """How a contraction is cut: the register tile; the steps of the innermost reduction axis that are `unrolled`; a
    task's `band` (rows, or columns where there is one row) and its `share` (tiles of output blocks); the part of the
    outermost reduction axis, a divisor, that a pass over the band sums up (its `depth`)."""

    height: int
    width: int
    blocks: int
    unrolled: int
    band: int
    share: int
    depth: int

    def tiles(self, c: Contraction) -> int:
        """Register tiles of a whole band."""
        rows, columns = (self.band, c.columns.extent) if c.rows.extent > 1 else (1, self.band)
        return -(-rows // self.height) * -(-columns // self.width)


def fitted(tiling: Tiling, c: Contraction) -> Tiling:
    """The tiling made to fit a contraction that is smaller than the one it was made for, or of another shape."""
    width = min(tiling.width, c.columns.extent)
    height = min(tiling.height, c.rows.extent) if width == c.columns.extent else 1
    blocks = min(tiling.blocks, c.blocks)
    extent, step = (c.rows.extent, height) if c.rows.extent > 1 else (c.columns.extent, width)
    band = min(-(-tiling.band // step) * step, extent)
    share, whole = min(tiling.share, -(-c.blocks // blocks)), c.reduction[0].extent
    depth = tiling.depth if tiling.depth and whole % tiling.depth == 0 else whole
    return Tiling(height, width, blocks, tiling.unrolled, band, share, depth)
