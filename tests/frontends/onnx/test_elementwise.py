"""Elementwise operators against onnxruntime: each function, its attributes, its types, broadcasting."""

import math

import numpy as np
import pytest

NEAR = np.linspace(-0.95, 0.95, 21, dtype=np.float32)
WIDE = np.linspace(-6, 6, 48, dtype=np.float32).reshape(2, 4, 6)
POSITIVE = np.linspace(1.01, 9, 24, dtype=np.float32)

ANYWHERE = """Abs Atan Ceil Celu Cos Elu Erf Exp Floor HardSigmoid HardSwish Identity IsNaN LeakyRelu Mish Neg
Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Softplus Softsign Sqrt Tanh ThresholdedRelu"""
UNARY = [
    *[(name, WIDE, {}) for name in ANYWHERE.split()],
    *[(name, NEAR, {}) for name in ("Acos", "Asin", "Asinh", "Atanh", "Cosh", "Sinh", "Tan")],
    *[(name, POSITIVE, {}) for name in ("Acosh", "Log", "Sqrt")],
    ("Celu", WIDE, {"alpha": 0.5}),
    ("Elu", WIDE, {"alpha": 2.0}),
    ("HardSigmoid", WIDE, {"alpha": 0.5, "beta": 0.25}),
    ("LeakyRelu", WIDE, {"alpha": 0.3}),
    ("Selu", WIDE, {"alpha": 1.5, "gamma": 2.0}),
    ("Shrink", WIDE, {"bias": 0.5, "lambd": 1.0}),
    ("ThresholdedRelu", WIDE, {"alpha": 2.0}),
    ("Round", np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32), {}),
    ("Softplus", np.array([-200, -1, 0, 1, 200], np.float32), {}),
    ("Sigmoid", np.array([-200, -1, 0, 1, 200], np.float32), {}),
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "x", "attributes"), UNARY, ids=[f"{c[0]} {c[2] or ''}" for c in UNARY])
def test_unary(agrees, live, op_type, x, attributes):
    agrees(op_type, [live(x)], opset=18 if op_type != "HardSwish" else 14, **attributes)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(agrees, approximate):
    agrees("Gelu", [(3, 5)], opset=20, approximate=approximate)


def test_erfc(agrees, live):
    x = np.linspace(-4, 4, 33).astype(np.float32)
    agrees("Erfc", [live(x)], expected=[np.vectorize(math.erfc)(x)])


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_swish(agrees, live, alpha):
    agrees("Swish", [live(WIDE)], opset=24, alpha=alpha, expected=[WIDE / (1 + np.exp(-alpha * WIDE))])


INFINITE = np.array([[-np.inf, 1, np.inf, np.nan]], np.float32)


@pytest.mark.parametrize("attributes", [{}, {"detect_negative": 0}, {"detect_positive": 0}])
def test_is_inf(agrees, live, attributes):
    agrees("IsInf", [live(INFINITE)], **attributes)


def test_not_and_sign_of_integers(agrees, live):
    agrees("Not", [live(np.array([[True, False]]))])
    agrees("Sign", [live(np.array([-3, 0, 5]))])
    agrees("Abs", [live(np.array([-3, 0, 5], np.int32))])


SHAPES = [((3, 4), (3, 4)), ((2, 3, 4), (4,)), ((3, 1), (1, 4)), ((2, 3, 4), ()), ((), (2, 2)), ((1, 5, 1), (3, 1, 2))]


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"])
@pytest.mark.parametrize("shapes", SHAPES)
def test_binary(agrees, op_type, shapes):
    agrees(op_type, list(shapes), opset=14)


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor"])
def test_logic(agrees, live, op_type):
    a, b = np.array([[True], [False]]), np.array([True, False, True])
    agrees(op_type, [live(a), live(b)])


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, bool])
def test_equal(agrees, live, dtype):
    a, b = np.array([[0, 1, 2, 1]]).astype(dtype), np.array([[1], [0]]).astype(dtype)
    agrees("Equal", [live(a), live(b)])


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
def test_arithmetic_of_integers(agrees, live, op_type):
    """Division is towards zero."""
    a, b = np.array([-7, 7, -8, 9], np.int32), np.array([2, -2, 3, 4], np.int32)
    agrees(op_type, [live(a), live(b)])


@pytest.mark.parametrize("op_type", ["Max", "Min", "Sum", "Mean"])
@pytest.mark.parametrize("shapes", [[(2, 3)], [(2, 3), (3,)], [(2, 1, 3), (4, 1), (1,)]])
def test_variadic(agrees, op_type, shapes):
    agrees(op_type, shapes, opset=13)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_mod(agrees, live, dtype):
    a, b = np.array([-7, 7, -7, 7, 6], dtype), np.array([3, 3, -3, -3, 2], dtype)
    agrees("Mod", [live(a), live(b)], fmod=int(dtype == np.float32))
    agrees("Mod", [live(a.astype(np.int64)), live(b.astype(np.int64))])
    agrees("Mod", [live(a.astype(np.int64)), live(b.astype(np.int64))], fmod=1)


