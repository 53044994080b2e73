"""Building small graphs in a line of Python, and applying passes to modules without changing what they compute."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region, SSAValue

from convc.ir.attributes import shape_of, tensor
from convc.ir.data import ConstantOp, ReshapeOp, TransposeOp, WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.dtypes import from_numpy
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.interpreter import interpret
from convc.ir.neural import ReduceOp
from convc.ir.signature import input_signature
from convc.ir.text import main_function, parse, to_text
from convc.ir.windows import PoolOp
from convc.passes.registry import pipeline

EXACT = 1e-9
ROUNDED = 1e-5  # weights are rounded to single precision anew


class Value:
    """A value of a graph. Operators and methods append elementwise functions: `x * 2 + y`, `x.clip(min=0)`."""

    __array_ufunc__ = None  # numpy leaves `array * value` to Value

    def __init__(self, graph: Graph, value: SSAValue) -> None:
        self.graph, self.value = graph, value

    @property
    def shape(self) -> tuple[int, ...]:
        return shape_of(self.value)

    def function(self, name: str, *others: Any, **params: float) -> Value:
        values = [self.graph.value(other) for other in (self, *others)]
        return self.graph.append(ElementwiseOp(Fn(name), *values, **params))

    def __getattr__(self, name: str) -> Callable[..., Value]:
        return lambda *others, **params: self.function(name, *others, **params)

    def __neg__(self) -> Value:
        return self.function("neg")

    def __pow__(self, exponent: float) -> Value:
        return self.function("pow", exponent)

    def transpose(self, *perm: int) -> Value:
        return self.graph.append(TransposeOp(self.value, perm))

    def reshape(self, *shape: int) -> Value:
        return self.graph.append(ReshapeOp(self.value, shape))

    def reduce(self, kind: Any, *axes: int) -> Value:
        return self.graph.append(ReduceOp(kind, self.value, axes))


def _operator(name: str) -> tuple[Callable[..., Value], Callable[..., Value]]:
    return (
        lambda self, other: self.function(name, other),
        lambda self, other: Value(self.graph, self.graph.value(other)).function(name, self),
    )


for _python, _name in {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "gt": "greater"}.items():
    _forward, _reflected = _operator(_name)
    setattr(Value, f"__{_python}__", _forward)
    setattr(Value, f"__r{_python}__", _reflected)


class Graph:
    """@main being built: inputs of some shapes (f32, or (shape, dtype)), then operations in order."""

    def __init__(self, *inputs: Any) -> None:
        self.context = CompilerContext()
        pairs = [given if isinstance(given[0], tuple) else (given, "float32") for given in inputs]
        self.block = Block(arg_types=[tensor(from_numpy(dtype), shape) for shape, dtype in pairs])
        self.inputs = [Value(self, argument) for argument in self.block.args]

    def append(self, op: Operation) -> Value:
        self.block.add_op(op)
        return Value(self, op.results[0])

    def append_function(self, name: str, *operands: Any) -> Value:
        return self.append(ElementwiseOp(Fn(name), *map(self.value, operands)))

    def value(self, given: Any) -> SSAValue:
        if isinstance(given, Value):
            return given.value
        if isinstance(given, np.ndarray):
            return self.weight(given).value
        return self.append(ConstantOp(float(given), tensor(from_numpy("float32"), ()))).value

    def weight(self, array: np.ndarray, name: str = "w") -> Value:
        array = np.asarray(array, "float32" if array.dtype == np.float64 else array.dtype)
        return self.append(
            WeightOp(self.context.weights.add(array, name), tensor(from_numpy(array.dtype), array.shape))
        )

    def module(self, *results: Value) -> ModuleOp:
        self.block.add_op(ReturnOp(*(result.value for result in results)))
        types = ([x.type for x in self.block.args], [result.value.type for result in results])
        return ModuleOp([FuncOp("main", types, Region([self.block]))])


def operations(module: ModuleOp) -> list[str]:
    """What @main computes, in order: kinds and functions, without weights and constants."""
    names = []
    for op in main_function(module).body.block.ops:
        match op:
            case WeightOp() | ConstantOp() | ReturnOp():
                continue
            case ElementwiseOp():
                names.append(str(op.function))
            case PoolOp() | ReduceOp():
                names.append(f"{op.name.removeprefix('convc.')} {op.kind.data}")
            case _:
                names.append(op.name.removeprefix("convc."))
    return names


def apply(
    passes: str, module: ModuleOp, context: CompilerContext, tolerance: float = EXACT, scale: float = 2.0
) -> ModuleOp:
    """The module after some passes. What it computes must not change by more than the tolerance, nor may the module if
    the last pass runs again."""
    rng = np.random.default_rng(0)
    inputs = {
        name: (rng.standard_normal(shape) * scale).astype(dtype) for name, shape, dtype in input_signature(module)
    }
    before = interpret(module, context.weights, inputs, np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # rewriting that does not end is one
        pipeline(passes).apply(context, module)
    module.verify()
    after = interpret(module, context.weights, inputs, np.float64)
    for name, reference in before.items():
        worst = np.abs(reference).max(initial=1e-30) if reference.dtype.kind == "f" else 1
        np.testing.assert_allclose(after[name] / worst, reference / worst, rtol=0, atol=tolerance, err_msg=passes)
    text = to_text(module)
    assert parse(text).is_structurally_equivalent(module)
    last = passes.split(",")[-1]
    pipeline(last).apply(context, module)
    assert to_text(module) == text, f"{last} is not done after one run"
    return module


@pytest.fixture(name="graph")
def _graph() -> type[Graph]:
    return Graph


@pytest.fixture(name="apply")
def _apply() -> Callable[..., ModuleOp]:
    return apply


@pytest.fixture
def simplified() -> Callable[..., list[str]]:
    """`simplified(passes, graph, *results)`: what the graph computes after the passes (see `operations`)."""

    def simplify(passes: str, graph: Graph, *results: Value, tolerance: float = EXACT, scale: float = 2.0) -> list[str]:
        return operations(apply(passes, graph.module(*results), graph.context, tolerance, scale))

    return simplify


@pytest.fixture(name="operations")
def _operations() -> Callable[[ModuleOp], Sequence[str]]:
    return operations
