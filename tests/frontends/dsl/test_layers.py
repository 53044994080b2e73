"""Layers beside those of `test_grid`, against Keras: many of them on one input, as one model with many outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from convc.frontends import dsl

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own

Make = Callable[[Any], Any]
PADDINGS = ["valid", "same"]
FIRST = {"data_format": ["channels_first"]}


def grid(layer: str, **choices: list[Any]) -> Iterator[Make]:
    """A layer for every combination of the arguments' values, as a function of the namespace that has its class."""
    for values in product(*choices.values()):
        options = dict(zip(choices, values, strict=True))
        yield lambda k, options=options: getattr(k, layer)(**options)


LINES = [
    *grid("DepthwiseConv1D", kernel_size=[4], strides=[1, 2], padding=PADDINGS, depth_multiplier=[2]),
    *grid("DepthwiseConv1D", kernel_size=[3], dilation_rate=[2], use_bias=[False], activation=["relu"]),
    *grid("SeparableConv1D", filters=[5], kernel_size=[3], strides=[1, 2], padding=PADDINGS),
    *grid("SeparableConv1D", filters=[5], kernel_size=[2], depth_multiplier=[3], activation=["tanh"]),
    *grid("Conv1DTranspose", filters=[3], kernel_size=[3], strides=[1, 2], padding=PADDINGS),
    *grid("Conv1DTranspose", filters=[3], kernel_size=[3], strides=[2], output_padding=[1]),
    *grid("Conv1DTranspose", filters=[3], kernel_size=[3], dilation_rate=[2], use_bias=[False]),
    *grid("GroupNormalization", groups=[2], axis=[-1]),
    *grid("RMSNormalization"),
    *grid("UnitNormalization"),
    *grid("SpatialDropout1D", rate=[0.5]),
    *grid("GaussianNoise", stddev=[0.5]),
]
VOLUMES = [
    *grid("Conv3DTranspose", filters=[3], kernel_size=[(1, 3, 2)], strides=[1, 2], padding=PADDINGS),
    *grid("SpatialDropout3D", rate=[0.5]),
    *grid("GroupNormalization", groups=[1]),
]
NORMALISATIONS = [
    *grid("GroupNormalization", groups=[1, 2, 4, -1], center=[True, False], scale=[True, False]),
    *grid("GroupNormalization", groups=[2], axis=[1, 2, -2], epsilon=[0.1]),
    *grid("RMSNormalization", axis=[-1, [2, 3], [3, 2, 1]], epsilon=[0.1]),
    *grid("UnitNormalization", axis=[-1, 1, 2, [1, 2], [1, 3]]),
]
RESIZES = [
    *grid("Resizing", height=[4, 12], width=[5, 9], interpolation=["nearest", "bilinear", "bicubic"]),
    *grid("Resizing", height=[4, 12], width=[9], crop_to_aspect_ratio=[True]),
    *grid("Resizing", height=[4, 12], width=[5, 9], pad_to_aspect_ratio=[True], fill_value=[2.5]),
    *grid("CenterCrop", height=[1, 3, 6], width=[4, 8]),
    *grid("CenterCrop", height=[9], width=[4, 10]),
]
CHANNELS_FIRST = [
    *grid("Conv2D", filters=[6], kernel_size=[(3, 2)], strides=[2], padding=PADDINGS, groups=[1, 2], **FIRST),
    *grid("Conv2D", filters=[6], kernel_size=[3], activation=["relu"], **FIRST),
    *grid("DepthwiseConv2D", kernel_size=[3], strides=[2], depth_multiplier=[2], **FIRST),
    *grid("SeparableConv2D", filters=[5], kernel_size=[3], padding=["same"], **FIRST),
    *grid("Conv2DTranspose", filters=[5], kernel_size=[3], strides=[2], padding=PADDINGS, **FIRST),
    *grid("MaxPooling2D", pool_size=[3], strides=[2], padding=PADDINGS, **FIRST),
    *grid("AveragePooling2D", pool_size=[3], strides=[2], padding=PADDINGS, **FIRST),
    *grid("GlobalAveragePooling2D", keepdims=[False, True], **FIRST),
    *grid("GlobalMaxPooling2D", keepdims=[False, True], **FIRST),
    *grid("ZeroPadding2D", padding=[((1, 2), (3, 4))], **FIRST),
    *grid("Cropping2D", cropping=[((1, 2), (3, 0))], **FIRST),
    *grid("UpSampling2D", size=[(3, 2)], interpolation=["nearest", "bilinear"], **FIRST),
    *grid("Flatten", **FIRST),
    *grid("Resizing", height=[5], width=[6], **FIRST),
    *grid("CenterCrop", height=[5], width=[6], **FIRST),
    *grid("SpatialDropout2D", rate=[0.5], **FIRST),
    *grid("RandomFlip", **FIRST),
]


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((9, 4), LINES),
        ((3, 4, 5, 2), VOLUMES),
        ((4, 6, 4), NORMALISATIONS),
        ((6, 8, 3), RESIZES),
        ((4, 9, 7), CHANNELS_FIRST),
    ],
    ids=["lines", "volumes", "normalisations", "resizes", "channels_first"],
)
def test_layers_are_keras_layers(shape: tuple[int, ...], layers: list[Make], both: Callable[..., Any]) -> None:
    def build(k: Any) -> Any:
        x = k.Input(shape)
        return k.Model(x, [make(k)(x) for make in layers])

    both(build).assert_same_outputs()


