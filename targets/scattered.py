"""The steps of a scatter: a copy of x, then one update after the other, since two of them may be to the same place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import tirx

from convc.ir.attributes import shape_of
from convc.ir.functions import Fn
from convc.ir.kernel import KernelOp
from convc.ir.sampling import ScatterOp
from convc.targets.emit import dtype_of
from convc.targets.flat import FlatReader, Memory, whole
from convc.targets.functions import apply
from convc.targets.sampling import wrapped

_COMBINED: Mapping[str, Fn] = {"add": Fn.ADD, "mul": Fn.MUL, "min": Fn.MIN, "max": Fn.MAX}


class Steps:
    """Statements on one element each, at a row and a column. Where something follows the scatter, which has to see all
    updates, they are made in memory of their own: `rows`."""

    def __init__(self, kernel: KernelOp, memory: Memory) -> None:
        op = kernel.anchor
        assert isinstance(op, ScatterOp)
        self.kernel, self.op, self.memory = kernel, op, memory
        self.count, self.width = shape_of(op.x)
        self.updates = shape_of(op.indices)[0]
        self.followed = kernel.yielded[0] is not op.result
        size, dtype = self.count * self.width, dtype_of(op.x)
        self.rows = tirx.decl_buffer((size,), dtype, "rows") if self.followed else memory.result
        self._reader = FlatReader(kernel, whole(()), memory, guarded=True)

    def copy(self, i: Any, k: Any) -> tirx.Stmt:
        return tirx.BufferStore(self.rows, self._reader.read(self.op.x, [i, k]), [i * self.width + k])

    def update(self, j: Any, k: Any) -> tirx.Stmt:
        """The update number j of a column."""
        at = wrapped(self._reader.read(self.op.indices, [j]), self.count) * self.width + k
        value = self._reader.read(self.op.updates, [j, k])
        if (fn := _COMBINED.get(self.op.mode.data)) is not None:
            value = apply(fn, [tirx.BufferLoad(self.rows, [at]), value], {})
        return tirx.BufferStore(self.rows, value, [at])

    def follow(self, i: Any, k: Any) -> tirx.Stmt:
        at = i * self.width + k
        self._reader.bind_element(self.op.result, lambda index: tirx.BufferLoad(self.rows, [at]))
        return tirx.BufferStore(self.memory.result, self._reader.element_at(self.kernel.yielded[0], [i, k]), [at])
