"""Normalisations: batch and local response are operations of their own, the others are composed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.dialects.builtin import Float16Type, f32
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, converter, normalise_axes, normalise_axis
from convc.ir.attributes import ReduceKind, element_type, shape_of
from convc.ir.functions import Fn
from convc.ir.neural import BatchNormOp, LRNOp


@converter("BatchNormalization")
def convert_batch_normalization(node: Node) -> SSAValue | list[SSAValue]:
    if node.opset < 7 and not node.attribute("is_test", 0):
        raise ValueError("expected a model for inference, its training mode is on")
    if not node.attribute("spatial", 1):
        raise ValueError("expected statistics a channel (spatial=1), got spatial=0: one for every element")
    # Statistics of float16 models are often float32: computed in their type, the last one's where they differ.
    element = node.element(4)
    operands = [node.cast(node.value(i), element) for i in range(5)]
    if node.attribute("training_mode", 0):
        return _by_own_moments(node, *operands)
    y = node.emit(BatchNormOp(*operands, epsilon=node.attribute("epsilon", 1e-5)))
    return node.cast(y, node.element(0))


def _by_own_moments(node: Node, x: SSAValue, scale: SSAValue, shift: SSAValue, *running: SSAValue) -> list[SSAValue]:
    """(normalised, running mean, running variance). PyTorch writes weight standardisation as a batch norm that trains:
    a function of its inputs like any other."""
    mean, centred, variance = moments(node, x, [axis for axis in range(len(shape_of(x))) if axis != 1])
    y = node.apply(Fn.DIV, centred, deviation(node, variance, node.attribute("epsilon", 1e-5)))
    y = node.cast(_per_channel(node, y), node.element(0))
    momentum = node.attribute("momentum", 0.9)
    moved = []
    for position, old, new in zip((3, 4), running, (mean, variance), strict=True):
        kept = node.apply(Fn.MUL, old, node.scalar(momentum, old))
        share = node.apply(Fn.MUL, node.reshape(new, [shape_of(x)[1]]), node.scalar(1 - momentum, new))
        moved.append(node.cast(node.apply(Fn.ADD, kept, share), node.element(position)))
    return [y, *moved]


@converter("LRN")
def convert_lrn(node: Node) -> SSAValue:
    parameters = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    given = {name: float(node.attribute(name, default)) for name, default in parameters.items()}
    return node.emit(LRNOp(node.value(0), size=node.attribute("size"), **given))


def widened(node: Node, x: SSAValue) -> SSAValue:
    """float16 as float32: sums of squares leave the narrow range (ONNX's stash_type)."""
    return node.cast(x, f32) if isinstance(element_type(x), Float16Type) else x


def moments(node: Node, x: SSAValue, axes: Sequence[int]) -> tuple[SSAValue, SSAValue, SSAValue]:
    """(mean, x - mean, variance) over some axes, which stay as 1."""
    mean = node.reduce(ReduceKind.MEAN, x, axes)
    centred = node.apply(Fn.SUB, x, mean)
    squares = node.reduce(ReduceKind.SUM_SQUARE, centred, axes)
    share = node.scalar(1 / prod(shape_of(x)[axis] for axis in axes), x)
    return mean, centred, node.apply(Fn.MUL, squares, share)


def deviation(node: Node, variance: SSAValue, epsilon: float) -> SSAValue:
    """sqrt(variance + epsilon)"""
    return node.apply(Fn.SQRT, node.apply(Fn.ADD, variance, node.scalar(epsilon, variance)))


def standardised(node: Node, x: SSAValue, axes: Sequence[int]) -> SSAValue:
    """(x - mean) / sqrt(variance + epsilon), the moments taken over some axes."""
    _, centred, variance = moments(node, x, axes)
    return node.apply(Fn.DIV, centred, deviation(node, variance, node.attribute("epsilon", 1e-5)))


def _per_channel(node: Node, y: SSAValue) -> SSAValue:
    """y * scale + shift with the node's `[C]` vectors along axis 1."""
    if len(shape_of(y)) < 3:
        raise ValueError(f"expected an input [N, C, *S], got shape {shape_of(y)}")
    shape = [1, shape_of(y)[1], *[1] * (len(shape_of(y)) - 2)]
    for position, fn in ((1, Fn.MUL), (2, Fn.ADD)):
        if node.shape(position) != (shape[1],):
            raise ValueError(f"expected a scale and a shift of shape {(shape[1],)}, got {node.shape(position)}")
        y = node.apply(fn, y, node.reshape(node.cast(node.value(position), element_type(y)), shape))
    return y


@converter("InstanceNormalization")
def convert_instance_normalization(node: Node) -> SSAValue:
    x = widened(node, node.value(0))
    y = standardised(node, x, range(2, len(shape_of(x))))
    return node.cast(_per_channel(node, y), node.element(0))


@converter("GroupNormalization")
def convert_group_normalization(node: Node) -> SSAValue:
    """Opset 18 scales by group, opset 21 by channel."""
    shape, groups = node.shape(0), node.attribute("num_groups")
    if len(shape) < 2 or groups < 1 or shape[1] % groups:
        raise ValueError(f"{shape[1:2]} channels do not divide into {groups} groups")
    grouped = node.reshape(widened(node, node.value(0)), [shape[0], groups, prod(shape[1:]) // groups])
    y = standardised(node, grouped, [2])
    y = _per_channel(node, y) if node.opset < 21 else y
    y = node.reshape(y, shape)
    return node.cast(_per_channel(node, y) if node.opset >= 21 else y, node.element(0))


@converter("LayerNormalization")
def convert_layer_normalization(node: Node) -> list[SSAValue]:
    """The second and third results are the mean and 1 / the deviation."""
    rank = len(node.shape(0))
    axes = range(normalise_axis(node.attribute("axis", -1), rank), rank)
    return layer_normalised(node, node.value(0), axes, 1, 2, epsilon=node.attribute("epsilon", 1e-5))


def layer_normalised(
    node: Node, x: SSAValue, axes: Sequence[int], scale: int, shift: int, *, epsilon: float
) -> list[SSAValue]:
    """(normalised, mean, 1 / deviation); scale and shift are at these positions among the inputs."""
    element, x = element_type(x), widened(node, x)
    mean, centred, variance = moments(node, x, axes)
    root = deviation(node, variance, epsilon)
    y = _scaled(node, node.apply(Fn.DIV, centred, root), scale, shift)
    inverse = [node.apply(Fn.RECIPROCAL, root)] if any(node.wanted[2:]) else []
    return [node.cast(y, element), mean, *inverse]


@converter("RMSNormalization", "SimplifiedLayerNormalization")
def convert_rms_normalization(node: Node) -> SSAValue:
    """x / sqrt(mean(x^2) + epsilon) * scale"""
    x, rank = widened(node, node.value(0)), len(node.shape(0))
    axes = range(normalise_axis(node.attribute("axis", -1), rank), rank)
    squares = node.reduce(ReduceKind.SUM_SQUARE, x, axes)
    mean = node.apply(Fn.MUL, squares, node.scalar(1 / prod(shape_of(x)[axis] for axis in axes), x))
    y = node.apply(Fn.DIV, x, deviation(node, mean, node.attribute("epsilon", 1e-5)))
    return node.cast(_scaled(node, y, 1, 2), node.element(0))


def _scaled(node: Node, y: SSAValue, scale: int, shift: int) -> SSAValue:
    for position, fn in ((scale, Fn.MUL), (shift, Fn.ADD)):
        if node.has(position):
            y = node.apply(fn, y, node.cast(node.value(position), element_type(y)))
    return y


@converter("LpNormalization")
def convert_lp_normalization(node: Node) -> SSAValue:
    p = node.attribute("p", 2)
    if p not in (1, 2):
        raise ValueError(f"expected p to be 1 or 2, got {p}")
    axis = node.axis(-1, len(node.shape(0)))
    norm = node.reduce(ReduceKind.L1 if p == 1 else ReduceKind.L2, node.value(0), [axis])
    # Zeros stay zeros: they are divided by the smallest number instead of by zero.
    return node.apply(Fn.DIV, node.value(0), node.apply(Fn.MAX, norm, node.scalar(_smallest(node), norm)))


def _smallest(node: Node) -> float:
    return float(np.finfo(node.dtype(0)).smallest_normal)


@converter("MeanVarianceNormalization")
def convert_mean_variance_normalization(node: Node) -> SSAValue:
    """(x - mean) / (sqrt(variance) + 1e-9), as the standard's own definition has it."""
    axes = sorted(normalise_axes(node.attribute("axes", [0, 2, 3]), len(node.shape(0))))
    _, centred, variance = moments(node, node.value(0), axes)
    root = node.apply(Fn.SQRT, variance)
    return node.apply(Fn.DIV, centred, node.apply(Fn.ADD, root, node.scalar(1e-9, root)))
