"""What the model of Hopper's tiles says of ResNet-50's convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

import pytest

from convc.targets.cuda import hopper_tiling
from convc.targets.cuda.conv import Geometry
from convc.targets.cuda.hopper_operands import View
from convc.targets.cuda.hopper_tiling import HopperProblem, HopperTile, best_box, hopper_tiles
from convc.targets.cuda.target import parse_cuda

H100 = parse_cuda("cuda:sm_90a")


def resnet50(conv, batch: int) -> Iterator[tuple[int, HopperProblem]]:
    """Its convolutions but the first, and how many there are of each: (He et al., CVPR 2016, table 1), strides in the
    3 x 3 layers."""
    inputs, size = 64, 56
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        stride = 1 if width == 64 else 2
        small = size // stride
        layers = [
            (1, inputs, width, 1, 1, size),
            (1, width, width, 3, stride, size),
            (1, inputs, 4 * width, 1, stride, size),
            (blocks - 1, 4 * width, width, 1, 1, small),
            (blocks - 1, width, width, 3, 1, small),
            (blocks, width, 4 * width, 1, 1, small),
        ]
        for count, channels, outputs, side, step, image in layers:
            geometry = {"strides": (step, step), "pads": (side // 2,) * 4}
            kernel = conv((batch, channels, image, image), outputs, (side, side), dtype="float16", **geometry)
            problem = View(Geometry(kernel)).problem()
            # The kernel adds something to its results, as the last layer of a block does.
            yield count, problem if count == blocks else replace(problem, result_bytes=problem.result_bytes // 2)
        inputs, size = 4 * width, small


def steps_of(problem: HopperProblem, tile: HopperTile) -> int:
    return -(-hopper_tiling._boxes(problem, tile.blocks) // tile.boxes)


def streamed_cycles(problem: HopperProblem, tile: HopperTile) -> float:
    """The time by stream-K (Osama et al., PPoPP 2023) in such tiles: each multiprocessor has the same share of all
    steps, and adds up once, through the L2 cache, a tile that it shares with another."""
    share = hopper_tiling._tiles(problem, tile) / H100.multiprocessors
    pixels = prod(best_box(tile.rows, problem.extents, problem.limits))
    together = max(min(hopper_tiling._resident(tile, pixels, H100), int(share)), 1)
    summing, store = hopper_tiling.tile_cycles(problem, tile, steps_of(problem, tile), together, H100)
    busy = max(summing, store) + hopper_tiling._DISTURBED * min(summing, store)
    fix = hopper_tiling._CLUSTER + 2 * tile.rows * tile.columns * 4 / hopper_tiling._L2
    return hopper_tiling._BEGIN + hopper_tiling._END + share * busy + fix


@pytest.mark.parametrize("batch", [1, 8, 32, 128])
def test_stream_k_would_gain_little(batch, conv):
    """Split sums, blocks that stay and widths that are no powers of two leave it 3, 1, 2 and 6 % of their sum."""
    chosen = streamed = 0.0
    for count, problem in resnet50(conv, batch):
        tiles = hopper_tiles(problem, H100)
        best = hopper_tiling._cycles(problem, tiles[0], steps_of(problem, tiles[0]), H100)
        whole = [tile for tile in tiles if tile.splits == 1 and not tile.resident]
        chosen += count * best
        streamed += count * min(best, *(streamed_cycles(problem, tile) for tile in whole))
    assert streamed < chosen < 1.1 * streamed
