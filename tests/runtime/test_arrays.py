"""Memory that kernels can use."""

import ml_dtypes
import numpy as np
import pytest

from convc.runtime.arrays import ALIGNMENT, address, aligned_empty


def read_only(array):
    array.flags.writeable = False
    return array


ARRAYS = {
    "floats": np.ones((2, 3), np.float32),
    "part of another": np.ones((4, 6), np.float32)[1:, 2:5],
    "from the end": np.arange(5)[::-1],
    "read-only": read_only(np.ones(7)),
    "empty": np.ones((0, 3)),
    "a scalar": np.array(1.5),
    "booleans": np.array([True, False]),
    "bfloat16": np.ones(3, ml_dtypes.bfloat16),
    "in the other byte order": np.ones(3, ">f4"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_addresses_are_those_that_numpy_says(case):
    assert address(ARRAYS[case]) == ARRAYS[case].ctypes.data


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.bool_, ml_dtypes.bfloat16, np.int64])
def test_aligned_arrays(shape, dtype):
    array = aligned_empty(shape, np.dtype(dtype))
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.ctypes.data % ALIGNMENT == 0
