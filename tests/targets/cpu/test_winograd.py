"""Winograd convolution over maps that its tiles do not divide, chunked and in steps, and its error beside float64."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.windows import WinogradConvOp
from convc.ir.winograd import along_axes, tiles_of, transformed_weight, transforms
from convc.targets.cpu.winograd import Winograd, chunks
from convc.targets.cpu.winograd_tiles import Geometry
from convc.targets.target import parse_target

LANES = parse_target("cpu").lanes()
"""A block of channels: tiles are vectors."""

ERROR = 1e-5
"""max|diff| / max|ref| of one operation: what direct convolution is held to as well."""

# input, output channels, pads; groups, window, dilations
CASES = {
    "whole tiles": ((1, 16, 8, 8), 16, (1, 1, 1, 1)),
    "one tile, mostly padding": ((1, 16, 1, 1), 16, (1, 1, 1, 1)),
    "one row": ((1, 16, 1, 19), 32, (1, 1, 1, 1)),
    "prime sizes": ((1, 32, 13, 7), 48, (1, 1, 1, 1)),
    "no padding": ((1, 16, 11, 9), 16, (0, 0, 0, 0)),
    "uneven pads": ((1, 16, 6, 9), 16, (2, 0, 0, 3)),
    "channels that fill no block": ((1, 24, 9, 9), 40, (1, 1, 1, 1)),
    "batch of three": ((3, 16, 5, 6), 16, (1, 1, 1, 1)),
    "many tiles": ((1, 32, 57, 43), 32, (1, 1, 1, 1)),
    "many channels": ((1, 256, 9, 9), 272, (1, 1, 1, 1)),
    "two groups": ((1, 32, 13, 7), 64, (1, 1, 1, 1), 2),
    "two groups of many tiles": ((1, 32, 57, 43), 32, (0, 1, 2, 1), 2),
    "three groups, a batch": ((2, 96, 5, 9), 48, (1, 1, 1, 1), 3),
    "as many groups as blocks": ((1, 9 * LANES, 6, 11), 9 * LANES, (1, 1, 1, 1), 9),
    "one tile of many groups": ((1, 16 * LANES, 2, 3), 32 * LANES, (1, 1, 1, 1), 16),
    "a column": ((1, 16, 13, 7), 16, (1, 0, 1, 0), 1, (3, 1)),
    "a column of many tiles": ((2, 32, 57, 43), 16, (0, 0, 2, 0), 2, (3, 1)),
    "a row": ((1, 16, 5, 19), 32, (0, 1, 0, 1), 1, (1, 3)),
    "a padded row": ((1, 16, 5, 19), 32, (1, 1, 2, 1), 1, (1, 3)),
    "dilation": ((1, 16, 13, 19), 16, (2, 3, 2, 3), 1, (3, 3), (2, 3)),
    "dilation that divides": ((1, 16, 16, 24), 16, (2, 2, 2, 2), 1, (3, 3), (2, 2)),
    "dilation beyond the image": ((1, 16, 3, 9), 16, (5, 7, 5, 7), 1, (3, 3), (5, 7)),
    "a column, dilated": ((1, 32, 33, 5), 32, (8, 0, 8, 0), 1, (3, 1), (8, 1)),
    "a line": ((2, 16, 37), 16, (1, 1)),
    "a line, dilated": ((1, 32, 37), 16, (4, 0), 2, (3,), (4,)),
    "planes of a volume": ((1, 16, 3, 9, 6), 16, (0, 1, 1, 0, 1, 1), 1, (1, 3, 3)),
    "a volume along time": ((1, 16, 7, 3, 6), 16, (1, 0, 0, 1, 0, 0), 1, (3, 1, 1)),
    "five taps": ((1, 16, 13, 7), 32, (2, 2, 2, 2), 1, (5, 5)),
    "five taps, dilated": ((1, 16, 13, 19), 16, (4, 2, 3, 0), 1, (5, 5), (2, 1)),
    "many channels of five taps": ((1, 256, 5, 6), 256, (2, 2, 2, 2), 1, (5, 5)),
    "a column of five taps": ((1, 256, 13, 3), 256, (2, 0, 1, 0), 1, (5, 1)),
    "a row of seven taps": ((2, 256, 3, 13), 256, (0, 3, 0, 3), 2, (1, 7)),
}


def described(case):
    """Input, output channels, pads, groups, window, dilations."""
    x, outputs, pads, *rest = CASES[case]
    axes = len(x) - 2
    groups, taps, dilations = (*rest, *(1, (3,) * axes, (1,) * axes)[len(rest) :])
    return x, outputs, pads, groups, taps, dilations


def strides_of(case, stride):
    """The stride along each axis that has taps, unless it is dilated."""
    *_, taps, dilations = described(case)
    return [stride if k > 1 and d == 1 else 1 for k, d in zip(taps, dilations)]


STRIDED = ["one tile, mostly padding", "prime sizes", "uneven pads", "channels that fill no block", "batch of three"]
STRIDED += ["many channels", "two groups of many tiles", "one tile of many groups", "a padded row", "a line"]
STRIDED += ["five taps", "a column of five taps", "a row of seven taps"]
ALL = [(case, 1) for case in CASES] + [(case, 2) for case in STRIDED]


def in_tiles(cases):
    """With each m that there is for a case's window."""
    return [(*each, m) for each in cases for m in tiles_of(described(each[0])[4])]


