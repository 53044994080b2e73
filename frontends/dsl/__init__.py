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
from convc.frontends.dsl.augmentation import (
    RandomBrightness,
    RandomColorDegeneration,
    RandomColorJitter,
    RandomContrast,
    RandomErasing,
    RandomFlip,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomHue,
    RandomInvert,
    RandomPosterization,
    RandomRotation,
    RandomSaturation,
    RandomSharpness,
    RandomShear,
    RandomTranslation,
    RandomZoom,
)
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
from convc.frontends.dsl.convolution import (
    Conv1D,
    Conv2D,
    Conv3D,
    DepthwiseConv1D,
    DepthwiseConv2D,
    SeparableConv1D,
    SeparableConv2D,
)
from convc.frontends.dsl.core import Dense, Input, InputLayer
from convc.frontends.dsl.grouped import GroupNormalization, RMSNormalization, UnitNormalization
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
from convc.frontends.dsl.recurrent import GRU, LSTM, SimpleRNN
from convc.frontends.dsl.regularisation import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    Identity,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from convc.frontends.dsl.resizing import CenterCrop, Resizing
from convc.frontends.dsl.scaling import Normalization, Rescaling
from convc.frontends.dsl.sequences import Dot, Embedding, RepeatVector
from convc.frontends.dsl.tensor import SymbolicTensor
from convc.frontends.dsl.transposed import Conv1DTranspose, Conv2DTranspose, Conv3DTranspose
from convc.frontends.dsl.wrappers import Bidirectional, TimeDistributed

__all__ = [
    "ELU",
    "GRU",
    "LSTM",
    "Activation",
    "ActivityRegularization",
    "Add",
    "AlphaDropout",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "BatchNormalization",
    "Bidirectional",
    "CenterCrop",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Dot",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "GroupNormalization",
    "Identity",
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
    "RMSNormalization",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "Resizing",
    "SeparableConv1D",
    "SeparableConv2D",
    "Sequential",
    "SimpleRNN",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "Subtract",
    "SymbolicTensor",
    "TimeDistributed",
    "UnitNormalization",
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
