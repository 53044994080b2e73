"""Launch the steps of a network's first variant one by one, and name each before it is: `steps.py ARTIFACT`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from convc.artifact.manifest import read_manifest
from convc.runtime.cuda.engine import CudaEngine
from convc.targets.cuda.emulator.load import load_emulated

folder = Path(sys.argv[1])
manifest = read_manifest(folder)
variant, kernels = manifest["variants"][0], manifest["kernels"]
engine = load_emulated(folder)._engine if "--emulate" in sys.argv else CudaEngine(folder, manifest)
assert isinstance(engine, CudaEngine)
inputs = [np.zeros(entry["shape"], entry["dtype"]) for entry in variant["inputs"]]
for number in engine.trace(0, inputs):
    step = variant["steps"][number]
    print(
        step["kernel"], step["name"], kernels[step["kernel"]]["template"], kernels[step["kernel"]]["config"], flush=True
    )
