"""Element types that are only stored: what their bits mean, and how numbers are rounded to them.

LLVM knows none of them on most processors, so that they lie in memory as unsigned integers of a byte or two, and
conversions are arithmetic on bits: exact, vectorisable, without tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from tvm import tirx
from xdsl.ir import Attribute

from convc.ir.dtypes import from_numpy, is_storage, to_numpy
from convc.targets.lets import Lets


def stored_as(dtype: np.dtype) -> str:
    """TVM's name for what an element type lies in memory as: its own, or an unsigned integer."""
    return f"uint{8 * dtype.itemsize}" if is_storage(from_numpy(dtype)) else str(dtype)


def number(value: float, element: Attribute) -> Any:
    """A number in an element type."""
    dtype = to_numpy(element)
    if is_storage(element):
        value = int(np.asarray(value).astype(dtype).view(stored_as(dtype)))
    return tirx.const(value, stored_as(dtype))


def decode(bits: Any, dtype: np.dtype) -> Any:
    """The number that stored bits are: float32, or an integer of 8 bits."""
    if dtype in _INTEGERS:
        return _integer(bits, dtype)
    return _FLOATS[dtype].decode(bits)


def encode(x: Any, dtype: np.dtype) -> Any:
    """The bits of the nearest number, of two the even one; integers lose the bits that do not fit."""
    if dtype in _INTEGERS:
        # By way of 32 bits: LLVM leaves a conversion that does not fit its result undefined.
        return tirx.Cast("uint8", tirx.Cast("int32", x) & tirx.const((1 << _INTEGERS[dtype]) - 1, "int32"))
    return _FLOATS[dtype].encode(tirx.Cast("float32", x))


_INTEGERS = {
    np.dtype(ml_dtypes.int4): 4,
    np.dtype(ml_dtypes.uint4): 4,
    np.dtype(ml_dtypes.int2): 2,
    np.dtype(ml_dtypes.uint2): 2,
}


def _integer(bits: Any, dtype: np.dtype) -> Any:
    width = _INTEGERS[dtype]
    low = tirx.Cast("int32", bits) & tirx.const((1 << width) - 1, "int32")
    if ml_dtypes.iinfo(dtype).min == 0:
        return tirx.Cast("uint8", low)
    sign = tirx.const(1 << (width - 1), "int32")  # (b ^ s) - s extends the sign bit s
    return tirx.Cast("int8", (low ^ sign) - sign)


@dataclass(frozen=True)
class _Float:
    """A floating-point format: a sign, `exponent` bits with the given bias, `mantissa` bits. `largest` is the code of
    the largest finite number; `infinity` and `nan` are codes without the sign, None where there is no such number.
    With `one_zero` the code of minus zero is the NaN."""

    exponent: int
    mantissa: int
    bias: int
    largest: int
    infinity: int | None
    nan: int | None
    one_zero: bool = False

    @property
    def sign(self) -> int:
        """The bit of the sign."""
        return 1 << (self.exponent + self.mantissa)

    def decode(self, bits: Any) -> Any:
        let = Lets()
        wide = let(tirx.Cast("int32", bits))
        code = let(wide & _i32(self.sign - 1))
        # In the place of float32's own exponent and mantissa the code is the number but for the difference of the
        # biases, subnormal numbers among them.
        number = _float(code << _i32(23 - self.mantissa)) * tirx.const(2.0 ** (127 - self.bias), "float32")
        if self.infinity is not None:
            number = tirx.Select(code == _i32(self.infinity), tirx.const(math.inf, "float32"), number)
        plus = let(_bits(number))
        number = _float(tirx.Select(wide >= _i32(self.sign), plus | _SIGN, plus))
        if self.one_zero:
            nan = wide == _i32(self.sign)
        elif self.nan is not None:
            nan = code > _i32(self.largest if self.infinity is None else self.infinity)
        else:
            return let.result(number)
        return let.result(tirx.Select(nan, tirx.const(math.nan, "float32"), number))

    def encode(self, x: Any) -> Any:
        let = Lets()
        bits = let(_bits(x))
        magnitude = let(bits & _i32(0x7FFFFFFF))
        dropped = 23 - self.mantissa
        # Half a unit of what is kept, less one bit where the last one kept is 0: ties go to even.
        rounded = magnitude + _i32((1 << (dropped - 1)) - 1) + ((magnitude >> _i32(dropped)) & _i32(1))
        code = (rounded >> _i32(dropped)) - _i32((127 - self.bias) << self.mantissa)
        if self.bias < 127:
            # Below the normal numbers units are all of one size: adding a number whose last bit is that rounds.
            unit = tirx.const(2.0 ** (24 - self.bias - self.mantissa), "float32")
            small = _bits(_float(magnitude) + unit) - _bits(unit)
            code = tirx.Select(magnitude < _i32((128 - self.bias) << 23), small, code)
        code = let(code)
        not_a_number = 0 if self.nan is None else self.nan
        too_large = next((c for c in (self.infinity, self.nan) if c is not None), self.largest)
        code = tirx.Select(tirx.Or(code > _i32(self.largest), magnitude >= _INFINITY), _i32(too_large), code)
        code = let(tirx.Select(magnitude > _INFINITY, _i32(not_a_number), code))
        negative = bits < _i32(0)
        if self.one_zero:
            negative = tirx.And(negative, code != _i32(0))
        code = tirx.Select(negative, code | _i32(self.sign), code)
        return let.result(tirx.Cast("uint16" if self.sign > 128 else "uint8", code))


