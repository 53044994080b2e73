"""Networks as people save them from Keras: built by the command line, they compute what Keras does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convc
from convc.cli.main import main

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's own
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # jax's, on any fork
]


def resnet_like(keras: Any) -> Any:
    """Padding before strided convolutions, batch-norms, bottlenecks with and without a projection."""
    k = keras.layers
    image = keras.Input((32, 32, 3))
    x = k.Conv2D(16, 7, strides=2)(k.ZeroPadding2D(3)(k.Rescaling(1 / 127.5, -1)(image)))
    x = k.ReLU()(k.BatchNormalization(epsilon=1e-5)(x))
    x = k.MaxPooling2D(3, 2)(k.ZeroPadding2D(1)(x))
    for filters, strides in ((8, 1), (8, 1), (16, 2)):
        y = k.Conv2D(filters, 1, strides=strides, use_bias=False)(x)
        y = k.Activation("relu")(k.BatchNormalization()(y))
        y = k.Conv2D(filters, 3, padding="same", use_bias=False, kernel_regularizer="l2")(y)
        y = k.Activation("relu")(k.BatchNormalization()(y))
        y = k.BatchNormalization()(k.Conv2D(4 * filters, 1, use_bias=False)(y))
        if x.shape[-1] != 4 * filters:
            x = k.BatchNormalization()(k.Conv2D(4 * filters, 1, strides=strides, use_bias=False)(x))
        x = k.Activation("relu")(k.Add()([x, y]))
    x = k.Dropout(0.5)(k.GlobalAveragePooling2D()(x))
    return keras.Model(image, k.Dense(10, activation="softmax")(x), name="resnet_like")


def u_net(keras: Any) -> Any:
    """Skips across scales, up by transposed convolutions and by interpolation."""
    k = keras.layers
    x = image = keras.Input((32, 24, 1))
    skips = []
    for filters in (4, 8):
        x = k.LeakyReLU(negative_slope=0.1)(k.Conv2D(filters, 3, padding="same")(x))
        skips.append(x)
        x = k.MaxPooling2D()(x)
    x = k.Conv2D(16, 3, padding="same", activation="relu", dilation_rate=2)(x)
    x = k.Conv2DTranspose(8, 3, strides=2, padding="same")(x)
    x = k.Conv2D(8, 3, padding="same", activation="elu")(k.Concatenate()([x, skips[1]]))
    x = k.UpSampling2D(2, interpolation="bilinear")(x)
    x = k.Conv2D(4, 3, padding="same", activation="relu")(k.Concatenate()([x, skips[0]]))
    return keras.Model(image, k.Conv2D(2, 1, activation="sigmoid")(k.PReLU(shared_axes=[1, 2])(x)), name="u_net")


def mobilenet_like(keras: Any) -> Any:
    """Inverted residuals with squeeze-and-excite, in a backbone of its own below a head."""
    k = keras.layers
    image = keras.Input((32, 32, 3), name="image")
    x = k.Activation("hard_silu")(k.BatchNormalization()(k.Conv2D(8, 3, 2, "same", use_bias=False)(image)))
    for filters, strides in ((8, 1), (12, 2), (12, 1)):
        y = k.ReLU(6.0)(k.BatchNormalization()(k.Conv2D(4 * filters, 1, use_bias=False)(x)))
        if strides == 2:
            y = k.ZeroPadding2D(((0, 1), (0, 1)))(y)
        y = k.DepthwiseConv2D(3, strides, "valid" if strides == 2 else "same", use_bias=False)(y)
        y = k.ReLU(6.0)(k.BatchNormalization()(y))
        gate = k.GlobalAveragePooling2D(keepdims=True)(y)
        gate = k.Conv2D(4 * filters, 1, activation="hard_sigmoid")(k.Conv2D(filters, 1, activation="relu")(gate))
        y = k.BatchNormalization()(k.Conv2D(filters, 1, use_bias=False)(k.Multiply()([y, gate])))
        x = k.Add()([x, y]) if x.shape == y.shape else y
    x = k.SeparableConv2D(16, 3, depth_multiplier=2, activation="swish")(x)
    backbone = keras.Model(image, x, name="backbone")
    backbone.trainable = False
    return keras.Sequential([backbone, k.Flatten(), k.Dense(8, activation="gelu"), k.Dense(5)], name="mobilenet_like")


def crnn(keras: Any) -> Any:
    """A reader of text: columns of an image, read in both directions."""
    k = keras.layers
    x = image = keras.Input((16, 24, 1), name="image")
    for filters in (8, 16):
        x = k.MaxPooling2D()(k.Conv2D(filters, 3, padding="same", activation="relu")(x))
    x = k.Reshape((6, 64))(k.Permute((2, 1, 3))(x))
    x = k.Dropout(0.2)(k.Dense(16, activation="relu")(x))
    x = k.Bidirectional(k.LSTM(12, return_sequences=True, dropout=0.25))(x)
    x = k.Bidirectional(k.GRU(8, return_sequences=True))(x)
    return keras.Model(image, k.Dense(11, activation="softmax")(x), name="crnn")


@pytest.mark.parametrize("make", [resnet_like, u_net, mobilenet_like, crnn], ids=lambda make: make.__name__)
def test_network_builds_and_matches_keras(
    make: Callable[[Any], Any],
    keras: Any,
    saved: Callable[[Any], Path],
    feeds: Callable[..., dict[str, np.ndarray]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = make(keras)
    path, arrays = saved(model), feeds(model)
    want = np.asarray(model(next(iter(arrays.values())), training=False))
    monkeypatch.chdir(tmp_path)
    assert main(["build", str(path), "-o", "built.convc"]) == 0
    assert "agrees with onnxruntime" in capsys.readouterr().out
    got = convc.load("built.convc")(next(iter(arrays.values())))
    assert got.shape == want.shape
    error = np.abs(got - want).max() / np.abs(want).max()
    assert error <= 1e-5
