"""Which tiles to compute a convolution in by Hopper's matrix instructions: an analytic model of its multiprocessors.

The constants are data sheets' and the prototype's on an H100 (docstrings say which). To be measured on one, by `convc
tune` over all candidates: what a tile costs beside its products (`_BEGIN`, `_END`), whether two blocks a multiprocessor
hide that as the model believes, what TMA takes for a line of 16 bytes (`_LINE`), and where splits stop to pay.

There is no stream-K: by the same model it would take a few per cent off the sum of ResNet-50's convolutions at any
batch (tests/targets/cuda/test_hopper_tiling.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import prod

from convc.targets.cuda.target import ACCESS_BYTES, WARP, CudaTarget

WARPGROUP = 128
WARPGROUP_ROWS = 64
"""Threads that compute a product together, and its rows."""
MOST_BOX = 256
"""Elements of a box along one dimension."""
BARRIER_BYTES = 128
"""Before the ring: two barriers for each of at most eight stages."""
_ROWS = (64, 128, 192, 256)
_DEPTHS = (4, 8)
"""Chunks of a stage, about: 32 or 64 channels."""
_STAGES = (3, 4, 6, 8)
_CLUSTERS = ((1, 1), (2, 1), (3, 1), (4, 1), (6, 1), (8, 1), (1, 2))
"""Blocks of a cluster that share the sum of a tile, at most 8, which every GPU of the architecture can place; and that
share weights."""

_PRODUCTS = 2048
"""Multiply-adds of 16-bit floats a cycle and multiprocessor: 989 TFLOP/s on 132 of them at 1.83 GHz."""
_SHARED = 128
"""Bytes a cycle to and from shared memory."""
_L2 = 43
"""Bytes a cycle from the L2 cache to each multiprocessor: the prototype's 3x3 convolution of 256 channels at 14 x 14,
batch 32, moved so many in tiles of 128 x 128, its launch of 3 us taken off."""
_LINE, _ISSUE = 1, 8
"""Cycles of TMA for each line of a box, or 128 bytes of one, and for each box."""
_LATENCY = 900
"""Cycles from TMA's issue to the arrival of what it loads, when many wait."""
_BEGIN, _END = 1000, 400
"""Cycles of a block before its first product, and after its last one beside what its results take."""
_DISTURBED = 0.1
"""Of the time of what is hidden by something that takes longer, what it costs nevertheless."""
_CLUSTER = 800
"""Cycles of a cluster's barriers."""
_TURN = 100
"""Cycles from a block's last result to the first product of its next tile, which is loaded already."""
_REGISTERS, _WIDE, _MORE_REGISTERS = 32, 128, 48
"""Of a thread, beside its sums: what NVRTC 13.0 takes, 26 to 32, and more beside more columns than _WIDE."""


