"""Winograd's matrices: exact, and how near float32 comes with them."""

from fractions import Fraction

import numpy as np
import pytest

from convc.ir.winograd import (
    STRIDES,
    TILES,
    along_axes,
    tiles_of,
    transformed_weight,
    transforms,
    window_before,
)

LINES = [(m, taps, stride) for (taps, _), tiles in TILES.items() for m in tiles for stride in STRIDES]


@pytest.mark.parametrize(("m", "taps", "stride"), sorted(set(LINES)))
def test_the_algorithm_is_exact_in_rational_numbers(m: int, taps: int, stride: int) -> None:
    found = transforms(m, stride, taps)
    rng = np.random.default_rng(m)
    for _ in range(20):
        g, d = ([Fraction(int(v)) for v in rng.integers(-9, 10, n)] for n in (taps, found.t))
        weights = [_dot(found.g[row], g) for row in found.rows]
        product = [weight * _dot(other, d) for weight, other in zip(weights, found.b, strict=True)]
        expected = [sum(g[k] * d[j * stride + k] for k in range(taps)) for j in range(m)]
        assert [_dot(row, product) for row in found.a] == expected


@pytest.mark.parametrize(("m", "taps", "stride"), sorted(set(LINES)))
def test_no_input_is_scaled_up(m: int, taps: int, stride: int) -> None:
    found = transforms(m, stride, taps)
    assert len(found.b) == len(found.b[0]) == len(found.rows) == len(found.a[0]) == found.t == stride * (m - 1) + taps
    assert all(row[max(k for k, c in enumerate(row) if c)] == 1 for row in found.b)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("window", [(3, 3), (1, 3), (5, 5), (5, 1), (1, 1, 7), (3, 1, 3)])
def test_a_window_is_known_by_its_transform(window: tuple[int, ...], stride: int) -> None:
    strides = [stride if taps > 1 else 1 for taps in window]
    for m in tiles_of(window):
        assert window_before([axis.d for axis in along_axes(window, strides, m)], strides, m) == window


@pytest.mark.parametrize("window", [(1, 1), (2, 2), (3, 5), (7, 7), (3, 3, 3), (9,), ()])
def test_windows_that_have_none(window: tuple[int, ...]) -> None:
    assert tiles_of(window) == ()


def test_sizes_that_no_window_has() -> None:
    with pytest.raises(ValueError, match=r"expected a window that is transformed for m = 4 at strides \[1, 1\], got"):
        window_before((6, 5), (1, 1), 4)


@pytest.mark.parametrize(("m", "products"), [(2, 25), (4, 81)])
def test_at_stride_2_it_multiplies_less_than_a_window_does(m: int, products: int) -> None:
    assert transforms(m, 2).t ** 2 == products < 9 * m * m
    assert transforms(m, 2).d == transforms(m).d


@pytest.mark.parametrize("stride", STRIDES)
def test_weights_are_transformed_in_float64(stride: int) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((5, 4, 3, 3)).astype(np.float32)
    found = transformed_weight(weight, 4, (stride, stride))
    assert found.shape == (5, 4, 6, 6)
    assert found.dtype == np.float32
    g = np.array(transforms(4, stride).g, dtype=object)
    exact = g @ np.vectorize(Fraction)(weight[1, 2].astype(float)) @ g.T
    np.testing.assert_array_equal(found[1, 2], exact.astype(np.float64).astype(np.float32))


def _dot(a: object, b: object) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))  # type: ignore[call-overload]
