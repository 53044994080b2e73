"""Weight files: what the safetensors library reads from them, and where the data lies."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file

from convc.artifact.tensors import ALIGNMENT, write_tensors


def test_the_safetensors_library_reads_what_was_written(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {
        "w": generator.standard_normal((3, 5)).astype(np.float32),
        "transposed": generator.standard_normal((4, 2)).astype(np.float64).T,
        "mask": generator.random(7) < 0.5,
        "indices": generator.integers(-9, 9, (2, 3)),
        "nothing": np.zeros((0, 4), np.float32),
        "scalar": np.float32(2.5).reshape(()),
    }
    offsets = {"w": 0, "transposed": 64, "mask": 128, "indices": 192, "nothing": 240, "scalar": 256}
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {name: (offsets[name], array) for name, array in arrays.items()}, 320)

    found = load_file(path)
    assert {name for name in found if not name.startswith("padding.")} == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_the_data_section_is_the_arena(tmp_path: Path) -> None:
    """Tensors at their offsets, zeros between, and all of it aligned in the file too."""
    path = tmp_path / "weights.safetensors"
    first, second = np.arange(5, dtype=np.uint8) + 1, np.arange(3, dtype=np.uint8) + 6
    write_tensors(path, {"first": (0, first), "second": (64, second)}, 128)
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    assert begin % ALIGNMENT == 0
    assert content[begin:] == bytes(first) + bytes(59) + bytes(second) + bytes(61)


def test_types_that_the_format_lacks_are_stored_as_bits(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    array = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    write_tensors(path, {"w": (0, array)}, 4)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["w"]["dtype"] == "U16"
    np.testing.assert_array_equal(load_file(path)["w"].view(ml_dtypes.bfloat16), array)