class _PowerOfTwo:
    """float8_e8m0fnu: an exponent alone, biased by 127; 255 is NaN."""

    def decode(self, bits: Any) -> Any:
        let = Lets()
        wide = let(tirx.Cast("int32", bits))
        least = tirx.const(2.0**-127, "float32")
        number = tirx.Select(wide == _i32(0), least, _float(wide << _i32(23)))
        return let.result(tirx.Select(wide == _i32(255), tirx.const(math.nan, "float32"), number))

    def encode(self, x: Any) -> Any:
        let = Lets()
        bits = let(tirx.min(_bits(x), _INFINITY))
        half = _i32(0x00400000)  # of the least number's distance to the next, and the least number itself
        nearest = let(tirx.Select(bits <= half, _i32(0), (bits + half) >> _i32(23)))  # halves go up
        # Zero, what is below it, infinity and NaN: there is no code but that of NaN.
        outside = tirx.Or(bits <= _i32(0), nearest > _i32(254))
        return let.result(tirx.Cast("uint8", tirx.Select(outside, _i32(255), nearest)))


_FLOATS: dict[np.dtype, _Float | _PowerOfTwo] = {
    np.dtype(ml_dtypes.bfloat16): _Float(8, 7, 127, 0x7F7F, 0x7F80, 0x7FC0),
    np.dtype(ml_dtypes.float8_e4m3fn): _Float(4, 3, 7, 0x7E, None, 0x7F),
    np.dtype(ml_dtypes.float8_e4m3fnuz): _Float(4, 3, 8, 0x7F, None, 0x80, one_zero=True),
    np.dtype(ml_dtypes.float8_e5m2): _Float(5, 2, 15, 0x7B, 0x7C, 0x7E),
    np.dtype(ml_dtypes.float8_e5m2fnuz): _Float(5, 2, 16, 0x7F, None, 0x80, one_zero=True),
    np.dtype(ml_dtypes.float8_e8m0fnu): _PowerOfTwo(),
    np.dtype(ml_dtypes.float4_e2m1fn): _Float(2, 1, 1, 0x07, None, None),
}


def _i32(value: int) -> Any:
    return tirx.const(value, "int32")


_SIGN = _i32(-(1 << 31))
_INFINITY = _i32(0x7F800000)


def _bits(x: Any) -> Any:
    return tirx.reinterpret("int32", x)


def _float(bits: Any) -> Any:
    return tirx.reinterpret("float32", bits)
