"""Shape arithmetic of the operators, as ONNX defines it. Every function raises ValueError with both sides."""

from __future__ import annotations

from collections.abc import Sequence

from convc.notation import shape_text


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The numpy broadcast of some shapes."""
    rank = max((len(shape) for shape in shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if size != 1 and result[axis] not in (1, size):
                raise ValueError(f"shapes {' and '.join(map(shape_text, shapes))} do not broadcast")
            result[axis] = size if size != 1 else result[axis]
    return tuple(result)


def window(size: int, kernel: int, stride: int, dilation: int, before: int, after: int, ceil_mode: bool = False) -> int:
    """How many positions a convolution or pooling window takes along one axis."""
    span = dilation * (kernel - 1) + 1
    room = size + before + after - span
    if room < 0 and not (ceil_mode and room + stride > 0):
        raise ValueError(f"a window spanning {span} does not fit an axis of {size} padded by {before} and {after}")
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    # A window that would start in the padding after the input is dropped (as PyTorch and ONNX >= 1.13 do).
    return count - 1 if ceil_mode and (count - 1) * stride >= size + before else count


def convolution(
    x: Sequence[int],
    w: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    group: int,
) -> tuple[int, ...]:
    """[N, C, *S] * [O, C/group, *K] -> [N, O, *S']. `pads` lists all begins, then all ends."""
    spatial = len(x) - 2
    if spatial < 1 or len(w) != len(x):
        raise ValueError(
            f"expected input and weight of one rank of at least 3, got {shape_text(x)} and {shape_text(w)}"
        )
    _check_window(spatial, strides, pads, dilations)
    if w[1] * group != x[1]:
        raise ValueError(f"weight expects {w[1] * group} input channels ({group} groups), input has {x[1]}")
    if group < 1 or w[0] % group:
        raise ValueError(f"{w[0]} output channels do not divide into {group} groups")
    sizes = (window(x[2 + i], w[2 + i], strides[i], dilations[i], pads[i], pads[spatial + i]) for i in range(spatial))
    return (x[0], w[0], *sizes)


def transposed_convolution(
    x: Sequence[int],
    w: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    output_padding: Sequence[int],
    group: int,
) -> tuple[int, ...]:
    """[N, C, *S] * [C, O/group, *K] -> [N, O, *S']."""
    spatial = len(x) - 2
    if spatial < 1 or len(w) != len(x):
        raise ValueError(
            f"expected input and weight of one rank of at least 3, got {shape_text(x)} and {shape_text(w)}"
        )
    _check_window(spatial, strides, pads, dilations)
    if w[0] != x[1]:
        raise ValueError(f"weight expects {w[0]} input channels, input has {x[1]}")
    if group < 1 or x[1] % group:
        raise ValueError(f"{x[1]} input channels do not divide into {group} groups")
    sizes = tuple(
        strides[i] * (x[2 + i] - 1)
        + output_padding[i]
        + (w[2 + i] - 1) * dilations[i]
        + 1
        - pads[i]
        - pads[spatial + i]
        for i in range(spatial)
    )
    if min(sizes) < 1:
        raise ValueError(f"the output of a transposed convolution would be {shape_text(sizes)}")
    return (x[0], w[1] * group, *sizes)


def pool(
    x: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    ceil_mode: bool,
) -> tuple[int, ...]:
    """[N, C, *S] -> [N, C, *S']."""
    spatial = len(x) - 2
    if spatial < 1 or len(kernel) != spatial:
        raise ValueError(f"expected a kernel of {spatial} axes for input {shape_text(x)}, got {shape_text(kernel)}")
    _check_window(spatial, strides, pads, dilations)
    sizes = (
        window(x[2 + i], kernel[i], strides[i], dilations[i], pads[i], pads[spatial + i], ceil_mode)
        for i in range(spatial)
    )
    return (x[0], x[1], *sizes)


def matmul(a: Sequence[int], b: Sequence[int], transpose_b: bool = False) -> tuple[int, ...]:
    """[..., M, K] x [..., K, N] (or [..., N, K] transposed) -> [..., M, N], batch axes broadcast."""
    if len(a) < 2 or len(b) < 2:
        raise ValueError(f"expected two operands of rank 2 or more, got {shape_text(a)} and {shape_text(b)}")
    inner, columns = (b[-1], b[-2]) if transpose_b else (b[-2], b[-1])
    if a[-1] != inner:
        raise ValueError(
            f"the left operand has {a[-1]} columns, the right {inner} rows: {shape_text(a)} x {shape_text(b)}"
        )
    return (*broadcast(a[:-2], b[:-2]), a[-2], columns)


def reduce(x: Sequence[int], axes: Sequence[int], keepdims: bool) -> tuple[int, ...]:
    """Drop the axes, or leave 1 in their place."""
    check_axes(len(x), axes)
    return tuple(1 if i in axes else n for i, n in enumerate(x) if keepdims or i not in axes)


def concat(shapes: Sequence[Sequence[int]], axis: int) -> tuple[int, ...]:
    """Join along one axis."""
    first = list(shapes[0])
    check_axes(len(first), [axis])
    for other in shapes[1:]:
        if len(other) != len(first) or any(m != n for i, (m, n) in enumerate(zip(first, other)) if i != axis):
            raise ValueError(f"shapes {' and '.join(map(shape_text, shapes))} do not join along axis {axis}")
    first[axis] = sum(shape[axis] for shape in shapes)
    return tuple(first)


def gather(x: Sequence[int], indices: Sequence[int], axis: int) -> tuple[int, ...]:
    """The indices' axes in the place of one of x's."""
    check_axes(len(x), [axis])
    return (*x[:axis], *indices, *x[axis + 1 :])


def grid_sample(x: Sequence[int], grid: Sequence[int]) -> tuple[int, ...]:
    """[N, C, *S] at [N, *O, len(S)] -> [N, C, *O]."""
    spatial = len(x) - 2
    if spatial < 1 or len(grid) != spatial + 2 or grid[0] != x[0] or grid[-1] != spatial:
        raise ValueError(
            f"expected x [N, C, *S] and a grid [N, *O, {max(spatial, 1)}], got {shape_text(x)} and {shape_text(grid)}"
        )
    return (*x[:2], *grid[1:-1])


def top_k(x: Sequence[int], axis: int, k: int) -> tuple[int, ...]:
    """k elements of one axis."""
    check_axes(len(x), [axis])
    if not 0 <= k <= x[axis]:
        raise ValueError(f"expected k in [0, {x[axis]}], the size of axis {axis}, got {k}")
    return (*x[:axis], k, *x[axis + 1 :])


def check_axes(rank: int, axes: Sequence[int]) -> None:
    """Axes must be distinct and in [0, rank)."""
    if len(set(axes)) != len(axes) or any(not 0 <= axis < rank for axis in axes):
        raise ValueError(f"expected distinct axes in [0, {rank}), got {shape_text(axes)}")


def _check_window(spatial: int, strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int]) -> None:
    if len(strides) != spatial or len(dilations) != spatial or len(pads) != 2 * spatial:
        raise ValueError(
            f"expected {spatial} strides, {spatial} dilations and {2 * spatial} pads, "
            f"got {shape_text(strides)}, {shape_text(dilations)} and {shape_text(pads)}"
        )
    if min(*strides, *dilations) < 1:
        raise ValueError(
            f"expected strides and dilations of at least 1, got {shape_text(strides)}, {shape_text(dilations)}"
        )
