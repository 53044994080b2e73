"""A model as onnxruntime takes it at other input shapes than it declares: what the importer makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from convc.frontends.onnx.importer import Importer
from convc.frontends.onnx.sizes import POSITIONS, contradicted, declared_as
from convc.ir.dialect import CompilerContext


def reshaped(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], folder: Path | None) -> onnx.ModelProto:
    """The model with inputs of the shapes given; itself where what it declares allows them. `folder` is where external
    data lies. Raises ImportProblem where the graph does not allow them."""
    declared = contradicted(model, shapes)
    if not declared:
        return model
    sizes = Importer(model, CompilerContext(), folder).sizes(shapes)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    del graph.input[:]
    graph.input.extend(
        declared_as(value, shapes[value.name]) if value.name in declared else value for value in model.graph.input
    )
    for node in graph.node:
        if node.output and node.output[0] in sizes:
            name = f"{node.output[0]}.sizes"
            graph.initializer.append(numpy_helper.from_array(np.array(sizes[node.output[0]], np.int64), name))
            node.input[POSITIONS[node.op_type]] = name
    # The shapes of all other values are those of before.
    del graph.value_info[:]
    for output in graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    return changed
