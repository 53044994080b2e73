"""Direct convolution over shapes that fit no tile: blocked and plain inputs, every candidate, several epilogues."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.windows import ConvOp
from convc.targets.cpu.direct_conv import DirectConv
from convc.targets.cpu.generic import Generic
from convc.targets.target import parse_target

# input, weight, what is not the default
CASES = {
    "3x3": ((1, 16, 14, 14), (32, 16, 3, 3), {"pads": (1, 1, 1, 1)}),
    "1x1": ((1, 24, 7, 7), (40, 24, 1, 1), {}),
    "1x1 stride 2": ((1, 16, 11, 9), (16, 16, 1, 1), {"strides": (2, 2)}),
    "1x1 with pads": ((1, 16, 5, 6), (16, 16, 1, 1), {"pads": (1, 0, 0, 2)}),
    "channels that fill no block": ((1, 11, 9, 9), (13, 11, 3, 3), {"pads": (1, 1, 1, 1)}),
    "one channel in and two out": ((1, 1, 9, 9), (2, 1, 3, 3), {}),
    "one pixel": ((1, 16, 1, 1), (24, 16, 1, 1), {}),
    "one pixel of padding": ((1, 16, 1, 1), (24, 16, 3, 3), {"pads": (1, 1, 1, 1)}),
    "one column": ((1, 8, 17, 1), (16, 8, 3, 1), {"pads": (1, 0, 1, 0)}),
    "one row": ((1, 8, 1, 19), (16, 8, 1, 5), {"pads": (0, 2, 0, 2)}),
    "one output row": ((1, 8, 3, 40), (16, 8, 3, 3), {}),
    "one output column": ((1, 8, 40, 3), (16, 8, 3, 3), {}),
    "prime sizes": ((1, 8, 23, 13), (24, 8, 3, 3), {"pads": (1, 1, 1, 1)}),
    "stride past the kernel": ((1, 8, 17, 17), (16, 8, 2, 2), {"strides": (3, 3)}),
    "stride 2 on an odd map": ((1, 8, 15, 13), (16, 8, 3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
    "uneven pads": ((1, 8, 10, 11), (16, 8, 3, 4), {"strides": (2, 1), "pads": (0, 3, 2, 1)}),
    "pads past the kernel": ((1, 8, 4, 5), (16, 8, 3, 3), {"pads": (4, 3, 5, 4)}),
    "dilation": ((1, 8, 15, 15), (16, 8, 3, 3), {"strides": (1, 2), "pads": (2, 1, 2, 1), "dilations": (2, 3)}),
    "dilation nearly as large as the map": (
        (1, 24, 9, 17),
        (16, 24, 3, 3),
        {"pads": (7, 13, 7, 13), "dilations": (7, 13)},
    ),
    "taps that read padding, one axis and stride": (
        (2, 16, 19, 8),
        (24, 16, 5, 1),
        {"strides": (2, 1), "pads": (12, 0, 11, 0), "dilations": (6, 1)},
    ),
    "rows that read padding alone": ((1, 8, 3, 5), (16, 8, 2, 2), {"pads": (9, 8, 9, 8), "dilations": (3, 3)}),
    "1x1, rows that no tile divides": ((2, 24, 5, 13), (40, 24, 1, 1), {}),
    "weights past the second cache": ((1, 448, 5, 9), (48, 448, 3, 3), {"strides": (2, 1), "pads": (1, 1, 1, 1)}),
    "two groups": ((1, 32, 9, 9), (96, 16, 3, 3), {"pads": (1, 1, 1, 1), "group": 2}),
    "groups of one block": ((1, 64, 6, 6), (64, 16, 3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1), "group": 4}),
    "groups, 1x1, batch": ((2, 32, 5, 6), (32, 16, 1, 1), {"group": 2}),
    "batch of two": ((2, 16, 7, 7), (24, 16, 3, 3), {"pads": (1, 1, 1, 1)}),
    "batch of three, 1x1": ((3, 16, 5, 5), (24, 16, 1, 1), {}),
    "batch of three pixels": ((3, 16, 1, 1), (24, 16, 1, 1), {}),
    "weights from memory": ((1, 272, 7, 7), (272, 272, 3, 3), {"pads": (1, 1, 1, 1)}),
    "weights from memory, a row, three blocks": ((2, 560, 1, 31), (48, 560, 1, 11), {}),
    "one dimension": ((2, 12, 31), (20, 12, 5), {"strides": (2,), "pads": (2, 1)}),
    "three dimensions": ((1, 8, 5, 6, 7), (16, 8, 3, 2, 3), {"strides": (1, 2, 1), "pads": (1, 0, 1, 1, 1, 1)}),
    "three dimensions, batch, dilation": ((2, 9, 4, 5, 6), (17, 9, 2, 2, 2), {"dilations": (2, 1, 3)}),
    "large enough for threads": ((1, 64, 28, 28), (64, 64, 3, 3), {"pads": (1, 1, 1, 1)}),
    "large, in bands with a short last one": ((1, 32, 53, 41), (48, 32, 3, 3), {"pads": (1, 1, 1, 1)}),
    "large weights": ((1, 256, 7, 7), (264, 256, 3, 3), {"pads": (1, 1, 1, 1)}),
    "large first layer": ((1, 3, 61, 75), (64, 3, 7, 7), {"strides": (2, 2), "pads": (3, 3, 3, 3)}),
}
PLAIN = {
    "3x3": ((1, 3, 14, 14), (32, 3, 3, 3), {"pads": (1, 1, 1, 1)}),
    "7x7 stride 2": ((1, 3, 29, 31), (24, 3, 7, 7), {"strides": (2, 2), "pads": (3, 3, 3, 3)}),
    "one channel": ((2, 1, 9, 10), (5, 1, 5, 3), {"pads": (2, 1, 2, 1)}),
    "dilation": ((1, 4, 15, 15), (16, 4, 3, 3), {"pads": (2, 1, 2, 1), "dilations": (2, 3)}),
    "1x1": ((1, 3, 13, 11), (17, 3, 1, 1), {}),
    "one dimension": ((2, 2, 50), (16, 2, 25), {"strides": (3,), "pads": (5, 4)}),
    "a long window": ((2, 2, 90), (24, 2, 45), {"pads": (5, 4)}),
    "a longer one, in parts": ((1, 1, 300), (20, 1, 157), {"strides": (2,)}),
    "three dimensions": ((1, 2, 5, 6, 7), (16, 2, 3, 3, 3), {"pads": (1, 1, 1, 1, 1, 1)}),
    "large first layer": CASES["large first layer"],
}


def activations(rank: int, block: int = 16) -> str:
    return f"NC{'DHW'[5 - rank :]}{block}c"


def conv_kernel(build_kernel, x, w, attributes, *, blocked=True, bias=True, epilogue=None, extra=(), block=16):
    """conv + bias and what `epilogue` makes of its result and of extra operands."""
    layout, weight = activations(len(x), block), f"OI{'DHW'[5 - len(x) :]}{f'{block}i' if blocked else ''}{block}o"

    def body(x, w, bias, *rest):
        conv = ConvOp(x, w, bias, **attributes).result
        return epilogue(conv, *rest) if epilogue else conv

    biases = [((w[0],), "float32", f"O{block}o")] if bias else []
    operands = [(x, "float32", layout if blocked else None), (w, "float32", weight), *biases]
    operands += [(shape, "float32", layout if len(shape) == len(x) else None) for shape in extra]
    return build_kernel(operands, body if bias else lambda x, w, *rest: body(x, w, None, *rest), layout)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("template", [DirectConv(), Generic()], ids=lambda t: t.name)
def test_a_convolution_in_blocks(case, template, build_kernel, check):
    check(conv_kernel(build_kernel, *CASES[case]), template)


@pytest.mark.parametrize("case", PLAIN)
def test_a_plain_input_of_few_channels_needs_no_layout(case, build_kernel, check):
    check(conv_kernel(build_kernel, *PLAIN[case], blocked=False), DirectConv())


@pytest.mark.parametrize(
    "case", ["3x3", "channels that fill no block", "dilation", "large, in bands with a short last one"]
)
def test_every_candidate_computes_the_same(case, build_kernel, check):
    kernel = conv_kernel(build_kernel, *CASES[case], bias=False)
    for config in DirectConv().candidates(kernel, parse_target("cpu")):
        check(kernel, DirectConv(), config=config)


@pytest.mark.parametrize(
    ("x", "w", "bands"),
    [((1, 32, 16, 16), (256, 32, 1, 1), 2), ((1, 32, 5, 5), (256, 32, 1, 1), 1), ((1, 64, 8, 8), (512, 64, 3, 3), 1)],
    ids=["few weights", "few rows", "many weights"],
)
def test_each_core_keeps_to_rows_of_its_own_where_weights_are_few(x, w, bands, build_kernel):
    """Else to outputs of its own, and reads what other cores wrote."""
    target = replace(parse_target("cpu:skylake-avx512"), cores=2)
    config = DirectConv().candidates(conv_kernel(build_kernel, x, w, {}), target)[0]
    assert -(-(x[2] - w[2] + 1) // config["band"]) == bands


@pytest.mark.parametrize(
    "tiling",
    [
        (1, 1, 1, 1, 1, 1, 2),
        (2, 14, 1, 4, 4, 2, 1),
        (1, 3, 2, 16, 14, 1, 2),
        (3, 14, 1, 2, 14, 9, 2),
        (1, 5, 1, 2, 5, 3, 1),
    ],
)
def test_any_tiling_computes_the_same(tiling, build_kernel, check):
    config = dict(zip(("height", "width", "blocks", "unrolled", "band", "share", "depth"), tiling))
    check(
        conv_kernel(build_kernel, (1, 32, 14, 14), (48, 32, 3, 3), {"pads": (1, 1, 1, 1)}), DirectConv(), config=config
    )


@pytest.mark.parametrize("target", ["cpu:haswell", "cpu:skylake-avx512"])
def test_tasks_that_copy_what_they_read_have_bands_of_rows(target, build_kernel):
    """Where nothing is copied, a 1x1 window sees the map as one row, and bands are counted in its columns."""
    described = parse_target(target)
    block = described.lanes()
    operands = [((1, 64, 56, 56), "float32", f"NCHW{block}c"), ((128, 64, 1, 1), "float32", f"OIHW{block}i{block}o")]
    kernel = build_kernel(operands, lambda x, w: ConvOp(fn(Fn.RELU, x), w).result, f"NCHW{block}c")
    assert all(config["band"] <= 56 / 4 for config in DirectConv().candidates(kernel, described))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floating_point_types(dtype, build_kernel, check):
    operands = [((1, 9, 8, 7), dtype, "NCHW16c"), ((20, 9, 3, 3), dtype, "OIHW16i16o")]
    kernel = build_kernel(operands, lambda x, w: ConvOp(x, w, pads=(1, 1, 1, 1)).result, "NCHW16c")
    check(kernel, DirectConv(), tolerance=1e-2 if dtype == "float16" else None)


def test_what_direct_convolution_does_not_take(build_kernel):
    target = parse_target("cpu")
    split = conv_kernel(build_kernel, (1, 16, 6, 6), (16, 4, 3, 3), {"group": 4})  # groups share a block of channels
    plain = build_kernel([((1, 4, 6, 6), "float32"), ((5, 4, 3, 3), "float32")], lambda x, w: ConvOp(x, w).result)
    assert not any(DirectConv().applies(kernel, target) for kernel in (split, plain))


EPILOGUES = {
    "relu": (lambda y: [fn(Fn.RELU, y)], []),
    "residual and sigmoid": (lambda y, other: [y := fn(Fn.ADD, y, other), fn(Fn.SIGMOID, y)], ["full"]),
    "two residuals": (lambda y, a, b: [y := fn(Fn.ADD, y, a), y := fn(Fn.RELU, y), fn(Fn.ADD, b, y)], ["full"] * 2),
    "silu": (lambda y: [s := fn(Fn.SIGMOID, y), fn(Fn.MUL, y, s)], []),
    "a gain for each channel": (lambda y, gain: [y := fn(Fn.MUL, y, gain), fn(Fn.CLIP, y, min=0.0, max=6.0)], ["gain"]),
    "a gain for each image": (lambda y, gain: [fn(Fn.MUL, gain, y)], ["image"]),
    "a long chain": (lambda y: [y := fn(f, y) for f in (Fn.NEG, Fn.ABS, Fn.SQRT, Fn.FLOOR, Fn.SOFTSIGN)], []),
}


def fn(function, *operands, **params):
    return ElementwiseOp(function, *operands, **params).result


@pytest.mark.parametrize("case", ["1x1 stride 2", "channels that fill no block", "batch of two", "one dimension"])
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_epilogues_are_part_of_the_store(case, epilogue, build_kernel, check):
    x, w, attributes = CASES[case]
    after, shapes = EPILOGUES[epilogue]
    result = conv_kernel(build_kernel, x, w, attributes).outputs[0].type.get_shape()
    known = {
        "full": result,
        "gain": (result[0], result[1], *[1] * (len(x) - 2)),
        "image": (result[0], *[1] * (len(x) - 1)),
    }
    extra = [known[shape] for shape in shapes]
    kernel = conv_kernel(build_kernel, x, w, attributes, epilogue=lambda *rest: after(*rest)[-1], extra=extra)
    check(kernel, DirectConv())


PROLOGUES = {
    **{case: CASES[case] for case in ("1x1", "1x1 stride 2", "1x1 with pads", "3x3", "batch of three, 1x1")},
    "1x1, channels that fill no block": ((1, 11, 9, 9), (13, 11, 1, 1), {}),
    "in bands with a short last one": ((1, 32, 53, 41), (48, 32, 1, 1), {}),
    "weights that stay in no cache": ((1, 512, 5, 7), (528, 512, 1, 1), {}),
}


@pytest.mark.parametrize("case", PROLOGUES)
def test_inputs_are_computed_where_they_are_copied(case, build_kernel, check):
    """relu(x * gain + shift), whose padding is zero only if it is made so."""
    x, w, attributes = PROLOGUES[case]
    gain = (1, x[1], 1, 1)

    def body(x, w, gain, shift):
        scaled = fn(Fn.RELU, fn(Fn.ADD, fn(Fn.MUL, x, gain), shift))
        return fn(Fn.SIGMOID, ConvOp(scaled, w, **attributes).result)

    operands = [(x, "float32", activations(4)), (w, "float32", "OIHW16i16o"), *[(gain, "float32", activations(4))] * 2]
    check(build_kernel(operands, body, activations(4)), DirectConv())
