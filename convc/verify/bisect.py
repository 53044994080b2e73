"""Where a wrong build first goes wrong: at which optimisation level, and at which node of the model.

1. The lowest level whose build differs from the reference names the phase at fault.
2. At that level all values of the graph are made outputs, and the first one in the graph's order that differs is
   found. Outputs do not fuse, so a fault of fusion may vanish here; then
3. the graph is cut off after a value, and that value is searched for by halving: the first one with which a build
   of what lies before it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import onnx

from convc.frontends.onnx.cutting import needed, select_outputs
from convc.runtime.compare import Difference
from convc.verify.precision import FP32, Precision
from convc.verify.reference import Reference
from convc.verify.report import Network, verify

if TYPE_CHECKING:
    from convc.ir.signature import Signature

Build = Callable[[onnx.ModelProto, int], Network]
"""Compiles a model at an optimisation level."""


@dataclass(frozen=True)
class Finding:
    """The first wrong value: the node that makes it, and how far it lies from the reference's."""

    level: int
    node: str
    op_type: str
    value: str
    difference: Difference

    def __str__(self) -> str:
        how = self.difference.problem or f"max|diff|/max|ref| {self.difference.error:.1e}"
        return (
            f"first wrong at -O{self.level}: '{self.value}', the result of node '{self.node}' ({self.op_type}): {how}"
        )


def bisect(
    model: onnx.ModelProto,
    build: Build,
    signature: Signature,
    *,
    seed: int = 0,
    precision: Precision = FP32,
    on_step: Callable[[str], None] = lambda text: None,
) -> Finding | None:
    """The first wrong value at the first wrong level; None where every level agrees with the reference."""
    search = _Search(model, build, signature, seed, precision, on_step)
    for level in range(4):
        on_step(f"building at -O{level}")
        if search.first_wrong(level, [output.name for output in model.graph.output]):
            return search.at(level)
    return None


@dataclass(frozen=True)
class _Search:
    model: onnx.ModelProto
    build: Build
    signature: Signature
    seed: int
    precision: Precision
    on_step: Callable[[str], None]

    def at(self, level: int) -> Finding:
        values = [name for node in self.model.graph.node for name in node.output if name]
        self.on_step(f"comparing {len(values)} values")
        if found := self.first_wrong(level, values):
            return self._finding(level, *found)
        low, high = 0, len(values) - 1
        while low < high:
            middle = (low + high) // 2
            self.on_step(f"cutting the graph after value {middle + 1} of {len(values)}")
            low, high = (low, middle) if self.first_wrong(level, [values[middle]]) else (middle + 1, high)
        found = self.first_wrong(level, [values[low]])
        return self._finding(level, values[low], found[1] if found else Difference(0.0, "only within the whole graph"))

    def first_wrong(self, level: int, outputs: Sequence[str]) -> tuple[str, Difference] | None:
        """The first of some values that differs, in a build of the graph that returns them."""
        model = needed(select_outputs(self.model, outputs))
        inputs = {value.name for value in model.graph.input}
        signature = [entry for entry in self.signature if entry[0] in inputs]
        network, reference = self.build(model, level), Reference(model)
        report = verify(
            network,
            reference,
            signature,
            samples=1,
            seed=self.seed,
            precision=self.precision,
            nearby=partial(reference.nearby, unit=self.precision.unit),
        )
        for output in report.outputs:
            if not output.passed:
                return output.name, Difference(output.error, output.problem)
        return None

    def _finding(self, level: int, value: str, difference: Difference) -> Finding:
        node = next(node for node in self.model.graph.node if value in node.output)
        return Finding(level, node.name or value, node.op_type, value, difference)
