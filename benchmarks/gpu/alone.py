"""convc's engine and what it is compared with, for machines with or without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from convc.artifact.manifest import check_files, read_manifest
from convc.roofline import Roofline
from convc.runtime import Executable
from convc.runtime.cuda.driver import Context, Driver
from convc.runtime.cuda.engine import CudaEngine
from gpu.weights import drawn

Graph: TypeAlias = Mapping[str, Any]
"""`inputs` (name, value, shape, dtype each), `outputs` (name and value each), `nodes` in order."""
Weights: TypeAlias = Mapping[str, np.ndarray]
FEEDS = 4
"""Sets of inputs that take turns, so that none is in a cache because it was just read."""
_SAMPLES = 1 << 12
_FLOPS = {"fp32": 128, "tf32": 1024, "fp16": 2048, "bf16": 2048}
"""Dense operations of an sm_80 multiprocessor in a cycle; sm_90 has twice these."""


class Engine:
    """Outputs for the first feed as float32, and the ms that one inference takes, all feeds in turn."""

    def __init__(self, outputs: Callable[[], list[np.ndarray]], milliseconds: Callable[[], float]) -> None:
        self.outputs, self.milliseconds = outputs, milliseconds


def feed(graph: Graph, number: int) -> list[np.ndarray]:
    """A set of inputs. A smaller batch has the first images of a larger one."""
    inputs = enumerate(graph["inputs"])
    return [drawn(1000 * number + i, entry["shape"], 1.0) for i, entry in inputs]


def definition(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What travels of the outputs that a network has by its definition, for `definition_error`."""
    found = {}
    for name, array in outputs.items():
        found |= {f"{name}.sample": _sample(array), f"{name}.largest": np.abs(array).max(initial=0)}
        found[f"{name}.rows"] = np.array(len(array))
    return found


def definition_error(defined: Mapping[str, np.ndarray], name: str, output: np.ndarray, batch: int) -> float:
    """max|diff| / max|ref| of an output's first images; 0 where there is nothing to compare, as for an output without
    a place for each image."""
    if f"{name}.sample" not in defined or len(output) != batch:
        return 0.0
    rows, largest = int(defined[f"{name}.rows"]), float(defined[f"{name}.largest"])
    return relative(_sample(output[:rows].astype(np.float64)), defined[f"{name}.sample"], largest)


def relative(found: np.ndarray, wanted: np.ndarray, largest: float) -> float:
    """max|diff| over the largest value; NaN and infinities count as infinite."""
    error = float(np.abs(found - wanted).max(initial=0) / max(largest, 1e-30))
    return error if np.isfinite(error) else float("inf")


def _sample(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1)[:: max(array.size // _SAMPLES, 1)].astype(np.float32)


class HostCase:
    """A network at one batch size and precision, its inputs in the host's memory, and what its outputs are by
    definition, those of the first images. Where there is another reference, `doubt` is how far that is from the
    definition, and `untold` why it gives nothing."""

    def __init__(self, graph: Graph, weights: Weights, precision: str, defined: Mapping[str, np.ndarray]) -> None:
        self.graph, self.weights, self.precision, self.defined = graph, weights, precision, defined
        self.batch = graph["inputs"][0]["shape"][0]
        self.feeds: list[list[Any]] = [feed(graph, number) for number in range(FEEDS)]
        self.untold, self.doubt = "", 0.0

    def error(self, outputs: Sequence[np.ndarray]) -> float:
        """max|diff| / max|ref| of the worst output for the first feed."""
        names = [entry["name"] for entry in self.graph["outputs"]]
        pairs = zip(names, outputs, strict=True)
        return max(definition_error(self.defined, name, output, self.batch) for name, output in pairs)


def convc_engine(case: HostCase, executable: Executable, engine: CudaEngine) -> Engine:
    """convc's CUDA graph, on inputs where they lie."""
    names = [entry["name"] for entry in case.graph["inputs"]]
    shapes = [tuple(entry["shape"]) for entry in case.graph["inputs"]]
    number = [[shape for _, shape, _ in inputs] for inputs in executable.signatures].index(shapes)
    prepared = [
        [engine.prepare(x, *signature) for x, signature in zip(feed, executable.signatures[number], strict=True)]
        for feed in case.feeds
    ]

    def outputs() -> list[np.ndarray]:
        found = executable.run(dict(zip(names, case.feeds[0], strict=True)))
        arrays = (found[entry["name"]] for entry in case.graph["outputs"])
        return [array if isinstance(array, np.ndarray) else array.numpy() for array in arrays]

    return Engine(outputs, lambda: engine.elapsed(number, prepared) / len(prepared) / 1e6)


class Alone:
    """This machine's first GPU, driven by convc alone; `early`: kernels may begin before the one before has ended.
    Raises CudaError without one."""

    def __init__(self, early: bool = True) -> None:
        self._driver, self._early = Driver(), early

    def describe(self) -> dict[str, str]:
        return {"gpu": self._driver.describe().name, "driver": self._driver.version, "torch": "none"}

    def load(self, artifact: Path) -> tuple[Executable, CudaEngine]:
        return loaded(artifact, self._early)

    def check(self) -> None:
        """Raises CudaError where the GPU takes no more work."""
        Context(self._driver).synchronise_all()


def data_sheet(target: Mapping[str, Any], precision: str) -> Roofline:
    """What the GPU of a manifest's target should do at the most, where nothing measures it."""
    flops = _FLOPS[precision] * (2 if target["arch"] >= "sm_90" else 1)
    return Roofline(target["multiprocessors"] * target["clock"] * flops / 1e9, target["bandwidth"] / 1e9)


def loaded(artifact: Path, early: bool = True) -> tuple[Executable, CudaEngine]:
    """convc's network on this machine's GPU, ready to run; `early`: its kernels may begin before the one before has
    ended. Raises ArtifactError."""
    manifest = read_manifest(artifact)
    check_files(artifact, manifest)
    if not early:
        for kernel in manifest["kernels"].values():
            for launch in kernel["launches"]:
                launch["early"] = False
    engine = CudaEngine(artifact, manifest)
    return Executable(artifact, manifest, engine=engine), engine


def one_line(error: BaseException) -> str:
    """An exception as a line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
