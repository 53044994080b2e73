"""Read an ONNX file that nobody vouches for: every size and path is checked before memory is taken."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from convc.frontends.onnx.calls import nested
from convc.frontends.onnx.problem import ImportProblem

_MAX_FILE = 2 << 30  # a protobuf message cannot be larger


def load(path: Path) -> onnx.ModelProto:
    """The model in a file, its external data left where it is. Raises ImportProblem."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImportProblem(f"expected an ONNX file, {path} is a folder")
        if not stat.S_ISREG(status.st_mode):
            raise ImportProblem(f"expected an ONNX file, {path} is no regular file")
        if not status.st_size:
            raise ImportProblem(f"expected an ONNX file, {path} is empty")
        if status.st_size > _MAX_FILE:
            raise ImportProblem(
                f"{path} is {status.st_size} bytes; an ONNX file holds at most {_MAX_FILE} (use external data)"
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte in it
        raise ImportProblem(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise ImportProblem(f"{path} is not an ONNX model, or is truncated: it does not parse") from None
    check(model, str(path))
    return model


def check(model: onnx.ModelProto, name: str) -> None:
    """Refuse what parsed but is no model (text files do parse as empty protobufs now and then), and what the whole
    frontend cannot take."""
    if not model.opset_import or not model.graph.output:
        raise ImportProblem(f"{name} is not an ONNX model: it has no operator set or no outputs")
    if model.graph.sparse_initializer:
        names = [sparse.values.name for sparse in model.graph.sparse_initializer]
        raise ImportProblem(f"expected dense weights, '{names[0]}' ({len(names)} in all) is a sparse initializer")
    if invalid := next((text for text in _names(model) if isinstance(text, bytes)), None):
        raise ImportProblem(f"expected names in UTF-8, {name} holds {invalid!r}")
    opset = opsets(model)[""]
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ImportProblem(f"expected ONNX opset {newest} or older (onnx {onnx.__version__}), the model has {opset}")


def _names(model: onnx.ModelProto) -> Iterator[str | bytes]:
    """Every name that values and nodes have. protobuf returns what is not UTF-8 as bytes."""
    graph = model.graph
    yield graph.name
    for named in (*graph.input, *graph.output, *graph.initializer):
        yield named.name
    for node in (*nested(graph.node), *(node for function in model.functions for node in nested(function.node))):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)


def opsets(source: onnx.ModelProto | onnx.FunctionProto) -> dict[str, int]:
    """The version of each operator set by domain; the default domain is "" and is 0 where it is absent."""
    versions = {"": 0}
    for entry in source.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        versions[domain] = max(versions.get(domain, 0), entry.version)
    return versions
