"""The analytic model of register tiles and tasks: which tilings of a contraction to try, best first.

It counts cycles of one core that starts two vector operations a cycle, as x86-64 cores with wide vectors do and the
larger aarch64 ones. What matters is the order of the tilings, and that the first is good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import ceil, prod
from typing import TypeAlias

from convc.targets.cpu.axes import Axis
from convc.targets.cpu.contraction import Contraction, Tiling
from convc.targets.target import CpuTarget

LATENCY = 4  # cycles from one multiply-add to the next on the same register
LOADS = 1.3  # a cycle: cores that start two reach this, measured with tiles that load an element for each sum
_L2_BYTES = 32  # a cycle, from the second cache to the first
STREAM_BYTES = 4.5  # a cycle, from beyond the second cache: a core's share of memory
TILE = 24  # cycles around a tile: addresses, loop, first loads
EFFICIENCY = 0.92  # of the speed by this model, what the products of a whole layer reach
STORE = 2  # cycles to finish and store one vector
_BLOCKS = 6  # output blocks in a tile, at the most
_TASKS = 16  # enough for threads that take from each other to end together
_LEAST_TASKS = 4  # where more would read something again
_REMOTE = 2.5  # how much longer a byte that another core wrote takes to come than one of weights: 6 ns a line or 2.5
_FEW_ROWS = 4  # the least that a band with a padded copy of its own should have: it reads a window's rows more
_UNROLLED = 2  # steps of a loop over the channels of a block: enough to hide the loop itself
_WHOLE = 300  # instructions: LLVM leaves no loop of a window whose body, all taps written out, is as short
_SPILT = 2  # cycles of an element on the stack: stored once, loaded once


Fits: TypeAlias = Callable[[int, int, int], bool]
"""Whether a register tile of some height, width and blocks can be used."""


def _any(height: int, width: int, blocks: int) -> bool:
    return True


def tilings(
    c: Contraction, x_size: int, w_size: int, target: CpuTarget, count: int = 6, fits: Fits = _any
) -> list[Tiling]:
    """Up to `count` tilings, best first; `x_size` and `w_size` are the elements of the operands."""
    tiles = (tile for tile in _register_tiles(c, target) if fits(*tile))
    ranked = sorted(tiles, key=lambda tile: _cycles(c, target, *tile))
    return [_tasks(c, target, x_size, w_size, *tile) for tile in ranked[:count]]


def cycles(c: Contraction, target: CpuTarget, fits: Fits = _any) -> float:
    """The time of a contraction in its best register tile, while its operands come from the second cache."""
    around = prod(axis.extent for axis in c.outer) * c.groups
    return around * min(_cycles(c, target, *tile) for tile in _register_tiles(c, target) if fits(*tile))


def flattened(c: Contraction, target: CpuTarget) -> Contraction:
    """The contraction with its rows as one, where they can be and that is faster: fewer tiles are cut short."""
    forms = [c, replace(c, flat=True)] if c.can_be_flat else [c]
    return min(forms, key=lambda form: cycles(form, target))


def _register_tiles(c: Contraction, target: CpuTarget) -> Iterator[tuple[int, int, int]]:
    """(height, width, blocks) that fit the registers, beside a vector of w a block and an element of x."""
    vectors = max(1, c.block // target.lanes(c.dtype))
    alone = c.rows.extent * c.columns.extent == 1  # a product with a vector: only blocks fill the pipeline
    for blocks in range(1, min(c.blocks, 8 if alone else _BLOCKS) + 1):
        room = (target.vector_registers - 1) // (blocks * vectors) - 1
        if not room and blocks * vectors < target.vector_registers:
            room = 1  # a single point takes each vector of w once, straight from memory
        for width in range(1, min(c.columns.extent, room) + 1):
            yield 1, width, blocks
            if width == c.columns.extent:
                yield from ((height, width, blocks) for height in range(2, min(c.rows.extent, room // width) + 1))


def _weight_bytes(c: Contraction, blocks: int) -> int:
    """Of the weights of a tile's outputs."""
    return 4 * c.steps * blocks * c.block


