"""Compute a transposed convolution as a direct one, with the outputs of each phase as channels of their own.

    conv_transpose(x, w)  =>  p = conv(x, w'); every element of p at its place

With stride s along an axis, the outputs of equal remainder modulo s form a phase: output q * s + r reads the inputs
q + e with the taps k where r + pad == e * s + k * dilation. w' has the taps of phase r as a filter of its own, at e,
and zeros where a phase has no tap: [C, O/g, *K] -> [O * prod(s), C/g, *E]. Legal for constant weights and bias; zeros
add nothing to finite numbers. (Zero times an infinity or NaN is NaN: one in x makes NaN of all phases at the places q
that it serves, as `verify` would report.)

It pays with groups, since no template has transposed convolutions in groups: upsampling by depthwise ones, as in
networks that find objects and key points, took 200 times as long as in onnxruntime. Without groups `TransposedConv`
computes each phase by itself, and no zeros: there it pays where the outputs leave most of a vector of channels empty
but the phases fill it, as in the last layers of networks that draw (one mask, three colours). Where that makes too many
zeros, as of 4 x 4 windows at stride 2, each phase becomes a convolution of its own,

    conv_transpose(x, w)  =>  join over phases r of conv(x, w of r); every element at its place

whose few outputs `PlainConv` computes with vectors along rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from convc.ir.attributes import shape_of
from convc.ir.data import ConcatOp, ReshapeOp, SliceOp, TransposeOp
from convc.ir.layout import filled
from convc.ir.windows import ConvOp, ConvTransposeOp
from convc.passes.rules import BlockRules, Rewriter, RuleSet
from convc.passes.values import holds_floats

_PAYS = 2.5
"""How many times fewer multiplications there must be without groups: the phases are written and read again. A 9 x 9
window at stride 3 for one output, as in FSRCNN, takes 2.53 times fewer with vectors of 8."""


@dataclass(frozen=True)
class _Axis:
    """One axis: of phase `r` the tap `k` lies at `e` of the new window, for each (r, k, e) of `taps`."""

    stride: int
    window: int
    pads: tuple[int, int]
    steps: int
    size: int
    taps: list[tuple[int, int, int]]

    @staticmethod
    def of(size: int, stride: int, steps: int, taps: list[tuple[int, int, int]]) -> _Axis:
        """The window that has the taps (r, k, e), which read e elements on from where the output lies; it reaches so
        far that no padding is negative."""
        first = min(0, *(e for _, _, e in taps))
        last = max(size - steps, *(e for _, _, e in taps))
        moved = [(r, k, e - first) for r, k, e in taps]
        return _Axis(stride, last - first + 1, (-first, steps + last - size), steps, size, moved)

    def of_phase(self, phase: int) -> _Axis:
        """What a phase has of it, as the only one."""
        return _Axis.of(self.size, 1, self.steps, [(0, k, e - self.pads[0]) for r, k, e in self.taps if r == phase])


def _rules(block: int) -> RuleSet:
    rules = RuleSet()

    @rules.on(ConvTransposeOp)
    def split(op: ConvTransposeOp, rewriter: Rewriter) -> SSAValue | None:
        group, weight, axes = op.group.value.data, rewriter.known(op.w), _axes(op)
        bias = rewriter.known(op.bias) if op.bias is not None else None
        if weight is None or (op.bias is not None and bias is None) or not holds_floats(op.x):
            return None
        if group == 1 and not _pays(op, axes, block):
            return _apart(op, weight, rewriter) if _pays_apart(op, axes, block) else None
        w, b = rewriter.weight(_filters(weight, group, axes), op.w, ".phases"), None
        if op.bias is not None and bias is not None:
            b = rewriter.weight(np.repeat(bias, _phases(axes)), op.bias, ".phases")
        pads = [axis.pads[end] for end in (0, 1) for axis in axes]
        return _placed(rewriter.emit(ConvOp(op.x, w, b, pads=pads, group=group)), op, axes, rewriter)

    return rules


def _pays(op: ConvTransposeOp, axes: list[_Axis], block: int) -> bool:
    inputs, outputs, *kernel = shape_of(op.w)
    usual = filled(outputs, block) * prod(kernel)
    here = filled(outputs * _phases(axes), block) * prod(axis.window for axis in axes)
    # Few inputs: more would be written than was read.
    return usual >= _PAYS * here and outputs * _phases(axes) <= inputs


def _pays_apart(op: ConvTransposeOp, axes: list[_Axis], block: int) -> bool:
    inputs, outputs, *_ = shape_of(op.w)
    complete = all({r for r, _, _ in axis.taps} == set(range(axis.stride)) for axis in axes)
    wide = shape_of(op.x)[-1] >= block
    few = filled(outputs, block) >= _PAYS * outputs and outputs * _phases(axes) <= inputs
    return complete and wide and few and _phases(axes) > 1


def _apart(op: ConvTransposeOp, weight: np.ndarray, rewriter: Rewriter) -> SSAValue:
    """Phases side by side as channels, those of the first axis around the others."""
    parts, axes = [], _axes(op)
    for phase in np.ndindex(*(axis.stride for axis in axes)):
        own = [axis.of_phase(r) for axis, r in zip(axes, phase)]
        w = rewriter.weight(_filters(weight, 1, own), op.w, f".phase{'x'.join(map(str, phase))}")
        pads = [axis.pads[end] for end in (0, 1) for axis in own]
        parts.append(rewriter.emit(ConvOp(op.x, w, op.bias, pads=pads)))
    rank, strides = len(axes), [axis.stride for axis in axes]
    joined = rewriter.emit(ConcatOp(parts, 1))
    batch, outputs, *sizes = shape_of(op.result)
    steps = [axis.steps for axis in axes]
    joined = rewriter.emit(ReshapeOp(joined, [batch, *strides, outputs, *steps]))
    order = [0, 1 + rank, *(axis for i in range(rank) for axis in (2 + rank + i, 1 + i))]
    joined = rewriter.emit(TransposeOp(joined, order))
    return _cut(joined, [batch, outputs], axes, sizes, rewriter)


def _phases(axes: list[_Axis]) -> int:
    return prod(axis.stride for axis in axes)


def _axes(op: ConvTransposeOp) -> list[_Axis]:
    rank = len(shape_of(op.x)) - 2
    sizes = zip(shape_of(op.x)[2:], shape_of(op.result)[2:], shape_of(op.w)[2:], strict=True)
    steps = zip(op.strides.get_values(), op.dilations.get_values(), op.pads.get_values()[:rank], strict=True)
    return [_axis(*size, *step) for size, step in zip(sizes, steps, strict=True)]


def _axis(size: int, outputs: int, kernel: int, stride: int, dilation: int, pad: int) -> _Axis:
    found = [(r, k, r + pad - k * dilation) for r, k in product(range(stride), range(kernel))]
    taps = [(r, k, distance // stride) for r, k, distance in found if distance % stride == 0]
    return _Axis.of(size, stride, -(-outputs // stride), taps)


def _filters(weight: np.ndarray, group: int, axes: list[_Axis]) -> np.ndarray:
    """`[C, O/g, *K]` -> `[O * phases, C/g, *E]`, the phases of an output side by side."""
    channels, outputs, *kernel = weight.shape
    old = weight.reshape(group, channels // group, outputs, *kernel).swapaxes(1, 2)
    strides, window = [axis.stride for axis in axes], [axis.window for axis in axes]
    new = np.zeros((group, outputs, *strides, channels // group, *window), weight.dtype)
    for taps in product(*(axis.taps for axis in axes)):
        phase, tap, place = zip(*taps, strict=True)
        new[(slice(None), slice(None), *phase, slice(None), *place)] = old[(..., *tap)]
    return new.reshape(group * outputs * _phases(axes), channels // group, *window)


def _placed(parts: SSAValue, op: ConvTransposeOp, axes: list[_Axis], rewriter: Rewriter) -> SSAValue:
    """Phases out of channels: `[N, O * phases, *Q]` -> `[N, O, *S]`."""
    batch, outputs, *sizes = shape_of(op.result)
    strides, steps, rank = [axis.stride for axis in axes], [axis.steps for axis in axes], len(axes)
    if _phases(axes) > 1:
        parts = rewriter.emit(ReshapeOp(parts, [batch, outputs, *strides, *steps]))
        places = [axis for i in range(rank) for axis in (2 + rank + i, 2 + i)]
        parts = rewriter.emit(TransposeOp(parts, [0, 1, *places]))
    return _cut(parts, [batch, outputs], axes, sizes, rewriter)


def _cut(
    parts: SSAValue, channels: Sequence[int], axes: list[_Axis], sizes: Sequence[int], rewriter: Rewriter
) -> SSAValue:
    """Steps and phases beside each other, as the outputs of each axis: as many as there are."""
    whole = [*channels, *(axis.steps * axis.stride for axis in axes)]
    if list(shape_of(parts)) != whole:
        parts = rewriter.emit(ReshapeOp(parts, whole))
    return parts if whole[2:] == list(sizes) else rewriter.emit(SliceOp(parts, [0] * len(whole), [*channels, *sizes]))


class SplitPhases(BlockRules):
    name = "split-phases"
    rules = staticmethod(_rules)
