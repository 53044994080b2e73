"""Compile candidates for a GPU into a folder that is measured where the GPU is, without the compiler."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from convc import __version__
from convc.artifact.manifest import CANDIDATES, write_manifest
from convc.artifact.writer import new_folder
from convc.ir.views import nbytes
from convc.pipeline import Build, Shapes
from convc.runtime.arrays import dtype_named
from convc.runtime.cpu import usable_cores
from convc.scratch import Scratch
from convc.targets.cuda.codegen import generate
from convc.targets.cuda.compiler import MachineCode
from convc.targets.cuda.library import source_of
from convc.targets.cuda.target import CudaTarget
from convc.targets.registry import template_named
from convc.targets.toolchain import ToolchainError
from convc.tuning.building import refusal
from convc.tuning.cuda.folder import digest_of
from convc.tuning.expected import expected_results
from convc.tuning.operands import random_operands
from convc.tuning.problem import operands_of
from convc.tuning.processes import in_children
from convc.tuning.results import Result
from convc.tuning.summary import title
from convc.tuning.workloads import Candidate, Workload, workloads

if TYPE_CHECKING:
    import onnx

Compiler: TypeAlias = Callable[[str, str, Sequence[str]], MachineCode]
"""As `compile_cuda`: from a source, an architecture and the functions wanted."""

COMPILE_SECONDS = 120.0
_SEED = 0


def emit(
    model: str | Path | onnx.ModelProto,
    shapes: Sequence[Shapes],
    build: Build,
    folder: Path,
    most: int,
    compiler: Compiler,
) -> None:
    """Write the candidates of a model, `most` for each distinct kernel that has several, for the target and in the
    precision of a `build` that makes no use of measurements. What cannot be compiled, or does not fit into registers,
    is noted as refused. Raises what building raises, and leaves nothing behind when it does."""
    assert isinstance(build.target, CudaTarget)
    modules = [build.module(model, each) for each in shapes]
    order = workloads([module for module, _ in modules], build.target)
    every = list(dict.fromkeys(workload for each in order for workload in each))
    found = [(each, each.candidates(build.target)[:most]) for each in every]
    several = [(workload, candidates) for workload, candidates in found if len(candidates) > 1]
    with new_folder(folder, CANDIDATES) as made:
        kernels = []
        for number, (workload, _) in enumerate(several):
            build.on_phase(f"expect  {number + 1} of {len(several)} kernels")
            kernels.append(_described(workload, build.target, made / f"k{number}.npz"))
        for kernel, compiled in zip(kernels, _compiled(several, build, made, compiler), strict=True):
            kernel["candidates"] = compiled
        manifest = {
            "format": CANDIDATES.format,
            "convc": __version__,
            "tvm": version("apache-tvm"),
            "target": build.target.to_dict(),
            "precision": build.precision,
            "network_bytes": sum(each.count * _traffic(each) for each in every),
            "kernels": kernels,
        }
        write_manifest(made, manifest, CANDIDATES)


def _traffic(workload: Workload) -> int:
    kernel = workload.forms[0]
    return sum(map(nbytes, (*kernel.inputs, *kernel.outputs)))


def _described(workload: Workload, target: CudaTarget, path: Path) -> dict[str, Any]:
    """What a manifest says of a kernel, but for its candidates; what it should compute is written to a file."""
    (kernel,) = workload.forms
    operands = operands_of(kernel, workload.weights)
    arrays = random_operands(operands, _SEED)
    results = expected_results(kernel, workload.weights, arrays, target.tf32, _SEED)
    stored: dict[str, np.ndarray] = {}
    for i, result in enumerate(results):
        stored[f"expected{i}"] = np.ascontiguousarray(result.expected).reshape(-1).view(np.uint8)
        if result.sample is not None:
            stored[f"places{i}"] = result.sample.places
    np.savez(path, **stored)  # type: ignore[arg-type]
    return {
        "name": workload.name,
        "computes": title(kernel),
        "count": workload.count,
        "text": workload.texts[0],
        "seed": _SEED,
        "operands": [asdict(operand) for operand in operands],
        "digest": digest_of(operands, arrays),
        "expected": path.name,
        "results": [_of_result(result) for result in results],
    }


def _of_result(result: Result) -> dict[str, Any]:
    dtype = str(result.expected.dtype)
    assert dtype_named(dtype) == result.expected.dtype
    return {"shape": result.shape, "dtype": dtype, "layout": result.layout, "tolerance": result.tolerance}


def _compiled(
    several: Sequence[tuple[Workload, Sequence[Candidate]]], build: Build, folder: Path, compiler: Compiler
) -> list[list[dict[str, Any]]]:
    """What a manifest says of all candidates of each kernel; their machine code is written to files of the folder."""
    assert isinstance(build.target, CudaTarget)
    flat = [(f"k{i}c{j}", *pair) for i, (w, cs) in enumerate(several) for j, pair in enumerate((w, c) for c in cs)]
    facts: dict[str, dict[str, Any]] = {}
    with Scratch() as scratch:
        tasks = [partial(_compile, *each, build.target, scratch, compiler) for each in flat]
        for done, (number, child) in enumerate(in_children(tasks, COMPILE_SECONDS, usable_cores()), 1):
            build.on_phase(f"compile  {done} of {len(flat)} candidates")
            stem = flat[number][0]
            if why := refusal(child, COMPILE_SECONDS, scratch):
                facts[stem] = {"refused": why}
                continue
            file = f"{stem}.cubin"
            (folder / file).write_bytes((scratch / file).read_bytes())
            facts[stem] = {"file": file, **json.loads((scratch / f"{stem}.json").read_text())}
    entries = {stem: {"template": each.template, "config": dict(each.config), **facts[stem]} for stem, _, each in flat}
    return [[entries[f"k{i}c{j}"] for j in range(len(cs))] for i, (_, cs) in enumerate(several)]


def _compile(
    stem: str, workload: Workload, candidate: Candidate, target: CudaTarget, folder: Path, compiler: Compiler
) -> None:
    """In a child: the code of a candidate, whose functions are named after `stem`, and how it is launched."""
    (kernel,) = workload.forms
    function = template_named(candidate.template, target).schedule(kernel, candidate.config, target)
    code = generate(stem, function, target)
    made = compiler(source_of([code]), target.arch, code.functions)
    if spilled := sum(made.resources[name].spilled_bytes for name in code.functions):
        raise ToolchainError(f"it spills {spilled} bytes of registers")
    (folder / f"{stem}.cubin").write_bytes(made.cubin)
    (folder / f"{stem}.json").write_text(json.dumps(code.describe(made.resources)))
