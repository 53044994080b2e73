"""Augmentations, which change images in training alone: at inference Keras leaves images as they are."""

from __future__ import annotations

from typing import Any, ClassVar

from convc.frontends.dsl.regularisation import Unchanged

_COLOUR = ("factor", "value_range", "data_format", "seed")
_WARP = ("fill_mode", "interpolation", "seed", "fill_value", "data_format")


class Augmentation(Unchanged):
    """An augmentation takes Keras's arguments, which nothing at inference depends on, and checks that they are there.

    Subclasses name them in Keras's order.
    """

    stateless = False
    arguments: ClassVar[tuple[str, ...]]
    required: ClassVar[int] = 0
    """How many of the arguments have no default."""

    def __init__(self, *values: Any, **options: Any) -> None:
        given = [*self.arguments[: len(values)], *(name for name in self.arguments if name in options)]
        super().__init__(**{name: value for name, value in options.items() if name not in self.arguments})
        if len(values) > len(self.arguments) or len(set(given)) < len(given):
            raise self.problem(
                f"expected the arguments {', '.join(self.arguments)}, each once, got {len(values)} by place"
            )
        if missing := [name for name in self.arguments[: self.required] if name not in given]:
            raise self.problem(f"expected the argument {missing[0]}")


class RandomBrightness(Augmentation):
    arguments, required = ("factor", "value_range", "seed"), 1


class RandomColorDegeneration(Augmentation):
    arguments, required = _COLOUR, 1


class RandomColorJitter(Augmentation):
    arguments = (
        "value_range",
        "brightness_factor",
        "contrast_factor",
        "saturation_factor",
        "hue_factor",
        "seed",
        "data_format",
    )


class RandomContrast(Augmentation):
    arguments, required = ("factor", "value_range", "seed"), 1


class RandomErasing(Augmentation):
    arguments = ("factor", "scale", "fill_value", "value_range", "seed", "data_format")


class RandomFlip(Augmentation):
    arguments = ("mode", "seed", "data_format")


class RandomGaussianBlur(Augmentation):
    arguments = ("factor", "kernel_size", "sigma", "value_range", "data_format", "seed")


class RandomGrayscale(Augmentation):
    arguments = ("factor", "data_format", "seed")


class RandomHue(Augmentation):
    arguments, required = _COLOUR, 1


class RandomInvert(Augmentation):
    arguments = ("factor", "value_range", "seed", "data_format")


class RandomPosterization(Augmentation):
    arguments, required = _COLOUR, 1


class RandomRotation(Augmentation):
    arguments, required = ("factor", *_WARP), 1


class RandomSaturation(Augmentation):
    arguments, required = _COLOUR, 1


class RandomSharpness(Augmentation):
    arguments, required = _COLOUR, 1


class RandomShear(Augmentation):
    arguments = ("x_factor", "y_factor", "interpolation", "fill_mode", "fill_value", "data_format", "seed")


class RandomTranslation(Augmentation):
    arguments, required = ("height_factor", "width_factor", *_WARP), 2


class RandomZoom(Augmentation):
    arguments, required = ("height_factor", "width_factor", *_WARP), 1
