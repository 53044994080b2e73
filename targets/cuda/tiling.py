"""Which tiles to compute a matrix product in: an analytic model of a GPU's multiprocessors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from convc.targets.cuda.cores import Tile
from convc.targets.cuda.target import WARP, CudaTarget

DTYPES = ("float32", "float16", "bfloat16")
"""The types of operands that are multiplied in tiles."""

_FMA_TILES = (
    (128, 64, 8, 8),
    (64, 128, 8, 8),
    (64, 64, 8, 4),
    (128, 32, 8, 4),
    (64, 32, 4, 4),
    (32, 64, 4, 4),
    (32, 32, 4, 4),
)
_MMA_TILES = (
    (128, 128, 64, 32),
    (128, 64, 32, 32),
    (64, 128, 32, 32),
    (64, 64, 32, 32),
    (128, 32, 32, 32),
    (64, 32, 32, 16),
    (32, 64, 16, 32),
    (32, 32, 16, 16),
)
"""Rows and columns of a tile, then those of a thread or of a warp."""
_SPLITS = (1, 2, 4, 8, 16)
_BEGIN = 700
"""Cycles before a block's first product and after its last."""
_LAUNCH = 3000
"""Cycles of a second launch that adds up what blocks have shared."""


@dataclass(frozen=True)
class Problem:
    """`rows` x `columns` results for each of some `groups`, sums over `chunks` of 16 bytes of a type."""

    rows: int
    columns: int
    groups: int
    chunks: int
    dtype: str


def uses_tensor_cores(dtype: str, target: CudaTarget) -> bool:
    """Whether products of a type are computed by matrix instructions."""
    return dtype != "float32" or target.tf32


def tiles(problem: Problem, target: CudaTarget) -> list[Tile]:
    """The tiles that can be used, the best by the model first."""
    return [tile for _, tile in sorted(_modelled(problem, target), key=lambda pair: pair[0])]


def modelled_cycles(problem: Problem, target: CudaTarget) -> float:
    """The time of a product by the model, in its best tile, as long as memory keeps up."""
    return min(time for time, _ in _modelled(problem, target))


def _modelled(problem: Problem, target: CudaTarget) -> Iterator[tuple[float, Tile]]:
    tensor_cores = uses_tensor_cores(problem.dtype, target)
    depths = ((4, 3), (4, 4), (8, 3)) if tensor_cores else ((4, 3),)
    for rows, columns, part_rows, part_columns in _MMA_TILES if tensor_cores else _FMA_TILES:
        if (columns > 32 and columns >= 2 * problem.columns) or (rows > 32 and rows >= 2 * problem.rows):
            continue
        blocks = -(-problem.rows // rows) * -(-problem.columns // columns) * problem.groups
        for depth, stages in depths:
            steps = -(-problem.chunks // depth)
            for splits in _SPLITS:
                if splits > 1 and (splits * 2 > steps or blocks * splits > 4 * target.multiprocessors):
                    continue
                tile = Tile(rows, columns, part_rows, part_columns, depth, stages, splits)
                if tile.shared_bytes(tensor_cores) <= target.shared_bytes:
                    yield _cycles(problem, tile, blocks, steps, tensor_cores, target), tile


def _cycles(problem: Problem, tile: Tile, blocks: int, steps: int, tensor_cores: bool, target: CudaTarget) -> float:
    """The time of a product: what a multiprocessor multiplies, and reads from shared memory, for all tiles that fall to
    it; too few warps do not hide their latencies."""
    lanes = target.lanes(problem.dtype)
    # Multiply-adds a cycle: four units of 32 lanes; tensor cores as of compute capability 8.0.
    rate = 128 if not tensor_cores else 512 if problem.dtype == "float32" else 1024
    products = tile.rows * tile.columns * tile.depth * lanes / rate
    threads = tile.threads(tensor_cores)
    if tensor_cores:
        reads = threads / WARP * (tile.part_rows + tile.part_columns) / 16 * 4 * tile.depth / 2
    else:
        reads = threads / WARP * (tile.part_rows + tile.part_columns) * tile.depth
    rounds = -(-blocks * tile.splits // target.multiprocessors)
    resident = target.resident(threads, tile.registers(tensor_cores), tile.shared_bytes(tensor_cores))
    busy = min(1.0, min(max(resident, 1), rounds) * threads / 256)
    time = rounds * (-(-steps // tile.splits) * (max(products, reads) / (0.4 + 0.6 * busy) + 20) + _BEGIN)
    if tile.splits > 1:
        moved = 8 * tile.splits * problem.rows * problem.columns * problem.groups
        time += _LAUNCH + moved / (2 * target.bandwidth / target.clock)
    return time
