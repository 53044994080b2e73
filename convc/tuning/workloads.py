"""What there is to tune in a network: its distinct kernels, each in all forms that can take its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from convc.ir.data import ConstantOp, RelayoutOp, ReshapeOp, WeightOp
from convc.ir.kernel import KernelOp
from convc.ir.text import kernel_text, main_function
from convc.targets.choosing import candidates
from convc.targets.cpu.algorithms import forms
from convc.targets.measurements import candidate_key
from convc.targets.select import chosen
from convc.targets.target import AnyTarget
from convc.targets.template import Config


@dataclass(frozen=True)
class Candidate:
    """One way to compute a workload: the number of a form, a template and its configuration."""

    form: int
    template: str
    config: Config

    @property
    def key(self) -> tuple[int, tuple[str, str]]:
        """What tells the candidates of a workload apart."""
        return self.form, candidate_key(self.template, self.config)


@dataclass(eq=False)
class Workload:
    """A kernel that a network computes `count` times, named after the first. `weights` are the operands whose values
    are known when the network is built, `untuned` is what a build without measurements takes, `share` the part of the
    network's time that all of them take."""

    name: str
    forms: list[KernelOp]
    texts: list[str]
    weights: frozenset[int]
    untuned: Candidate
    count: int = 0
    share: float = 0.0

    def candidates(self, target: AnyTarget) -> list[Candidate]:
        """All of all forms: the untuned one, then the first by each template for each form, the second, and so on."""
        ranked: list[tuple[int, Candidate]] = []
        for number, form in enumerate(self.forms):
            places: Counter[str] = Counter()
            for template, config in candidates(form, target):
                ranked.append((places[template], Candidate(number, template, config)))
                places[template] += 1
        ordered = [self.untuned, *(candidate for _, candidate in sorted(ranked, key=lambda pair: pair[0]))]
        return list({candidate.key: candidate for candidate in ordered}.values())


def workloads(modules: Sequence[ModuleOp], target: AnyTarget) -> list[list[Workload]]:
    """For each module, in which `select` has chosen without measurements, the workload of each of its kernels, in
    order. Equal kernels, of whichever module, are one workload."""
    found: dict[str, Workload] = {}
    kernels = [[op for op in main_function(module).body.block.ops if isinstance(op, KernelOp)] for module in modules]
    return [[_workload(kernel, target, found) for kernel in each] for each in kernels]


def _workload(kernel: KernelOp, target: AnyTarget, found: dict[str, Workload]) -> Workload:
    """`found` holds those that are known, by the text of every form."""
    text = kernel_text(kernel)
    if text not in found:
        kernels = forms(kernel, target)
        texts = [kernel_text(form) for form in kernels]
        weights = frozenset(i for i, value in enumerate(kernel.inputs) if _is_known(value))
        untuned = Candidate(texts.index(text), *chosen(kernel))
        name = kernel.outputs[0].name_hint or "kernel"
        found.update(dict.fromkeys(texts, Workload(name, kernels, texts, weights, untuned)))
    found[text].count += 1
    return found[text]


def _is_known(value: SSAValue) -> bool:
    while isinstance(value.owner, ReshapeOp | RelayoutOp):
        value = value.owner.x
    return isinstance(value.owner, WeightOp | ConstantOp)
