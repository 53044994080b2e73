"""Everything but convolutions: each kernel by each template that applies, on the software device."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.attributes import PoolKind, ReduceKind
from convc.ir.data import CastOp, ConcatOp, RelayoutOp, ResizeOp, ShuffleOp, SliceOp, TransposeOp
from convc.ir.dtypes import from_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import ArgReduceOp, LRNOp, MatMulOp, ReduceOp, SoftmaxOp
from convc.ir.ordering import ScanOp, TopKOp
from convc.ir.sampling import ScatterOp
from convc.ir.windows import ConvOp, ConvTransposeOp, PoolOp
from convc.targets.cuda.registry import TEMPLATES
from convc.targets.cuda.target import parse_cuda

SM_90 = "cuda:sm_90a"
IMAGE, BLOCKED = ((2, 12, 9, 7), "float32"), ((2, 12, 9, 7), "float32", "CNHW4c")
ROWS = ((6, 150), "float32")


def product(a, b, transpose_b=True, dtype="float32"):
    def body(x, w):
        wide = [x, w] if dtype == "float32" else [CastOp(value, from_numpy("float32")).result for value in (x, w)]
        result = ElementwiseOp(Fn.RELU, MatMulOp(*wide, transpose_b=transpose_b).result).result
        return result if dtype == "float32" else CastOp(result, from_numpy(dtype)).result

    return [(a, dtype), (b, dtype)], body, None


KERNELS = {
    "sum of two": ([IMAGE, IMAGE], lambda x, y: ElementwiseOp(Fn.ADD, x, y).result, None),
    "sigmoid in blocks": ([BLOCKED], lambda x: ElementwiseOp(Fn.SIGMOID, x).result, "CNHW4c"),
    "padded blocks": (
        [((1, 13, 5, 3), "float32", "CNHW4c")],
        lambda x: ElementwiseOp(Fn.SIGMOID, x).result,
        "CNHW4c",
    ),
    "to blocks": ([((1, 13, 5, 3), "float32")], lambda x: RelayoutOp(x, "CNHW4c").result, None),
    "from blocks": ([((1, 13, 5, 3), "float32", "CNHW4c")], lambda x: RelayoutOp(x, None).result, None),
    "to halves": ([IMAGE], lambda x: CastOp(x, from_numpy("float16")).result, None),
    "transpose": ([IMAGE], lambda x: TransposeOp(x, (0, 2, 3, 1)).result, None),
    "join": ([IMAGE, IMAGE], lambda x, y: ConcatOp([x, y], 1).result, None),
    "slice": ([IMAGE], lambda x: SliceOp(x, (1, 3, 8, 1), (1, 4, 3, 3), (1, 2, -2, 2)).result, None),
    "shuffle": ([IMAGE], lambda x: ShuffleOp(x, 3).result, None),
    "shuffle in blocks": ([BLOCKED], lambda x: ShuffleOp(x, 2).result, "CNHW4c"),
    "half of a shuffle in blocks": (
        [((3, 10, 3, 5), "float16", "CNHW8c")] * 2,
        lambda x, y: SliceOp(ShuffleOp(ConcatOp([x, y], 1).result, 2).result, (0, 10, 0, 0), (3, 10, 3, 5)).result,
        "CNHW8c",
    ),
    "join of parts of blocks": (
        [((3, 10, 3, 5), "float16", "CNHW8c"), ((3, 7, 3, 5), "float16", "CNHW8c")],
        lambda x, y: ConcatOp([x, y], 1).result,
        "CNHW8c",
    ),
    "slice within blocks": (
        [((3, 29, 3, 5), "float16", "CNHW8c")],
        lambda x: SliceOp(x, (0, 11, 1, 0), (3, 13, 2, 5)).result,
        "CNHW8c",
    ),
    "linear resize": ([IMAGE], lambda x: ResizeOp(x, (2, 12, 18, 11), mode="linear").result, None),
    "integers": ([((5, 33), "int64")] * 2, lambda x, y: ElementwiseOp(Fn.MAX, x, y).result, None),
    "comparison": ([((5, 33), "float32")] * 2, lambda x, y: ElementwiseOp(Fn.LESS, x, y).result, None),
    "many comparisons": ([((300, 1024), "float32")] * 2, lambda x, y: ElementwiseOp(Fn.LESS, x, y).result, None),
    "local responses": ([IMAGE], lambda x: LRNOp(x, size=5).result, None),
    "mean": ([ROWS], lambda x: ReduceOp(ReduceKind.MEAN, x, [1], keepdims=True).result, None),
    "largest": ([ROWS], lambda x: ReduceOp(ReduceKind.MAX, x, [1], keepdims=False).result, None),
    "log of sums": ([ROWS], lambda x: ReduceOp(ReduceKind.LOG_SUM_EXP, x, [1], keepdims=False).result, None),
    "global average": (
        [((2, 13, 9, 7), "float32", "CNHW4c")],
        lambda x: ReduceOp(ReduceKind.MEAN, x, [2, 3], keepdims=True).result,
        "CNHW4c",
    ),
    "over outer axes": ([IMAGE], lambda x: ReduceOp(ReduceKind.SUM, x, [0, 2], keepdims=False).result, None),
    "everything": ([IMAGE], lambda x: ReduceOp(ReduceKind.SUM, x, [0, 1, 2, 3], keepdims=False).result, None),
    "place of the largest": ([ROWS], lambda x: ArgReduceOp(ReduceKind.MAX, x, 1, keepdims=True).result, None),
    "softmax": ([ROWS], lambda x: SoftmaxOp(x, [1]).result, None),
    "softmax over channels": ([((2, 40, 3, 5), "float32")], lambda x: SoftmaxOp(x, [1]).result, None),
    "logarithm of softmax": ([ROWS], lambda x: SoftmaxOp(x, [1], log=True).result, None),
    "vector by matrix": product((1, 150), (37, 150)),
    "vector of whole vectors": product((1, 600), (37, 600)),
    "vector of halves": product((1, 152), (37, 152), dtype="float16"),
    "few rows": product((3, 64), (17, 64)),
    "rows": product((37, 64), (29, 64)),
    "batch of products": product((3, 2, 17, 32), (3, 2, 19, 32)),
    "shared factor": product((3, 18, 32), (19, 32)),
    "untransposed": product((9, 40), (40, 11), transpose_b=False),
    "halves": product((19, 64), (40, 64), dtype="float16"),
    "sums so far": ([((3, 40, 5), "float32")], lambda x: ScanOp(ReduceKind.SUM, x, 1).result, None),
    "a scatter": (
        [((7, 40), "float32"), ((3,), "int64"), ((3, 40), "float32")],
        lambda x, at, updates: ScatterOp(x, at, updates, mode="add").result,
        None,
    ),
    "what follows a scatter": (
        [((7, 40), "float32"), ((3,), "int64"), ((3, 40), "float32")],
        lambda x, at, updates: ElementwiseOp(Fn.RELU, ScatterOp(x, at, updates, mode="add").result).result,
        None,
    ),
    "the largest five": ([((3, 40), "float32")], lambda x: TopKOp(x, 1, 5).result, None),
    "transposed convolution": (
        [((1, 6, 7, 5), "float32"), ((6, 4, 3, 3), "float32")],
        lambda x, w: ConvTransposeOp(x, w, strides=(2, 2), pads=(1, 1, 0, 0)).result,
        None,
    ),
    "plain convolution": (
        [((1, 6, 7, 5), "float32"), ((4, 3, 3, 3), "float32")],
        lambda x, w: ConvOp(x, w, group=2, pads=(1, 1, 1, 1)).result,
        None,
    ),
    "plain pool": ([IMAGE], lambda x: PoolOp(PoolKind.MAX, x, (3, 3), strides=(2, 2)).result, None),
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name, build_kernel, check):
    operands, body, layout = KERNELS[name]
    kernel = build_kernel(operands, body, layout)
    target = parse_cuda(SM_90)
    templates = [template for template in TEMPLATES if template.applies(kernel, target)]
    for template in templates[:1] if templates[0].name == "injective" else (templates[0], templates[-1]):
        check(kernel, template, target=SM_90, tolerance=1e-3 if "halves" in name else None)


def test_rows_with_infinities(build_kernel, check):
    """A row of nothing but -inf has the largest element -inf, and no softmax."""
    rows = np.zeros((3, 64), np.float32)
    rows[0, 5], rows[1] = -np.inf, -np.inf
    for body in (
        lambda x: ReduceOp(ReduceKind.MAX, x, [1], keepdims=False).result,
        lambda x: SoftmaxOp(x, [1]).result,
    ):
        kernel = build_kernel([((3, 64), "float32")], body)
        template = next(t for t in TEMPLATES if t.applies(kernel, parse_cuda(SM_90)))
        check(kernel, template, [rows], target=SM_90)
