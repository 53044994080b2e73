"""Fold pads into the windows that read them, and crops into what makes too much.

    conv(pad(x, 0), w)  =>  conv(x, w) with larger pads
    pool average(pad(x, 0))  =>  pool average(x) with larger pads, which count
    pool max(pad(x, v))  =>  pool max(x) with larger pads          v not above any element of x
    slice(conv_transpose(x, w))  =>  conv_transpose(x, w) with larger pads
    f(pad(x, v))  =>  pad(f(x), f(v))          f elementwise, of one operand, so that the pad comes to a window

Legal for pads of spatial axes only, and for pools if every window still sees an element of x and as many windows are
placed. Edge, reflected and wrapped pads stay, as do pads of other values. Always pays: a window reads padding for
nothing, while a pad is a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import PadMode, PoolKind, element_type, shape_of
from convc.ir.data import PadOp, SliceOp
from convc.ir.dialect import CompilerContext
from convc.ir.dtypes import to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.shapes import pool
from convc.ir.windows import ConvOp, ConvTransposeOp, PoolOp
from convc.passes.anchors import rebuilt
from convc.passes.axes import Movement
from convc.passes.rewriting import main_block
from convc.passes.rules import Rewriter, RuleSet, rewrite
from convc.passes.values import holds_floats, lower_bound, only_user, splat_of

RULES = RuleSet()


# conv(pad(x, 0), w) => conv(x, w) with larger pads
@RULES.on(ConvOp)
def into_convolution(op: ConvOp, rewriter: Rewriter) -> SSAValue | None:
    found = _Padded.of(op.x)
    if found is None or found.value != 0:
        return None
    pads = [a + b for a, b in zip(op.pads.get_values(), found.spatial)]
    return rewriter.emit(rebuilt(op, found.source(rewriter), op.w, op.bias, pads))


# pool(pad(x, v)) => pool(x) with larger pads
@RULES.on(PoolOp)
def into_pool(op: PoolOp, rewriter: Rewriter) -> SSAValue | None:
    found = _Padded.of(op.x)
    if found is None:
        return None
    kernel, strides, dilations = op.kernel.get_values(), op.strides.get_values(), op.dilations.get_values()
    pads = [a + b for a, b in zip(op.pads.get_values(), found.spatial)]
    sizes, ceil_mode = found.unpadded, op.ceil_mode is not None
    if pool(sizes, kernel, strides, pads, dilations, ceil_mode) != shape_of(op.result):
        return None
    if op.kind.data == PoolKind.AVERAGE:
        # What the pool itself pads must count as what is folded into it does.
        legal = found.value == 0 and (op.count_include_pad is not None or not any(op.pads.get_values()))
    else:
        dtype = to_numpy(element_type(op.x))
        lowest = float((np.finfo if holds_floats(op.x) else np.iinfo)(dtype).min)
        legal = found.value <= max(lower_bound(found.pad.x), lowest) and _sees_input(op, pads, sizes[2:])
    if not legal:
        return None
    return rewriter.emit(
        PoolOp(
            op.kind.data,
            found.source(rewriter),
            kernel,
            strides=strides,
            pads=pads,
            dilations=dilations,
            ceil_mode=ceil_mode,
            count_include_pad=op.kind.data == PoolKind.AVERAGE,
        )
    )


def _sees_input(op: PoolOp, pads: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether every window holds an element that is no padding."""
    for axis, size in enumerate(sizes):
        taps = np.arange(op.kernel.get_values()[axis]) * op.dilations.get_values()[axis]
        starts = np.arange(shape_of(op.result)[2 + axis]) * op.strides.get_values()[axis] - pads[axis]
        places = starts[:, None] + taps
        if not ((places >= 0) & (places < size)).any(1).all():
            return False
    return True


