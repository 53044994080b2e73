"""Tiles of a Winograd convolution: how many there are, and where what is computed of them lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, product
from math import ceil, prod
from typing import Any

from convc.ir.attributes import layout_of, physical_shape, shape_of
from convc.ir.layout import channel_block
from convc.ir.windows import ConvOp, WinogradConvOp, dilations_of, strides_of, window_of
from convc.ir.winograd import ONE, Transforms, along_axes
from convc.targets.cpu.axes import Axis
from convc.targets.cpu.contraction import Contraction


@dataclass(frozen=True)
class Part:
    """The places of a tile that a phase along rows and one along columns have in common (`convc.ir.winograd`): at
    stride 1 there is one part, of all places. A `matrix` of weights is that of one place, or of all those that a phase
    with a single tap has along an axis: its `copies`."""

    phases: tuple[int, int]
    places: tuple[range, range]
    rows: tuple[Sequence[int], Sequence[int]]

    @staticmethod
    def of(plane: tuple[Transforms, Transforms], phases: tuple[int, int]) -> Part:
        y, x = (axis.phases[phase] for axis, phase in zip(plane, phases))
        down, across = (axis.rows[own.start : own.stop] for axis, own in zip(plane, (y, x)))
        return Part(phases, (y, x), (down, across))

    @property
    def matrices(self) -> tuple[int, int]:
        """How many along rows and columns."""
        y, x = (len(set(rows)) for rows in self.rows)
        return y, x

    @property
    def copies(self) -> int:
        """Places that share a matrix."""
        (y, x), places = self.matrices, self.places
        return len(places[0]) * len(places[1]) // (y * x)

    def number(self, i: int, j: int) -> tuple[int, int]:
        """The matrix of place (i, j) of the tile, counted among those of the part, and which of its copies it is."""
        (of_y, of_x), (y, x) = self.matrices, (i - self.places[0].start, j - self.places[1].start)
        matrix = (y if of_y > 1 else 0) * of_x + (x if of_x > 1 else 0)
        return matrix, (0 if of_y > 1 else y) * (1 if of_x > 1 else len(self.places[1])) + (0 if of_x > 1 else x)


@dataclass(frozen=True)
class Geometry:
    """Tiles of a convolution: in each of `batch` images so many along each axis as `tiles` says; blocks of channels in
    each of some groups. Where an axis is dilated, neighbouring tiles have the elements between one another's."""

    transforms: tuple[Transforms, ...]
    batch: int
    tiles: tuple[int, ...]
    inputs: int
    outputs: int
    block: int
    groups: int = 1

    @staticmethod
    def of(op: ConvOp | WinogradConvOp, m: int) -> Geometry:
        """The tiles of a convolution in NCHW{b}c."""
        batch, _, *sizes = shape_of(op.result)
        block, groups = channel_block(layout_of(op.result)), op.group.value.data
        inputs, outputs = (physical_shape(value)[1] // groups for value in (op.x, op.result))
        axes = along_axes(window_of(op), strides_of(op), m)
        between = [min(d, size) for d, size in zip(dilations_of(op), sizes)]
        tiles = [n * ceil(ceil(size / d) / a.m) for n, d, size, a in zip(between, dilations_of(op), sizes, axes)]
        return Geometry(axes, batch, tuple(tiles), inputs, outputs, block, groups)

    @property
    def count(self) -> int:
        return self.batch * prod(self.tiles)

    @property
    def axes(self) -> tuple[int, ...]:
        """The one or two that are transformed, by their numbers."""
        return tuple(number for number, axis in enumerate(self.transforms) if axis.t > 1)

    @property
    def plane(self) -> tuple[Transforms, Transforms]:
        """What is done along those; where there is one, nothing along rows."""
        rows, columns = [ONE, *(self.transforms[axis] for axis in self.axes)][-2:]
        return rows, columns

    @property
    def places(self) -> int:
        """Elements of a tile of inputs."""
        return prod(axis.t for axis in self.transforms)

    @property
    def matrix(self) -> int:
        """Elements of the weights of a group for a place."""
        return self.inputs * self.outputs * self.block**2

    @property
    def weight_bytes(self) -> int:
        """Those of a group."""
        return 4 * prod(axis.d for axis in self.transforms) * self.matrix

    @property
    def tile_bytes(self) -> int:
        """Of a group's transformed inputs and products for a tile."""
        return 4 * self.places * self.block * (self.inputs + self.outputs)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        rows, columns = (range(len(axis.phases)) for axis in self.plane)
        return tuple(Part.of(self.plane, (y, x)) for y, x in product(rows, columns))

    def part_of(self, i: int, j: int) -> Part:
        """The one that place (i, j) belongs to."""
        return next(part for part in self.parts if i in part.places[0] and j in part.places[1])

    def contractions(self, tiles: int, groups: int) -> list[Contraction]:
        """The products of some tiles in some groups, those of each part."""
        x = Places(self, groups * self.inputs, tiles)
        return [self._contraction(part, x, tiles * part.copies, groups) for part in self.parts]

    def _contraction(self, part: Part, x: Places, points: int, groups: int) -> Contraction:
        row, weights, d = points * self.block, self.groups * self.matrix, self.plane[1].d
        rows, columns = part.matrices
        around = (Axis(rows, columns * x.step(part), d * weights), Axis(columns, x.step(part), weights))
        return Contraction(
            points=(*around, Axis(points, self.block)),
            reduction=(Axis(self.inputs, row, self.block * self.block), Axis(self.block, 1, self.block)),
            blocks=self.outputs,
            block=self.block,
            block_stride=self.inputs * self.block * self.block,
            groups=groups,
            group_stride=self.inputs * row,
            x_base=x.begin(part),
            w_base=(part.rows[0][0] * d + part.rows[1][0]) * weights,
            around=len(around),
        )


def operand_sizes(c: Contraction) -> tuple[int, int]:
    """The elements of the transformed inputs and of the weights that the products of a part read."""
    matrices, steps = (prod(axis.extent for axis in axes) for axes in (c.points[: c.around], c.reduction))
    return prod(axis.extent for axis in c.points) * steps * c.groups, matrices * steps * c.groups * c.blocks * c.block


@dataclass(frozen=True)
class Places:
    """Where the vectors at the places of some `tiles` lie in memory, for `channels` blocks of channels: by part,
    matrix, block of channels, tile, copy. So a transform touches the copies side by side."""

    geometry: Geometry
    channels: int
    tiles: int

    def step(self, part: Part) -> int:
        """Elements from one matrix to the next: an odd number of vectors. A transform touches all places of a tile,
        which must not fall into the same few sets of a cache."""
        return (self.channels * part.copies * self.tiles | 1) * self.geometry.block

    def begin(self, part: Part) -> int:
        return self._ends[self.geometry.parts.index(part)]

    @property
    def size(self) -> int:
        """Elements of all."""
        return self._ends[-1]

    def at(self, channel: Any, tile: Any, i: int, j: int) -> Any:
        """The first element of the vector at place (i, j) of a tile."""
        part = self.geometry.part_of(i, j)
        matrix, copy = part.number(i, j)
        return self.vector(part, matrix, (channel * self.tiles + tile) * part.copies + copy)

    def vector(self, part: Part, matrix: Any, number: Any) -> Any:
        """The first element of a matrix's vector by its number: copies, tiles, blocks of channels."""
        return self.begin(part) + matrix * self.step(part) + number * self.geometry.block

    @cached_property
    def _ends(self) -> list[int]:
        sizes = [prod(part.matrices) * self.step(part) for part in self.geometry.parts]
        return list(accumulate(sizes, initial=0))
