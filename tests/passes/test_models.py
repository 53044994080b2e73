"""Small networks as exporters write them, simplified as one would by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from convc.frontends.onnx import import_model
from convc.ir.dialect import CompilerContext

PASSES = "canonicalise,recognise-activations,fold-pads,fold-batch-norm,fold-conv-scale,canonicalise"


class Net:
    """An ONNX graph being written; methods return the name of their node's result."""

    def __init__(self, **inputs):
        self.inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in inputs.items()]
        self.nodes, self.tensors = [], []
        self.rng = np.random.default_rng(len(inputs))

    def tensor(self, array):
        array = np.asarray(array, np.float32 if np.asarray(array).dtype.kind == "f" else np.int64)
        self.tensors.append(numpy_helper.from_array(array, f"t{len(self.tensors)}"))
        return self.tensors[-1].name

    def random(self, *shape, low=None):
        fan_in = math.prod(shape[1:]) or 1
        array = self.rng.standard_normal(shape) / math.sqrt(fan_in)
        return self.tensor(np.abs(array) + low if low is not None else array)

    def node(self, op_type, *operands, outputs=1, **attributes):
        names = [x if isinstance(x, str) else self.tensor(x) for x in operands]
        results = [f"v{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, names, results, **attributes))
        return results[0] if outputs == 1 else results

    def conv(self, x, i, o, k=1, group=1, bias=False, **attributes):
        pads = {} if k == 1 or "pads" in attributes else {"pads": [k // 2] * 4}
        operands = [x, self.random(o, i // group, k, k), *([self.random(o)] if bias else [])]
        return self.node("Conv", *operands, group=group, **pads, **attributes)

    def batch_norm(self, x, c):
        statistics = [self.random(c, low=0.5), self.random(c), self.random(c), self.random(c, low=0.5)]
        return self.node("BatchNormalization", x, *statistics)

    def conv_bn(self, x, i, o, k=1, **attributes):
        return self.batch_norm(self.conv(x, i, o, k, **attributes), o)

    def hard_swish(self, x):
        """As Paddle writes it."""
        gate = self.node("Clip", self.node("Add", x, 3.0), 0.0, 6.0)
        return self.node("Div", self.node("Mul", x, gate), 6.0)

    def imported(self, *outputs, opset=17):
        """The module that the graph is imported as, and its context."""
        values = []
        for name in outputs:
            values.append(helper.ValueInfoProto())
            values[-1].name = name
        graph = helper.make_graph(self.nodes, "net", self.inputs, values, self.tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        context = CompilerContext()
        return import_model(model, context), context


@pytest.fixture
def check(apply, operations):
    """The operations that are left of a network, counted. What it computes changes by no more than rounding."""

    def run(net, *outputs):
        module, context = net.imported(*outputs)
        apply(PASSES, module, context, tolerance=1e-5, scale=1.0)
        return dict(Counter(operations(module)))

    return run


def test_a_residual_block_is_convolutions_sums_and_activations(check):
    net = Net(x=(1, 3, 32, 32))
    stem = net.node("Relu", net.conv_bn("x", 3, 8, 7, strides=[2, 2], bias=True))
    x = net.node("MaxPool", stem, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = net.node("Relu", net.conv_bn(x, 8, 4))
    y = net.node("Relu", net.conv_bn(y, 4, 4, 3))
    y = net.node("Add", net.conv_bn(y, 4, 16), net.conv_bn(x, 8, 16))
    y = net.node("GlobalAveragePool", net.node("Relu", y))
    y = net.node("Gemm", net.node("Flatten", y), net.random(10, 16), net.random(10), transB=1)
    assert check(net, y) == {
        "conv": 5,
        "relu": 4,
        "pool max": 1,
        "add": 2,
        "reduce mean": 1,
        "reshape": 1,
        "matmul": 1,
    }


def test_an_inverted_residual_with_squeeze_and_excite(check):
    net = Net(x=(1, 8, 12, 12))
    y = net.hard_swish(net.conv_bn("x", 8, 16))
    y = net.node("Add", net.node("Mul", y, 0.7), -0.2)  # a learnt affine activation, before padding
    y = net.hard_swish(net.conv_bn(y, 16, 16, 5, group=16))
    gate = net.node("ReduceMean", net.node("ReduceMean", y, axes=[3], keepdims=1), axes=[2], keepdims=1)
    gate = net.node("Relu", net.node("Add", net.conv(gate, 16, 4), net.random(1, 4, 1, 1)))
    gate = net.node("Clip", net.node("Add", net.conv(gate, 4, 16), 3.0), 0.0, 6.0)
    y = net.node("Mul", y, net.node("Div", gate, 6.0))
    y = net.node("Add", net.conv_bn(y, 16, 8), "x")
    assert check(net, y) == {
        "conv": 5,
        "hard_swish": 2,
        "add": 2,  # what comes before padding cannot be a bias
        "reduce mean": 1,
        "relu": 1,
        "hard_sigmoid": 1,
        "mul": 1,
    }


def test_a_network_in_nhwc_has_no_transpose_but_the_first(check):
    net = Net(x=(1, 16, 16, 3))

    def conv(x, i, o, k=1):
        y = net.conv(net.node("Transpose", x, perm=[0, 3, 1, 2]), i, o, k)
        y = net.node("Add", net.node("Transpose", y, perm=[0, 2, 3, 1]), net.random(1, 1, 1, o))
        y = net.node("Mul", net.node("Sub", y, net.random(1, 1, 1, o)), net.random(1, 1, 1, o))
        return net.node("Add", y, net.random(1, 1, 1, o))

    x = net.node("Pad", "x", np.array([0, 1, 1, 0, 0, 1, 1, 0]))
    x = net.node("Transpose", x, perm=[0, 3, 1, 2])
    x = net.node("Transpose", net.conv(x, 3, 8, 3, pads=[0] * 4, bias=True), perm=[0, 2, 3, 1])
    x = net.node("Relu", x)
    y = net.node("Relu", conv(x, 8, 8, 3))
    x = net.node("Relu", net.node("Add", conv(y, 8, 8), x))
    x = net.node("Concat", x, conv(x, 8, 4), axis=3)
    y = net.node("ReduceMean", x, axes=[1, 2], keepdims=0)
    y = net.node("Softmax", net.node("Add", net.node("MatMul", y, net.random(12, 5)), net.random(5)))
    assert check(net, y) == {
        "transpose": 1,
        "conv": 4,
        "relu": 3,
        "add": 2,
        "concat": 1,
        "reduce mean": 1,
        "reshape": 1,
        "matmul": 1,
        "softmax": 1,
    }


def test_a_dense_block_keeps_a_scale_and_a_shift_for_each_join(check):
    net = Net(x=(1, 8, 6, 6))
    x = "x"
    for channels in (8, 12):
        y = net.conv_bn(net.node("Relu", net.batch_norm(x, channels)), channels, 8)
        y = net.conv(net.node("Relu", y), 8, 4, 3)
        x = net.node("Concat", x, y, axis=1)
    assert check(net, x) == {"mul": 2, "add": 2, "relu": 4, "conv": 4, "concat": 2}


def test_a_transformer_block(check):
    net = Net(x=(1, 12, 16))

    def layer_norm(x):
        centred = net.node("Sub", x, net.node("ReduceMean", x, axes=[-1]))
        variance = net.node("ReduceMean", net.node("Pow", centred, 2.0), axes=[-1])
        y = net.node("Div", centred, net.node("Sqrt", net.node("Add", variance, 1e-5)))
        return net.node("Add", net.node("Mul", y, net.random(16, low=0.5)), net.random(16))

    def dense(x, i, o):
        return net.node("Add", net.node("MatMul", x, net.random(i, o)), net.random(o))

    def heads(x, perm):
        return net.node("Transpose", net.node("Reshape", x, np.array([0, 0, 4, 4])), perm=perm)

    y = layer_norm("x")
    q, k, v = (dense(y, 16, 16) for _ in range(3))
    scores = net.node("MatMul", heads(q, [0, 2, 1, 3]), heads(k, [0, 2, 3, 1]))
    scores = net.node("Exp", net.node("Div", scores, 2.0))
    scores = net.node("Div", scores, net.node("ReduceSum", scores, np.array([-1]), keepdims=1))
    y = net.node("Transpose", net.node("MatMul", scores, heads(v, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    x = net.node("Add", "x", dense(net.node("Reshape", y, np.array([0, 0, 16])), 16, 16))
    y = dense(layer_norm(x), 16, 32)
    y = net.node("Mul", net.node("Mul", y, 0.5), net.node("Add", net.node("Erf", net.node("Div", y, 2**0.5)), 1.0))
    left = check(net, net.node("Add", x, dense(y, 32, 16)))
    # Scales and shifts of the layer normalisations are in the products after them.
    assert left == {
        "reduce mean": 4,
        "sub": 2,
        "mul": 3,  # two squares, and the scores' scale
        "add": 10,
        "sqrt": 2,
        "div": 2,
        "matmul": 8,
        "reshape": 4,
        "transpose": 4,
        "softmax": 1,
        "gelu": 1,
    }


def test_a_decoder_of_transposed_convolutions(check):
    net = Net(x=(1, 8, 6, 6), skip=(1, 4, 12, 12))
    y = net.node("ConvTranspose", "x", net.random(8, 4, 3, 3), strides=[2, 2])
    y = net.node("Slice", y, np.array([0, 0]), np.array([-1, -1]), np.array([2, 3]))
    y = net.node("Relu", net.batch_norm(y, 4))
    y = net.node("Concat", y, "skip", axis=1)
    y = net.node("Relu", net.conv_bn(net.node("Pad", y, np.array([0, 0, 1, 1, 0, 0, 1, 1])), 8, 4, 3, pads=[0] * 4))
    y = net.node("Resize", y, "", np.array([1.0, 1, 2, 2]), mode="linear")
    y = net.node("Div", 1.0, net.node("Add", net.node("Exp", net.node("Neg", net.conv(y, 4, 1, bias=True))), 1.0))
    assert check(net, y) == {"conv_transpose": 1, "relu": 2, "concat": 1, "conv": 2, "resize": 1, "sigmoid": 1}


def test_a_detector_with_focus_and_pyramid_pooling(check):
    net = Net(x=(1, 3, 16, 16))
    corners = []
    for i in (0, 1):
        rows = net.node("Slice", "x", np.array([i]), np.array([2**31]), np.array([2]), np.array([2]))
        for j in (0, 1):
            corners.append(net.node("Slice", rows, np.array([j]), np.array([2**31]), np.array([3]), np.array([2])))
    x = net.conv_bn(net.node("Concat", *corners, axis=1), 12, 8, 3)
    x = net.node("Mul", x, net.node("Sigmoid", x))
    pools = [net.node("MaxPool", x, kernel_shape=[k, k], pads=[k // 2] * 4) for k in (3, 5)]
    x = net.conv_bn(net.node("Concat", x, *pools, axis=1), 24, 8)
    x = net.node("Mul", net.node("Sigmoid", x), x)
    box, score = net.conv(x, 8, 4, bias=True), net.node("Sigmoid", net.conv(x, 8, 1, bias=True))
    y = net.node("Concat", box, score, axis=1)
    y = net.node("Transpose", net.node("Reshape", y, np.array([0, 5, -1])), perm=[0, 2, 1])
    assert check(net, y) == {
        "slice": 4,
        "concat": 3,
        "conv": 4,
        "silu": 2,
        "pool max": 2,
        "sigmoid": 1,
        "reshape": 1,
        "transpose": 1,
    }


def test_a_shuffle_unit_keeps_its_shuffle(check):
    net = Net(x=(1, 8, 6, 6))
    left, right = net.node("Split", "x", np.array([4, 4]), axis=1, outputs=2)
    y = net.node("Relu", net.conv_bn(net.conv_bn(right, 4, 4, 3, group=4), 4, 4))
    y = net.node("Concat", left, y, axis=1)
    y = net.node("Transpose", net.node("Reshape", y, np.array([0, 2, 4, 6, 6])), perm=[0, 2, 1, 3, 4])
    y = net.node("Reshape", y, np.array([0, 8, 6, 6]))
    assert check(net, y) == {"slice": 2, "conv": 2, "relu": 1, "concat": 1, "reshape": 2, "transpose": 1}
