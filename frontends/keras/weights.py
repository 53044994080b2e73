"""Weights from Keras's HDF5 file.

The file follows the model's structure: `layers/NAME/vars/0`, with `layers` again below a model in the model. NAME is
not the layer's name but made of its class, numbered within its model.
"""

from __future__ import annotations

import io
from collections import Counter

import h5py
import numpy as np

from convc.frontends import dsl
from convc.frontends.dsl.naming import snake_case
from convc.frontends.dsl.recurrent import Recurrent
from convc.frontends.dsl.wrappers import Wrapper
from convc.frontends.onnx.problem import ImportProblem


def read_weights(data: bytes, model: dsl.Model) -> None:
    """Set all weights of the model from an HDF5 file. Raises ImportProblem."""
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            _read_model(file, model)
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # what h5py raises for files that are damaged
        raise ImportProblem(f"cannot read the weights: {error}") from None


def _read_model(group: h5py.Group, model: dsl.Model) -> None:
    counts: Counter[str] = Counter()
    for layer in model.layers:
        kind = snake_case(layer.class_name)
        name = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        if layer.weights:
            _read_any(_group(group, f"layers/{name}"), layer)


def _read_any(group: h5py.Group, layer: dsl.Layer) -> None:
    if isinstance(layer, dsl.Model):
        _read_model(group, layer)
    elif isinstance(layer, Wrapper):
        for name, part in layer.parts.items():
            if part.weights:
                _read_any(_group(group, name), part)
    else:
        _read_layer(_group(group, "cell/vars" if isinstance(layer, Recurrent) else "vars"), layer)


def _read_layer(group: h5py.Group, layer: dsl.Layer) -> None:
    if len(group) != len(layer.weights):
        raise ImportProblem(f"layer '{layer.name}': expected {len(layer.weights)} arrays in the file, got {len(group)}")
    for index, weight in enumerate(layer.weights):
        what = f"layer '{layer.name}': weight '{weight.name}'"
        dataset = _child(group, str(index))
        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
            raise ImportProblem(f"{what}: expected an array inside the file")
        if dataset.shape != weight.shape:  # checked before the memory is taken
            raise ImportProblem(f"{what}: expected the shape {weight.shape}, the file has {dataset.shape}")
        if dataset.dtype.kind not in "fiu":
            raise ImportProblem(f"{what}: expected numbers, the file has {dataset.dtype}")
        weight.assign(np.asarray(dataset[()], np.float32))


def _group(group: h5py.Group, path: str) -> h5py.Group:
    for part in path.split("/"):
        group = _child(group, part)
        if not isinstance(group, h5py.Group):
            raise ImportProblem(f"expected a group at {group.name.strip('/')} in the weights, got an array")
    return group


def _child(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """A member that is in this file: links could name any file of the machine."""
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ImportProblem(f"expected '{name}' in {group.name} of the weights, got {'a link' if link else 'nothing'}")
    return group[name]
