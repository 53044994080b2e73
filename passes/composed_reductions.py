"""Recognise reductions that exporters compose of simpler ones.

    reduce sum(x * x)  =>  reduce sum_square(x)          sqrt(reduce sum_square(x))  =>  reduce l2(x)
    reduce sum(|x|)  =>  reduce l1(x)          log(reduce sum(exp(x)))  =>  reduce log_sum_exp(x)
    exp(x) / reduce sum(exp(x))  =>  softmax(x)          softmax(x - max(x))  =>  softmax(x)
    log(softmax(x)), x - reduce log_sum_exp(x)  =>  softmax log(x)

Legal where nothing else reads what is between: softmax and log_sum_exp subtract the maximum themselves. Pays because a
reduction computes its operand as it goes, and because a softmax passes over memory once where its parts do three
times.
"""

from __future__ import annotations

from xdsl.ir import SSAValue

from convc.ir.attributes import ReduceKind, shape_of
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import ReduceOp, SoftmaxOp
from convc.passes.axes import of_rank
from convc.passes.expressions import inner_function
from convc.passes.rewriting import users
from convc.passes.rules import Rewriter, RuleSet
from convc.passes.values import function_of, only_user

COMPOSED_REDUCTIONS = RuleSet()


# reduce sum(x * x) => reduce sum_square(x)      reduce sum(|x|) => reduce l1(x)
@COMPOSED_REDUCTIONS.on(ReduceOp)
def sum_of_function(op: ReduceOp, rewriter: Rewriter) -> SSAValue | None:
    inner = inner_function(op.x) if op.kind.data == ReduceKind.SUM and op.keepdims is not None else None
    match inner.function if inner else None:
        case Fn.MUL if inner and inner.inputs[0] is inner.inputs[1]:
            return rewriter.emit(ReduceOp(ReduceKind.SUM_SQUARE, inner.inputs[0], op.axes.get_values()))
        case Fn.ABS if inner:
            return rewriter.emit(ReduceOp(ReduceKind.L1, inner.inputs[0], op.axes.get_values()))
        case _:
            return None


# sqrt(reduce sum_square(x)) => reduce l2(x)      log(reduce sum(exp(x))) => reduce log_sum_exp(x)
@COMPOSED_REDUCTIONS.on(ElementwiseOp)
def function_of_sum(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    inner = op.inputs[0].owner
    if op.function not in (Fn.SQRT, Fn.LOG) or not isinstance(inner, ReduceOp) or not only_user(inner.result):
        return None
    if inner.keepdims is None:
        return None
    exp = inner_function(inner.x)
    match op.function, inner.kind.data:
        case Fn.SQRT, ReduceKind.SUM_SQUARE:
            return rewriter.emit(ReduceOp(ReduceKind.L2, inner.x, inner.axes.get_values()))
        case Fn.LOG, ReduceKind.SUM if exp is not None and exp.function == Fn.EXP:
            return rewriter.emit(ReduceOp(ReduceKind.LOG_SUM_EXP, exp.inputs[0], inner.axes.get_values()))
        case _:
            return None


# exp(x) / reduce sum(exp(x)) => softmax(x)
@COMPOSED_REDUCTIONS.on(ElementwiseOp)
def softmax(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    exp = function_of(op.inputs[0], Fn.EXP) if op.function == Fn.DIV else None
    total = op.inputs[1].owner if exp else None
    if exp is None or not isinstance(total, ReduceOp) or total.x is not exp.result:
        return None
    if total.kind.data != ReduceKind.SUM or total.keepdims is None:
        return None
    if set(users(exp.result)) != {op, total} or not only_user(total.result):
        return None
    return rewriter.emit(SoftmaxOp(exp.inputs[0], total.axes.get_values()))


# softmax(x - m) => softmax(x) where m is the same along the axes
@COMPOSED_REDUCTIONS.on(SoftmaxOp)
def shifted(op: SoftmaxOp, rewriter: Rewriter) -> SSAValue | None:
    inner = inner_function(op.x)
    if inner is None or inner.function != Fn.SUB or shape_of(inner.inputs[0]) != shape_of(op.result):
        return None
    full = of_rank(shape_of(inner.inputs[1]), len(shape_of(op.result)))
    if any(full[axis] != 1 for axis in op.axes.get_values()):
        return None
    return rewriter.emit(SoftmaxOp(inner.inputs[0], op.axes.get_values(), log=op.log is not None))


# log(softmax(x)) => softmax log(x)
@COMPOSED_REDUCTIONS.on(ElementwiseOp)
def log_softmax(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    inner = op.inputs[0].owner if op.function == Fn.LOG else None
    if not isinstance(inner, SoftmaxOp) or inner.log is not None or not only_user(inner.result):
        return None
    return rewriter.emit(SoftmaxOp(inner.x, inner.axes.get_values(), log=True))


# x - reduce log_sum_exp(x) => softmax log(x)
@COMPOSED_REDUCTIONS.on(ElementwiseOp)
def difference_to_log_sum_exp(op: ElementwiseOp, rewriter: Rewriter) -> SSAValue | None:
    total = op.inputs[1].owner if op.function == Fn.SUB else None
    if not isinstance(total, ReduceOp) or total.kind.data != ReduceKind.LOG_SUM_EXP or total.x is not op.inputs[0]:
        return None
    if total.keepdims is None or not only_user(total.result):
        return None
    return rewriter.emit(SoftmaxOp(op.inputs[0], total.axes.get_values(), log=True))
