"""What is left of values that all readers step over is what was there before."""

import numpy as np
import pytest

from convc.ir.attributes import PoolKind, shape_of
from convc.ir.data import CastOp, ConcatOp, SliceOp
from convc.ir.dtypes import from_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.text import main_function
from convc.ir.windows import ConvOp, PoolOp

SHAPES = [(2, 4, 9, 7), (1, 4, 8, 1), (1, 4, 1, 5), (1, 4, 2, 2), (1, 4, 11, 12)]


@pytest.fixture
def hoisted(graph, apply):
    """Apply the pass to what a function makes of a graph and its inputs; the operations that are left, by class.
    `apply` compares the results of both."""

    def run(shapes, make):
        g = graph(*((shape, "float32") for shape in shapes))
        module = apply("hoist-strides", g.module(*make(g, *(each.value for each in g.inputs))), g.context)
        return list(main_function(module).body.block.ops)

    return run


def weight(g, *shape):
    return g.weight(np.random.default_rng(len(shape)).standard_normal(shape)).value


def strided(g, x, step=2, outputs=3):
    """A 1x1 convolution that reads each `step`-th element."""
    w = weight(g, outputs, shape_of(x)[1], *[1] * (len(shape_of(x)) - 2))
    return g.append(ConvOp(x, w, strides=[step] * (len(shape_of(x)) - 2)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("step", [2, 3])
def test_a_residual_block_before_a_stride(shape, step, hoisted):
    def make(g, x):
        p = g.append(ElementwiseOp(Fn.SIGMOID, x)).value
        h = g.append(ConvOp(p, weight(g, 6, 4, 3, 3), pads=(1, 1, 1, 1))).value
        e = g.append(ConvOp(g.append(ElementwiseOp(Fn.RELU, h)).value, weight(g, 4, 6, 1, 1))).value
        r = g.append(ElementwiseOp(Fn.RELU, g.append(ElementwiseOp(Fn.ADD, e, p)).value)).value
        return strided(g, r, step), strided(g, r, step, 5)

    convs = [op for op in hoisted([shape], make) if isinstance(op, ConvOp)]
    if min(shape[2:]) > 1:
        assert [op.strides.get_values() for op in convs] == [(step, step), (1, 1), (1, 1), (1, 1)]


OPERANDS = {
    "the same shape": (1, 4, 9, 7),
    "one element an axis": (1, 4, 9, 1),
    "a number a channel": (4, 1, 1),
    "a row": (7,),
    "a scalar": (),
}


@pytest.mark.parametrize("case", OPERANDS)
def test_operands_that_are_broadcast(case, hoisted):
    def make(g, x, other):
        return [strided(g, g.append(ElementwiseOp(Fn.MUL, x, other)).value)]

    ops = hoisted([(1, 4, 9, 7), OPERANDS[case]], make)
    (product,) = (op for op in ops if isinstance(op, ElementwiseOp))
    assert shape_of(product.result) == (1, 4, 5, 4)


def test_what_an_operand_holds_one_of_along_an_axis_may_have_readers_that_want_more(hoisted):
    def make(g, x, column):
        shared = g.append(ElementwiseOp(Fn.RELU, column)).value
        y = strided(g, g.append(ElementwiseOp(Fn.MUL, x, shared)).value)
        return y, g.append(ElementwiseOp(Fn.ADD, x, shared))

    hoisted([(1, 4, 9, 7), (1, 4, 9, 1)], make)


@pytest.mark.parametrize("kind", [PoolKind.MAX, PoolKind.AVERAGE])
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_pools_take_a_stride(shape, ceil_mode, include, kind, hoisted):
    kernel = [min(size, 3) for size in shape[2:]]
    pads = [k // 2 for k in kernel] * 2

    def make(g, x):
        options = {"pads": pads, "ceil_mode": ceil_mode, "count_include_pad": include}
        return [strided(g, g.append(PoolOp(kind, x, kernel, strides=[2, 1], **options)).value)]

    pools = [op for op in hoisted([shape], make) if isinstance(op, PoolOp)]
    if not ceil_mode and shape == (1, 4, 11, 12):
        assert [op.strides.get_values() for op in pools] == [(4, 2)]


def test_a_pool_of_single_elements_steps_as_a_slice_does(hoisted):
    def make(g, x):
        y = g.append(ElementwiseOp(Fn.EXP, x)).value
        return [g.append(PoolOp(PoolKind.MAX, y, [1, 1], strides=[2, 2]))]

    ops = hoisted([(1, 4, 9, 7)], make)
    assert [type(op) for op in ops[:-1]] == [SliceOp, ElementwiseOp, PoolOp]
    assert ops[2].strides.get_values() == (1, 1)


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize(("kernel", "dilation"), [((3, 3), 1), ((2, 5), 1), ((3, 1), 2), ((1, 1), 1)])
def test_convolutions_of_all_kinds_take_a_stride(kernel, dilation, group, hoisted):
    def make(g, x):
        w = weight(g, 8, 4 // group, *kernel)
        pads = [(k - 1) * dilation // 2 for k in kernel] * 2
        y = g.append(ConvOp(x, w, strides=[1, 2], pads=pads, dilations=[dilation] * 2, group=group)).value
        return [strided(g, y, 3)]

    first, second = (op for op in hoisted([(1, 4, 19, 23)], make) if isinstance(op, ConvOp))
    assert [op.strides.get_values() for op in (first, second)] == [(3, 6), (1, 1)]


def test_padding_is_read_by_windows_of_one_tap_too(hoisted):
    def make(g, x):
        y = g.append(ElementwiseOp(Fn.EXP, x)).value
        return [g.append(ConvOp(y, weight(g, 3, 4, 1, 1), strides=[2, 2], pads=(1, 0, 1, 0)))]

    ops = hoisted([(1, 4, 9, 7)], make)
    (exp,) = (op for op in ops if isinstance(op, ElementwiseOp))
    assert shape_of(exp.result) == (1, 4, 9, 4)


def test_through_joined_and_converted_values_of_one_and_three_axes(hoisted):
    def make(g, x):
        joined = g.append(ConcatOp([x, g.append(ElementwiseOp(Fn.ABS, x)).value], 1)).value
        return [strided(g, g.append(CastOp(joined, from_numpy(np.dtype("float32")))).value)]

    for shape in [(1, 4, 9), (1, 4, 5, 6, 7)]:
        ops = hoisted([shape], make)
        (joined,) = (op for op in ops if isinstance(op, ConcatOp))
        assert shape_of(joined.result) == (1, 8, *(-(-size // 2) for size in shape[2:]))


def test_a_join_along_an_axis_in_space_stays(hoisted):
    def make(g, x):
        return [strided(g, g.append(ConcatOp([x, x], 2)).value)]

    ops = hoisted([(1, 4, 5, 6)], make)
    (joined,) = (op for op in ops if isinstance(op, ConcatOp))
    assert shape_of(joined.result) == (1, 4, 10, 6)
