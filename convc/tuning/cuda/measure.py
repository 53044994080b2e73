"""Measure a folder of candidates on this machine's GPU: the run-time is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from convc.runtime.cuda.driver import Driver
from convc.runtime.cuda.engine import lacking
from convc.targets.measurements import TuningError
from convc.tuning.cuda import bench
from convc.tuning.cuda.folder import Candidates, Records
from convc.tuning.processes import SPAWN
from convc.tuning.supervising import supervised

_HANGS = 10.0  # seconds: no graph of a kernel takes as long


def measure(
    folder: Path,
    library: Path | None = None,
    limit: float = _HANGS,
    report: Callable[[Records, int], None] = lambda records, kernel: None,
) -> Records:
    """Measure what is not known yet. `library` is the driver's, if it is not the system's; `report` is called when all
    candidates of a kernel are known. Raises ArtifactError for what is no folder of candidates, and TuningError where
    they cannot be measured."""
    candidates = Candidates(folder)
    if missing := lacking(candidates.target.to_dict(), library):
        raise TuningError(f"{folder} cannot be measured here, it is for {candidates.target.name}: {missing}")
    gpu = Driver(library).describe()
    here = replace(candidates.target, device=gpu.name, multiprocessors=gpu.multiprocessors)
    records = Records(candidates, here)
    for kernel in range(len(candidates.kernels)):
        if left := records.left(kernel):
            for finding in supervised(partial(bench.measure, folder, kernel, library), left, limit, SPAWN):
                records.add(kernel, finding)
        report(records, kernel)
    return records
