"""Make code of candidates: each in a child process, then all that succeed in one library with the runtime."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from convc.runtime.cpu import usable_cores
from convc.targets.cpu.codegen import lowered
from convc.targets.emit_c import to_c
from convc.targets.lower import Program, Step
from convc.targets.registry import template_named
from convc.targets.target import CpuTarget
from convc.targets.toolchain import compile_c, link, runtime_object
from convc.tuning.findings import Finding
from convc.tuning.problem import Problem
from convc.tuning.processes import Child, in_children
from convc.tuning.workloads import Candidate, Workload

COMPILE_SECONDS = 60.0
_ROOM = 1 << 20  # bytes that a disk with room has left


def compile_candidates(
    workload: Workload, candidates: Sequence[Candidate], target: CpuTarget, folder: Path
) -> tuple[dict[int, Path], list[Finding]]:
    """Object files of those candidates, by number, that code can be made of, with the symbol `c<number>`; and what
    became of the others. Raises OSError where the disk is full."""
    tasks = [partial(_compile, workload, each, target, folder / f"c{i}.o") for i, each in enumerate(candidates)]
    objects, refused = {}, []
    for number, child in in_children(tasks, COMPILE_SECONDS, usable_cores()):
        if why := refusal(child, COMPILE_SECONDS, folder):
            refused.append(Finding(number, "refused", why=why))
        else:
            objects[number] = folder / f"c{number}.o"
    return objects, refused


def refusal(child: Child, limit: float, folder: Path) -> str:
    """Why a child that had so many seconds to write code into a folder has not; empty if it has. Raises OSError where
    the disk is full."""
    if child.process.exitcode == 0:
        return ""
    if shutil.disk_usage(folder).free < _ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    return f"no code after {limit:g} s" if child.killed else child.why


def _compile(workload: Workload, candidate: Candidate, target: CpuTarget, path: Path) -> None:
    template = template_named(candidate.template, target)
    function = template.schedule(workload.forms[candidate.form], candidate.config, target)
    lowered({path.stem: function}, target).write_to_file(str(path), "o")


def link_candidates(problem: Problem, objects: Sequence[tuple[int, Path]], target: CpuTarget, folder: Path) -> Path:
    """A library in which `convc_run_<i>` calls the i-th of some candidates, given as their form and object file."""
    steps = [Step(path.stem, path.stem, problem.places[form], 0, 0) for form, path in objects]
    programs = [Program([], [], [step]) for step in steps]
    source, program, runtime, library = (folder / name for name in ("p.c", "p.o", "runtime.o", "candidates.so"))
    source.write_text(to_c(programs))
    compile_c(source, program, target.arch, optimised=False)
    runtime.write_bytes(runtime_object(target.arch))
    link(library, [*(path for _, path in objects), program, runtime], target.arch)
    return library
