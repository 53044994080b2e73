"""Choose the algorithm of each convolution: direct, or Winograd's with its weight transformed at compile time.

    kernel(x, w) { conv 3x3 }  =>  kernel(x, G w G^T) { winograd_conv }

Legal for windows of 3, 5 or 7 taps along an axis or two and 1 along others, dilated or at a stride of 2 as well, in
blocked layouts and float32, where groups are whole blocks of channels; the error stays near that of direct convolution
(`convc.ir.winograd`). Pays where the model of both says so, with a margin: few tiles waste work at the edges, and
transformed weights, up to four times as large, must be read too. Where direct and Winograd's forms have both been
measured (`convc.tuning`), the fastest is taken. All forms read and write the same layout, so that each kernel's choice
is its own: `assign-layouts` counts with the time of the `fastest`, and this pass, between it and `prepack-weights`,
makes that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.passes import ModulePass

from convc.ir.attributes import layout_of, physical_shape, shape_of, tensor
from convc.ir.data import WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.kernel import KernelOp
from convc.ir.layout import blocked_activation, blocked_weight, channel_block, winograd_weight
from convc.ir.text import kernel_text
from convc.ir.views import nbytes
from convc.ir.windows import ConvOp, WinogradConvOp, strides_of, window_of
from convc.ir.winograd import along_axes, tiles_of
from convc.passes.rewriting import detached, kernels_in, main_block, set_type
from convc.targets.cpu import registry
from convc.targets.cpu.buffers import padded_shape
from convc.targets.cpu.contraction import Contraction
from convc.targets.cpu.direct_conv import contraction
from convc.targets.cpu.tiling import EFFICIENCY, STREAM_BYTES, cycles
from convc.targets.cpu.winograd import whole_groups, winograd_cycles
from convc.targets.cpu.winograd_tiles import Geometry
from convc.targets.cpus import parse_cpu
from convc.targets.measurements import Measurements, open_measurements, usable
from convc.targets.minimal_filtering import Conversion, convertible, set_algorithm
from convc.targets.target import AnyTarget, CpuTarget

_MARGIN = 0.9
"""How much of the direct convolution's time Winograd's may take by the model."""
_STRIDED = 1.15
"""How much longer a direct convolution takes at a stride: rows of points end in tiles cut short, and of each line that
comes from a cache half is read. 57 to 66 GFLOP/s, where others reach 70 to 76."""
_BYTE = 0.05
"""Cycles that a byte less of weights is worth in a large network. F(4x4) takes 2.25 times the memory of F(2x2): a U-Net
runs in that of onnxruntime, in 1.5 % more time."""
_WARM = 4
"""A network whose weights are so many times the second cache finds them in the last one: a core's share of it. By how
many cores it is shared nothing says."""


@dataclass(frozen=True)
class ChooseAlgorithms(ModulePass):
    """`target`: a CPU, as `--target` takes it. `measured`: whether to look for measurements, for so many `threads` (0:
    all cores of the target), in `database` and among those that convc ships."""

    name = "choose-algorithms"
    target: str = "cpu"
    measured: bool = False
    database: str = ""
    threads: int = 0

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        target = parse_cpu(self.target)
        known = open_measurements(self.database, target, self.threads or target.cores) if self.measured else None
        conversion = Conversion(ctx)
        decided: dict[str, int] = {}
        cold = finds_weights_cold(op, target)
        for kernel in kernels_in(main_block(op)):
            found = _convertible(kernel, target)
            if found is None or layout_of(found[1].result) is not None:  # packed already
                continue
            if (text := kernel_text(kernel)) not in decided:
                decided[text] = fastest(kernel, target, known, cold)
            if m := decided[text]:
                conversion.convert(kernel, *found, m, winograd_weight(len(shape_of(found[0].x)), target.lanes()))


def forms(kernel: KernelOp, target: AnyTarget) -> list[KernelOp]:
    """Copies of a kernel that compute the same by every algorithm that can, the direct one first; they stand in no
    module. A convolution that Winograd's algorithm cannot compute, any other kernel, and any on a GPU have one form."""
    if isinstance(target, CpuTarget) and (isinstance(kernel.anchor, WinogradConvOp) or _convertible(kernel, target)):
        return [in_form(kernel, m) for m in algorithms_of(kernel)]
    return [detached(kernel)]


