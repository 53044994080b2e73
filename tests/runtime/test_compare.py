"""The metric: max|got - expected| / max|expected|, and what no number can say."""

import numpy as np
import pytest

from convc.runtime.compare import compare

REFERENCE = np.array([[1.0, -4.0], [2.0, 0.0]], np.float32)


def test_equal_arrays_have_no_error() -> None:
    assert compare(REFERENCE.copy(), REFERENCE).error == 0


def test_the_error_is_relative_to_the_largest_element() -> None:
    got = REFERENCE.copy()
    got[1, 1] = 0.5
    assert compare(got, REFERENCE).error == pytest.approx(0.5 / 4)


def test_nothing_is_near_a_reference_of_zeros_but_zeros() -> None:
    zeros = np.zeros(3, np.float32)
    assert compare(zeros, zeros).error == 0
    assert compare(zeros + np.float32(1e-30), zeros).error == np.inf


@pytest.mark.parametrize(
    ("got", "problem"),
    [
        (REFERENCE.reshape(4), "expected shape 2x2, got 4"),
        (REFERENCE.astype(np.float64), "expected float32, got float64"),
        (np.array([[1, np.nan], [2, 0]], np.float32), "NaN at other places: 1 of 4"),
        (np.array([[1, -np.inf], [2, 0]], np.float32), "-inf at other places: 1 of 4"),
    ],
)
def test_what_no_number_can_say_is_a_problem(got: np.ndarray, problem: str) -> None:
    found = compare(got, REFERENCE)
    assert problem in found.problem
    assert not found.within(1e9)


def test_infinities_and_nan_at_the_same_places_leave_the_error_of_the_rest() -> None:
    expected = np.array([np.nan, np.inf, -np.inf, 2], np.float32)
    got = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    assert compare(got, expected).error == pytest.approx(0.5)


def test_integers_must_be_equal() -> None:
    expected = np.array([1, 2, 3])
    assert compare(expected.copy(), expected).within(0)
    assert "1 of 3 elements differ" in compare(np.array([1, 2, 4]), expected).problem
