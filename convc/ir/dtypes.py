"""Element types: numpy's and the IR's names for the same thing.

bfloat16, the floats of 8 and 4 bits and the integers of 4 and 2 bits (ml_dtypes, a byte or two an element) are for
storage: `convc.cast` converts from and to them, what moves data moves them, and nothing else takes them.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
from xdsl.dialects.builtin import (
    BFloat16Type,
    Float4E2M1FNType,
    Float8E4M3FNType,
    Float8E4M3FNUZType,
    Float8E5M2FNUZType,
    Float8E5M2Type,
    Float8E8M0FNUType,
    Float16Type,
    Float32Type,
    Float64Type,
    IntegerType,
    Signedness,
)
from xdsl.ir import Attribute

_STORAGE: dict[Attribute, np.dtype] = {
    BFloat16Type(): np.dtype(ml_dtypes.bfloat16),
    Float8E4M3FNType(): np.dtype(ml_dtypes.float8_e4m3fn),
    Float8E4M3FNUZType(): np.dtype(ml_dtypes.float8_e4m3fnuz),
    Float8E5M2Type(): np.dtype(ml_dtypes.float8_e5m2),
    Float8E5M2FNUZType(): np.dtype(ml_dtypes.float8_e5m2fnuz),
    Float8E8M0FNUType(): np.dtype(ml_dtypes.float8_e8m0fnu),
    Float4E2M1FNType(): np.dtype(ml_dtypes.float4_e2m1fn),
    IntegerType(4): np.dtype(ml_dtypes.int4),
    IntegerType(4, Signedness.UNSIGNED): np.dtype(ml_dtypes.uint4),
    IntegerType(2): np.dtype(ml_dtypes.int2),
    IntegerType(2, Signedness.UNSIGNED): np.dtype(ml_dtypes.uint2),
}
_TO_NUMPY: dict[Attribute, np.dtype] = {
    Float16Type(): np.dtype("float16"),
    Float32Type(): np.dtype("float32"),
    Float64Type(): np.dtype("float64"),
    IntegerType(1): np.dtype("bool"),
    **{IntegerType(n): np.dtype(f"int{n}") for n in (8, 16, 32, 64)},
    **{IntegerType(n, Signedness.UNSIGNED): np.dtype(f"uint{n}") for n in (8, 16, 32, 64)},
    **_STORAGE,
}
_FROM_NUMPY = {dtype: attribute for attribute, dtype in _TO_NUMPY.items()}


def to_numpy(element: Attribute) -> np.dtype:
    """f32 -> float32, i1 -> bool, ui8 -> uint8 ... Raises ValueError for a type that convc does not hold."""
    try:
        return _TO_NUMPY[element]
    except KeyError:
        raise ValueError(f"element type {element} is not supported; known: {_known()}") from None


def from_numpy(dtype: np.dtype | type | str) -> Attribute:
    """The inverse of `to_numpy`. Raises ValueError for a type that convc does not hold."""
    try:
        return _FROM_NUMPY[np.dtype(dtype)]
    except (KeyError, TypeError):
        raise ValueError(f"element type {dtype} is not supported; known: {_known()}") from None


def is_float(element: Attribute) -> bool:
    """Whether arithmetic on this element type is floating-point."""
    return to_numpy(element).kind == "f" and not is_storage(element)


def is_storage(element: Attribute) -> bool:
    """Whether the type is for storage alone."""
    return element in _STORAGE


def _known() -> str:
    return ", ".join(str(dtype) for dtype in _FROM_NUMPY)
