"""The networks that Keras ships, with random weights: read, they compute what Keras does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's own
]

NETWORKS = [
    ("DenseNet121", 64),
    ("EfficientNetB0", 64),
    ("EfficientNetV2B0", 64),
    ("InceptionV3", 96),
    ("MobileNet", 64),
    ("MobileNetV2", 64),
    ("MobileNetV3Small", 64),
    ("NASNetMobile", 96),
    ("ResNet50", 64),
    ("ResNet50V2", 64),
    ("VGG16", 64),
    ("Xception", 96),
]
"""ConvNeXt is left out: it has a layer of its own, LayerScale, which is not among Keras's."""


@pytest.mark.parametrize(("name", "size"), NETWORKS, ids=[name for name, _ in NETWORKS])
def test_application(name: str, size: int, keras: Any, agrees: Callable[..., None]) -> None:
    network = getattr(keras.applications, name)
    model = network(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None)
    # MobileNetV3 adds numbers by operators, which are Rescaling layers here.
    agrees(model, summary=name != "MobileNetV3Small", tolerance=1e-4)
