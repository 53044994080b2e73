"""Local response and batch normalisation."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.neural import BatchNormOp, LRNOp
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.injective import Injective


@pytest.mark.parametrize("size", [1, 2, 5, 16])
@pytest.mark.parametrize("beta", [0.5, 0.75, 1.0, 0.6])
@pytest.mark.parametrize("layout", [None, "NCHW16c"])
def test_local_responses(size, beta, layout, build_kernel, check):
    options = {"size": size, "alpha": 0.3, "beta": beta, "bias": 1.5}
    kernel = build_kernel([((2, 19, 5, 7), "float32", layout)], lambda x: LRNOp(x, **options).result, layout)
    check(kernel, Injective())


@pytest.mark.parametrize("size", [5, 17, 40])
@pytest.mark.parametrize("layout", [None, "NCHW16c"])
def test_local_responses_by_the_generic_template(size, layout, build_kernel, check):
    kernel = build_kernel([((2, 19, 5, 7), "float32", layout)], lambda x: LRNOp(x, size=size).result, layout)
    check(kernel, Generic())


@pytest.mark.parametrize("shape", [(2, 19, 5, 7), (3, 20), (9,)])
def test_batch_normalisation(shape, build_kernel, check):
    channels = shape[1] if len(shape) > 1 else 1
    kernel = build_kernel(
        [(shape, "float32"), *[((channels,), "float32")] * 4], lambda *values: BatchNormOp(*values).result
    )
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(size).astype(np.float32) for size in (shape, *[channels] * 3)]
    check(kernel, Injective(), [*arrays, rng.uniform(0.5, 2, channels).astype(np.float32)])
