"""Kernels without an anchor: elementwise chains, joins, slices, pads, transposes, resizing, changes of layout; and
gathers and samples, which read few elements for one.

The result is cut into boxes (boxes.py) and each box gets its own loops (nest.py), vectorised along the result's
innermost axis, through squares transposed in registers where the operands lie along another. All boxes share one
parallel region.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import tvm_ffi
from tvm import tirx

from convc.ir.kernel import KernelOp
from convc.targets.cpu.boxes import View, cut
from convc.targets.cpu.nest import Nest
from convc.targets.emit import dtype_of
from convc.targets.flat import Memory, without_elements
from convc.targets.injective import reads_few
from convc.targets.target import CpuTarget
from convc.targets.template import Config

PARALLEL_NS = 3_000
"""Kernels shorter than this stay on one thread: a region costs half a microsecond, and pieces their starts."""
PIECE_NS = 400
MOST_PIECES = 64


class Injective:
    """Applies to every kernel without an anchor, to gathers and samples, and to LRN over a few channels. No
    configuration."""

    name = "injective"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        return reads_few(kernel) and len(kernel.outputs) == 1

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        return ({},)

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        if (nothing := without_elements(kernel)) is not None:
            return nothing
        memory = Memory.of(kernel)
        views = cut(kernel, memory, target.lanes(dtype_of(kernel.yielded[0])))
        time = sum(_nanoseconds(view, target) for view in views)
        pieces = min(MOST_PIECES, int(time / PIECE_NS)) if time > PARALLEL_NS else 1
        nests = [Nest(view, memory, target.vector_bits, pieces) for view in views]
        return memory.function(
            _parallel(nests, pieces) if pieces > 1 else tirx.stmt_seq(*(nest.serial() for nest in nests))
        )


def _nanoseconds(view: View, target: CpuTarget) -> float:
    """A rough guess at a box's time on one core."""
    nodes: list[object] = []
    if view.loads or not view.safe:
        tvm_ffi.structural_walk(view.element, ((tirx.Expr,), nodes.append))
    elements = prod(digit.extent for digit in view.box.digits)
    # A vector load or store, or a few operations, takes some 0.3 ns; a guarded load is made element by element.
    vector = 0.3 * (1 + len(view.loads)) + 0.05 * len(nodes)
    return elements / target.lanes() * vector * (1 if view.safe else target.lanes())


def _parallel(nests: Sequence[Nest], pieces: int) -> tirx.Stmt:
    """One parallel loop over all boxes: each of its steps does some shares of every box."""
    if len(nests) == 1:
        shares, share, body = nests[0].shared(pieces)
        return tirx.For(share, 0, shares, tirx.ForKind.PARALLEL, body)
    step = tirx.Var("step", "int32")
    boxes = []
    for nest in nests:
        shares, share, body = nest.shared(pieces)
        each, offset = -(-shares // pieces), tirx.Var("offset", "int32")
        count = tirx.max(tirx.min(shares - step * each, each), 0)
        inside = tirx.stmt_seq(tirx.Bind(share, step * each + offset), body)
        boxes.append(tirx.For(offset, 0, count, tirx.ForKind.SERIAL, inside))
    return tirx.For(step, 0, pieces, tirx.ForKind.PARALLEL, tirx.stmt_seq(*boxes))
