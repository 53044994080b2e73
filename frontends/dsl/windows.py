"""Windows as TensorFlow lays them: `same` covers every input and puts the odd row of padding at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convc.frontends.dsl.tensor import Shape


def window_sizes(
    sizes: Shape, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: str
) -> Shape:
    """Output sizes of a convolution or a pool over some spatial axes; an unknown one stays unknown."""
    return tuple(
        None if size is None else _window(size, dilation * (k - 1) + 1, stride, padding)
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
    )


def _window(size: int, span: int, stride: int, padding: str) -> int:
    return (size - span) // stride + 1 if padding == "valid" else -(-size // stride)


def window_pads(
    sizes: Shape, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], padding: str
) -> dict[str, Any]:
    """The ONNX attribute that pads the windows: explicit `pads`, unless they depend on a size that is unknown."""
    if padding == "valid":
        return {}
    spans = [dilation * (k - 1) + 1 for k, dilation in zip(kernel, dilations)]
    if padding == "causal":  # each output sees the present and the past
        return {"pads": [span - 1 for span in spans] + [0] * len(spans)}
    totals = []
    for size, span, stride in zip(sizes, spans, strides):
        if stride == 1:
            totals.append(span - 1)
        elif size is None:
            return {"auto_pad": "SAME_UPPER"}
        else:
            totals.append(max((_window(size, span, stride, "same") - 1) * stride + span - size, 0))
    return {"pads": [total // 2 for total in totals] + [total - total // 2 for total in totals]}


def transposed_size(size: int | None, span: int, stride: int, padding: str, extra: int | None) -> int | None:
    """Output size of a transposed convolution along one axis; `extra` is its output_padding, None the default."""
    if size is None:
        return None
    if padding == "valid":
        return (size - 1) * stride + span + (max(stride - span, 0) if extra is None else extra)
    return size * stride if extra is None else (size - 1) * stride + span % 2 + extra


def transposed_pads(span: int, stride: int, padding: str, extra: int | None) -> tuple[int, int]:
    """(begin, end) taken off the full result, which has (size - 1) * stride + span elements; a negative end adds."""
    if padding == "valid":
        return 0, -(max(stride - span, 0) if extra is None else extra)
    removed = span - stride if extra is None else span - span % 2 - extra
    begin = max(removed // 2, 0)
    return begin, removed - begin
