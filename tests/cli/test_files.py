"""Inputs from files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convc.cli.arguments import UsageError
from convc.cli.files import read_input

F32, U8 = np.dtype("float32"), np.dtype("uint8")


@pytest.fixture
def red(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    Image.new("RGB", (7, 5), (255, 0, 0)).save(path)
    return path


def test_an_array_is_taken_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.int64))
    assert np.array_equal(read_input(tmp_path / "x.npy", (1, 2), F32), np.arange(6))


def test_an_image_is_resized_scaled_and_put_channels_first(red: Path) -> None:
    array = read_input(red, (1, 3, 4, 6), F32)
    assert array.shape == (1, 3, 4, 6)
    assert array.dtype == F32
    assert np.array_equal(array[0, :, 2, 3], [1, 0, 0])


def test_an_image_goes_channels_last_where_the_input_does(red: Path) -> None:
    array = read_input(red, (1, 4, 6, 3), U8)
    assert array.shape == (1, 4, 6, 3)
    assert np.array_equal(array[0, 2, 3], [255, 0, 0])


def test_an_image_becomes_grey_for_one_channel(red: Path) -> None:
    array = read_input(red, (1, 1, 8, 8), F32)
    assert array.shape == (1, 1, 8, 8)
    assert np.all(array == array[0, 0, 0, 0])


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [((1, 10), F32, "not 1x10"), ((2, 3, 8, 8), F32, "not 2x3x8x8"), ((1, 3, 8, 8), np.dtype("int64"), "not int64")],
)
def test_an_image_that_cannot_fit_is_refused(red: Path, shape: tuple[int, ...], dtype: np.dtype, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_input(red, shape, dtype)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("hello")
    (tmp_path / "x.npy").write_text("hello")
    with pytest.raises(UsageError, match=r"neither a \.npy file nor an image"):
        read_input(tmp_path / "x.png", (1, 3, 8, 8), F32)
    with pytest.raises(UsageError, match=r"not a \.npy file of numbers"):
        read_input(tmp_path / "x.npy", (1, 3, 8, 8), F32)


@pytest.mark.parametrize("damage", ["truncated", "of another length"])
def test_a_damaged_image_is_named(damage: str, red: Path) -> None:
    data = red.read_bytes()
    red.write_bytes(data[: len(data) // 2] if damage == "truncated" else data[:36] + b"XXXX" + data[40:])
    with pytest.raises(UsageError, match=f"{red.name} (cannot be read as|is neither a .npy file nor) an image"):
        read_input(red, (1, 3, 8, 8), F32)
    with pytest.raises(FileNotFoundError):
        read_input(red.with_name("none.png"), (1, 3, 8, 8), F32)


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UsageError, match=r"not a \.npy file of numbers"):
        read_input(tmp_path / "x.npy", (1,), F32)
