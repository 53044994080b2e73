"""Scatters: a copy of x, then one update after the other, since two of them may be to the same place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm import tirx

from convc.ir.attributes import shape_of
from convc.ir.functions import Fn
from convc.ir.kernel import KernelOp
from convc.ir.sampling import ScatterOp
from convc.targets.cpu.boxes import FlatReader, Memory, whole
from convc.targets.cpu.loops import PARALLEL_ELEMENTS, without_elements
from convc.targets.emit import dtype_of
from convc.targets.functions import apply
from convc.targets.sampling import wrapped
from convc.targets.target import Target
from convc.targets.template import Config

_COMBINED: Mapping[str, Fn] = {"add": Fn.ADD, "mul": Fn.MUL, "min": Fn.MIN, "max": Fn.MAX}


class Scattered:
    """Applies to scatters with one result. No configuration."""

    name = "scattered"

    def applies(self, kernel: KernelOp, target: Target) -> bool:
        return isinstance(kernel.anchor, ScatterOp) and len(kernel.outputs) == 1

    def candidates(self, kernel: KernelOp, target: Target) -> Sequence[Config]:
        return ({},)

    def schedule(self, kernel: KernelOp, config: Config, target: Target) -> tirx.PrimFunc:
        if (nothing := without_elements(kernel)) is not None:
            return nothing
        op, memory = kernel.anchor, Memory.of(kernel)
        assert isinstance(op, ScatterOp)
        return memory.function(_scatter(kernel, op, memory))


def _scatter(kernel: KernelOp, op: ScatterOp, memory: Memory) -> tirx.Stmt:
    reader = FlatReader(kernel, whole(()), memory, guarded=True)
    count, width = shape_of(op.x)
    followed = kernel.yielded[0] is not op.result
    # What follows reads all updates of an element: they are made in memory of their own.
    rows = tirx.decl_buffer((count * width,), dtype_of(op.x), "rows") if followed else memory.result

    def over(extent: int, body: Callable[[Any, Any], tirx.Stmt], parallel: bool = False) -> tirx.Stmt:
        """A loop over rows and the elements of each."""
        i, k = tirx.Var("i", "int32"), tirx.Var("k", "int32")
        kind = tirx.ForKind.PARALLEL if parallel and extent * width >= PARALLEL_ELEMENTS else tirx.ForKind.SERIAL
        inner = tirx.For(k, 0, width, tirx.ForKind.SERIAL, body(i, k))
        return tirx.For(i, 0, extent, kind, inner)

    def update(i: Any, k: Any) -> tirx.Stmt:
        at = wrapped(reader.read(op.indices, [i]), count) * width + k
        value = reader.read(op.updates, [i, k])
        if op.mode.data != "replace":
            value = apply(_COMBINED[op.mode.data], [tirx.BufferLoad(rows, [at]), value], {})
        return tirx.BufferStore(rows, value, [at])

    body = [
        over(count, lambda i, k: tirx.BufferStore(rows, reader.read(op.x, [i, k]), [i * width + k]), parallel=True),
        over(shape_of(op.indices)[0], update),
    ]
    if not followed:
        return tirx.stmt_seq(*body)
    reader.bind_element(op.result, lambda index: tirx.BufferLoad(rows, [index[0] * width + index[1]]))

    def follow(i: Any, k: Any) -> tirx.Stmt:
        return tirx.BufferStore(memory.result, reader.element_at(kernel.yielded[0], [i, k]), [i * width + k])

    return tirx.stmt_seq(tirx.AllocBuffer(rows), *body, over(count, follow, parallel=True))
