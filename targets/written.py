"""Templates whose loops are written out as statements over flat memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic

from tvm import tirx
from xdsl.ir import Operation

from convc.ir.kernel import KernelOp
from convc.targets.flat import Memory, without_elements
from convc.targets.template import Config, T


class Written(ABC, Generic[T]):
    """Applies to kernels with one result around an anchor of some types. No configuration."""

    name: str
    anchors: tuple[type[Operation], ...]

    def applies(self, kernel: KernelOp, target: T) -> bool:
        return isinstance(kernel.anchor, self.anchors) and len(kernel.outputs) == 1

    def candidates(self, kernel: KernelOp, target: T) -> Sequence[Config]:
        return ({},)

    def schedule(self, kernel: KernelOp, config: Config, target: T) -> tirx.PrimFunc:
        if (nothing := without_elements(kernel)) is not None:
            return nothing
        memory = Memory.of(kernel)
        return memory.function(self.body(kernel, memory, target))

    @abstractmethod
    def body(self, kernel: KernelOp, memory: Memory, target: T) -> tirx.Stmt:
        """The statements that compute a kernel's result, which has elements."""
