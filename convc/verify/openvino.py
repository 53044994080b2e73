"""OpenVINO, as a peer to be timed against."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convc.verify.reference import ReferenceFailure


class OpenVino:
    """A model compiled by OpenVINO for the CPU in single precision (its own default may be bfloat16)."""

    def __init__(self, model: Path, threads: int, inputs: Mapping[str, np.ndarray]) -> None:
        try:
            import openvino
        except ImportError:
            raise ReferenceFailure("OpenVINO is not installed: pip install openvino") from None
        try:
            core = openvino.Core()
            network = core.read_model(str(model))
            network.reshape({name: list(array.shape) for name, array in inputs.items()})
            options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
            self._request: Any = core.compile_model(network, "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise ReferenceFailure(f"OpenVINO cannot load the model: {str(error).strip().splitlines()[0]}") from error

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name."""
        results = self._request.infer(dict(inputs), share_inputs=True)
        return {port.any_name: array for port, array in results.items()}
