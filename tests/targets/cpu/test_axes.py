"""Long sums lose little: their terms are added in parts. One after another, a thousand numbers of one sign lose 3e-6
of their sum, and a million 1e-5 and more."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.attributes import ReduceKind
from convc.ir.neural import MatMulOp, ReduceOp
from convc.ir.windows import ConvOp
from convc.targets.cpu.direct_conv import DirectConv
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.matmul import PackedMatMul, PlainMatMul
from convc.targets.cpu.plain_conv import PlainConv


def convolution(build_kernel, x, w, *layouts, **attributes):
    operands = [(x, "float32"), (w, "float32", *layouts[:1])]
    return build_kernel(operands, lambda x, w: ConvOp(x, w, None, **attributes).result, *layouts[1:])


def product(build_kernel, a, b, *layout):
    packed = {"transpose_b": True} if layout else {}
    return build_kernel([(a, "float32"), (b, "float32", *layout)], lambda a, b: MatMulOp(a, b, **packed).result)


def mean(build_kernel, shape, axes):
    return build_kernel([(shape, "float32")], lambda x: ReduceOp(ReduceKind.MEAN, x, axes).result)


BLOCKED = ("OIW16o", "NCW16c")
CASES = {
    "a filter": (convolution, (1, 1, 5000), (16, 1, 2048), *BLOCKED),
    "a filter of a prime length": (convolution, (1, 1, 3000), (16, 1, 2003), *BLOCKED),
    "a filter in two dimensions": (convolution, (1, 1, 9, 2500), (16, 1, 3, 1024), "OIHW16o", "NCHW16c"),
    "one output": (convolution, (1, 1, 5000), (1, 1, 2048)),
    "groups": (convolution, (1, 6, 2200), (4, 3, 2003)),
    "a fully connected layer": (product, (1, 25088), (40, 25088), "OI16o"),
    "rows of a prime length": (product, (5, 4001), (17, 4001), "OI16o"),
    "two operands": (product, (3, 6000), (6000, 20)),
    "a plane": (mean, (2, 3, 1000, 1000), (2, 3)),
    "everything": (mean, (1000, 1000), (0, 1)),
    "columns": (mean, (1 << 16, 19), (0,)),
    "rows": (mean, (19, 1 << 16), (1,)),
}
TEMPLATES = {
    "a filter": DirectConv,
    "a filter of a prime length": DirectConv,
    "a filter in two dimensions": DirectConv,
    "one output": PlainConv,
    "groups": PlainConv,
    "a fully connected layer": PackedMatMul,
    "rows of a prime length": PackedMatMul,
    "two operands": PlainMatMul,
}


def check_sum(case, template, build_kernel, check):
    make, *arguments = CASES[case]
    attributes = {"group": 2} if case == "groups" else {}
    kernel = make(build_kernel, *arguments, **attributes)
    rng = np.random.default_rng(0)
    arrays = [rng.random(value.type.get_shape(), np.float32) + 1 for value in kernel.inputs]
    check(kernel, template, arrays, tolerance=1.5e-6)


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_long_sum(case, build_kernel, check):
    check_sum(case, TEMPLATES[case](), build_kernel, check)


@pytest.mark.parametrize("case", [case for case in CASES if "prime" not in case and case != "groups"])
def test_a_long_sum_without_a_template(case, build_kernel, check):
    check_sum(case, Generic(), build_kernel, check)
