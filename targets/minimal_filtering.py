"""What Winograd's algorithm can compute, along one axis or two, and a kernel made to: the same on every target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from xdsl.dialects.builtin import f32
from xdsl.ir import Attribute

from convc.ir.attributes import element_type, layout_of, shape_of, tensor
from convc.ir.data import RelayoutOp, WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.kernel import KernelOp
from convc.ir.layout import Layout
from convc.ir.windows import ConvOp, WinogradConvOp, dilations_of, strides_of, window_of
from convc.ir.winograd import can_stride, tiles_of, transformed_weight
from convc.passes.rewriting import parent_of, set_type, weight_behind


def convertible(kernel: KernelOp, activation: Callable[[int], Layout]) -> tuple[ConvOp, WeightOp] | None:
    """A convolution between values of a layout, which depends on their rank, that the algorithm can compute, with its
    weight; None for all else: windows that it does not pay for, or not exactly enough, other strides than those of
    `WinogradConvOp`, other types than float32, operands computed in the kernel."""
    op = kernel.anchor
    if not isinstance(op, ConvOp) or not {op.x, op.w} <= set(kernel.block.args):
        return None
    fits = (
        tiles_of(window_of(op)) != ()
        and can_stride(window_of(op), strides_of(op), dilations_of(op))
        and layout_of(op.x) == layout_of(op.result) == activation(len(shape_of(op.x)))
        and element_type(op.x) == f32
    )
    weight = weight_behind(kernel.operands[kernel.block.args.index(op.w)])
    return (op, weight) if fits and weight is not None else None


@dataclass
class Conversion:
    """Makes kernels of a module compute by the algorithm. A weight that several of them read is transformed once."""

    context: CompilerContext
    _transformed: dict[tuple[str, int, tuple[int, ...]], str] = field(default_factory=dict)

    def convert(self, kernel: KernelOp, op: ConvOp, weight: WeightOp, m: int, layout: Layout) -> None:
        """Have the kernel compute its convolution in tiles of m outputs along each axis that has taps, from a
        transformed weight that lies so."""
        weights, strides = self.context.weights, strides_of(op)
        key = (weight.key, m, strides)
        if key not in self._transformed:
            array = transformed_weight(weights[weight.key], m, strides)
            apart = f".strides{'x'.join(map(str, strides))}" * (max(strides) > 1)
            self._transformed[key] = weights.add(array, f"{weight.key}.winograd{m}{apart}")
        name = self._transformed[key]
        source = WeightOp(name, tensor(f32, weights[name].shape))
        packed = RelayoutOp(source.result, layout)
        parent_of(kernel).insert_ops_before([source, packed], kernel)
        kernel.operands[kernel.block.args.index(op.w)] = packed.result
        set_algorithm(kernel, op, packed.result.type, m)


def set_algorithm(kernel: KernelOp, op: ConvOp | WinogradConvOp, weight: Attribute, m: int) -> None:
    """Replace the convolution in a kernel, whose weight has another type now; directly where m is 0."""
    set_type(op.w, weight)
    result, group = op.result.type, op.group.value.data
    steps = {"strides": strides_of(op), "pads": op.pads.get_values(), "dilations": dilations_of(op)}
    changed: ConvOp | WinogradConvOp
    if m:
        changed = WinogradConvOp(op.x, op.w, op.bias, m=m, **steps, group=group, result=result)
    else:
        changed = ConvOp(op.x, op.w, op.bias, **steps, group=group, result=result)
    kernel.block.insert_op_before(changed, op)
    op.result.replace_all_uses_with(changed.result)
    kernel.block.erase_op(op)


def is_plain(op: ConvOp | WinogradConvOp) -> bool:
    """Whether it is by windows of 3 x 3 taps side by side, at stride 1, over all channels."""
    steps = {*strides_of(op), *dilations_of(op)}
    return window_of(op) == (3, 3) and op.group.value.data == 1 and steps == {1}
