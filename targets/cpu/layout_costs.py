"""What layouts cost on a CPU, for `assign-layouts`: cycles of one core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from convc.ir.attributes import with_layout
from convc.ir.kernel import KernelOp
from convc.ir.layout import Layout
from convc.ir.text import kernel_text
from convc.ir.views import moves_nothing, nbytes
from convc.targets.choosing import memory_cycles, modelled_cycles
from convc.targets.cpu.algorithms import fastest, finds_weights_cold, forms, in_form, measured_times
from convc.targets.cpu.tiling import STREAM_BYTES
from convc.targets.cpus import parse_cpu
from convc.targets.measurements import Measurements, open_measurements
from convc.targets.target import CpuTarget

_TRANSPOSED_BYTES = 16
"""A cycle: squares of vectors that are transposed in registers, a shuffle a cycle."""


@dataclass
class Cycles:
    """Implements `convc.passes.assign_layouts.Costs`. `cold`: as in `targets.cpu.algorithms`."""

    target: CpuTarget
    known: Measurements | None
    cold: bool
    _modelled: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def of(module: ModuleOp, target: str, measured: bool, database: str, threads: int) -> Cycles:
        """For a network, with the options of `select`."""
        cpu = parse_cpu(target)
        known = open_measurements(database, cpu, threads or cpu.cores) if measured else None
        return Cycles(cpu, known, finds_weights_cold(module, cpu))

    def kernel(self, forms: Sequence[KernelOp]) -> Sequence[float]:
        """Implements `Costs`. Measured times count only where those of all layouts are known; they are brought to the
        scale of the model, since nothing says how long a cycle is."""
        if len(forms) == 1:
            return [0.0]  # nothing to choose
        modelled, times = [self._cycles(form) for form in forms], [self._measured(form) for form in forms]
        known = [time for time in times if time is not None]
        if len(known) < len(forms) or inf in known:
            return [inf if time == inf else cycles for time, cycles in zip(times, modelled)]
        return [time * sum(modelled) / sum(known) for time in known]

    def relayout(self, x: SSAValue, layout: Layout | None, *, within: bool = False) -> float:
        """Implements `Costs`."""
        after = with_layout(x.type, layout)
        if moves_nothing(x, after):
            return 1
        return 1 + nbytes(after) / _TRANSPOSED_BYTES if within else (nbytes(x) + nbytes(after)) / STREAM_BYTES

    def trip(self, x: SSAValue) -> float:
        """Implements `Costs`."""
        return 2 * nbytes(x) / STREAM_BYTES

    def _cycles(self, kernel: KernelOp) -> float:
        """By the algorithm that `choose-algorithms` will take; padding of blocks is traffic, too."""
        if (text := kernel_text(kernel)) not in self._modelled:
            m = fastest(kernel, self.target, self.known, self.cold)
            form = in_form(kernel, m) if m else kernel
            self._modelled[text] = max(modelled_cycles(form, self.target), memory_cycles(form))
        return self._modelled[text]

    def _measured(self, kernel: KernelOp) -> float | None:
        """The time of the fastest algorithm in ns, infinite where all failed; None where nothing is known."""
        times = measured_times(forms(kernel, self.target), self.target, self.known) if self.known else {}
        return min(times.values(), default=None)
