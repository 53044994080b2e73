"""Winograd's matrices: exact, and how near float32 comes with them."""

from fractions import Fraction

import numpy as np
import pytest

from convc.ir.winograd import POINTS, transformed_weight, transforms


@pytest.mark.parametrize("m", POINTS)
def test_the_algorithm_is_exact_in_rational_numbers(m: int) -> None:
    found = transforms(m)
    rng = np.random.default_rng(m)
    for _ in range(20):
        g, d = ([Fraction(int(v)) for v in rng.integers(-9, 10, n)] for n in (3, found.t))
        product = [_dot(row, g) * _dot(other, d) for row, other in zip(found.g, found.b, strict=True)]
        assert [_dot(row, product) for row in found.a] == [sum(g[k] * d[j + k] for k in range(3)) for j in range(m)]


@pytest.mark.parametrize("m", POINTS)
def test_no_input_is_scaled_up(m: int) -> None:
    found = transforms(m)
    assert len(found.b) == len(found.b[0]) == len(found.g) == len(found.a[0]) == found.t
    assert all(row[max(k for k, c in enumerate(row) if c)] == 1 for row in found.b)


def test_weights_are_transformed_in_float64() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((5, 4, 3, 3)).astype(np.float32)
    found = transformed_weight(weight, 4)
    assert found.shape == (5, 4, 6, 6)
    assert found.dtype == np.float32
    g = np.array(transforms(4).g, dtype=object)
    exact = g @ np.vectorize(Fraction)(weight[1, 2].astype(float)) @ g.T
    np.testing.assert_array_equal(found[1, 2], exact.astype(np.float64).astype(np.float32))


def _dot(a: object, b: object) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))  # type: ignore[call-overload]
