"""Reading elementwise operations as algebra: sums, products and polynomials of one value, with scalar constants.

Each function reads a value as an expression of few values and numbers. It looks through operations whose result
nothing else reads; of such an expression nothing is left to compute once its value is computed in another way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.ir import SSAValue

from convc.ir.attributes import shape_of
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.passes.identities import clip_bounds
from convc.passes.values import only_user, splat_of

_MAX_DEGREE = 4
_MAX_DEPTH = 12  # of a polynomial or a line: the longest known, that of GELU by tanh, has 6


def close(a: float, b: float) -> bool:
    """Whether two numbers are one constant, as exporters write it in single precision."""
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-7)


def inner_function(value: SSAValue, root: bool = False) -> ElementwiseOp | None:
    """The elementwise operation that computes a value, if nothing else reads it (or it is the root)."""
    op = value.owner
    return op if isinstance(op, ElementwiseOp) and (root or only_user(value)) else None


def scalar_operand(op: ElementwiseOp) -> tuple[SSAValue, float, bool] | None:
    """(x, c, whether c is the left one) of a function of x and a constant c that leaves x its shape."""
    if len(op.inputs) != 2:
        return None
    left, right = map(splat_of, op.inputs)
    x, c = (op.inputs[0], right) if right is not None else (op.inputs[1], left)
    return None if c is None or shape_of(x) != shape_of(op.result) else (x, c, right is None)


@dataclass(frozen=True)
class Line:
    """a * x + b."""

    a: float
    x: SSAValue
    b: float

    @staticmethod
    def of(value: SSAValue, root: bool = False) -> Line:
        """The innermost x of which a value is a * x + b; at worst 1 * value + 0. A long chain is read in part: it is
        asked for at each of its operations."""
        line = Line(1, value, 0)
        for _ in range(_MAX_DEPTH):
            if (op := inner_function(line.x, root and line.x is value)) is None:
                break
            found = scalar_operand(op)
            match op.function, found:
                case Fn.NEG, _:
                    line = Line(-line.a, op.inputs[0], line.b)
                case Fn.ADD, (x, c, _):
                    line = Line(line.a, x, line.a * c + line.b)
                case Fn.SUB, (x, c, left):
                    line = Line(-line.a, x, line.a * c + line.b) if left else Line(line.a, x, line.b - line.a * c)
                case Fn.MUL, (x, c, _):
                    line = Line(line.a * c, x, line.b)
                case Fn.DIV, (x, c, False) if c:
                    line = Line(line.a / c, x, line.b)
                case _:
                    break
        return line

    def then(self, a: float, b: float) -> Line:
        """a times this line, plus b."""
        return Line(a * self.a, self.x, a * self.b + b)

    def is_line(self, a: float, b: float) -> bool:
        """Whether it is a * x + b, for whatever x."""
        return close(self.a, a) and close(self.b, b)


@dataclass(frozen=True)
class Ramp:
    """clip(a * x + b, low, high)."""

    line: Line
    low: float
    high: float

    @staticmethod
    def of(value: SSAValue, root: bool = False) -> Ramp | None:
        """A value as a ramp, if it is one, or a line of one: c * clip(u) + d = clip(c * u + d) where c > 0."""
        outer = Line.of(value, root)
        op = inner_function(outer.x, root and outer.x is value)
        if op is None or outer.a <= 0:
            return None
        if op.function == Fn.HARD_SIGMOID:
            alpha, beta = op.param_values.values()
            line, bounds = Line.of(op.inputs[0]).then(alpha, beta), (0.0, 1.0)
        elif (found := clip_bounds(op)) is not None:
            line, bounds = Line.of(op.inputs[0]), found
        else:
            return None
        low, high = (outer.a * bound + outer.b for bound in bounds)
        return Ramp(line.then(outer.a, outer.b), low, high)

    def scaled(self, c: float) -> Ramp:
        """c times the ramp, for a positive c."""
        return Ramp(self.line.then(c, 0), c * self.low, c * self.high)


@dataclass(frozen=True)
class Product:
    """coefficient * factors[0] * factors[1]."""

    coefficient: float
    factors: tuple[SSAValue, SSAValue]

    @staticmethod
    def of(value: SSAValue) -> Product | None:
        """A value, whoever reads it, as a product of two others and a number; None if it is none."""
        coefficient, rest = 1.0, [value]
        factors: list[SSAValue] = []
        while rest and len(factors) + len(rest) <= 2:
            x = rest.pop()
            op = inner_function(x, root=x is value)
            found = scalar_operand(op) if op else None
            match op.function if op else None, found:
                case Fn.NEG, _ if op:
                    coefficient = -coefficient
                    rest.append(op.inputs[0])
                case Fn.MUL, (y, c, _):
                    coefficient *= c
                    rest.append(y)
                case Fn.DIV, (y, c, False) if c:
                    coefficient /= c
                    rest.append(y)
                case Fn.MUL, None if op:
                    rest += op.inputs
                case _:
                    factors.append(x)
        return Product(coefficient, (factors[0], factors[1])) if len(factors) == 2 and not rest else None


Polynomial = Mapping[int, float]
"""Coefficients by power."""


def polynomial(value: SSAValue, x: SSAValue, depth: int = _MAX_DEPTH) -> Polynomial | None:
    """A value as a polynomial of x, or None if it is none."""
    if value is x:
        return {1: 1.0}
    if (number := splat_of(value)) is not None and not shape_of(value):
        return {0: number}
    op = inner_function(value)
    if op is None or depth == 0:
        return None
    if op.function not in (Fn.ADD, Fn.SUB, Fn.MUL, Fn.DIV, Fn.NEG, Fn.POW):
        return None
    operands = [polynomial(operand, x, depth - 1) for operand in op.inputs]
    left, right = operands[0], operands[-1]
    if left is None or right is None:
        return None
    constant = right.get(0, 0.0) if set(right) == {0} else None
    match op.function:
        case Fn.NEG:
            return _sum({}, left, -1)
        case Fn.ADD:
            return _sum(left, right, 1)
        case Fn.SUB:
            return _sum(left, right, -1)
        case Fn.MUL:
            return _product(left, right)
        case Fn.DIV:
            return _product(left, {0: 1 / constant}) if constant else None
        case _:
            return _power(left, constant) if constant in range(1, _MAX_DEGREE + 1) else None


def _sum(a: Polynomial, b: Polynomial, sign: float) -> Polynomial:
    return {power: a.get(power, 0.0) + sign * b.get(power, 0.0) for power in {*a, *b}}


def _product(a: Polynomial | None, b: Polynomial) -> Polynomial | None:
    result: dict[int, float] = {}
    for i, x in (a or {}).items():
        for j, y in b.items():
            result[i + j] = result.get(i + j, 0.0) + x * y
    return result if a is not None and max(result) <= _MAX_DEGREE else None


def _power(base: Polynomial, exponent: float | None) -> Polynomial | None:
    result: Polynomial | None = {0: 1.0}
    for _ in range(int(exponent or 0)):
        result = _product(result, base)
    return result


def is_polynomial(found: Polynomial | None, wanted: Polynomial) -> bool:
    """Whether the coefficients are those wanted, absent ones being zero."""
    return found is not None and all(close(found.get(i, 0.0), wanted.get(i, 0.0)) for i in {*found, *wanted})
