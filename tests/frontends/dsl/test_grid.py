"""Every layer over its arguments, against Keras: summary, parameters, shapes and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

Case = tuple[str, tuple[int, ...], dict[str, Any]]
"""(layer, input shape without the batch, arguments)"""


def grid(layer: str, shape: tuple[int, ...], **choices: list[Any]) -> Iterator[Case]:
    """Every combination of the arguments' values."""
    for values in product(*choices.values()):
        yield layer, shape, dict(zip(choices, values, strict=True))


def convolutions() -> Iterator[Case]:
    paddings = ["valid", "same"]
    image = (9, 11, 4)
    yield from grid(
        "Conv2D",
        image,
        filters=[6],
        kernel_size=[1, 3, (2, 4)],
        strides=[1, 2, (3, 2)],
        padding=paddings,
        groups=[1, 2],
    )
    yield from grid("Conv2D", image, filters=[4], kernel_size=[3, (4, 2)], dilation_rate=[2, (1, 3)], padding=paddings)
    yield from grid("Conv2D", image, filters=[3], kernel_size=[3], use_bias=[True, False], activation=["relu", None])
    yield from grid("Conv2D", image, filters=[8], kernel_size=[(5, 1)], groups=[4], padding=paddings)
    yield from grid("Conv2D", (6, 7, 1), filters=[2], kernel_size=[2, 5], strides=[1, 2, 4], padding=paddings)
    yield from grid("Conv1D", (13, 4), filters=[6], kernel_size=[1, 4], strides=[1, 2], padding=[*paddings, "causal"])
    yield from grid(
        "Conv1D", (13, 4), filters=[4], kernel_size=[3], dilation_rate=[2, 3], padding=[*paddings, "causal"]
    )
    yield from grid("Conv1D", (13, 4), filters=[4], kernel_size=[3], groups=[2, 4], activation=["tanh"])
    yield from grid("Conv3D", (5, 6, 7, 2), filters=[4], kernel_size=[2, (1, 3, 2)], strides=[1, 2], padding=paddings)
    yield from grid("Conv3D", (5, 6, 7, 2), filters=[4], kernel_size=[2], groups=[2], dilation_rate=[2])
    yield from grid(
        "DepthwiseConv2D", image, kernel_size=[1, 3, (2, 4)], strides=[1, 2], padding=paddings, depth_multiplier=[1, 3]
    )
    yield from grid(
        "DepthwiseConv2D", image, kernel_size=[3], dilation_rate=[2], padding=paddings, use_bias=[True, False]
    )
    yield from grid(
        "SeparableConv2D",
        image,
        filters=[5],
        kernel_size=[3, (4, 1)],
        strides=[1, 2],
        padding=paddings,
        depth_multiplier=[1, 2],
    )
    yield from grid(
        "SeparableConv2D",
        image,
        filters=[5],
        kernel_size=[3],
        dilation_rate=[2],
        use_bias=[False],
        activation=["relu6"],
    )


def transposed_convolutions() -> Iterator[Case]:
    paddings = ["valid", "same"]
    image = (4, 5, 3)
    yield from grid(
        "Conv2DTranspose", image, filters=[4], kernel_size=[1, 2, 3, (4, 5)], strides=[1, 2, 3], padding=paddings
    )
    yield from grid(
        "Conv2DTranspose",
        image,
        filters=[2],
        kernel_size=[2, 3, 4],
        strides=[2, (3, 2)],
        padding=paddings,
        output_padding=[0, 1],
    )
    yield from grid("Conv2DTranspose", image, filters=[2], kernel_size=[2, 3], dilation_rate=[2], padding=paddings)
    yield from grid("Conv2DTranspose", image, filters=[2], kernel_size=[3], use_bias=[False], activation=["elu"])


def pools() -> Iterator[Case]:
    for kind in ("Max", "Average"):
        yield from grid(f"{kind}Pooling1D", (11, 3), pool_size=[2, 3], strides=[None, 2], padding=["valid", "same"])
        yield from grid(
            f"{kind}Pooling2D",
            (9, 11, 3),
            pool_size=[2, 3, (1, 4)],
            strides=[None, 1, (2, 3)],
            padding=["valid", "same"],
        )
        yield from grid(f"{kind}Pooling3D", (4, 5, 6, 2), pool_size=[2, (1, 2, 3)], padding=["valid", "same"])
        for rank, shape in ((1, (7, 3)), (2, (5, 7, 3)), (3, (3, 4, 5, 2))):
            yield from grid(f"Global{kind}Pooling{rank}D", shape, keepdims=[False, True])


