"""Elementwise functions of one tensor: activations, roundings, trigonometry; and softmax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, Value, converter, normalise_axis
from convc.ir.attributes import ReduceKind, element_type, shape_of
from convc.ir.functions import FUNCTIONS, Fn
from convc.ir.neural import ArgReduceOp, SoftmaxOp

# Operators whose attributes are the function's parameters, by the same names and with the same defaults.
_UNARY: Mapping[str, Fn] = {
    "Abs": Fn.ABS,
    "Acos": Fn.ACOS,
    "Acosh": Fn.ACOSH,
    "Asin": Fn.ASIN,
    "Asinh": Fn.ASINH,
    "Atan": Fn.ATAN,
    "Atanh": Fn.ATANH,
    "Ceil": Fn.CEIL,
    "Celu": Fn.CELU,
    "Cos": Fn.COS,
    "Cosh": Fn.COSH,
    "Elu": Fn.ELU,
    "Erf": Fn.ERF,
    "Exp": Fn.EXP,
    "Floor": Fn.FLOOR,
    "HardSigmoid": Fn.HARD_SIGMOID,
    "HardSwish": Fn.HARD_SWISH,
    "IsInf": Fn.IS_INF,
    "IsNaN": Fn.IS_NAN,
    "LeakyRelu": Fn.LEAKY_RELU,
    "Log": Fn.LOG,
    "Mish": Fn.MISH,
    "Neg": Fn.NEG,
    "Not": Fn.NOT,
    "Reciprocal": Fn.RECIPROCAL,
    "Relu": Fn.RELU,
    "Round": Fn.ROUND,
    "Selu": Fn.SELU,
    "Shrink": Fn.SHRINK,
    "Sigmoid": Fn.SIGMOID,
    "Sign": Fn.SIGN,
    "Sin": Fn.SIN,
    "Sinh": Fn.SINH,
    "Softplus": Fn.SOFTPLUS,
    "Softsign": Fn.SOFTSIGN,
    "Sqrt": Fn.SQRT,
    "Tan": Fn.TAN,
    "Tanh": Fn.TANH,
    "ThresholdedRelu": Fn.THRESHOLDED_RELU,
}


@converter(*_UNARY)
def convert_unary(node: Node) -> SSAValue:
    fn = _UNARY[node.op_type]
    params = {name: float(node.attribute(name, default)) for name, default in FUNCTIONS[fn].params.items()}
    return node.apply(fn, node.value(0), **params)


def activation(node: Node, name: str, x: SSAValue, params: Sequence[float]) -> SSAValue:
    """The activation that a fused operator names, with its parameters in the function's order."""
    fn = Fn.CLIP if name == "Clip" else _UNARY.get(name)
    if fn is None:
        raise ValueError(f"expected an activation such as Relu, got {name}")
    return node.apply(fn, x, **dict(zip(FUNCTIONS[fn].params, map(float, params))))


@converter("Erfc")
def convert_erfc(node: Node) -> SSAValue:
    """1 - erf(x), as TensorFlow's exporter leaves it in Keras's GELU: no operator of ONNX, and none of onnxruntime."""
    x = node.value(0)
    return node.apply(Fn.ADD, node.apply(Fn.ERF, node.apply(Fn.NEG, x)), node.scalar(1, x))


@converter("Gelu")
def convert_gelu(node: Node) -> SSAValue:
    mode = node.attribute("approximate", "none")
    if mode not in ("none", "tanh"):
        raise ValueError(f"expected approximate none or tanh, got {mode}")
    return node.apply(Fn.GELU_TANH if mode == "tanh" else Fn.GELU, node.value(0))


@converter("Swish")
def convert_swish(node: Node) -> SSAValue:
    return scaled_silu(node, node.value(0), node.attribute("alpha", 1.0))


def scaled_silu(node: Node, x: SSAValue, alpha: float) -> SSAValue:
    """x * sigmoid(alpha * x)"""
    if alpha == 1:
        return node.apply(Fn.SILU, x)
    gate = node.apply(Fn.SIGMOID, node.apply(Fn.MUL, x, node.scalar(alpha, x)))
    return node.apply(Fn.MUL, x, gate)


@converter("Identity")
def convert_identity(node: Node) -> Value:
    return node.given(0)


@converter("Dropout")
def convert_dropout(node: Node) -> list[Value]:
    """Nothing at inference; the mask, if asked for, keeps everything. Before opset 10 the mask is of x's type."""
    if node.opset < 7 and not node.attribute("is_test", 0):
        raise ValueError("expected a model for inference (is_test=1), got is_test=0")
    if node.has(2) and node.constant(2, "training_mode").any():
        ratio = node.constant(1, "ratio") if node.has(1) else np.float32(0.5)
        if ratio != 0:
            raise ValueError("expected a model for inference, its training_mode is on: the output would be random")
    kept = np.ones((), bool if node.opset >= 10 else node.dtype(0))
    return [node.given(0), np.broadcast_to(kept, node.shape(0))]


def softmax_axes(node: Node) -> list[int]:
    """Before opset 13 the input is seen as a matrix: the axis and all after it are normalised together."""
    rank = len(node.shape(0))
    axis = normalise_axis(node.attribute("axis", 1 if node.opset < 13 else -1), rank)
    return list(range(axis, rank)) if node.opset < 13 else [axis]


@converter("Softmax", "LogSoftmax")
def convert_softmax(node: Node) -> SSAValue:
    return node.emit(SoftmaxOp(node.value(0), softmax_axes(node), log=node.op_type == "LogSoftmax"))


@converter("Hardmax")
def convert_hardmax(node: Node) -> SSAValue:
    """1 at the first maximum along the axes of a softmax, 0 elsewhere."""
    x, axes = node.value(0), softmax_axes(node)
    shape = shape_of(x)
    count = prod(shape[axis] for axis in axes)
    rows = node.reshape(x, [*shape[: axes[0]], count, *shape[axes[-1] + 1 :]])
    positions = node.emit(ArgReduceOp(ReduceKind.MAX, rows, axes[0]))
    every = np.arange(count).reshape([count if axis == axes[0] else 1 for axis in range(len(shape_of(rows)))])
    hot = node.apply(Fn.EQUAL, positions, node.weight(every, "positions"))
    return node.reshape(node.cast(hot, element_type(x)), shape)
