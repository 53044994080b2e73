"""Winograd convolution on the software device, beside direct convolution in float64; what it takes on GPUs."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.layout import chunked_winograd_weight
from convc.ir.windows import WinogradConvOp
from convc.ir.winograd import transformed_weight
from convc.targets.cuda.codegen import generate
from convc.targets.cuda.library import source_of
from convc.targets.cuda.target import parse_cuda
from convc.targets.cuda.winograd import Winograd

ERROR = 1e-5
"""max|diff| / max|ref| of one operation: what direct convolution is held to as well."""

# input, output channels, pads
CASES = {
    "one tile, mostly padding": ((1, 4, 1, 1), 4, (1, 1, 1, 1)),
    "one row": ((1, 8, 1, 19), 12, (1, 1, 1, 1)),
    "prime sizes": ((1, 32, 13, 7), 40, (1, 1, 1, 1)),
    "uneven pads": ((1, 8, 6, 9), 16, (2, 0, 0, 3)),
    "channels that fill no block": ((1, 13, 9, 9), 17, (1, 1, 1, 1)),
    "batch of three": ((3, 8, 5, 6), 16, (1, 1, 1, 1)),
    "many channels": ((1, 128, 5, 5), 136, (1, 1, 1, 1)),
}


def direct(x, w, pads):
    """The convolution in float64, a tap at a time."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])])
    height, width = x.shape[2] - 2, x.shape[3] - 2
    taps = [(i, j) for i in range(3) for j in range(3)]
    return sum(np.einsum("nchw,oc->nohw", x[:, :, i : i + height, j : j + width], w[:, :, i, j]) for i, j in taps)


def kernel_of(build_kernel, case, m):
    """A convolution, its bias, a residual sum and a ReLU."""
    x, outputs, pads = CASES[case]
    shape = (x[0], outputs, x[2] + pads[0] + pads[2] - 2, x[3] + pads[1] + pads[3] - 2)

    def body(x, w, b, r):
        y = WinogradConvOp(x, w, b, m=m, pads=pads).result
        return ElementwiseOp(Fn.RELU, ElementwiseOp(Fn.ADD, y, r).result).result

    weight = ((outputs, x[1], m + 2, m + 2), "float32", str(chunked_winograd_weight(4)))
    operands = [(x, "float32", "CNHW4c"), weight, ((outputs,), "float32", "O4o"), (shape, "float32", "CNHW4c")]
    return build_kernel(operands, body, "CNHW4c")


def compare(build_kernel, run_kernel, case, m, target="cuda:sm_90a", config=None):
    x, outputs, pads = CASES[case]
    kernel, rng = kernel_of(build_kernel, case, m), np.random.default_rng(0)
    shapes = (x, (outputs, x[1], 3, 3), (outputs,), tuple(kernel.outputs[0].type.get_shape()))
    x, w, b, r = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    (result,) = run_kernel(kernel, Winograd(), [x, transformed_weight(w, m), b, r], target, config)
    expected = np.maximum(direct(x, w, pads) + b[:, None, None] + r, 0)
    assert np.abs(result - expected).max() <= ERROR * np.abs(expected).max()


@pytest.mark.parametrize(
    ("case", "m"),
    [*((case, 4) for case in CASES if case != "one row"), *((case, 2) for case in ("one row", "uneven pads"))],
)
def test_shapes(case, m, build_kernel, run_kernel):
    compare(build_kernel, run_kernel, case, m)


@pytest.mark.parametrize("number", range(3))
def test_tiles(number, build_kernel, run_kernel):
    """Every so-many-th tile of the products, those with split sums among them."""
    found = Winograd().candidates(kernel_of(build_kernel, "many channels", 4), parse_cuda("cuda:sm_80"))
    config = found[number * len(found) // 3]
    compare(build_kernel, run_kernel, "many channels", 4, "cuda:sm_80", config)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_large_batches_fit_into_registers(arch, build_kernel, machine_code):
    """Whose sizes are powers of two: the compiler bets on 64 registers a thread for a layer of ResNet-50."""
    target = parse_cuda(f"cuda:{arch}")
    x = (128, 256, 14, 14)

    def body(x, w, b):
        return ElementwiseOp(Fn.RELU, WinogradConvOp(x, w, b, m=4, pads=(1, 1, 1, 1)).result).result

    weight = ((256, 256, 6, 6), "float32", str(chunked_winograd_weight(4)))
    kernel = build_kernel([(x, "float32", "CNHW4c"), weight, ((256,), "float32", "O4o")], body, "CNHW4c")
    code = generate("kernel", Winograd().schedule(kernel, Winograd().candidates(kernel, target)[0], target), target)
    machine_code(source_of([code]), code.functions[-1], arch)
