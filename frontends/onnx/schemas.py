"""What the ONNX standard says of a node: its inputs, outputs and attributes, checked before a converter reads them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import onnx
from onnx import AttributeProto
from onnx.defs import SchemaError

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
    element = onnx.helper.np_dtype_to_tensor_dtype(static_dtype(value))
    return onnx.helper.make_tensor_type_proto(element, static_shape(value))
