#!/usr/bin/env python3
"""Time the networks of a pack beside torch's engines on this machine's GPU; needs numpy, and torch for all but convc.

    python run.py [-o results] [--minutes 9] [--models resnet50] [--batch 1,32] [--precision fp16] [--engines torch]

The most telling comes first (`gpu/plan.py`), and results.json and results.md are written anew with each thing that is
found, so that whatever ends the run leaves what it had. For each model, precision and batch, convc's outputs are
compared with the network's definition and with torch in fp32; engines take turns, A B A B, over four sets of inputs;
times are medians by the device's clock, ratios medians of the ratios of each round. An engine that fails is told in a
line, one that is wrong is marked and timed; where convc is, `--late` tells whether kernels begin too early. Networks
run in a process apart (`gpu/apart.py`): one that dies or hangs is traced to its kernel, and the rest goes on.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

if importlib.util.find_spec("numpy") is None:
    sys.exit("run.py needs numpy here, and torch to compare with: pip install numpy torch")

import numpy as np

from convc.artifact.manifest import WEIGHTS
from convc.bench import take_turns
from convc.roofline import Roofline
from convc.runtime import ArtifactError, Executable
from convc.runtime.cuda.driver import CudaError
from convc.runtime.cuda.engine import CudaEngine
from gpu import report
from gpu.alone import Alone, Engine, HostCase, convc_engine, data_sheet, one_line
from gpu.apart import Results, end_with_parent, run_apart
from gpu.kernels import kernel_table
from gpu.plan import Planned, plan
from gpu.weights import graph_weights, restore

PACK = Path(__file__).resolve().parent
ENGINES = ("torch-graph", "cudnn-fused", "torch", "torch.compile")
Loaded = tuple[Executable, CudaEngine] | ArtifactError
Makers = Mapping[str, Callable[[Any], Engine]]


def run_case(
    case: Any,
    planned: Planned,
    tolerance: float,
    loaded: Loaded,
    roofline: Roofline,
    peers: Makers,
    device: Any,
    at: Callable[[str], None] = lambda engine: None,
) -> dict[str, Any]:
    """`engines`: the error and times of each, or why there are none; `kernels`: convc's, slowest first. `at` is told
    the engine whose turn it is. What leaves the device unable to work ends this."""
    makers: dict[str, Callable[[Any], Engine]] = {"convc": lambda case: convc_engine(case, *_found(loaded))}
    makers |= {name: peers[name] for name in planned.peers}
    engines: dict[str, dict[str, Any]] = {}
    timers: dict[str, Callable[[], float]] = {}
    for name, make in makers.items():
        at(name)
        # Whatever an engine raises is a line of the report, and the rest goes on.
        try:
            engine = make(case)
            error = case.error(engine.outputs())
            engine.milliseconds()
        except Exception as problem:
            engines[name] = {"failed": one_line(problem)}
            if not _works(device):
                return {"engines": engines, "kernels": []}
            continue
        # How long a wrong result takes is worth knowing too.
        engines[name] = {"error": error if math.isfinite(error) else None, "right": error <= tolerance}
        timers[name] = engine.milliseconds
    at("convc")
    timings = take_turns(timers, planned.seconds * len(timers)) if timers else {}
    for name, timing in timings.items():
        engines[name] |= {"median_ms": timing.median_ms, "min_ms": timing.min_ms, "rounds": timing.runs}
        if "convc" in timings:
            engines[name]["convc_ratio"] = timings["convc"].ratio_to(timing)
    kernels = []
    if "convc" in timings:
        names = [entry["name"] for entry in case.graph["inputs"]]
        kernels = kernel_table(_found(loaded)[0], dict(zip(names, case.feeds[0], strict=True)), roofline)
    return {"engines": engines, "kernels": kernels}


def _works(device: Any) -> bool:
    try:
        device.check()
    except Exception:
        return False
    return True


def _found(loaded: Loaded) -> tuple[Executable, CudaEngine]:
    if isinstance(loaded, ArtifactError):
        raise loaded
    return loaded


class Networks:
    """The networks of a pack on a device. The last one is kept, with its artifact."""

    def __init__(self, pack: Path, device: Any) -> None:
        self.contents = json.loads((pack / "pack.json").read_text())
        self._pack, self._device = pack, device
        self._model, self._artifact = "", ("", "")
        self._weights: dict[str, np.ndarray] = {}
        self._loaded: Loaded = ArtifactError("nothing is loaded")

    def weights(self, model: str) -> dict[str, np.ndarray]:
        """By the names that its graph has for them."""
        if self._model != model:
            (entry,) = (each for each in self.contents["models"] if each["name"] == model)
            with np.load(self._pack / "models" / model / "weights.npz") as carried:
                self._weights = graph_weights(entry["drawn"], carried)
            self._model = model
        return self._weights

    def graph(self, planned: Planned) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """A network's graph, and what it computes by definition."""
        folder = self._pack / "models" / planned.model
        with np.load(folder / "defined.npz") as defined:
            return json.loads((folder / f"graph-{planned.batch}.json").read_text()), dict(defined)

    def loaded(self, planned: Planned) -> Loaded:
        """A network's artifact on the device, or why it is not there."""
        if self._artifact != (planned.model, planned.precision):
            self._loaded = ArtifactError("nothing is loaded")
            gc.collect()
            artifact = self._pack / "models" / planned.model / f"{planned.precision}.convc"
            if not (artifact / WEIGHTS).exists():
                restore(artifact, self.weights(planned.model))
            try:
                self._loaded = self._device.load(artifact)
            except ArtifactError as error:
                self._loaded = error
            self._artifact = (planned.model, planned.precision)
        return self._loaded