def operands(case, seed=0):
    x, outputs, _, groups, taps, _ = described(case)
    rng = np.random.default_rng(seed)
    inputs = x[1] // groups
    weight = rng.standard_normal((outputs, inputs, *taps)) * (2 / (prod(taps) * inputs)) ** 0.5
    return (
        rng.standard_normal(x).astype(np.float32),
        weight.astype(np.float32),
        rng.standard_normal(outputs).astype("f"),
    )


def winograd_kernel(build_kernel, case, m, stride=1, block=LANES, epilogue=None, extra=()):
    x, outputs, pads, groups, taps, dilations = described(case)
    spatial = "DHW"[3 - len(taps) :]
    layout = f"NC{spatial}{block}c"

    def body(x, w, bias, *rest):
        steps = {"strides": strides_of(case, stride), "pads": pads, "dilations": dilations}
        y = WinogradConvOp(x, w, bias, m=m, **steps, group=groups).result
        return epilogue(y, *rest) if epilogue else y

    weight = (outputs, x[1] // groups, *(axis.d for axis in along_axes(taps, strides_of(case, stride), m)))
    shapes = [(x, "float32", layout), (weight, "float32", f"{spatial}OI{block}i{block}o")]
    return build_kernel(
        [*shapes, ((outputs,), "float32", f"O{block}o"), *((shape, "float32", layout) for shape in extra)], body, layout
    )


def direct(case, x, w, bias, stride=1):
    """The convolution in float64, a tap at a time."""
    _, _, pads, groups, taps, dilations = described(case)
    axes = len(taps)
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:])])
    sizes = [size - (k - 1) * d for size, k, d in zip(x.shape[2:], taps, dilations)]
    x, w = x.reshape(len(x), groups, -1, *x.shape[2:]), w.reshape(groups, -1, *w.shape[1:]).astype(np.float64)
    y = 0
    for tap in np.ndindex(*taps):
        window = (..., *(slice(i * d, i * d + size) for i, d, size in zip(tap, dilations, sizes)))
        y = y + np.einsum("ngc...,goc->ngo...", x[window], w[(..., *tap)], optimize=True)
    y = y.reshape(len(x), -1, *sizes) + bias.reshape(-1, *[1] * axes)
    return y[(..., *(slice(None, None, step) for step in strides_of(case, stride)))]