@dataclass(frozen=True)
class HopperTile:
    """`rows` x `columns` results a block of threads. A stage of the ring holds `boxes` of the input, each `blocks`
    chunks of channels for one tap of the window; `splits` blocks, a cluster, share the sum of a tile."""

    rows: int
    columns: int
    blocks: int
    boxes: int
    stages: int
    splits: int
    resident: int = 0
    """Blocks of a multiprocessor that stay, and take one tile after another; 0 where there is a block for each."""
    sharing: int = 1
    """Blocks of a cluster that compute neighbouring rows of the same columns: each loads a part of all weights."""

    @property
    def depth(self) -> int:
        """Chunks of a stage."""
        return self.blocks * self.boxes

    @property
    def consumers(self) -> int:
        """Threads that multiply; one more warp loads."""
        return self.rows // WARPGROUP_ROWS * WARPGROUP

    @property
    def threads(self) -> int:
        """Of a block."""
        return self.consumers + WARP

    def a_bytes(self, pixels: int) -> int:
        """Of a box of so many pixels in shared memory, where TMA wants it aligned."""
        return -(-self.blocks * pixels * ACCESS_BYTES // 128) * 128

    @property
    def b_bytes(self) -> int:
        """Of the weights that belong to a box."""
        return self.blocks * self.columns * ACCESS_BYTES

    def shared_bytes(self, pixels: int) -> int:
        """What a block takes: barriers and the ring, which sums of a split tile use again."""
        ring = self.stages * self.boxes * (self.a_bytes(pixels) + self.b_bytes)
        # The products' rows beyond the last box read what follows it.
        ring += (self.rows - pixels) * ACCESS_BYTES
        return BARRIER_BYTES + max(ring, self.rows * self.columns * 4 if self.splits > 1 else 0)


@dataclass(frozen=True)
class HopperProblem:
    """A convolution as a product: results at `extents` (batch, then space), `columns` of them for each group; sums over
    `taps` and over `inputs` blocks of channels. Boxes reach at most over `limits`; `wide` ones copy the neighbours of a
    row at once. `outputs` are the columns that there are weights for; `result_bytes` are read and written for each
    result."""

    extents: tuple[int, ...]
    limits: tuple[int, ...]
    wide: bool
    outputs: int
    columns: int
    groups: int
    inputs: int
    taps: int
    result_bytes: int

    def runs(self, columns: int) -> int:
        """How many neighbouring outputs a box's innermost dimension takes of a tile of weights; 0 if it cannot."""
        if columns * 2 <= MOST_BOX:
            return columns
        half = columns // 2
        return half if half * 2 <= MOST_BOX and self.outputs % half == 0 else 0


@cache
def best_box(rows: int, extents: tuple[int, ...], limits: tuple[int, ...]) -> tuple[int, ...]:
    """The box of at most `rows` results that covers the `extents` in the fewest steps, with the longest rows."""
    sides = []
    for extent, limit in zip(extents, limits, strict=True):
        most = min(extent, limit, rows)
        sides.append(sorted({-(-extent // steps) for steps in range(-(-extent // most), extent + 1)}))
    fitting = (box for box in product(*sides) if prod(box) <= rows)
    return min(fitting, key=lambda box: (box_count(box, extents), [-side for side in reversed(box)]))


def box_count(box: Sequence[int], extents: Sequence[int]) -> int:
    """How many boxes cover the extents."""
    return prod(-(-extent // side) for side, extent in zip(box, extents, strict=True))


@cache
def hopper_tiles(problem: HopperProblem, target: CudaTarget) -> tuple[HopperTile, ...]:
    """The tiles that can be used, the best by the model first; none where the shape does not suit."""
    modelled = list(_modelled(problem, target))
    # Of equal ones first those with few boxes and long rings.
    modelled.sort(key=lambda pair: (pair[0], -pair[1].blocks, -pair[1].stages, pair[1].resident))
    return tuple(tile for _, tile in modelled)


def _modelled(problem: HopperProblem, target: CudaTarget) -> Iterator[tuple[float, HopperTile]]:
    results = prod(problem.extents)
    for rows, columns in product(_ROWS, _widths(problem)):
        # As many sums as leave a thread registers for all else.
        if rows * columns > 1 << 15 or (rows > WARPGROUP_ROWS and rows >= 2 * results):
            continue
        pixels = prod(best_box(rows, problem.extents, problem.limits))
        for (blocks, boxes), stages, (splits, sharing) in product(_stages(problem), _STAGES, _CLUSTERS):
            steps = -(-_boxes(problem, blocks) // boxes)
            ring = HopperTile(rows, columns, blocks, boxes, stages, splits, sharing=sharing)
            if splits > 1 and (columns // 8 % splits or splits * 2 > steps):
                continue
            if sharing > 1 and (blocks % sharing or rows >= results):
                continue
            tile = replace(ring, stages=min(stages, steps))
            if tile.shared_bytes(pixels) > target.shared_bytes:
                continue
            if stages <= max(steps, _STAGES[0]):
                yield _cycles(problem, tile, steps, target), tile
            # The ring of a block that stays holds steps of its next tiles, too.
            staying = replace(ring, resident=_resident(ring, pixels, target))
            if splits == 1 and _tiles(problem, tile) > staying.resident * target.multiprocessors > 0:
                yield _cycles(problem, staying, steps, target), staying


def _widths(problem: HopperProblem) -> list[int]:
    """Columns that a tile may have: all that there are in one to eight tiles, and the powers of two; 32 at least."""
    even = {-(-problem.columns // (count * 8)) * 8 for count in range(1, 9)}
    most, least = min(problem.columns, 256), min(problem.columns, 32)
    return [n for n in sorted(even | {32, 64, 128, 256}) if least <= n <= most and problem.runs(n)]


def _stages(problem: HopperProblem) -> list[tuple[int, int]]:
    """(chunks of a box, boxes of a stage): matrix instructions take an even number of chunks, of one box or of two with
    one chunk each. With groups a box holds chunks of one group alone."""
    found = set()
    for depth, blocks in product(_DEPTHS, (1, 2, 4, 8)):
        if blocks > depth or (blocks >= 2 * problem.inputs and blocks > 2):
            continue
        if problem.groups == 1 or problem.inputs % blocks == 0:
            boxes = _boxes(problem, blocks)
            found.add((blocks, min(depth // blocks, boxes if blocks > 1 else -(-boxes // 2) * 2)))
    return sorted(found)


def _boxes(problem: HopperProblem, blocks: int) -> int:
    return problem.taps * -(-problem.inputs // blocks)


def _cycles(problem: HopperProblem, tile: HopperTile, steps: int, target: CudaTarget) -> float:
    """The time of a convolution: what a multiprocessor multiplies and moves for all tiles that fall to it. Of blocks
    that share a multiprocessor one stores while another multiplies. Reading the input from memory is left out: it
    bounds all tiles alike, for those of the same rows run together and find it in the L2 cache."""
    blocks = -(-_tiles(problem, tile) * tile.splits // target.multiprocessors)
    room = _resident(tile, prod(best_box(tile.rows, problem.extents, problem.limits)), target)
    together = max(min(room, blocks), 1)
    begin = _BEGIN + (_CLUSTER if tile.sharing > 1 else 0)
    summing, store = tile_cycles(problem, tile, steps, together, target)
    busy = max(summing, store) + _DISTURBED * min(summing, store)
    turns = -(-blocks // together)
    if tile.resident:
        return begin + _END + max(blocks * busy, turns * (summing + store + _TURN))
    return max(blocks * busy + begin + _END, turns * (begin + summing + store + _END))


def tile_cycles(
    problem: HopperProblem, tile: HopperTile, steps: int, together: int, target: CudaTarget
) -> tuple[float, float]:
    """What a block takes for its tile of so many steps, while so many blocks share a multiprocessor: until it has its
    sums, and to store its results."""
    box = best_box(tile.rows, problem.extents, problem.limits)
    pixels, depth = prod(box), tile.depth
    moved = (pixels + tile.columns) * ACCESS_BYTES * depth
    read = tile.rows // WARPGROUP_ROWS * (WARPGROUP_ROWS + tile.columns) * ACCESS_BYTES * depth
    line = -(-box[-1] * ACCESS_BYTES // 128) if problem.wide else box[-1]
    lines = depth * (pixels // box[-1] * line + tile.columns * ACCESS_BYTES // 128)
    loading = lines * _LINE + 2 * tile.boxes * _ISSUE
    products = tile.rows * tile.columns * depth * 8 / _PRODUCTS
    waiting = _LATENCY / (together * tile.stages)
    sent = (pixels + tile.columns / tile.sharing) * ACCESS_BYTES * depth
    step = max(products, (moved + read) / _SHARED, sent / _L2, loading, waiting) + 10
    summing = -(-steps // tile.splits) * step
    if tile.splits > 1:
        summing += _CLUSTER + 2 * tile.rows * tile.columns * 4 / _SHARED
    everything = prod(problem.extents) * problem.columns * problem.groups * problem.result_bytes
    rate = target.bandwidth / target.clock / target.multiprocessors if 2 * everything > target.l2_bytes else _L2
    return summing, tile.rows * tile.columns / tile.splits * problem.result_bytes / rate


def _tiles(problem: HopperProblem, tile: HopperTile) -> int:
    boxes = box_count(best_box(tile.rows, problem.extents, problem.limits), problem.extents)
    return -(-boxes // tile.sharing) * tile.sharing * -(-problem.columns // tile.columns) * problem.groups


def _resident(tile: HopperTile, pixels: int, target: CudaTarget) -> int:
    """How many blocks a multiprocessor has room for."""
    beside = _REGISTERS if tile.columns <= _WIDE else _MORE_REGISTERS
    return target.resident(tile.threads, tile.columns // 2 + beside, tile.shared_bytes(pixels))
