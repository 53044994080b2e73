"""The weight store."""

import numpy as np
import pytest

from convc.ir.weights import WeightStore


def test_names_are_unique_and_printable():
    store = WeightStore()
    names = [store.add(np.zeros(1), hint) for hint in ("conv/1:0", "conv/1:0", "7", "", "a b")]
    assert names == ["conv_1_0", "conv_1_0.1", "w_7", "weight", "a_b"]


def test_arrays_are_immutable_and_the_callers_stays_writable():
    store, array = WeightStore(), np.zeros(3)
    name = store.add(array)
    with pytest.raises(ValueError, match="read-only"):
        store[name][0] = 1
    array[0] = 1


def test_keep_drops_the_rest():
    store = WeightStore()
    first, second = store.add(np.zeros(2, np.float32)), store.add(np.zeros(4, np.float32))
    store.keep({second})
    assert list(store) == [second]
    assert store.nbytes == 16
    with pytest.raises(KeyError, match=f"no weight @{first}"):
        store[first]


def test_a_file_round_trips_every_dtype(tmp_path):
    store = WeightStore()
    for dtype in ("float32", "float64", "float16", "int64", "int8", "uint8", "bool"):
        store.add(np.arange(6).reshape(2, 3).astype(dtype), f"w_{dtype}")
    store.add(np.arange(6, dtype=np.float32).reshape(2, 3).T, "transposed")
    store.save(tmp_path / "weights.safetensors")
    loaded = WeightStore.load(tmp_path / "weights.safetensors")
    assert set(loaded) == set(store)
    for name, array in store.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_what_cannot_be_written_is_an_os_error(tmp_path, monkeypatch):
    """As a full disk is; and nothing is left of it."""
    import safetensors.numpy

    def full(arrays, path):
        path.write_text("half")
        raise safetensors.SafetensorError("No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match=r"cannot write .*w\.safetensors: No space left"):
        WeightStore().save(tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())
