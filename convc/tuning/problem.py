"""What candidates of a workload are run on: random operands, in the memory of each form, and the results expected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Region

from convc.ir.attributes import element_type, layout_of, shape_of
from convc.ir.dtypes import is_float, to_numpy
from convc.ir.interpreter import interpret
from convc.ir.kernel import KernelOp
from convc.ir.macs import macs
from convc.ir.windows import WinogradConvOp, strides_of
from convc.ir.winograd import transformed_weight
from convc.targets.lower import Place
from convc.targets.memory import aligned
from convc.tuning.operands import Operand, in_memory, random_operands
from convc.tuning.results import Result
from convc.tuning.workloads import Workload

_TOLERANCES = {"bfloat16": 8e-3, "float16": 1e-3, "float32": 1e-5, "float64": 1e-13}
"""max|diff|/max|ref| of one kernel."""
_TF32 = 2e-3
"""The same where the factors of products are rounded to TF32."""
_LONG = 4096
"""Sums of more products than this may differ ten times as much: each rounds, in another order."""
_FEW = 1e-3


@dataclass(frozen=True)
class Problem:
    """`inputs` are the activations and `weights` the known operands of each form, all as they lie in memory, in bytes;
    `places` says where the operands and results of each form are."""

    inputs: list[np.ndarray]
    weights: list[np.ndarray]
    places: list[tuple[Place, ...]]
    results: list[Result]


def make_problem(workload: Workload, seed: int = 0) -> Problem:
    """Random operands for a workload; its results by the interpreter, in float64."""
    direct = workload.forms[0]
    described = operands_of(direct, workload.weights)
    operands = random_operands(described, seed)
    expected = interpreted(direct, operands)
    tolerances = [tolerance(direct, array) for array in expected]
    layouts = [str(layout_of(value) or "") for value in direct.outputs]
    problem = Problem([], [], [], [Result(*each) for each in zip(expected, layouts, tolerances)])
    activations = [i for i in range(len(operands)) if i not in workload.weights]
    problem.inputs.extend(in_memory(operands[i], described[i].layout) for i in activations)
    results = tuple(Place("output", number) for number in range(len(direct.outputs)))
    for form in workload.forms:
        places = {i: Place("input", number) for number, i in enumerate(activations)}
        parts: list[np.ndarray] = []
        end = 0
        for i in sorted(workload.weights):
            bytes_ = in_memory(_in_form(form, i, operands[i]), str(layout_of(form.inputs[i]) or ""))
            places[i] = Place("weight", 0, end)
            parts += [bytes_, np.zeros(aligned(bytes_.size) - bytes_.size, np.uint8)]
            end += aligned(bytes_.size)
        problem.weights.append(np.concatenate(parts) if parts else np.zeros(0, np.uint8))
        problem.places.append((*(places[i] for i in range(len(operands))), *results))
    return problem


def operands_of(kernel: KernelOp, weights: frozenset[int]) -> list[Operand]:
    """Of a kernel whose operands `weights` are known when a network is built."""
    return [
        Operand(shape_of(value), str(to_numpy(element_type(value))), str(layout_of(value) or ""), i in weights)
        for i, value in enumerate(kernel.inputs)
    ]


def interpreted(kernel: KernelOp, operands: list[np.ndarray]) -> list[np.ndarray]:
    """The kernel's results by its definition, computed in float64 and rounded to their types."""
    main = Block(arg_types=[value.type for value in kernel.inputs])
    types = [value.type for value in kernel.outputs]
    copy = KernelOp(list(main.args), kernel.body.clone(), types)
    main.add_op(copy)
    main.add_op(ReturnOp(*copy.outputs))
    module = ModuleOp([FuncOp("main", ([value.type for value in main.args], types), Region(main))])
    found = interpret(module, {}, {f"input{i}": array for i, array in enumerate(operands)}, np.float64).values()
    with np.errstate(over="ignore"):
        return [array.astype(to_numpy(element_type(value))) for array, value in zip(found, kernel.outputs, strict=True)]


def tolerance(kernel: KernelOp, result: np.ndarray, tf32: bool = False) -> float:
    """How far a result of a kernel may be from what is expected: see `Result`. `tf32`: its products may be of rounded
    factors."""
    if tf32 and result.dtype == np.float32 and macs(kernel):
        return _TF32
    if (found := _TOLERANCES.get(str(result.dtype))) is None:  # floats that are compared or rounded may be close
        return _FEW if any(is_float(element_type(value)) for value in kernel.inputs) else 0.0
    return 10 * found if macs(kernel) > _LONG * result.size else found


def _in_form(form: KernelOp, number: int, array: np.ndarray) -> np.ndarray:
    """A weight as an operand of a form, by its number, wants it: as it is, or transformed."""
    op = form.anchor
    if not isinstance(op, WinogradConvOp) or op.w != form.block.args[number]:
        return array
    return transformed_weight(array, op.m.value.data, strides_of(op))
