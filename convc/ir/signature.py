"""The inputs and outputs of a module's @main, by the names that the model gave them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute

from convc.ir.attributes import element_type, shape_of
from convc.ir.dtypes import to_numpy
from convc.ir.text import main_function

INPUT_NAMES = "convc.input_names"
OUTPUT_NAMES = "convc.output_names"

Signature: TypeAlias = list[tuple[str, tuple[int, ...], np.dtype]]
"""(name, logical shape, element type) of each tensor, in order."""


def input_signature(module: ModuleOp) -> Signature:
    """What @main takes. Without names in the text, inputs are called input0, input1 ..."""
    function = main_function(module)
    return _signature(function, INPUT_NAMES, list(function.function_type.inputs), "input")


def output_signature(module: ModuleOp) -> Signature:
    """What @main returns."""
    function = main_function(module)
    return _signature(function, OUTPUT_NAMES, list(function.function_type.outputs), "output")


def _signature(function: FuncOp, key: str, types: list[Attribute], stem: str) -> Signature:
    attribute = function.attributes.get(key)
    names = [f"{stem}{i}" for i in range(len(types))]
    if isinstance(attribute, ArrayAttr):
        names = [name.data for name in attribute.data if isinstance(name, StringAttr)]
    if len(names) != len(types):
        raise ValueError(f"@main has {len(types)} {stem}s, {key} names {len(names)}")
    return [(name, shape_of(type_), to_numpy(element_type(type_))) for name, type_ in zip(names, types)]
