"""Convolutions, and the windows that they share with pools."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, converter
from convc.ir import shapes
from convc.ir.attributes import shape_of
from convc.ir.data import PadOp
from convc.ir.windows import ConvOp, ConvTransposeOp

_AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def auto_pad(node: Node) -> str:
    """How pads are found: NOTSET means from the attribute `pads`."""
    mode = node.attribute("auto_pad", "NOTSET") or "NOTSET"
    if mode not in _AUTO_PADS:
        raise ValueError(f"expected auto_pad to be one of {', '.join(_AUTO_PADS)}, got {mode}")
    return str(mode)


def window_steps(node: Node, kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """(strides, dilations), checked against the kernel's rank."""
    strides = node.attribute("strides") or [1] * len(kernel)
    dilations = node.attribute("dilations") or [1] * len(kernel)
    if len(strides) != len(kernel) or len(dilations) != len(kernel):
        raise ValueError(f"expected {len(kernel)} strides and dilations, got {strides} and {dilations}")
    if min([*strides, *dilations, *kernel], default=1) < 1:
        raise ValueError(f"expected positive sizes, got kernel {kernel}, strides {strides}, dilations {dilations}")
    return strides, dilations


def window_pads(
    node: Node, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """Explicit pads (begins, then ends) from `pads` or `auto_pad`."""
    mode = auto_pad(node)
    if mode == "NOTSET":
        return _explicit_pads(node, len(sizes))
    if mode == "VALID":
        return [0] * (2 * len(sizes))
    totals = same_totals(sizes, kernel, strides, dilations)
    return split_pads([max(total, 0) for total in totals], upper=mode == "SAME_UPPER")


def same_totals(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """What both pads of auto_pad SAME add up to along each axis; negative where a stride goes past the window."""
    return [
        (-(-size // stride) - 1) * stride + dilation * (k - 1) + 1 - size
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations)
    ]


def _explicit_pads(node: Node, spatial: int) -> list[int]:
    pads = node.attribute("pads") or [0] * (2 * spatial)
    if len(pads) != 2 * spatial:
        raise ValueError(f"expected {2 * spatial} pads, got {len(pads)}")
    return [int(pad) for pad in pads]


def split_pads(totals: Sequence[int], *, upper: bool) -> list[int]:
    """Pads that add up to the totals; the odd element goes to the end (upper) or to the beginning. Negative ones are
    halved towards zero, as C does and with it onnxruntime."""
    begins = [int((total if upper else total + 1) / 2) for total in totals]
    return begins + [total - begin for total, begin in zip(totals, begins)]


def _kernel(node: Node, shape: Sequence[int], weight: Sequence[int]) -> list[int]:
    """The kernel's sizes, from the weight; `kernel_shape` repeats them."""
    if len(shape) < 3 or len(weight) != len(shape):
        raise ValueError(f"expected input and weight of one rank of at least 3, got {shape} and {weight}")
    kernel = node.attribute("kernel_shape") or list(weight[2:])
    if tuple(kernel) != tuple(weight[2:]):
        raise ValueError(f"expected a kernel_shape of {list(weight[2:])} as the weight has, got {kernel}")
    return list(kernel)


@converter("Conv")
def convert_conv(node: Node) -> SSAValue:
    return convolution(node, node.value(0), node.value(1), node.value(2) if node.has(2) else None)


def convolution(node: Node, x: SSAValue, w: SSAValue, bias: SSAValue | None) -> SSAValue:
    """The convolution that a node's attributes describe."""
    kernel = _kernel(node, shape_of(x), shape_of(w))
    strides, dilations = window_steps(node, kernel)
    pads = window_pads(node, shape_of(x)[2:], kernel, strides, dilations)
    x, pads = cropped(node, x, pads)
    group = node.attribute("group", 1)
    return node.emit(ConvOp(x, w, bias, strides=strides, pads=pads, dilations=dilations, group=group))


def cropped(node: Node, x: SSAValue, pads: Sequence[int]) -> tuple[SSAValue, list[int]]:
    """Negative pads take elements off before the window; the operations of the IR only add."""
    if min(pads) >= 0:
        return x, list(pads)
    spatial = len(pads) // 2
    crop = [min(pad, 0) for pad in pads]
    x = node.emit(PadOp(x, [0, 0, *crop[:spatial], 0, 0, *crop[spatial:]]))
    return x, [max(pad, 0) for pad in pads]


@converter("ConvTranspose")
def convert_conv_transpose(node: Node) -> SSAValue:
    """Pads come from `pads`, or from the wanted size: that of `output_shape`, or input * stride with auto_pad SAME.

    Where the wanted `output_shape` exceeds what the windows cover, the rest (bias alone) is at the end.
    """
    shape = node.shape(0)
    kernel = _kernel(node, shape, node.shape(1))
    spatial = len(kernel)
    strides, dilations = window_steps(node, kernel)
    extra = node.attribute("output_padding") or [0] * spatial
    if len(extra) != spatial or min(extra) < 0:
        raise ValueError(f"expected {spatial} output_padding sizes of at least 0, got {extra}")
    full = [strides[i] * (shape[2 + i] - 1) + extra[i] + dilations[i] * (kernel[i] - 1) + 1 for i in range(spatial)]
    mode, wanted = auto_pad(node), node.attribute("output_shape")
    if wanted:
        if len(wanted) not in (spatial, spatial + 2):
            raise ValueError(f"expected an output_shape of {spatial} axes, got {wanted}")
        wanted = wanted[-spatial:]
        extra = [more + max(want - size, 0) for more, want, size in zip(extra, wanted, full)]
    elif mode.startswith("SAME"):
        wanted = [size * stride for size, stride in zip(shape[2:], strides)]
    if wanted:
        pads = split_pads([max(size - want, 0) for size, want in zip(full, wanted)], upper=mode == "SAME_UPPER")
    else:
        pads = [0] * (2 * spatial) if mode == "VALID" else _explicit_pads(node, spatial)
    if min(pads) < 0:
        raise ValueError(f"expected pads of at least 0, got {pads}")
    return node.emit(
        ConvTransposeOp(
            node.value(0),
            node.value(1),
            node.value(2) if node.has(2) else None,
            strides=strides,
            pads=pads,
            dilations=dilations,
            output_padding=extra,
            group=node.attribute("group", 1),
        )
    )


@converter("Col2Im")
def convert_col2im(node: Node) -> SSAValue:
    """Blocks `[N, C * prod(block), L]` added up where they lie in the image: a transposed convolution of each channel,
    whose weights put every element of a block in its place."""
    image, block = node.ints(1, "image_shape"), node.ints(2, "block_shape")
    strides, dilations = window_steps(node, block)
    pads = _explicit_pads(node, len(block))
    batch, rows, columns = node.shape(0)
    size, spatial = prod(block), len(block)
    if len(image) != spatial or rows % size:
        raise ValueError(f"expected blocks of {size} elements for an image of {len(image)} axes, got {rows} rows")
    counts = [
        shapes.window(image[i], block[i], strides[i], dilations[i], pads[i], pads[spatial + i], False)
        for i in range(spatial)
    ]
    if prod(counts) != columns:
        raise ValueError(f"expected {prod(counts)} blocks to cover an image of {image}, got {columns}")
    spans = [dilations[i] * (block[i] - 1) + 1 + (counts[i] - 1) * strides[i] for i in range(spatial)]
    places = np.tile(np.eye(size, dtype=node.dtype(0)).reshape(size, 1, *block), (rows // size, *[1] * (spatial + 1)))
    return node.emit(
        ConvTransposeOp(
            node.reshape(node.value(0), [batch, rows, *counts]),
            node.weight(places, "places"),
            None,
            strides=strides,
            pads=pads,
            dilations=dilations,
            output_padding=[image[i] + pads[i] + pads[spatial + i] - spans[i] for i in range(spatial)],
            group=rows // size,
        )
    )
