"""Chains of injective operations of random shapes, fused into one kernel: index arithmetic that nobody wrote down."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convc.ir.attributes import PadMode, layout_of, shape_of
from convc.ir.data import BroadcastOp, ConcatOp, PadOp, RelayoutOp, ReshapeOp, ResizeOp, SliceOp, TransposeOp
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.targets.cpu.generic import Generic
from convc.targets.cpu.injective import Injective

LARGEST = 6000
"""Elements of a value on the way."""


def shapes(draw, rank=None):
    rank = rank or draw(st.integers(1, 5))
    sizes = [draw(st.sampled_from([1, 2, 3, 5, 7, 8, 16, 17, 19, 33])) for _ in range(rank)]
    while prod(sizes) > LARGEST:
        sizes[sizes.index(max(sizes))] //= 2
    return tuple(sizes)


def transpose(draw, x):
    return TransposeOp(x, draw(st.permutations(range(len(shape_of(x))))))


def reshape(draw, x):
    factors, rest = [], prod(shape_of(x))
    for divisor in (2, 3, 5, 7, 11, 17, 19):
        while rest % divisor == 0:
            factors.append(divisor)
            rest //= divisor
    after = [1] * draw(st.integers(1, 5))
    for factor in (*factors, rest):
        after[draw(st.integers(0, len(after) - 1))] *= factor
    return ReshapeOp(x, after)


def slice_(draw, x):
    starts, sizes, steps = [], [], []
    for size in shape_of(x):
        step = draw(st.sampled_from([1, 1, 1, 2, 3, -1, -2]))
        count = draw(st.integers(1, -(-size // abs(step))))
        slack = size - 1 - (count - 1) * abs(step)
        first = draw(st.integers(0, slack))
        starts.append(first if step > 0 else first + (count - 1) * -step)
        sizes.append(count)
        steps.append(step)
    return SliceOp(x, starts, sizes, steps)


def pad(draw, x):
    mode = draw(st.sampled_from(list(PadMode)))
    ends = [min(4, size - 1) if mode is PadMode.REFLECT else 4 for size in shape_of(x)]
    pads = [draw(st.integers(0, end)) for end in (*ends, *ends)]
    return PadOp(x, pads, mode=mode, value=0.25)


def concat(draw, x):
    axis = draw(st.integers(0, len(shape_of(x)) - 1))
    other = ElementwiseOp(Fn.NEG, x).result
    return ConcatOp([x, other, x][: draw(st.integers(1, 3))], axis)


def broadcast(draw, x):
    after = [draw(st.integers(1, 5)) if size == 1 else size for size in shape_of(x)]
    return BroadcastOp(x, [*([draw(st.integers(1, 3))] if len(after) < 5 else []), *after])


def resize(draw, x):
    after = list(shape_of(x))
    axis = draw(st.integers(0, len(after) - 1))
    after[axis] = draw(st.integers(1, 2 * after[axis] + 1))
    return ResizeOp(x, after, mode=draw(st.sampled_from(["nearest", "linear"])))


def function(draw, x):
    return ElementwiseOp(draw(st.sampled_from([Fn.RELU, Fn.ABS, Fn.SIGMOID, Fn.HARD_SWISH])), x)


def sum_with_itself(draw, x):
    rank = len(shape_of(x))
    row = SliceOp(x, [0] * rank, [1] * (rank - 1) + [shape_of(x)[-1]]).result
    return ElementwiseOp(Fn.ADD, x, row)


def relayout(draw, x):
    if layout_of(x) is not None:
        return RelayoutOp(x, None)
    if len(shape_of(x)) not in (3, 4, 5):
        return function(draw, x)
    return RelayoutOp(x, f"NC{'DHW'[5 - len(shape_of(x)) :]}{draw(st.sampled_from([4, 8, 16]))}c")


STEPS = [transpose, reshape, slice_, pad, concat, broadcast, resize, function, sum_with_itself, relayout]


@st.composite
def kernels(draw, build_kernel):
    def body(x):
        for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=6)):
            after = step(draw, x).result
            if prod(shape_of(after)) <= LARGEST:
                x = after
        return x

    return build_kernel([(shapes(draw), "float32")], body)


# Relayouts stand between plain values, as assign-layouts leaves them.
def check_chain(data, template, build_kernel, check):
    check(data.draw(kernels(build_kernel)), template)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.data())
def test_chains(build_kernel, check, data):
    check_chain(data, Injective(), build_kernel, check)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.data())
def test_chains_by_the_generic_template(build_kernel, check, data):
    check_chain(data, Generic(), build_kernel, check)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_many_chains(build_kernel, check, data):
    check_chain(data, Injective(), build_kernel, check)