def _depth(c: Contraction, target: CpuTarget, blocks: int) -> int:
    """How much of the outermost reduction axis a pass takes: all of it, unless the weights of a tile's outputs would
    leave the second cache before the next tile wants them. Those of a pass stay in the first."""
    whole, size = c.reduction[0].extent, _weight_bytes(c, blocks)
    one_tile, one_axis = c.rows.extent * c.columns.extent == 1, all(axis.extent == 1 for axis in c.reduction[1:])
    if size <= target.l2_bytes / 2 or one_tile or one_axis:
        return whole
    most = whole * target.l1_bytes // size
    return next((n for n in range(most, most // 2, -1) if whole % n == 0), whole)


def _cycles(c: Contraction, target: CpuTarget, height: int, width: int, blocks: int) -> float:
    """The time of all tiles of one group at one place along the outer axes, those of the remainders included."""
    vectors = blocks * max(1, c.block // target.lanes(c.dtype))
    beyond_l1 = _weight_bytes(c, blocks) > target.l1_bytes

    def tile(high: int, wide: int) -> float:
        points = high * wide
        sums = points * vectors
        step = max(sums / 2, (points + vectors) / LOADS, LATENCY)
        if beyond_l1:
            step = max(step, vectors * target.vector_bits / 8 / _L2_BYTES)
        return c.steps * step + TILE + STORE * sums + _SPILT * _spilt(c, target, high, wide, vectors)

    total = 0.0
    for rows, high in _parts(c.rows, height):
        # Where there is a single row its last tile overlaps the one before; else it has a size of its own.
        parts = _parts(c.columns, width) if c.rows.extent > 1 else [(ceil(c.columns.extent / width), width)]
        total += sum(rows * tiles * tile(high, wide) for tiles, wide in parts)
    return total * ceil(c.blocks / blocks)


def _spilt(c: Contraction, target: CpuTarget, high: int, wide: int, vectors: int) -> int:
    """How often a tile stores an element of x on the stack: where LLVM writes all taps of a window out, it loads an
    element once for all the points and taps that want it, and registers beside the sums are few."""
    points = high * wide
    free = target.vector_registers - points * vectors - vectors - 1
    body = points * vectors + points + vectors
    inside = 1
    for axis in reversed(c.reduction):
        inside *= axis.extent
        if inside * body > _WHOLE:
            return 0
        if common := _common_taps(c, axis):
            kept = inside // axis.extent * high * (wide - 1) * common
            return max(0, kept - free) * (c.steps // inside)
    return 0


def _parts(axis: Axis, size: int) -> list[tuple[int, int]]:
    """(how many, how long): the whole tiles along an axis, and the rest."""
    whole, rest = divmod(axis.extent, size)
    return [(whole, size)] + ([(1, rest)] if rest else [])


def _tasks(c: Contraction, target: CpuTarget, x_size: int, w_size: int, height: int, width: int, blocks: int) -> Tiling:
    """What a task computes, so that each operand comes from beyond the second cache once, or as few times as possible:

    - some outputs of an image, where all of it stays in the cache beside the weights that pass by; or of a band for
      each core, which then reads the rows that it wrote itself, where all weights come again for less than that saves;
    - all outputs of a band of rows, where all weights stay in the cache;
    - some outputs of a band, where neither fits; of an image, if what a pass reads of it does.
    """
    item = 4
    unrolled = 1 if _overlaps(c) else _UNROLLED
    columns, depth = ceil(c.blocks / blocks), _depth(c, target, blocks)
    banded, step = (c.rows.extent, height) if c.rows.extent > 1 else (c.columns.extent, width)
    around = prod(axis.extent for axis in c.outer) * c.groups
    image = item * x_size / around

    def rounded(size: float) -> int:
        return min(max(ceil(size / step), 1) * step, banded)

    if image <= target.l2_bytes / 4:
        bands = ceil(_LEAST_TASKS / (around * columns))
        by_core = min(target.cores, _LEAST_TASKS)
        if item * w_size <= _REMOTE * image and banded >= by_core * _FEW_ROWS:
            bands = max(bands, by_core)
        share = max(1, min(around * columns // _TASKS, columns))
        return Tiling(height, width, blocks, unrolled, rounded(banded / bands), share, depth)
    if item * w_size <= target.l2_bytes / 2:
        fits = target.l2_bytes / 4 / (image / banded)
        band = rounded(min(banded * around / _TASKS, fits))
        if _rows_overlap(c):
            band = max(band, rounded(_FEW_ROWS))
        return Tiling(height, width, blocks, unrolled, band, columns, depth)
    whole = max(c.reduction[0].extent, 1)
    bands = ceil((_TASKS if depth == whole else _LEAST_TASKS) / (around * columns))
    fits = target.l2_bytes / 2 / (image * max(depth, 1) / whole / banded)
    share = columns if fits < banded and item * w_size < image else 1
    return Tiling(height, width, blocks, unrolled, rounded(min(banded / bands, fits)), share, depth)


def _rows_overlap(c: Contraction) -> bool:
    """Whether a row of points reads inputs that the next one reads too, as by a window of several rows."""
    image = c.rows.x * c.rows.extent
    return any(axis.x < image and (axis.extent - 1) * axis.x >= c.rows.x for axis in c.reduction)


def _overlaps(c: Contraction) -> bool:
    """Whether neighbouring points share inputs along the innermost reduction axis, as in a plain first layer. LLVM
    would keep those of unrolled steps in registers, and have none left for the sums."""
    inner = next((axis for axis in reversed(c.reduction) if axis.extent > 1), c.reduction[-1])
    return _common_taps(c, inner) > 0


def _common_taps(c: Contraction, axis: Axis) -> int:
    """For how many steps of a reduction axis a point reads what its neighbour along the columns reads at others."""
    if not axis.x or c.columns.x % axis.x:
        return 0
    apart = c.columns.x // axis.x
    return max(axis.extent - apart, 0) if apart else 0
