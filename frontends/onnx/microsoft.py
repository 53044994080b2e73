"""Operators that onnxruntime's graph optimiser writes into the models it saves (domain com.microsoft)."""

from __future__ import annotations

from xdsl.ir import SSAValue

from convc.frontends.onnx.activation import activation, scaled_silu
from convc.frontends.onnx.convolution import convolution
from convc.frontends.onnx.normalisation import layer_normalised
from convc.frontends.onnx.products import gemm, matmul, scaled, scaled_right
from convc.frontends.onnx.registry import MICROSOFT, Node, converter
from convc.ir.attributes import shape_of
from convc.ir.functions import Fn


@converter("FusedConv", domain=MICROSOFT)
def convert_fused_conv(node: Node) -> SSAValue:
    """activation(conv(x, w) + bias + z)"""
    y = convolution(node, node.value(0), node.value(1), node.value(2) if node.has(2) else None)
    if node.has(3):
        y = node.apply(Fn.ADD, y, node.value(3))
    name = node.attribute("activation")
    return activation(node, name, y, node.attribute("activation_params", [])) if name else y


@converter("FusedGemm", domain=MICROSOFT)
def convert_fused_gemm(node: Node) -> SSAValue:
    name = node.attribute("activation")
    parameters = [node.attribute(f"activation_{key}") for key in ("alpha", "beta", "gamma")]
    given = [value for value in parameters if value is not None]
    return activation(node, name, gemm(node), given) if name else gemm(node)


@converter("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def convert_fused_matmul(node: Node) -> SSAValue:
    """alpha * A' * B', where a transposition swaps the last two axes."""
    if node.attribute("transBatchA", 0) or node.attribute("transBatchB", 0):
        raise ValueError("expected batch axes in front, got transBatchA or transBatchB")
    a = node.value(0)
    if node.attribute("transA", 0) and len(shape_of(a)) > 1:
        rank = len(shape_of(a))
        a = node.transpose(a, [*range(rank - 2), rank - 1, rank - 2])
    b, factor = scaled_right(node, node.attribute("alpha", 1.0))
    return scaled(node, matmul(node, a, b, bool(node.attribute("transB", 0))), factor)


@converter("Gelu", domain=MICROSOFT)
def convert_gelu(node: Node) -> SSAValue:
    return node.apply(Fn.GELU, node.value(0))


@converter("BiasGelu", "FastGelu", domain=MICROSOFT)
def convert_bias_gelu(node: Node) -> SSAValue:
    """gelu(x + bias); FastGelu by tanh, its bias optional."""
    x = node.apply(Fn.ADD, node.value(0), node.value(1)) if node.has(1) else node.value(0)
    return node.apply(Fn.GELU_TANH if node.op_type == "FastGelu" else Fn.GELU, x)


@converter("QuickGelu", domain=MICROSOFT)
def convert_quick_gelu(node: Node) -> SSAValue:
    return scaled_silu(node, node.value(0), node.attribute("alpha", 1.702))


@converter("SkipLayerNormalization", domain=MICROSOFT)
def convert_skip_layer_normalization(node: Node) -> list[SSAValue]:
    """layer_normalization(x + skip + bias); the fourth result is the sum."""
    x = node.apply(Fn.ADD, node.value(0), node.value(1))
    if node.has(4):
        x = node.apply(Fn.ADD, x, node.value(4))
    y = layer_normalised(node, x, [len(shape_of(x)) - 1], 2, 3, epsilon=node.attribute("epsilon", 1e-12))
    return [*y[:3], x] if node.wanted[3:] == [True] else y
