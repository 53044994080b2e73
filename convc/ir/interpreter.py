"""A numpy interpreter of the dialect: what every operation means, at every stage of the compiler.

Values are logical arrays: layouts change nothing but how a weight lies in the store. It is the reference that passes
and schedules are tested against, and it folds constants. Fast enough for a network at a small resolution, never
clever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Block, Operation, SSAValue

from convc.ir.attributes import PadMode, ReduceKind, element_type, layout_of, shape_of
from convc.ir.data import (
    BroadcastOp,
    CastOp,
    ConcatOp,
    ConstantOp,
    PadOp,
    RelayoutOp,
    ReshapeOp,
    ResizeOp,
    ShuffleOp,
    SliceOp,
    TransposeOp,
    WeightOp,
)
from convc.ir.dtypes import is_float, to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.interpreter_resize import resize
from convc.ir.interpreter_sampling import arg_pool, gather, grid_sample, scan, scatter, top_k
from convc.ir.interpreter_windows import (
    convolve,
    convolve_transposed,
    convolve_winograd,
    normalise_locally,
    pool,
)
from convc.ir.kernel import KernelOp
from convc.ir.neural import ArgReduceOp, BatchNormOp, LRNOp, MatMulOp, ReduceOp, SoftmaxOp
from convc.ir.ordering import ScanOp, TopKOp
from convc.ir.sampling import GatherOp, GridSampleOp, ScatterOp
from convc.ir.signature import input_signature, output_signature
from convc.ir.text import main_function
from convc.ir.windows import ArgPoolOp, ConvOp, ConvTransposeOp, PoolOp, WinogradConvOp


def interpret(
    module: ModuleOp,
    weights: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    dtype: type[np.floating] | None = None,
) -> dict[str, np.ndarray]:
    """The outputs of @main by name. With a `dtype`, all floating-point values are held and computed in it;
    without, each operation rounds to its element type. Raises ValueError for inputs that do not fit @main."""
    wanted = {name: shape for name, shape, _ in input_signature(module)}
    found = {name: array.shape for name, array in inputs.items()}
    if wanted != found:
        raise ValueError(f"expected inputs of the shapes {wanted}, got {found}")
    block = main_function(module).body.block
    arguments = [_held(inputs[name], value.type, dtype) for name, value in zip(wanted, block.args)]
    with np.errstate(all="ignore"):  # infinities and NaN are values like others
        results = _run(block, arguments, weights, dtype)
    names = [name for name, _, _ in output_signature(module)]
    return dict(zip(names, (np.array(result) for result in results), strict=True))


def evaluate(op: Operation, operands: Sequence[np.ndarray]) -> np.ndarray:
    """The result of one operation without a region, rounded to its element type."""
    with np.errstate(all="ignore"):
        return _result(op, operands, None)


def _run(
    block: Block,
    arguments: Sequence[np.ndarray],
    weights: Mapping[str, np.ndarray],
    dtype: type[np.floating] | None,
) -> list[np.ndarray]:
    """What the block's terminator names. A value is let go after its last use."""
    values: dict[SSAValue, np.ndarray] = dict(zip(block.args, arguments, strict=True))
    uses = Counter(operand for op in block.ops for operand in op.operands)
    terminator = block.last_op
    assert terminator is not None
    for op in block.ops:
        if op is terminator:
            break
        operands = [values[operand] for operand in op.operands]
        match op:
            case WeightOp():
                results = [_held(_logical(op, weights[op.key]), op.result.type, dtype)]
            case KernelOp():
                results = _run(op.block, operands, weights, dtype)
            case _:
                results = [_result(op, operands, dtype)]
        values.update(zip(op.results, results, strict=True))
        for operand in op.operands:
            uses[operand] -= 1
            if not uses[operand]:
                del values[operand]
    return [values[operand] for operand in terminator.operands]


def _result(op: Operation, operands: Sequence[np.ndarray], dtype: type[np.floating] | None) -> np.ndarray:
    # Half precision is for storage: one operation computes in single precision and rounds once.
    wide = [x.astype(np.float32) if x.dtype == np.float16 else x for x in operands]
    result = _meaning(op, *wide)
    assert result.shape == shape_of(op.results[0]), f"{op.name}: {result.shape}"
    return _held(result, op.results[0].type, dtype)


def _held(array: np.ndarray, type_: Attribute, dtype: type[np.floating] | None) -> np.ndarray:
    """The array in the precision that values of a tensor type are held in."""
    element = element_type(type_)
    return np.asarray(array, dtype if dtype and is_float(element) else to_numpy(element))


def _logical(op: WeightOp, array: np.ndarray) -> np.ndarray:
    layout = layout_of(op.result)
    return layout.unpack(array, shape_of(op.result)) if layout else array


@singledispatch
def _meaning(op: Operation, *operands: np.ndarray) -> np.ndarray:
    raise NotImplementedError(f"the interpreter has no rule for {op.name}")


_meaning.register(ConvOp, convolve)
_meaning.register(WinogradConvOp, convolve_winograd)
_meaning.register(ConvTransposeOp, convolve_transposed)
_meaning.register(PoolOp, pool)
_meaning.register(LRNOp, normalise_locally)
_meaning.register(ResizeOp, resize)
_meaning.register(GatherOp, gather)
_meaning.register(GridSampleOp, grid_sample)
_meaning.register(TopKOp, top_k)
_meaning.register(ArgPoolOp, arg_pool)
_meaning.register(ScanOp, scan)
_meaning.register(ScatterOp, scatter)


