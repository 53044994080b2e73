"""Recurrent layers against onnxruntime: directions, states, biases, peepholes, activations; and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import helper

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
STEPS, BATCH, INPUTS, HIDDEN = 5, 2, 3, 4
RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def weights(kind, directions=1, hidden=HIDDEN, inputs=INPUTS):
    """W, R and B."""
    rows = GATES[kind] * hidden
    return [numbers(directions, rows, inputs), numbers(directions, rows, hidden), numbers(directions, 2 * rows)]


def outputs(kind):
    return 3 if kind == "LSTM" else 2


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("hidden", [4, 16, 17])
def test_directions(agrees, kind, direction, hidden):
    operands = [(STEPS, BATCH, INPUTS), *weights(kind, DIRECTIONS[direction], hidden)]
    agrees(kind, operands, outputs=outputs(kind), hidden_size=hidden, direction=direction)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("opset", [7, 14, 22])
def test_initial_states_and_lengths(agrees, kind, opset):
    w, r, b = weights(kind, 2)
    states = [(2, BATCH, HIDDEN)] * (outputs(kind) - 1)
    operands = [(STEPS, BATCH, INPUTS), w, r, b, np.full(BATCH, STEPS, np.int32), *states]
    agrees(kind, operands, outputs=outputs(kind), opset=opset, hidden_size=HIDDEN, direction="bidirectional")


@pytest.mark.parametrize("kind", GATES)
def test_weights_that_are_computed(agrees, kind):
    operands = [(STEPS, BATCH, INPUTS), *(w.shape for w in weights(kind))]
    agrees(kind, operands, outputs=outputs(kind), hidden_size=HIDDEN)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("clip", [0.3, 2.0])
def test_what_gates_see_is_clipped(agrees, kind, clip):
    operands = [(STEPS, BATCH, INPUTS), *weights(kind)]
    agrees(kind, operands, outputs=outputs(kind), hidden_size=HIDDEN, clip=clip)


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("biased", [True, False])
def test_where_a_gru_resets(agrees, before, biased):
    w, r, b = weights("GRU", 2)
    operands = [(STEPS, BATCH, INPUTS), w, r, *([b] if biased else [])]
    attributes = {"hidden_size": HIDDEN, "linear_before_reset": before, "direction": "bidirectional"}
    agrees("GRU", operands, outputs=2, **attributes)


@pytest.mark.parametrize("coupled", [0, 1])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_peepholes(agrees, coupled, clip):
    w, r, b = weights("LSTM", 2)
    state, peepholes = numbers(2, BATCH, HIDDEN), numbers(2, 3 * HIDDEN)
    operands = [(STEPS, BATCH, INPUTS), w, r, b, None, state, state, peepholes]
    attributes = {"hidden_size": HIDDEN, "direction": "bidirectional", "input_forget": coupled}
    agrees("LSTM", operands, outputs=3, **attributes, **({"clip": clip} if clip else {}))


ACTIVATIONS = {
    "Affine": ([0.5], [0.1]),
    "Elu": ([0.5], []),
    "HardSigmoid": ([0.3], [0.4]),
    "LeakyRelu": ([0.2], []),
    "Relu": ([], []),
    "ScaledTanh": ([0.5], [0.7]),
    "Sigmoid": ([], []),
    "Softplus": ([], []),
    "Softsign": ([], []),
    "Tanh": ([], []),
    "ThresholdedRelu": ([0.2], []),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("kind", GATES)
def test_activations(agrees, kind, name):
    alpha, beta = ACTIVATIONS[name]
    names = {"RNN": [name], "GRU": ["Sigmoid", name], "LSTM": ["Sigmoid", name, name]}[kind]
    count = names.count(name)
    given = {"activations": names, "activation_alpha": alpha * count, "activation_beta": beta * count}
    given = {key: value for key, value in given.items() if value}
    operands = [(STEPS, BATCH, INPUTS), *weights(kind)]
    agrees(kind, operands, outputs=outputs(kind), hidden_size=HIDDEN, **given)


def test_parameters_go_to_the_activations_that_take_them(agrees):
    names = ["HardSigmoid", "Tanh", "LeakyRelu", "Sigmoid", "Elu", "Softsign"]
    attributes = {"activations": names, "activation_alpha": [0.3, 0.02, 0.7], "activation_beta": [0.4]}
    operands = [(STEPS, BATCH, INPUTS), *weights("LSTM", 2)]
    agrees("LSTM", operands, outputs=3, hidden_size=HIDDEN, direction="bidirectional", **attributes)


@pytest.mark.parametrize("name", ["Elu", "HardSigmoid", "LeakyRelu"])
def test_parameters_that_are_left_out(agrees, name):
    operands = [(STEPS, BATCH, INPUTS), *weights("GRU")]
    agrees("GRU", operands, outputs=2, hidden_size=HIDDEN, activations=["HardSigmoid", name])


@pytest.mark.parametrize("kind", GATES)
def test_the_batch_first(both_run, model_of, kind):
    """onnxruntime has the time first only: transposed around it, it computes the same."""
    w, r, b = weights(kind, 2)
    states = ["h", "c"][: outputs(kind) - 1]
    known, inputs = {"w": w, "r": r, "b": b}, {"x": (BATCH, STEPS, INPUTS)} | dict.fromkeys(states, (BATCH, 2, HIDDEN))
    results, attributes = ["y", *(f"last_{s}" for s in states)], {"hidden_size": HIDDEN, "direction": "bidirectional"}
    node = helper.make_node(kind, ["x", "w", "r", "b", "", *states], results, layout=1, **attributes)
    around = [
        helper.make_node("Transpose", ["x"], ["tx"], perm=[1, 0, 2]),
        *(helper.make_node("Transpose", [s], [f"t{s}"], perm=[1, 0, 2]) for s in states),
        helper.make_node(
            kind, ["tx", "w", "r", "b", "", *(f"t{s}" for s in states)], [f"t_{y}" for y in results], **attributes
        ),
        helper.make_node("Transpose", ["t_y"], ["y"], perm=[2, 0, 1, 3]),
        *(helper.make_node("Transpose", [f"t_{y}"], [y], perm=[1, 0, 2]) for y in results[1:]),
    ]
    feeds = {name: numbers(*shape) for name, shape in inputs.items()}
    model = model_of(around, inputs, results, weights=known)
    both_run(model, feeds, instead=model_of([node], inputs, results, weights=known))


REFUSED = [
    (
        [(STEPS, BATCH, INPUTS), *weights("GRU"), np.array([5, 4], np.int32)],
        {},
        r"expected sequences of all 5 steps of X, got sequence_lens \[5, 4\]",
    ),
    ([(STEPS, BATCH, INPUTS), *weights("GRU")], {"direction": "sideways"}, "expected a direction of forward, reverse"),
    ([(STEPS, BATCH, INPUTS), *weights("GRU")], {"hidden_size": 5}, r"expected W of shape \(1, 15, 3\), got \(1, 12"),
    ([(STEPS, INPUTS), *weights("GRU")], {}, "expected X and R of three axes"),
    ([(STEPS, BATCH, INPUTS), *weights("GRU", 2)], {}, r"expected W of shape \(1, 12, 3\), got \(2, 12, 3\)"),
    ([(STEPS, BATCH, INPUTS), *weights("GRU")], {"activations": ["Tanh"]}, "expected 2 activations, got Tanh"),
    ([(STEPS, BATCH, INPUTS), *weights("GRU")], {"activations": ["Tanh", "Cos"]}, "expected activations of Affine,"),
    (
        [(STEPS, BATCH, INPUTS), *weights("GRU")],
        {"activations": ["Sigmoid", "ThresholdedRelu"]},
        "expected an activation_alpha for ThresholdedRelu, got none",
    ),
    ([(5000, 1, INPUTS), *weights("GRU")], {}, "expected 1 to 4096 steps, got 5000"),
]


@pytest.mark.parametrize(("operands", "attributes", "reason"), REFUSED, ids=[case[2][:30] for case in REFUSED])
def test_what_is_refused(refusal, model_of, operands, attributes, reason):
    names = [f"in{i}" for i in range(len(operands))]
    known = dict(zip(names[1:], operands[1:], strict=True))
    node = helper.make_node("GRU", names, ["y"], name="memory", **{"hidden_size": HIDDEN, **attributes})
    message = refusal(model_of([node], {"in0": operands[0]}, ["y"], weights=known))
    assert message.startswith("node 'memory' (GRU): ")
    assert re.search(reason, message)


def test_lengths_that_are_computed_are_refused(refusal, model_of):
    w, r, b = weights("LSTM")
    node = helper.make_node("LSTM", ["x", "w", "r", "b", "lengths"], ["y"], name="memory", hidden_size=HIDDEN)
    inputs = {"x": (STEPS, BATCH, INPUTS), "lengths": (np.int32, (BATCH,))}
    message = refusal(model_of([node], inputs, ["y"], weights={"w": w, "r": r, "b": b}))
    assert "expected its sequence_lens (input 4) to be constant, it is computed at run time" in message