def normalisations() -> Iterator[Case]:
    for shape in ((5,), (7, 4), (5, 6, 4), (3, 4, 5, 6)):
        yield from grid("BatchNormalization", shape, center=[True, False], scale=[True, False])
        yield from grid("LayerNormalization", shape, center=[True, False], scale=[True, False])
    yield from grid("BatchNormalization", (5, 6, 4), axis=[1, 2, 3, -2], epsilon=[1e-3, 0.1])
    yield from grid(
        "LayerNormalization", (5, 6, 4), axis=[1, 2, [1, 2], [2, 3], [1, 2, 3], [-2, -1]], epsilon=[1e-3, 0.1]
    )
    yield from grid("Normalization", (5, 6, 3), axis=[-1, 1, None, (1, 3)], invert=[False, True])
    yield from grid("Normalization", (5, 6, 3), mean=[[1.0, 2.0, 3.0]], variance=[[0.5, 1.0, 4.0]])
    yield from grid("Rescaling", (5, 6, 3), scale=[1 / 255, 2, [0.5, 1.0, 2.0]], offset=[0.0, -1.0, [1.0, 2.0, 3.0]])


ACTIVATIONS = [
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "sigmoid", "hard_sigmoid", "silu", "swish", "hard_silu",
    "hard_swish", "gelu", "mish", "tanh", "hard_tanh", "tanh_shrink", "hard_shrink", "soft_shrink", "exponential",
    "softplus", "softsign", "log_sigmoid", "squareplus", "sparse_plus", "sparse_sigmoid", "softmax", "log_softmax",
    "linear",
]  # fmt: skip


def activations() -> Iterator[Case]:
    yield from grid("Activation", (4, 5, 6), activation=ACTIVATIONS)
    yield from grid("Activation", (6,), activation=["softmax", "log_softmax", "gelu"])
    yield from grid("ReLU", (4, 5, 6), max_value=[None, 1.5, 6], negative_slope=[0.0, 0.2], threshold=[0.0, 0.7])
    yield from grid("LeakyReLU", (4, 5, 6), negative_slope=[0.3, 0.0, 0.05])
    yield from grid("ELU", (4, 5, 6), alpha=[1.0, 0.3])
    yield from grid("PReLU", (4, 5, 6), shared_axes=[None, [1, 2], [3], 1])
    yield from grid("PReLU", (6,), shared_axes=[None])
    yield from grid("Softmax", (4, 5, 6), axis=[-1, 1, 2, 3, (1, 2), (2, 3), (1, 2, 3)])


def movements() -> Iterator[Case]:
    yield from grid("Flatten", (4, 5, 6))
    yield from grid("Flatten", (1, 1, 6))
    yield from grid("Flatten", (6,))
    yield from grid("Flatten", (7, 3))
    yield from grid(
        "Reshape", (4, 6, 2), target_shape=[(48,), (6, 8), (-1, 4), (2, 4, 6), (1, 1, 48), (4, -1, 1), (3, 16, 1)]
    )
    yield from grid("Reshape", (12,), target_shape=[(3, 4), (1, 1, 12), (2, 3, 2)])
    yield from grid("Permute", (4, 5, 6), dims=[(1, 2, 3), (3, 1, 2), (2, 1, 3), (3, 2, 1), (2, 3, 1)])
    yield from grid("Permute", (4, 5), dims=[(2, 1)])
    yield from grid("ZeroPadding1D", (5, 3), padding=[1, (0, 2)])
    yield from grid("ZeroPadding2D", (5, 6, 3), padding=[1, (2, 0), ((1, 2), (3, 4)), ((0, 1), (0, 1))])
    yield from grid("ZeroPadding3D", (3, 4, 5, 2), padding=[1, (0, 1, 2), ((1, 0), (0, 2), (1, 1))])
    yield from grid("Cropping1D", (7, 3), cropping=[1, (0, 2)])
    yield from grid("Cropping2D", (7, 8, 3), cropping=[0, 1, (2, 0), ((1, 2), (3, 0)), ((0, 1), (0, 2))])
    yield from grid("Cropping3D", (5, 6, 7, 2), cropping=[1, (0, 1, 2), ((1, 0), (0, 2), (1, 1))])
    yield from grid("UpSampling1D", (5, 3), size=[2, 3])
    yield from grid("UpSampling2D", (4, 5, 3), size=[1, 2, (3, 2)], interpolation=["nearest", "bilinear", "bicubic"])
    yield from grid("UpSampling3D", (2, 3, 4, 2), size=[2, (1, 2, 3)])
    yield from grid("Dropout", (4, 5, 6), rate=[0.5])


