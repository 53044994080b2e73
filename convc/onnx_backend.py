"""convc as a backend of ONNX (`onnx.backend.base`), which is also how its conformance tests call it.

    from convc import onnx_backend
    (y,) = onnx_backend.run_model(model, [x])

A model is compiled when its inputs are seen: for their shapes, and with the values of those that it needs to know
at compile time (axes, sizes, a condition), as it would if they were constants in the model. The same shapes and the
same such values again take the compiled model again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper
from onnx.backend.base import Backend, BackendRep, namedtupledict

from convc.api import compile
from convc.frontends.onnx import ImportProblem
from convc.runtime import Executable

Inputs: TypeAlias = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]


class Prepared(BackendRep):
    """A model ready to run. Models that convc cannot take are only known when they are run."""

    def __init__(self, model: onnx.ModelProto, **options: Any) -> None:
        """`options` are those of `convc.compile`."""
        self._model = model
        self._options = options
        weights = {weight.name for weight in model.graph.initializer}
        self._inputs = [value.name for value in model.graph.input if value.name not in weights]
        self._outputs = [value.name for value in model.graph.output]
        self._fixed: set[str] = set()
        """Inputs whose values compiling needs, as far as is known."""
        self._compiled: dict[object, Executable] = {}

    def run(self, inputs: Inputs, **kwargs: Any) -> tuple[np.ndarray, ...]:
        """The outputs in the model's order, as a named tuple. Raises ImportProblem, InputError."""
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        named = inputs if isinstance(inputs, Mapping) else dict(zip(self._inputs, inputs, strict=True))
        arrays = {name: np.asarray(value) for name, value in named.items()}
        executable = self._executable(arrays)
        found = executable.run({name: array for name, array in arrays.items() if name not in self._fixed})
        return namedtupledict("Outputs", self._outputs)(*(found[name] for name in self._outputs))

    def _executable(self, arrays: Mapping[str, np.ndarray]) -> Executable:
        """The model compiled for the shapes of some inputs, and for the values of those that must be constants."""
        while True:
            constants = {name: array for name, array in arrays.items() if name in self._fixed}
            shapes = {name: array.shape for name, array in arrays.items() if name not in self._fixed}
            key = (tuple(shapes.items()), tuple((name, a.shape, a.tobytes()) for name, a in constants.items()))
            if key in self._compiled:
                return self._compiled[key]
            try:
                self._compiled[key] = compile(self._model, shapes=shapes, constants=constants, **self._options)
            except ImportProblem as problem:
                if problem.inputs <= self._fixed:
                    raise
                self._fixed |= problem.inputs


class ConvcBackend(Backend):
    """The interface as a class, as `onnx.backend.test.BackendTest` takes it."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Prepared:
        """Raises onnx's ValidationError for an invalid model."""
        super().prepare(model, device, **kwargs)
        return Prepared(model, **kwargs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """The outputs of one node, of the newest opset unless `opset_version` says otherwise."""
        super().run_node(node, inputs, device, outputs_info, **kwargs)
        arrays = [np.asarray(value) for value in ([inputs] if isinstance(inputs, np.ndarray) else inputs)]
        names = [name for name in node.input if name]
        graph = helper.make_graph(
            [node],
            node.name or node.op_type,
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
                for name, array in zip(names, arrays, strict=True)
            ],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        opset = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.domain, opset)])
        return Prepared(model, **kwargs).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device.partition(":")[0] == "CPU"


prepare = ConvcBackend.prepare
run_model = ConvcBackend.run_model
run_node = ConvcBackend.run_node
supports_device = ConvcBackend.supports_device
is_compatible = ConvcBackend.is_compatible
