"""Axes of contractions, and sums along long ones as sums of parts.

A running sum of n terms rounds off as much of each term as the sum has grown by then: its error grows like sqrt(n / 2)
units in the last place where the terms have random signs. Parts of m terms, added up, err by sqrt(m / 2 + n / (2 m))
(N. Higham, "The accuracy of floating point summation", SIAM J. Sci. Comput. 14, 1993: blocked summation). Networks that
take logarithms of what their filters nearly cancel show the difference.

Axes are long in filters of hundreds of taps and in fully connected layers. Sums over channels and small windows stay
as they are: in parts they would take 2 to 3 % more time (ResNet-50), and err no less beside Winograd's transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm.script.ir_builder.tirx as T

LONG = 128
"""An axis of more terms is summed in parts."""

PART = 32
"""Terms of a part: adding it to the total costs two instructions beside those multiply-adds."""


@dataclass(frozen=True)
class Axis:
    """A loop: its extent, and how many elements of x and of w lie between one iteration and the next."""

    extent: int
    x: int
    w: int = 0


Body = Callable[[Sequence[Axis], Any, Any], None]
"""Sums a part: its axes, and where in x and in w it begins."""


def is_long(axes: Sequence[Axis]) -> bool:
    """Whether a sum over some axes has more than one part."""
    return any(axis.extent > LONG for axis in axes)


def in_parts(axes: Sequence[Axis], x_at: Any, w_at: Any, body: Body) -> None:
    """Write loops over axes, one of them long, around the `body` for each part: the innermost long one is cut."""
    at = max(i for i, axis in enumerate(axes) if axis.extent > LONG)
    axis, inner = axes[at], [axis for axis in axes[at + 1 :] if axis.extent > 1]
    most = max(1, PART // prod(axis.extent for axis in inner))
    # A divisor saves the code of a shorter last part.
    size = next((n for n in range(most, most // 2, -1) if axis.extent % n == 0), most)
    whole, rest = divmod(axis.extent, size)

    def cut(x_at: Any, w_at: Any) -> None:
        with T.serial(0, whole) as k:
            body([Axis(size, axis.x, axis.w), *inner], x_at + k * (size * axis.x), w_at + k * (size * axis.w))
        if rest:
            body([Axis(rest, axis.x, axis.w), *inner], x_at + whole * size * axis.x, w_at + whole * size * axis.w)

    loops([axis for axis in axes[:at] if axis.extent > 1], x_at, w_at, cut)


def loops(axes: Sequence[Axis], x_at: Any, w_at: Any, inside: Callable[[Any, Any], None]) -> None:
    """Write a loop over each axis around what is `inside`, a function of where in x and in w an iteration reads."""
    if not axes:
        inside(x_at, w_at)
        return
    axis, *rest = axes
    with T.serial(0, axis.extent) as k:
        loops(rest, x_at + k * axis.x, w_at + k * axis.w, inside)
