"""The reducing operations as tensor expressions, in any layout and unscheduled.

`anchor_tensor` computes the reduction itself as one tensor (softmax needs a few), and binds the anchor's result to
it with what follows element by element: a convolution's bias, a mean's division, the square root of an L2 norm.
Inputs are read with `Emitter.read`, so any prologue works; templates schedule the blocks by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from tvm import te, tirx
from xdsl.ir import Operation, SSAValue

from convc.ir.attributes import PoolKind, ReduceKind, layout_of, physical_shape, shape_of
from convc.ir.dtypes import is_float
from convc.ir.neural import (
    ArgReduceOp,
    ConvOp,
    ConvTransposeOp,
    LRNOp,
    MatMulOp,
    PoolOp,
    ReduceOp,
    SoftmaxOp,
)
from convc.targets.emit import Emitter, Index, dtype_of

Element = Callable[[Index], Any]


def anchor_tensor(emitter: Emitter, op: Operation) -> te.Tensor:
    """The tensor of an anchor's reduction, in the physical shape of its result. `op.result` is bound: the emitter
    reads it as any other value. The padding of a blocked result holds no meaningful numbers yet."""
    return _ANCHORS[type(op)](emitter, op)


def conv(emitter: Emitter, op: ConvOp) -> te.Tensor:
    """Block `conv`; reduction axes: input channel within the group (absent if it has one), then the kernel's."""
    w_shape, group = shape_of(op.w), op.group.value.data
    strides, pads, dilations = op.strides.get_values(), op.pads.get_values(), op.dilations.get_values()
    outputs = w_shape[0] // group
    channel = [emitter.reduce_axis(w_shape[1], "ic")] if w_shape[1] > 1 else []
    taps = window_axes(emitter, w_shape[2:])

    def product(index: Index) -> Any:
        n, o, *spatial = index
        ic = channel[0].var if channel else 0
        c = ic if group == 1 else emitter.simplify(o // outputs) * w_shape[1] + ic
        at = [i * s + k * d - p for i, s, k, d, p in zip(spatial, strides, taps, dilations, pads)]
        return padded(emitter, op.x, [n, c, *at], 0.0, spatial_axes(op)) * emitter.read(op.w, [o, ic, *taps])

    depthwise = group == w_shape[0] == shape_of(op.x)[1]
    tensor = _reduction(
        emitter,
        op.result,
        product,
        te.sum,
        channel + taps,
        "conv",
        reads=[(op.w, 0), (op.x, 1)] if depthwise else [(op.w, 0)],
        guarded=group > 1 and not depthwise,
    )
    bind_with_bias(emitter, op, tensor)
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

    tensor = _reduction(
        emitter,
        op.result,
        product,
        te.sum,
        channel + taps,
        "conv_transpose",
        reads=[(op.w, 1)],
        guarded=group > 1,
    )
    bind_with_bias(emitter, op, tensor)
    return tensor


def bind_with_bias(emitter: Emitter, op: ConvOp | ConvTransposeOp, tensor: te.Tensor) -> None:
    """Bind a convolution's result to the tensor of its products plus the bias, if it has one."""
    bias = op.bias
    if bias is None:
        emitter.bind(op.result, tensor)
    else:
        emitter.bind_element(
            op.result,
            lambda index: emitter.element(op.result, tensor, index) + emitter.read(bias, [index[1]]),
            also=[(bias, 0)],
        )


def matmul(emitter: Emitter, op: MatMulOp) -> te.Tensor:
    """Block `matmul`; one reduction axis."""
    a_shape, b_shape = shape_of(op.a), shape_of(op.b)
    k = emitter.reduce_axis(a_shape[-1], "k")

    def product(index: Index) -> Any:
        *batch, m, n = index
        a = emitter.read(op.a, [*_batch(a_shape, batch), m, k.var])
        b = emitter.read(op.b, [*_batch(b_shape, batch), *((n, k.var) if op.transpose_b else (k.var, n))])
        return a * b

    tensor = _reduction(emitter, op.result, product, te.sum, [k], "matmul", reads=[], guarded=True)
    emitter.bind(op.result, tensor)
    return tensor


def _batch(shape: Sequence[int], batch: Sequence[Any]) -> list[Any]:
    sizes = shape[:-2]
    aligned = list(batch)[len(batch) - len(sizes) :]
    return [0 if size == 1 else i for size, i in zip(sizes, aligned, strict=True)]


def pool(emitter: Emitter, op: PoolOp) -> te.Tensor:
    """Block `pool`: the largest element of each window, or the sum, which is divided when read."""
    kernel, strides = op.kernel.get_values(), op.strides.get_values()
    pads, dilations = op.pads.get_values(), op.dilations.get_values()
    taps = window_axes(emitter, kernel)
    largest = op.kind.data is PoolKind.MAX
    outside = tirx.min_value(dtype_of(op.x)) if largest else tirx.const(0, dtype_of(op.x))

    def tap(index: Index) -> Any:
        at = [i * s + k * d - p for i, s, k, d, p in zip(index[2:], strides, taps, dilations, pads)]
        return padded(emitter, op.x, [*index[:2], *at], outside, spatial_axes(op))

    reducer = te.max if largest else te.sum
    tensor = _reduction(emitter, op.result, tap, reducer, taps, "pool", reads=[(op.x, 1)])
    if largest:
        emitter.bind(op.result, tensor)
    else:
        bind_average(emitter, op, tensor)
    return tensor


def bind_average(emitter: Emitter, op: PoolOp, tensor: te.Tensor) -> None:
    """Bind an average pool's result to the tensor of its sums over the number of elements in each window."""
    dtype = dtype_of(op.result)
    area = prod(op.kernel.get_values())

    def element(index: Index) -> Any:
        total = emitter.element(op.result, tensor, index)
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


def reduce(emitter: Emitter, op: ReduceOp) -> te.Tensor:
    """Block `reduce`; `log_sum_exp` subtracts the largest element first, a block `largest` of the same shape."""
    kind, dtype = op.kind.data, dtype_of(op.x)
    sizes = [shape_of(op.x)[axis] for axis in op.axes.get_values()]

    def block(name: str, reducer: Any, element: Element) -> te.Tensor:
        axes = window_axes(emitter, sizes)
        return _reduction(
            emitter,
            op.result,
            lambda index: element(_unreduced(op, index, axes)),
            reducer,
            axes,
            name,
            reads=[(op.x, 1)],
        )

    def x(index: Index) -> Any:
        return emitter.read(op.x, index)

    if kind is ReduceKind.LOG_SUM_EXP:
        largest = block("largest", te.max, x)

        def shift(index: Index) -> Any:
            # Infinities would make inf - inf.
            return finite(emitter.element(op.result, largest, index))

        def scaled(index: Index) -> Any:
            return tirx.exp(x(index) - shift(_reduced(op, index)))

        tensor = block("reduce", te.sum, scaled)
        emitter.bind_element(
            op.result, lambda index: tirx.log(emitter.element(op.result, tensor, index)) + shift(index)
        )
        return tensor
    before: Mapping[ReduceKind, Element] = {
        ReduceKind.SUM_SQUARE: lambda index: x(index) * x(index),
        ReduceKind.L2: lambda index: x(index) * x(index),
        ReduceKind.L1: lambda index: tirx.abs(x(index)),
    }
    reducers = {ReduceKind.MAX: maximum, ReduceKind.MIN: minimum, ReduceKind.PROD: product_of}
    tensor = block("reduce", reducers.get(kind, te.sum), before.get(kind, x))
    after: Mapping[ReduceKind, Callable[[Any], Any]] = {
        ReduceKind.L2: tirx.sqrt,
        ReduceKind.LOG_SUM: tirx.log,
        ReduceKind.MEAN: lambda total: (
            total * tirx.const(1 / prod(sizes), dtype)
            if is_float(op.x.type.element_type)
            else tirx.truncdiv(total, tirx.const(prod(sizes), dtype))
        ),
    }
    if kind in after:
        emitter.bind_element(op.result, lambda index: after[kind](emitter.element(op.result, tensor, index)))
    else:
        emitter.bind(op.result, tensor)
    return tensor


def arg_reduce(emitter: Emitter, op: ArgReduceOp) -> te.Tensor:
    """Blocks `extreme`, the largest (or smallest) element, and `arg_reduce`, the first or last place it is at."""
    axis = op.axis.value.data
    shape, size = shape_of(op.x), shape_of(op.x)[axis]
    largest = op.kind.data is ReduceKind.MAX
    kept = [n for i, n in enumerate(shape) if i != axis]
    at = emitter.reduce_axis(size, "at")

    def best(*index: Any) -> Any:
        emitter.bind_axes(index, kept)
        value = emitter.read(op.x, [*index[:axis], at.var, *index[axis:]])
        return (maximum if largest else minimum)(value, axis=[at])

    extreme = te.compute(kept, best, name="extreme")
    place = emitter.reduce_axis(size, "place")
    last = op.select_last is not None

    def where(index: Index) -> Any:
        rest = [i for i in index if i is not None]
        whole = [*rest[:axis], place.var, *rest[axis:]]
        found = emitter.read(op.x, whole) == extreme(*rest)
        miss = -1 if last else size
        return tirx.Select(found, tirx.Cast("int64", place.var), tirx.const(miss, "int64"))

    def at_kept(index: Index) -> Any:
        return where([*index[:axis], *index[axis + 1 :]] if op.keepdims else index)

    tensor = _reduction(
        emitter, op.result, at_kept, te.max if last else te.min, [place], "arg_reduce", reads=[], guarded=True
    )

    def element(index: Index) -> Any:
        # NaN equals nothing: the position must stay inside the axis even then.
        position = emitter.element(op.result, tensor, index)
        bound = tirx.const(0 if last else size - 1, "int64")
        return tirx.max(position, bound) if last else tirx.min(position, bound)

    emitter.bind_element(op.result, element)
    return tensor


def softmax(emitter: Emitter, op: SoftmaxOp) -> te.Tensor:
    """Blocks `largest`, `softmax` (the exponentials; absent for the logarithm) and `total`. Returns the tensor of
    the totals, one for each place along the kept axes."""
    shape, axes = shape_of(op.x), op.axes.get_values()
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    sizes = [shape[axis] for axis in axes]

    def rows(name: str, reducer: Any, element: Element) -> te.Tensor:
        over = window_axes(emitter, sizes)

        def body(*index: Any) -> Any:
            emitter.bind_axes(index, [shape[axis] for axis in kept])
            places = {**dict(zip(kept, index)), **{axis: k.var for axis, k in zip(axes, over)}}
            return reducer(element([places[axis] for axis in range(len(shape))]), axis=over)

        return te.compute([shape[axis] for axis in kept] or [1], body if kept else lambda _: body(), name=name)

    def row(tensor: te.Tensor, index: Index) -> Any:
        return tensor(*([index[axis] for axis in kept] or [0]))

    largest = rows("largest", te.max, lambda index: emitter.read(op.x, index))

    def shifted(index: Index) -> Any:
        return emitter.read(op.x, index) - finite(row(largest, index))

    if op.log:
        total = rows("total", te.sum, lambda index: tirx.exp(shifted(index)))
        emitter.bind_element(op.result, lambda index: shifted(index) - tirx.log(row(total, index)))
        return total
    scaled = te.compute(shape, lambda *index: tirx.exp(shifted(index)), name="softmax")
    total = rows("total", te.sum, lambda index: scaled(*index))
    one = tirx.const(1, dtype_of(op.x))
    emitter.bind_element(op.result, lambda index: scaled(*index) * (one / row(total, index)))
    return total


def lrn(emitter: Emitter, op: LRNOp) -> te.Tensor:
    """Block `lrn`: the sums of squares over neighbouring channels."""
    size, dtype = op.size.value.data, dtype_of(op.x)
    near = emitter.reduce_axis(size, "near")

    def square(index: Index) -> Any:
        value = padded(emitter, op.x, [index[0], index[1] + near.var - (size - 1) // 2, *index[2:]], 0.0, [1])
        return value * value

    tensor = _reduction(emitter, op.result, square, te.sum, [near], "lrn", reads=[], guarded=True)
    scale, beta, bias = op.alpha.value.data / size, op.beta.value.data, op.bias.value.data

    def element(index: Index) -> Any:
        base = tirx.const(bias, dtype) + tirx.const(scale, dtype) * emitter.element(op.result, tensor, index)
        return emitter.read(op.x, index) * negative_power(base, beta)

    emitter.bind_element(op.result, element, also=[(op.x, 1)])
    return tensor


def negative_power(base: Any, exponent: float) -> Any:
    """`base ** -exponent` of a positive base; by square roots for the multiples of 1/4 that LRN uses."""
    dtype = base.ty.dtype
    root = tirx.sqrt(base)
    known = {0.5: lambda: root, 0.75: lambda: root * tirx.sqrt(root), 1.0: lambda: base}
    if exponent in known:
        return tirx.const(1, dtype) / known[exponent]()
    return tirx.power(base, tirx.const(-exponent, dtype))


def window_axes(emitter: Emitter, sizes: Sequence[int]) -> list[Any]:
    """Reduction axes over a window: k0, k1 ..."""
    return [emitter.reduce_axis(size, f"k{i}") for i, size in enumerate(sizes)]


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


def spatial_axes(op: ConvOp | ConvTransposeOp | PoolOp) -> Sequence[int]:
    """All axes but the batch and the channels."""
    return range(2, len(shape_of(op.x)))


def finite(value: Any) -> Any:
    """The nearest finite number."""
    dtype = value.ty.dtype
    return tirx.max(tirx.min(value, tirx.max_value(dtype)), tirx.min_value(dtype))


def _extreme(combine: Callable[[Any, Any], Any], identity: float) -> Any:
    def start(dtype: str) -> Any:
        if dtype.startswith("float"):
            return tirx.const(identity, dtype)
        return tirx.min_value(dtype) if identity < 0 else tirx.max_value(dtype)

    return te.comm_reducer(combine, start)


# TVM's own start at the largest finite numbers, which is wrong where all elements are infinite.
maximum = _extreme(lambda a, b: tirx.max(a, b), float("-inf"))
minimum = _extreme(lambda a, b: tirx.min(a, b), float("inf"))
product_of = te.comm_reducer(lambda a, b: a * b, lambda dtype: tirx.const(1, dtype))


def _unreduced(op: ReduceOp, index: Index, over: Sequence[Any]) -> Index:
    """Where the element of x lies that a result index and the reduction axes name."""
    axes = list(op.axes.get_values())
    rest = iter(i for axis, i in enumerate(index) if not (op.keepdims and axis in axes))
    return [over[axes.index(axis)].var if axis in axes else next(rest) for axis in range(len(shape_of(op.x)))]


def _reduced(op: ReduceOp, index: Index) -> Index:
    """The result index of an element of x."""
    axes = op.axes.get_values()
    return [0 if axis in axes else i for axis, i in enumerate(index) if op.keepdims or axis not in axes]


def _reduction(
    emitter: Emitter,
    value: SSAValue,
    source: Element,
    reducer: Any,
    axes: Sequence[Any],
    name: str,
    reads: Sequence[tuple[SSAValue, int]],
    guarded: bool = False,
) -> te.Tensor:
    """A tensor in the layout of `value` that reduces `source` over some axes. `reads` are the values, each with
    the axis by which it is indexed, that must themselves be padded if the result's padding is to be computed
    like any other element, without a test."""
    layout, shape, extents = layout_of(value), shape_of(value), physical_shape(value)

    def body(*position: Any) -> Any:
        emitter.bind_axes(position, extents)
        index = [emitter.simplify(i) for i in layout.logical_index(position)] if layout else list(position)
        element = source(index)
        if layout and layout.pads(shape) and (guarded or not emitter.padded_like(value, reads)):
            element = tirx.if_then_else(
                tirx.all(*(i < n for i, n in zip(index, shape))), element, tirx.const(0, element.ty.dtype)
            )
        return reducer(element, axis=axes)

    return te.compute(extents, body, name=name)


_ANCHORS: Mapping[type[Operation], Callable[[Any, Any], te.Tensor]] = {
    ArgReduceOp: arg_reduce,
    ConvOp: conv,
    ConvTransposeOp: conv_transpose,
    LRNOp: lrn,
    MatMulOp: matmul,
    PoolOp: pool,
    ReduceOp: reduce,
    SoftmaxOp: softmax,
}
