"""Run a network several times, and compare the outputs to the last bit: `repeats.py ARTIFACT [--emulate]`."""

from __future__ import annotations

import sys

import numpy as np

from convc.runtime import load
from convc.targets.cuda.emulator.load import load_emulated

network = (load_emulated if "--emulate" in sys.argv else load)(sys.argv[1])
generator = np.random.default_rng(0)
inputs = {name: generator.standard_normal(shape).astype(dtype) for name, shape, dtype in network.inputs}
first = network.run(inputs)
for _ in range(5):
    for name, array in network.run(inputs).items():
        np.testing.assert_array_equal(array, first[name])
