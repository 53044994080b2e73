"""What operations over windows mean, in numpy: one step for each tap of the window, vectorised over all else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, TypeAlias

import numpy as np

from convc.ir.attributes import PoolKind, shape_of
from convc.ir.neural import LRNOp
from convc.ir.windows import ConvOp, ConvTransposeOp, PoolOp, WinogradConvOp, dilations_of, strides_of, window_of
from convc.ir.winograd import Matrix, along_axes

Index: TypeAlias = tuple[Any, ...]
"""What selects from an array along its last axes."""


def convolve(op: ConvOp, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """`y[n, o, i] = bias[o] + sum over c and taps t of w[o, c, t] * x[n, c, i * stride + t * dilation - pad]`."""
    group, spatial = op.group.value.data, x.ndim - 2
    pads, result = op.pads.get_values(), shape_of(op.result)
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:spatial], pads[spatial:])])
    x = x.reshape(x.shape[0], group, -1, *x.shape[2:])
    w = w.reshape(group, -1, *w.shape[1:])
    y = np.zeros((result[0], group, w.shape[1], int(np.prod(result[2:]))), x.dtype)
    for tap, window in _taps(w.shape[3:], result[2:], op.strides.get_values(), op.dilations.get_values()):
        patch = x[window].reshape(*x.shape[:3], -1)
        weight = w[tap]
        # One channel a group (depthwise) is a product of vectors, which matmul would loop over slowly.
        y += weight * patch if w.shape[2] == 1 else weight @ patch
    return _with_bias(y.reshape(result), bias)


def convolve_winograd(op: WinogradConvOp, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """`A^T [sum over c of w[o, c] * (B^T d[n, c] B)] A` for each tile d of the padded x, c in the group of o; see
    `convc.ir.winograd`."""
    group, pads, dilations, result = op.group.value.data, op.pads.get_values(), dilations_of(op), shape_of(op.result)
    axes = along_axes(window_of(op), strides_of(op), op.m.value.data)
    spatial, per = len(axes), [ceil(size / d / axis.m) for size, d, axis in zip(result[2:], dilations, axes)]
    for i, axis in enumerate(axes, 2):
        w = w.take(axis.rows, i)
    w = w.reshape(group, -1, *w.shape[1:])
    # Whole tiles of outputs: what is beyond the image is cut off.
    steps = [axis.m * axis.stride for axis in axes]
    reach = [d * ((n - 1) * step + axis.t) for d, n, step, axis in zip(dilations, per, steps, axes)]
    widths = [(pad, max(end - size - pad, 0)) for pad, end, size in zip(pads, reach, x.shape[2:])]
    x = np.pad(x, [(0, 0), (0, 0), *widths])
    y = np.zeros((*result[:2], *(d * n * axis.m for d, n, axis in zip(dilations, per, axes))), x.dtype)
    for phase in np.ndindex(*dilations):
        own: Index = (..., *(slice(first, None, d) for first, d in zip(phase, dilations)))
        window, around = tuple(axis.t for axis in axes), tuple(range(2, 2 + spatial))
        tiles = np.lib.stride_tricks.sliding_window_view(x[own], window, around)
        every: Index = (
            ...,
            *(slice(0, (n - 1) * step + 1, step) for n, step in zip(per, steps)),
            *[slice(None)] * spatial,
        )
        tiles = _along([axis.b for axis in axes], tiles[every])
        tiles = tiles.reshape(len(x), group, -1, *tiles.shape[2:])
        inner = "uvwxyz"[: 2 * spatial]
        products = np.einsum(f"goc{inner[spatial:]},ngc{inner}->ngo{inner}", w, tiles, optimize=True)
        outputs = _along([axis.a for axis in axes], products)
        order = [0, 1, 2, *(axis for i in range(spatial) for axis in (3 + i, 3 + spatial + i))]
        y[own] = outputs.transpose(order).reshape(y[own].shape)
    inside: Index = (..., *map(slice, result[2:]))
    return _with_bias(y[inside], bias)


def _along(matrices: Sequence[Matrix], x: np.ndarray) -> np.ndarray:
    """x with its last axes multiplied by a matrix each."""
    for i, matrix in enumerate(matrices):
        axis = i - len(matrices)
        x = np.moveaxis(np.array(matrix, dtype=float).astype(x.dtype) @ np.moveaxis(x, axis, -2), -2, axis)
    return x


def convolve_transposed(
    op: ConvTransposeOp, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None
) -> np.ndarray:
    """`y[n, o, i * stride + t * dilation - pad] += w[c, o, t] * x[n, c, i]`, plus the bias."""
    group, spatial = op.group.value.data, x.ndim - 2
    strides, dilations, pads = op.strides.get_values(), op.dilations.get_values(), op.pads.get_values()
    x, inner = x.reshape(x.shape[0], group, -1, int(np.prod(x.shape[2:]))), x.shape[2:]
    w = w.reshape(group, -1, *w.shape[1:])
    result = shape_of(op.result)
    full = [size + pads[i] + pads[spatial + i] for i, size in enumerate(result[2:])]
    y = np.zeros((result[0], group, w.shape[2], *full), x.dtype)
    for tap, window in _taps(w.shape[3:], inner, strides, dilations):
        product = w[tap].swapaxes(-1, -2) @ x
        y[window] += product.reshape(*y.shape[:3], *inner)
    inside: Index = (..., *(slice(pads[i], pads[i] + size) for i, size in enumerate(result[2:])))
    return _with_bias(y[inside].reshape(result), bias)


def pool(op: PoolOp, x: np.ndarray) -> np.ndarray:
    """The largest element or the mean of each window; see `PoolOp` for what padding counts."""
    kernel, strides, dilations = op.kernel.get_values(), op.strides.get_values(), op.dilations.get_values()
    pads, spatial, result = op.pads.get_values(), x.ndim - 2, shape_of(op.result)[2:]
    # Windows may reach beyond the declared padding (`ceil_mode`), and padding beyond the last window.
    reach = [(count - 1) * s + (k - 1) * d + 1 for count, k, s, d in zip(result, kernel, strides, dilations)]
    after = [max(reach[i] - x.shape[2 + i] - pads[i], 0) for i in range(spatial)]
    widths = [(0, 0), (0, 0), *zip(pads[:spatial], after)]
    largest = op.kind.data == PoolKind.MAX
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    padded = np.pad(x, widths, constant_values=lowest if largest else 0)
    y = np.full((*x.shape[:2], *result), lowest if largest else 0, x.dtype)
    for _, window in _taps(kernel, result, strides, dilations):
        y = np.maximum(y, padded[window]) if largest else y + padded[window]
    return y if largest else y / _counts(op, x.shape[2:], result)


def _counts(op: PoolOp, sizes: Sequence[int], result: Sequence[int]) -> np.ndarray:
    """How many elements each window of an average counts, over the spatial axes."""
    pads, spatial = op.pads.get_values(), len(sizes)
    counts = np.ones([1] * spatial)
    for axis, (k, s, d) in enumerate(zip(op.kernel.get_values(), op.strides.get_values(), op.dilations.get_values())):
        places = np.arange(result[axis])[:, None] * s + np.arange(k) * d - pads[axis]
        first, end = (-pads[axis], sizes[axis] + pads[spatial + axis]) if op.count_include_pad else (0, sizes[axis])
        count = ((places >= first) & (places < end)).sum(1)
        counts = counts * count.reshape([-1 if i == axis else 1 for i in range(spatial)])
    return np.maximum(counts, 1)


def normalise_locally(op: LRNOp, x: np.ndarray) -> np.ndarray:
    """`x / (bias + alpha / size * sum of x^2 over size channels)^beta`."""
    size, channels = op.size.value.data, x.shape[1]
    squares = np.pad(x * x, [(0, 0), ((size - 1) // 2, size // 2), *[(0, 0)] * (x.ndim - 2)])
    total = sum((squares[:, i : i + channels] for i in range(size)), np.zeros_like(x))
    return x / (op.bias.value.data + op.alpha.value.data / size * total) ** op.beta.value.data


def _taps(
    kernel: Sequence[int], counts: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Iterator[tuple[Index, Index]]:
    """(tap, what it sees) for each tap of a window that is placed `counts` times along each axis."""
    for tap in np.ndindex(*kernel):
        places = zip(tap, counts, strides, dilations)
        yield (..., *tap), (..., *(slice(t * d, t * d + (n - 1) * s + 1, s) for t, n, s, d in places))


def _with_bias(y: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    return y if bias is None else y + bias.reshape(-1, *[1] * (y.ndim - 2))