def run_cases(
    pack: Path,
    device: Any,
    cases: Iterable[Planned],
    say: Callable[[Mapping[str, Any]], None],
    peers: Makers,
    case_of: Callable[..., Any],
    rates: Callable[[str, Loaded], Roofline],
) -> None:
    """Say what is found on the device of each case: `case_of` makes it of a graph, weights, precision, definition."""
    networks = Networks(pack, device)
    say({"machine": device.describe()})
    rooflines: dict[str, Roofline] = {}
    for planned in cases:
        say({"begin": planned.title})
        loaded = networks.loaded(planned)
        if planned.precision not in rooflines:
            rooflines[planned.precision] = rates(planned.precision, loaded)
            say({"rates": {planned.precision: asdict(rooflines[planned.precision])}})
        graph, defined = networks.graph(planned)
        case = case_of(graph, networks.weights(planned.model), planned.precision, defined)
        tolerance = networks.contents["precisions"][planned.precision]
        found = run_case(
            *(case, planned, tolerance, loaded, rooflines[planned.precision], peers),
            *(device, lambda engine: say({"engine": engine})),
        )
        row = {"model": planned.model, "precision": planned.precision, "batch": planned.batch}
        notes = {"reference": {"doubt": case.doubt, "untold": case.untold}}
        say({"row": row | notes | found})
        del case
        gc.collect()
        device.check()
        say({"done": planned.title})


def trace(pack: Path, device: Any, planned: Planned, say: Callable[[Mapping[str, Any]], None]) -> None:
    """Say the name of each step of a network before it is launched by itself, and nothing when all are done."""
    networks = Networks(pack, device)
    executable, engine = _found(networks.loaded(planned))
    graph, _ = networks.graph(planned)
    shapes = [tuple(entry["shape"]) for entry in graph["inputs"]]
    number = [[shape for _, shape, _ in inputs] for inputs in executable.signatures].index(shapes)
    steps, kernels = executable.manifest["variants"][number]["steps"], executable.manifest["kernels"]
    signature = executable.signatures[number]
    inputs = [engine.prepare(np.zeros(shape, dtype), name, shape, dtype) for name, shape, dtype in signature]
    for at in engine.trace(number, inputs):
        kernel = steps[at]["kernel"]
        say({"step": f"{kernel} {steps[at]['name']} ({kernels[kernel]['template']} {kernels[kernel]['config']})"})
    say({"step": ""})


