"""What rounding alone does to a model: every number that goes in replaced by a neighbouring one.

No two computations in float32 agree better than this, and some models amplify it beyond any fixed tolerance.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from convc.frontends.onnx.tensors import to_array


def neighbours(array: np.ndarray, generator: np.random.Generator, unit: float = 0.0) -> np.ndarray:
    """Every float moved to the next one, up or down, or by a `unit` of itself if one is given; integers as they are."""
    if array.dtype.kind != "f":
        return array
    up = generator.random(array.shape) < 0.5
    if unit:
        return array * np.where(up, 1 + unit, 1 - unit).astype(array.dtype)
    return np.nextafter(array, np.where(up, np.inf, -np.inf).astype(array.dtype))


def nearby_inputs(inputs: Mapping[str, np.ndarray], seed: int, unit: float = 0.0) -> dict[str, np.ndarray]:
    """`neighbours` of each input."""
    generator = np.random.default_rng(seed)
    return {name: neighbours(array, generator, unit) for name, array in inputs.items()}


def nearby_model(model: onnx.ModelProto, folder: Path | None, seed: int, unit: float = 0.0) -> onnx.ModelProto:
    """The model with `neighbours` of its weights of two axes or more, which are summed over: scalars and vectors may
    be sizes or scales, that have to be what they are. Quantised weights become the floats that they stand for. External
    data, which lies in `folder`, is taken in. Raises ImportProblem for weights that cannot be read."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    generator = np.random.default_rng(seed)
    _dequantise(changed.graph, folder)
    constants = (node.attribute for node in changed.graph.node if node.op_type == "Constant")
    held = (attribute.t for attributes in constants for attribute in attributes if attribute.HasField("t"))
    for tensor in (*changed.graph.initializer, *held):
        moves = tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1
        if moves or tensor.data_location == onnx.TensorProto.EXTERNAL:
            array = to_array(tensor, folder, f"weight '{tensor.name}'")
            if moves:
                array = neighbours(array, generator, unit)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return changed


def _dequantise(graph: onnx.GraphProto, folder: Path | None) -> None:
    """Put floats in place of integer weights of two axes or more that a DequantizeLinear reads."""
    from onnx.reference import ReferenceEvaluator

    held = {tensor.name: tensor for tensor in graph.initializer}
    for number, node in enumerate(graph.node):
        names = [name for name in node.input if name]
        if node.op_type != "DequantizeLinear" or not held.keys() >= set(names) or len(held[names[0]].dims) < 2:
            continue
        arrays = {name: to_array(held[name], folder, f"weight '{name}'") for name in names}
        (weight,) = ReferenceEvaluator(node).run(None, arrays)
        graph.initializer.append(numpy_helper.from_array(np.asarray(weight), f"{node.output[0]}.dequantised"))
        same = onnx.helper.make_node("Identity", [graph.initializer[-1].name], node.output, name=node.name)
        graph.node[number].CopyFrom(same)
