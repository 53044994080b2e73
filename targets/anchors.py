"""The reducing operations as tensor expressions, in any layout and unscheduled.

Each computes the reduction itself as one tensor (softmax needs a few) in the physical shape of the anchor's result,
and binds the result to it with what follows element by element: a convolution's bias, an average's division.
Inputs are read with `Emitter.read`, so any prologue works; templates schedule the blocks by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from tvm import te, tirx
from xdsl.ir import Operation, SSAValue

from convc.ir.attributes import PoolKind, shape_of
from convc.ir.functions import Fn
from convc.ir.neural import ArgReduceOp, LRNOp, MatMulOp, ReduceOp, SoftmaxOp
from convc.ir.windows import ArgPoolOp, ConvOp, ConvTransposeOp, PoolOp, WinogradConvOp
from convc.targets.emit import Emitter, Index, dtype_of
from convc.targets.functions import apply
from convc.targets.indexing import flattened
from convc.targets.reducers import ADD, MAXIMUM, MINIMUM, reduction, window_axes
from convc.targets.rows import arg_reduce, reduce, softmax


def bind_anchor(emitter: Emitter, op: Operation) -> None:
    """Compute an anchor's reduction and bind its result: the emitter then reads it as any other value."""
    _ANCHORS[type(op)](emitter, op)


