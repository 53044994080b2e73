"""Steps of the local search: configurations a little different from one that is known to be good.

A register tile grows or shrinks along each axis, within those that `tiling` holds for legal; tasks become larger or
smaller. Templates whose free parameters are few have them all among their candidates, and no neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from math import ceil, prod

from convc.ir.attributes import physical_shape
from convc.ir.kernel import KernelOp
from convc.ir.windows import ConvOp, WinogradConvOp
from convc.targets.cpu.contraction import Contraction, Tiling, fitted
from convc.targets.cpu.direct_conv import contraction_of
from convc.targets.cpu.tiling import tilings
from convc.targets.cpu.winograd import together
from convc.targets.cpu.winograd_tiles import Geometry, operand_sizes
from convc.targets.target import CpuTarget
from convc.targets.template import Config

_ALL = 1 << 20
_UNROLLED = 8  # steps of a reduction, at the most


def neighbours(kernel: KernelOp, template: str, config: Config, target: CpuTarget) -> list[Config]:
    """Configurations near one of a template's, without itself."""
    find = _NEIGHBOURS.get(template)
    found = list(find(kernel, config, target)) if find else []
    return [each for i, each in enumerate(found) if each != config and each not in found[:i]]


def _direct_conv(kernel: KernelOp, config: Config, target: CpuTarget) -> Iterator[Config]:
    op = kernel.anchor
    assert isinstance(op, ConvOp)
    c = contraction_of(kernel, target)
    sizes = prod(physical_shape(op.x)), prod(physical_shape(op.w))
    yield from map(vars, _near(Tiling(**config), c, sizes, target))


def _winograd(kernel: KernelOp, config: Config, target: CpuTarget) -> Iterator[Config]:
    op = kernel.anchor
    assert isinstance(op, WinogradConvOp)
    geometry, chunk = Geometry.of(op, op.m.value.data), config["chunk"]
    tiling = Tiling(**{key: value for key, value in config.items() if key != "chunk"})
    c = geometry.contractions(chunk, together(geometry, chunk, target))[0]
    yield from ({"chunk": chunk} | vars(near) for near in _near(tiling, c, operand_sizes(c), target))
    for other in (_rounded(chunk / 2, tiling.width), _rounded(chunk * 2, tiling.width)):
        other = min(other, geometry.count)
        whole = replace(tiling, band=other)  # as many columns as there are
        yield {"chunk": other} | vars(fitted(whole, geometry.contractions(other, 1)[0]))


_NEIGHBOURS: Mapping[str, Callable[[KernelOp, Config, CpuTarget], Iterator[Config]]] = {
    "direct_conv": _direct_conv,
    "winograd": _winograd,
}


def _near(tiling: Tiling, c: Contraction, sizes: tuple[int, int], target: CpuTarget) -> Iterator[Tiling]:
    """Tilings of a contraction near one."""
    legal = _legal(c, *sizes, target)
    for tile in _near_tiles(tiling, c, legal):
        yield fitted(replace(legal[tile], unrolled=tiling.unrolled), c)
    step, banded = (tiling.height, c.rows.extent) if c.rows.extent > 1 else (tiling.width, c.columns.extent)
    columns = ceil(c.blocks / tiling.blocks)
    for unrolled in (tiling.unrolled // 2, tiling.unrolled * 2):
        if 1 <= unrolled <= min(_UNROLLED, c.reduction[-1].extent):
            yield replace(tiling, unrolled=unrolled)
    for band in (_rounded(tiling.band / 2, step), _rounded(tiling.band * 2, step), banded):
        yield fitted(replace(tiling, band=band), c)
    for share in (tiling.share // 2, tiling.share * 2, columns):
        yield fitted(replace(tiling, share=max(share, 1)), c)


def _near_tiles(
    tiling: Tiling, c: Contraction, legal: Mapping[tuple[int, int, int], Tiling]
) -> Iterator[tuple[int, int, int]]:
    """Register tiles (height, width, blocks): one tile more or less along a row, a row more or less, and the best for a
    block more or less."""
    here = (tiling.height, tiling.width, tiling.blocks)
    tiles = ceil(c.columns.extent / tiling.width)
    found = [(1, ceil(c.columns.extent / count), tiling.blocks) for count in (tiles - 1, tiles + 1) if count]
    found += [(tiling.height + more, tiling.width, tiling.blocks) for more in (-1, 1)]
    for blocks in (tiling.blocks - 1, tiling.blocks + 1):
        found += [tile for tile in legal if tile[2] == blocks][:1]  # in the order of the model
    yield from (tile for tile in found if tile in legal and tile != here)


@lru_cache(maxsize=64)
def _legal(c: Contraction, x_size: int, w_size: int, target: CpuTarget) -> dict[tuple[int, int, int], Tiling]:
    """All register tiles that fit, best first by the model, each with the tasks that it proposes."""
    return {(t.height, t.width, t.blocks): t for t in tilings(c, x_size, w_size, target, count=_ALL)}


def _rounded(size: float, step: int) -> int:
    return max(ceil(size / step), 1) * step
