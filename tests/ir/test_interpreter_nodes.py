"""The interpreter: an operation means what onnxruntime computes of the node that it was imported from."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto


def node_case(op_type, *shapes, constants=(), opset=18, dtype="float32", outputs=1, **attributes):
    return pytest.param(
        (op_type, shapes, constants, opset, dtype, outputs, attributes),
        id=f"{op_type}-{'-'.join('x'.join(map(str, shape)) for shape in shapes)}-{attributes or ''}",
    )


RNG = np.random.default_rng(7)


def w(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def f32(*values):
    return np.array(values, np.float32)


NODES = [
    # convolutions of any rank, group, stride, dilation and padding
    node_case("Conv", (2, 3, 9), constants=(w(4, 3, 3), w(4)), strides=[2], pads=[1, 0]),
    node_case("Conv", (1, 4, 7, 9), constants=(w(6, 2, 3, 2),), group=2, pads=[1, 0, 2, 1], dilations=[2, 1]),
    node_case("Conv", (1, 4, 7, 9), constants=(w(8, 1, 3, 3), w(8)), group=4, strides=[2, 3]),
    node_case("Conv", (1, 4, 7, 9), constants=(w(5, 4, 1, 1),)),
    node_case("Conv", (1, 2, 4, 5, 6), constants=(w(3, 2, 2, 3, 3),), pads=[1, 1, 1, 1, 1, 1]),
    node_case("ConvTranspose", (1, 4, 5, 6), constants=(w(4, 3, 3, 3), w(3)), strides=[2, 2], output_padding=[1, 0]),
    node_case("ConvTranspose", (2, 4, 5), constants=(w(4, 2, 3),), group=2, dilations=[2], pads=[1, 2]),
    node_case("ConvTranspose", (1, 2, 3, 4, 3), constants=(w(2, 2, 2, 1, 3),), strides=[2, 1, 2]),
    # pools: what padding counts, and windows that reach beyond it
    node_case("MaxPool", (1, 3, 7, 8), kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    node_case("MaxPool", (1, 3, 7, 7), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, dilations=[2, 1]),
    node_case("MaxPool", (1, 3, 7, 7), kernel_shape=[2, 2], dtype="uint8"),
    node_case("AveragePool", (1, 3, 7, 7), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    node_case("AveragePool", (1, 3, 7, 7), kernel_shape=[3, 3], pads=[1, 1, 2, 2], count_include_pad=1),
    node_case("AveragePool", (1, 3, 6, 6), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    node_case(
        "AveragePool",
        (1, 3, 8, 8),
        opset=19,
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        count_include_pad=1,
        ceil_mode=1,
    ),
    node_case("AveragePool", (1, 3, 9), opset=19, kernel_shape=[3], dilations=[2], pads=[1, 1]),
    node_case("GlobalAveragePool", (2, 3, 4, 5)),
    # products
    node_case("MatMul", (2, 3, 4), (4, 5)),
    node_case("MatMul", (2, 1, 3, 4), (3, 4, 5)),
    node_case("Gemm", (3, 4), (5, 4), (5,), transB=1, alpha=0.5),
    # reductions
    *(
        node_case(f"Reduce{kind}", (2, 3, 4), constants=(ints(0, 2),), keepdims=keep)
        for kind in ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
        for keep in (0, 1)
    ),
    node_case("ReduceSum", (2, 3, 4), constants=(ints(1),), dtype="int32"),
    node_case("ArgMax", (3, 7), axis=1, dtype="int32"),
    node_case("ArgMax", (3, 7), axis=1, keepdims=0, select_last_index=1, dtype="int32"),
    node_case("ArgMin", (3, 7), axis=0, select_last_index=1, dtype="int32"),
    node_case("Softmax", (2, 5, 3), axis=1),
    node_case("Softmax", (2, 5, 3), axis=1, opset=11),
    node_case("LogSoftmax", (2, 5), axis=-1),
    node_case("LRN", (2, 7, 3, 3), size=5, alpha=0.3, beta=0.6, bias=1.5),
    node_case("LRN", (1, 4, 3, 2), size=3, beta=1.0),
    node_case("BatchNormalization", (2, 4, 3, 3), constants=(w(4), w(4), w(4), np.abs(w(4)))),
    node_case("BatchNormalization", (2, 4), constants=(w(4), w(4), w(4), np.abs(w(4))), epsilon=0.1),
    # movements
    node_case("Reshape", (2, 3, 4), constants=(ints(4, -1),)),
    node_case("Transpose", (2, 3, 4), perm=[2, 0, 1]),
    node_case("Expand", (3, 1), constants=(ints(2, 1, 4),)),
    node_case("Concat", (2, 3), (2, 1), (2, 4), axis=1),
    node_case("Split", (2, 7), constants=(ints(3, 4),), axis=1, outputs=2),
    node_case("Slice", (6, 7), constants=(ints(1, 6), ints(5, -8), ints(0, 1), ints(2, -3))),
    *(
        node_case("Pad", (2, 5, 6), constants=(ints(0, 2, 1, 0, 1, 3), f32(1.5).reshape(())), mode=mode)
        for mode in ("constant", "edge", "reflect")
    ),
    node_case("Pad", (2, 5, 6), constants=(ints(0, 2, 1, 0, 1, 3),), mode="wrap", opset=19),
    node_case("Pad", (2, 5, 6), constants=(ints(0, -2, 1, 0, 1, -3),)),
    *(
        node_case("Cast", (3, 4), to=to)
        for to in (TensorProto.INT32, TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.DOUBLE)
    ),
    node_case("Cast", (3, 4), to=TensorProto.FLOAT, dtype="bool"),
]


@pytest.mark.parametrize("case", NODES)
def test_a_node_means_what_onnxruntime_computes(check, model, random, case):
    op_type, shapes, constants, opset, dtype, outputs, attributes = case
    rng = np.random.default_rng(3)
    inputs = [random(shape, dtype, rng) for shape in shapes]
    proto = model(op_type, [(shape, dtype) for shape in shapes], constants, opset, outputs, **attributes)
    check(proto, inputs)


GRIDS = [
    (mode, padding, align)
    for mode in ("linear", "nearest", "cubic")
    for padding in ("zeros", "border", "reflection")
    for align in (0, 1)
]


@pytest.mark.parametrize(("mode", "padding_mode", "align_corners"), GRIDS)
def test_samples_mean_what_onnxruntime_computes(check, model, random, mode, padding_mode, align_corners):
    attributes = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    proto = model("GridSample", [((2, 3, 5, 6), "float32"), ((2, 4, 7, 2), "float32")], opset=20, **attributes)
    rng = np.random.default_rng(3)
    check(proto, [random((2, 3, 5, 6), "float32", rng), random((2, 4, 7, 2), "float32", rng)], dtype=np.float64)


def test_gathers_of_computed_indices_mean_what_onnxruntime_computes(check, model, random):
    proto = model("Gather", [((3, 5, 4), "float32"), ((2, 3), "int64")], axis=1)
    rng = np.random.default_rng(3)
    check(proto, [random((3, 5, 4), "float32", rng), rng.integers(-5, 5, (2, 3))])


@pytest.mark.parametrize("largest", [0, 1])
def test_selections_mean_what_onnxruntime_computes(check, model, largest):
    proto = model("TopK", [((4, 9), "float32")], (ints(5),), outputs=2, axis=-1, largest=largest)
    check(proto, [np.random.default_rng(3).integers(0, 4, (4, 9)).astype(np.float32)])


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_prefix_sums_mean_what_onnxruntime_computes(check, model, random, exclusive, reverse):
    proto = model("CumSum", [((4, 9), "float32")], (np.array(0),), exclusive=exclusive, reverse=reverse)
    check(proto, [random((4, 9), "float32", np.random.default_rng(3))])


def test_the_places_of_largest_elements_mean_what_onnxruntime_computes(check, model):
    proto = model("MaxPool", [((2, 3, 7, 8), "float32")], outputs=2, kernel_shape=[3, 2], pads=[1, 0, 1, 1])
    check(proto, [np.random.default_rng(3).integers(0, 5, (2, 3, 7, 8)).astype(np.float32)])


def test_half_precision_is_rounded_once_an_operation(check, model, random):
    proto = model("Conv", [((1, 64, 8, 8), "float16")], (w(8, 64, 3, 3).astype(np.float16),))
    check(proto, [random((1, 64, 8, 8), "float16", np.random.default_rng(3))], tolerance=1e-3)
