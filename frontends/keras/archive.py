"""The zip file that Keras 3 saves: metadata.json, config.json and model.weights.h5."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

from convc.frontends.onnx.problem import ImportProblem

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MAX_CONFIG = 64 << 20  # the largest networks of keras.applications have 1 MB
_MAX_WEIGHTS = 2 << 30  # what fits into the ONNX model that is made of it


def read_archive(path: Path) -> tuple[dict[str, Any], bytes]:
    """(the configuration, the HDF5 file). Raises ImportProblem."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if _CONFIG not in names:
                raise ImportProblem(f"expected {_CONFIG} in {path}, it holds {', '.join(names[:5]) or 'nothing'}")
            if _METADATA in names:
                _check_version(path, _parse(path, _METADATA, _read(path, archive, _METADATA, _MAX_CONFIG)))
            if _WEIGHTS not in names:
                raise ImportProblem(f"expected {_WEIGHTS} in {path}; weights in several files are not read")
            config = _parse(path, _CONFIG, _read(path, archive, _CONFIG, _MAX_CONFIG))
            return config, _read(path, archive, _WEIGHTS, _MAX_WEIGHTS)
    except OSError as error:
        raise ImportProblem(f"cannot read {path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ImportProblem(
            f"expected a .keras archive, as model.save('x.keras') of Keras 3 writes, {path}: {error}"
        ) from None


def _read(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    size = archive.getinfo(name).file_size
    if size > limit:
        raise ImportProblem(f"expected at most {limit} bytes in {name} of {path}, got {size}")
    return archive.read(name)


def _parse(path: Path, name: str, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise ImportProblem(f"expected JSON in {name} of {path}: {error}") from None
    if not isinstance(found, dict):
        raise ImportProblem(f"expected a JSON object in {name} of {path}, got {type(found).__name__}")
    return found


def _check_version(path: Path, metadata: dict[str, Any]) -> None:
    version = str(metadata.get("keras_version"))
    if not version.startswith("3."):
        raise ImportProblem(
            f"expected a file of Keras 3, {path} is of Keras {version}: load it with Keras 3 and save it again"
        )
