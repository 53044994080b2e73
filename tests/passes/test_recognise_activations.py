"""Activations as exporters compose them: every order and association becomes one function, and nothing else does."""

import math

import numpy as np
import pytest

from convc.ir.attributes import ReduceKind

SHAPE = (1, 4, 5, 5)
SLOPE = np.linspace(-0.5, 0.9, 4).reshape(1, 4, 1, 1)
ROOT = math.sqrt(2 / math.pi)
PASSES = "canonicalise,recognise-activations"


def tanh_argument(x):
    return ROOT * (x + 0.044715 * x**3)


RECOGNISED = {
    "hard_swish": [
        lambda x: x * (x + 3).clip(min=0, max=6) / 6,
        lambda x: x * ((x + 3).clip(min=0, max=6) / 6),
        lambda x: (x + 3).clip(min=0, max=6) * (1 / 6) * x,
        lambda x: (1 / 6) * x * (3 + x).max(0).min(6),
        lambda x: x * (x + 3).relu().min(6) / 6,
        lambda x: x / 6 * (x + 3).clip(min=0, max=6),
        lambda x: x * x.hard_sigmoid(alpha=1 / 6, beta=0.5),
        lambda x: x * (x * (1 / 6) + 0.5).clip(min=0, max=1),
        lambda x: x * ((x.clip(min=-3, max=3) + 3) / 6),
        lambda x: x * (x.clip(min=-3, max=3) / 6 + 0.5),
        lambda x: -(-x * (x + 3).clip(min=0, max=6)) / 6,
    ],
    "hard_sigmoid": [
        lambda x: (x + 3).clip(min=0, max=6) / 6,
        lambda x: (0.2 * x + 0.5).clip(min=0, max=1),
        lambda x: (x * 0.25).clip(min=-0.5, max=0.5) + 0.5,
        lambda x: (3 - x).clip(min=0, max=6) / 6,
    ],
    "silu": [
        lambda x: x * x.sigmoid(),
        lambda x: x.sigmoid() * x,
        lambda x: x / (1 + (-x).exp()),
        lambda x: x * (1 / ((-x).exp() + 1)),
        lambda x: x * (1 + (x / 2).tanh()) / 2,
    ],
    "gelu": [
        lambda x: x * 0.5 * (1 + (x / math.sqrt(2)).erf()),
        lambda x: 0.5 * (x * ((x / math.sqrt(2)).erf() + 1)),
        lambda x: x * (0.5 * (1 + (x * math.sqrt(0.5)).erf())),
        lambda x: (1 + (x / math.sqrt(2)).erf()) * x / 2,
        lambda x: x * (0.5 + 0.5 * (x / math.sqrt(2)).erf()),
        lambda x: 0.5 * x * ((-(-x * math.sqrt(0.5))).erf() + 1),  # 0.5 * x * erfc(-x / sqrt(2)), as Keras has it
    ],
    "gelu_tanh": [
        lambda x: 0.5 * x * (1 + tanh_argument(x).tanh()),
        lambda x: x * (0.5 * (tanh_argument(x).tanh() + 1)),
        lambda x: 0.5 * x * (1 + (ROOT * x * (1 + 0.044715 * x * x)).tanh()),
        lambda x: 0.5 * x * (1 + ((x + 0.044715 * (x * x * x)) * ROOT).tanh()),
    ],
    "mish": [
        lambda x: x * x.softplus().tanh(),
        lambda x: (1 + x.exp()).log().tanh() * x,
    ],
    "softplus": [lambda x: (1 + x.exp()).log(), lambda x: (x.exp() + 1).log()],
    "sigmoid": [
        lambda x: 1 / (1 + (-x).exp()),
        lambda x: (1 + (x * -1).exp()).reciprocal(),
        lambda x: ((x * 0.5).tanh() + 1) * 0.5,
    ],
    "softsign": [lambda x: x / (1 + x.abs())],
    "relu": [
        lambda x: x.max(0),
        lambda x: x.clip(min=0),
        lambda x: (x + x.abs()) * 0.5,
        lambda x: (x > 0).where(x, 0),
    ],
    "clip": [
        lambda x: x.max(-1).min(2),
        lambda x: x.min(6).max(0),
        lambda x: x.relu().min(6),
        lambda x: x.clip(max=2).max(-2),
    ],
    "leaky_relu": [
        lambda x: x.max(0.1 * x),
        lambda x: x.relu() - 0.2 * (-x).relu(),
        lambda x: x.relu() + 0.3 * x.min(0),
        lambda x: (x > 0).where(x, 0.1 * x),
        lambda x: 0.6 * x + 0.4 * x.abs(),
    ],
    "prelu": [
        lambda x: x.relu() - SLOPE * (-x).relu(),
        lambda x: x.relu() + SLOPE * -((-x).relu()),
        lambda x: x.relu() + (-SLOPE) * (-x).relu(),
        lambda x: x.relu() + SLOPE * (x - x.abs()) * 0.5,
        lambda x: x.max(0) + SLOPE * x.min(0),
    ],
    "abs": [lambda x: x.max(-x), lambda x: x.relu() + (-x).relu()],
}


