"""What the fallback templates of all targets share: any kernel as tensors, each computed by itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from tvm import s_tir, tirx

from convc.ir.kernel import KernelOp
from convc.ir.ordering import ScanOp, TopKOp
from convc.ir.sampling import GatherOp, GridSampleOp, ScatterOp
from convc.targets.anchors import bind_anchor
from convc.targets.emit import Emitter
from convc.targets.flat import without_elements
from convc.targets.target import AnyTarget
from convc.targets.template import Template

_WRITTEN = (GatherOp, GridSampleOp, ScanOp, ScatterOp, TopKOp)
"""What is no tensor expression: its steps follow one another, or its addresses hold elements, which TVM does not
simplify in tensor expressions."""


def written(kernel: KernelOp, templates: Sequence[Template[Any]], target: AnyTarget) -> tirx.PrimFunc | None:
    """The function of a kernel that is not made of tensors: it has no elements, or the first of some templates that
    applies writes its loops. None for any other."""
    if (nothing := without_elements(kernel)) is not None:
        return nothing
    if not isinstance(kernel.anchor, _WRITTEN):
        return None
    return next(t for t in templates if t.applies(kernel, target)).schedule(kernel, {}, target)


def tensors(kernel: KernelOp) -> tuple[s_tir.Schedule, list[Any]]:
    """A kernel's tensors, unscheduled, and their blocks in order."""
    emitter = Emitter(kernel)
    if (inner := kernel.inner) is not None:
        _bind_inner(emitter, inner)
    if kernel.anchor is not None:
        bind_anchor(emitter, kernel.anchor)
    function = emitter.prim_func([emitter.compute(value, f"y{i}") for i, value in enumerate(kernel.yielded)])
    schedule = s_tir.Schedule(function)
    return schedule, list(schedule.get_child_blocks(schedule.get_sblock("root")))


def _bind_inner(emitter: Emitter, inner: KernelOp) -> None:
    """Compute a kernel within the emitter's, all of its result at once."""
    for argument, operand in zip(inner.block.args, inner.inputs, strict=True):
        emitter.bind_element(argument, partial(emitter.read, operand))
    if inner.anchor is not None:
        bind_anchor(emitter, inner.anchor)
    emitter.bind(inner.outputs[0], emitter.compute(inner.yielded[0], "inner"))


def spatial_and_reduction(schedule: s_tir.Schedule, block: Any) -> tuple[list[Any], list[Any]]:
    """The innermost loops of a block that has one loop an axis: over its spatial axes, over its reduction axes."""
    loops, axes = list(schedule.get_loops(block)), list(schedule.get(block).iter_vars)
    # Around them are those of the tensor that it was computed at; a tensor of rank 0 has an axis without a loop.
    count = min(len(loops), len(axes))
    pairs = list(zip(loops[len(loops) - count :], axes[len(axes) - count :], strict=True))
    spatial = [loop for loop, axis in pairs if axis.iter_type == tirx.IterVar.DataPar]
    return spatial, [loop for loop, axis in pairs if axis.iter_type != tirx.IterVar.DataPar]