def work(task: Mapping[str, Any]) -> None:
    """A process of `run_apart`'s, on this machine's GPU."""
    with Path(task["output"]).open("a") as output:

        def say(found: Mapping[str, Any]) -> None:
            output.write(json.dumps(found) + "\n")
            output.flush()

        try:
            _work(task, say)
        except Exception as error:
            say({"raised": one_line(error)})
            raise


def _work(task: Mapping[str, Any], say: Callable[[Mapping[str, Any]], None]) -> None:
    cases = [Planned(**{**case, "peers": tuple(case["peers"])}) for case in task["cases"]]
    if task["trace"]:
        trace(PACK, Alone(task["early"]), cases[0], say)
    elif not task["torch"] or importlib.util.find_spec("torch") is None:
        run_cases(PACK, Alone(task["early"]), cases, say, {}, HostCase, _told)
    else:
        from gpu.device import Cuda
        from gpu.engines import PEERS, Case
        from gpu.rates import measure

        device = Cuda(task["early"])
        run_cases(
            *(PACK, device, cases, say, PEERS, lambda *parts: Case(*parts, device)),
            lambda precision, loaded: measure(precision, device),
        )


def _told(precision: str, loaded: Loaded) -> Roofline:
    return data_sheet(_found(loaded)[0].manifest["target"], precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("results"), help="without suffix (default results)")
    parser.add_argument("--minutes", type=float, default=9.0, help="the time that all may take (default 9)")
    parser.add_argument("--models", type=_names, help="of these models only")
    parser.add_argument("--precision", type=_names, help="in these precisions only")
    parser.add_argument("--batch", type=_names, help="at these batch sizes only")
    parser.add_argument("--engines", type=_names, help=f"beside convc (default {','.join(ENGINES)})")
    parser.add_argument("--seconds", type=float, help="how long to time each engine (default 0.3, the first model 1)")
    parser.add_argument("--late", action="store_true", help="convc's kernels wait for each other's end")
    parser.add_argument("--work", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        end_with_parent()
        work(json.loads(arguments.work.read_text()))
        return
    begin = time.monotonic()
    if not os.access(PACK, os.W_OK):
        sys.exit(f"{PACK} cannot be written to, and weights are made there: unpack it elsewhere")
    if unknown := set(arguments.engines or ()) - set(ENGINES):
        sys.exit(f"unknown engine {min(unknown)}; known: {', '.join(ENGINES)}")
    try:
        Alone()
    except CudaError as error:
        sys.exit(str(error))
    engines = arguments.engines if arguments.engines is not None else ENGINES
    if engines and importlib.util.find_spec("torch") is None:
        print("torch is not installed: convc runs by itself", flush=True)
        engines = ()
    wanted = ((arguments.models, "model"), (arguments.precision, "precision"), (arguments.batch, "batch"))
    cases = [
        case
        for case in plan(json.loads((PACK / "pack.json").read_text()), engines, arguments.seconds)
        if all(not names or str(getattr(case, key)) in names for names, key in wanted)
    ]

    def on_change(results: Results, found: Mapping[str, Any]) -> None:
        if text := report.progress(found):
            print(f"{time.monotonic() - begin:4.0f} s  {text}", flush=True)
        elif found:
            return
        _replace(arguments.output.with_suffix(".json"), json.dumps(results.to_dict(), indent=1) + "\n")
        _replace(arguments.output.with_suffix(".md"), report.markdown(results.to_dict()))

    try:
        on_change(Results(), {})
    except OSError as error:
        sys.exit(f"cannot write {arguments.output.with_suffix('.json')}: {error.strerror}")
    command = [sys.executable, str(PACK / "run.py"), "--work"]
    left = 60 * arguments.minutes - (time.monotonic() - begin)
    results = run_apart(command, cases, left, on_change, early=not arguments.late).to_dict()
    print(report.markdown({**results, "rows": [{**row, "kernels": []} for row in results["rows"]]}))
    try:
        report.plot(results["rows"], results["engines"], arguments.output.with_suffix(".svg"))
    except ImportError:
        print("no plot: matplotlib is not installed")


def _replace(path: Path, text: str) -> None:
    """Write a file such that at any time it is whole."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_text(text)
    unfinished.replace(path)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    main()
