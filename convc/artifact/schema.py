"""What a manifest may say: checked before anything is read, allocated or called by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Check: TypeAlias = Callable[[Any, str], None]
"""Raises ValueError, which says what was expected where, for a value at a place."""

_MAX_COUNT = 1 << 62  # of bytes, elements or operations: what fits C's integers with room for arithmetic


def count(value: Any, where: str, least: int = 0) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MAX_COUNT:
        raise ValueError(f"expected a whole number of at least {least} for {where}, got {_shown(value)}")


def text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"expected text for {where}, got {_shown(value)}")


def one_of(*values: Any) -> Check:
    def check(value: Any, where: str) -> None:
        if not any(type(value) is type(each) and value == each for each in values):
            raise ValueError(f"expected one of {', '.join(map(str, values))} for {where}, got {_shown(value)}")

    return check


def optional(inner: Check) -> Check:
    return lambda value, where: None if value is None else inner(value, where)


def array(inner: Check, least: int = 0) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) < least:
            raise ValueError(f"expected a list of at least {least} for {where}, got {_shown(value)}")
        for number, each in enumerate(value):
            inner(each, f"{where}[{number}]")

    return check


def table(inner: Check, key: Check = text) -> Check:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"expected a table for {where}, got {_shown(value)}")
        for name, each in value.items():
            key(name, f"a name in {where}")
            inner(each, f"{where}.{name}")

    return check


def record(fields: Mapping[str, Check], others: Mapping[str, Check] | None = None) -> Check:
    """A table with all of some fields, perhaps some `others`, and fields that are not looked at."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"expected a table for {where}, got {_shown(value)}")
        for name, inner in fields.items():
            if name not in value:
                raise ValueError(f"expected {where}.{name}, there is none")
            inner(value[name], f"{where}.{name}")
        for name, inner in (others or {}).items():
            if name in value:
                inner(value[name], f"{where}.{name}")

    return check


def file_name(value: Any, where: str) -> None:
    """Of a file in the folder itself."""
    text(value, where)
    if value in ("", ".", "..") or any(letter in value for letter in "/\\\0"):
        raise ValueError(f"expected the name of a file in the folder for {where}, got {_shown(value)}")


def _dtype(value: Any, where: str) -> None:
    from convc.runtime.arrays import dtype_named

    text(value, where)
    try:
        known = str(dtype_named(value)) == value and dtype_named(value).hasobject is False
    except (TypeError, ValueError, SyntaxError):
        known = False
    if not known:
        raise ValueError(f"expected an element type for {where}, got {_shown(value)}")


def _target(value: Any, where: str) -> None:
    record({"kind": one_of("cpu", "cuda"), "name": text})(value, where)
    if value["kind"] == "cpu":
        words, sizes = ("triple", "cpu"), ("vector_bits", "vector_registers", "l1_bytes", "l2_bytes", "l3_bytes")
        lists = dict.fromkeys(("features", "required_features"), array(text))
        numbers = dict.fromkeys((*sizes, "cores"), count)
        record({**dict.fromkeys(words, text), **numbers, **lists})(value, where)


def _shown(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


_CHOICE = {"template": text, "config": table(count)}
_COST = table(count)
_TENSORS = array(record({"name": text, "shape": array(count), "dtype": _dtype}))
_STEP = {"kernel": text, "name": text, "macs": count, "bytes": count}
_VARIANT = {"inputs": _TENSORS, "outputs": _TENSORS, "arena_bytes": count, "steps": array(record(_STEP))}
_ARTIFACT = record(
    {
        **dict.fromkeys(("convc", "tvm", "compiler"), text),
        "target": _target,
        "level": count,
        "precision": one_of("fp32", "tf32", "fp16", "bf16"),
        "threads": optional(lambda value, where: count(value, where, least=1)),
        "weight_bytes": count,
        "variants": array(record(_VARIANT), least=1),
        "kernels": table(record(_CHOICE, {"cost": _COST, "runner_up": record({**_CHOICE, "cost": _COST})})),
        "files": table(text, key=file_name),
    }
)


def check_artifact(manifest: Any) -> None:
    """Raises ValueError, with what was expected where, unless this is the manifest of an artifact."""
    _ARTIFACT(manifest, "manifest")
    names = [[tensor["name"] for tensor in variant["inputs"]] for variant in manifest["variants"]]
    if any(each != names[0] for each in names):
        raise ValueError("expected inputs of the same names in all of manifest.variants")
    for variant in manifest["variants"]:
        for step in variant["steps"]:
            if step["kernel"] not in manifest["kernels"]:
                raise ValueError(f"expected steps that call kernels of the manifest, got {_shown(step['kernel'])}")
