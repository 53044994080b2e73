"""Recognise activations that exporters compose of simpler functions.

    x * clip(x + 3, 0, 6) / 6  =>  hard_swish(x)          clip(a * x + b, 0, 1)  =>  hard_sigmoid(x)
    x * sigmoid(x), x / (1 + exp(-x))  =>  silu(x)          log(1 + exp(x))  =>  softplus(x)
    x / 2 * (1 + erf(x / sqrt(2)))  =>  gelu(x)          min(max(x, a), b)  =>  clip(x, a, b)
    exp(x) / reduce sum(exp(x))  =>  softmax(x)          sqrt(reduce sum(x * x))  =>  reduce l2(x)

Expressions are read as algebra (`expressions`), so that one rule serves every order and association of the operands.
Constants must agree to 1e-6. Legal where nothing else reads the values in between, and pays always: one function
takes the place of up to ten, with better code and fewer roundings. Functions linear on either side of zero have a room
of their own (`piecewise_linear`), as have reductions (`composed_reductions`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass

from convc.ir.attributes import element_type, shape_of, tensor
from convc.ir.data import ConstantOp
from convc.ir.dialect import CompilerContext
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.passes.composed_reductions import COMPOSED_REDUCTIONS
from convc.passes.expressions import (
    Line,
    Product,
    Ramp,
    close,
    inner_function,
    is_polynomial,
    polynomial,
    scalar_operand,
)
from convc.passes.identities import clipped, idle_bounds, nested_clips
from convc.passes.piecewise_linear import PIECEWISE_LINEAR
from convc.passes.rewriting import main_block, users
from convc.passes.rules import Rewriter, RuleSet, rewrite
from convc.passes.values import function_of, holds_floats, only_user, splat_of

ACTIVATIONS = RuleSet()
ACTIVATIONS.on(ElementwiseOp)(nested_clips)
ACTIVATIONS.on(ElementwiseOp)(idle_bounds)


# max(x, c) => clip(x, c, inf)      min(x, c) => clip(x, -inf, c)
@ACTIVATIONS.on(ElementwiseOp)
def clip(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    if op.function not in (Fn.MAX, Fn.MIN) or not holds_floats(op.result):
        return None
    left, right = map(splat_of, op.inputs)
    bound, x = (left, op.inputs[1]) if left is not None else (right, op.inputs[0])
    if bound is None or math.isnan(bound) or shape_of(x) != shape_of(op.result):
        return None
    low, high = (bound, math.inf) if op.function == Fn.MAX else (-math.inf, bound)
    return clipped(x, low, high, rewriter)


# 1 / (1 + exp(-x)) => sigmoid(x)      y / (1 + exp(-x)) => y * sigmoid(x)      x / (1 + |x|) => softsign(x)
@ACTIVATIONS.on(ElementwiseOp)
def quotient(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    if op.function not in (Fn.DIV, Fn.RECIPROCAL):
        return None
    below = Line.of(op.inputs[-1])
    inner = inner_function(below.x)
    if inner is None or not below.is_line(1, 1):
        return None
    x = inner.inputs[0]
    if inner.function == Fn.ABS and op.function == Fn.DIV and x is op.inputs[0]:
        return rewriter.elementwise(Fn.SOFTSIGN, x)
    exponent = Line.of(x)
    if inner.function != Fn.EXP or not exponent.is_line(-1, 0):
        return None
    sigmoid = rewriter.elementwise(Fn.SIGMOID, exponent.x)
    return sigmoid if op.function == Fn.RECIPROCAL else rewriter.elementwise(Fn.MUL, op.inputs[0], sigmoid)


# exp(x) / (1 + exp(x)) => sigmoid(x)
@ACTIVATIONS.on(ElementwiseOp)
def quotient_of_exponentials(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    exp = function_of(op.inputs[0], Fn.EXP) if op.function == Fn.DIV else None
    total = inner_function(op.inputs[1]) if exp else None
    if exp is None or total is None or set(users(exp.result)) != {op, total}:
        return None
    if not is_polynomial(polynomial(total.result, exp.result), {0: 1, 1: 1}):
        return None
    return rewriter.elementwise(Fn.SIGMOID, exp.inputs[0])


# log(1 + exp(x)) => softplus(x)
@ACTIVATIONS.on(ElementwiseOp)
def softplus(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    total = Line.of(op.inputs[0]) if op.function == Fn.LOG else None
    exp = inner_function(total.x) if total and total.is_line(1, 1) else None
    return rewriter.elementwise(Fn.SOFTPLUS, exp.inputs[0]) if exp and exp.function == Fn.EXP else None


# (1 + tanh(x / 2)) / 2 => sigmoid(x)
@ACTIVATIONS.on(ElementwiseOp)
def sigmoid_of_tanh(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    outer = Line.of(op.result, root=True)
    tanh = inner_function(outer.x)
    if tanh is None or tanh.function != Fn.TANH or not outer.is_line(0.5, 0.5):
        return None
    half = Line.of(tanh.inputs[0])
    return rewriter.elementwise(Fn.SIGMOID, half.x) if half.is_line(0.5, 0) else None


# clip(a * x + b, 0, 1) => hard_sigmoid(x)      clip(x + 3, 0, 6) / 6 => hard_sigmoid(x)
@ACTIVATIONS.on(ElementwiseOp)
def hard_sigmoid(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    ramp = Ramp.of(op.result, root=True)
    if ramp is None or not (close(ramp.low, 0) and close(ramp.high, 1)) or not holds_floats(op.result):
        return None
    plain = op.function == Fn.CLIP and ramp.line.is_line(1, 0)
    if plain or (op.function == Fn.HARD_SIGMOID and ramp.line.x is op.inputs[0]):
        return None
    return rewriter.elementwise(Fn.HARD_SIGMOID, ramp.line.x, alpha=ramp.line.a, beta=ramp.line.b)


# x * g(x) => f(x), times the factor that is left
@ACTIVATIONS.on(ElementwiseOp)
def gate(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    if op.function not in (Fn.MUL, Fn.DIV, Fn.NEG) or _scaled_again(op) or not holds_floats(op.result):
        return None
    product = Product.of(op.result)
    if product is None:
        return None
    for x, g in (product.factors, product.factors[::-1]):
        inner = inner_function(g)
        if inner is None or shape_of(x) != shape_of(op.result):
            continue
        if found := _gated(x, inner):
            fn, factor = found
            factor *= product.coefficient
            y = rewriter.elementwise(fn, x)
            if close(factor, 1):
                return y
            return rewriter.elementwise(Fn.MUL, y, rewriter.emit(ConstantOp(factor, tensor(element_type(y), ()))))
    return None


def _scaled_again(op: ElementwiseOp) -> bool:
    """Whether the product goes on: its end has the whole coefficient."""
    user = only_user(op.result)
    if not isinstance(user, ElementwiseOp) or user.function not in (Fn.MUL, Fn.DIV, Fn.NEG):
        return False
    return user.function == Fn.NEG or scalar_operand(user) is not None


def _gated(x: SSAValue, g: ElementwiseOp) -> tuple[Fn, float] | None:
    """(f, c) where x * g = c * f(x)."""
    if g.function == Fn.SIGMOID and g.inputs[0] is x:
        return Fn.SILU, 1.0
    if g.function == Fn.TANH and (inner := inner_function(g.inputs[0])):
        # x * tanh(softplus(x)) = mish(x)
        return (Fn.MISH, 1.0) if inner.function == Fn.SOFTPLUS and inner.inputs[0] is x else None
    ramp = Ramp.of(g.result)
    if ramp is not None and ramp.line.x is x and ramp.high > 0 and close(ramp.low, 0):
        # x * clip(x / 6 + 1/2, 0, 1) = hard_swish(x)
        return (Fn.HARD_SWISH, ramp.high) if ramp.line.then(1 / ramp.high, 0).is_line(1 / 6, 1 / 2) else None
    outer = Line.of(g.result)
    inner = inner_function(outer.x)
    if inner is None or not close(outer.a, outer.b):
        return None
    # x * (1 + erf(x / sqrt(2))) = 2 gelu(x)      x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) = 2 gelu_tanh(x)
    # x * (1 + tanh(x / 2)) = 2 silu(x)
    argument = polynomial(inner.inputs[0], x)
    if inner.function == Fn.ERF and is_polynomial(argument, {1: math.sqrt(0.5)}):
        return Fn.GELU, 2 * outer.a
    if inner.function == Fn.TANH and is_polynomial(argument, {1: 0.5}):
        return Fn.SILU, 2 * outer.a
    root = math.sqrt(2 / math.pi)
    if inner.function == Fn.TANH and is_polynomial(argument, {1: root, 3: 0.044715 * root}):
        return Fn.GELU_TANH, 2 * outer.a
    return None


# y * clip(x + 3, 0, 6) / 6 => y * hard_sigmoid(x)
@ACTIVATIONS.on(ElementwiseOp)
def hard_gate(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    if op.function not in (Fn.MUL, Fn.DIV) or _scaled_again(op) or not holds_floats(op.result):
        return None
    product = Product.of(op.result)
    if product is None or product.coefficient <= 0 or close(product.coefficient, 1):
        return None
    for y, g in (product.factors, product.factors[::-1]):
        found = Ramp.of(g)
        ramp = found.scaled(product.coefficient) if found else None
        if ramp and close(ramp.low, 0) and close(ramp.high, 1):
            gate = rewriter.elementwise(Fn.HARD_SIGMOID, ramp.line.x, alpha=ramp.line.a, beta=ramp.line.b)
            return rewriter.elementwise(Fn.MUL, y, gate)
    return None


def recognise_activations(module: ModuleOp, context: CompilerContext) -> bool:
    """Recognise what can be recognised; whether there was anything."""
    changed = False
    # An expression may be readable only after a part deep inside it was recognised.
    while rewrite(main_block(module), context, ACTIVATIONS, PIECEWISE_LINEAR, COMPOSED_REDUCTIONS):
        changed = True
    return changed


@dataclass(frozen=True)
class RecogniseActivations(ModulePass):
    name = "recognise-activations"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        assert isinstance(ctx, CompilerContext)
        recognise_activations(op, ctx)
