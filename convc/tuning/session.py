"""Tuning of a model: what it is made of, which parts take its time, and what was won."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xdsl.dialects.builtin import ModuleOp

from convc.bench import interleave, pinned
from convc.ir.data import WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.text import main_function
from convc.ir.views import nbytes
from convc.pipeline import Build, Shapes
from convc.runtime import lacking, load
from convc.runtime.inputs import random_inputs
from convc.scratch import Scratch
from convc.targets.choosing import modelled_cycles
from convc.targets.measurements import TuningError
from convc.targets.target import CpuTarget
from convc.tuning.batch import Conditions, Measure
from convc.tuning.database import Database
from convc.tuning.measuring import supervise
from convc.tuning.tuner import Budget, Report, Tuner
from convc.tuning.workloads import Workload, workloads

if TYPE_CHECKING:
    import onnx

_PROFILES = 10  # runs of the network, of which each kernel's fastest counts: whatever else runs only adds to it
_HANGS = 10.0  # seconds: no kernel of a network takes as long


@dataclass
class Session:
    """The tuning of a model for a target and a number of threads, by measurements on this machine, or with `machines`
    on others. `show` is told what it does before and after tuning, `report` how the tuning goes."""

    model: str | Path | onnx.ModelProto
    shapes: Sequence[Shapes]
    target: CpuTarget
    threads: int
    database: Path
    budget: Budget
    machines: Sequence[Measure] = ()
    show: Callable[[str], None] = lambda step: None
    report: Report = lambda tuner, workload: None
    limit: float = _HANGS

    def run(self) -> Tuner:
        """Tune. Raises TuningError, also where no candidate of a kernel is right, and what building raises."""
        target = self.target
        if not self.machines and (missing := lacking(target.to_dict())):
            raise TuningError(f"{target.name} is another machine ({missing}): tune there, or with --rpc on such ones")
        build = Build(target, threads=self.threads, measured=False, on_phase=self.show)
        modules = [build.module(self.model, each) for each in self.shapes]
        order = workloads([module for module, _ in modules], target)
        distinct = list(dict.fromkeys(workload for each in order for workload in each))
        weights = {op.key: nbytes(op.result) for module, _ in modules for op in _weights(module)}
        conditions = Conditions.of(target, self.threads, sum(weights.values()), self.limit)
        database = Database.create(self.database)
        try:
            tuner = Tuner(distinct, conditions, database, self.budget, self.report)
            self._estimate(tuner, build, modules, order)
            tuner.run(self.machines or [supervise])
        finally:
            database.close()
        if failures := tuner.failures():
            raise TuningError("; ".join(failures))
        return tuner

    def _estimate(
        self,
        tuner: Tuner,
        build: Build,
        modules: Sequence[tuple[ModuleOp, CompilerContext]],
        order: Sequence[Sequence[Workload]],
    ) -> None:
        """Say which part of the network's time each workload takes: as was measured, or else by a profile of the
        network built without measurements; by the model where that cannot run here."""
        times = [search.untuned.ns if search.untuned else 0.0 for search in tuner.searches]
        if all(times):
            for workload, ns in zip(tuner.workloads, times):
                workload.share = ns * workload.count
        elif self.machines:
            for workload in tuner.workloads:
                form = workload.forms[workload.untuned.form]
                workload.share = modelled_cycles(form, self.target) * workload.count
        else:
            with Scratch() as folder:
                build.finish(modules, folder / "untuned.convc")
                self.show("profile")
                for each, profile in zip(order, profiles(folder / "untuned.convc", self.threads), strict=True):
                    for workload, ns in zip(each, profile, strict=True):
                        workload.share += ns
        total = sum(workload.share for workload in tuner.workloads)
        for workload in tuner.workloads:
            workload.share /= total or 1.0


def profiles(artifact: Path, threads: int) -> list[list[float]]:
    """The time of each kernel of each variant of an artifact, in ns."""
    executable = load(artifact, threads)
    found = []
    with pinned(threads):
        for signature in executable.signatures:
            inputs = random_inputs(signature, 0)
            runs = [executable.profile(inputs) for _ in range(_PROFILES)]
            found.append([min(float(step.nanoseconds) for step in steps) for steps in zip(*runs)])
    return found


def _weights(module: ModuleOp) -> list[WeightOp]:
    return [op for op in main_function(module).body.block.ops if isinstance(op, WeightOp)]


def side_by_side(session: Session, seconds: float = 4.0) -> tuple[float, float, float]:
    """A session's network built without measurements and with them, timed in turn: the medians in ms, and that of the
    ratios of the second to the first. Of several sets of shapes, the first."""
    target, threads = session.target, session.threads
    builds = {
        "untuned": Build(target, threads=threads, on_phase=session.show, measured=False),
        "tuned": Build(target, threads=threads, on_phase=session.show, database=session.database),
    }
    with Scratch() as folder:
        calls = {}
        for name, build in builds.items():
            build.run(session.model, folder / name, session.shapes[:1])
            executable = load(folder / name, threads)
            calls[name] = partial(executable.run, random_inputs(executable.inputs, 0))
        session.show("compare")
        with pinned(threads):
            timings = interleave(calls, seconds)
    untuned, tuned = timings["untuned"], timings["tuned"]
    return untuned.median_ms, tuned.median_ms, tuned.ratio_to(untuned)
