"""From scheduled functions to object files: TVM's lowering passes, then LLVM.

A kernel becomes a C function of plain pointers, `int kernel(const float *arg0, ..., float *y0)`, 0 on success: no
tensor structs and no checks, since convc's runtime has made them for the whole network. What such a function calls
back is defined in targets/native/runtime.c.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryFile

import tvm
from tvm import ir, s_tir, tirx

from convc.runtime.cpu import usable_cores
from convc.targets.cpu.buffers import ROLLED
from convc.targets.cpu.libm import written_out
from convc.targets.lets import to_memory
from convc.targets.lowering import LOOPS, has_blocks, run
from convc.targets.target import CpuTarget

# TVM's own pipeline for s_tir functions (tvm/s_tir/pipeline.py) without what only GPUs need. The first part concerns
# functions that a schedule made; CompactBufferAllocation would take most of the time of those written as loops.
_BLOCKS = (
    s_tir.transform.CanonicalizeLoop,
    s_tir.transform.LowerInitBlock,
    s_tir.transform.PlanAndUpdateBufferAllocationLocation,
    s_tir.transform.ConvertBlocksToOpaque,
    s_tir.transform.CompactBufferAllocation,
    s_tir.transform.LowerMatchBuffer,
    s_tir.transform.StmtSimplify,
    s_tir.transform.LowerOpaqueBlock,
    lambda: tirx.transform.NarrowDataType(32),
)
_LOOPS = (
    s_tir.transform.StmtSimplify,
    tirx.transform.FlattenBuffer,
    *LOOPS,
)
_CPU = 1  # kDLCPU


class CodegenError(Exception):
    """Machine code could not be made or written; the message is one line for the user."""


def compile_objects(
    functions: Mapping[str, tirx.PrimFunc],
    target: CpuTarget,
    folder: Path,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write the machine code of some scheduled functions, by symbol, to object files in a folder; their paths.

    Each function is compiled by itself, in child processes: on all cores, and so that LLVM, which ends its process
    when it cannot write, does not end this one. Raises CodegenError.
    """
    global _inherited
    _inherited = _Work(functions, target, folder)
    paths = [folder / f"{symbol}.o" for symbol in functions]
    workers = min(usable_cores(), max(len(functions), 1))
    with TemporaryFile() as messages:
        pool = ProcessPoolExecutor(workers, get_context("fork"), initializer=_begin, initargs=(messages.fileno(),))
        try:
            futures = [pool.submit(_compile, symbol) for symbol in functions]
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                on_done(done, len(futures))
        except BrokenProcessPool:
            messages.seek(0)
            lines = messages.read().decode(errors="replace").strip().splitlines()
            raise CodegenError(
                f"generating code failed: {lines[-1] if lines else 'the compiler was stopped'}"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
            _inherited = None
    return paths


@dataclass(frozen=True)
class _Work:
    functions: Mapping[str, tirx.PrimFunc]
    target: CpuTarget
    folder: Path


_inherited: _Work | None = None
"""What the children of `compile_objects` find in their copy of this process: TVM's functions cannot be pickled."""


def _begin(messages: int) -> None:
    """In a child: what LLVM says goes to the parent's file; an interrupt is for the parent to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(messages, 2)


def _compile(symbol: str) -> None:
    work = _inherited
    assert work is not None
    lowered({symbol: work.functions[symbol]}, work.target).write_to_file(str(work.folder / f"{symbol}.o"), "o")


def lowered(functions: Mapping[str, tirx.PrimFunc], target: CpuTarget) -> tvm.runtime.Module:
    """The functions as an LLVM module; `inspect_source("asm")` shows the code."""
    # Registers are for the sums of a tile. LLVM would keep the constants of a loop that stores them there throughout,
    # and sums on the stack: a dozen constants of an exponential took 4 % of an EfficientNet's time.
    described = target.tvm(hoists=not any(ROLLED in function.attrs for function in functions.values()))
    module = ir.IRModule({symbol: c_function(written_out(function), symbol) for symbol, function in functions.items()})
    module = tirx.transform.BindTarget(described)(module)
    scheduled = {v: f for v, f in module.functions.items() if has_blocks(f)}
    written = {v: f for v, f in module.functions.items() if v not in scheduled}
    module = run((*_BLOCKS, *_LOOPS), scheduled)
    module.update(run(_LOOPS, written))
    module = ir.IRModule({variable.name_hint: _on_cpu(to_memory(f)) for variable, f in module.functions.items()})
    module = tirx.transform.LowerTVMBuiltin()(module)
    module = ir.IRModule({variable.name_hint: _returning(function) for variable, function in module.functions.items()})
    module = tirx.transform.LowerIntrin()(module)
    return tvm.get_global_func("target.build.llvm")(module, described)


def c_function(function: tirx.PrimFunc, symbol: str) -> tirx.PrimFunc:
    """The function with pointers for parameters, and the type of the status that C callers see."""
    pointers = [tirx.Var(buffer.name, ir.PointerType(ir.PrimType(str(buffer.dtype)))) for buffer in function.params]
    buffers = [tirx.DeclBuffer(buffer, data=pointer) for buffer, pointer in zip(function.params, pointers)]
    body = tirx.SeqStmt([*buffers, function.body])
    changed = tirx.PrimFunc(pointers, body, ret_type=ir.PrimType("int32"))
    return changed.with_attr({"global_symbol": symbol, "tirx.noalias": True, "s_tir": True})


def _on_cpu(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Say where scratch memory is to be asked for. Earlier passes would drop the statement."""
    body = function.body
    for key, value in (("device_id", 0), ("device_type", _CPU)):
        body = tirx.AttrStmt(ir.StringImm("default"), key, tirx.IntImm("int32", value), body)
    return function.with_body(body)


def _returning(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Report success at the end: after scratch memory is given back, which the pass before this has written."""
    return function.with_body(tirx.SeqStmt([function.body, tirx.Return(tirx.IntImm("int32", 0))]))
