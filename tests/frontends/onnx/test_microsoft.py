"""The operators of onnxruntime's optimiser against onnxruntime."""

from functools import partial

import numpy as np
import pytest


@pytest.fixture(name="check")
def _check(agrees):
    return partial(agrees, domain="com.microsoft")


def test_fused_conv(check):
    conv = [(1, 3, 6, 6), (4, 3, 3, 3), (4,)]
    check("FusedConv", conv, activation="Relu", pads=[1, 1, 1, 1])
    check("FusedConv", conv, activation="LeakyRelu", activation_params=[0.2])
    check("FusedConv", [*conv, (1, 4, 4, 4)], activation="Relu")
    check("FusedConv", conv, activation="HardSigmoid", activation_params=[0.3, 0.4])


def test_fused_gemm(check):
    check("FusedGemm", [(3, 4), (5, 4), (5,)], transB=1, alpha=0.5, activation="Relu")
    check("FusedGemm", [(3, 4), (4, 5), (5,)], activation="LeakyRelu", activation_alpha=0.2)


@pytest.mark.parametrize("options", [{}, {"transA": 1}, {"transB": 1, "alpha": 0.5}], ids=str)
def test_fused_matmul(check, options):
    a = (2, 4, 3) if options.get("transA") else (2, 3, 4)
    b = (2, 5, 4) if options.get("transB") else (2, 4, 5)
    check("FusedMatMul", [a, b], **options)
    check("FusedMatMul", [a, np.ones(b, np.float32)], **options)


def test_gelus(check):
    check("Gelu", [(2, 8)])
    check("BiasGelu", [(2, 8), (8,)])
    check("FastGelu", [(2, 8)], tolerance=1e-4)
    check("FastGelu", [(2, 8), (8,)], tolerance=1e-4)
    check("QuickGelu", [(2, 8)])
    check("QuickGelu", [(2, 8)], alpha=1.0)


def test_skip_layer_normalization(check):
    check("SkipLayerNormalization", [(2, 3, 4), (2, 3, 4), (4,), (4,), (4,)], epsilon=1e-5)
    check("SkipLayerNormalization", [(2, 3, 4), (2, 3, 4), (4,)], epsilon=1e-5)