def algorithms_of(kernel: KernelOp) -> tuple[int, ...]:
    """The m of all forms of a convolution, 0 for the direct one."""
    op = kernel.anchor
    assert isinstance(op, ConvOp | WinogradConvOp)
    return 0, *tiles_of(window_of(op))


def in_form(kernel: KernelOp, m: int) -> KernelOp:
    """A copy of a convolution's kernel that computes by tiles of m x m outputs, or directly where m is 0."""
    copy = detached(kernel)
    op = copy.anchor
    assert isinstance(op, ConvOp | WinogradConvOp)
    block, rank, channels = channel_block(layout_of(op.x)), len(shape_of(op.x)), shape_of(op.w)[:2]
    window = window_of(op)
    sizes = [axis.d for axis in along_axes(window, strides_of(op), m)] if m else window
    weight = tensor(f32, (*channels, *sizes), winograd_weight(rank, block) if m else blocked_weight(rank, block, block))
    set_type(copy.operands[copy.block.args.index(op.w)], weight)
    set_algorithm(copy, op, weight, m)
    return copy


def _convertible(kernel: KernelOp, target: CpuTarget) -> tuple[ConvOp, WeightOp] | None:
    """A convolution that Winograd's algorithm can compute, with its weight; None for any other kernel."""
    found = convertible(kernel, lambda rank: blocked_activation(rank, target.lanes()))
    if not found or layout_of(kernel.yielded[0]) != layout_of(found[0].result):
        return None
    return found if whole_groups(found[0], target.lanes()) else None


def finds_weights_cold(module: ModuleOp, target: CpuTarget) -> bool:
    """Whether an inference of a network finds its weights in no cache."""
    found = {op.key: op.result for op in main_block(module).ops if isinstance(op, WeightOp)}
    return sum(map(nbytes, found.values())) > _WARM * target.l2_bytes


def fastest(kernel: KernelOp, target: CpuTarget, known: Measurements | None, cold: bool) -> int:
    """The m of the fastest tiles; 0 where direct convolution is as fast, or Winograd's impossible. `cold`:
    whether an inference finds its weights in no cache."""
    if (found := _convertible(kernel, target)) is None:
        return 0
    op, _ = found
    if known and (times := measured_times(forms(kernel, target), target, known)) and 0 in times and len(times) > 1:
        return algorithms_of(kernel)[min(times, key=times.__getitem__)]
    geometries = {m: Geometry.of(op, m) for m in tiles_of(window_of(op))}
    times = {m: winograd_cycles(each, target, cold=cold) for m, each in geometries.items()}
    worth = [m for m, time in times.items() if time < _MARGIN * direct_cycles(op, target)]
    weights = {m: each.groups * each.weight_bytes for m, each in geometries.items()}
    return min(worth, key=lambda m: times[m] + cold * _BYTE * weights[m], default=0)


def measured_times(kernels: Sequence[KernelOp], target: CpuTarget, known: Measurements) -> dict[int, float]:
    """The shortest time of each form of a kernel, by its number, where it is known; infinite where all that was tried
    failed."""
    times = {}
    for number, (kernel, records) in enumerate(zip(kernels, known.records([kernel_text(each) for each in kernels]))):
        if found := usable(records, kernel, registry.TEMPLATES, target):
            times[number] = found[0].ns
        elif records and all(record.outcome != "ok" for record in records):
            times[number] = inf
    return times


def direct_cycles(op: ConvOp, target: CpuTarget) -> float:
    """The time of a direct convolution on one core, its weights from beyond the second cache."""
    c = contraction(op, padded_shape(op.x, op.pads.get_values()))
    strided = _STRIDED if max(op.strides.get_values()) > 1 else 1
    products = cycles(c, target) * _inside(c) * strided / EFFICIENCY
    return max(products, 4 * prod(physical_shape(op.w)) / STREAM_BYTES)


def _inside(c: Contraction) -> float:
    """The part of the steps whose taps read inputs: those of rows that read padding are left out. Along columns few
    are, as tiles are wide, and what is saved goes into shorter loops."""
    if not (window := c.row_window):
        return 1.0
    taps, points = c.reduction[window.axis].extent, c.rows.extent
    read = (i * window.stride - window.pad + t * window.dilation for i in range(points) for t in range(taps))
    return sum(0 <= place < window.size for place in read) / (points * taps)