@pytest.mark.parametrize(
    ("name", "function"),
    [
        pytest.param(name, f, id=f"{name}-{i}")
        for name, functions in RECOGNISED.items()
        for i, f in enumerate(functions)
    ],
)
def test_a_composed_activation_is_one_function(name, function, graph, simplified):
    g = graph(SHAPE)
    # Slopes and constants are rounded to single precision: 1e-6.
    assert simplified(PASSES, g, function(*g.inputs), tolerance=1e-6) == [name]


LEFT = {
    "the inner value is an output": ("hard_swish", lambda x: [x * (y := (x + 3).clip(min=0, max=6)) / 6, y]),
    "the sigmoid has another reader": ("silu", lambda x: [x * (y := x.sigmoid()), y]),
    "another offset": ("hard_swish", lambda x: [x * (x + 2.9).clip(min=0, max=6) / 6]),
    "another bound": ("hard_sigmoid", lambda x: [(x + 3).clip(min=0, max=5) / 6]),
    "another root": ("gelu", lambda x: [x * 0.5 * (1 + (x / 1.41).erf())]),
    "another cubic": ("gelu_tanh", lambda x: [0.5 * x * (1 + (ROOT * (x + 0.05 * x**3)).tanh())]),
    "a gate of something else": ("silu", lambda x: [x * (x + 1).sigmoid()]),
    "a slope of less than one": ("leaky_relu", lambda x: [x.relu() - 0.2 * x]),
    "a maximum that is no zero": ("relu", lambda x: [x.max(0.1)]),
    "log of 2 + exp": ("softplus", lambda x: [(2 + x.exp()).log()]),
    "1 / (2 + exp)": ("sigmoid", lambda x: [1 / (2 + (-x).exp())]),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_only_resembles_an_activation_stays(case, graph, simplified):
    name, function = LEFT[case]
    g = graph(SHAPE)
    assert name not in simplified(PASSES, g, *function(*g.inputs), tolerance=1e-6)


def test_a_constant_that_widens_the_shape_is_no_scalar(graph, simplified):
    g = graph((1, 3))
    (x,) = g.inputs
    wide = g.weight(np.full((2, 1), 3.0))
    assert simplified(PASSES, g, (x + wide).clip(min=0, max=6) / 6, tolerance=1e-6) == ["add", "hard_sigmoid"]


def test_what_is_left_of_the_factor_is_a_product(graph, simplified):
    g = graph(SHAPE)
    (x,) = g.inputs
    assert simplified(PASSES, g, x * (x + 3).clip(min=0, max=6) * 0.5) == ["hard_swish", "mul"]


def test_a_gate_of_another_value_is_a_hard_sigmoid(graph, simplified):
    g = graph(SHAPE, (1, 4, 1, 1))
    x, y = g.inputs
    assert simplified(PASSES, g, x * (y + 3).clip(min=0, max=6) / 6) == ["hard_sigmoid", "mul"]


def test_integers_keep_their_maximum_and_minimum(graph, simplified):
    g = graph((SHAPE, "int64"))
    (x,) = g.inputs
    zero = g.weight(np.zeros((), "int64"))
    assert simplified(PASSES, g, x.max(zero)) == ["max"]


REDUCTIONS = {
    "softmax": [
        lambda x: (e := x.exp()) / e.reduce(ReduceKind.SUM, 1),
        lambda x: (e := (x - x.reduce(ReduceKind.MAX, 1)).exp()) / e.reduce(ReduceKind.SUM, 1),
        lambda x: (e := x.exp()) / e.reduce(ReduceKind.SUM, 1, 2),
        lambda x: ((e := x.exp()) / e.reduce(ReduceKind.SUM, 3)).log(),
        lambda x: (u := x - x.reduce(ReduceKind.MAX, 1)) - u.exp().reduce(ReduceKind.SUM, 1).log(),
    ],
    "reduce l2": [
        lambda x: (x * x).reduce(ReduceKind.SUM, 1).sqrt(),
        lambda x: (x**2).reduce(ReduceKind.SUM, 1) ** 0.5,
        lambda x: x.reduce(ReduceKind.SUM_SQUARE, 1).sqrt(),
    ],
    "reduce l1": [lambda x: x.abs().reduce(ReduceKind.SUM, 1, 2)],
    "reduce log_sum_exp": [lambda x: x.exp().reduce(ReduceKind.SUM, 1).log()],
}


@pytest.mark.parametrize(
    ("name", "function"),
    [
        pytest.param(name, f, id=f"{name}-{i}")
        for name, functions in REDUCTIONS.items()
        for i, f in enumerate(functions)
    ],
)
def test_a_composed_reduction_is_one_operation(name, function, graph, simplified):
    g = graph(SHAPE)
    assert simplified(PASSES, g, function(*g.inputs)) == [name]


REDUCTIONS_LEFT = {
    "softmax over other axes than the sum's shift": lambda x: [
        (e := (x - x.reduce(ReduceKind.MAX, 2)).exp()) / e.reduce(ReduceKind.SUM, 1)
    ],
    "the exponentials are an output": lambda x: [(e := x.exp()) / e.reduce(ReduceKind.SUM, 1), e],
    "the sum is an output": lambda x: [(s := (x * x).reduce(ReduceKind.SUM, 1)).sqrt(), s],
}


@pytest.mark.parametrize("name", REDUCTIONS_LEFT)
def test_what_only_resembles_a_reduction_stays(name, graph, simplified):
    g = graph(SHAPE)
    left = simplified(PASSES, g, *REDUCTIONS_LEFT[name](*g.inputs))
    assert len(left) > 1
