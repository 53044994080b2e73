"""Matrix products: packed weights and two plain operands, over rows and columns that fill no tile."""

from __future__ import annotations

import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import MatMulOp
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.matmul import PackedMatMul, PlainMatMul
from convc.targets.target import parse_target

LANES = parse_target("cpu").lanes()
# a, b [N, K], the block of N
PACKED = {
    "one row": ((1, 100), (40, 100), 16),
    "one row, a block of several vectors": ((1, 300), (129, 300), 8 * LANES),
    "one row of a batch": ((1, 1, 64), (50, 64), 4 * LANES),
    "one column": ((7, 33), (1, 33), 16),
    "one element": ((1, 5), (1, 5), 16),
    "one step": ((5, 1), (30, 1), 16),
    "columns that fill no block": ((13, 17), (37, 17), 16),
    "a prime number of rows": ((127, 24), (16, 24), 16),
    "batches": ((2, 3, 5, 11), (21, 11), 16),
    "more rows than a task": ((200, 256), (48, 256), 16),
    "large": ((70, 128), (400, 128), 16),
}
# a, b
PLAIN = {
    "square": ((16, 16), (16, 16)),
    "odd": ((5, 7), (7, 19)),
    "one row": ((1, 50), (50, 33)),
    "one column": ((9, 12), (12, 1)),
    "one element": ((1, 6), (6, 1)),
    "one step": ((4, 1), (1, 21)),
    "narrower than a vector": ((6, 40), (40, 5)),
    "batches": ((3, 5, 8), (3, 8, 18)),
    "many batches": ((2, 4, 5, 8), (2, 4, 8, 17)),
    "one left operand for a batch": ((5, 8), (3, 8, 18)),
    "one right operand for a batch": ((3, 5, 8), (8, 18)),
    "batches broadcast both ways": ((2, 1, 5, 8), (3, 8, 18)),
    "batches of one": ((1, 1, 5, 8), (4, 1, 8, 18)),
    "large enough for threads": ((3, 70, 90), (3, 90, 100)),
}


def packed(build_kernel, case, epilogue=lambda y: y, extra=(), dtype="float32"):
    a, b, block = PACKED[case]
    operands = [(a, dtype), (b, dtype, f"OI{block}o"), *((shape, dtype) for shape in extra)]
    return build_kernel(operands, lambda a, b, *rest: epilogue(MatMulOp(a, b, transpose_b=True).result, *rest))


def plain(build_kernel, case, epilogue=lambda y: y, extra=(), dtype="float32"):
    operands = [*((shape, dtype) for shape in (*PLAIN[case], *extra))]
    return build_kernel(operands, lambda a, b, *rest: epilogue(MatMulOp(a, b).result, *rest))


@pytest.mark.parametrize("case", PACKED)
@pytest.mark.parametrize("template", [PackedMatMul(), Generic()], ids=lambda t: t.name)
def test_a_product_with_a_packed_weight(case, template, build_kernel, check):
    check(packed(build_kernel, case), template)


@pytest.mark.parametrize("case", PLAIN)
@pytest.mark.parametrize("template", [PlainMatMul(), Generic()], ids=lambda t: t.name)
def test_a_product_of_two_operands(case, template, build_kernel, check):
    check(plain(build_kernel, case), template)


@pytest.mark.parametrize(
    ("kernel_of", "template", "case"),
    [(packed, PackedMatMul(), "columns that fill no block"), (plain, PlainMatMul(), "many batches")],
)
def test_every_candidate_computes_the_same(kernel_of, template, case, build_kernel, check):
    kernel = kernel_of(build_kernel, case)
    for config in template.candidates(kernel, parse_target("cpu")):
        check(kernel, template, config=config)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floating_point_types(dtype, build_kernel, check):
    tolerance = 1e-2 if dtype == "float16" else None
    check(packed(build_kernel, "columns that fill no block", dtype=dtype), PackedMatMul(), tolerance=tolerance)
    check(plain(build_kernel, "odd", dtype=dtype), PlainMatMul(), tolerance=tolerance)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int64"])
def test_integers_wrap(dtype, build_kernel, check):
    check(plain(build_kernel, "odd", dtype=dtype), Generic())


@pytest.mark.parametrize(
    "case", ["one row", "one row, a block of several vectors", "columns that fill no block", "batches"]
)
def test_bias_and_activation_are_part_of_a_packed_product(case, build_kernel, check):
    def epilogue(y, bias, other):
        added = ElementwiseOp(Fn.ADD, ElementwiseOp(Fn.ADD, y, bias).result, other).result
        return ElementwiseOp(Fn.TANH, added).result

    rows, columns = PACKED[case][0][:-1], PACKED[case][1][0]
    check(packed(build_kernel, case, epilogue, extra=[(columns,), (*rows, columns)]), PackedMatMul())


@pytest.mark.parametrize("case", ["odd", "batches broadcast both ways", "one column"])
def test_scale_and_mask_are_part_of_a_plain_product(case, build_kernel, check):
    def epilogue(y, scale, mask):
        return ElementwiseOp(Fn.ADD, ElementwiseOp(Fn.MUL, y, scale).result, mask).result

    shape = plain(build_kernel, case).outputs[0].type.get_shape()
    check(plain(build_kernel, case, epilogue, extra=[(), (shape[-2], shape[-1])]), PlainMatMul())
