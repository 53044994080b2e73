"""Launches that manifests describe, on the software device."""

from __future__ import annotations

import pytest

from convc.runtime.cuda.driver import Context, CudaError, Driver
from convc.runtime.cuda.launch import TensorMap, memory_of
from convc.targets.cuda.emulator.build import emulated_driver


@pytest.fixture
def context():
    made = Context(Driver(emulated_driver()))
    yield made
    made.close()


def tensor_map(**changes):
    """Of 5 x 6 x 16 bytes, rows 128 bytes apart."""
    return TensorMap(**{"operand": 0, "shape": (12, 5), "strides": (128,), "box": (4, 2), "steps": (1, 1), **changes})


def test_a_tensor_map_may_reach_to_the_end_of_its_operand(context):
    map_ = tensor_map()
    assert map_.nbytes == 4 * 128 + 96
    address = context.memory(map_.nbytes)
    encoded = map_.encoded(context, address, map_.nbytes)
    assert len(encoded) == 128
    assert any(bytes(encoded))
    with pytest.raises(CudaError, match="reaches over 608 bytes, its operand has 607"):
        map_.encoded(context, address, map_.nbytes - 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (), "strides": (), "box": (), "steps": ()},
        {"shape": (1,) * 6, "strides": (16,) * 5, "box": (1,) * 6, "steps": (1,) * 6},
        {"strides": ()},
        {"box": (4,)},
        {"steps": (1, 1, 1)},
        {"shape": (12, -5)},
        {"strides": (-128,)},
        {"box": (4, 0)},
        {"box": (4.0, 2)},
        {"steps": ("1", 1)},
    ],
    ids=str,
)
def test_a_malformed_tensor_map_is_refused(context, changes):
    with pytest.raises(CudaError, match="malformed tensor map"):
        tensor_map(**changes).encoded(context, context.memory(1024), 1024)


@pytest.mark.parametrize("change", [{"shape": 12}, {"box": None}], ids=str)
def test_a_tensor_map_of_something_else_is_refused(change):
    data = {"operand": 0, "shape": [12, 5], "strides": [128], "box": [4, 2], "steps": [1, 1]}
    assert TensorMap.read(data) == tensor_map()
    for malformed in (data | change, {key: data[key] for key in data if key not in change}):
        with pytest.raises(CudaError, match="malformed tensor map"):
            TensorMap.read(malformed)


def test_what_the_driver_refuses_is_an_error(context):
    with pytest.raises(CudaError, match="cuTensorMapEncodeTiled"):
        tensor_map(box=(4, 257)).encoded(context, context.memory(1024), 1024)


def test_operands_by_number_and_offsets_of_scratch_memory():
    places = [(1000, 24), (2000, 8)]
    assert memory_of(places, (4096, 5120), 1) == (2000, 8)
    assert memory_of(places, (4096, 5120), -1 - 256) == (4096 + 256, 1024 - 256)
