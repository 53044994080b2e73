"""Choose how each kernel is computed: a schedule template of the target, and its configuration.

    kernel(...)  =>  kernel template "direct_conv" config {...} (...)

The first template that applies, with its first candidate. `template=NAME` takes that one for every kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import DictionaryAttr, IntegerAttr, ModuleOp, StringAttr
from xdsl.passes import ModulePass

from convc.ir.kernel import KernelOp
from convc.ir.text import main_function
from convc.targets.cpu.registry import template_for, template_named
from convc.targets.target import parse_target


@dataclass(frozen=True)
class Select(ModulePass):
    """`target`: as `--target` takes it. `template`: the only one to use; none means the best that applies."""

    name = "select"
    target: str = "cpu"
    template: str = ""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        target = parse_target(self.target)
        for kernel in main_function(op).body.block.ops:
            if isinstance(kernel, KernelOp):
                template = template_named(self.template) if self.template else template_for(kernel, target)
                choose(kernel, template.name, template.candidates(kernel, target)[0])


def choose(kernel: KernelOp, template: str, config: Mapping[str, int]) -> None:
    """Record a choice in the kernel."""
    kernel.template = StringAttr(template)
    kernel.config = DictionaryAttr({key: IntegerAttr(value, 64) for key, value in config.items()})


def chosen(kernel: KernelOp) -> tuple[str, dict[str, int]]:
    """The template and the configuration that were recorded. Raises ValueError if there are none."""
    if kernel.template is None or kernel.config is None:
        raise ValueError("a kernel has no template yet: run the pass `select` first")
    config = {key: value for key, value in kernel.config.data.items() if isinstance(value, IntegerAttr)}
    return kernel.template.data, {key: value.value.data for key, value in config.items()}
