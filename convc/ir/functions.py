"""The elementwise functions: one table, not fifty op classes.

Each row gives a function's arity, its scalar parameters with their defaults, and its meaning in numpy. The
numpy meaning is the reference: constant folding and the interpreter use it, and a target's own code is tested
against it. Definitions follow the ONNX operators of the same name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import auto

import numpy as np
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import SpacedOpaqueSyntaxAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.utils.str_enum import StrEnum


class Fn(StrEnum):
    """The name of an elementwise function."""

    ABS = auto()
    ACOS = auto()
    ACOSH = auto()
    ASIN = auto()
    ASINH = auto()
    ATAN = auto()
    ATANH = auto()
    CEIL = auto()
    CELU = auto()
    CLIP = auto()
    COS = auto()
    COSH = auto()
    ELU = auto()
    ERF = auto()
    EXP = auto()
    FLOOR = auto()
    GELU = auto()
    GELU_TANH = auto()
    HARD_SIGMOID = auto()
    HARD_SWISH = auto()
    LEAKY_RELU = auto()
    LOG = auto()
    MISH = auto()
    NEG = auto()
    RECIPROCAL = auto()
    RELU = auto()
    ROUND = auto()
    SELU = auto()
    SHRINK = auto()
    SIGMOID = auto()
    SIGN = auto()
    SILU = auto()
    SIN = auto()
    SINH = auto()
    SOFTPLUS = auto()
    SOFTSIGN = auto()
    SQRT = auto()
    TAN = auto()
    TANH = auto()
    THRESHOLDED_RELU = auto()
    IS_INF = auto()
    IS_NAN = auto()
    NOT = auto()
    ADD = auto()
    DIV = auto()
    MAX = auto()
    MIN = auto()
    MOD = auto()
    FMOD = auto()
    MUL = auto()
    POW = auto()
    PRELU = auto()
    SUB = auto()
    AND = auto()
    OR = auto()
    XOR = auto()
    BITWISE_AND = auto()
    BITWISE_NOT = auto()
    BITWISE_OR = auto()
    BITWISE_XOR = auto()
    SHIFT_LEFT = auto()
    SHIFT_RIGHT = auto()
    EQUAL = auto()
    GREATER = auto()
    GREATER_OR_EQUAL = auto()
    LESS = auto()
    LESS_OR_EQUAL = auto()
    WHERE = auto()


@irdl_attr_definition
class FnAttr(EnumAttribute[Fn], SpacedOpaqueSyntaxAttribute):
    name = "convc.fn"


@dataclass(frozen=True)
class FnSpec:
    """What a function takes and means. `numpy` is called with the operands, then the parameters by name."""

    arity: int
    numpy: Callable[..., np.ndarray]
    params: Mapping[str, float] = field(default_factory=dict)
    predicate: bool = False
    """Whether the result is boolean whatever the operands are."""
    commutative: bool = False


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # Split by sign so that exp never overflows.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + _erf(x / math.sqrt(2))) / 2


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _celu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha))


def _selu(x: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    return gamma * _elu(x, alpha)


def _shrink(x: np.ndarray, bias: float, lambd: float) -> np.ndarray:
    return np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0))


def _hard_sigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.clip(alpha * x + beta, 0, 1)


def _is_inf(x: np.ndarray, detect_negative: float, detect_positive: float) -> np.ndarray:
    return (np.isposinf(x) & bool(detect_positive)) | (np.isneginf(x) & bool(detect_negative))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, 0)


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if np.issubdtype(a.dtype, np.integer):  # ONNX divides integers towards zero
        quotient = np.abs(a) // np.abs(b)
        return np.where((a < 0) != (b < 0), -quotient, quotient)
    return np.divide(a, b)


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """As IEEE 754 has it: to the power of 0.5 `np.power` gives -0 and -inf roots, not their powers 0 and inf."""
    dtype = np.result_type(a, b)
    return np.float_power(a, b).astype(dtype) if dtype.kind == "f" else np.power(a, b)


_INF = math.inf
FUNCTIONS: Mapping[Fn, FnSpec] = {
    Fn.ABS: FnSpec(1, np.abs),
    Fn.ACOS: FnSpec(1, np.arccos),
    Fn.ACOSH: FnSpec(1, np.arccosh),
    Fn.ASIN: FnSpec(1, np.arcsin),
    Fn.ASINH: FnSpec(1, np.arcsinh),
    Fn.ATAN: FnSpec(1, np.arctan),
    Fn.ATANH: FnSpec(1, np.arctanh),
    Fn.CEIL: FnSpec(1, np.ceil),
    Fn.CELU: FnSpec(1, _celu, {"alpha": 1.0}),
    Fn.CLIP: FnSpec(1, lambda x, min, max: np.minimum(np.maximum(x, min), max), {"min": -_INF, "max": _INF}),
    Fn.COS: FnSpec(1, np.cos),
    Fn.COSH: FnSpec(1, np.cosh),
    Fn.ELU: FnSpec(1, _elu, {"alpha": 1.0}),
    Fn.ERF: FnSpec(1, _erf),
    Fn.EXP: FnSpec(1, np.exp),
    Fn.FLOOR: FnSpec(1, np.floor),
    Fn.GELU: FnSpec(1, _gelu),
    Fn.GELU_TANH: FnSpec(1, _gelu_tanh),
    Fn.HARD_SIGMOID: FnSpec(1, _hard_sigmoid, {"alpha": 0.2, "beta": 0.5}),
    Fn.HARD_SWISH: FnSpec(1, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    Fn.LEAKY_RELU: FnSpec(1, lambda x, alpha: np.where(x >= 0, x, alpha * x), {"alpha": 0.01}),
    Fn.LOG: FnSpec(1, np.log),
    Fn.MISH: FnSpec(1, lambda x: x * np.tanh(_softplus(x))),
    Fn.NEG: FnSpec(1, np.negative),
    Fn.RECIPROCAL: FnSpec(1, lambda x: 1 / x),
    Fn.RELU: FnSpec(1, lambda x: np.maximum(x, 0)),
    Fn.ROUND: FnSpec(1, np.rint),
    Fn.SELU: FnSpec(1, _selu, {"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}),
    Fn.SHRINK: FnSpec(1, _shrink, {"bias": 0.0, "lambd": 0.5}),
    Fn.SIGMOID: FnSpec(1, _sigmoid),
    Fn.SIGN: FnSpec(1, np.sign),
    Fn.SILU: FnSpec(1, lambda x: x * _sigmoid(x)),
    Fn.SIN: FnSpec(1, np.sin),
    Fn.SINH: FnSpec(1, np.sinh),
    Fn.SOFTPLUS: FnSpec(1, _softplus),
    Fn.SOFTSIGN: FnSpec(1, lambda x: x / (1 + np.abs(x))),
    Fn.SQRT: FnSpec(1, np.sqrt),
    Fn.TAN: FnSpec(1, np.tan),
    Fn.TANH: FnSpec(1, np.tanh),
    Fn.THRESHOLDED_RELU: FnSpec(1, lambda x, alpha: np.where(x > alpha, x, 0), {"alpha": 1.0}),
    Fn.IS_INF: FnSpec(1, _is_inf, {"detect_negative": 1.0, "detect_positive": 1.0}, predicate=True),
    Fn.IS_NAN: FnSpec(1, np.isnan, predicate=True),
    Fn.NOT: FnSpec(1, np.logical_not, predicate=True),
    Fn.ADD: FnSpec(2, np.add, commutative=True),
    Fn.DIV: FnSpec(2, _divide),
    Fn.MAX: FnSpec(2, np.maximum, commutative=True),
    Fn.MIN: FnSpec(2, np.minimum, commutative=True),
    Fn.MOD: FnSpec(2, np.mod),
    Fn.FMOD: FnSpec(2, np.fmod),
    Fn.MUL: FnSpec(2, np.multiply, commutative=True),
    Fn.POW: FnSpec(2, _power),
    Fn.PRELU: FnSpec(2, lambda x, slope: np.where(x >= 0, x, slope * x)),
    Fn.SUB: FnSpec(2, np.subtract),
    Fn.AND: FnSpec(2, np.logical_and, predicate=True, commutative=True),
    Fn.OR: FnSpec(2, np.logical_or, predicate=True, commutative=True),
    Fn.XOR: FnSpec(2, np.logical_xor, predicate=True, commutative=True),
    Fn.BITWISE_AND: FnSpec(2, np.bitwise_and, commutative=True),
    Fn.BITWISE_NOT: FnSpec(1, np.bitwise_not),
    Fn.BITWISE_OR: FnSpec(2, np.bitwise_or, commutative=True),
    Fn.BITWISE_XOR: FnSpec(2, np.bitwise_xor, commutative=True),
    # Counts outside of [0, width) shift everything out: to 0, to the right to the sign.
    Fn.SHIFT_LEFT: FnSpec(2, np.left_shift),
    Fn.SHIFT_RIGHT: FnSpec(2, np.right_shift),
    Fn.EQUAL: FnSpec(2, np.equal, predicate=True, commutative=True),
    Fn.GREATER: FnSpec(2, np.greater, predicate=True),
    Fn.GREATER_OR_EQUAL: FnSpec(2, np.greater_equal, predicate=True),
    Fn.LESS: FnSpec(2, np.less, predicate=True),
    Fn.LESS_OR_EQUAL: FnSpec(2, np.less_equal, predicate=True),
    Fn.WHERE: FnSpec(3, np.where),
}
assert set(FUNCTIONS) == set(Fn), "every function has a row"
