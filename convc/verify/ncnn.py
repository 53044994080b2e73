"""ncnn, as a peer to be timed against; pnnx converts the model for it."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from convc.notation import shape_text
from convc.verify.reference import ReferenceFailure

PARAM, WEIGHTS = "model.ncnn.param", "model.ncnn.bin"


def convert(model: Path, shapes: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Write ncnn's files for an ONNX model with inputs of these shapes, in single precision, into a folder. Raises
    ReferenceFailure."""
    found = importlib.util.find_spec("pnnx")
    if found is None or found.origin is None:
        raise ReferenceFailure("pnnx, which converts models for ncnn, is not installed: pip install --no-deps pnnx")
    (folder / "model.onnx").symlink_to(model.resolve())
    sizes = ",".join(f"[{','.join(map(str, shape))}]" for shape in shapes.values())
    command = [str(Path(found.origin).with_name("pnnx")), "model.onnx", f"inputshape={sizes}", "fp16=0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or not (folder / PARAM).exists():
        said = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
        raise ReferenceFailure(f"pnnx cannot convert the model for ncnn: {said}")


class Ncnn:
    """A model, as `convert` wrote it, in ncnn on the CPU in single precision. Inputs have a batch of one, which ncnn's
    arrays leave out."""

    def __init__(self, folder: Path, threads: int, inputs: Mapping[str, np.ndarray]) -> None:
        try:
            import ncnn
        except ImportError:
            raise ReferenceFailure("ncnn is not installed: pip install ncnn") from None
        for name, array in inputs.items():
            if array.ndim < 2 or array.shape[0] != 1 or array.dtype != np.float32:
                given = f"{array.dtype} {shape_text(array.shape)}"
                raise ReferenceFailure(f"ncnn takes float32 inputs of batch 1, and '{name}' is {given}")
        self._ncnn, self._net = ncnn, ncnn.Net()
        options = self._net.opt
        options.num_threads = threads
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        if self._net.load_param(str(folder / PARAM)) or self._net.load_model(str(folder / WEIGHTS)):
            raise ReferenceFailure("ncnn cannot load what pnnx made of the model")
        if len(self._net.input_names()) != len(inputs):
            raise ReferenceFailure(f"pnnx left {len(self._net.input_names())} of the model's {len(inputs)} inputs")

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs in the model's order, without their batch."""
        extractor = self._net.create_extractor()
        held = [self._ncnn.Mat(array[0]) for array in inputs.values()]
        for name, value in zip(self._net.input_names(), held, strict=True):
            extractor.input(name, value)
        outputs = []
        for name in self._net.output_names():
            status, result = extractor.extract(name)
            if status:
                raise ReferenceFailure(f"ncnn fails to compute output '{name}' (status {status})")
            outputs.append(np.array(result))
        return outputs
