"""Cutting the index space of an injective kernel into boxes in which nothing is left to decide per element.

A join, a pad or a layout's padding chooses between sources by comparing an index with a constant. Each such
comparison cuts a loop in two, so that either half reads one source. A division, from a reshape or a block of
channels, splits a loop into quotient and remainder. What remains reads memory at constant strides nearly always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.sym import detect_linear_equation
from tvm.sym.analyzer import Analyzer

from convc.ir.attributes import physical_shape
from convc.ir.kernel import KernelOp
from convc.targets.flat import Box, FlatReader, Load, Memory, whole

MOST_BOXES = 64
"""Each box is a loop nest of its own in the machine code; past this, choices stay inside the loops."""


@dataclass
class View:
    """What a kernel computes in a box: `element` as an expression over the loop variables and the loads.

    In a `safe` view all loads lie in memory for all values of the variables, so they may be made before it is known
    whether they are needed. Otherwise `loads` is empty, and `element` holds guarded loads itself."""

    box: Box
    variables: list[tirx.Var]
    element: Any
    loads: list[Load]
    safe: bool
    conditions: list[Any]
    analyzer: Analyzer


def look(kernel: KernelOp, box: Box, memory: Memory) -> View:
    """What the kernel computes in a box."""
    for guarded in (False, True):
        reader = FlatReader(kernel, box, memory, guarded=guarded)
        position: list[Any] = list(box.origin)
        for digit, variable in zip(box.digits, reader.variables, strict=True):
            position[digit.axis] = position[digit.axis] + variable * digit.weight
        element = reader.element_at(kernel.yielded[0], [reader.simplify(i) for i in position])
        if all(_inside(reader, load) for load in reader.loads):
            break
    return View(box, reader.variables, element, reader.loads, not guarded, reader.open_conditions, reader.analyzer)


def _inside(reader: FlatReader, load: Load) -> bool:
    if load.operand is None or isinstance(load.address, int):
        return True
    bound = reader.analyzer.const_int_bound(load.address)
    return bound.min_value >= 0 and bound.max_value < prod(physical_shape(reader.kernel.block.args[load.operand]))


def cut(kernel: KernelOp, memory: Memory, lanes: int) -> list[View]:
    """The kernel's result as boxes, in the order of memory. Where reading on is safe, no box is cut narrower than
    `lanes` along the innermost loop: a select costs less."""
    waiting = [whole(physical_shape(kernel.yielded[0]))]
    views: list[View] = []
    while waiting:
        view = look(kernel, waiting.pop(), memory)
        parts = None
        if len(waiting) + len(views) < MOST_BOXES:
            parts = _cut_by_condition(view, lanes) or _cut_by_division(view)
        if parts:
            waiting += reversed(parts)
        else:
            views.append(view)
    return views


def _cut_by_condition(view: View, lanes: int) -> list[Box] | None:
    best: tuple[int, list[Box]] | None = None
    for condition in view.conditions:
        line = linear(_difference(condition), view.variables)
        if line is None:
            continue
        coefficients, base = line
        for number, digit in enumerate(view.box.digits):
            edges = _edges(number, coefficients, base, [d.extent for d in view.box.digits])
            cuts = [0, *edges, digit.extent]
            parts = [(a, b) for a, b in pairwise(cuts) if a < b]
            narrow = number == len(view.box.digits) - 1 and min(b - a for a, b in parts) < lanes
            if len(parts) == 1 or (narrow and view.safe):
                continue
            undecided = edges[1] - edges[0]
            if best is None or undecided < best[0]:
                best = undecided, [view.box.part(number, a, b) for a, b in parts]
    return best[1] if best else None


def _difference(condition: Any) -> Any:
    """d such that the condition is d < 0, or None."""
    match condition:
        case tirx.LT():
            return condition.a - condition.b
        case tirx.LE():
            return condition.a - condition.b - 1
        case tirx.GT():
            return condition.b - condition.a
        case tirx.GE():
            return condition.b - condition.a - 1
    return None


def linear(expression: Any, variables: Sequence[tirx.Var]) -> tuple[list[int], int] | None:
    """The coefficients of the variables, and what is added; None if the expression is not linear in them."""
    if isinstance(expression, int):
        return [0] * len(variables), expression
    if expression is None:
        return None
    if not variables:
        return ([], expression.value) if isinstance(expression, tirx.IntImm) else None
    found = list(detect_linear_equation(expression, list(variables)))
    if not found or not all(isinstance(c, int | tirx.IntImm) for c in found):
        return None
    *coefficients, base = (int(c) for c in found)
    return coefficients, base


def _edges(number: int, coefficients: Sequence[int], base: int, extents: Sequence[int]) -> tuple[int, int]:
    """The values of one variable between which `coefficients * variables + base < 0` is open: it holds for all
    others, or for none, on either side."""
    c, extent = coefficients[number], extents[number]
    if c == 0:
        return 0, extent
    rest = [k * (n - 1) for i, (k, n) in enumerate(zip(coefficients, extents, strict=True)) if i != number]
    low, high = base + sum(min(r, 0) for r in rest), base + sum(max(r, 0) for r in rest)
    # c > 0: holds below the first edge, fails from the second. c < 0: the other way round.
    edges = (-(high // c), -(low // c)) if c > 0 else (low // -c + 1, high // -c + 1)
    return min(max(edges[0], 0), extent), min(max(edges[1], 0), extent)


def _cut_by_division(view: View) -> list[Box] | None:
    """Split a loop whose variable is divided by a constant, after cutting off what does not fill a quotient."""
    divisions: list[Any] = []
    for expression in (*(load.address for load in view.loads), *view.conditions):
        if not isinstance(expression, int):
            tvm_ffi.structural_walk(expression, ((tirx.FloorDiv, tirx.FloorMod), lambda node: divisions.append(node)))
    for division in divisions:
        line = linear(division.a, view.variables)
        if line is None or not isinstance(division.b, tirx.IntImm):
            continue
        used = [number for number, c in enumerate(line[0]) if c]
        c = line[0][used[0]] if len(used) == 1 else 0
        if c <= 0 or division.b.value % c:
            continue
        number, extent = used[0], view.box.digits[used[0]].extent
        period = division.b.value // c
        first = -(line[1] // c) % period
        if 0 < first < extent:
            return [view.box.part(number, 0, first), view.box.part(number, first, extent)]
        if first or extent <= period or period == 1:
            continue
        if rest := extent % period:
            return [view.box.part(number, 0, extent - rest), view.box.part(number, extent - rest, extent)]
        return [view.box.split(number, period)]
    return None
