"""Choose the algorithm of each convolution: direct, or Winograd's with its weight transformed at compile time.

    kernel(x, w) { conv 3x3 }  =>  kernel(x, G w G^T) { winograd_conv }

Legal for 3 x 3 windows at stride 1 without dilation and groups, in blocked layouts and float32; the error stays near
that of direct convolution (`convc.ir.winograd`). Pays where the model of both says so, with a margin: few tiles waste
work at the edges, and transformed weights, up to four times as large, must be read too. Runs between `assign-layouts`
and `prepack-weights`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import element_type, layout_of, physical_shape, shape_of, tensor
from convc.ir.data import RelayoutOp, WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.kernel import KernelOp
from convc.ir.layout import winograd_weight
from convc.ir.neural import ConvOp, WinogradConvOp
from convc.ir.text import main_function
from convc.ir.winograd import POINTS, transformed_weight
from convc.passes.rewriting import parent_of, set_type
from convc.targets.cpu.buffers import padded_shape
from convc.targets.cpu.direct_conv import contraction
from convc.targets.cpu.loops import channel_block
from convc.targets.cpu.tiling import STREAM_BYTES, cycles
from convc.targets.cpu.winograd import Geometry, winograd_cycles
from convc.targets.target import Target, parse_target

_EFFICIENCY = 0.92
_MARGIN = 0.9
"""How much of the direct convolution's time Winograd's may take by the model."""


@dataclass(frozen=True)
class ChooseAlgorithms(ModulePass):
    """`target`: as `--target` takes it."""

    name = "choose-algorithms"
    target: str = "cpu"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        target = parse_target(self.target)
        transformed: dict[tuple[str, int], str] = {}
        for kernel in [inner for inner in main_function(op).body.block.ops if isinstance(inner, KernelOp)]:
            conv = kernel.anchor
            weight = _weight(kernel, conv, target) if isinstance(conv, ConvOp) else None
            if isinstance(conv, ConvOp) and weight is not None and (m := _best(conv, target)):
                _rewrite(kernel, conv, weight, m, ctx, transformed)


def _weight(kernel: KernelOp, op: ConvOp, target: Target) -> WeightOp | None:
    """The weight of a convolution that Winograd's algorithm can compute, before it is packed; None of any other."""
    block = target.lanes()
    fits = (
        shape_of(op.w)[2:] == (3, 3)
        and op.group.value.data == 1
        and set(op.strides.get_values()) | set(op.dilations.get_values()) == {1}
        and channel_block(layout_of(op.x)) == channel_block(layout_of(op.result)) == block
        and layout_of(kernel.yielded[0]) == layout_of(op.result)
        and element_type(op.x) == f32
        and op.x in kernel.block.args
    )
    if not fits or op.w not in kernel.block.args:
        return None
    source = _operand(kernel, op.w).owner
    source = source.x.owner if isinstance(source, RelayoutOp) else source
    return source if isinstance(source, WeightOp) and layout_of(source.result) is None else None


def _operand(kernel: KernelOp, argument: SSAValue) -> SSAValue:
    return next(value for value, inner in zip(kernel.inputs, kernel.block.args) if inner is argument)


def _best(op: ConvOp, target: Target) -> int:
    """The m of the fastest F(m x m, 3 x 3); 0 where direct convolution is as fast."""
    times = {m: winograd_cycles(Geometry.of(op.x, op.result, m), target) for m in POINTS}
    best = min(times, key=times.__getitem__)
    return best if times[best] < _MARGIN * direct_cycles(op, target) else 0


def direct_cycles(op: ConvOp, target: Target) -> float:
    """The time of a direct convolution on one core, its weights from beyond the second cache."""
    products = cycles(contraction(op, padded_shape(op.x, op.pads.get_values())), target) / _EFFICIENCY
    return max(products, 4 * prod(physical_shape(op.w)) / STREAM_BYTES)


def _rewrite(
    kernel: KernelOp,
    op: ConvOp,
    weight: WeightOp,
    m: int,
    context: CompilerContext,
    transformed: dict[tuple[str, int], str],
) -> None:
    key = (weight.key, m)
    if key not in transformed:
        array = transformed_weight(context.weights[weight.key], m)
        transformed[key] = context.weights.add(array, f"{weight.key}.winograd{m}")
    array = context.weights[transformed[key]]
    source = WeightOp(transformed[key], tensor(f32, array.shape))
    packed = RelayoutOp(source.result, winograd_weight(channel_block(layout_of(op.x))))
    parent_of(kernel).insert_ops_before([source, packed], kernel)
    number = list(kernel.block.args).index(op.w)  # type: ignore[arg-type]
    kernel.operands[number] = packed.result
    set_type(op.w, packed.result.type)
    changed = WinogradConvOp(op.x, op.w, op.bias, m=m, pads=op.pads.get_values(), result=op.result.type)
    kernel.block.insert_op_before(changed, op)
    op.result.replace_all_uses_with(changed.result)
    kernel.block.erase_op(op)
