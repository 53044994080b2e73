"""What the code generators of all targets do with functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import tvm_ffi
from tvm import ir, s_tir, tirx

LOOPS = (
    s_tir.transform.LoopPartition,
    tirx.transform.VectorizeLoop,
    tirx.transform.StorageRewrite,
    s_tir.transform.HoistIfThenElse,
    tirx.transform.UnrollLoop,
    s_tir.transform.RenormalizeSplitPattern,
    tirx.transform.StmtSimplify,
    tirx.transform.RemoveNoOp,
    s_tir.transform.RewriteUnsafeSelect,
)
"""The part of TVM's pipeline (tvm/s_tir/pipeline.py) for loops over flat buffers, whatever they run on."""


def run(
    passes: Sequence[Callable[[], ir.transform.Pass]], functions: Mapping[ir.GlobalVar | str, tirx.PrimFunc]
) -> ir.IRModule:
    """The functions after some passes, in order."""
    module = ir.IRModule(functions)
    for make in passes:
        module = make()(module)
    return module


def has_blocks(function: tirx.PrimFunc) -> bool:
    """Whether a schedule made a function, rather than a template that wrote its loops."""
    found: list[object] = []
    tvm_ffi.structural_walk(function.body, ((s_tir.SBlock,), found.append))
    return bool(found)
