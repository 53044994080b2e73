"""Graphs of layers, against Keras: names, order, summaries and outputs of Sequential and functional models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from convc.frontends import dsl

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

Both = Callable[[Callable[[Any], Any]], Any]


def test_the_layer_of_the_readme() -> None:
    dsl.clear_session()
    model = dsl.Sequential([dsl.Input((200, 200, 3)), dsl.Conv2D(10, 5)])
    assert model.output_shape == (None, 196, 196, 10)
    assert model.count_params() == 760
    assert [layer.name for layer in model.layers] == ["conv2d"]


def lenet(k: Any) -> Any:
    return k.Sequential(
        [
            k.Input((28, 28, 1)),
            k.Rescaling(1 / 255),
            k.Conv2D(6, 5, padding="same", activation="tanh"),
            k.AveragePooling2D(2),
            k.Conv2D(16, 5, activation="tanh"),
            k.MaxPooling2D(),
            k.Flatten(),
            k.Dropout(0.5),
            k.Dense(120, activation="relu"),
            k.Dense(10, activation="softmax"),
        ],
        name="lenet",
    )


def chain(k: Any) -> Any:
    """Functional, but one layer after the other: Keras's table has three columns."""
    x = image = k.Input((8, 8, 3), name="image")
    for filters in (4, 8):
        x = k.ReLU()(k.BatchNormalization()(k.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)))
    return k.Model(image, k.Dense(3)(k.GlobalAveragePooling2D()(x)))


def residual(k: Any) -> Any:
    x = image = k.Input((8, 8, 4))
    y = k.Conv2D(4, 3, padding="same", name="first")(x)
    y = k.Activation("relu")(y)
    y = k.Conv2D(4, 3, padding="same")(y)
    return k.Model(image, k.ReLU(6.0)(k.Add()([x, y])), name="residual")


def squeeze_and_excite(k: Any) -> Any:
    image = k.Input((6, 6, 4))
    x = k.DepthwiseConv2D(3, padding="same")(image)
    gate = k.Reshape((1, 1, 4))(k.GlobalAveragePooling2D()(x))
    gate = k.Conv2D(4, 1, activation="hard_sigmoid")(k.Conv2D(2, 1, activation="swish")(gate))
    return k.Model(image, k.Multiply()([x, gate]))


def branches(k: Any) -> Any:
    """Several inputs, several outputs, and branches that end at different depths."""
    image, code = k.Input((8, 8, 3), name="image"), k.Input((4,), name="code")
    x = k.Conv2D(4, 3, name="a")(image)
    y = k.Conv2D(4, 1, name="b")(k.MaxPooling2D(3, 1)(image))
    z = k.Concatenate()([x, y, k.Conv2D(2, 3, padding="same")(x)])
    scaled = k.Multiply()([k.Conv2D(4, 1)(z), code])
    return k.Model([image, code], [k.Flatten()(scaled), z, k.Dense(2, name="head")(code)])


def shared(k: Any) -> Any:
    """A layer called three times, at two depths."""
    a, b = k.Input((6, 6, 2)), k.Input((6, 6, 2))
    layer = k.Conv2D(2, 3, padding="same", activation="relu")
    return k.Model([a, b], k.Subtract()([layer(layer(a)), layer(b)]))


def nested(k: Any) -> Any:
    """A functional model and a Sequential one as layers, one of them twice."""
    inner_in = k.Input((8, 8, 4))
    inner = k.Model(inner_in, [k.Conv2D(4, 1)(inner_in), k.GlobalMaxPooling2D()(inner_in)], name="inner")
    stack = k.Sequential([k.Input((8, 8, 4)), k.Conv2D(4, 3, padding="same"), k.BatchNormalization()])
    image = k.Input((8, 8, 4))
    x, features = inner(stack(stack(image)))
    return k.Model(image, [x, k.Dense(2)(features)])


def model_at_the_head(k: Any) -> Any:
    """Transfer learning: a backbone, and a new head."""
    image = k.Input((8, 8, 3))
    backbone = k.Model(image, k.Conv2D(4, 3)(image), name="backbone")
    backbone.trainable = False
    return k.Sequential([backbone, k.GlobalAveragePooling2D(), k.Dense(2)])


