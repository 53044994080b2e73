"""Einsum as transposes, one reduction an operand and batched matrix products, two operands at a time."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from string import ascii_letters

from xdsl.ir import SSAValue

from convc.frontends.onnx.registry import Node, converter
from convc.frontends.onnx.slicing import taken
from convc.ir.attributes import ReduceKind, shape_of
from convc.ir.data import BroadcastOp
from convc.ir.neural import MatMulOp


@converter("Einsum")
def convert_einsum(node: Node) -> SSAValue:
    operands = node.values()
    labels, result = _parse(node.attribute("equation"), [len(shape_of(value)) for value in operands])
    sizes: dict[str, int] = {}
    for text, value in zip(labels, operands):
        for label, size in zip(text, shape_of(value)):
            if sizes.setdefault(label, size) not in (size, 1) and size != 1:
                raise ValueError(f"axes of one label differ: {sizes[label]} and {size}")
            sizes[label] = max(sizes[label], size)
    terms = [_diagonal(node, text, value) for text, value in zip(labels, operands)]
    text, x = terms[0]
    for position in range(1, len(terms)):
        kept = set(result).union(*labels[position + 1 :])
        text, x = _product(node, (text, x), terms[position], kept, sizes)
    text, x = _summed(node, text, x, set(result))
    x = node.transpose(x, [text.index(label) for label in result])
    shape = [sizes[label] for label in result]
    return x if list(shape_of(x)) == shape else node.emit(BroadcastOp(x, shape))


def _parse(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The labels of each operand and of the result; an ellipsis gets letters of its own, counted from the last."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"expected an equation of {len(ranks)} operands, got '{equation}'")
    free = [letter for letter in ascii_letters if letter not in equation]
    widest = max([rank - len(t.replace("...", "")) for t, rank in zip(terms, ranks) if "..." in t], default=0)
    labels = []
    for term, rank in zip(terms, ranks):
        width = rank - len(term.replace("...", ""))
        named = term.replace("...", "".join(free[widest - width : widest]) if width >= 0 else "")
        if len(named) != rank or not all(label in ascii_letters for label in named):
            raise ValueError(f"expected a term of {rank} labels, got '{term}' in '{equation}'")
        labels.append(named)
    ellipsis = "".join(free[:widest])
    if arrow:
        result = right.replace("...", ellipsis)
    else:  # without an arrow: the labels that occur once, in alphabetical order
        every = "".join(terms).replace("...", "")
        result = ellipsis + "".join(sorted(label for label in set(every) if every.count(label) == 1))
    if len(set(result)) != len(result) or not set(result) <= set("".join(labels)):
        raise ValueError(f"expected a result of distinct labels of the operands, got '{right}' in '{equation}'")
    return labels, result


def _diagonal(node: Node, text: str, x: SSAValue) -> tuple[str, SSAValue]:
    """x with each label once: a repeated one means the diagonal, each n + 1st element of the n x n in a row."""
    for label in dict.fromkeys(text):
        while text.count(label) > 1:
            first, second = text.index(label), text.rindex(label)
            order = [axis for axis in range(len(text)) if axis not in (first, second)]
            rest, size = [shape_of(x)[axis] for axis in order], shape_of(x)[first]
            x = node.reshape(node.transpose(x, [*order, first, second]), [*rest, size * shape_of(x)[second]])
            x = taken(node, x, len(rest), 0, size, size + 1)
            text = "".join(text[axis] for axis in order) + label
    return text, x


def _summed(node: Node, text: str, x: SSAValue, kept: set[str]) -> tuple[str, SSAValue]:
    """Sum over the labels that nothing needs any more."""
    axes = [axis for axis, label in enumerate(text) if label not in kept]
    rest = "".join(label for label in text if label in kept)
    x = node.reduce(ReduceKind.SUM, x, axes)
    return rest, node.reshape(x, [shape_of(x)[axis] for axis in range(len(text)) if axis not in axes])


def _product(
    node: Node, left: tuple[str, SSAValue], right: tuple[str, SSAValue], kept: set[str], sizes: dict[str, int]
) -> tuple[str, SSAValue]:
    """[batch, M, K] x [batch, K, N] -> [batch, M, N], where M, K and N each stand for several labels."""
    a_text, a = _summed(node, *left, kept | set(right[0]))
    b_text, b = _summed(node, *right, kept | set(left[0]))
    batch = [label for label in a_text if label in b_text and label in kept]
    inner = [label for label in a_text if label in b_text and label not in kept]
    rows = [label for label in a_text if label not in b_text]
    columns = [label for label in b_text if label not in a_text]
    a = _grouped(node, a_text, a, batch, rows, inner, sizes)
    b = _grouped(node, b_text, b, batch, inner, columns, sizes)
    y = node.emit(MatMulOp(a, b))
    text = [*batch, *rows, *columns]
    batch_shape = shape_of(y)[: len(batch)]
    return "".join(text), node.reshape(y, [*batch_shape, *(sizes[label] for label in (*rows, *columns))])


def _grouped(
    node: Node,
    text: str,
    x: SSAValue,
    batch: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
    sizes: dict[str, int],
) -> SSAValue:
    """x as [*batch, prod(first), prod(second)]; an axis of 1 that stands for more is spread, unless in the batch."""
    x = node.transpose(x, [text.index(label) for label in (*batch, *first, *second)])
    batch_shape = shape_of(x)[: len(batch)]
    wide = [*batch_shape, *(sizes[label] for label in (*first, *second))]
    if list(shape_of(x)) != wide:
        x = node.emit(BroadcastOp(x, wide))
    shape = [prod(sizes[label] for label in group) for group in (first, second)]
    return node.reshape(x, [*batch_shape, *shape])
