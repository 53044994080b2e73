#!/usr/bin/env python3
"""A small residual network, described as in Keras.

    convc build examples/dsl_net.py:model     # the artifact dsl_net.convc, verified against onnxruntime
    python examples/dsl_net.py                # the table of its layers, and one prediction

Its weights are drawn from a seed: its output depends on the input but means nothing. `model.set_weights(arrays)` takes
trained ones, in the order and the shapes of Keras's `model.get_weights()`.
"""

from __future__ import annotations

import numpy as np

import convc
from convc import dsl

CLASSES = 10


def block(x: dsl.SymbolicTensor, filters: int, strides: int = 1) -> dsl.SymbolicTensor:
    """A residual block (He et al., 2015), its shortcut a 1x1 convolution where the shape changes."""
    shortcut = x
    if strides != 1 or x.shape[-1] != filters:
        shortcut = dsl.Conv2D(filters, 1, strides=strides)(x)
    y = dsl.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    y = dsl.ReLU()(dsl.BatchNormalization()(y))
    y = dsl.Conv2D(filters, 3, padding="same", use_bias=False)(y)
    y = dsl.Add()([dsl.BatchNormalization()(y), shortcut])
    return dsl.ReLU()(y)


def network() -> dsl.Model:
    """[N, 32, 32, 3] bytes of an image -> [N, 10] probabilities."""
    image = dsl.Input((32, 32, 3), dtype="uint8", name="image")
    x = dsl.Rescaling(1 / 255)(image)
    x = dsl.Conv2D(16, 3, padding="same", activation="relu")(x)
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        x = block(x, filters, strides)
    x = dsl.GlobalAveragePooling2D()(x)
    return dsl.Model(image, dsl.Dense(CLASSES, activation="softmax", name="probabilities")(x), name="dsl_net")


model = network()

if __name__ == "__main__":
    model.summary()
    picture = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    print(convc.compile(model)(picture).round(4))
