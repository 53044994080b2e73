"""Load an artifact for a GPU on the software CUDA device."""

from __future__ import annotations

from pathlib import Path

from convc.artifact.manifest import SOURCE, check_files, read_manifest
from convc.runtime import ArtifactError, Executable
from convc.runtime.cuda.driver import Driver
from convc.runtime.cuda.engine import CudaEngine
from convc.scratch import Scratch
from convc.targets.cuda.compiler import DEVICE_HEADERS
from convc.targets.cuda.emulator.build import emulated_driver, emulated_kernels


def load_emulated(path: str | Path) -> Executable:
    """The network in an artifact's folder, its kernels.cu compiled for this machine's CPU: slow, and strict about what
    a GPU is strict about. Raises ArtifactError, and ToolchainError without a C++ compiler."""
    folder = Path(path)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    if manifest["target"]["kind"] != "cuda":
        raise ArtifactError(f"{folder} is built for {manifest['target']['name']}: only code for GPUs is emulated")
    functions = [launch["function"] for kernel in manifest["kernels"].values() for launch in kernel["launches"]]
    driver = Driver(emulated_driver())
    with Scratch() as scratch:
        library = scratch / "kernels.so"
        emulated_kernels((folder / SOURCE).read_text(), functions, library, DEVICE_HEADERS)
        code = library.read_bytes()
    return Executable(folder, manifest, engine=CudaEngine(folder, manifest, driver, [code]))
