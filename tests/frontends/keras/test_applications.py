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
    ("ConvNeXtTiny", 64),
    ("DenseNet121", 64),
    ("EfficientNetB0", 64),
    ("EfficientNetV2B0", 64),
    ("InceptionResNetV2", 96),
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
FEATURES = [
    ("DenseNet121", 64, {"pooling": "avg"}),
    ("MobileNetV3Large", 64, {"pooling": "avg"}),
    ("ResNet50V2", 64, {}),
    ("VGG19", 32, {"pooling": "max"}),
]
"""Without the classifier."""


@pytest.mark.parametrize(("name", "size"), NETWORKS, ids=[name for name, _ in NETWORKS])
def test_application(name: str, size: int, keras: Any, agrees: Callable[..., None]) -> None:
    network = getattr(keras.applications, name)
    model = network(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None)
    agrees(model, summary=False, tolerance=1e-4)


@pytest.mark.parametrize(("name", "size", "options"), FEATURES, ids=[name for name, *_ in FEATURES])
def test_features(name: str, size: int, options: dict[str, Any], keras: Any, agrees: Callable[..., None]) -> None:
    network = getattr(keras.applications, name)
    agrees(
        network(weights=None, input_shape=(size, size, 3), include_top=False, **options), summary=False, tolerance=1e-4
    )
