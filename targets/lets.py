"""Names for subexpressions that are used more than once.

TVM's simplifiers put the value of a name wherever the name is used, in time exponential in the depth of a chain of
functions. Until the last passes a value is therefore wrapped in a call that they take to read memory; for those,
`to_memory` makes real memory of it, which LLVM moves into registers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx

_NAMED = "tirx.convc_named"


def _register() -> ir.Op:
    """An identity that TVM takes to read memory, and that lowering removes."""
    if _NAMED not in map(str, ir.Op.list_op_names()):
        ir._ffi_api.RegisterOp(_NAMED, "The operand, opaque to simplification.")
        op = ir.Op.get(_NAMED)
        op.set_num_inputs(1)
        op.set_attr("TCallEffectKind", 2)  # ReadState
        op.set_attr("TVectorizable", True)
        op.set_attr("TScriptPrinterName", "convc_named")
        tirx.op.register_intrin_lowering(_NAMED, target="default", f=lambda call: call.args[0])
    return ir.Op.get(_NAMED)


_OP = _register()


def opaque(value: Any) -> Any:
    """The value as one that is given a name."""
    return tirx.call_intrin(value.ty.dtype, _OP, value)


class Lets:
    """Collects `let name = value` around an expression. Without names a chain of functions, each using its operand
    k times, would be an expression of k**n nodes."""

    def __init__(self) -> None:
        self._bound: list[tuple[tirx.Var, Any]] = []

    def __call__(self, value: Any) -> Any:
        """A name for `value`, or the value itself if it is one already. A boolean is never used twice, and LLVM's code
        generator takes no name for a vector of them."""
        if isinstance(value, tirx.Var | tirx.FloatImm | tirx.IntImm) or str(value.ty.dtype) == "bool":
            return value
        name = tirx.Var("t", value.ty)
        self._bound.append((name, opaque(value)))
        return name

    def result(self, body: Any) -> Any:
        """The body, inside all names given so far."""
        for name, value in reversed(self._bound):
            body = tirx.Let(name, value, body)
        return body

    def inlined(self, body: Any) -> Any:
        """The body, inside those names that it uses more than once; the values of others are in their places."""
        for name, value in reversed(self._bound):
            body = let(name, value, body)
        return body


def let(name: tirx.Var, value: Any, body: Any) -> Any:
    """`let name = value in body`, or the body with the value in it if it uses the name once, and the value holds no
    names: deep in other expressions TVM's vectoriser meets some of those twice, and refuses them."""
    uses = 0

    def count(variable: tirx.Var) -> None:
        nonlocal uses
        uses += variable.same_as(name)

    tvm_ffi.structural_walk(body, (tirx.Var, count))
    if uses > 1 or (uses and _holds_names(value)):
        return tirx.Let(name, value, body)
    return tvm_ffi.structural_map(body, (tirx.Var, lambda variable: value if variable.same_as(name) else variable))


def to_memory(function: tirx.PrimFunc, scope: str = "global") -> tirx.PrimFunc:
    """The function with each name in what it stores as a small buffer: `t[0] = value; y[i] = body(t[0])`. What only
    one branch of an `if_then_else` computes moves into a branch of an `if`.

    For a CPU the buffers are of the global `scope`: TVM puts those on the stack, whence LLVM moves them into registers;
    in the local one it would ask the runtime for memory each time."""

    def store(store: tirx.BufferStore, mutator: Any) -> tirx.Stmt:
        if not _holds_names(store.value):
            return store
        before: list[tirx.Stmt] = []
        value = _Names({}, before, scope).replace(store.value)
        return tirx.stmt_seq(*before, tirx.BufferStore(store.buffer, value, store.indices))

    return function.with_body(tvm_ffi.structural_mutate(function.body, ((tirx.BufferStore, store),)))


def _holds_names(expression: Any) -> bool:
    return tvm_ffi.structural_walk(expression, (tirx.Let, lambda let: tvm_ffi.VisitInterrupt(let))) is not None


@dataclass
class _Names:
    """The names around an expression, as loads, and the statements that come before it."""

    loads: dict[int, Any]
    before: list[tirx.Stmt]
    scope: str

    def replace(self, expression: Any) -> Any:
        """The expression without names."""
        callbacks = ((tirx.Let, self._let), (ir.Call, self._call), (tirx.Var, self._var))
        return tvm_ffi.structural_mutate(expression, callbacks)

    def _var(self, name: tirx.Var, mutator: Any) -> Any:
        return self.loads.get(hash(name), name)

    def _let(self, let: tirx.Let, mutator: Any) -> Any:
        value = self.replace(let.value)
        if isinstance(value, tirx.Var):
            self.loads[hash(let.var)] = value
        else:
            store, self.loads[hash(let.var)] = self._memory(let.var.ty)
            self.before.append(store(value))
        return self.replace(let.body)

    def _call(self, call: ir.Call, mutator: Any) -> Any:
        if call.op.name != "prim.if_then_else" or not _holds_names(call):
            return mutator.default_mutate(call)
        condition = self.replace(call.args[0])
        store, load = self._memory(call.ty)
        branches = []
        for branch in call.args[1:]:
            inside = _Names(self.loads, [], self.scope)
            value = inside.replace(branch)
            branches.append(tirx.stmt_seq(*inside.before, store(value)))
        self.before.append(tirx.IfThenElse(condition, *branches))
        return load

    def _memory(self, type_: Any) -> tuple[Callable[[Any], tirx.Stmt], Any]:
        """A buffer for a scalar or a vector: what stores into it, and a load."""
        dtype = tvm.DataType(str(type_.dtype))
        buffer = tirx.decl_buffer((dtype.lanes,), dtype.with_lanes(1), "t", scope=self.scope)
        self.before.append(tirx.AllocBuffer(buffer))
        place = tirx.Ramp(0, 1, dtype.lanes) if dtype.lanes > 1 else 0
        return lambda value: tirx.BufferStore(buffer, value, [place]), tirx.BufferLoad(buffer, [place])
