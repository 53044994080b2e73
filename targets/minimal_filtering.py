"""What Winograd's algorithm can compute, and a kernel made to: the same on every target."""

from __future__ import annotations

from dataclasses import dataclass, field

from xdsl.dialects.builtin import f32
from xdsl.ir import Attribute

from convc.ir.attributes import element_type, layout_of, shape_of, tensor
from convc.ir.data import RelayoutOp, WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.kernel import KernelOp
from convc.ir.layout import Layout
from convc.ir.windows import ConvOp, WinogradConvOp
from convc.ir.winograd import STRIDES, transformed_weight
from convc.passes.rewriting import parent_of, set_type, weight_behind


def convertible(kernel: KernelOp, activation: Layout) -> tuple[ConvOp, WeightOp] | None:
    """A convolution between values of a layout that the algorithm can compute, with its weight; None for all else:
    other windows than 3 x 3, strides but 1 and 2 along both axes, dilation, other types than float32, operands computed
    in the kernel."""
    op = kernel.anchor
    if not isinstance(op, ConvOp) or not {op.x, op.w} <= set(kernel.block.args):
        return None
    fits = (
        shape_of(op.w)[2:] == (3, 3)
        and set(op.dilations.get_values()) == {1}
        and len(set(op.strides.get_values())) == 1
        and stride_of(op) in STRIDES
        and layout_of(op.x) == layout_of(op.result) == activation
        and element_type(op.x) == f32
    )
    weight = weight_behind(kernel.operands[kernel.block.args.index(op.w)])
    return (op, weight) if fits and weight is not None else None


@dataclass
class Conversion:
    """Makes kernels of a module compute by the algorithm. A weight that several of them read is transformed once."""

    context: CompilerContext
    _transformed: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def convert(self, kernel: KernelOp, op: ConvOp, weight: WeightOp, m: int, layout: Layout) -> None:
        """Have the kernel compute its convolution in tiles of m x m outputs, from a transformed weight that lies so."""
        weights, stride = self.context.weights, stride_of(op)
        key = (weight.key, m, stride)
        if key not in self._transformed:
            array = transformed_weight(weights[weight.key], m, stride)
            self._transformed[key] = weights.add(array, f"{weight.key}.winograd{m}" + f".stride{stride}" * (stride > 1))
        name = self._transformed[key]
        source = WeightOp(name, tensor(f32, weights[name].shape))
        packed = RelayoutOp(source.result, layout)
        parent_of(kernel).insert_ops_before([source, packed], kernel)
        kernel.operands[kernel.block.args.index(op.w)] = packed.result
        set_algorithm(kernel, op, packed.result.type, m)


def set_algorithm(kernel: KernelOp, op: ConvOp | WinogradConvOp, weight: Attribute, m: int) -> None:
    """Replace the convolution in a kernel, whose weight has another type now; directly where m is 0."""
    set_type(op.w, weight)
    stride, pads, group, result = stride_of(op), op.pads.get_values(), op.group.value.data, op.result.type
    changed: ConvOp | WinogradConvOp
    if m:
        changed = WinogradConvOp(op.x, op.w, op.bias, m=m, stride=stride, pads=pads, group=group, result=result)
    else:
        changed = ConvOp(op.x, op.w, op.bias, strides=(stride, stride), pads=pads, group=group, result=result)
    kernel.block.insert_op_before(changed, op)
    op.result.replace_all_uses_with(changed.result)
    kernel.block.erase_op(op)


def stride_of(op: ConvOp | WinogradConvOp) -> int:
    """That of a convolution that has one along all axes."""
    return op.stride.value.data if isinstance(op, WinogradConvOp) else op.strides.get_values()[0]


def is_plain(op: ConvOp | WinogradConvOp) -> bool:
    """Whether it is in one group and at stride 1."""
    return op.group.value.data == stride_of(op) == 1
