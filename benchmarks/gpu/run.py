#!/usr/bin/env python3
"""Time the networks of a pack beside torch's engines on this machine's GPU; needs numpy and torch.

    python run.py [-o results] [--models resnet50] [--batch 1,32] [--precision fp16] [--engines torch,cudnn-fused]

For each model, precision and batch: convc's outputs are compared with torch's in fp32, and then the engines take turns,
A B A B, over four sets of inputs; times are medians by the device's clock, ratios medians of the ratios of each round.
An engine that fails, or is wrong, is told in a line. Each model has a process in each precision. Writes results.json
after each of them, then results.md and results.svg.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

if missing := [name for name in ("numpy", "torch") if importlib.util.find_spec(name) is None]:
    sys.exit(f"run.py needs {' and '.join(missing)} here: pip install {' '.join(missing)}")

import numpy as np

from convc.bench import take_turns
from convc.roofline import Roofline
from convc.runtime import ArtifactError, Executable
from convc.runtime.cuda.engine import CudaEngine
from gpu import report
from gpu.device import Cuda, Device
from gpu.engines import PEERS, Case, Engine, convc_engine, one_line
from gpu.rates import kernel_table, measure
from gpu.weights import graph_weights, restore

PACK = Path(__file__).resolve().parent


def run_case(
    case: Case,
    tolerance: float,
    loaded: tuple[Executable, CudaEngine] | ArtifactError,
    roofline: Roofline,
    peers: Mapping[str, Callable[[Case], Engine]] = PEERS,
    seconds: float = 3.0,
) -> dict[str, Any]:
    """`engines`: the error and times of each, or why there are none; `kernels`: convc's, slowest first."""
    makers: dict[str, Callable[[Case], Engine]] = {"convc": lambda case: convc_engine(case, *_found(loaded)), **peers}
    engines: dict[str, dict[str, Any]] = {}
    timers: dict[str, Callable[[], float]] = {}
    for name, make in makers.items():
        # Whatever another engine raises is a line of the report, and the rest goes on.
        try:
            engine = make(case)
            error = case.error(engine.outputs())
            if not error <= tolerance:
                raise ValueError(f"differs from torch's fp32 by {error:.1e} of the largest value, not {tolerance:.0e}")
            engine.milliseconds()
        except Exception as error:
            engines[name] = {"failed": one_line(error)}
            continue
        engines[name], timers[name] = {"error": error}, engine.milliseconds
    timings = take_turns(timers, seconds * len(timers)) if timers else {}
    for name, timing in timings.items():
        engines[name] |= {"median_ms": timing.median_ms, "min_ms": timing.min_ms, "rounds": timing.runs}
        if "convc" in timings:
            engines[name]["convc_ratio"] = timings["convc"].ratio_to(timing)
    kernels = []
    if "convc" in timings:
        names = [entry["name"] for entry in case.graph["inputs"]]
        kernels = kernel_table(_found(loaded)[0], dict(zip(names, case.feeds[0], strict=True)), roofline)
    return {"engines": engines, "kernels": kernels}


def _found(loaded: tuple[Executable, CudaEngine] | ArtifactError) -> tuple[Executable, CudaEngine]:
    if isinstance(loaded, ArtifactError):
        raise loaded
    return loaded


def run_pack(
    pack: Path,
    device: Device,
    wanted: Callable[[str, str, int], bool] = lambda model, precision, batch: True,
    peers: Mapping[str, Callable[[Case], Engine]] = PEERS,
    seconds: float = 3.0,
    on_row: Callable[[dict[str, Any]], None] = lambda results: None,
    measured: Callable[[str, Device], Roofline] = measure,
) -> dict[str, Any]:
    """The results of a pack's cases that are `wanted`. `on_row` is given all of them after each."""
    contents = json.loads((pack / "pack.json").read_text())
    engines = ["convc", *peers]
    results: dict[str, Any] = {"machine": device.describe(), "engines": engines, "rates": {}, "rows": []}
    rooflines: dict[str, Roofline] = {}
    for model in contents["models"]:
        folder = pack / "models" / model["name"]
        weights: dict[str, np.ndarray] = {}
        for precision, tolerance in contents["precisions"].items():
            batches = [batch for batch in contents["batches"] if wanted(model["name"], precision, batch)]
            if not batches:
                continue
            if precision not in rooflines:
                rooflines[precision] = measured(precision, device)
                results["rates"][precision] = asdict(rooflines[precision])
            if not weights:
                with np.load(folder / "weights.npz") as carried:
                    weights = graph_weights(model["drawn"], carried)
            loaded = _load(folder / f"{precision}.convc", weights, device)
            for batch in batches:
                graph = json.loads((folder / f"graph-{batch}.json").read_text())
                case = Case(graph, weights, precision, device)
                row = {"model": model["name"], "precision": precision, "batch": batch}
                found = run_case(case, tolerance, loaded, rooflines[precision], peers, seconds)
                results["rows"].append(row | found)
                on_row(results)
    return results