def unused_input(k: Any) -> Any:
    a, b = k.Input((4,), name="used"), k.Input((3,), name="unused")
    return k.Model([a, b], k.Dense(2)(a))


def one_value_twice(k: Any) -> Any:
    """An output that is an input, and one value as two outputs."""
    a = k.Input((4,), name="a")
    x = k.Dense(4)(a)
    return k.Model(a, [x, a, x])


def open_sizes(k: Any) -> Any:
    """Of no fixed height and width: `same` pads by what the run brings."""
    image = k.Input((None, None, 3))
    x = k.Conv2D(4, 3, strides=2, padding="same")(image)
    x = k.MaxPooling2D(3, 2, padding="same")(k.ZeroPadding2D(1)(x))
    x = k.Conv2DTranspose(3, 3, strides=2, padding="same")(x)
    x = k.UpSampling2D(2)(k.Cropping2D(1)(x))
    return k.Model(image, [k.GlobalAveragePooling2D()(x), x, k.Reshape((-1, 3))(x), k.Flatten()(k.Dense(1)(x))])


def layers_as_activations(k: Any) -> Any:
    image = k.Input((6, 6, 3))
    x = k.Conv2D(4, 3, activation=k.LeakyReLU(0.1))(image)
    return k.Model(
        image, k.Dense(2, activation=k.activations.softplus)(k.Dense(3, activation=k.ReLU(max_value=1.0))(x))
    )


def merges_of_other_ranks(k: Any) -> Any:
    """Axes of one element are repeated, missing ones come after the batch."""
    image, line, code = k.Input((5, 6, 4)), k.Input((6, 4)), k.Input((4,))
    x = k.Conv2D(4, 1)(image)
    return k.Model(
        [image, line, code],
        [
            k.Add()([x, line]),
            k.Multiply()([line, code]),
            k.Average()([x, image, code]),
            k.Maximum()([x, line, code]),
            k.Minimum()([code, x]),
            k.Add()([x, k.Conv2D(4, (5, 6))(image)]),
            k.Concatenate(axis=1)([x, image]),
            k.Concatenate(axis=2)([image, image]),
        ],
    )


MODELS = [lenet, chain, residual, squeeze_and_excite, branches, shared, nested, model_at_the_head, unused_input,
          one_value_twice, open_sizes, layers_as_activations, merges_of_other_ranks]  # fmt: skip


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_model_is_keras_model(build: Callable[[Any], Any], both: Both, summarise: Callable[..., str]) -> None:
    pair = both(build)
    assert [layer.name for layer in pair.ours.layers] == [layer.name for layer in pair.theirs.layers]
    pair.assert_same_outputs()
    for options in ({"expand_nested": True}, {"line_length": 120}):
        assert summarise(pair.ours, **options) == summarise(pair.theirs, **options)


def test_the_head_of_a_model_can_be_left_out(both: Both) -> None:
    def features(k: Any) -> Any:
        whole = lenet(k)
        return k.Model(whole.inputs, whole.get_layer(whole.layers[3].name).output)

    both(features).assert_same_outputs()


@pytest.mark.filterwarnings("ignore:Do not pass an `input_shape`:UserWarning")
@pytest.mark.parametrize("form", ["input_shape", "build", "called", "add"])
def test_sequential_is_built_when_its_input_is_known(form: str, both: Both) -> None:
    def build(k: Any) -> Any:
        first = k.Conv2D(4, 3, **({"input_shape": (8, 8, 3)} if form == "input_shape" else {}))
        if form == "add":
            model = k.Sequential(name="grown")
            for layer in (k.Input((8, 8, 3)), first, k.Flatten(), k.Dense(9), k.Dense(2)):
                model.add(layer)
            model.pop()
            return model
        model = k.Sequential([first, k.Flatten(), k.Dense(2)])
        if form == "build":
            model.build((None, 8, 8, 3))
        if form == "called":
            image = k.Input((8, 8, 3))
            return k.Model(image, model(image))
        return model

    both(build).assert_same_outputs()


