"""Operators whose result does not depend on the elements of an input, and the triangle of a matrix."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import MustBeKnown, Node, Value, converter
from convc.frontends.onnx.tensors import element_dtype
from convc.ir.functions import Fn

_MAX_MATRIX = 1 << 26  # elements of a mask or identity matrix that the model does not hold itself


@converter("Constant", "ConstantOfShape", "Range", "Shape", "Size")
def convert_known(node: Node) -> Value:
    """Evaluated at import where their inputs are known (and sensible), so reaching here means they are not."""
    message = "expected constant inputs and a result of moderate size: its shape follows from their values"
    raise MustBeKnown(message, *(node.given(i) for i in range(len(node)) if node.has(i)))


@converter("EyeLike")
def convert_eye_like(node: Node) -> Value:
    shape, dtype = node.shape(0), node.attribute("dtype")
    if len(shape) != 2 or shape[0] * shape[1] > _MAX_MATRIX:
        raise ValueError(f"expected a matrix of at most {_MAX_MATRIX} elements, got shape {shape}")
    element = node.dtype(0) if dtype is None else element_dtype(dtype)
    return np.eye(*shape, k=node.attribute("k", 0), dtype=element)


@converter("Trilu")
def convert_trilu(node: Node) -> SSAValue:
    """A choice by a constant mask: a product with one would turn infinities into NaN."""
    shape = node.shape(0)
    if len(shape) < 2 or shape[-1] * shape[-2] > _MAX_MATRIX:
        raise ValueError(f"expected matrices of at most {_MAX_MATRIX} elements, got shape {shape}")
    k = int(node.constant(1, "k").reshape(())) if node.has(1) else 0
    keep = np.triu if node.attribute("upper", 1) else np.tril
    mask = node.weight(keep(np.ones(shape[-2:], bool), k), "mask")
    return node.apply(Fn.WHERE, mask, node.value(0), node.scalar(0, node.value(0)))
