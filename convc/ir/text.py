"""The text form: MLIR syntax, the same at every stage of the compiler."""

from __future__ import annotations

from io import StringIO

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Operation
from xdsl.parser import Parser
from xdsl.printer import Printer

from convc.ir.dialect import CompilerContext


def parse(text: str, context: CompilerContext | None = None, name: str = "<text>") -> ModuleOp:
    """Parse and verify a module. Raises xdsl's ParseError or VerifyException, which point at the source."""
    module = Parser(context or CompilerContext(), text, name).parse_module()
    module.verify()
    return module


def to_text(op: Operation) -> str:
    """Print an operation as MLIR text, without a final newline."""
    stream = StringIO()
    Printer(stream).print_op(op)
    return stream.getvalue()


def main_function(module: ModuleOp) -> FuncOp:
    """The function @main, which every module of convc has. Raises ValueError without it."""
    for op in module.ops:
        if isinstance(op, FuncOp) and op.sym_name.data == "main":
            return op
    raise ValueError("expected a function @main in the module, found none")
