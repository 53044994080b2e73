"""What TMA copies of a convolution's operands: boxes of the input and of the weights, as tensor maps say them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm import tirx

from convc.runtime.cuda.launch import ELEMENT_BYTES
from convc.targets.cuda.conv import Geometry
from convc.targets.cuda.emitter import BufferEmitter
from convc.targets.cuda.hopper_tiling import MOST_BOX, HopperProblem, HopperTile, best_box
from convc.targets.cuda.target import ACCESS_BYTES
from convc.targets.cuda.tensor_maps import tensor_map
from convc.targets.indexing import unravelled

_ELEMENTS = ACCESS_BYTES // ELEMENT_BYTES
"""Of a chunk, as tensor maps count."""
_MOST_RANK = 5
_MOST_STEP = 8


class View:
    """A convolution as tensor maps see it: the positions of a window of one, which are also the input's, as one long
    row. `wide` maps take the channels of neighbouring positions as one dimension, which those of strides cannot."""

    def __init__(self, conv: Geometry) -> None:
        self.conv = conv
        self.flat = conv.taps == 1 and tuple(conv.spatial) == tuple(conv.image) and not any(conv.pads)
        self.image, self.extents = tuple(conv.image), (conv.batch, *conv.spatial)
        self.window, self.strides, self.pads, self.dilations = conv.window, conv.strides, conv.pads, conv.dilations
        if self.flat:
            self.image, self.extents = (prod(conv.image),), (conv.batch, prod(conv.image))
            self.window, self.strides, self.pads, self.dilations = (1,), (1,), (0,), (1,)
        self.wide = self.strides[-1] == 1

    def fits(self) -> bool:
        """Whether there is a tensor map for it that pays. The first layer of a network with a stride is none: TMA would
        copy lines of 16 bytes for products of few channels, which threads do as fast."""
        rank = len(self.image) + (2 if self.wide else 3)
        return rank <= _MOST_RANK and max(self.strides) <= _MOST_STEP and (self.wide or self.conv.inputs > 1)

    def problem(self) -> HopperProblem:
        """What the choice of a tile asks of it."""
        conv = self.conv
        limits = [MOST_BOX, *((MOST_BOX - 1) // stride + 1 for stride in self.strides)]
        if self.wide:
            limits[-1] = MOST_BOX // _ELEMENTS
        counts = conv.outputs, conv.columns, conv.group, conv.inputs, conv.taps
        return HopperProblem(self.extents, tuple(limits), self.wide, *counts, conv.result_bytes)


class Boxes:
    """The boxes of a tile, numbered: for each tap of the window the chunks of channels, `tile.blocks` at a time. A tile
    is a place: the position of its box of results, its number among those of columns, its group."""

    def __init__(self, emitter: BufferEmitter, conv: Geometry, tile: HopperTile) -> None:
        self.emitter, self.conv, self.tile = emitter, conv, tile
        self.view = View(conv)
        problem = self.view.problem()
        self.box = best_box(tile.rows, problem.extents, problem.limits)
        self.run = problem.runs(tile.columns)
        self.segments = -(-conv.inputs // tile.blocks)
        self.count = conv.taps * self.segments

    def a_map(self) -> tirx.Var:
        """Of the input: channels of neighbours in a row, rows ..., images, chunks, as they lie in memory, and as a tile
        has them in shared memory."""
        conv, view = self.conv, self.view
        shape, box, steps = [_ELEMENTS], [_ELEMENTS], [1]
        extents = [*reversed(view.image), conv.batch, conv.x_blocks]
        sides = [*reversed(self.box[1:]), self.box[0], self.tile.blocks]
        jumps = [*reversed(view.strides), 1, 1]
        image = prod(view.image) * ACCESS_BYTES
        distances = [ACCESS_BYTES * prod(view.image[i + 1 :]) for i in reversed(range(len(view.image)))]
        distances += [image, conv.batch * image]
        shape += extents
        box += [(side - 1) * jump + 1 for side, jump in zip(sides, jumps, strict=True)]
        steps += jumps
        if view.wide:
            shape[:2], box[:2], steps[:2] = [shape[1] * _ELEMENTS], [box[1] * _ELEMENTS], [1]
            distances = distances[1:]
        return tensor_map("a_map", self.emitter.buffers[conv.x], shape, distances, box, steps)

    def a_place(self, origin: Sequence[Any], group: Any, number: Any) -> list[Any]:
        """Where the input of a box begins, the innermost dimension first."""
        conv, view = self.conv, self.view
        n, *corner = origin
        tap = unravelled(number // self.segments, view.window) if conv.taps > 1 else [0] * len(view.window)
        place = [
            o * s + k * d - p
            for o, s, k, d, p in zip(corner, view.strides, tap, view.dilations, view.pads, strict=True)
        ]
        block = number % self.segments * self.tile.blocks
        if conv.group > 1:
            block = group * conv.inputs + block
        if self.count % self.tile.boxes:  # beyond the last one: zeros
            block = tirx.Select(number < self.count, block, conv.x_blocks)
        *outer, last = place
        return [*([last * _ELEMENTS] if view.wide else [0, last]), *reversed(outer), n, block]

    def b_map(self) -> tirx.Var:
        """Of the weights: channels of neighbouring outputs, a tile's in one run or two, taps, chunks; of a box, the
        part that one block of a cluster loads."""
        conv, tile = self.conv, self.tile
        outputs = conv.outputs * conv.group
        shape, strides = [conv.taps, conv.inputs], [outputs * ACCESS_BYTES, conv.taps * outputs * ACCESS_BYTES]
        box = [1, tile.blocks // tile.sharing]
        if self.run < tile.columns:
            shape = [outputs // self.run, *shape]
            strides = [self.run * ACCESS_BYTES, *strides]
            box = [tile.columns // self.run, *box]
            outputs = self.run
        shape, box = [outputs * _ELEMENTS, *shape], [self.run * _ELEMENTS, *box]
        return tensor_map("b_map", self.emitter.buffers[conv.w], shape, strides, box, [1] * len(shape))

    def b_place(self, column_tile: Any, group: Any, rank: Any, number: Any) -> list[Any]:
        """Where a block's part of the weights of a box begins; beyond the last box there are none."""
        conv, tile = self.conv, self.tile
        column = column_tile * tile.columns + conv.first(group)
        first = [column * _ELEMENTS] if self.run == tile.columns else [0, self.emitter.simplify(column // self.run)]
        part = rank * (tile.blocks // tile.sharing)
        return [*first, number // self.segments, number % self.segments * tile.blocks + part]
