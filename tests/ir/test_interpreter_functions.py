"""The interpreter: elementwise functions of every type, beside onnxruntime's."""

from __future__ import annotations

import numpy as np
import pytest

from convc.ir.functions import FUNCTIONS, Fn
from convc.ir.interpreter import interpret
from convc.ir.text import parse

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
def test_a_function_means_what_onnxruntime_computes(check, model, random, op_type):
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


def test_integers_divide_towards_zero(check, model):
    proto = model("Div", [((4,), "int32"), ((4,), "int32")])
    check(proto, [np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)])


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_bits_of_unsigned_integers_shift_as_in_onnxruntime(check, model, direction):
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
