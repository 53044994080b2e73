"""Kernels without an anchor: elementwise chains, joins, slices, pads, transposes, resizing, changes of layout; and
gathers and samples, which read few elements for one. One thread computes what it can write at once."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from tvm import tirx

from convc.ir.attributes import physical_shape
from convc.ir.kernel import KernelOp
from convc.targets.cuda.target import ACCESS_BYTES, CudaTarget
from convc.targets.cuda.threads import each_thread
from convc.targets.emit import dtype_of
from convc.targets.flat import FlatReader, Memory, whole, without_elements
from convc.targets.indexing import unravelled
from convc.targets.injective import reads_few
from convc.targets.template import Config

MOST_LANES = 4
"""Of the vectors that TVM's CUDA generator can write constants of."""


class Injective:
    """Applies to every kernel without an anchor, to gathers and samples, and to LRN over a few channels.

    `lanes`: how many neighbouring elements a thread computes."""

    name = "injective"

    def applies(self, kernel: KernelOp, target: CudaTarget) -> bool:
        return reads_few(kernel) and len(kernel.outputs) == 1

    def candidates(self, kernel: KernelOp, target: CudaTarget) -> Sequence[Config]:
        elements = prod(physical_shape(kernel.yielded[0]))
        values = (*kernel.block.args, kernel.yielded[0])
        widest = max((np.dtype(dtype_of(value)).itemsize for value in values), default=1)
        lanes = min(ACCESS_BYTES // widest, MOST_LANES)
        if any(
            dtype_of(value) == "bool" for value in values
        ):  # TVM reads two bytes for each element of a vector of them
            lanes = 1
        # Few elements: rather more threads than wider ones.
        while lanes > 1 and (elements % lanes or elements // lanes < target.threads // 4):
            lanes //= 2
        return tuple({"lanes": lanes >> i} for i in range(lanes.bit_length()))

    def schedule(self, kernel: KernelOp, config: Config, target: CudaTarget) -> tirx.PrimFunc:
        if (nothing := without_elements(kernel)) is not None:
            return nothing
        memory, lanes = Memory.of(kernel), config.get("lanes", 1)
        reader = FlatReader(kernel, whole(()), memory, guarded=True)
        groups, group, lane = prod(memory.shape) // lanes, tirx.Var("group", "int32"), tirx.Var("lane", "int32")
        reader.bind_axes([group, lane], [groups, lanes])
        flat = group * lanes + lane
        value = reader.element_at(kernel.yielded[0], [reader.simplify(i) for i in unravelled(flat, memory.shape)])
        kind = tirx.ForKind.VECTORIZED if lanes > 1 else tirx.ForKind.SERIAL
        store = tirx.For(lane, 0, lanes, kind, tirx.BufferStore(memory.result, value, [flat]))
        return memory.function(each_thread(target, group, groups, store))
