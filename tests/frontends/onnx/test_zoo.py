"""Whole networks: each model in the folder CONVC_ZOO imports, and computes what onnxruntime computes.

    CONVC_ZOO=DIR make test-slow

Symbolic axes are 1 in the first place and 64 elsewhere. Networks in single precision amplify rounding by their depth:
the tolerance is the error that onnxruntime's own arithmetic has against float64 on random inputs.
"""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from convc.frontends.onnx import import_model
from convc.ir.dialect import CompilerContext
from convc.ir.signature import input_signature

pytestmark = pytest.mark.slow
FOLDER = os.environ.get("CONVC_ZOO", "")
MODELS = sorted(Path(FOLDER).rglob("*.onnx")) if FOLDER else []


@pytest.mark.skipif(not MODELS, reason="CONVC_ZOO names no folder with models")
@pytest.mark.parametrize("path", MODELS, ids=[path.stem for path in MODELS])
def test_a_network_computes_what_onnxruntime_does(both_run, path):
    model = onnx.load(path)
    weights = {weight.name for weight in model.graph.initializer}
    shapes = {
        value.name: [
            dim.dim_value if dim.dim_value > 0 else 64 if axis else 1
            for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        ]
        for value in model.graph.input
        if value.name not in weights
    }
    rng = np.random.default_rng(0)
    signature = input_signature(import_model(model, CompilerContext(), shapes))
    feeds = {name: rng.standard_normal(shape).astype(dtype) for name, shape, dtype in signature}
    both_run(model, feeds, tolerance=1e-3, shapes=shapes)
