"""ONNX Resize as a tensor expression: a few weighted taps along each axis that changes.

Source coordinates are onnxruntime's: single precision, in its order of operations. Where the taps follow a line
`(p * i + q) // r` in exact integers (every i is checked), the expression is that line: TVM simplifies it with the
loops around it, and no division is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import tirx

from convc.ir.attributes import element_type, shape_of
from convc.ir.data import ResizeOp
from convc.ir.dtypes import to_numpy
from convc.ir.op import float_values
from convc.targets.lets import Lets

if TYPE_CHECKING:
    from convc.targets.emit import Emitter, Index

_HALF = Fraction(1, 2)
# Rounding of a coordinate: what is added to it, and whether the sum is rounded up.
_ROUNDING = {
    "floor": (Fraction(0), False),
    "ceil": (Fraction(0), True),
    "round_prefer_floor": (-_HALF, True),
    "round_prefer_ceil": (_HALF, False),
}


def read_resize(emitter: Emitter, op: ResizeOp, index: Index) -> Any:
    """Raises NotImplementedError for `antialias`, which the ONNX frontend makes products of."""
    if op.antialias.value.data:
        raise NotImplementedError("convc.resize with antialias has no tensor expression")
    dtype = str(to_numpy(element_type(op.x)))
    weight_type = "float64" if dtype == "float64" else "float32"
    let = Lets()
    axes = [_Axis.of(op, axis) for axis in range(len(index))]
    taps = [_taps(emitter, let, op, axis, i, weight_type) for axis, i in zip(axes, index, strict=True)]
    weighted = any(weight is not None for some in taps for _, weight in some)

    def total(position: Sequence[Any]) -> Any:
        """The sum over the taps of the axes after those of `position`."""
        if len(position) == len(taps):
            value = emitter.read(op.x, position)
            return tirx.Cast(weight_type, value) if weighted and dtype != weight_type else value
        terms = [
            total([*position, place]) if weight is None else total([*position, place]) * weight
            for place, weight in taps[len(position)]
        ]
        return sum(terms[1:], terms[0])

    value = total([])
    value = value if str(value.ty.dtype) == dtype else tirx.Cast(dtype, value)
    outside = [condition for axis, i in zip(axes, index, strict=True) for condition in axis.outside(op, i)]
    if outside:
        value = tirx.Select(tirx.any(*outside), tirx.const(op.extrapolation.value.data, dtype), value)
    return let.result(value)


def gathered_taps(op: ResizeOp) -> int:
    """How many elements each output reads, if neighbours along the last axis read at places that follow no stride; 0 if
    they follow one, as where the axis grows by a whole number."""
    axes = [_Axis.of(op, axis) for axis in range(len(shape_of(op.x)))]
    if axes[-1].is_identity or axes[-1].scale.numerator == 1:
        return 0
    each = {"nearest": 1, "linear": 2, "cubic": 4}[op.mode.data]
    return prod(1 if axis.is_identity else each for axis in axes)


def _taps(emitter: Emitter, let: Lets, op: ResizeOp, axis: _Axis, i: Any, dtype: str) -> list[tuple[Any, Any]]:
    """(position, weight) pairs of an axis at output i; a weight of None is 1."""

    def clamp(place: Any) -> Any:
        return emitter.simplify(tirx.max(tirx.min(place, axis.before - 1), 0))

    if axis.is_identity:
        return [(i, None)]
    if op.mode.data == "nearest":
        return [(clamp(axis.rounded(i, *_ROUNDING[op.nearest.data])), None)]
    base = axis.rounded(i, Fraction(0), up=False)  # not named: schedules allow no names in indices
    r = let(axis.remainder(i, base, dtype))
    one = tirx.const(1, dtype)
    if op.mode.data == "linear":
        return [(clamp(base), one - r), (clamp(base + 1), r)]
    places = [base - 1, base, base + 1, base + 2]
    weights = cubic(r, op.cubic_coeff.value.data)
    if op.exclude_outside.value.data:
        inside = [tirx.And(place >= 0, place < axis.before) for place in places]
        weights = [let(tirx.Select(here, w, tirx.const(0, dtype))) for here, w in zip(inside, weights)]
        norm = let(one / (weights[0] + weights[1] + weights[2] + weights[3]))
        weights = [w * norm for w in weights]
    return [(clamp(place), let(w)) for place, w in zip(places, weights)]


def cubic(r: Any, a: float) -> list[Any]:
    """The weights of the samples at distances 1 + r, r, 1 - r and 2 - r (Keys, 1981, with parameter a)."""

    def const(value: float) -> Any:
        return tirx.const(value, r.ty.dtype)

    def near(d: Any) -> Any:
        return (const(a + 2) * d - const(a + 3)) * d * d + const(1)

    def far(d: Any) -> Any:
        return ((const(a) * d - const(5 * a)) * d + const(8 * a)) * d - const(4 * a)

    return [far(r + const(1)), near(r), near(const(1) - r), far(const(2) - r)]


@dataclass(frozen=True)
class _Axis:
    """Output i of an axis of `after` elements lies at the coordinate `scale * i + offset` among `before`.
    `coordinate` computes it as onnxruntime does, from a numpy array or an expression in single precision."""

    before: int
    after: int
    scale: Fraction
    offset: Fraction
    coordinate: Callable[[Any], Any]

    @staticmethod
    def of(op: ResizeOp, axis: int) -> _Axis:
        """The coordinate transformations of ONNX Resize."""
        before, after = shape_of(op.x)[axis], shape_of(op.result)[axis]
        kind, given = op.coordinates.data, op.scales.data[axis].value.data
        # A scale is the ratio of the sizes wherever ONNX was given sizes, and often where it was not.
        ratio = Fraction(after, before)
        s = ratio if abs(float(ratio) - given) < 1e-6 * given else Fraction(given).limit_denominator(1 << 12)
        if kind == "asymmetric":
            return _Axis(before, after, 1 / s, Fraction(0), lambda i: i / _single(i, given))
        if kind == "tf_crop_and_resize":
            roi = float_values(op.roi)
            begin, end = (Fraction(roi[at]).limit_denominator(1 << 12) for at in (axis, axis + len(roi) // 2))
            if after == 1:
                return _constant(before, after, _HALF * (begin + end) * (before - 1))
            step, start = (end - begin) * (before - 1) / (after - 1), begin * (before - 1)
            first, width = np.float32(begin) * np.float32(before - 1), np.float32(end) - np.float32(begin)
            return _Axis(
                before,
                after,
                step,
                start,
                lambda i: _single(i, first) + i * _single(i, width) * _single(i, before - 1) / _single(i, after - 1),
            )
        if after == 1 and kind in ("align_corners", "pytorch_half_pixel"):
            return _constant(before, after, Fraction(0))
        if kind == "align_corners":
            step = Fraction(before - 1, after - 1)
            return _Axis(
                before,
                after,
                step,
                Fraction(0),
                lambda i: i * _single(i, before - 1) / _single(i, after - 1),
            )
        shift, rounded = Fraction(0), np.float32(0)
        if kind == "half_pixel_symmetric":
            shift = Fraction(before, 2) * (1 - ratio / s)
            adjustment = np.float32(after) / (np.float32(given) * np.float32(before))
            rounded = np.float32(before / 2) * (np.float32(1) - adjustment)
        return _Axis(
            before,
            after,
            1 / s,
            _HALF / s - _HALF + shift,
            lambda i: _single(i, rounded) + (i + _single(i, 0.5)) / _single(i, given) - _single(i, 0.5),
        )

    @property
    def is_identity(self) -> bool:
        return self.before == self.after and self.scale == 1 and self.offset == 0

    def outside(self, op: ResizeOp, i: Any) -> list[Any]:
        """Conditions under which the result is the extrapolation value."""
        ends = [self.offset, self.scale * (self.after - 1) + self.offset]
        if op.coordinates.data != "tf_crop_and_resize" or (min(ends) >= 0 and max(ends) <= self.before - 1):
            return []
        x = self.coordinate(_expression(i))
        return [x < tirx.const(0, "float32"), x > tirx.const(self.before - 1, "float32")]

    def rounded(self, i: Any, shift: Fraction, up: bool) -> Any:
        """The coordinate of output i plus `shift`, rounded down or up to an int32."""
        table = self._table() + np.float32(shift)
        table = np.ceil(table) if up else np.floor(table)
        if line := self._line(shift):
            p, q, r = line
            q += r - 1 if up else 0
            if [(p * k + q) // r for k in range(self.after)] == table.tolist():
                return tirx.floordiv(i * p + q, r)
        x = self.coordinate(_expression(i)) + tirx.const(float(shift), "float32")
        return tirx.Cast("int32", tirx.ceil(x) if up else tirx.floor(x))

    def remainder(self, i: Any, base: Any, dtype: str) -> Any:
        """The coordinate of output i less `base`, its floor."""
        if line := self._line(Fraction(0)):
            p, q, r = line
            exact = np.array([(p * k + q) / r for k in range(self.after)])
            # Single precision loses what the integer part takes; exact integers do not.
            if np.abs(self._table() - exact).max() < 1e-6 * self.before:
                return tirx.Cast(dtype, i * p + q - base * r) * tirx.const(1 / r, dtype)
        return tirx.Cast(dtype, self.coordinate(_expression(i)) - tirx.Cast("float32", base))

    def _line(self, shift: Fraction) -> tuple[int, int, int] | None:
        """(p, q, r) such that (p * i + q) / r is the coordinate plus `shift`, if int32 holds the numbers."""
        offset = self.offset + shift
        r = lcm(self.scale.denominator, offset.denominator)
        p, q = int(self.scale * r), int(offset * r)
        return (p, q, r) if abs(p) * self.after + abs(q) + 2 * r < 1 << 31 else None

    def _table(self) -> np.ndarray:
        return np.asarray(self.coordinate(np.arange(self.after, dtype=np.float32)), np.float32)


def _constant(before: int, after: int, place: Fraction) -> _Axis:
    return _Axis(before, after, Fraction(0), place, lambda i: i * _single(i, 0) + _single(i, place))


def _single(like: Any, value: float | Fraction | np.floating) -> Any:
    """A single-precision number beside a numpy array or an expression."""
    return np.float32(float(value)) if isinstance(like, np.ndarray) else tirx.const(float(value), "float32")


def _expression(i: Any) -> Any:
    return tirx.const(float(i), "float32") if isinstance(i, int) else tirx.Cast("float32", i)
