"""Networks described as in Keras: its names, arguments, defaults and meaning, channels last.

    from convc import dsl
    model = dsl.Sequential([dsl.Input((200, 200, 3)), dsl.Conv2D(10, 5)])
    model.summary()                    # conv2d (Conv2D)   (None, 196, 196, 10)   760
    exe = convc.compile(model)         # for a batch of one, or shapes={"input_layer": (8, 200, 200, 3)}
    y = exe(x)                         # x: [1, 200, 200, 3]

A model is a graph of layers with numpy weights. `to_onnx()` writes it, and all else goes through ONNX. Everything is
computed in float32 and as at inference. Errors are ModelError, in one line.
"""

from convc.frontends.dsl import activations
from convc.frontends.dsl.activation_layers import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from convc.frontends.dsl.borders import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from convc.frontends.dsl.convolution import Conv1D, Conv2D, Conv3D, DepthwiseConv2D, SeparableConv2D
from convc.frontends.dsl.core import Dense, Dropout, Input, InputLayer
from convc.frontends.dsl.initial import set_random_seed
from convc.frontends.dsl.layer import Layer
from convc.frontends.dsl.merging import Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract
from convc.frontends.dsl.model import Model, Sequential
from convc.frontends.dsl.movement import Flatten, Permute, Reshape
from convc.frontends.dsl.naming import clear_session
from convc.frontends.dsl.normalisation import BatchNormalization, LayerNormalization
from convc.frontends.dsl.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from convc.frontends.dsl.problem import ModelError
from convc.frontends.dsl.scaling import Normalization, Rescaling
from convc.frontends.dsl.tensor import SymbolicTensor
from convc.frontends.dsl.transposed import Conv2DTranspose

__all__ = [
    "ELU",
    "Activation",
    "Add",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "BatchNormalization",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Maximum",
    "Minimum",
    "Model",
    "ModelError",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "ReLU",
    "Rescaling",
    "Reshape",
    "SeparableConv2D",
    "Sequential",
    "Softmax",
    "Subtract",
    "SymbolicTensor",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
    "activations",
    "clear_session",
    "set_random_seed",
]
