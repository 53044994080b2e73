"""Choose the algorithm of each convolution on a GPU: direct, or Winograd's with its weight transformed at compile time.

    kernel(x, w) { conv 3x3 }  =>  kernel(x, G w G^T) { winograd_conv }

Legal for 3 x 3 windows at stride 1 without dilation and groups, in CNHW4c and float32; the error stays near that of
direct convolution (`convc.ir.winograd`). Pays where multiply-adds of float32 bound the direct one, not tensor cores,
and what transformed tiles move through memory is less than what is saved: a roofline of both says so, with a margin.
Runs between `assign-layouts` and `prepack-weights`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from convc.ir.attributes import shape_of
from convc.ir.data import WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.kernel import KernelOp
from convc.ir.layout import chunked_activation, chunked_winograd_weight
from convc.ir.windows import ConvOp
from convc.ir.winograd import tiles_of
from convc.passes.rewriting import kernels_in, main_block
from convc.targets.cuda.conv import Geometry as DirectGeometry
from convc.targets.cuda.target import CudaTarget, parse_cuda
from convc.targets.cuda.tiling import Problem, modelled_cycles
from convc.targets.cuda.winograd import Geometry
from convc.targets.epilogues import elementwise_epilogue
from convc.targets.minimal_filtering import Conversion, convertible, is_plain

_MARGIN = 0.75
"""How much of the direct convolution's time Winograd's may take by the model."""
_LAUNCH = 3000
"""Cycles of a launch in a graph, from the last one's end."""
_L2_RATE = 2
"""What the second cache gives, in bytes that memory does: vendor's figures and measurements lie at 2 to 3."""


@dataclass(frozen=True)
class ChooseGpuAlgorithms(ModulePass):
    """`target`: a GPU, as `--target` takes it."""

    name = "choose-gpu-algorithms"
    target: str = "cuda"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        target = parse_cuda(self.target)
        conversion, layout = Conversion(ctx), chunked_winograd_weight(target.lanes())
        for kernel in kernels_in(main_block(op)):
            if (found := _convertible(kernel, target)) and (m := fastest(kernel, target)):
                conversion.convert(kernel, *found, m, layout)


def _convertible(kernel: KernelOp, target: CudaTarget) -> tuple[ConvOp, WeightOp] | None:
    """A convolution that Winograd's algorithm can compute, with its weight; None for any other kernel, and where tensor
    cores may multiply."""
    found = None if target.tf32 else convertible(kernel, lambda rank: chunked_activation(rank, target.lanes()))
    return found if found and is_plain(found[0]) and elementwise_epilogue(kernel) else None


def fastest(kernel: KernelOp, target: CudaTarget) -> int:
    """The m of the fastest F(m x m, 3 x 3) by the model; 0 where direct convolution is about as fast."""
    op = kernel.anchor
    assert isinstance(op, ConvOp)
    times = {m: winograd_cycles(op, m, target) for m in tiles_of((3, 3))}
    best = min(times, key=times.__getitem__)
    return best if times[best] < _MARGIN * direct_cycles(kernel, target) else 0


def direct_cycles(kernel: KernelOp, target: CudaTarget) -> float:
    """The time of a direct convolution: its products, or reading the weight and the input and writing the result."""
    conv = DirectGeometry(kernel)
    problem = Problem(conv.rows, conv.outputs, conv.group, conv.inputs * conv.taps, conv.dtype)
    moved = 4 * sum(map(prod, (shape_of(conv.op.w), shape_of(conv.op.x), shape_of(conv.op.result))))
    return max(modelled_cycles(problem, target), _moving(moved, target))


def winograd_cycles(op: ConvOp, m: int, target: CudaTarget) -> float:
    """The time of the three launches of F(m x m, 3 x 3): the transforms move what they read and write, and so do the
    products unless multiplying takes longer. What the next launch reads lies in the second cache if all of it fits."""
    g = Geometry.of(op, m)
    x, y = (4 * prod(shape_of(value)) for value in (op.x, op.result))
    v, products = (4 * g.places * g.tiles * channels for channels in (g.inputs, g.outputs))
    weight = 4 * g.places * g.inputs * g.outputs
    cached = v + products <= target.l2_bytes // 2
    between = _moving(v + products, target) / (_L2_RATE if cached else 1)
    multiplied = max(modelled_cycles(g.problem, target), between + _moving(weight, target))
    return _moving(x + y, target) + between + multiplied + 2 * _LAUNCH


def _moving(nbytes: int, target: CudaTarget) -> float:
    """Cycles of moving so many bytes from or to memory."""
    return nbytes * target.clock / target.bandwidth
