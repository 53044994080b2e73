"""Matrix products and determinants."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, converter
from convc.frontends.onnx.slicing import taken
from convc.ir.attributes import shape_of
from convc.ir.functions import Fn
from convc.ir.neural import MatMulOp

_LARGEST_DET = 4
"""Rows of the largest matrix whose determinant is written out: 28 products; one of 5 rows has 75."""


@converter("Gemm")
def convert_gemm(node: Node) -> SSAValue:
    return gemm(node)


def gemm(node: Node) -> SSAValue:
    """alpha * A' * B' + beta * C"""
    if len(node.shape(0)) != 2 or len(node.shape(1)) != 2:
        raise ValueError(f"expected two matrices, got shapes {node.shape(0)} and {node.shape(1)}")
    a = node.transpose(node.value(0), [1, 0] if node.attribute("transA", 0) else [0, 1])
    b, weight = scaled_right(node, node.attribute("alpha", 1.0))
    y = node.emit(MatMulOp(a, b, transpose_b=bool(node.attribute("transB", 0))))
    y = scaled(node, y, weight)
    beta = node.attribute("beta", 1.0)
    if not node.has(2) or beta == 0:
        return y
    y_shape, c = shape_of(y), scaled(node, node.value(2), beta)
    y = node.apply(Fn.ADD, y, c)
    if shape_of(y) != y_shape:
        raise ValueError(f"expected a C that broadcasts to {y_shape}, got {node.shape(2)}")
    return y


def scaled_right(node: Node, alpha: float) -> tuple[SSAValue, float]:
    """The right operand and the factor that remains: alpha goes into a weight, where it costs nothing."""
    known = node.known(1)
    if known is None or alpha == 1:
        return node.value(1), alpha
    with np.errstate(all="ignore"):
        return node.weight((known * alpha).astype(known.dtype), "scaled"), 1.0


def scaled(node: Node, x: SSAValue, factor: float) -> SSAValue:
    return x if factor == 1 else node.apply(Fn.MUL, x, node.scalar(factor, x))


@converter("MatMul")
def convert_matmul(node: Node) -> SSAValue:
    return matmul(node, node.value(0), node.value(1))


def matmul(node: Node, a: SSAValue, b: SSAValue, transpose_b: bool = False) -> SSAValue:
    """numpy's matmul: a vector gets an axis of 1, which the result loses again."""
    row, column = len(shape_of(a)) == 1, len(shape_of(b)) == 1
    if row:
        a = node.reshape(a, [1, *shape_of(a)])
    if column:
        b = node.reshape(b, [1, *shape_of(b)] if transpose_b else [*shape_of(b), 1])
    y = node.emit(MatMulOp(a, b, transpose_b=transpose_b))
    shape = list(shape_of(y))
    if row:
        del shape[-2]
    if column:
        del shape[-1]
    return node.reshape(y, shape)


@converter("Det")
def convert_det(node: Node) -> SSAValue:
    """Determinants of matrices `[*, n, n]`: those of the last rows and some columns, expanded by one row more at a time
    (Laplace)."""
    *batch, n, columns = node.shape(0)
    if n != columns or not 1 <= n <= _LARGEST_DET:
        raise ValueError(f"expected square matrices of 1 to {_LARGEST_DET} rows, got shape {node.shape(0)}")
    x, rank = node.value(0), len(batch)

    def entry(row: int, column: int) -> SSAValue:
        return node.reshape(taken(node, taken(node, x, rank, row, 1), rank + 1, column, 1), batch)

    def expanded(row: int, chosen: tuple[int, ...]) -> SSAValue:
        first, *rest = (
            node.apply(Fn.MUL, entry(row, column), minors[chosen[:i] + chosen[i + 1 :]])
            for i, column in enumerate(chosen)
        )
        for i, term in enumerate(rest):
            first = node.apply(Fn.ADD if i % 2 else Fn.SUB, first, term)
        return first

    minors: dict[tuple[int, ...], SSAValue] = {(column,): entry(n - 1, column) for column in range(n)}
    for row in reversed(range(n - 1)):
        minors = {chosen: expanded(row, chosen) for chosen in combinations(range(n), n - row)}
    return minors[tuple(range(n))]