@_meaning.register
def _(op: ElementwiseOp, *operands: np.ndarray) -> np.ndarray:
    return op.spec.numpy(*operands, **op.param_values)


@_meaning.register
def _(op: MatMulOp, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a @ (b.swapaxes(-1, -2) if op.transpose_b else b)


def _log_sum_exp(x: np.ndarray, **options: Any) -> np.ndarray:
    top = x.max(axis=options["axis"], keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    return np.log(np.exp(x - top).sum(**options)) + (top if options["keepdims"] else top.squeeze(options["axis"]))


_REDUCERS: Mapping[ReduceKind, Callable[..., np.ndarray]] = {
    ReduceKind.SUM: np.sum,
    ReduceKind.MEAN: np.mean,
    ReduceKind.MAX: np.max,
    ReduceKind.MIN: np.min,
    ReduceKind.PROD: np.prod,
    ReduceKind.SUM_SQUARE: lambda x, **options: np.square(x).sum(**options),
    ReduceKind.L1: lambda x, **options: np.abs(x).sum(**options),
    ReduceKind.L2: lambda x, **options: np.sqrt(np.square(x).sum(**options)),
    ReduceKind.LOG_SUM: lambda x, **options: np.log(x.sum(**options)),
    ReduceKind.LOG_SUM_EXP: _log_sum_exp,
}


@_meaning.register
def _(op: ReduceOp, x: np.ndarray) -> np.ndarray:
    axes = tuple(op.axes.get_values())
    return np.asarray(_REDUCERS[op.kind.data](x, axis=axes, keepdims=op.keepdims is not None))


@_meaning.register
def _(op: ArgReduceOp, x: np.ndarray) -> np.ndarray:
    axis, find = op.axis.value.data, np.argmax if op.kind.data == ReduceKind.MAX else np.argmin
    if op.select_last is None:
        return find(x, axis, keepdims=op.keepdims is not None)
    return x.shape[axis] - 1 - find(np.flip(x, axis), axis, keepdims=op.keepdims is not None)


@_meaning.register
def _(op: SoftmaxOp, x: np.ndarray) -> np.ndarray:
    axes = tuple(op.axes.get_values())
    x = x - x.max(axes, keepdims=True)
    total = np.exp(x).sum(axes, keepdims=True)
    return x - np.log(total) if op.log else np.exp(x) / total


@_meaning.register
def _(op: BatchNormOp, x: np.ndarray, *statistics: np.ndarray) -> np.ndarray:
    line = [-1, *[1] * (x.ndim - 2)] if x.ndim > 1 else [-1]
    scale, shift, mean, variance = (statistic.reshape(line) for statistic in statistics)
    return (x - mean) / np.sqrt(variance + op.epsilon.value.data) * scale + shift


@_meaning.register
def _(op: ConstantOp) -> np.ndarray:
    return np.full(shape_of(op.result), op.value.value.data)


@_meaning.register
def _(op: ReshapeOp, x: np.ndarray) -> np.ndarray:
    return x.reshape(shape_of(op.result))


@_meaning.register
def _(op: TransposeOp, x: np.ndarray) -> np.ndarray:
    return x.transpose(op.perm.get_values())


@_meaning.register
def _(op: ShuffleOp, x: np.ndarray) -> np.ndarray:
    batch, channels, *spatial = x.shape
    groups = op.groups.value.data
    return x.reshape(batch, groups, channels // groups, *spatial).swapaxes(1, 2).reshape(x.shape)


@_meaning.register
def _(op: BroadcastOp, x: np.ndarray) -> np.ndarray:
    return np.broadcast_to(x, shape_of(op.result))


@_meaning.register
def _(op: ConcatOp, *parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, op.axis.value.data)


@_meaning.register
def _(op: SliceOp, x: np.ndarray) -> np.ndarray:
    taken = []
    for start, step, size in zip(op.starts.get_values(), op.steps.get_values(), shape_of(op.result)):
        stop = start + size * step
        taken.append(slice(start, None if stop < 0 else stop, step) if size else slice(0))
    return x[tuple(taken)]


@_meaning.register
def _(op: PadOp, x: np.ndarray) -> np.ndarray:
    pads = op.pads.get_values()
    ends = list(zip(pads[: x.ndim], pads[x.ndim :]))
    x = x[tuple(slice(max(-before, 0), size - max(-after, 0)) for size, (before, after) in zip(x.shape, ends))]
    widths = [(max(before, 0), max(after, 0)) for before, after in ends]
    if not widths:  # numpy refuses to pad an array of no axes by nothing
        return x
    if op.mode.data == PadMode.CONSTANT:
        return np.pad(x, widths, constant_values=op.value.value.data)
    return np.pad(x, widths, mode=op.mode.data.value)


@_meaning.register
def _(op: CastOp, x: np.ndarray) -> np.ndarray:
    return x


@_meaning.register
def _(op: RelayoutOp, x: np.ndarray) -> np.ndarray:
    return x