def test_summary_before_the_input_is_known(keras: Any, namespace: Any, summarise: Callable[..., str]) -> None:
    def build(k: Any) -> Any:
        return k.Sequential([k.Conv2D(4, 3), k.MaxPooling2D(), k.Flatten(), k.Dense(2)])

    keras.utils.clear_session()
    dsl.clear_session()
    assert summarise(build(dsl)) == summarise(build(namespace))


def test_a_narrow_terminal_breaks_lines_as_in_keras(
    both: Both, summarise: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "64")
    for build in (lenet, branches):
        pair = both(build)
        assert summarise(pair.ours) == summarise(pair.theirs)


def test_summary_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    dsl.Sequential([dsl.Input((4,)), dsl.Dense(2, name="last")]).summary()
    assert "last (Dense)" in capsys.readouterr().out


def test_frozen_layers_count_as_not_trainable(both: Both) -> None:
    def build(k: Any) -> Any:
        model = k.Sequential([k.Input((4,)), k.Dense(3), k.Dense(2, trainable=False)])
        model.layers[0].trainable = False
        return k.Sequential([k.Input((4,)), model, k.Dense(1)])

    pair = both(build)  # which compares the totals
    assert len(pair.ours.trainable_weights) == 2
    pair.ours.trainable = False
    assert not pair.ours.layers[1].trainable_weights


def test_weights_go_in_and_out_as_arrays() -> None:
    model = dsl.Sequential([dsl.Input((3,)), dsl.Dense(2), dsl.BatchNormalization()])
    arrays = [np.full(array.shape, i, np.float32) for i, array in enumerate(model.get_weights())]
    model.set_weights(arrays)
    got = model.get_weights()
    assert [array.shape for array in got] == [(3, 2), (2,), (2,), (2,), (2,), (2,)]
    got[0][:] = 9  # a copy
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], 0)


def test_weights_begin_as_in_keras(keras: Any) -> None:
    layers = dsl.Sequential([dsl.Input((8, 8, 3)), dsl.Conv2D(16, 5), dsl.BatchNormalization()]).layers
    kernel, bias = layers[0].get_weights()
    limit = np.sqrt(6 / (5 * 5 * (3 + 16)))
    assert 0.9 * limit < np.abs(kernel).max() <= limit
    assert abs(kernel.mean()) < 0.05 * limit
    assert not bias.any()
    gamma, beta, mean, variance = layers[1].get_weights()
    assert (gamma == 1).all()
    assert (variance == 1).all()
    assert not beta.any()
    assert not mean.any()


@pytest.mark.parametrize(
    "name",
    ["glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "random_uniform", "random_normal",
     "truncated_normal", "HeNormal", "ones"],
)  # fmt: skip
def test_initializers_have_the_spread_of_keras(name: str, keras: Any) -> None:
    shape = (5, 5, 16, 32)
    keras.utils.set_random_seed(0)
    theirs = np.asarray(keras.initializers.get(name)(shape))
    value = dsl.Dense(1).add_weight("w", shape, name).numpy()
    assert value.std() == pytest.approx(theirs.std(), rel=0.05)
    assert np.quantile(np.abs(value), 0.99) == pytest.approx(np.quantile(np.abs(theirs), 0.99), rel=0.05)


def test_a_seed_makes_the_same_weights_again() -> None:
    def kernel() -> np.ndarray:
        layer = dsl.Dense(4)
        layer(dsl.Input((4,)))
        return layer.get_weights()[0]

    dsl.set_random_seed(7)
    first, second = kernel(), kernel()
    dsl.set_random_seed(7)
    np.testing.assert_array_equal(kernel(), first)
    assert (first != second).any()


def test_a_function_initialises() -> None:
    layer = dsl.Dense(2, kernel_initializer=lambda shape: np.arange(np.prod(shape)).reshape(shape))
    layer(dsl.Input((3,)))
    np.testing.assert_array_equal(layer.get_weights()[0], [[0, 1], [2, 3], [4, 5]])
