"""What is read of .keras files, and what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

Agrees = Callable[..., None]
Saved = Callable[[Any], Path]
Refusal = Callable[[Path], str]


def test_sequential(keras: Any, agrees: Agrees) -> None:
    k = keras.layers
    agrees(
        keras.Sequential([keras.Input((8, 8, 3)), k.Conv2D(4, 3, activation=k.LeakyReLU(0.2)), k.Flatten(), k.Dense(2)])
    )


def test_sequential_without_an_input(keras: Any, agrees: Agrees) -> None:
    model = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D()])
    model.build((None, 8, 8, 3))
    agrees(model)


def test_layers_that_are_called_twice_and_models_in_models(keras: Any, agrees: Agrees) -> None:
    """A shared layer, shared models, several inputs and outputs, and models among the outputs."""
    k = keras.layers
    image, code = keras.Input((8, 8, 4), name="image"), keras.Input((4,), name="code")
    inner_in = keras.Input((8, 8, 4))
    inner = keras.Model(inner_in, [k.Conv2D(4, 1)(inner_in), k.GlobalMaxPooling2D()(inner_in)], name="inner")
    stack = keras.Sequential([keras.Input((8, 8, 4)), k.Conv2D(4, 3, padding="same"), k.BatchNormalization(), k.ReLU()])
    other_in = keras.Input((8, 8, 4))
    other = keras.Model(other_in, k.Conv2D(4, 3, padding="same")(other_in), name="other")
    common = k.Conv2D(4, 1, name="common")
    x, features = inner(other(stack(stack(image))))
    x = k.Multiply()([common(common(x)), code])
    agrees(keras.Model([image, code], [x, k.Dense(2, name="head")(features), other(x), stack(x)]))


def test_options_of_every_kind(keras: Any, agrees: Agrees) -> None:
    """Arrays, tuples, and what only training uses."""
    k = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = k.Rescaling(np.array([1.0, 0.5, 2.0], np.float32), offset=[0.0, 1.0, 2.0])(image)
    x = k.Conv2D(4, (3, 2), bias_constraint="non_neg", kernel_initializer=keras.initializers.HeNormal(1))(x)
    x = k.BatchNormalization(momentum=0.9, scale=False, beta_regularizer="l1")(x, training=False)
    x = k.LayerNormalization(axis=[1, 3])(k.Cropping2D(((0, 1), (1, 0)))(x))
    x = k.Softmax(axis=(1, 2))(k.Permute((3, 1, 2))(x))
    agrees(keras.Model(image, {"y": k.Reshape((-1, 5))(x), "x": x}))


def test_operators_between_layers(keras: Any, agrees: Agrees) -> None:
    """`x + y` and the like are no layers in Keras."""
    k, ops = keras.layers, keras.ops
    image = keras.Input((4, 4, 3))
    x = k.Conv2D(3, 1)(image)
    y = ops.relu(1 - 2 * (x + 0.5)) / 3 - 0.25
    y = ops.maximum(ops.multiply(y, x) - image, ops.minimum(0.5 + x, image * 2)) + ops.tanh(x)
    model = keras.Model(image, k.Dense(2)(k.Flatten()(ops.concatenate([y, ops.silu(x)], axis=-1))))
    agrees(model, summary=False)  # an activation is an Activation layer here


def test_operations_on_arrays(keras: Any, agrees: Agrees) -> None:
    """What `preprocess_input` and the functions of keras.ops leave in a file."""
    k, ops, of = keras.layers, keras.ops, keras.applications
    image, line = keras.Input((6, 5, 3), name="image"), keras.Input((5, 3), name="line")
    x = k.Conv2D(3, 1)(image)
    agrees(
        keras.Model(
            [image, line],
            [
                of.resnet50.preprocess_input(image),
                of.mobilenet_v2.preprocess_input(image),
                of.densenet.preprocess_input(x),
                x[:, 0] + line,
                line / (line * line + 1.0),
                ops.sqrt(ops.abs(x)) ** 2 - np.arange(3, dtype="f4"),
                ops.exp(-ops.clip(x, -1, 1)),
                x[:, 1:-1, ::2],
                ops.square(x[..., -1]),
                ops.mean(x, axis=[1, 2]),
                ops.max(x, axis=-1, keepdims=True),
                ops.sum(x, axis=1),
                ops.reshape(x, (-1, 15, 6)),
                ops.transpose(ops.expand_dims(x, 1), (0, 3, 1, 2, 4)),
                ops.squeeze(ops.mean(x, axis=2, keepdims=True), 2),
                ops.matmul(x, ops.swapaxes(x, 2, 3)),
                ops.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0))),
                ops.gelu(x),
                ops.gelu(x, approximate=False),
                ops.leaky_relu(x, 0.1),
                ops.softmax(x, axis=1),
            ],
        ),
        summary=False,  # the activations are Activation layers here
    )


def test_operators_of_other_kinds_are_refused(keras: Any, saved: Saved, refusal: Refusal) -> None:
    image = keras.Input((4, 4, 3))
    x = keras.ops.split(image, 3, axis=-1)[1] + image[:, None, 0]
    assert refusal(saved(keras.Model(image, keras.ops.cumsum(x)))) == (
        "expected the layers that convc.dsl has, got Split ('split'), GetItem ('get_item'), Cumsum ('cumsum')"
    )


def test_recurrent_layers(keras: Any, agrees: Agrees) -> None:
    """An encoder and a decoder, both directions, and a model for each step."""
    k = keras.layers
    video, words = keras.Input((3, 6, 5, 2), name="video"), keras.Input((4, 3), name="words")
    image = keras.Input((6, 5, 2))
    cnn = keras.Model(image, k.GlobalAveragePooling2D()(k.Conv2D(4, 3, activation="relu")(image)))
    x = k.Bidirectional(k.LSTM(3, return_sequences=True, dropout=0.2))(k.TimeDistributed(cnn)(video))
    x = k.TimeDistributed(k.Dense(5, activation="tanh"))(x)
    _, h, c = k.LSTM(4, return_state=True)(x)
    y = k.LSTM(4, return_sequences=True)(words, initial_state=[h, c])
    z = k.SimpleRNN(2, go_backwards=True)(k.GRU(4, return_sequences=True, reset_after=False)(y))
    agrees(keras.Model([video, words], [y, z, k.GRU(2, seed=1)(x)]))


def test_layers_of_every_kind(keras: Any, agrees: Agrees) -> None:
    k = keras.layers
    image = keras.Input((9, 8, 3), name="image")
    x = k.CenterCrop(6, 6)(k.Resizing(7, 8)(k.RandomZoom(0.1)(k.RandomFlip("horizontal", seed=1)(image))))
    x = k.GaussianNoise(0.1)(k.SpatialDropout2D(0.5)(k.GroupNormalization(2)(k.Conv2D(4, 3)(x))))
    y = k.UnitNormalization()(k.RMSNormalization()(k.Reshape((4, 16))(x)))
    y = k.SeparableConv1D(6, 2)(k.Conv1DTranspose(4, 3, strides=2)(k.DepthwiseConv1D(2)(y)))
    agrees(keras.Model(image, [x, y, k.RepeatVector(2)(k.Dot(1)([k.Flatten()(x), k.Flatten()(x)]))]))


def test_channels_first(keras: Any, agrees: Agrees) -> None:
    k, first = keras.layers, {"data_format": "channels_first"}
    image = keras.Input((3, 9, 8), name="image")
    x = k.BatchNormalization(axis=1)(k.Conv2D(4, 3, padding="same", activation="relu", **first)(image))
    x = k.Concatenate(axis=1)([k.MaxPooling2D(2, **first)(x), k.AveragePooling2D(2, **first)(x)])
    y = k.Dense(2)(k.GlobalAveragePooling2D(**first)(x))
    agrees(keras.Model(image, [x, y, k.Flatten(**first)(k.Conv2DTranspose(2, 2, **first)(x))]))


def test_mixed_precision_is_computed_in_float32(keras: Any, saved: Saved) -> None:
    from convc.frontends.keras import load

    layers = [keras.Input((4,)), keras.layers.Dense(2, dtype="mixed_float16")]
    assert load(saved(keras.Sequential(layers))).count_params() == 10


@pytest.mark.filterwarnings("ignore:Layer 'mine'.*does not support masking")
def test_every_unknown_layer_is_named(keras: Any, saved: Saved, refusal: Refusal) -> None:
    k = keras.layers
    image = keras.Input((8, 8, 4))
    x = k.Lambda(lambda x: x, name="mine")(k.Masking(name="a")(k.Masking(name="b")(image)))
    inner = keras.Sequential([keras.Input((8, 8, 4)), k.AutoContrast(name="inside")])
    path = saved(keras.Model(image, keras.ops.cumsum(inner(x) + image, axis=1)))
    assert refusal(path) == (
        "expected the layers that convc.dsl has, got Masking ('b', 'a'), NotEqual ('not_equal_1'), Any ('any_1'), "
        "Lambda ('mine'), AutoContrast ('inside'), Cumsum ('cumsum')"
    )


def test_custom_classes_are_not_taken_for_those_of_keras(keras: Any, saved: Saved, refusal: Refusal) -> None:
    @keras.saving.register_keras_serializable("mine")
    class Dense(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x

    @keras.saving.register_keras_serializable("mine")
    def twice(x: Any) -> Any:
        return x * 2

    layers = [keras.Input((3,)), Dense(name="d"), keras.layers.Activation(twice)]
    assert refusal(saved(keras.Sequential(layers))) == (
        "expected the layers that convc.dsl has, got Dense ('d'), function ('mine>twice')"
    )


def test_training_behaviour_is_refused(keras: Any, saved: Saved, refusal: Refusal) -> None:
    image = keras.Input((8,))
    model = keras.Model(image, keras.layers.Dropout(0.5, name="drop")(image, training=True))
    assert refusal(saved(model)) == (
        "layer 'drop': expected a call for inference, got the arguments {'training': True}"
    )


def test_what_the_dsl_refuses_names_the_layer(keras: Any, saved: Saved, refusal: Refusal) -> None:
    model = keras.Sequential([keras.Input((7,)), keras.layers.Embedding(9, 2, mask_zero=True, name="words")])
    message = "layer 'words' (Embedding): mask_zero: expected False, for no layer takes masks, got True"
    assert message in refusal(saved(model))


def test_an_option_of_a_later_keras_is_refused_unless_it_is_off(keras: Any, saved: Saved, refusal: Refusal) -> None:
    path = saved(small(keras))
    edit(path, lambda config: dense(config).update(sparkle=None))
    assert load_count(path) == 10
    edit(path, lambda config: dense(config).update(sparkle=2))
    assert refusal(path) == "layer 'dense' (Dense): the option sparkle=2 is not known"


# Damaged and hostile files


def small(keras: Any) -> Any:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])


def load_count(path: Path) -> int:
    from convc.frontends.keras import load

    return load(path).count_params()


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def edit(path: Path, change: Callable[[Any], object]) -> Path:
    """Change the configuration."""
    files = contents(path)
    config = json.loads(files["config.json"])
    change(config)
    return rewrite(path, {**files, "config.json": json.dumps(config).encode()})


def edit_weights(path: Path, change: Callable[[h5py.File], object]) -> Path:
    files = contents(path)
    stream = io.BytesIO(files[WEIGHTS])
    with h5py.File(stream, "a") as file:
        change(file)
    return rewrite(path, {**files, WEIGHTS: stream.getvalue()})


WEIGHTS = "model.weights.h5"
KERNEL = "layers/dense/vars/0"


GROUP = "layers/dense/vars"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (KERNEL, np.zeros((2, 4), "f4"), "weight 'kernel': expected the shape (4, 2), the file has (2, 4)"),
        (KERNEL, np.zeros((4, 2), "c8"), "weight 'kernel': expected numbers, the file has complex64"),
        (KERNEL, None, "layer 'dense': expected 2 arrays in the file, got 1"),
        ("layers/dense", None, "expected 'dense' in /layers of the weights, got nothing"),
        (GROUP, np.zeros(2), "expected a group at layers/dense/vars in the weights, got an array"),
        (KERNEL, h5py.SoftLink(f"/{GROUP}/1"), f"expected '0' in /{GROUP} of the weights, got a link"),
        (KERNEL, h5py.ExternalLink("other.h5", "/x"), f"expected '0' in /{GROUP} of the weights, got a link"),
    ],
)
def test_weights_must_fit(name: str, value: Any, message: str, keras: Any, saved: Saved, refusal: Refusal) -> None:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    assert message in refusal(edit_weights(saved(small(keras)), change))


def test_weights_in_other_files_are_refused(keras: Any, saved: Saved, refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(32))

    def external(file: h5py.File) -> None:
        del file[KERNEL]
        file.create_dataset(KERNEL, (4, 2), "f4", external=[(str(tmp_path / "secret"), 0, 32)])

    path = edit_weights(saved(small(keras)), external)
    assert refusal(path) == "layer 'dense': weight 'kernel': expected an array inside the file"


def test_huge_layers_take_no_memory(keras: Any, saved: Saved, refusal: Refusal) -> None:
    path = edit(saved(small(keras)), lambda config: dense(config).update(units=1 << 40))
    assert "expected at most 536,870,912 parameters, got 5,497,558,138,880" in refusal(path)


def dense(config: Any) -> Any:
    """The options of `small`'s layer."""
    return config["config"]["layers"][1]["config"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.pop("config"), "config.json is damaged: KeyError: 'config'"),
        (lambda config: config["config"].update(layers=3), "config.json is damaged: TypeError"),
        (lambda config: dense(config).pop("units"), "config.json is damaged: TypeError"),
        (lambda config: dense(config).update(units="2"), "units: expected a positive integer, got '2'"),
        (
            lambda config: dense(config).update(dtype={"config": {"name": "int8"}}),
            "expected one of the policies float32, float64, float16, mixed_float16, mixed_bfloat16, got int8",
        ),
    ],
)
def test_a_damaged_configuration_is_one_line(
    change: Callable[[Any], object], message: str, keras: Any, saved: Saved, refusal: Refusal
) -> None:
    assert message in refusal(edit(saved(small(keras)), change))


