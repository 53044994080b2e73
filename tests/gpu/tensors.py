"""Run a network on a tensor of torch's where it lies, by itself, on torch's stream and on another one.

`tensors.py ARTIFACT`
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from convc.runtime import load

network = load(sys.argv[1])
(_, shape, dtype), *_ = network.inputs
x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
expected = network(x)
for stream in (None, torch.cuda.current_stream(), torch.cuda.Stream()):
    with torch.cuda.stream(stream):
        given = torch.from_numpy(x).cuda() * 2
        result = torch.from_dlpack(network(given / 2, stream=stream)) * 2
        np.testing.assert_array_equal(result.cpu().numpy(), expected * 2)
