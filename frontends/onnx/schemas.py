"""What the ONNX standard says of a node: its inputs, outputs and attributes, checked before a converter reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

import onnx
from onnx import AttributeProto, TensorProto
from onnx.defs import SchemaError
from onnx.helper import np_dtype_to_tensor_dtype

from convc.frontends.onnx.registry import Value, static_dtype, static_shape

OLDEST_OPSET = 6
"""Converters know every definition from this one on. Of an older model they take the operators that it left alone."""


def check_node(node: onnx.NodeProto, opset: int) -> None:
    """Compare a node with its operator's definition. Raises ValueError with both sides.

    An operator that the operator set does not define passes: some exporters use those of a newer one.
    """
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            reference = f"{attribute.name} refers to {attribute.ref_attr_name} of a function"
            raise ValueError(f"attribute {reference}, outside of any")
    if opset < 1 and node.domain in ("", "ai.onnx"):
        raise ValueError("expected the model to say which ONNX opset it uses, it does not")
    schema = _schema(node.op_type, node.domain, opset)
    if schema is None or schema.deprecated:
        return
    if opset < OLDEST_OPSET and schema.domain == "":
        changed = _schema(node.op_type, node.domain, OLDEST_OPSET)
        if changed is not None and changed.since_version != schema.since_version:
            raise ValueError(f"expected its definition of opset {OLDEST_OPSET} or newer, the model has opset {opset}")
    for what, names, least, most in (
        ("inputs", node.input, schema.min_input, schema.max_input),
        ("outputs", node.output, schema.min_output, schema.max_output),
    ):
        if not least <= len(names) <= most:
            expected = f"{least}" if least == most else f"{least} to {most}" if most < 1 << 16 else f"{least} or more"
            raise ValueError(f"expected {expected} {what}, got {len(names)}")
    for attribute in node.attribute:
        defined = schema.attributes.get(attribute.name)
        if defined is None:
            known = ", ".join(schema.attributes) or "none"
            raise ValueError(
                f"has the attribute {attribute.name}, which opset {opset} does not define (it has: {known})"
            )
        if attribute.type != defined.type.value:
            found = _TYPES.get(attribute.type, str(attribute.type))
            raise ValueError(f"expected {_TYPES[defined.type.value]} as its attribute {attribute.name}, got {found}")
    given = {attribute.name for attribute in node.attribute}
    if missing := [name for name, defined in schema.attributes.items() if defined.required and name not in given]:
        raise ValueError(f"expected an attribute {missing[0]}, got {', '.join(sorted(given)) or 'none'}")


def check_types(node: onnx.NodeProto, inputs: Sequence[Value | None], opset: int) -> None:
    """Compare the element types of a node's inputs with its operator's definition: which an input may have, and which
    inputs have one and the same. Raises ValueError with both sides."""
    formals = _formal_inputs(node.op_type, node.domain, opset)
    bound: dict[str, tuple[str, str]] = {}
    for formal, value in zip(chain(formals, repeat(formals[-1])) if formals else (), inputs, strict=False):
        if value is None:
            continue
        found = _element_name(np_dtype_to_tensor_dtype(static_dtype(value)))
        if found not in formal.types:
            raise ValueError(f"expected its input {formal.name} to be {_listed(formal.types)}, got {found}")
        other, first = bound.setdefault(formal.variable, (formal.name, found))
        if first != found and formal.variable:
            names = "its inputs" if other == formal.name else f"its inputs {other} and {formal.name}"
            raise ValueError(f"expected one type for {names}, got {first} and {found}")


def function_body(node: onnx.NodeProto, inputs: Sequence[Value | None], opset: int) -> onnx.FunctionProto | None:
    """The standard's own definition of an operator by others, where it has one."""
    schema = _schema(node.op_type, node.domain, opset)
    if schema is None:
        return None
    body = b""
    if schema.has_function:
        body = schema.get_function_with_opset_version(schema.since_version)
    elif schema.has_context_dependent_function:
        types = [_type_proto(value).SerializeToString() for value in inputs]
        text = node.SerializeToString()
        body = schema.get_context_dependent_function_with_opset_version(schema.since_version, text, types)
    if not body:
        return None
    function = onnx.FunctionProto.FromString(body)
    defaults = [defined.default_value for defined in schema.attributes.values() if not defined.required]
    function.attribute_proto.extend(default for default in defaults if default.type)
    return function


def has_function_body(node: onnx.NodeProto, opset: int) -> bool:
    """Whether `function_body` may give one, as far as can be told before the inputs are known."""
    schema = _schema(node.op_type, node.domain, opset)
    return bool(schema and (schema.has_function or schema.has_context_dependent_function))


@dataclass(frozen=True)
class _FormalInput:
    """An input as an operator's definition has it. Inputs of one type share its `variable`; "" where it has none."""

    name: str
    types: tuple[str, ...]
    variable: str


@lru_cache(maxsize=1024)
def _formal_inputs(op_type: str, domain: str, opset: int) -> tuple[_FormalInput, ...]:
    """The inputs of an operator, the last of them perhaps repeated; none where the operator set does not define it."""
    schema = _schema(op_type, domain, opset)
    if schema is None or schema.deprecated:
        return ()
    variables = {constraint.type_param_str for constraint in schema.type_constraints}
    names = {f"tensor({name.lower()})": _element_name(number) for name, number in TensorProto.DataType.items()}
    return tuple(
        _FormalInput(
            formal.name,
            tuple(sorted(names[text] for text in formal.types if text in names)),
            formal.type_str if formal.type_str in variables and formal.is_homogeneous else "",
        )
        for formal in schema.inputs
    )


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _element_name(data_type: int) -> str:
    """An ONNX element type, as numpy calls it."""
    name = TensorProto.DataType.Name(data_type).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


@lru_cache(maxsize=1024)
def _schema(op_type: str, domain: str, opset: int) -> Any:
    """An onnx.defs.OpSchema or None. Its type stubs know half of what it has."""
    try:
        return onnx.defs.get_schema(op_type, opset, "" if domain == "ai.onnx" else domain)
    except (SchemaError, TypeError):  # TypeError: a version beyond 32 bits
        return None


_TYPES = {value: name.lower() for name, value in AttributeProto.AttributeType.items()}


def _type_proto(value: Value | None) -> onnx.TypeProto:
    if value is None:
        return onnx.TypeProto()
    element = np_dtype_to_tensor_dtype(static_dtype(value))
    return onnx.helper.make_tensor_type_proto(element, static_shape(value))
