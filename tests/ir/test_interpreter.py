"""The interpreter: every operation means what onnxruntime computes, at every stage of a module."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from convc.frontends.onnx import import_model
from convc.ir.attributes import layout_of
from convc.ir.data import WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.functions import FUNCTIONS, Fn
from convc.ir.interpreter import interpret
from convc.ir.text import parse
from convc.ir.winograd import transformed_weight

TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint32": TensorProto.UINT32,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}


def model(op_type, inputs, constants=(), opset=18, outputs=1, **attributes):
    """A model of one node: inputs are (shape, dtype), constants are arrays or None for what is left out."""
    names = [f"x{i}" for i in range(len(inputs))]
    values = [helper.make_tensor_value_info(name, TYPES[dtype], shape) for name, (shape, dtype) in zip(names, inputs)]
    tensors = [
        helper.make_tensor(f"c{i}", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape, array.reshape(-1))
        for i, array in enumerate(constants)
        if array is not None
    ]
    operands = names + [f"c{i}" if array is not None else "" for i, array in enumerate(constants)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, operands, results, **attributes)
    graph = helper.make_graph([node], "one", values, [onnx_value(name) for name in results], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def onnx_value(name):
    value = helper.ValueInfoProto()
    value.name = name
    return value


def random(shape, dtype, rng, low=-2.0, high=2.0):
    array = rng.uniform(low, high, shape)
    return array.astype(dtype) if np.dtype(dtype).kind == "f" else np.round(array * 5).astype(dtype)


def check(proto, inputs, tolerance=1e-5, dtype=None):
    """The interpreter's results beside onnxruntime's: equal shapes, types and values (as max|diff| / max|ref|)."""
    feed = {value.name: array for value, array in zip(proto.graph.input, inputs)}
    context = CompilerContext()
    module = import_model(proto, context)
    found = interpret(module, context.weights, feed, dtype)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for (name, array), reference in zip(found.items(), session.run(None, feed), strict=True):
        assert array.shape == reference.shape, name
        if dtype is None:
            assert array.dtype == reference.dtype
        scale = np.abs(reference[np.isfinite(reference)]).max(initial=1e-30) if reference.dtype.kind == "f" else 1
        np.testing.assert_allclose(array / scale, reference / scale, rtol=0, atol=tolerance)


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
    *(node_case("Cast", (3, 4), to=TYPES[to]) for to in ("int32", "bool", "float16", "float64")),
    node_case("Cast", (3, 4), to=TYPES["float32"], dtype="bool"),
]


@pytest.mark.parametrize("case", NODES)
def test_a_node_means_what_onnxruntime_computes(case):
    op_type, shapes, constants, opset, dtype, outputs, attributes = case
    rng = np.random.default_rng(3)
    inputs = [random(shape, dtype, rng) for shape in shapes]
    proto = model(op_type, [(shape, dtype) for shape in shapes], constants, opset, outputs, **attributes)
    check(proto, inputs)


RESIZES = [
    ({"mode": mode, "coordinate_transformation_mode": coordinates, **extra}, scales)
    for mode, extra in (
        *(("nearest", {"nearest_mode": m}) for m in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")),
        ("linear", {}),
        ("cubic", {}),
        ("cubic", {"exclude_outside": 1, "cubic_coeff_a": -0.5}),
    )
    for coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    for scales in ((1, 1, 2, 3), (1, 1, 0.6, 0.5), (1, 1, 1.7, 0.8), (1, 1, 0.2, 0.2))
]


@pytest.mark.parametrize(("attributes", "scales"), RESIZES)
def test_resize_means_what_onnxruntime_computes(attributes, scales):
    proto = model("Resize", [((1, 2, 5, 6), "float32")], (None, f32(*scales)), opset=18, **attributes)
    check(proto, [random((1, 2, 5, 6), "float32", np.random.default_rng(3))])


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude_outside", [0, 1])
def test_resize_with_antialias(mode, exclude_outside):
    proto = model(
        "Resize",
        [((1, 2, 9, 8), "float32")],
        (None, f32(1, 1, 0.4, 0.6)),
        mode=mode,
        antialias=1,
        exclude_outside=exclude_outside,
    )
    check(proto, [random((1, 2, 9, 8), "float32", np.random.default_rng(3))])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_a_region_of_interest(mode):
    roi = f32(0, 0, -0.1, 0.2, 1, 1, 0.7, 1.3)
    proto = model(
        "Resize",
        [((1, 2, 5, 6), "float32")],
        (roi, None, ints(1, 2, 7, 4)),
        mode=mode,
        coordinate_transformation_mode="tf_crop_and_resize",
        extrapolation_value=9.0,
    )
    check(proto, [random((1, 2, 5, 6), "float32", np.random.default_rng(3))])


def test_resize_by_sizes_in_symmetric_coordinates():
    proto = model(
        "Resize",
        [((1, 1, 5, 6), "float32")],
        (None, f32(1, 1, 0.7, 1.3)),
        opset=19,
        mode="linear",
        coordinate_transformation_mode="half_pixel_symmetric",
    )
    check(proto, [random((1, 1, 5, 6), "float32", np.random.default_rng(3))])


FUNCTIONS_OF_ONNX = {
    "Abs": Fn.ABS, "Acos": Fn.ACOS, "Acosh": Fn.ACOSH, "Asin": Fn.ASIN, "Asinh": Fn.ASINH, "Atan": Fn.ATAN,
    "Atanh": Fn.ATANH, "Ceil": Fn.CEIL, "Celu": Fn.CELU, "Cos": Fn.COS, "Cosh": Fn.COSH, "Elu": Fn.ELU, "Erf": Fn.ERF,
    "Exp": Fn.EXP, "Floor": Fn.FLOOR, "HardSigmoid": Fn.HARD_SIGMOID, "HardSwish": Fn.HARD_SWISH,
    "LeakyRelu": Fn.LEAKY_RELU, "Log": Fn.LOG, "Mish": Fn.MISH, "Neg": Fn.NEG, "Reciprocal": Fn.RECIPROCAL,
    "Relu": Fn.RELU, "Round": Fn.ROUND, "Selu": Fn.SELU, "Shrink": Fn.SHRINK, "Sigmoid": Fn.SIGMOID, "Sign": Fn.SIGN,
    "Sin": Fn.SIN, "Sinh": Fn.SINH, "Softplus": Fn.SOFTPLUS, "Softsign": Fn.SOFTSIGN, "Sqrt": Fn.SQRT, "Tan": Fn.TAN,
    "Tanh": Fn.TANH, "ThresholdedRelu": Fn.THRESHOLDED_RELU, "IsInf": Fn.IS_INF, "IsNaN": Fn.IS_NAN, "Not": Fn.NOT,
    "Add": Fn.ADD, "Div": Fn.DIV, "Max": Fn.MAX, "Min": Fn.MIN, "Mod": Fn.MOD, "Mul": Fn.MUL, "Pow": Fn.POW,
    "PRelu": Fn.PRELU, "Sub": Fn.SUB, "And": Fn.AND, "Or": Fn.OR, "Xor": Fn.XOR, "Equal": Fn.EQUAL,
    "Greater": Fn.GREATER, "GreaterOrEqual": Fn.GREATER_OR_EQUAL, "Less": Fn.LESS, "LessOrEqual": Fn.LESS_OR_EQUAL,
    "Where": Fn.WHERE, "Gelu": Fn.GELU, "BitwiseAnd": Fn.BITWISE_AND, "BitwiseNot": Fn.BITWISE_NOT,
    "BitwiseOr": Fn.BITWISE_OR, "BitwiseXor": Fn.BITWISE_XOR,
}  # fmt: skip
_COMPOSED = {Fn.CLIP, Fn.FMOD, Fn.GELU_TANH, Fn.SHIFT_LEFT, Fn.SHIFT_RIGHT, Fn.SILU}
"""Tested below, or with the passes that make them."""
_BETWEEN = {"Acos": (-1, 1), "Asin": (-1, 1), "Atanh": (-0.9, 0.9), "Acosh": (1, 4), "Log": (0.1, 4), "Sqrt": (0, 4)}


def test_every_function_is_tested():
    assert set(FUNCTIONS_OF_ONNX.values()) | _COMPOSED == set(FUNCTIONS)


@pytest.mark.parametrize("op_type", FUNCTIONS_OF_ONNX)
def test_a_function_means_what_onnxruntime_computes(op_type):
    spec = FUNCTIONS[FUNCTIONS_OF_ONNX[op_type]]
    rng = np.random.default_rng(3)
    dtype = {"Mod": "int32", "Not": "bool", "And": "bool", "Or": "bool", "Xor": "bool"}.get(op_type, "float32")
    dtype = "int32" if op_type.startswith("Bitwise") else dtype
    inputs = [random((3, 4, 5), dtype, rng, *_BETWEEN.get(op_type, (-3, 3))) for _ in range(spec.arity)]
    if op_type == "Where":
        inputs[0] = inputs[0] > 0
    if op_type == "Pow":
        inputs[0] = np.abs(inputs[0])
    if op_type == "Mod":
        inputs[1] = np.abs(inputs[1]) + 1
    if op_type in ("IsInf", "IsNaN"):
        inputs[0].reshape(-1)[:3] = (np.inf, -np.inf, np.nan)
    types = [(array.shape, str(array.dtype)) for array in inputs]
    check(model(op_type, types, opset=22 if op_type in ("HardSwish", "Mish", "Gelu") else 18), inputs)


def test_integers_divide_towards_zero():
    proto = model("Div", [((4,), "int32"), ((4,), "int32")])
    check(proto, [np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)])


GRIDS = [
    (mode, padding, align)
    for mode in ("linear", "nearest", "cubic")
    for padding in ("zeros", "border", "reflection")
    for align in (0, 1)
]


@pytest.mark.parametrize(("mode", "padding_mode", "align_corners"), GRIDS)
def test_samples_mean_what_onnxruntime_computes(mode, padding_mode, align_corners):
    attributes = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    proto = model("GridSample", [((2, 3, 5, 6), "float32"), ((2, 4, 7, 2), "float32")], opset=20, **attributes)
    rng = np.random.default_rng(3)
    check(proto, [random((2, 3, 5, 6), "float32", rng), random((2, 4, 7, 2), "float32", rng)], dtype=np.float64)


def test_gathers_of_computed_indices_mean_what_onnxruntime_computes():
    proto = model("Gather", [((3, 5, 4), "float32"), ((2, 3), "int64")], axis=1)
    rng = np.random.default_rng(3)
    check(proto, [random((3, 5, 4), "float32", rng), rng.integers(-5, 5, (2, 3))])


@pytest.mark.parametrize("largest", [0, 1])
def test_selections_mean_what_onnxruntime_computes(largest):
    proto = model("TopK", [((4, 9), "float32")], (ints(5),), outputs=2, axis=-1, largest=largest)
    check(proto, [np.random.default_rng(3).integers(0, 4, (4, 9)).astype(np.float32)])


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_prefix_sums_mean_what_onnxruntime_computes(exclusive, reverse):
    proto = model("CumSum", [((4, 9), "float32")], (np.array(0),), exclusive=exclusive, reverse=reverse)
    check(proto, [random((4, 9), "float32", np.random.default_rng(3))])


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_prefix_products(exclusive, reverse):
    flags = " exclusive" * exclusive + " reverse" * reverse
    module = parse(f"""func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {{
      %y = convc.scan prod %x axis 0{flags} : (tensor<4xf32>) -> tensor<4xf32>
      func.return %y : tensor<4xf32> }}""")
    found = interpret(module, {}, {"input0": f32(2, 3, 5, 7)})["output0"].tolist()
    assert found == ([[2, 6, 30, 210], [210, 105, 35, 7]], [[1, 2, 6, 30], [105, 35, 7, 1]])[exclusive][reverse]


def test_the_places_of_largest_elements_mean_what_onnxruntime_computes():
    proto = model("MaxPool", [((2, 3, 7, 8), "float32")], outputs=2, kernel_shape=[3, 2], pads=[1, 0, 1, 1])
    check(proto, [np.random.default_rng(3).integers(0, 5, (2, 3, 7, 8)).astype(np.float32)])


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bits_of_unsigned_integers_shift_as_in_onnxruntime(direction):
    x = np.random.default_rng(3).integers(0, 1 << 32, 32, "uint32")
    proto = model("BitShift", [((32,), "uint32"), ((32,), "uint32")], opset=11, direction=direction)
    check(proto, [x, np.arange(32, dtype=np.uint32)])


SHIFTS = [
    ("shift_left", "i8", [5, -5, 1, 1, 1, -1], [1, 1, 7, 8, -1, 200], [10, -10, -128, 0, 0, 0]),
    ("shift_right", "i8", [5, -5, 127, -1, 127, -128], [1, 1, 6, 7, 8, -1], [2, -3, 1, -1, 0, -1]),
    ("shift_right", "ui8", [200, 255, 255], [3, 7, 8], [25, 1, 0]),
]


@pytest.mark.parametrize(("fn", "element", "x", "counts", "expected"), SHIFTS)
def test_counts_beyond_the_width_shift_everything_out(fn, element, x, counts, expected):
    """To the right the sign comes in."""
    dtype, type_ = {"i8": np.int8, "ui8": np.uint8}[element], f"tensor<{len(x)}x{element}>"
    module = parse(f"""func.func @main(%x: {type_}, %n: {type_}) -> {type_} {{
      %y = convc.elementwise {fn}(%x, %n) : ({type_}, {type_}) -> {type_}
      func.return %y : {type_} }}""")
    inputs = {"input0": np.array(x).astype(dtype), "input1": np.array(counts).astype(dtype)}
    np.testing.assert_array_equal(interpret(module, {}, inputs)["output0"], np.array(expected, dtype))


def test_half_precision_is_rounded_once_an_operation():
    proto = model("Conv", [((1, 64, 8, 8), "float16")], (w(8, 64, 3, 3).astype(np.float16),))
    check(proto, [random((1, 64, 8, 8), "float16", np.random.default_rng(3))], tolerance=1e-3)


@pytest.mark.parametrize("m", [2, 4])
def test_a_winograd_convolution_is_a_convolution(m):
    """Of 5 x 10 outputs, which neither m divides, with its weight transformed."""
    signature = "(tensor<2x3x6x9xf64>, tensor<4x3x{0}x{0}xf64>, tensor<4xf64>) -> tensor<2x4x5x10xf64>"
    head = "func.func @main(%x: tensor<2x3x6x9xf64>) -> tensor<2x4x5x10xf64> { %b = convc.weight @b : tensor<4xf64>"
    direct = f"""{head} %w = convc.weight @w : tensor<4x3x3x3xf64>
      %y = convc.conv %x, %w bias %b strides [1, 1] pads [1, 2, 0, 1] dilations [1, 1] group 1 : {signature.format(3)}
      func.return %y : tensor<2x4x5x10xf64> }}"""
    winograd = f"""{head} %w = convc.weight @w : tensor<4x3x{m + 2}x{m + 2}xf64>
      %y = convc.winograd_conv %x, %w bias %b pads [1, 2, 0, 1] m {m} : {signature.format(m + 2)}
      func.return %y : tensor<2x4x5x10xf64> }}"""
    weight, bias = RNG.standard_normal((4, 3, 3, 3)), RNG.standard_normal(4)
    x = {"input0": RNG.standard_normal((2, 3, 6, 9))}
    expected = interpret(parse(direct), {"w": weight, "b": bias}, x)["output0"]
    found = interpret(parse(winograd), {"w": transformed_weight(weight, m), "b": bias}, x)["output0"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


HEAD = "func.func @main(%x: tensor<1x12x4x4xf32>) -> tensor<1x12x4x4xf32> {"


def test_double_precision_is_the_reference():
    """1/3 is not rounded to single precision on its way."""
    text = f"""{HEAD}
      %c = convc.constant 3.0 : f64 : tensor<f32>
      %y = convc.elementwise div(%x, %c) : (tensor<1x12x4x4xf32>, tensor<f32>) -> tensor<1x12x4x4xf32>
      func.return %y : tensor<1x12x4x4xf32> }}"""
    x = np.ones((1, 12, 4, 4), np.float32)
    assert interpret(parse(text), {}, {"input0": x}, np.float64)["output0"].reshape(-1)[0] == 1 / 3
    single = interpret(parse(text), {}, {"input0": x})["output0"]
    assert single.dtype == np.float32
    assert single.reshape(-1)[0] == np.float32(1) / np.float32(3)


def test_layouts_change_nothing_but_how_a_weight_lies_in_the_store():
    blocked = '#convc.layout<"NCHW8c">'
    text = f"""{HEAD}
      %w = convc.weight @w : tensor<12x12x1x1xf32, #convc.layout<"OIHW8i8o">>
      %a = convc.relayout %x : (tensor<1x12x4x4xf32>) -> tensor<1x12x4x4xf32, {blocked}>
      %k = convc.kernel template "direct"(%a, %w)
          : (tensor<1x12x4x4xf32, {blocked}>, tensor<12x12x1x1xf32, #convc.layout<"OIHW8i8o">>)
          -> tensor<1x12x4x4xf32, {blocked}> {{
      ^bb0(%b: tensor<1x12x4x4xf32, {blocked}>, %v: tensor<12x12x1x1xf32, #convc.layout<"OIHW8i8o">>):
        %c = convc.conv %b, %v strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
          : (tensor<1x12x4x4xf32, {blocked}>, tensor<12x12x1x1xf32, #convc.layout<"OIHW8i8o">>)
          -> tensor<1x12x4x4xf32, {blocked}>
        convc.yield %c : tensor<1x12x4x4xf32, {blocked}>
      }}
      %y = convc.relayout %k : (tensor<1x12x4x4xf32, {blocked}>) -> tensor<1x12x4x4xf32>
      func.return %y : tensor<1x12x4x4xf32> }}"""
    module = parse(text)
    weight = next(op for op in module.walk() if isinstance(op, WeightOp))
    array = w(12, 12, 1, 1)
    packed = layout_of(weight.result).pack(array)
    x = random((1, 12, 4, 4), "float32", np.random.default_rng(3))
    found = interpret(module, {"w": packed}, {"input0": x})["output0"]
    np.testing.assert_allclose(found, np.einsum("nchw,oc->nohw", x, array[:, :, 0, 0]), rtol=0, atol=1e-4)


def test_inputs_that_do_not_fit_are_refused_with_both_sides():
    module = parse(f"{HEAD} func.return %x : tensor<1x12x4x4xf32> }}")
    with pytest.raises(ValueError, match=r"expected inputs of the shapes .*\(1, 12, 4, 4\).*, got .*\(1, 12, 4, 5\)"):
        interpret(module, {}, {"input0": np.zeros((1, 12, 4, 5), np.float32)})


def test_a_network_means_what_onnxruntime_computes():
    """A few nodes with two outputs and values that several nodes read."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Mul", ["c", "d"], ["e"]),
    ]
    weight = w(4, 3, 3, 3)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3, 6, 6))],
        [onnx_value("e"), onnx_value("b")],
        [helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.reshape(-1))],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    x = random((2, 3, 6, 6), "float32", np.random.default_rng(3))
    check(proto, [x])
    check(proto, [x], dtype=np.float64)
