"""Networks of static shapes, one image at a time: they build and agree with onnxruntime as they are, for four images
at once, and where the graph allows for images of another size.

    CONVC_ZOO=DIR make test-slow
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from convc.frontends.onnx import ImportProblem, import_model
from convc.ir.dialect import CompilerContext
from convc.verify import Reference

FOLDER = os.environ.get("CONVC_ZOO", "")
MODELS = sorted(Path(FOLDER).glob("*.onnx")) if FOLDER else []
FLATTEN_AN_IMAGE = {"light_bvlc_alexnet", "light_inception_v1", "light_shufflenet", "vgg16"}
"""Their first fully connected layer has a weight for each pixel."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not MODELS, reason="CONVC_ZOO names no folder with models")]
each_model = pytest.mark.parametrize("path", MODELS, ids=[path.stem for path in MODELS])


def declared(path: Path) -> tuple[str, list[int]]:
    """The name and shape of a network's only input."""
    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    (image,) = (value for value in graph.input if value.name not in weights)
    return image.name, [dim.dim_value for dim in image.type.tensor_type.shape.dim]


@each_model
def test_as_it_is(path: Path, agrees: Callable[..., object]) -> None:
    agrees(path)


@each_model
def test_four_images_at_once(path: Path, agrees: Callable[..., object]) -> None:
    """The outputs are those that onnxruntime computes of each image with the model as it was exported."""
    name, (_, *image) = declared(path)
    single = Reference(path)

    def one_by_one(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = [single({name: inputs[name][i : i + 1]}) for i in range(4)]
        return {key: np.concatenate([output[key] for output in outputs]) for key in single.output_names}

    agrees(path, {name: (4, *image)}, one_by_one)


@each_model
def test_images_of_another_size(path: Path, agrees: Callable[..., object]) -> None:
    name, (batch, channels, height, width) = declared(path)
    shapes = {name: (batch, channels, height + 32, width - 32)}
    if path.stem in FLATTEN_AN_IMAGE:
        with pytest.raises(
            ImportProblem, match=r"^input '.*' is declared as .*, the graph does not take .*: node '.*'"
        ):
            import_model(path, CompilerContext(), shapes)
    else:
        agrees(path, shapes)