def test_layers_after_a_convolution(both: Callable[..., Any]) -> None:
    """Which is written channels first."""
    layers = [
        *grid("GroupNormalization", groups=[2], axis=[1, 2, 3]),
        *grid("RMSNormalization", axis=[3, [2, 3]]),
        *grid("UnitNormalization", axis=[1, 3, [1, 3]]),
        *grid("Resizing", height=[5], width=[3], pad_to_aspect_ratio=[True]),
        *grid("CenterCrop", height=[2], width=[3]),
        *grid("Conv2D", filters=[3], kernel_size=[2], **FIRST),
        *grid("MaxPooling2D", **FIRST),
    ]

    def build(k: Any) -> Any:
        x = k.Input((4, 6, 2))
        y = k.Conv2D(4, 1)(x)
        return k.Model(x, [make(k)(y) for make in layers])

    both(build).assert_same_outputs()


AUGMENTATIONS = [
    *(("Random" + name, {"factor": 0.5}) for name in (
        "Brightness", "ColorDegeneration", "Contrast", "Hue", "Saturation", "Sharpness", "Rotation",
    )),
    *(("Random" + name, {}) for name in (
        "ColorJitter", "Erasing", "Flip", "GaussianBlur", "Grayscale", "Invert", "Shear",
    )),
    ("RandomTranslation", {"height_factor": 0.5, "width_factor": 0.5}),
    ("RandomPosterization", {"factor": 4}),
    ("RandomZoom", {"height_factor": 0.5}),
]  # fmt: skip


def test_what_training_alone_uses_does_nothing(both: Callable[..., Any]) -> None:
    def build(k: Any) -> Any:
        x = k.Input((4, 5, 3))
        y = k.Conv2D(3, 1)(x)
        for name, options in AUGMENTATIONS:
            y = getattr(k, name)(**options)(y)
        y = k.SpatialDropout2D(0.5)(k.GaussianDropout(0.5)(k.AlphaDropout(0.5)(k.Identity()(y))))
        return k.Model(x, k.ActivityRegularization(l1=0.1)(y))

    pair = both(build)
    pair.assert_same_outputs()
    assert [node.op_type for node in pair.ours.to_onnx().graph.node] == ["Transpose", "Conv", "Transpose"]


def test_vectors(both: Callable[..., Any]) -> None:
    """Repeated, and their products."""

    def build(k: Any) -> Any:
        a, b = k.Input((6, 4)), k.Input((5, 4))
        code, other = k.Input((4,)), k.Input((4,))
        return k.Model(
            [a, b, code, other],
            [
                k.RepeatVector(3)(code),
                k.Dot(2)([a, b]),
                k.Dot((2, -1), normalize=True)([a, b]),
                k.Dot(axes=-1, normalize=True)([code, other]),
                k.Dot((1, 2))([code, a]),
                k.Dot((2, 1))([a, code]),
            ],
        )

    both(build).assert_same_outputs()


def test_embedding(both: Callable[..., Any]) -> None:
    def build(k: Any) -> Any:
        words = k.Input((7,), dtype="int32")
        return k.Model(words, k.Conv1D(4, 3)(k.Embedding(200, 5)(words)))

    both(build).assert_same_outputs()


def test_the_list_of_layers_has_all_of_them() -> None:
    text = (Path(__file__).parents[3] / "docs" / "layers.md").read_text()
    layers = [name for name in dsl.__all__ if isinstance(getattr(dsl, name), type) and name[0].isupper()]
    missing = [name for name in layers if f"`{name}`" not in text]
    assert missing == ["Layer", "ModelError", "SymbolicTensor"]
