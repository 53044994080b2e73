#!/usr/bin/env python3
"""Load a model in one engine, run it once, and print how long loading took and the most memory the process had.

    python benchmarks/once.py ENGINE PATH '[["image", [1, 3, 224, 224], "float32"]]'

A process of its own for `benchmarks/cpu.py`. PATH is an artifact for convc, a folder of `convc.verify.ncnn.convert` for
ncnn, an ONNX file for all others. Nothing is imported but numpy and what the engine needs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Inputs = Mapping[str, np.ndarray]


def load(engine: str, path: Path, inputs: Inputs) -> Callable[[Inputs], object]:
    """What runs the model on one thread."""
    if engine == "convc":
        from convc.runtime import load

        return load(path, threads=1).run
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda given: session.run(None, dict(given))
    if engine == "openvino":
        from convc.verify.openvino import OpenVino

        return OpenVino(path, 1, inputs)
    from convc.verify.ncnn import Ncnn

    return Ncnn(path, 1, inputs)


def peak_bytes() -> int:
    """The most memory this process had. Unlike that of getrusage, it does not begin with what the parent had."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    engine, path, signature = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    inputs = {name: np.zeros(shape, dtype) for name, shape, dtype in signature}
    begin = time.perf_counter()
    run = load(engine, path, inputs)
    loaded = time.perf_counter() - begin
    run(inputs)
    print(json.dumps({"load_s": loaded, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