def dense() -> Iterator[Case]:
    for shape in ((5,), (7, 5), (4, 6, 5), (2, 3, 4, 5)):
        yield from grid("Dense", shape, units=[3], activation=[None, "softmax"], use_bias=[True, False])


CASES = [
    *convolutions(), *transposed_convolutions(), *pools(), *normalisations(), *activations(), *movements(), *dense()
]  # fmt: skip


def identifier(case: Case) -> str:
    layer, shape, arguments = case
    text = ",".join(f"{name}={value}".replace(" ", "") for name, value in arguments.items())
    return f"{layer}({text})-{'x'.join(map(str, shape))}"


@pytest.mark.parametrize("case", CASES, ids=identifier)
def test_layer_is_keras_layer(case: Case, both: Callable[..., Any]) -> None:
    layer, shape, arguments = case
    pair = both(lambda k: k.Sequential([k.Input(shape), getattr(k, layer)(**arguments)]))
    pair.assert_same_outputs()


def after_a_convolution() -> list[Case]:
    """Layers whose meaning depends on the order of the axes: they are written otherwise channels first."""
    return [
        *grid("BatchNormalization", (4, 6, 3), axis=[1, 2, 3]),
        *grid("LayerNormalization", (4, 6, 3), axis=[1, 2, 3, [1, 2], [1, 3], [2, 3], [1, 2, 3]]),
        *grid("Rescaling", (4, 6, 3), scale=[2.0, [0.5, 1.0, 2.0]], offset=[0.0, [1.0, 2.0, 3.0]]),
        *grid("PReLU", (4, 6, 3), shared_axes=[None, [1, 2], [3]]),
        *grid("Softmax", (4, 6, 3), axis=[-1, 1, 2, (1, 2)]),
        *grid("Dense", (4, 6, 3), units=[5], use_bias=[True, False], activation=["softmax"]),
        *grid("Flatten", (4, 6, 3)),
        *grid("Reshape", (4, 6, 3), target_shape=[(72,), (8, 9), (1, 1, 72), (2, 6, 6), (72, 1)]),
        *grid("Permute", (4, 6, 3), dims=[(1, 2, 3), (3, 1, 2), (2, 1, 3), (3, 2, 1), (2, 3, 1), (1, 3, 2)]),
        *grid("ZeroPadding2D", (4, 6, 3), padding=[((1, 2), (3, 4))]),
        *grid("Cropping2D", (4, 6, 3), cropping=[((1, 2), (3, 0))]),
        *grid("GlobalAveragePooling2D", (4, 6, 3), keepdims=[False, True]),
        *grid("GlobalMaxPooling2D", (4, 6, 3), keepdims=[False, True]),
        *grid("Activation", (4, 6, 3), activation=["softmax", "log_softmax"]),
    ]


@pytest.mark.parametrize("case", after_a_convolution(), ids=identifier)
def test_layer_after_a_convolution(case: Case, both: Callable[..., Any]) -> None:
    layer, (height, width, channels), arguments = case
    pair = both(
        lambda k: k.Sequential([k.Input((height, width, 2)), k.Conv2D(channels, 1), getattr(k, layer)(**arguments)])
    )
    pair.assert_same_outputs()


def test_the_grid_has_400_combinations() -> None:
    assert len(CASES) + len(after_a_convolution()) >= 400
