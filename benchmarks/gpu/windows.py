"""Convolutions and pools of convc's graph dialect in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

_CONV = (functional.conv1d, functional.conv2d, functional.conv3d)
_CONV_TRANSPOSE = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
_MAX_POOL = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_AVERAGE_POOL = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


def convolve(node: Mapping[str, Any], x: Any, w: Any, bias: Any = None) -> Any:
    attributes = node["attributes"]
    x, padding = _padded(x, attributes["pads"])
    options = {"stride": attributes["strides"], "dilation": attributes["dilations"], "groups": attributes["group"]}
    return _CONV[len(padding) - 1](x, w, bias, padding=padding, **options)


def cudnn_convolve(node: Mapping[str, Any], x: Any, w: Any, bias: Any, addend: Any = None) -> Any:
    """relu(conv + bias), or relu(conv + bias + addend), in one kernel of cuDNN's."""
    attributes = node["attributes"]
    spatial = len(attributes["strides"])
    numbers = (attributes["strides"], attributes["pads"][:spatial], attributes["dilations"], attributes["group"])
    if addend is None:
        return torch.cudnn_convolution_relu(x, w, bias, *numbers)
    return torch.cudnn_convolution_add_relu(x, w, addend, 1.0, bias, *numbers)


def convolve_transposed(node: Mapping[str, Any], x: Any, w: Any, bias: Any = None) -> Any:
    attributes = node["attributes"]
    pads, spatial = attributes["pads"], len(attributes["strides"])
    if pads[:spatial] != pads[spatial:]:
        raise ValueError(f"torch crops transposed convolutions alike on both sides, the pads are {pads}")
    return _CONV_TRANSPOSE[spatial - 1](
        *(x, w, bias),
        stride=attributes["strides"],
        padding=pads[:spatial],
        output_padding=attributes["output_padding"],
        groups=attributes["group"],
        dilation=attributes["dilations"],
    )


def max_pool(node: Mapping[str, Any], x: Any) -> Any:
    attributes = node["attributes"]
    x, padding = _padded(x, attributes["pads"], float("-inf"))
    options = {"dilation": attributes["dilations"], "ceil_mode": attributes.get("ceil_mode", False)}
    return _MAX_POOL[len(padding) - 1](x, attributes["kernel"], attributes["strides"], padding, **options)


def average_pool(node: Mapping[str, Any], x: Any) -> Any:
    attributes = node["attributes"]
    pads, spatial = attributes["pads"], len(attributes["kernel"])
    if pads[:spatial] != pads[spatial:] or max(attributes["dilations"]) > 1:
        raise ValueError(f"torch averages dense windows padded alike on both sides, the pads are {pads}")
    return _AVERAGE_POOL[spatial - 1](
        *(x, attributes["kernel"], attributes["strides"], pads[:spatial]),
        ceil_mode=attributes.get("ceil_mode", False),
        count_include_pad=attributes.get("count_include_pad", False),
    )


def _padded(x: Any, pads: Sequence[int], value: float = 0.0) -> tuple[Any, Sequence[int]]:
    """x, and the padding that is alike on both sides of each axis; what is not is done here."""
    spatial = len(pads) // 2
    if pads[:spatial] == pads[spatial:]:
        return x, pads[:spatial]
    ends = [end for axis in reversed(range(spatial)) for end in (pads[axis], pads[spatial + axis])]
    return functional.pad(x, ends, value=value), [0] * spatial
