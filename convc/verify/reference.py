"""The reference: onnxruntime on the CPU. With its graph optimisations off it computes every node as it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from convc.frontends.onnx.cutting import cut
from convc.frontends.onnx.loading import load
from convc.frontends.onnx.precision import DOUBLE, HALVES, half_outputs, halves, in_single_precision
from convc.frontends.onnx.problem import ImportProblem
from convc.frontends.onnx.reshaping import reshaped
from convc.verify.rounding import nearby_model


class ReferenceFailure(Exception):
    """onnxruntime cannot load or run the model; the message is one line for the user."""


class Reference:
    """A model in onnxruntime. `shapes` are those of inputs, which may differ from what the model declares; `outputs`
    names values to compute in place of the model's outputs: what only others need is left out; `optimise` turns its
    graph optimisations on, for timings; `threads` 0 means one a core.

    What the model has in half precision is computed in single precision, as convc does; for timings as it is. So is a
    model in double precision of whose operators onnxruntime has none for doubles, as it has no such Conv.

    Raises ReferenceFailure; and ImportProblem for what is no model, has no such outputs or takes no such shapes."""

    def __init__(
        self,
        model: str | Path | onnx.ModelProto,
        *,
        shapes: Mapping[str, Sequence[int]] | None = None,
        outputs: Sequence[str] = (),
        optimise: bool = False,
        threads: int = 0,
    ) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 4  # what it has to say is in the exceptions
        options.intra_op_num_threads = threads
        # Its threads spin within a run, but not for tens of milliseconds after it, on cores that others are timed on.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        level = ort.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
        self._model, self._shapes, self._outputs, self._threads = model, shapes, outputs, threads
        self._rounded: dict[str, np.dtype] = {}
        """The types of outputs that onnxruntime computes in single precision instead."""
        try:
            proto, folder = _opened(model)
            if folder is not None:
                options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
            selected = reshaped(cut(proto, outputs, folder), shapes or {}, folder)
            changed = selected if optimise else in_single_precision(selected, folder, border=False)
            if changed is not selected:
                self._rounded = half_outputs(selected)
            source = str(model) if changed is proto and folder is not None else changed.SerializeToString()
            double = selected if halves(selected, DOUBLE) else None
            del proto, selected, changed  # which hold the weights, as the session is about to
            try:
                self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
            except ort.capi.onnxruntime_pybind11_state.NotImplemented:
                if double is None:
                    raise
                single = in_single_precision(double, folder, border=False, types={**HALVES, **DOUBLE})
                self._rounded = half_outputs(double, {**HALVES, **DOUBLE})
                self._session = ort.InferenceSession(
                    single.SerializeToString(), options, providers=["CPUExecutionProvider"]
                )
        except ImportProblem:
            raise
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ReferenceFailure(f"onnxruntime cannot load the model: {_first_line(error)}") from error
        self.output_names = [output.name for output in self._session.get_outputs()]

    def nearby(self, seed: int, unit: float = 0.0) -> Reference:
        """The same, its weights rounded another way: to the next float, or by a `unit` of themselves. Raises
        ReferenceFailure."""
        model, folder = _opened(self._model)
        moved = nearby_model(cut(model, self._outputs, folder), folder, seed, unit)
        return Reference(moved, shapes=self._shapes, threads=self._threads)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name. Raises ReferenceFailure."""
        if self._rounded or any(array.dtype.name in HALVES.values() for array in inputs.values()):
            taken = {value.name: value.type for value in self._session.get_inputs()}
            inputs = {
                name: array.astype(np.float32) if taken[name] == "tensor(float)" else array
                for name, array in inputs.items()
            }
        try:
            results = self._session.run(None, dict(inputs))
        except Exception as error:  # as above
            raise ReferenceFailure(f"onnxruntime cannot run the model: {_first_line(error)}") from error
        named = zip(self.output_names, map(np.asarray, results), strict=True)
        return {name: array.astype(self._rounded.get(name, array.dtype)) for name, array in named}


def _opened(model: str | Path | onnx.ModelProto) -> tuple[onnx.ModelProto, Path | None]:
    """The model, and the folder where its external data lies."""
    if isinstance(model, onnx.ModelProto):
        return model, None
    return load(Path(model)), Path(model).parent


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