def test_a_loop_is_refused(keras: Any, saved: Saved, refusal: Refusal) -> None:
    image = keras.Input((4,))
    x = keras.layers.Dense(4, name="a")(image)
    path = saved(keras.Model(image, keras.layers.Dense(4, name="b")(x)))

    def loop(config: Any) -> None:
        config["config"]["layers"][1]["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = "b"

    assert refusal(edit(path, loop)) == "expected a graph without loops or loose ends, layer 'a' lacks an input"


def test_only_a_model_is_a_model(keras: Any, saved: Saved, refusal: Refusal) -> None:
    path = edit(saved(small(keras)), lambda config: config.update(config["config"]["layers"][1]))
    assert refusal(path) == "expected a Functional or Sequential model, got Dense"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"other": b""}, "expected config.json in FILE, it holds other"),
        ({}, "expected config.json in FILE, it holds nothing"),
        ({"config.json": b"{}"}, "expected model.weights.h5 in FILE; weights in several files are not read"),
        ({"config.json": b"{", WEIGHTS: b""}, "expected JSON in config.json of FILE: Expecting property name"),
        ({"config.json": b"\xff", WEIGHTS: b""}, "expected JSON in config.json of FILE: 'utf-8' codec"),
        ({"config.json": b"[" * 10**5, WEIGHTS: b""}, "expected JSON in config.json of FILE: maximum recursion"),
        ({"config.json": b"[]", WEIGHTS: b""}, "expected a JSON object in config.json of FILE, got list"),
        (
            {"config.json": b"{}", "metadata.json": b'{"keras_version": "2.13.1"}'},
            "expected a file of Keras 3, FILE is of Keras 2.13.1: load it with Keras 3 and save it again",
        ),
    ],
)
def test_archives_are_checked(files: dict[str, bytes], message: str, tmp_path: Path, refusal: Refusal) -> None:
    path = rewrite(tmp_path / "x.keras", files)
    assert refusal(path).startswith(message.replace("FILE", str(path)))


def test_what_is_no_archive_is_refused(tmp_path: Path, refusal: Refusal, keras: Any, saved: Saved) -> None:
    path = tmp_path / "x.keras"
    assert refusal(path) == f"cannot read {path}: No such file or directory"
    path.write_bytes(b"\x89HDF\r\n")
    assert "expected a .keras archive, as model.save('x.keras') of Keras 3 writes" in refusal(path)
    data = saved(small(keras)).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "expected a .keras archive" in refusal(path)


def test_damaged_weights_are_refused(keras: Any, saved: Saved, refusal: Refusal) -> None:
    path = saved(small(keras))
    files = contents(path)
    rewrite(path, {**files, WEIGHTS: files[WEIGHTS][:600]})
    assert refusal(path).startswith("cannot read the weights: ")


def test_a_file_that_unpacks_to_too_much_is_not_unpacked(
    keras: Any, saved: Saved, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convc.frontends.keras.archive._MAX_WEIGHTS", 1000)
    assert "expected at most 1000 bytes in model.weights.h5" in refusal(saved(small(keras)))
