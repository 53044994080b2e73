"""Models at other shapes than the static ones that they declare."""

import numpy as np
import onnx
import pytest
from onnx import helper

from convc.frontends.onnx.reshaping import reshaped
from convc.frontends.onnx.sizes import follow


@pytest.mark.parametrize(
    ("source", "target", "now", "expected"),
    [
        ((1, 512, 7, 7), (1, 25088), (4, 512, 7, 7), (4, 25088)),
        ((1, 512, 1, 1), (1, 512), (4, 512, 1, 1), (4, 512)),
        ((1, 24), (1, 24, 1, 1), (4, 24), (4, 24, 1, 1)),
        ((1, 116, 28, 28), (1, 2, 58, 28, 28), (4, 116, 32, 30), (4, 2, 58, 32, 30)),
        ((1, 2, 58, 28, 28), (1, 116, 28, 28), (4, 2, 58, 32, 30), (4, 116, 32, 30)),
        ((1, 8, 14, 14), (1, 8, 196), (2, 8, 7, 8), (2, 8, 56)),
        # windows of an image, a batch of which lies in front of them
        ((1, 8, 8, 8, 8, 96), (64, 64, 96), (4, 8, 8, 8, 8, 96), (256, 64, 96)),
        ((64, 64, 96), (1, 8, 8, 8, 8, 96), (256, 64, 96), (4, 8, 8, 8, 8, 96)),
        # heads of an attention, beside the batch
        ((10, 1, 64), (10, 8, 8), (10, 4, 64), (10, 32, 8)),
        ((), (1,), (), (1,)),
        ((1, 1), (), (1, 1), ()),
    ],
)
def test_a_shape_follows_where_axes_can_be_told_apart(source, target, now, expected):
    assert follow(source, target, now) == expected


@pytest.mark.parametrize(
    ("source", "target", "now"),
    [
        ((1, 784, 8), (1, 28, 28, 8), (1, 1024, 8)),  # an image of what height?
        ((1, 64, 28, 28), (1, 32, 1568), (1, 64, 32, 32)),
        ((64, 8, 3), (1, 8, 8, 8, 3), (100, 8, 3)),
        ((2, 3), (3, 2), (4, 3)),
    ],
)
def test_a_shape_that_does_not_follow(source, target, now):
    assert follow(source, target, now) is None


@pytest.fixture
def at(both_run, imported):
    """`at(model, x)`: what the import of a model of 1x4x6x6 makes of an input of another shape, which is what
    onnxruntime makes of it with the model reshaped."""

    def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
        shapes = {"x": x.shape}
        both_run(reshaped(model, shapes, None), {"x": x}, instead=model, shapes=shapes)
        return imported(model, {"x": x}, shapes=shapes)["y"]

    return run


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def image_model(model_of, nodes, **weights):
    return model_of(nodes, {"x": (1, 4, 6, 6)}, ["y"], weights=weights)


def shuffle(model_of, first=(1, 2, 2, 6, 6)):
    nodes = [
        helper.make_node("Reshape", ["x", "first"], ["a"], name="split"),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["b", "second"], ["y"], name="join"),
    ]
    return image_model(model_of, nodes, first=np.int64(first), second=np.int64([1, 4, 6, 6]))


@pytest.mark.parametrize("shape", [(3, 4, 6, 6), (1, 4, 5, 8), (2, 4, 7, 3)])
def test_channels_shuffled_in_images_of_other_sizes(at, model_of, shape):
    x = random(*shape)
    np.testing.assert_array_equal(at(shuffle(model_of), x), x[:, [0, 2, 1, 3]].astype(np.float64))


def test_a_model_that_allows_the_shapes_is_left_alone(model_of):
    model = shuffle(model_of)
    before = model.SerializeToString()
    assert reshaped(model, {"x": (1, 4, 6, 6)}, None) is model
    assert reshaped(model, {"x": (3, 4, 6, 6)}, None) is not model
    assert model.SerializeToString() == before
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    assert reshaped(model, {"x": (5, 4, 6, 6)}, None) is model


def test_a_shape_that_is_computed_is_left_alone(at, model_of):
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], end=1),
        helper.make_node("Concat", ["shape", "rest"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["y"]),
    ]
    model = image_model(model_of, nodes, rest=np.int64([-1]))
    assert list(reshaped(model, {"x": (3, 4, 2, 2)}, None).graph.node) == nodes
    assert at(model, random(3, 4, 2, 2)).shape == (3, 16)


def test_sizes_of_a_resize_keep_their_ratio(at, model_of):
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest")
    assert at(image_model(model_of, [node], sizes=np.int64([1, 4, 12, 18])), random(2, 4, 5, 5)).shape == (2, 4, 10, 15)


def test_sizes_of_some_axes(at, model_of):
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest", axes=[3, 2])
    assert at(image_model(model_of, [node], sizes=np.int64([12, 18])), random(2, 4, 5, 7)).shape == (2, 4, 15, 14)


def test_a_pooled_pixel_grows_to_what_it_is_joined_with(at, model_of):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Resize", ["p", "", "", "sizes"], ["r"], mode="linear"),
        helper.make_node("Concat", ["x", "r"], ["y"], axis=1),
    ]
    x = random(2, 4, 6, 9)
    y = at(image_model(model_of, nodes, sizes=np.int64([1, 4, 6, 6])), x)
    np.testing.assert_allclose(y[:, 4:], np.broadcast_to(x.mean((2, 3), keepdims=True), x.shape), rtol=1e-4, atol=1e-6)


def test_a_minus_one_decides_where_nothing_else_does(at, model_of):
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    assert at(image_model(model_of, [node], s=np.int64([0, 2, -1])), random(1, 4, 6, 7)).shape == (1, 2, 84)


def test_a_minus_one_written_for_a_batch_of_one(at, model_of):
    """It would put all images into one row."""
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    assert at(image_model(model_of, [node], s=np.int64([1, -1])), random(3, 4, 6, 6)).shape == (3, 144)


def test_refusals_name_the_input_and_the_node(refusal, model_of):
    node = helper.make_node("Reshape", ["x", "s"], ["y"], name="flat")
    assert refusal(image_model(model_of, [node], s=np.int64([1, 2, 72])), shapes={"x": (1, 4, 6, 7)}) == (
        "input 'x' is declared as 1x4x6x6, the graph does not take 1x4x6x7: node 'flat' (Reshape): "
        "it makes 1x2x72 of 1x4x6x6, and nothing says what of 1x4x6x7"
    )
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    found = refusal(image_model(model_of, [node], w=np.ones((2, 4, 1, 1), np.float32)), shapes={"x": (1, 3, 6, 6)})
    assert found.startswith("input 'x' is declared as 1x4x6x6, the graph does not take 1x3x6x6: node 'y' (Conv): ")
