"""Pools in blocked layouts, and depthwise convolutions that `depthwise` leaves (of other ranks, of inputs that are
computed, padded past most tiles): windows over each channel by itself.

The lanes of a vector are the channels of a block. A tile of outputs along the width (and the height, where the width
is small) stays in registers while the taps of the window, unrolled, pass over it; neighbouring outputs share their
inputs, which the unrolled loads make plain to LLVM. Padding is tested for, not copied: within an unrolled tile only
the first and last taps keep a test, and partitioning the loop over tiles takes it out of the inner ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tvm import s_tir, tirx

from convc.ir.attributes import layout_of, shape_of
from convc.ir.kernel import KernelOp
from convc.ir.layout import channel_block
from convc.ir.windows import ConvOp, PoolOp
from convc.targets.anchors import conv, pool, window_of
from convc.targets.cpu.loops import even_tile, local_tile, parallel, vectorize
from convc.targets.emit import Emitter, dtype_of
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.target import CpuTarget
from convc.targets.template import Config

UNROLLED = 256
"""Vector operations in an unrolled tile: enough for 5x5 taps, little enough to compile in a tenth of a second."""


class BlockedWindow:
    """Config: `width` and `height` of the register tile; `unroll`, how many of the window's axes, innermost first, are
    unrolled."""

    name = "window"

    def applies(self, kernel: KernelOp, target: CpuTarget) -> bool:
        op = kernel.anchor
        if not isinstance(op, ConvOp | PoolOp) or kernel.inner is not None or not elementwise_epilogue(kernel):
            return False
        block = channel_block(layout_of(op.result))
        if not block or layout_of(op.x) != layout_of(op.result):
            return False
        if isinstance(op, PoolOp):
            return True
        channels = shape_of(op.x)[1]
        weight = layout_of(op.w)
        return (
            op.group.value.data == channels == shape_of(op.w)[0]
            and weight is not None
            and weight.blocks == ((0, block),)
        )

    def candidates(self, kernel: KernelOp, target: CpuTarget) -> Sequence[Config]:
        op = kernel.anchor
        assert isinstance(op, ConvOp | PoolOp)
        shape, window = shape_of(op.result), window_of(op)
        vectors = -(-channel_block(layout_of(op.result)) // target.lanes(dtype_of(op.result)))
        # Half of the registers hold outputs; the rest, taps and inputs.
        limit = max(1, (target.vector_registers // 2 - 1) // vectors)
        width, height = shape[-1], shape[-2] if len(shape) > 3 else 1
        found = []
        for most in (limit, limit * 2 // 3, limit // 2):
            tile = even_tile(width, most)
            rows = even_tile(height, max(1, limit // width)) if tile == width else 1
            room = UNROLLED // (tile * rows * vectors)
            unroll = next((n for n in (len(window), 1) if prod(window[-n:]) <= room), 0)
            found.append({"width": tile, "height": rows, "unroll": unroll})
        return [config for i, config in enumerate(found) if config not in found[:i]]

    def schedule(self, kernel: KernelOp, config: Config, target: CpuTarget) -> tirx.PrimFunc:
        op = kernel.anchor
        assert isinstance(op, ConvOp | PoolOp)
        emitter = Emitter(kernel)
        window = pool(emitter, op) if isinstance(op, PoolOp) else conv(emitter, op)
        schedule = s_tir.Schedule(emitter.prim_func([emitter.compute(kernel.yielded[0], "y")]))
        block, result = schedule.get_sblock(window.op.name), schedule.get_sblock("y")

        *outer, width, lanes = schedule.get_loops(result)
        tiles, inner = schedule.split(width, [None, config["width"]])
        rows = []
        if len(outer) > 2:
            last, height = schedule.split(outer.pop(), [None, config["height"]])
            outer.append(last)
            rows.append(height)
        schedule.reorder(*outer, tiles, *rows, inner, lanes)
        schedule.annotate(tiles, "pragma_loop_partition_hint", True)
        schedule.compute_at(block, tiles, preserve_unit_loops=True)
        parallel(schedule, outer, prod(shape_of(op.result)) * prod(window_of(op)), target)
        # A row of taps passes over one output after the other: few registers then hold inputs.
        local_tile(schedule, block, unrolled_taps=config["unroll"], inside=min(config["unroll"], 1))
        for loop in (*rows, inner):
            schedule.unroll(loop)
        vectorize(schedule, lanes, target, dtype_of(op.result))
        return schedule.mod["main"]
