"""The text form: MLIR syntax, the same at every stage of the compiler."""

from __future__ import annotations

from io import StringIO

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Operation
from xdsl.irdl import IRDLOperation
from xdsl.parser import Parser
from xdsl.printer import Printer

from convc.ir.dialect import CompilerContext
from convc.ir.kernel import KernelOp


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


def kernel_text(kernel: KernelOp) -> str:
    """What a kernel computes, as text that equal kernels share: a line for each argument and operation, those of a
    kernel within it indented; values numbered, not named; template and configuration left out. Short rather than MLIR:
    `select` makes it of every kernel of a network."""
    texts: dict[int, str] = {}

    def text(attribute: Attribute) -> str:
        if id(attribute) not in texts:  # types are long, and many values share one
            texts[id(attribute)] = str(attribute)
        return texts[id(attribute)]

    numbers = {argument: f"%{i}" for i, argument in enumerate(kernel.block.args)}
    lines = [text(argument.type) for argument in kernel.block.args]
    for op in kernel.block.ops:
        usual = _defaults(op)
        properties = ((key, x) for key, x in sorted((op.properties | op.attributes).items()) if usual.get(key) != x)
        words = [op.name, *(numbers[value] for value in op.operands), *(f"{key}={text(x)}" for key, x in properties)]
        for result in op.results:
            numbers[result] = f"%{len(numbers)}"
            words.append(text(result.type))
        lines.append(" ".join(words))
        if isinstance(op, KernelOp):
            lines += (f"  {line}" for line in kernel_text(op).splitlines())
    return "\n".join(lines)


_DEFAULTS: dict[type[Operation], dict[str, Attribute]] = {}


def _defaults(op: Operation) -> dict[str, Attribute]:
    """The properties of an operation that have one. They are not in the text of kernels: what was measured before an
    operation got a property is still known."""
    if type(op) not in _DEFAULTS:
        properties = op.get_irdl_definition().properties if isinstance(op, IRDLOperation) else {}
        found = {name: each.default_value for name, each in properties.items()}
        _DEFAULTS[type(op)] = {name: value for name, value in found.items() if value is not None}
    return _DEFAULTS[type(op)]


def main_function(module: ModuleOp) -> FuncOp:
    """The function @main, which every module of convc has. Raises ValueError without it."""
    for op in module.ops:
        if isinstance(op, FuncOp) and op.sym_name.data == "main":
            return op
    raise ValueError("expected a function @main in the module, found none")
