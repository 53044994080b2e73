"""Choose how each kernel is computed: a schedule template of the target, and its configuration.

    kernel(...)  =>  kernel template "direct_conv" config {...} (...)

The fastest candidate that was measured on this target (`convc.tuning`), or else the first template that applies, with
its first candidate that is not known to fail. What it costs, and what comes second, is noted in the kernel's
attributes. `template=NAME` takes that one for every kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xdsl.context import Context
from xdsl.dialects.builtin import DictionaryAttr, IntegerAttr, ModuleOp, StringAttr
from xdsl.ir import Attribute
from xdsl.passes import ModulePass

from convc.ir.kernel import KernelOp
from convc.ir.text import kernel_text
from convc.passes.rewriting import kernels_in, main_block
from convc.targets.choosing import Choice, decide
from convc.targets.measurements import open_measurements
from convc.targets.registry import template_named
from convc.targets.target import CpuTarget, parse_target


@dataclass(frozen=True)
class Select(ModulePass):
    """`target`: as `--target` takes it. `template`: the only one to use; none means the best that applies. `measured`:
    whether to look for measurements, for so many `threads` (0: all cores of the target), in `database` and among those
    that convc ships."""

    name = "select"
    target: str = "cpu"
    template: str = ""
    measured: bool = False
    database: str = ""
    threads: int = 0

    def __post_init__(self) -> None:
        if self.template:
            template_named(self.template, parse_target(self.target))

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        target = parse_target(self.target)
        threads = (self.threads or target.cores) if isinstance(target, CpuTarget) else 0
        known = open_measurements(self.database, target, threads) if self.measured else None
        kernels = kernels_in(main_block(op))
        if self.template:
            only = template_named(self.template, target)
            for kernel in kernels:
                choose(kernel, only.name, only.candidates(kernel, target)[0])
            return
        decided: dict[str, tuple[Choice, Choice | None]] = {}
        for kernel in kernels:
            if (text := kernel_text(kernel)) not in decided:
                decided[text] = decide(kernel, text, target, known)
            best, second = decided[text]
            choose(kernel, best.template, best.config)
            kernel.attributes["cost"] = _integers(best.cost)
            if second is not None:
                kernel.attributes["runner_up"] = _described(second)


def choose(kernel: KernelOp, template: str, config: Mapping[str, int]) -> None:
    """Record a choice in the kernel."""
    kernel.template = StringAttr(template)
    kernel.config = _integers(config)


def chosen(kernel: KernelOp) -> tuple[str, dict[str, int]]:
    """The template and the configuration that were recorded. Raises ValueError if there are none."""
    if kernel.template is None or kernel.config is None:
        raise ValueError("a kernel has no template yet: run the pass `select` first")
    config = {key: value for key, value in kernel.config.data.items() if isinstance(value, IntegerAttr)}
    return kernel.template.data, {key: value.value.data for key, value in config.items()}


def notes(kernel: KernelOp) -> dict[str, Any]:
    """What `select` noted of a choice, as plain values: `cost`, in ns as measured or in cycles of one core by the
    model, and the `runner_up` with its own."""
    return {key: _plain(kernel.attributes[key]) for key in ("cost", "runner_up") if key in kernel.attributes}


def _described(choice: Choice) -> DictionaryAttr:
    config, cost = _integers(choice.config), _integers(choice.cost)
    return DictionaryAttr({"template": StringAttr(choice.template), "config": config, "cost": cost})


def _integers(values: Mapping[str, int]) -> DictionaryAttr:
    return DictionaryAttr({key: IntegerAttr(value, 64) for key, value in values.items()})


def _plain(attribute: Attribute) -> Any:
    match attribute:
        case DictionaryAttr():
            return {key: _plain(value) for key, value in attribute.data.items()}
        case IntegerAttr():
            return attribute.value.data
        case StringAttr():
            return attribute.data
    raise TypeError(f"no plain value for {attribute}")
