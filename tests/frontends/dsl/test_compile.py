"""Models of the DSL, compiled, against Keras."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convc
from convc import dsl

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's own
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),  # jax's, on any fork
]


def images(k: Any) -> Any:
    x = k.Input((9, 11, 4))
    return k.Model(
        x,
        [
            k.Conv2D(6, (3, 2), strides=2, padding="same", activation="gelu")(x),
            k.Conv2D(8, 3, dilation_rate=2, groups=2, use_bias=False)(x),
            k.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, activation="hard_silu")(x),
            k.SeparableConv2D(5, 3, padding="same", activation="relu6")(x),
            k.Conv2DTranspose(3, 3, strides=2, padding="same")(x),
            k.MaxPooling2D(3, 2, padding="same")(x),
            k.AveragePooling2D(3, 2, padding="same")(x),
            k.UpSampling2D(2, interpolation="bilinear")(x),
        ],
    )


def others(k: Any) -> Any:
    x, line, volume = k.Input((6, 5, 4)), k.Input((12, 4)), k.Input((4, 5, 6, 2))
    y = k.Conv2D(4, 1)(x)
    return k.Model(
        [x, line, volume],
        [
            k.Softmax(axis=(1, 2))(y),
            k.LayerNormalization(axis=[1, 3])(y),
            k.Flatten()(k.PReLU()(y)),
            k.Reshape((10, 12))(k.Permute((2, 3, 1))(y)),
            k.Multiply()([k.ZeroPadding2D(((0, 1), (2, 0)))(k.Cropping2D(1)(y)), k.GlobalMaxPooling2D()(x)]),
            k.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="mish")(line),
            k.Dense(3, activation="softmax")(k.LayerNormalization()(line)),
            k.Conv3D(3, 2, strides=2, padding="same", activation="elu")(volume),
        ],
    )


@pytest.mark.parametrize(("build", "batch"), [(images, 1), (others, 3)])
def test_compiled_is_keras(build: Callable[[Any], Any], batch: int, both: Any, close: Callable[..., None]) -> None:
    """Two models of eight layers each, rather than sixteen builds."""
    pair = both(build)
    feeds = pair.feeds(batch)
    want = pair.keras_outputs(feeds)  # first: jax's threads had better rest while the compiler forks
    shapes = {name: array.shape for name, array in feeds.items()} if batch > 1 else {}
    executable = convc.compile(pair.ours, shapes=shapes)
    close(list(executable.run(feeds).values()), want)


def test_the_package_does_not_load_the_dsl_until_it_is_asked_for() -> None:
    code = (
        "import sys, convc; assert 'onnx' not in sys.modules;"
        "from convc import dsl; dsl.Conv2D; assert not {'tvm', 'h5py', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def small() -> dsl.Model:
    dsl.clear_session()
    return dsl.Sequential([dsl.Input((8, 8, 3), name="image"), dsl.Conv2D(4, 3)])


def test_a_batch_of_one_is_the_default() -> None:
    executable = convc.compile(small())
    assert executable(np.zeros((1, 8, 8, 3), np.float32)).shape == (1, 6, 6, 4)


def test_sizes_that_stay_open_must_be_given() -> None:
    from convc.frontends.onnx import ImportProblem

    model = dsl.Sequential([dsl.Input((None, 8, 3), name="image"), dsl.Conv2D(4, 3)])
    with pytest.raises(ImportProblem, match="fix it with --shape image=1x1x8x3"):
        convc.compile(model)


def test_what_is_no_model_is_refused() -> None:
    from convc.frontends.onnx import ImportProblem

    with pytest.raises(
        ImportProblem, match=r"expected a model: a path, a ModelProto or an object with to_onnx\(\), got 3"
    ):
        convc.compile(3)  # type: ignore[arg-type]
    with pytest.raises(ImportProblem, match="expected layers and a known input shape"):
        convc.compile(dsl.Sequential([dsl.Dense(3)]))
