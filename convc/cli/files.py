"""Network inputs from files: numpy arrays and images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convc.cli.arguments import UsageError
from convc.notation import shape_text


def read_input(path: Path, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """The array in a .npy file as it is, or an image fitted to the input. Raises UsageError, OSError."""
    return read_array(path) if path.suffix == ".npy" else read_image(path, shape, dtype)


def read_array(path: Path) -> np.ndarray:
    """The array in a .npy file; pickled objects are refused."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):  # numpy's message proposes to load it all the same, by unpickling
        raise UsageError(f"{path} is not a .npy file of numbers, or is truncated") from None
    if not isinstance(array, np.ndarray):
        raise UsageError(f"expected one array in {path}, it is an archive of several")
    return array


def read_image(path: Path, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """An image as `[1, C, H, W]` or `[1, H, W, C]`, whichever the input's shape has with C = 1 (grey) or 3 (RGB).

    It is resized to H x W (bilinear, the aspect ratio not kept). Floats are in [0, 1], bytes stay in [0, 255];
    a network that wants another normalisation takes a .npy file.
    """
    from PIL import Image, UnidentifiedImageError

    if len(shape) != 4 or shape[0] != 1 or (shape[1] not in (1, 3) and shape[3] not in (1, 3)):
        raise UsageError(
            f"an image fits an input of 1xCxHxW or 1xHxWxC with C of 1 or 3, not {shape_text(shape)}: give a .npy file"
        )
    if dtype.kind != "f" and dtype != np.uint8:
        raise UsageError(f"an image fits an input of floats or uint8, not {dtype}: give a .npy file")
    first = shape[1] in (1, 3)
    channels, height, width = shape[1:] if first else (shape[3], *shape[1:3])
    try:
        with Image.open(path) as image:
            pixels = np.asarray(
                image.convert("RGB" if channels == 3 else "L").resize((width, height), Image.Resampling.BILINEAR)
            )
    except UnidentifiedImageError:
        raise UsageError(f"{path} is neither a .npy file nor an image") from None
    except Image.DecompressionBombError as error:
        raise UsageError(f"{path}: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:  # the last two are said of damaged files by some of its readers
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UsageError(f"{path} cannot be read as an image: {error}") from None
    pixels = pixels.reshape(height, width, channels)
    array = pixels.transpose(2, 0, 1) if first else pixels
    array = array.astype(dtype) / dtype.type(255) if dtype.kind == "f" else array
    return np.ascontiguousarray(array[None])
