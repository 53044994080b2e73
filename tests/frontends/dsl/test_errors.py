"""A wrong description is refused where it is written, in one line: the layer, what was expected, what was given."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from convc.frontends import dsl

IMAGE = (8, 8, 4)


def image() -> dsl.SymbolicTensor:
    return dsl.Input(IMAGE, name="image")


ARGUMENTS = [
    (lambda: dsl.Conv2D(0, 3), "filters: expected a positive integer, got 0"),
    (lambda: dsl.Conv2D(2.5, 3), "filters: expected a positive integer, got 2.5"),
    (lambda: dsl.Conv2D(4, 0), "kernel_size: expected an integer of at least 1 or a tuple of 2, got 0"),
    (lambda: dsl.Conv2D(4, (3, 3, 3)), "kernel_size: expected an integer of at least 1 or a tuple of 2, got (3, 3, 3)"),
    (lambda: dsl.Conv1D(4, "3"), "kernel_size: expected an integer of at least 1, got '3'"),
    (lambda: dsl.Conv2D(4, True), "kernel_size: expected an integer of at least 1 or a tuple of 2, got True"),
    (lambda: dsl.Conv2D(4, 3, strides=-1), "strides: expected an integer of at least 1 or a tuple of 2, got -1"),
    (lambda: dsl.Conv2D(4, 3, padding="full"), "padding: expected 'valid' or 'same', got 'full'"),
    (lambda: dsl.Conv2D(4, 3, padding="causal"), "padding: expected 'valid' or 'same', got 'causal'"),
    (
        lambda: dsl.Conv2D(4, 3, data_format="NCHW"),
        "data_format: expected 'channels_last' or 'channels_first', got 'NCHW'",
    ),
    (
        lambda: dsl.Conv2D(4, 3, data_format="channels_first", activation="softmax"),
        "activation: expected a function of each element with data_format 'channels_first', got 'softmax': add an "
        "Activation",
    ),
    (
        lambda: dsl.Conv2D(4, 3, strides=2, dilation_rate=2),
        "expected strides or dilation_rate to be 1, got strides (2, 2) and dilation_rate (2, 2)",
    ),
    (lambda: dsl.Conv2D(4, 3, groups=3), "expected filters divisible by groups, got 4 filters and 3 groups"),
    (lambda: dsl.Conv2D(4, 3, colour="red"), "got the unknown argument colour='red'"),
    (
        lambda: dsl.Conv2D(4, 3, dtype="float16"),
        "dtype: expected 'float32', which all layers compute in, got 'float16'",
    ),
    (lambda: dsl.Conv2D(4, 3, activation=3), "activation: expected a name or a function, got 3"),
    (
        lambda: dsl.Conv2DTranspose(4, 3, strides=2, output_padding=2),
        "output_padding: expected less than the strides (2, 2), got (2, 2)",
    ),
    (
        lambda: dsl.MaxPooling2D(pool_size=(2,)),
        "pool_size: expected an integer of at least 1 or a tuple of 2, got (2,)",
    ),
    (lambda: dsl.LSTM(0), "units: expected a positive integer, got 0"),
    (
        lambda: dsl.GRU(4, recurrent_activation="gelu"),
        "recurrent_activation: expected one of tanh, sigmoid, relu, linear, hard_sigmoid, sparse_sigmoid, softplus, "
        "softsign, elu, leaky_relu in a recurrent layer, got 'gelu'",
    ),
    (
        lambda: dsl.LSTM(4, stateful=True),
        "stateful: expected False, for a network keeps nothing between runs, got True",
    ),
    (
        lambda: dsl.Bidirectional(dsl.Dense(4, name="d")),
        "layer: expected a SimpleRNN, LSTM or GRU layer, got <Dense name=d>",
    ),
    (
        lambda: dsl.Bidirectional(dsl.LSTM(4), merge_mode="max"),
        "merge_mode: expected 'concat' or 'sum' or 'mul' or 'ave', got 'max'",
    ),
    (
        lambda: dsl.Bidirectional(dsl.LSTM(4), backward_layer=dsl.LSTM(4)),
        "expected layers with different go_backwards, got False for both",
    ),
    (
        lambda: dsl.Bidirectional(dsl.LSTM(4), backward_layer=dsl.LSTM(4, go_backwards=True, return_state=True)),
        "backward_layer: expected return_state=False, as layer has, got True",
    ),
    (lambda: dsl.TimeDistributed("relu"), "layer: expected a layer, got 'relu'"),
    (lambda: dsl.RandomRotation(seed=1), "expected the argument factor"),
    (
        lambda: dsl.RandomFlip("horizontal", 1, mode="vertical"),
        "expected the arguments mode, seed, data_format, each once, got 2 by place",
    ),
    (lambda: dsl.GroupNormalization(0), "groups: expected a positive integer, or -1 for a group a channel, got 0"),
    (lambda: dsl.Resizing(4, 0), "width: expected a positive integer, got 0"),
    (lambda: dsl.Resizing(4, 4, antialias=True), "antialias: expected False, got True"),
    (
        lambda: dsl.Resizing(4, 4, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True),
        "expected crop_to_aspect_ratio or pad_to_aspect_ratio, got both",
    ),
    (lambda: dsl.Dot([1, 2, 3]), "axes: expected an integer or one for each of two inputs, got [1, 2, 3]"),
    (lambda: dsl.Embedding(9, 2, mask_zero=True), "mask_zero: expected False, for no layer takes masks, got True"),
    (lambda: dsl.Dense(0), "units: expected a positive integer, got 0"),
    (lambda: dsl.Dropout(1.5), "rate: expected a number from 0 to 1, got 1.5"),
    (lambda: dsl.ReLU(max_value=-1), "max_value: expected a number of at least 0, got -1"),
    (lambda: dsl.LeakyReLU(negative_slope=None), "negative_slope: expected a number of at least 0, got None"),
    (lambda: dsl.Permute((0, 1)), "dims: expected the axes from 1 on, each once, got (0, 1)"),
    (lambda: dsl.Reshape((-1, -1)), "target_shape: expected positive integers and at most one -1, got (-1, -1)"),
    (lambda: dsl.Rescaling("a lot"), "scale: expected a number or an array, got 'a lot'"),
    (lambda: dsl.Normalization(mean=0.0), "expected mean and variance or neither, got 0.0 and None"),
    (
        lambda: dsl.ZeroPadding2D((1, 2, 3)),
        "padding: expected an integer, 2 integers or 2 pairs of integers, got (1, 2, 3)",
    ),
    (
        lambda: dsl.ZeroPadding2D(((1, -1), 0)),
        "padding: expected an integer of at least 0 or a tuple of 2, got (1, -1)",
    ),
    (
        lambda: dsl.UpSampling2D(interpolation="lanczos3"),
        "interpolation: expected 'nearest' or 'bilinear' or 'bicubic', got 'lanczos3'",
    ),
    (lambda: dsl.Input((3, 0)), "shape: expected a tuple of positive integers and None, got (3, 0)"),
    (lambda: dsl.Input(3), "shape: expected a tuple of positive integers and None, got 3"),
    (lambda: dsl.Input(), "expected either shape or batch_shape, got None and None"),
    (
        lambda: dsl.Input((3,), dtype="complex64"),
        "dtype: expected one of float32, uint8, int8, int16, uint16, int32, int64, bool, got 'complex64'",
    ),
]


@pytest.mark.parametrize(("make", "message"), ARGUMENTS, ids=[message[:40] for _, message in ARGUMENTS])
def test_arguments_are_checked(make: Callable[[], Any], message: str) -> None:
    dsl.clear_session()
    with pytest.raises(dsl.ModelError) as caught:
        make()
    layer, _, said = str(caught.value).partition(": ")
    assert re.fullmatch(r"layer '\w+' \(\w+\)", layer)
    assert said == message


CALLS = [
    (
        lambda: dsl.Conv2D(4, 3, name="stem")(dsl.Input((8, 8))),
        "layer 'stem' (Conv2D): expected an input of shape (batch, height, width, channels), got (None, 8, 8)",
    ),
    (
        lambda: dsl.Conv2D(4, 9, name="stem")(image()),
        "layer 'stem' (Conv2D): expected an input that the window fits into, got (None, 8, 8, 4) for kernel_size "
        "(9, 9), dilation_rate (1, 1) and padding 'valid'",
    ),
    (
        lambda: dsl.Conv2D(6, 3, groups=3, name="stem")(image()),
        "layer 'stem' (Conv2D): expected input channels divisible by 3 groups, got 4",
    ),
    (
        lambda: dsl.Conv2D(6, 3, name="stem")(dsl.Input((8, 8, None))),
        "layer 'stem' (Conv2D): expected an input whose number of channels (axis -1) is known, got (None, 8, 8, None)",
    ),
    (
        lambda: twice(dsl.Conv2D(6, 3, name="stem")),
        "layer 'stem' (Conv2D): expected an input like (None, 8, 8, 4), for which it is built, got (None, 8, 8, 3)",
    ),
    (
        lambda: dsl.Conv2D(4, 3, data_format="channels_first", name="stem")(dsl.Input((8, 8))),
        "layer 'stem' (Conv2D): expected an input of shape (batch, channels, height, width), got (None, 8, 8)",
    ),
    (
        lambda: dsl.LSTM(4, name="read")(dsl.Input((5, 3)), initial_state=dsl.Input((4,))),
        "layer 'read' (LSTM): expected one or 3 inputs, got 2",
    ),
    (
        lambda: dsl.GRU(4, name="read")(dsl.Input((5, 3)), initial_state=dsl.Input((3,))),
        "layer 'read' (GRU): initial_state: expected states of shape (batch, 4), got (None, 3)",
    ),
    (
        lambda: dsl.TimeDistributed(dsl.Dense(3), name="each")(dsl.Input((3,))),
        "layer 'each' (TimeDistributed): expected an input of shape (batch, steps, ...), got (None, 3)",
    ),
    (
        lambda: dsl.TimeDistributed(dsl.Conv2D(3, 3), name="each")(dsl.Input((3, None, 8, 1))),
        "layer 'each' (TimeDistributed): expected steps whose sizes are known, got (None, 3, None, 8, 1)",
    ),
    (
        lambda: dsl.GroupNormalization(3, name="gn")(image()),
        "layer 'gn' (GroupNormalization): expected channels divisible by 3 groups, got 4",
    ),
    (
        lambda: dsl.RMSNormalization(axis=1, name="rms")(image()),
        "layer 'rms' (RMSNormalization): axis: expected the last axes of an input of rank 4, got 1",
    ),
    (
        lambda: dsl.Dot(1, name="dot")([dsl.Input((3,)), dsl.Input((4,))]),
        "layer 'dot' (Dot): expected as many elements along axes 1 and 1, got (None, 3) and (None, 4)",
    ),
    (
        lambda: dsl.MaxPooling2D(9, name="pool")(image()),
        "layer 'pool' (MaxPooling2D): expected an input that the window fits into, got (None, 8, 8, 4) for "
        "pool_size (9, 9) and padding 'valid'",
    ),
    (
        lambda: dsl.Cropping2D(4, name="crop")(image()),
        "layer 'crop' (Cropping2D): cropping: expected less than the input (None, 8, 8, 4) has, got ((4, 4), (4, 4))",
    ),
    (
        lambda: dsl.Reshape((3, 5), name="shape")(image()),
        "layer 'shape' (Reshape): expected a target_shape of 256 elements for (None, 8, 8, 4), got (3, 5)",
    ),
    (
        lambda: dsl.Permute((2, 1), name="turn")(image()),
        "layer 'turn' (Permute): expected an input of 2 axes beside the batch's, got (None, 8, 8, 4)",
    ),
    (
        lambda: dsl.Add(name="sum")([image(), dsl.Input((8, 7, 4))]),
        "layer 'sum' (Add): expected inputs of one shape, got (None, 8, 8, 4) and (None, 8, 7, 4)",
    ),
    (
        lambda: dsl.Add(name="sum")([dsl.Input((3,), 2), dsl.Input((3,), 4)]),
        "layer 'sum' (Add): expected inputs of one batch size, got (2, 3) and (4, 3)",
    ),
    (
        lambda: dsl.Add(name="sum")(image()),
        "layer 'sum' (Add): expected a list of tensors to merge, got "
        "<SymbolicTensor shape=(None, 8, 8, 4), from layer 'image'>",
    ),
    (
        lambda: dsl.Subtract(name="less")([dsl.Input((3,))] * 3),
        "layer 'less' (Subtract): expected two inputs, got 3",
    ),
    (
        lambda: dsl.Concatenate(name="cat")([image(), dsl.Input((8, 7, 4))]),
        "layer 'cat' (Concatenate): expected inputs of one shape but for axis 3, got (None, 8, 8, 4) and "
        "(None, 8, 7, 4)",
    ),
    (
        lambda: dsl.Concatenate(axis=0, name="cat")([image(), image()]),
        "layer 'cat' (Concatenate): axis: expected another axis than the batch's, got 0",
    ),
    (lambda: dsl.Dense(3, name="head")([image(), image()]), "layer 'head' (Dense): expected one input, got 2"),
    (
        lambda: dsl.Dense(3, name="head")(np.zeros((1, 3))),
        "layer 'head' (Dense): expected symbolic tensors, as Input() and layers return, got ndarray; "
        "convc.compile(model) makes a function of arrays",
    ),
    (
        lambda: dsl.BatchNormalization(axis=4, name="bn")(image()),
        "layer 'bn' (BatchNormalization): axis: expected an integer in [-4, 4) for an input of rank 4, got 4",
    ),
    (
        lambda: dsl.LayerNormalization(axis=[1, -3], name="ln")(image()),
        "layer 'ln' (LayerNormalization): axis: expected distinct axes other than the batch's, got [1, -3]",
    ),
    (
        lambda: dsl.Normalization(mean=[0.0, 1.0], variance=[1.0, 1.0], name="norm")(image()),
        "layer 'norm' (Normalization): expected a mean and a variance that broadcast to (4,), got (2,) and (2,)",
    ),
    (
        lambda: dsl.Rescaling([1.0, 2.0], name="scale")(image()),
        "layer 'scale' (Rescaling): scale: expected a shape that broadcasts to (None, 8, 8, 4), got (2,)",
    ),
    (
        lambda: dsl.Dense(3, kernel_initializer="zero", name="head")(dsl.Input((3,))),
        "layer 'head' (Dense): kernel_initializer: expected a function of a shape or one of zeros, ones, "
        "glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal, random_uniform, "
        "random_normal, orthogonal, truncated_normal, got 'zero'",
    ),
    (
        lambda: dsl.Conv2DTranspose(2, 2, padding="same", output_padding=0, name="up")(dsl.Input((1, 1, 2))),
        "layer 'up' (Conv2DTranspose): expected an output of at least one element, input (None, 1, 1, 2) gives (0, 0)",
    ),
    (
        lambda: dsl.Dense(3, name="head").count_params(),
        "layer 'head' (Dense): expected a layer that is built before its parameters are counted: call it first",
    ),
    (
        lambda: dsl.Dense(3, name="head").output,
        "layer 'head' (Dense): expected a layer that is called once, it is called 0 times",
    ),
]


def twice(layer: dsl.Layer) -> None:
    layer(image())
    layer(dsl.Input((8, 8, 3)))


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[message[:50] for _, message in CALLS])
def test_inputs_are_checked(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(dsl.ModelError) as caught:
        call()
    assert str(caught.value) == message


def model() -> dsl.Sequential:
    return dsl.Sequential([image(), dsl.Conv2D(2, 3, name="a")], name="net")


OUTSIDE = dsl.Input((3,), name="outside")

MODELS = [
    (
        lambda: model().set_weights([np.zeros((3, 3, 4, 2))]),
        "layer 'net' (Sequential): expected 2 arrays, got 1",
    ),
    (
        lambda: model().set_weights([np.zeros((3, 3, 2, 4)), np.zeros(2)]),
        "layer 'a' (Conv2D): expected weight 'kernel' of shape (3, 3, 4, 2), got (3, 3, 2, 4)",
    ),
    (
        lambda: model().get_layer("b"),
        "layer 'net' (Sequential): expected the name of one of its layers, got 'b'",
    ),
    (
        lambda: model().add(dsl.Dense(2, name="a")),
        "layer 'net' (Sequential): expected layers of different names, 'a' is there already",
    ),
    (
        lambda: model().add(dsl.Input((3,), name="late")),
        "layer 'net' (Sequential): expected an Input at the head only, got 'late' after 'a'",
    ),
    (
        lambda: dsl.Sequential([dsl.Dense(2)(OUTSIDE)], name="net"),
        "layer 'net' (Sequential): expected a layer or the result of Input(), got <SymbolicTensor shape=(None, 2), "
        "from layer 'dense'>",
    ),
    (
        lambda: dsl.Sequential([dsl.Dense(2)], name="net").to_onnx(),
        "layer 'net' (Sequential): expected layers and a known input shape: begin with Input(shape), or call "
        "build(shape)",
    ),
    (
        lambda: model()(dsl.Input((8, 8, 3))),
        "layer 'net' (Sequential): expected an input of shape (None, 8, 8, 4), got (None, 8, 8, 3)",
    ),
    (
        lambda: model()([image(), image()]),
        "layer 'net' (Sequential): expected 1 inputs, got 2",
    ),
    (
        lambda: model()(np.zeros((1, 8, 8, 4))),
        "layer 'net' (Sequential): inputs: expected symbolic tensors, as Input() and layers return, got ndarray; "
        "convc.compile(model) makes a function of arrays",
    ),
    (
        lambda: dsl.Model(dsl.Input((3,), name="other"), dsl.Dense(2)(OUTSIDE), name="net"),
        "layer 'net' (Functional): the outputs depend on input 'outside', which is not among the model's inputs: "
        "'other'",
    ),
    (
        lambda: dsl.Model(dsl.Dense(2, name="mid")(OUTSIDE), OUTSIDE, name="net"),
        "layer 'net' (Functional): inputs: expected tensors that Input() returns, got the output of <Dense name=mid>",
    ),
    (
        lambda: dsl.Model(OUTSIDE, dsl.Dense(2, name="x")(dsl.Dense(2, name="x")(OUTSIDE)), name="net"),
        "layer 'net' (Functional): expected layers of different names, 'x' is the name of 2",
    ),
    (
        lambda: dsl.Model([OUTSIDE, OUTSIDE], OUTSIDE, name="net"),
        "layer 'net' (Functional): inputs: expected each once, got outside, outside",
    ),
    (
        lambda: dsl.Sequential([OUTSIDE, dsl.Dense(2, kernel_initializer=lambda shape: 1, name="head")]).to_onnx(),
        "layer 'head' (Dense): expected weight 'kernel' of shape (3, 2), got ()",
    ),
    (
        lambda: dsl.Model({"a": OUTSIDE}, OUTSIDE, name="net"),
        "layer 'net' (Functional): inputs: expected symbolic tensors, as Input() and layers return, got dict; "
        "convc.compile(model) makes a function of arrays",
    ),
    (
        lambda: dsl.Sequential([OUTSIDE, dsl.Dense(1 << 30)], name="net").to_onnx(),
        "layer 'net' (Sequential): expected at most 536,870,912 parameters, got 4,294,967,296",
    ),
    (
        lambda: dsl.Sequential([OUTSIDE, dsl.Dense(2, activation=np.tanh, name="head")]).to_onnx(),
        "layer 'head' (Dense): activation: expected a function of symbolic tensors, tanh fails: loop of ufunc does not "
        "support argument 0 of type SymbolicTensor which has no callable tanh method",
    ),
    (
        lambda: dsl.Sequential([OUTSIDE, dsl.Dense(2, activation=dsl.PReLU(name="p"), name="head")]).to_onnx(),
        "layer 'head' (Dense): activation: expected a function without weights, p has some: add the layer",
    ),
]


@pytest.mark.parametrize(("make", "message"), MODELS, ids=[message[:60] for _, message in MODELS])
def test_models_are_checked(make: Callable[[], Any], message: str) -> None:
    dsl.clear_session()
    with pytest.raises(dsl.ModelError) as caught:
        make()
    assert str(caught.value) == message


def test_an_unknown_activation_is_answered_with_the_known_ones() -> None:
    with pytest.raises(dsl.ModelError, match=r"activation: expected one of linear, relu, relu6, .*, got 'rellu'"):
        dsl.Dense(3, activation="rellu")


def test_nothing_changes_when_weights_are_refused() -> None:
    net = model()
    before = net.get_weights()
    with pytest.raises(dsl.ModelError):
        net.set_weights([np.ones((3, 3, 4, 2)), np.ones(3)])
    np.testing.assert_array_equal(net.get_weights()[0], before[0])
