"""What the C library would compute for each lane of a vector by itself, written out where vectors can."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tvm_ffi
from tvm import ir, tirx

from convc.targets import angles, powers

_WRITTEN: Mapping[str, Callable[..., Any]] = {"powf": powers.pow, "sinf": angles.sin, "cosf": angles.cos}


def written_out(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function without those calls. (A GPU has them in its own library.)"""

    def replaced(call: ir.Call, mutator: Any) -> Any:
        call = mutator.default_mutate(call)
        if call.op.name != "tirx.call_pure_extern":
            return call
        name, *operands = call.args
        rule = _WRITTEN.get(name.value)
        return rule(*operands) if rule else call

    return function.with_body(tvm_ffi.structural_mutate(function.body, ((ir.Call, replaced),)))