def error(actual, expected):
    return np.abs(actual - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(("case", "stride", "m"), in_tiles(ALL))
def test_it_is_as_near_to_float64_as_direct_convolution(case, stride, m, build_kernel, run_kernel):
    x, w, bias = operands(case)
    kernel = winograd_kernel(build_kernel, case, m, stride)
    (actual,) = run_kernel(kernel, Winograd(), [x, transformed_weight(w, m, strides_of(case, stride)), bias])
    assert error(actual, direct(case, x, w, bias, stride)) <= ERROR


CUT = [("prime sizes", 1), ("two groups", 1), ("dilation", 1), ("a column", 1), ("prime sizes", 2), ("five taps", 2)]


@pytest.mark.parametrize(("case", "stride", "m"), in_tiles(CUT))
def test_tiles_in_chunks_and_in_steps_are_the_same(m, case, stride, build_kernel, run_kernel):
    x, w, bias = operands(case)
    weight = transformed_weight(w, m, strides_of(case, stride))
    kernel = winograd_kernel(build_kernel, case, m, stride)
    config = Winograd().candidates(kernel, parse_target("cpu"))[0]
    expected = direct(case, x, w, bias, stride)
    for chunk in (3, 1000):
        changed = {**config, "chunk": chunk}
        (actual,) = run_kernel(kernel, Winograd(), [x, weight, bias], config=changed)
        assert error(actual, expected) <= ERROR


@pytest.mark.parametrize("target", ["cpu:skylake-avx512", "cpu:haswell"])
@pytest.mark.parametrize("size", [1, 10, 13, 14, 28, 55, 56, 112, 224])
@pytest.mark.parametrize("blocks", [(1, 1, 1), (8, 2, 1), (16, 16, 1), (32, 32, 1), (8, 8, 2), (1, 1, 64)])
def test_chunks_overlap_by_less_than_a_tile_each(size, blocks, target):
    tiles = -(-size // 4)
    *channels, groups = blocks
    geometry = Geometry((transforms(4),) * 2, 1, (tiles, tiles), *channels, 16, groups)
    for chunk in chunks(geometry, parse_target(target)):
        count = -(-geometry.count // chunk)
        assert 0 <= count * chunk - geometry.count < count


def test_residual_and_activation_are_part_of_the_store(build_kernel, run_kernel):
    x, w, bias = operands("prime sizes")
    expected = direct("prime sizes", x, w, bias)
    residual = np.random.default_rng(7).standard_normal(expected.shape).astype(np.float32)

    def epilogue(y, other):
        added = ElementwiseOp(Fn.ADD, y, other).result
        return ElementwiseOp(Fn.SIGMOID, added).result

    kernel = winograd_kernel(build_kernel, "prime sizes", 4, epilogue=epilogue, extra=[expected.shape])
    (actual,) = run_kernel(kernel, Winograd(), [x, transformed_weight(w, 4), bias, residual])
    assert error(actual, 1 / (1 + np.exp(-(expected + residual)))) <= ERROR


def test_narrower_vectors(build_kernel, run_kernel):
    x, w, bias = operands("channels that fill no block")
    kernel = winograd_kernel(build_kernel, "channels that fill no block", 4, block=8)
    (actual,) = run_kernel(kernel, Winograd(), [x, transformed_weight(w, 4), bias], target="cpu:haswell")
    assert error(actual, direct("channels that fill no block", x, w, bias)) <= ERROR


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_the_error_does_not_grow_with_channels_or_scale(scale, seed, build_kernel, run_kernel):
    x, w, bias = operands("many channels", seed)
    x *= np.float32(scale)
    kernel = winograd_kernel(build_kernel, "many channels", 4)
    (actual,) = run_kernel(kernel, Winograd(), [x, transformed_weight(w, 4), bias * np.float32(scale)])
    assert error(actual, direct("many channels", x, w, bias * np.float32(scale))) <= ERROR
