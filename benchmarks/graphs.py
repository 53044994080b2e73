"""A module of convc's graph dialect as plain JSON values, for who has no compiler to read it with."""

from __future__ import annotations

from typing import Any

from xdsl.dialects.builtin import (
    ArrayAttr,
    DenseArrayBase,
    FloatAttr,
    IntegerAttr,
    ModuleOp,
    StringAttr,
    SymbolRefAttr,
    UnitAttr,
)
from xdsl.dialects.func import ReturnOp
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import Attribute, Operation, SSAValue

from convc.ir.attributes import element_type, shape_of
from convc.ir.dtypes import to_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.signature import input_signature, output_signature
from convc.ir.text import main_function


def graph_of(module: ModuleOp) -> dict[str, Any]:
    """The operations of @main, none of which may have a region. Values are called v0, v1 ...; see `gpu.network` for
    what the result holds."""
    block = main_function(module).body.block
    values: dict[SSAValue, str] = {argument: f"v{i}" for i, argument in enumerate(block.args)}
    nodes: list[dict[str, Any]] = []
    outputs: list[dict[str, Any]] = []
    for op in block.ops:
        if isinstance(op, ReturnOp):
            names = [name for name, _, _ in output_signature(module)]
            outputs = [{"name": name, "value": values[value]} for name, value in zip(names, op.operands, strict=True)]
        else:
            (result,) = op.results
            values[result] = f"v{len(values)}"
            nodes.append(
                {
                    "op": op.name.removeprefix("convc."),
                    "inputs": [values[operand] for operand in op.operands],
                    "output": values[result],
                    "shape": list(shape_of(result)),
                    "dtype": str(to_numpy(element_type(result))),
                    "attributes": _attributes(op),
                }
            )
    inputs = [
        {"name": name, "value": values[argument], "shape": list(shape), "dtype": str(dtype)}
        for (name, shape, dtype), argument in zip(input_signature(module), block.args, strict=True)
    ]
    return {"inputs": inputs, "outputs": outputs, "nodes": nodes}


def _attributes(op: Operation) -> dict[str, Any]:
    if isinstance(op, ElementwiseOp):
        return {"fn": op.function.value, **op.param_values}
    return {name: _plain(attribute) for name, attribute in op.properties.items()}


def _plain(attribute: Attribute) -> Any:
    match attribute:
        case DenseArrayBase():
            return list(attribute.get_values())
        case IntegerAttr() | FloatAttr():
            return attribute.value.data
        case StringAttr():
            return attribute.data
        case UnitAttr():
            return True
        case ArrayAttr():
            return [_plain(each) for each in attribute.data]
        case SymbolRefAttr():
            return attribute.root_reference.data
        case EnumAttribute():
            return attribute.data.value
    raise TypeError(f"{attribute} has no form in JSON")
