"""The ONNX that models are written as: valid, channels first inside, under the layers' names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from convc.frontends import dsl


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    dsl.clear_session()


def operators(model: dsl.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.to_onnx().graph.node)


def ordinary() -> dsl.Model:
    """What most networks are made of, a squeeze-and-excite block among it."""
    x = image = dsl.Input((16, 16, 3))
    for filters in (8, 16):
        y = dsl.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        y = dsl.ReLU(6.0)(dsl.BatchNormalization()(y))
        y = dsl.DepthwiseConv2D(3, padding="same", activation="silu")(y)
        gate = dsl.Reshape((1, 1, filters))(dsl.GlobalAveragePooling2D()(y))
        gate = dsl.Dense(filters, activation="sigmoid")(dsl.Conv2D(4, 1, activation="relu")(gate))
        y = dsl.Multiply()([y, gate])
        x = dsl.Concatenate()([dsl.Conv2D(filters, 1, strides=2)(x), y, dsl.PReLU(shared_axes=[1, 2])(y)])
    x = dsl.Softmax()(dsl.Cropping2D(1)(dsl.UpSampling2D()(dsl.ZeroPadding2D()(x))))
    return dsl.Model(image, dsl.Dense(5, activation="softmax")(dsl.GlobalMaxPooling2D()(x)))


def test_an_ordinary_network_is_transposed_once_at_its_input() -> None:
    assert operators(ordinary())["Transpose"] == 1


def test_an_image_is_transposed_back_at_the_output() -> None:
    model = dsl.Sequential([dsl.Input((8, 8, 3)), dsl.Conv2D(4, 3), dsl.MaxPooling2D(), dsl.Activation("softmax")])
    first, *_, last = model.to_onnx().graph.node
    assert [attribute.ints for attribute in first.attribute] == [[0, 3, 1, 2]]
    assert [attribute.ints for attribute in last.attribute] == [[0, 2, 3, 1]]
    assert operators(model)["Transpose"] == 2


def test_sequences_stay_channels_last() -> None:
    layers = [dsl.LayerNormalization(), dsl.Dense(4, activation="gelu"), dsl.Dense(6), dsl.Flatten()]
    assert operators(dsl.Sequential([dsl.Input((7, 6)), *layers]))["Transpose"] == 0


def test_a_flat_image_of_one_place_is_not_transposed() -> None:
    model = dsl.Sequential([dsl.Input((4, 4, 3)), dsl.Conv2D(8, 4), dsl.Flatten(), dsl.Dense(2)])
    assert operators(model)["Transpose"] == 1


def test_a_permutation_that_undoes_the_order_costs_nothing() -> None:
    """Channels first as the output is what the image is inside."""
    model = dsl.Sequential([dsl.Input((4, 4, 3)), dsl.Conv2D(8, 3), dsl.Permute((3, 1, 2))])
    assert operators(model) == {"Transpose": 1, "Conv": 1}


def test_names_are_those_of_layers() -> None:
    model = dsl.Sequential([dsl.Input((4, 4, 3), name="image"), dsl.Conv2D(8, 3, activation="relu", name="stem")])
    graph = model.to_onnx().graph
    assert [value.name for value in graph.input] == ["image"]
    assert [value.name for value in graph.output] == ["stem"]
    assert [node.name for node in graph.node] == ["stem/Transpose", "stem/Conv", "stem/Relu", "stem/Transpose_1"]
    assert graph.node[-1].output[0] == "stem"
    assert [array.name for array in graph.initializer] == ["stem/kernel", "stem/bias"]


def test_a_shared_layer_has_its_weights_once() -> None:
    layer = dsl.Conv2D(3, 3, padding="same")
    image = dsl.Input((4, 4, 3))
    graph = dsl.Model(image, layer(layer(image))).to_onnx().graph
    assert [array.name for array in graph.initializer] == ["conv2d/kernel", "conv2d/bias"]
    assert [node.name for node in graph.node if node.op_type == "Conv"] == ["conv2d/Conv", "conv2d/Conv_1"]


def test_open_sizes_are_symbolic_and_the_batch_is_common() -> None:
    a, b = dsl.Input((None, 4, 3), name="a"), dsl.Input((3,), name="b")
    fixed = dsl.Input((2,), batch_size=5, name="c")
    graph = dsl.Model([a, b, fixed], [dsl.Multiply()([a, b]), dsl.Dense(1)(fixed)]).to_onnx().graph
    shapes = [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.input]
    assert shapes == [["batch", "a_axis1", 4, 3], ["batch", 3], [5, 2]]


def test_integer_images_are_converted_once() -> None:
    image = dsl.Input((4, 4, 3), dtype="uint8", name="image")
    model = dsl.Model(image, [dsl.Rescaling(1 / 255)(image), dsl.MaxPooling2D()(image)])
    assert operators(model)["Cast"] == 1
    assert model.to_onnx().graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8


@pytest.mark.parametrize("batch", [1, 3])
def test_onnxruntime_takes_it(batch: int, run_imported: Callable[..., Any]) -> None:
    proto = ordinary().to_onnx()
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((batch, 16, 16, 3)).astype(np.float32)
    feeds = {session.get_inputs()[0].name: x}
    (got,) = session.run(None, feeds)
    (want,) = run_imported(proto, feeds)
    np.testing.assert_allclose(got, want, atol=1e-5)
