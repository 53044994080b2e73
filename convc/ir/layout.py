"""Memory layouts: how a logical tensor lies in memory.

A layout is written as in the literature. `NCHW` is row-major, `NHWC` is channels last, `NCHW8c` splits the
channels into blocks of 8 and moves the block innermost (Georganas et al., SC 2018). Upper-case letters are the
outer axes in memory order; a number and a lower-case letter is a block of that axis.

The logical shape never changes with the layout: axes are always logically N, C, D, H, W (activations) or
O, I, D, H, W (weights). An axis that its block does not divide is padded up, and **the padding holds zeros**:
whoever writes a blocked tensor writes them, so whoever reads it may reduce over whole blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

_LOGICAL_ORDER = "NOCIDHW"
_SYNTAX = re.compile(r"([A-Z]+)((?:[1-9][0-9]*[a-z])*)")


@dataclass(frozen=True)
class Layout:
    """A parsed layout. `outer` is the memory order of the axes, as positions in the logical shape; `blocks`
    holds (logical axis, block size) pairs, innermost last."""

    name: str
    outer: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]

    @staticmethod
    @cache
    def parse(name: str) -> Layout:
        """Parse `NCHW8c`. Raises ValueError for anything that is not a layout."""
        match = _SYNTAX.fullmatch(name)
        letters = match[1] if match else ""
        if not match or len(set(letters)) != len(letters) or set(letters) - set(_LOGICAL_ORDER):
            raise ValueError(f'expected a layout such as "NCHW" or "NCHW8c", got "{name}"')
        logical = sorted(letters, key=_LOGICAL_ORDER.index)
        blocks = []
        for size, letter in re.findall(r"(\d+)([a-z])", match[2]):
            if letter.upper() not in letters:
                raise ValueError(f'layout "{name}" blocks axis {letter.upper()}, which it does not have')
            blocks.append((logical.index(letter.upper()), int(size)))
        return Layout(name, tuple(logical.index(c) for c in letters), tuple(blocks))

    @property
    def rank(self) -> int:
        """The number of logical axes."""
        return len(self.outer)

    def block(self, axis: int) -> int:
        """How many elements of a logical axis lie in its blocks: 1 if it is not split."""
        size = 1
        for blocked, factor in self.blocks:
            size *= factor if blocked == axis else 1
        return size

    def physical_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape in memory of a tensor of this logical shape, padding included."""
        outer = tuple(-(-shape[axis] // self.block(axis)) for axis in self.outer)
        return outer + tuple(size for _, size in self.blocks)

    def physical_index(self, index: Sequence[Any]) -> tuple[Any, ...]:
        """Where in memory the element at a logical index lies. Works on ints and on symbolic expressions."""
        outer = tuple(index[axis] // self.block(axis) if self.block(axis) > 1 else index[axis] for axis in self.outer)
        inner = []
        for position, (axis, size) in enumerate(self.blocks):
            below = 1  # elements spanned by the finer blocks of the same axis
            for finer, factor in self.blocks[position + 1 :]:
                below *= factor if finer == axis else 1
            value = index[axis] // below if below > 1 else index[axis]
            inner.append(value % size)
        return outer + tuple(inner)

    def logical_index(self, index: Sequence[Any]) -> tuple[Any, ...]:
        """The inverse of `physical_index`; a position in the padding maps past the end of its axis."""
        logical: list[Any] = [None] * self.rank
        for position, axis in enumerate(self.outer):
            logical[axis] = index[position]
        for position, (axis, size) in enumerate(self.blocks):
            logical[axis] = logical[axis] * size + index[self.rank + position]
        return tuple(logical)

    def pads(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this logical shape has padding in memory."""
        return any(shape[axis] % self.block(axis) for axis, _ in self.blocks)

    def pack(self, array: np.ndarray) -> np.ndarray:
        """A logical array as it lies in memory: contiguous, of `physical_shape`, padded with zeros."""
        pad = [(0, -size % self.block(axis)) for axis, size in enumerate(array.shape)]
        array = np.pad(array, pad) if any(after for _, after in pad) else array
        split: list[int] = []
        where: dict[int, list[int]] = {}
        for axis, size in enumerate(array.shape):
            factors = [factor for blocked, factor in self.blocks if blocked == axis]
            where[axis] = list(range(len(split), len(split) + 1 + len(factors)))
            split += [size // self.block(axis), *factors]
        order = [where[axis].pop(0) for axis in self.outer]
        order += [where[axis].pop(0) for axis, _ in self.blocks]
        return np.ascontiguousarray(array.reshape(split).transpose(order))

    def unpack(self, array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """The inverse of `pack`: the logical array of this shape, without the padding."""
        # Packing the positions tells where each logical element went, for any nesting of blocks.
        padded = [-(-size // self.block(axis)) * self.block(axis) for axis, size in enumerate(shape)]
        positions = self.pack(np.arange(int(np.prod(padded))).reshape(padded))
        flat = np.empty(positions.size, array.dtype)
        flat[positions.reshape(-1)] = array.reshape(-1)
        return np.ascontiguousarray(flat.reshape(padded)[tuple(slice(size) for size in shape)])

    def __str__(self) -> str:
        return self.name


def blocked_activation(rank: int, block: int) -> Layout:
    """NCW8c, NCHW8c or NCDHW8c: activations of this rank with channels in blocks."""
    return Layout.parse("NC" + "DHW"[5 - rank :] + f"{block}c")


def chunked_activation(rank: int, block: int) -> Layout:
    """CNW8c, CNHW8c or CNDHW8c: the same, but for each block of channels all images side by side. Some channels of a
    batch are a range of memory then, as those of a single image are."""
    return Layout.parse("CN" + "DHW"[5 - rank :] + f"{block}c")


def blocked_weight(rank: int, out_block: int, in_block: int | None = None) -> Layout:
    """OIHW8i8o with an `in_block`, OIHW8o without (first layer, depthwise), of any rank from 2 (dense)."""
    inner = f"{in_block}i" if in_block else ""
    return Layout.parse("OI" + "DHW"[5 - rank :] + f"{inner}{out_block}o")


def transposed_weight(rank: int, block: int) -> Layout:
    """HWIO8o8i: weights of a transposed convolution, whose first axis is that of the input channels. The taps of a
    phase lie apart, but those of all input channels follow one another for each of them: where they come from memory,
    as on images of a few points, they do so as streams. Convolutions of 4 x 4 points then take less than half of the
    time that they took with all taps side by side, those of 8 x 8 points 0.6 to 0.8 (AVX2)."""
    return Layout.parse("DHW"[5 - rank :] + f"IO{block}o{block}i")


def winograd_weight(rank: int, block: int) -> Layout:
    """HWOI8i8o: transformed weights, a matrix for each place of a tile."""
    return Layout.parse("DHW"[5 - rank :] + f"OI{block}i{block}o")


def chunked_weight(rank: int, block: int) -> Layout:
    """IHWO8i: for each tap and block of input channels, all outputs side by side."""
    return Layout.parse("I" + "DHW"[5 - rank :] + f"O{block}i")


def chunked_winograd_weight(block: int) -> Layout:
    """HWIO8i: the same of transformed weights, for each place of a tile."""
    return Layout.parse(f"HWIO{block}i")


def chunked_transposed_weight(rank: int, block: int) -> Layout:
    """OHWI8o: the same for weights of a transposed convolution, whose first axis is that of the input channels."""
    return Layout.parse("O" + "DHW"[5 - rank :] + f"I{block}o")


def channel_block(layout: Layout | None) -> int:
    """The block size of NC..{b}c, or 0 for any other layout."""
    return _block_of(layout, blocked_activation)


def channel_chunk(layout: Layout | None) -> int:
    """The block size of CN..{b}c, or 0 for any other layout."""
    return _block_of(layout, chunked_activation)


def _block_of(layout: Layout | None, activation: Callable[[int, int], Layout]) -> int:
    if layout is None or len(layout.blocks) != 1:
        return 0
    block = layout.blocks[0][1]
    return block if layout == activation(layout.rank, block) else 0


def filled(extent: int, block: int) -> int:
    """The extent of an axis with the padding of its last block."""
    return -(-extent // block) * block