def conv(emitter: Emitter, op: ConvOp) -> te.Tensor:
    """Block `conv`; reduction axes: input channel within the group (absent if it has one), then the kernel's."""
    w_shape, group = shape_of(op.w), op.group.value.data
    outputs = w_shape[0] // group
    channel = [emitter.reduce_axis(w_shape[1], "ic")] if w_shape[1] > 1 else []
    taps = window_axes(emitter, w_shape[2:])

    def product(index: Index) -> Any:
        n, o, *spatial = index
        ic = channel[0].var if channel else 0
        c = ic if group == 1 else emitter.simplify(o // outputs) * w_shape[1] + ic
        return padded(emitter, op.x, [n, c, *tap_place(op, spatial, taps)], 0.0, spatial_axes(op)) * emitter.read(
            op.w, [o, ic, *taps]
        )

    depthwise = group == w_shape[0] == shape_of(op.x)[1]
    tensor = reduction(
        emitter,
        op.result,
        product,
        ADD,
        channel + taps,
        "conv",
        reads=[(op.w, 0), (op.x, 1)] if depthwise else [(op.w, 0)] if group == 1 else None,
    )
    bind_with_bias(emitter, op, lambda index: emitter.element(op.result, tensor, index))
    return tensor


def conv_transpose(emitter: Emitter, op: ConvTransposeOp) -> te.Tensor:
    """Block `conv_transpose`: each output gathers the inputs that ONNX's definition scatters to it."""
    x_shape, w_shape, group = shape_of(op.x), shape_of(op.w), op.group.value.data
    strides, pads, dilations = op.strides.get_values(), op.pads.get_values(), op.dilations.get_values()
    outputs, inputs = w_shape[1], x_shape[1] // group
    channel = [emitter.reduce_axis(inputs, "ic")] if inputs > 1 else []
    taps = window_axes(emitter, w_shape[2:])

    def product(index: Index) -> Any:
        n, o, *spatial = index
        ic = channel[0].var if channel else 0
        c = ic if group == 1 else emitter.simplify(o // outputs) * inputs + ic
        scaled = [i + p - k * d for i, p, k, d in zip(spatial, pads, taps, dilations)]
        at = [i if s == 1 else tirx.floordiv(i, s) for i, s in zip(scaled, strides)]
        hit = [tirx.floormod(i, s) == 0 for i, s in zip(scaled, strides) if s > 1]
        value = padded(emitter, op.x, [n, c, *at], 0.0, spatial_axes(op), hit)
        return value * emitter.read(op.w, [c, o if group == 1 else emitter.simplify(o % outputs), *taps])

    tensor = reduction(
        emitter,
        op.result,
        product,
        ADD,
        channel + taps,
        "conv_transpose",
        reads=[(op.w, 1)] if group == 1 else None,
    )
    bind_with_bias(emitter, op, lambda index: emitter.element(op.result, tensor, index))
    return tensor


def bind_with_bias(
    emitter: Emitter, op: ConvOp | ConvTransposeOp | WinogradConvOp, sums: Callable[[Index], Any]
) -> None:
    """Bind a convolution's result to its sums of products plus the bias, if it has one."""
    bias = op.bias
    if bias is None:
        emitter.bind_element(op.result, sums)
    else:
        emitter.bind_element(op.result, lambda index: sums(index) + emitter.read(bias, [index[1]]), also=[(bias, 0)])


def matmul(emitter: Emitter, op: MatMulOp) -> te.Tensor:
    """Block `matmul`; one reduction axis."""
    a_shape, b_shape = shape_of(op.a), shape_of(op.b)
    k = emitter.reduce_axis(a_shape[-1], "k")

    def product(index: Index) -> Any:
        *batch, m, n = index
        a = emitter.read(op.a, [*batch_index(a_shape, batch), m, k.var])
        b = emitter.read(op.b, [*batch_index(b_shape, batch), *((n, k.var) if op.transpose_b else (k.var, n))])
        return a * b

    tensor = reduction(emitter, op.result, product, ADD, [k], "matmul", reads=None)
    emitter.bind(op.result, tensor)
    return tensor


def batch_index(shape: Sequence[int], batch: Sequence[Any]) -> list[Any]:
    """The index into an operand's leading axes that numpy's broadcasting pairs with one into the result's."""
    sizes = shape[:-2]
    aligned = list(batch)[len(batch) - len(sizes) :]
    return [0 if size == 1 else i for size, i in zip(sizes, aligned, strict=True)]


def pool(emitter: Emitter, op: PoolOp) -> te.Tensor:
    """Block `pool`: the largest element of each window, or the sum, which is divided when read."""
    taps = window_axes(emitter, op.kernel.get_values())
    largest = op.kind.data is PoolKind.MAX
    outside = (MAXIMUM if largest else ADD).identity(dtype_of(op.x))

    def tap(index: Index) -> Any:
        at = [*index[:2], *tap_place(op, index[2:], taps)]
        return padded(emitter, op.x, at, outside, spatial_axes(op))

    reducer = MAXIMUM if largest else ADD
    tensor = reduction(emitter, op.result, tap, reducer, taps, "pool", reads=[(op.x, 1)])
    if largest:
        emitter.bind(op.result, tensor)
    else:
        bind_average(emitter, op, lambda index: emitter.element(op.result, tensor, index))
    return tensor


def arg_pool(emitter: Emitter, op: ArgPoolOp) -> None:
    """Blocks `extreme`, the largest element of each window, and `place`, the first position in x that it is at: the
    last one of all where none is, which happens around NaN."""
    shape, extents = shape_of(op.x), shape_of(op.result)
    sizes, lowest = op.kernel.get_values(), MAXIMUM.identity(dtype_of(op.x))

    def tap(index: Index, axes: Sequence[Any]) -> list[Any]:
        return [*index[:2], *tap_place(op, index[2:], axes)]

    taps, again = window_axes(emitter, sizes), window_axes(emitter, sizes)

    def element(*index: Any) -> Any:
        return MAXIMUM.reduce(padded(emitter, op.x, tap(index, taps), lowest, spatial_axes(op)), taps)

    extreme = te.compute(extents, element, name="extreme")

    def position(*index: Any) -> Any:
        at = tap(index, again)
        flat = flattened(at, shape)
        inside = [test for axis in spatial_axes(op) for test in (at[axis] >= 0, at[axis] < shape[axis])]
        hit = tirx.all(*inside, padded(emitter, op.x, at, lowest, spatial_axes(op)) == extreme(*index))
        return MINIMUM.reduce(tirx.Select(hit, flat, tirx.const(prod(shape) - 1, "int32")), again)

    place = te.compute(extents, position, name="place")
    emitter.bind_element(op.result, lambda index: tirx.Cast("int64", place(*(emitter.simplify(i) for i in index))))


def bind_average(emitter: Emitter, op: PoolOp, sums: Callable[[Index], Any]) -> None:
    """Bind an average pool's result to its sums over the number of elements in each window."""
    dtype = dtype_of(op.result)
    area = prod(op.kernel.get_values())

    def element(index: Index) -> Any:
        total = sums(index)
        count = window_count(emitter, op, index[2:])
        if isinstance(count, int):
            return total * tirx.const(1 / count, dtype)
        # Nearly all windows are whole: theirs is a product by a constant.
        return total * tirx.Select(
            count == area, tirx.const(1 / area, dtype), tirx.const(1, dtype) / tirx.Cast(dtype, count)
        )

    emitter.bind_element(op.result, element)


def window_count(emitter: Emitter, op: PoolOp, index: Index) -> Any:
    """How many elements ONNX counts in the window at a spatial index: an int where all windows agree."""
    rank = len(index)
    sizes, pads = shape_of(op.x)[2:], op.pads.get_values()
    count: Any = 1
    for axis, (i, k, s, d) in enumerate(
        zip(index, op.kernel.get_values(), op.strides.get_values(), op.dilations.get_values())
    ):
        before, after = (pads[axis], pads[rank + axis]) if op.count_include_pad else (0, 0)
        low, high = -before, sizes[axis] + after
        last = (shape_of(op.result)[2 + axis] - 1) * s - pads[axis] + (k - 1) * d
        if -pads[axis] >= low and last < high:
            count = count * k
            continue
        start = i * s - pads[axis]
        first = tirx.max(0, tirx.floordiv(low - start + d - 1, d))
        end = tirx.min(k, tirx.floordiv(high - start + d - 1, d))
        # A window that lies in the padding altogether has the sum 0 over any count.
        count = count * tirx.max(emitter.simplify(end - first), 1)
    return count


def lrn(emitter: Emitter, op: LRNOp) -> te.Tensor:
    """Block `lrn`: the sums of squares over neighbouring channels."""
    size, dtype = op.size.value.data, dtype_of(op.x)
    near = emitter.reduce_axis(size, "near")

    def square(index: Index) -> Any:
        value = padded(emitter, op.x, [index[0], index[1] + near.var - (size - 1) // 2, *index[2:]], 0.0, [1])
        return value * value

    tensor = reduction(emitter, op.result, square, ADD, [near], "lrn", reads=None)
    scale, beta, bias = op.alpha.value.data / size, op.beta.value.data, op.bias.value.data

    def element(index: Index) -> Any:
        base = tirx.const(bias, dtype) + tirx.const(scale, dtype) * emitter.element(op.result, tensor, index)
        return emitter.read(op.x, index) * apply(Fn.POW, [base, tirx.const(-beta, dtype)], {"positive": True})

    emitter.bind_element(op.result, element, also=[(op.x, 1)])
    return tensor


def padded(
    emitter: Emitter, x: SSAValue, index: Index, outside: Any, axes: Sequence[int], also: Sequence[Any] = ()
) -> Any:
    """An element of x, or `outside` where the index along one of the axes leaves the tensor (or one of the
    conditions `also` fails)."""
    shape = shape_of(x)
    conditions = list(also)
    for axis in axes:
        for condition in (index[axis] >= 0, index[axis] < shape[axis]):
            known = emitter.simplify(condition)
            if not (isinstance(known, tirx.IntImm | bool) and bool(known)):
                conditions.append(known)
    value = emitter.read(x, index)
    if not conditions:
        return value
    outside = tirx.const(outside, value.ty.dtype) if isinstance(outside, float) else outside
    return tirx.if_then_else(tirx.all(*conditions), value, outside)


def window_of(op: ConvOp | PoolOp) -> tuple[int, ...]:
    """The spatial extents of a convolution's or pool's window."""
    return tuple(op.kernel.get_values()) if isinstance(op, PoolOp) else shape_of(op.w)[2:]


def tap_place(op: ConvOp | PoolOp | ArgPoolOp, place: Sequence[Any], tap: Sequence[Any]) -> list[Any]:
    """Along the spatial axes of x, where a tap of the window lies for a place in the result; outside in the padding."""
    geometry = zip(place, op.strides.get_values(), tap, op.dilations.get_values(), op.pads.get_values())
    return [i * s + k * d - p for i, s, k, d, p in geometry]


def spatial_axes(op: ConvOp | ConvTransposeOp | PoolOp | ArgPoolOp) -> Sequence[int]:
    """All axes but the batch and the channels."""
    return range(2, len(shape_of(op.x)))


_ANCHORS: Mapping[type[Operation], Callable[[Any, Any], Any]] = {
    ArgPoolOp: arg_pool,
    ArgReduceOp: arg_reduce,
    ConvOp: conv,
    ConvTransposeOp: conv_transpose,
    LRNOp: lrn,
    MatMulOp: matmul,
    PoolOp: pool,
    ReduceOp: reduce,
    SoftmaxOp: softmax,
}
