"""Names for subexpressions: chains of functions stay as long as they are written, in every way to machine code."""

from __future__ import annotations

import pytest
import tvm_ffi
from tvm import tirx
from xdsl.dialects.builtin import IntegerType, Signedness, f32

from convc.ir.attributes import ReduceKind, tensor
from convc.ir.data import CastOp, ConcatOp, ConstantOp, PadOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.neural import ReduceOp
from convc.ir.windows import ConvOp
from convc.targets.cpu.direct_conv import DirectConv
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.injective import Injective
from convc.targets.cpu.plain_conv import PlainConv
from convc.targets.cpu.reduce import RowReduce
from convc.targets.lets import Lets, let, to_memory

CHAIN = (Fn.TANH, Fn.EXP, Fn.NEG, Fn.GELU, Fn.SIGMOID, Fn.MISH, Fn.SOFTPLUS, Fn.LOG)
X = tirx.Var("x", "float32")


def chain(x, functions=CHAIN):
    for function in functions:
        x = ElementwiseOp(function, x).result
    return x


def count(root, kind):
    found = []
    tvm_ffi.structural_walk(root, (kind, found.append))
    return len(found)


@pytest.mark.parametrize("shape", [(67,), (3, 5), (2, 3, 40)])
@pytest.mark.parametrize("template", [Injective(), Generic()], ids=lambda t: t.name)
def test_a_chain_of_functions(shape, template, build_kernel, check):
    check(build_kernel([(shape, "float32")], chain), template)


def test_a_chain_after_a_convolution(build_kernel, check):
    operands = [((1, 19, 9, 11), "float32", "NCHW16c"), ((17, 19, 1, 1), "float32", "OIHW16i16o")]
    check(build_kernel(operands, lambda x, w: chain(ConvOp(x, w).result), "NCHW16c"), DirectConv(), tolerance=3e-5)


def test_a_chain_of_quantisations_after_a_plain_convolution(build_kernel, check):
    """As between QuantizeLinear and DequantizeLinear: first of a convolution's results, then of a leaky ReLU's."""

    def quantised(x, w, b):
        x = ConvOp(x, w, b, pads=[1, 1, 1, 1]).result
        zero, unit = (ConstantOp(value, tensor(f32, ())).result for value in (21.0, 0.3))
        for function in (None, Fn.LEAKY_RELU):
            if function:
                x = ElementwiseOp(Fn.DIV, ElementwiseOp(function, x).result, unit).result
            x = ElementwiseOp(Fn.ADD, ElementwiseOp(Fn.ROUND, x).result, zero).result
            x = ElementwiseOp(Fn.CLIP, x, min=0.0, max=255.0).result
            x = CastOp(CastOp(x, IntegerType(8, Signedness.UNSIGNED)).result, f32).result
            x = ElementwiseOp(Fn.MUL, ElementwiseOp(Fn.SUB, x, zero).result, unit).result
        return x

    check(
        build_kernel([((1, 3, 8, 16), "float32"), ((8, 3, 3, 3), "float32"), ((8,), "float32")], quantised), PlainConv()
    )


def test_a_chain_in_blocks_whose_padding_is_zero(build_kernel, check):
    check(build_kernel([((1, 19, 9, 11), "float32", "NCHW16c")], chain, "NCHW16c"), Injective())


@pytest.mark.parametrize("axis", [0, 1])
def test_a_chain_before_and_after_a_reduction(axis, build_kernel, check):
    def body(x):
        return chain(ReduceOp(ReduceKind.MEAN, chain(x, CHAIN[:3]), (axis,)).result, CHAIN[3:6])

    check(build_kernel([((20, 67), "float32")], body), RowReduce())


@pytest.mark.parametrize("template", [Injective(), Generic()], ids=lambda t: t.name)
def test_a_chain_that_only_one_branch_computes(template, build_kernel, check):
    def body(x, y):
        padded = PadOp(chain(x), (1, 2, 3, 0), value=0.5).result
        return ConcatOp([padded, chain(y, CHAIN[:4])], 1).result

    check(build_kernel([((5, 7), "float32"), ((9, 4), "float32")], body), template)


def test_what_is_used_once_has_no_name():
    name = tirx.Var("t", "float32")
    assert count(let(name, X + X, name * 2.0), tirx.Let) == 0
    assert count(let(name, X + X, name * name), tirx.Let) == 1


def test_numbers_variables_and_booleans_need_no_name():
    names = Lets()
    for value in (X, tirx.const(2.0, "float32"), X > 1.0):
        assert names(value) is value
    assert names(X + X).name != X.name


def test_names_become_stores_before_their_use():
    result = tirx.decl_buffer((1,), "float32", "y")
    inner, outer = tirx.Var("a", "float32"), tirx.Var("b", "float32")
    value = tirx.Let(inner, X + 1.0, tirx.Let(outer, inner * inner, outer / outer))
    before = tirx.PrimFunc([result], tirx.BufferStore(result, value, [0]))
    after = to_memory(before)
    assert count(after.body, tirx.Let) == 0
    assert count(after.body, tirx.AllocBuffer) == 2
    assert count(after.body, tirx.BufferStore) == 3
    assert to_memory(after).same_as(after) or tvm_ffi.structural_equal(to_memory(after), after)
