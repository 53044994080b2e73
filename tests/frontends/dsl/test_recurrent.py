"""Recurrent layers and the layers around layers, against Keras."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from convc.frontends import dsl

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

Both = Callable[[Callable[[Any], Any]], Any]

CELLS = [("SimpleRNN", {}), ("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False})]


@pytest.mark.parametrize(("cell", "options"), CELLS, ids=["rnn", "lstm", "gru", "gru_reset_before"])
def test_cells(cell: str, options: dict[str, Any], both: Both) -> None:
    """Directions, sequences, states, biases and activations, each layer an output of one model."""
    flags = [
        {"return_sequences": sequences, "go_backwards": backwards, "use_bias": sequences}
        for sequences, backwards in product((False, True), repeat=2)
    ]
    gate = {} if cell == "SimpleRNN" else {"recurrent_activation": "hard_sigmoid"}
    flags += [{"activation": name, **gate} for name in ("relu", "linear")]
    flags += [{"return_state": True}, {"return_state": True, "return_sequences": True, "go_backwards": True}]

    def build(k: Any) -> Any:
        x = k.Input((5, 3))
        outputs: list[Any] = []
        for flag in flags:
            y = getattr(k, cell)(4, **flag, **options)(x)
            outputs += y if isinstance(y, list | tuple) else [y]
        return k.Model(x, outputs)

    both(build).assert_same_outputs()


@pytest.mark.parametrize("cell", ["SimpleRNN", "LSTM", "GRU"])
def test_both_directions(cell: str, both: Both) -> None:
    def build(k: Any) -> Any:
        x = k.Input((5, 3))
        make = getattr(k, cell)
        outputs = [
            k.Bidirectional(make(4, return_sequences=sequences), merge_mode=mode)(x)
            for sequences, mode in product((False, True), ("concat", "sum", "mul", "ave"))
        ]
        outputs += k.Bidirectional(make(4), merge_mode=None)(x)
        outputs += k.Bidirectional(make(4, return_sequences=True, return_state=True))(x)
        other = make(4, go_backwards=True, return_sequences=True, activation="relu")
        outputs.append(k.Bidirectional(make(4, return_sequences=True), backward_layer=other)(x))
        return k.Model(x, outputs)

    both(build).assert_same_outputs()


def test_states_are_handed_on(both: Both) -> None:
    """An encoder and a decoder."""

    def build(k: Any) -> Any:
        source, target = k.Input((5, 3)), k.Input((4, 2))
        _, h, c = k.LSTM(4, return_state=True)(source)
        y = k.LSTM(4, return_sequences=True)(target, initial_state=[h, c])
        z, s = k.GRU(4, return_state=True)(source)
        return k.Model([source, target], [y, k.GRU(4)(target, initial_state=s), k.Dense(2)(z)])

    both(build).assert_same_outputs()


def test_every_step(both: Both) -> None:
    """A layer, a model and a recurrent layer for each step."""

    def build(k: Any) -> Any:
        video, line = k.Input((3, 6, 5, 2)), k.Input((4, 3))
        image = k.Input((6, 5, 2))
        cnn = k.Model(image, k.GlobalAveragePooling2D()(k.Conv2D(4, 3, activation="relu")(image)))
        x = k.TimeDistributed(cnn)(video)
        steps = k.TimeDistributed(k.BatchNormalization())(k.TimeDistributed(k.Conv2D(2, 2))(video))
        pairs = k.TimeDistributed(k.GRU(2))(k.Reshape((2, 2, 3))(line))
        return k.Model([video, line], [k.LSTM(3)(x), steps, k.TimeDistributed(k.Dense(2))(line), pairs])

    both(build).assert_same_outputs()


def crnn(k: Any) -> Any:
    """Columns of an image read in both directions."""
    x = image = k.Input((16, 32, 1))
    for filters in (4, 8):
        x = k.MaxPooling2D()(k.Conv2D(filters, 3, padding="same", activation="relu")(x))
    x = k.Reshape((8, 32))(k.Permute((2, 1, 3))(x))
    x = k.Dropout(0.2)(k.Dense(12, activation="relu")(x))
    x = k.Bidirectional(k.LSTM(6, return_sequences=True, dropout=0.25))(x)
    return k.Model(image, k.Dense(5, activation="softmax")(k.Bidirectional(k.GRU(4, return_sequences=True))(x)))


def test_a_reader_of_text(both: Both) -> None:
    both(crnn).assert_same_outputs()


def test_initial_biases_keep_the_gates_of_an_lstm_open() -> None:
    layer = dsl.LSTM(2)
    layer(dsl.Input((5, 3)))
    assert layer.get_weights()[2].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