# slice(conv_transpose(x, w)) => conv_transpose(x, w) with larger pads
@RULES.on(SliceOp)
def crop(op: SliceOp, rewriter: Rewriter) -> SSAValue | None:
    inner = op.x.owner
    if not isinstance(inner, ConvTransposeOp) or not only_user(op.x) or set(op.steps.get_values()) != {1}:
        return None
    before, after, starts = shape_of(op.x), shape_of(op.result), op.starts.get_values()
    if before[:2] != after[:2] or 0 in after:
        return None
    ends = [size - start - kept for size, start, kept in zip(before, starts, after)]
    pads = [a + b for a, b in zip(inner.pads.get_values(), [*starts[2:], *ends[2:]])]
    reach = [(k - 1) * d for k, d in zip(shape_of(inner.w)[2:], inner.dilations.get_values())]
    if any(pad > most for pad, most in zip(pads, reach * 2)):  # would be elements of x that nothing reads
        return None
    return rewriter.emit(rebuilt(inner, inner.x, inner.w, inner.bias, pads))


# f(pad(x, v)) => pad(f(x), f(v))
@RULES.on(ElementwiseOp)
def below_function(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    pads = [x for x in op.inputs if isinstance(x.owner, PadOp)]
    scalars = [splat_of(x) for x in op.inputs if not isinstance(x.owner, PadOp)]
    if len(pads) != 1 or not only_user(pads[0]) or None in scalars or op.spec.predicate or not holds_floats(op.result):
        return None
    pad = pads[0].owner
    assert isinstance(pad, PadOp)
    if any(shape_of(x) for x in op.inputs if x is not pads[0]):
        return None
    values = [pad.value.value.data if x is pads[0] else splat_of(x) for x in op.inputs]
    dtype = to_numpy(element_type(op.result))
    value = float(op.spec.numpy(*(np.array(v, dtype) for v in values), **op.param_values))
    if np.isnan(value):
        return None
    inputs = [pad.x if x is pads[0] else x for x in op.inputs]
    y = rewriter.elementwise(op.function, *inputs, **op.param_values)
    return rewriter.emit(PadOp(y, pad.pads.get_values(), mode=pad.mode.data, value=value))


@dataclass(frozen=True)
class _Padded:
    """`move(pad(x, value))`, padded along spatial axes: x `[N, C, *S]` once it is moved."""

    pad: PadOp
    moves: tuple[tuple[Movement, tuple[int, ...]], ...]
    """Movements with the shapes that they give the unpadded x, first to last."""
    spatial: tuple[int, ...]
    unpadded: tuple[int, ...]

    @property
    def value(self) -> float:
        return self.pad.value.value.data

    @staticmethod
    def of(x: SSAValue) -> _Padded | None:
        """What pads x: a constant pad, with transposes and reshapes of axes of one element after it."""
        movements: list[Movement] = []
        inner = x
        while not isinstance(inner.owner, PadOp):
            movement = Movement.of(inner)
            if movement is None or not only_user(inner):
                return None
            movements.insert(0, movement)
            inner = movement.source
        pad = inner.owner
        if pad.mode.data != PadMode.CONSTANT or min(pad.pads.get_values()) < 0:
            return None
        rank = len(shape_of(inner))
        pads = list(zip(pad.pads.get_values()[:rank], pad.pads.get_values()[rank:]))
        shape, moves = shape_of(pad.x), []
        for movement in movements:
            if any(pads[axis] != (0, 0) for axis in range(movement.rank) if axis not in movement.axes):
                return None
            pads = [(0, 0) if axis is None else pads[axis] for axis in movement.axes]
            shape = tuple(1 if axis is None else shape[axis] for axis in movement.axes)
            moves.append((movement, shape))
        if pads[:2] != [(0, 0), (0, 0)]:
            return None
        spatial = (*(begin for begin, _ in pads[2:]), *(end for _, end in pads[2:]))
        return _Padded(pad, tuple(moves), spatial, shape)

    def source(self, rewriter: Rewriter) -> SSAValue:
        x = self.pad.x
        for movement, shape in self.moves:
            x = movement.of_another(x, shape, rewriter)
        return x


def fold_pads(module: ModuleOp, context: CompilerContext) -> bool:
    """Fold what can be folded; whether there was anything."""
    return rewrite(main_block(module), context, RULES)


@dataclass(frozen=True)
class FoldPads(ModulePass):
    name = "fold-pads"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        fold_pads(op, ctx)
