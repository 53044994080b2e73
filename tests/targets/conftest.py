"""Building one kernel, compiling it with one template, and running it on numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from xdsl.ir import Block, Region, SSAValue

from convc.ir.attributes import layout_of, physical_shape, shape_of, tensor
from convc.ir.dtypes import from_numpy, to_numpy
from convc.ir.kernel import KernelOp, YieldOp

Operand = tuple[Sequence[int], str] | tuple[Sequence[int], str, str]


def build_kernel(operands: Sequence[Operand], body: Callable[..., SSAValue], layout: str | None = None) -> KernelOp:
    """A kernel over operands (shape, dtype[, layout]); `body` creates operations (with `ops.append` order implied by
    use) and returns the value to yield. The result gets `layout`."""
    from convc.ir.data import RelayoutOp

    types = [tensor(from_numpy(dtype), shape, *rest) for shape, dtype, *rest in operands]
    block = Block(arg_types=types)
    value = body(*block.args)
    seen: set[Any] = set()

    def add(result: SSAValue) -> None:
        op = result.owner
        if isinstance(op, Block) or op in seen:
            return
        seen.add(op)
        for operand in op.operands:
            add(operand)
        block.add_op(op)

    add(value)
    if layout != (str(layout_of(value)) if layout_of(value) else None):
        relayout = RelayoutOp(value, layout)
        block.add_op(relayout)
        value = relayout.result
    block.add_op(YieldOp(value))
    outer = Block(arg_types=types)
    kernel = KernelOp(list(outer.args), Region(block), [value.type])
    outer.add_op(kernel)
    kernel.verify()
    return kernel


def run_kernel(kernel: KernelOp, template: Any, arrays: Sequence[np.ndarray], target: str = "cpu") -> np.ndarray:
    """The kernel's first result as a logical array. Operands are packed into their layouts; the padding of the
    result must be zero."""
    import tvm

    from convc.targets.target import parse_target

    described = parse_target(target)
    assert template.applies(kernel, described)
    function = template.schedule(kernel, template.candidates(kernel, described)[0], described)
    executable = tvm.compile(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}), described.tvm())
    packed = []
    for value, array in zip(kernel.inputs, arrays, strict=True):
        assert array.shape == shape_of(value)
        layout = layout_of(value)
        packed.append(layout.pack(array) if layout else np.asarray(array, order="C"))
    result = kernel.outputs[0]
    dtype = to_numpy(result.type.element_type)
    # Whatever the memory held before must not show.
    garbage = np.full(physical_shape(result), 77, dtype)
    tensors = [tvm.runtime.tensor(array) for array in (*packed, garbage)]
    executable.jit()["main"](*tensors)
    physical = tensors[-1].numpy()
    layout = layout_of(result)
    if layout is None:
        return physical
    logical = layout.unpack(physical, shape_of(result))
    np.testing.assert_array_equal(layout.pack(logical), physical, err_msg="the padding of a layout holds zeros")
    return logical


@pytest.fixture(name="build_kernel")
def _build_kernel() -> Callable[..., KernelOp]:
    return build_kernel


@pytest.fixture(name="run_kernel")
def _run_kernel() -> Callable[..., np.ndarray]:
    return run_kernel