def _load(
    artifact: Path, weights: Mapping[str, np.ndarray], device: Device
) -> tuple[Executable, CudaEngine] | ArtifactError:
    restore(artifact, weights)
    try:
        return device.load(artifact)
    except ArtifactError as error:
        return error


def run_apart(pack: Path, wanted: Callable[[str, str], bool], options: Sequence[str], output: Path) -> dict[str, Any]:
    """The results of a process for each model and precision: what a kernel does to the GPU's memory ends with it."""
    contents = json.loads((pack / "pack.json").read_text())
    results: dict[str, Any] = {"machine": {}, "engines": [], "rates": {}, "rows": [], "stopped": []}
    for model, precision in product([entry["name"] for entry in contents["models"]], contents["precisions"]):
        if not wanted(model, precision):
            continue
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "part.json"
            command = [sys.executable, str(pack / "run.py"), "--one-process", "-o", str(part)]
            code = subprocess.run([*command, "--models", model, "--precision", precision, *options]).returncode
            found = json.loads(part.read_text()) if part.exists() else {"rows": [], "rates": {}}
        results |= {key: found[key] for key in ("machine", "engines") if key in found}
        results["rates"] |= found["rates"]
        results["rows"] += found["rows"]
        if code:
            results["stopped"].append(f"{model} {precision}: its process ended with status {code}")
        output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("results"), help="without suffix (default results)")
    parser.add_argument("--models", type=_names, help="of these models only")
    parser.add_argument("--precision", type=_names, help="in these precisions only")
    parser.add_argument("--batch", type=_names, help="at these batch sizes only")
    parser.add_argument("--engines", type=_names, default=list(PEERS), help=f"beside convc (default {','.join(PEERS)})")
    parser.add_argument("--seconds", type=float, default=3.0, help="about how long to measure each (default 3)")
    parser.add_argument("--one-process", action="store_true", help="run here, and write no report")
    arguments = parser.parse_args()
    if unknown := set(arguments.engines) - set(PEERS):
        sys.exit(f"unknown engine {min(unknown)}; known: {', '.join(PEERS)}")

    def wanted(model: str, precision: str, batch: int | None = None) -> bool:
        asked = ((arguments.models, model), (arguments.precision, precision), (arguments.batch, batch))
        return all(not names or name is None or str(name) in names for names, name in asked)

    def on_row(results: dict[str, Any]) -> None:
        arguments.output.write_text(json.dumps(results) + "\n")
        print(report.progress(results["rows"][-1]), flush=True)

    try:
        device = Cuda()
    except RuntimeError as error:
        sys.exit(str(error))
    if arguments.one_process:
        peers = {name: PEERS[name] for name in arguments.engines}
        run_pack(PACK, device, wanted, peers, arguments.seconds, on_row)
        return
    options = ["--engines", ",".join(arguments.engines), "--seconds", str(arguments.seconds)]
    options += ["--batch", ",".join(arguments.batch)] if arguments.batch else []
    results = run_apart(PACK, wanted, options, arguments.output)
    text = report.markdown(results)
    arguments.output.with_suffix(".md").write_text(text)
    print(text)
    try:
        report.plot(results["rows"], results["engines"], arguments.output.with_suffix(".svg"))
    except ImportError:
        print("no plot: matplotlib is not installed")


def _names(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    main()
