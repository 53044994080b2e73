"""The candidates of a kernel by what they cost: as it was measured, or else by the analytic model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

from convc.ir.attributes import layout_of, shape_of
from convc.ir.data import ResizeOp
from convc.ir.kernel import KernelOp
from convc.ir.macs import macs
from convc.ir.text import kernel_text
from convc.ir.views import nbytes
from convc.ir.windows import ConvOp, PoolOp, WinogradConvOp
from convc.targets.cpu.algorithms import direct_cycles, forms
from convc.targets.cpu.direct_conv import DirectConv
from convc.targets.cpu.plain_conv import PlainConv, plain_conv_cycles
from convc.targets.cpu.plain_pool import PlainPool, plain_pool_cycles
from convc.targets.cpu.tiling import STREAM_BYTES
from convc.targets.cpu.winograd import winograd_cycles
from convc.targets.cpu.winograd_tiles import Geometry
from convc.targets.measurements import Measurements, Record, TuningError, candidate_key, usable
from convc.targets.registry import templates_of
from convc.targets.resize import gathered_taps
from convc.targets.target import AnyTarget, CpuTarget
from convc.targets.template import Config

_GENERIC_TAP = 2.5
"""Cycles for an element and a tap of a pool in plain layout, which no template but the last one takes: measured on 8
channels of 160 x 160, 3 x 3."""


_GATHERED_TAP = 2.1
"""Cycles for an element and a tap of a resize in plain layout whose loads are gathers: measured on 32 x 64 points that
become 256 x 512 with aligned corners. In blocks the same loads are vectors of channels."""


@dataclass(frozen=True)
class Choice:
    """A template and its configuration. `cost` is {"ns": the time of a call} as measured, or {"cycles": of one core} by
    the model, or nothing where it is not known."""

    template: str
    config: Config
    cost: Mapping[str, int] = field(default_factory=dict)


def candidates(kernel: KernelOp, target: AnyTarget) -> Iterator[tuple[str, Config]]:
    """All templates that apply with all of their configurations, best first by the model. The last template, which
    takes every kernel, counts only where no other does."""
    *special, last = templates_of(target)
    found = [template for template in special if template.applies(kernel, target)]
    for template in found or [last]:
        for config in template.candidates(kernel, target):
            yield template.name, config


def decide(kernel: KernelOp, text: str, target: AnyTarget, known: Measurements | None) -> tuple[Choice, Choice | None]:
    """What to choose for a kernel (whose `kernel_text` is given), and what would come second: another candidate, or
    another form of the kernel, which only `choose-algorithms` could have chosen. Raises TuningError where all that
    could be chosen is known to fail."""
    if known is None:
        return _by_model(kernel, target, [])
    others = {other: form for form in forms(kernel, target) if (other := kernel_text(form)) != text}
    records, *rest = known.records([text, *others])
    if not (found := usable(records, kernel, templates_of(target), target)):
        return _by_model(kernel, target, records)
    second = min([*found[1:], *(each[0] for each in rest if each)], key=_time, default=None)
    return _measured(found[0]), _measured(second) if second and second.outcome == "ok" else None


def modelled_cycles(kernel: KernelOp, target: CpuTarget) -> float:
    """The time of a kernel on one core by the analytic model. Where there is none, that of its arithmetic at two vector
    multiply-adds a cycle, or of its memory traffic from beyond the second cache, whichever is longer."""
    match kernel.anchor:
        case WinogradConvOp() as op:
            return winograd_cycles(Geometry.of(op, op.m.value.data), target)
        case ConvOp() as op if DirectConv().applies(kernel, target):
            return direct_cycles(op, target)
        case ConvOp() as op if PlainConv().applies(kernel, target):
            return plain_conv_cycles(op, target)
        case PoolOp() as op if PlainPool().applies(kernel, target):
            return plain_pool_cycles(op, target)
        case PoolOp() as op if layout_of(op.result) is None:
            return _GENERIC_TAP * prod(shape_of(op.result)) * prod(op.kernel.get_values())
        case _:
            return max(macs(kernel) / (2 * target.lanes()), memory_cycles(kernel), _gather_cycles(kernel))


def _gather_cycles(kernel: KernelOp) -> float:
    """The time of the loads of a kernel's resizes in plain layout."""
    resizes = [op for op in kernel.ops if isinstance(op, ResizeOp) and layout_of(op.result) is None]
    return sum(_GATHERED_TAP * prod(shape_of(op.result)) * gathered_taps(op) for op in resizes)


def memory_cycles(kernel: KernelOp) -> float:
    """The time of a kernel's memory traffic, all of it from and to beyond the second cache."""
    return sum(map(nbytes, (*kernel.inputs, *kernel.outputs))) / STREAM_BYTES


def _measured(record: Record) -> Choice:
    return Choice(record.template, record.config, {"ns": round(record.ns)})


def _time(record: Record) -> float:
    return record.ns if record.outcome == "ok" else float("inf")


def _by_model(kernel: KernelOp, target: AnyTarget, known: list[Record]) -> tuple[Choice, Choice | None]:
    failed = {record.key for record in known if record.outcome != "ok"}
    good = [each for each in candidates(kernel, target) if candidate_key(*each) not in failed]
    last = templates_of(target)[-1].name
    if not good and candidate_key(last, {}) not in failed:
        good = [(last, {})]
    if not good:
        name, reasons = kernel.outputs[0].name_hint, sorted({record.outcome for record in known})
        raise TuningError(f"kernel '{name}': all that could compute it failed when measured ({', '.join(reasons)})")
    (template, config), *others = good
    second = Choice(*others[0]) if others else None
    if not isinstance(target, CpuTarget):
        return Choice(template, config), second
    choice = Choice(template, config, {"cycles": round(modelled_cycles(kernel, target))})
    return choice, _other_form(kernel, target) or second


def _other_form(kernel: KernelOp, target: CpuTarget) -> Choice | None:
    """The form that the model holds for the fastest of those that a kernel does not have."""
    own = kernel_text(kernel)
    times = [(modelled_cycles(form, target), form) for form in forms(kernel, target) if kernel_text(form) != own]
    if not times:
        return None
    cycles, form = min(times, key=lambda pair: pair[0])
    return Choice(*next(candidates(form, target)), {"cycles": round(cycles)})
