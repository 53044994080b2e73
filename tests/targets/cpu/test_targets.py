"""Kernels for other processors, each with blocks of its own vectors' length: AVX-512, AVX2, SSE, NEON.

What this machine can run, or QEMU for it, is run as it is. Of other processors, it runs the schedules: tiles of their
vectors and registers in its own instructions, where LLVM makes several vectors of one.
"""

from __future__ import annotations

import pytest

from convc.ir.attributes import PoolKind, ReduceKind
from convc.ir.data import CastOp, ConcatOp, RelayoutOp, ResizeOp, SliceOp, TransposeOp
from convc.ir.dtypes import from_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import ArgReduceOp, LRNOp, MatMulOp, ReduceOp, SoftmaxOp
from convc.ir.windows import ConvOp, ConvTransposeOp, PoolOp
from convc.targets.choosing import candidates
from convc.targets.registry import template_named
from convc.targets.target import parse_target

TARGETS = ["cpu:skylake-avx512", "cpu:haswell", "cpu:x86-64-v2", "cpu:aarch64-linux-gnu"]
OTHERS = ["cpu:znver4", "cpu:x86-64", "cpu:cortex-a76", "cpu:neoverse-n1", "cpu:neoverse-v1"]


def image(b, channels=20, height=9, width=11, batch=1):
    return ((batch, channels, height, width), "float32", f"NCHW{b}c" if b else None)


def conv(b):
    operands = [image(b), ((24, 20, 3, 3), "float32", f"OIHW{b}i{b}o"), ((24,), "float32", f"O{b}o"), image(b, 24)]
    return operands, lambda x, w, bias, r: fn(Fn.RELU, fn(Fn.ADD, ConvOp(x, w, bias, pads=(1, 1, 1, 1)).result, r)), b


def first_layer(b):
    operands = [image(0, 3, 21, 23), ((20, 3, 7, 7), "float32", f"OIHW{b}o")]
    return operands, lambda x, w: ConvOp(x, w, strides=(2, 2), pads=(3, 3, 3, 3)).result, b


def pointwise(b):
    operands = [image(b, batch=2), ((19, 20, 1, 1), "float32", f"OIHW{b}i{b}o")]
    return operands, lambda x, w: fn(Fn.SILU, ConvOp(x, w).result), b


def depthwise(b):
    operands = [image(b), ((20, 1, 3, 3), "float32", f"OIHW{b}o")]
    return operands, lambda x, w: ConvOp(x, w, group=20, strides=(1, 2), pads=(1, 1, 1, 1)).result, b


def transposed(b):
    operands = [image(b), ((20, 12, 3, 3), "float32", f"HWIO{b}o{b}i")]
    return operands, lambda x, w: ConvTransposeOp(x, w, strides=(2, 2), pads=(1, 1, 1, 1)).result, b


def grouped(b):
    operands = [image(0, 15), ((21, 5, 3, 3), "float32")]
    return operands, lambda x, w: ConvOp(x, w, group=3, pads=(1, 1, 1, 1)).result, 0


def product(b):
    operands = [((13, 37), "float32"), ((29, 37), "float32", f"OI{b}o"), ((29,), "float32")]
    return operands, lambda x, w, bias: fn(Fn.ADD, MatMulOp(x, w, transpose_b=True).result, bias), 0


def attention(b):
    operands = [((2, 3, 5, 8), "float32"), ((2, 3, 8, 17), "float32")]
    return operands, lambda x, y: MatMulOp(x, y).result, 0


def bytes_of_an_image(b):
    operands = [((1, 9, 11, 3), "uint8"), ((3,), "float32")]
    return operands, lambda x, mean: fn(Fn.SUB, CastOp(x, from_numpy("float32")).result, mean), 0


def fn(function, *operands):
    return ElementwiseOp(function, *operands).result


def over(operand, body, blocked):
    """A kernel of one operand, which lies in blocks, as its result does, if `blocked`."""
    return lambda b: ([operand(b if blocked else 0)], lambda x: body(x, b).result, b if blocked else 0)


KERNELS = {
    "conv": conv,
    "first layer": first_layer,
    "1x1": pointwise,
    "depthwise": depthwise,
    "transposed": transposed,
    "grouped": grouped,
    "product": product,
    "attention": attention,
    "bytes of an image": bytes_of_an_image,
    "max pool": over(image, lambda x, b: PoolOp(PoolKind.MAX, x, (3, 3), strides=(2, 2), pads=(1, 1, 1, 1)), True),
    "average pool": over(image, lambda x, b: PoolOp(PoolKind.AVERAGE, x, (2, 3), pads=(1, 1, 0, 1)), True),
    "global pool": over(image, lambda x, b: ReduceOp(ReduceKind.MEAN, x, (2, 3)), True),
    "row sums": over(image, lambda x, b: ReduceOp(ReduceKind.L2, x, (3,)), False),
    "column sums": over(image, lambda x, b: ReduceOp(ReduceKind.LOG_SUM_EXP, x, (1,)), False),
    "softmax": over(image, lambda x, b: SoftmaxOp(x, (2, 3)), False),
    "softmax of channels": over(image, lambda x, b: SoftmaxOp(x, (1,), log=True), False),
    "largest place": over(image, lambda x, b: ArgReduceOp(ReduceKind.MAX, x, 3), False),
    "gelu": over(image, lambda x, b: ElementwiseOp(Fn.GELU, x), True),
    "tanh": over(image, lambda x, b: ElementwiseOp(Fn.TANH, x), False),
    "exp of halves": over(lambda b: ((67,), "float16"), lambda x, b: ElementwiseOp(Fn.EXP, x), False),
    "sine": over(image, lambda x, b: ElementwiseOp(Fn.SIN, x), False),
    "relayout to blocks": over(image, lambda x, b: RelayoutOp(x, f"NCHW{b}c"), False),
    "relayout to plain": over(image, lambda x, b: RelayoutOp(x, None), True),
    "linear resize": over(image, lambda x, b: ResizeOp(x, (1, 20, 18, 22), mode="linear"), True),
    "cubic resize": over(image, lambda x, b: ResizeOp(x, (1, 20, 13, 17), mode="cubic"), False),
    "nearest resize": over(image, lambda x, b: ResizeOp(x, (1, 20, 18, 22)), False),
    "transpose": over(image, lambda x, b: TransposeOp(x, (0, 2, 3, 1)), False),
    "join": over(image, lambda x, b: ConcatOp([x, x], 1), True),
    "slice": over(image, lambda x, b: SliceOp(x, (0, 3, 8, 1), (1, 9, 4, 5), (1, 2, -2, 2)), False),
    "local responses": over(image, lambda x, b: LRNOp(x, size=5), True),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_of_another_processor(name, target, build_kernel, check, runnable):
    described = runnable(parse_target(target))
    operands, body, block = KERNELS[name](described.lanes())
    kernel = build_kernel(operands, body, f"NCHW{block}c" if block else None)
    template = template_named(next(candidates(kernel, described))[0], described)
    check(kernel, template, target=described, tolerance=2e-5 if "resize" in name else None)


@pytest.mark.parametrize("target", OTHERS)
@pytest.mark.parametrize("name", ["conv", "gelu", "softmax"])
def test_a_few_kernels_of_many_processors(name, target, build_kernel, check, runnable):
    test_kernels_of_another_processor(name, target, build_kernel, check, runnable)