POWERS = [(np.float32, np.float32), (np.float32, np.int32), (np.float32, np.int64), (np.int32, np.int32),
          (np.int32, np.float32), (np.int64, np.float32)]  # fmt: skip


@pytest.mark.parametrize("types", POWERS, ids=str)
def test_pow_has_the_type_of_its_base(agrees, live, types):
    base, exponent = np.array([[1, 2, 3]]).astype(types[0]), np.array([[2], [3]]).astype(types[1])
    agrees("Pow", [live(base), live(exponent)], opset=15)


@pytest.mark.parametrize("slope", [(3, 1, 1), (1,), (5,), (4, 5), (1, 3, 1, 1)])
def test_prelu(agrees, slope):
    agrees("PRelu", [(2, 3, 4, 5), slope], opset=16)


def test_prelu_with_a_vector_of_slopes_means_channels_where_it_does_not_broadcast(agrees):
    x = np.random.default_rng(0).standard_normal((1, 3, 2, 2)).astype(np.float32)
    slope = np.array([0.1, 0.2, 0.3], np.float32)
    agrees("PRelu", [x, slope], expected=[np.where(x < 0, x * slope[:, None, None], x)])


def test_where(agrees, live):
    agrees("Where", [live(np.array([[True], [False]])), (2, 3), (3,)])
    agrees("Where", [live(np.array([True, False])), np.arange(2), np.arange(4).reshape(2, 2)])


def scalar(value, dtype=np.float32):
    return np.array(value, dtype)


CLIPS = [
    ([], {"opset": 10, "min": -0.5, "max": 0.25}),
    ([], {"opset": 6, "max": 0.25}),
    ([], {}),
    ([scalar(-0.5), scalar(0.5)], {}),
    ([None, scalar(0.5)], {}),
    ([scalar(-0.5)], {}),
    ([scalar(0.5), scalar(-0.5)], {}),
]


@pytest.mark.parametrize(("bounds", "options"), CLIPS, ids=str)
def test_clip(agrees, bounds, options):
    agrees("Clip", [(3, 4), *bounds], **{"opset": 13, **options})


def test_clip_by_computed_bounds(agrees, live):
    agrees("Clip", [(3, 4), live(scalar(-0.5)), live(scalar(0.5))], opset=13)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64])
def test_clip_of_integers(agrees, live, dtype):
    agrees("Clip", [live(np.arange(10).astype(dtype)), scalar(2, dtype), scalar(7, dtype)], opset=13)


@pytest.mark.parametrize("source", [np.float32, np.float64, np.int32, np.int64, np.uint8, bool])
@pytest.mark.parametrize("to", ["FLOAT", "DOUBLE", "INT32", "INT64", "UINT8", "BOOL"])
def test_cast(agrees, live, source, to):
    import onnx

    x = np.array([0, 1, 2.75, 100.5]).astype(source)
    agrees("Cast", [live(x)], to=onnx.TensorProto.DataType.Value(to))


def test_casts_towards_zero_and_cast_like(agrees, live):
    x = np.array([-2.7, -0.2, 0.7, 3.9], np.float32)
    agrees("Cast", [live(x)], to=6)
    agrees("CastLike", [live(x), np.zeros(1, np.int64)], opset=19)


SOFTMAXES = [(opset, axis) for opset in (7, 11, 13) for axis in (0, 1, 2, -1) if opset != 7 or axis >= 0]


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize(("opset", "axis"), SOFTMAXES)
def test_softmax_along_an_axis_or_all_that_follow(agrees, op_type, opset, axis):
    agrees(op_type, [(2, 3, 4)], opset=opset, axis=axis)


@pytest.mark.parametrize("opset", [7, 13])
def test_softmax_by_default(agrees, opset):
    agrees("Softmax", [(2, 3, 4, 5)], opset=opset)


def test_hardmax_takes_the_first_of_equals(agrees, live):
    agrees("Hardmax", [live(np.array([[1, 3, 3, 2], [0, 0, 0, 0]], np.float32))], opset=13)


@pytest.mark.parametrize(
    ("opset", "operands", "outputs"),
    [(7, [], 1), (10, [], 2), (12, [], 2), (13, [scalar(0.3)], 1), (13, [scalar(0.3), scalar(False, bool)], 2)],
)
def test_dropout_does_nothing(agrees, opset, operands, outputs):
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    agrees("Dropout", [x, *operands], outputs=outputs, opset=opset, expected=[x, np.ones((2, 3), bool)][:outputs])


@pytest.mark.parametrize("axis", [0, 1, None])
def test_before_opset_7_an_attribute_aligns_what_is_broadcast(agrees, axis):
    rng = np.random.default_rng(0)
    x, shape = rng.standard_normal((3, 4, 5)).astype(np.float32), {0: (3,), 1: (4,), None: (5,)}[axis]
    b = rng.standard_normal(shape).astype(np.float32)
    aligned = b.reshape(*shape, *[1] * (2 - (2 if axis is None else axis)))
    attributes = {"broadcast": 1} if axis is None else {"broadcast": 1, "axis": axis}
    agrees("Add", [x, b], opset=6, expected=[x + aligned], **attributes)
    agrees("Pow", [np.abs(x), b], opset=6, expected=[np.abs(x) ** aligned], **attributes)
