"""Normalisations: batch and local response are operations of their own, the others are composed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.movement import reshaped
from convc.frontends.onnx.registry import Node, converter, normalise_axis
from convc.ir.attributes import ReduceKind, shape_of
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import BatchNormOp, LRNOp, ReduceOp


@converter("BatchNormalization")
def convert_batch_normalization(node: Node) -> SSAValue:
    if node.attribute("training_mode", 0):
        raise ValueError("it is in training mode: export the model for inference")
    if not node.attribute("spatial", 1):
        raise ValueError("spatial=0 (statistics for every element) is not supported")
    return node.emit(BatchNormOp(*node.values()[:5], epsilon=node.attribute("epsilon", 1e-5)))


@converter("LRN")
def convert_lrn(node: Node) -> SSAValue:
    parameters = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    return node.emit(
        LRNOp(
            node.value(0),
            size=node.attribute("size"),
            **{name: float(node.attribute(name, default)) for name, default in parameters.items()},
        )
    )


def standardised(node: Node, x: SSAValue, axes: Sequence[int], epsilon: float) -> SSAValue:
    """(x - mean) / sqrt(variance + epsilon), the moments taken over some axes."""
    mean = node.emit(ReduceOp(ReduceKind.MEAN, x, axes))
    centred = node.emit(ElementwiseOp(Fn.SUB, x, mean))
    share = node.weight(np.array(1 / prod(shape_of(x)[axis] for axis in axes), node.dtype(0)), "share")
    squares = node.emit(ReduceOp(ReduceKind.SUM_SQUARE, centred, axes))
    variance = node.emit(ElementwiseOp(Fn.MUL, squares, share))
    offset = node.weight(np.array(epsilon, node.dtype(0)), "epsilon")
    deviation = node.emit(ElementwiseOp(Fn.SQRT, node.emit(ElementwiseOp(Fn.ADD, variance, offset))))
    return node.emit(ElementwiseOp(Fn.DIV, centred, deviation))


def _per_channel(node: Node, y: SSAValue, scale: SSAValue, shift: SSAValue | None) -> SSAValue:
    """y * scale + shift with `[C]` vectors along axis 1."""
    shape = [1, shape_of(y)[1], *[1] * (len(shape_of(y)) - 2)]
    y = node.emit(ElementwiseOp(Fn.MUL, y, reshaped(node, scale, shape)))
    return y if shift is None else node.emit(ElementwiseOp(Fn.ADD, y, reshaped(node, shift, shape)))


@converter("InstanceNormalization")
def convert_instance_normalization(node: Node) -> SSAValue:
    axes = range(2, len(node.shape(0)))
    y = standardised(node, node.value(0), axes, node.attribute("epsilon", 1e-5))
    return _per_channel(node, y, node.value(1), node.value(2))


@converter("GroupNormalization")
def convert_group_normalization(node: Node) -> SSAValue:
    """Opset 18 scales by group, opset 21 by channel."""
    shape, groups = node.shape(0), node.attribute("num_groups")
    if shape[1] % groups:
        raise ValueError(f"{shape[1]} channels do not divide into {groups} groups")
    grouped = reshaped(node, node.value(0), [shape[0], groups, prod(shape[1:]) // groups])
    y = standardised(node, grouped, [2], node.attribute("epsilon", 1e-5))
    if node.opset < 21:
        y = _per_channel(node, y, node.value(1), node.value(2))
        return reshaped(node, y, list(shape))
    return _per_channel(node, reshaped(node, y, list(shape)), node.value(1), node.value(2))


@converter("LayerNormalization")
def convert_layer_normalization(node: Node) -> SSAValue:
    if any(node.outputs[1:]):
        raise ValueError("its second and third outputs (Mean, InvStdDev) are not supported")
    rank = len(node.shape(0))
    axes = range(normalise_axis(node.attribute("axis", -1), rank), rank)
    y = standardised(node, node.value(0), axes, node.attribute("epsilon", 1e-5))
    y = node.emit(ElementwiseOp(Fn.MUL, y, node.value(1)))
    return node.emit(ElementwiseOp(Fn.ADD, y, node.value(2))) if node.has(2) else y


@converter("LpNormalization")
def convert_lp_normalization(node: Node) -> SSAValue:
    kind = ReduceKind.L1 if node.attribute("p", 2) == 1 else ReduceKind.L2
    norm = node.emit(ReduceOp(kind, node.value(0), [node.axis(-1, len(node.shape(0)))]))
    return node.emit(ElementwiseOp(Fn.DIV, node.value(0), norm))


@converter("MeanVarianceNormalization")
def convert_mean_variance_normalization(node: Node) -> SSAValue:
    rank = len(node.shape(0))
    axes = sorted(normalise_axis(axis, rank) for axis in node.attribute("axes", [0, 2, 3]))
    return standardised(node, node.value(0), axes, 1e-9)
