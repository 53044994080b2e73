"""One-operator models, imported, evaluated by the interpreter in float64, and compared with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from convc.frontends.onnx import import_model
from convc.ir.data import WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.interpreter import interpret

Operand: TypeAlias = np.ndarray | tuple[int, ...] | None
"""An input of a node: an array is a weight; a shape is an input of the model, filled with random numbers; None is
left out. `live` makes an input of an array."""


class Live:
    """An array that is an input of the model, not a weight."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Any],
    outputs: Sequence[str],
    *,
    weights: Mapping[str, np.ndarray] | None = None,
    opset: int = 18,
    domains: Mapping[str, int] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model; an input is given by its shape (float32; a string is a symbolic size) or by (numpy type, shape)."""
    graph_inputs = []
    for name, given in inputs.items():
        typed = isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], type | np.dtype)
        dtype, shape = given if typed else (np.float32, given)
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        graph_inputs.append(helper.make_tensor_value_info(name, element, shape))
    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(
        list(nodes), "test", graph_inputs, [onnx.ValueInfoProto(name=name) for name in outputs], initializers
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in {"": opset, **(domains or {})}.items()]
    # onnxruntime reads older IR versions than onnx writes by default.
    return helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 22 else 10, functions=functions)


def run_imported(
    model: onnx.ModelProto,
    feeds: Mapping[str, np.ndarray],
    dtype: type[np.floating] | None = np.float64,
    **options: Any,
) -> dict[str, np.ndarray]:
    """The outputs of the imported module, every float held in float64; without a `dtype`, each in its own type."""
    context = CompilerContext()
    module = import_model(model, context, **options)
    module.verify()
    return interpret(module, context.weights, feeds, dtype)


def run_onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def assert_close(got: np.ndarray, want: np.ndarray, tolerance: float) -> None:
    """max|got - want| / max|want| is at most the tolerance; other than finite numbers are in the same places."""
    assert got.shape == want.shape
    if want.dtype.kind != "f":
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
        return
    finite = np.isfinite(want)
    np.testing.assert_array_equal(np.where(finite, 0, got), np.where(finite, 0, want))
    error = np.abs(got[finite] - want[finite]).max(initial=0) / np.abs(want[finite]).max(initial=1e-30)
    assert error <= tolerance


def make_case(
    op_type: str, operands: Sequence[Any], outputs: int, opset: int, domain: str, attributes: Mapping[str, Any]
) -> tuple[onnx.ModelProto, onnx.ModelProto, dict[str, np.ndarray]]:
    """(the model, the same with every operand a weight, the feeds of the first)."""
    rng = np.random.default_rng(0)
    feeds, weights, names = {}, {}, []
    for position, operand in enumerate(operands):
        name = "" if operand is None else f"in{position}"
        names.append(name)
        if isinstance(operand, tuple):
            feeds[name] = rng.standard_normal(operand).astype(np.float32)
        elif isinstance(operand, Live):
            feeds[name] = operand.array
        elif operand is not None:
            weights[name] = operand
    results = [f"out{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, results, name="tested", domain=domain, **attributes)
    domains = {domain: 1} if domain else {}
    inputs = {name: (array.dtype, array.shape) for name, array in feeds.items()}
    computed = make_model([node], inputs, results, weights=weights, opset=opset, domains=domains)
    known = make_model([node], {}, results, weights={**weights, **feeds}, opset=opset, domains=domains)
    return computed, known, feeds


@pytest.fixture(scope="session")
def agrees():
    """`agrees(op_type, operands, **attributes)`: the import of one node computes what onnxruntime does, with inputs
    and with weights in their place. `expected` gives the results that onnxruntime does not compute; `held_in` is the
    `dtype` of `run_imported`."""

    def check(
        op_type: str,
        operands: Sequence[Any],
        *,
        outputs: int = 1,
        opset: int = 18,
        domain: str = "",
        tolerance: float = 1e-5,
        expected: Sequence[np.ndarray] | None = None,
        held_in: type[np.floating] | None = np.float64,
        **attributes: Any,
    ) -> None:
        computed, known, feeds = make_case(op_type, operands, outputs, opset, domain, attributes)
        if expected is None:
            want = run_onnxruntime(computed, feeds)
        else:
            want = {f"out{i}": array for i, array in enumerate(expected)}
        for model, given in ((computed, feeds), (known, {})):
            got = run_imported(model, given, held_in)
            assert list(got) == list(want)
            for name, array in want.items():
                assert_close(got[name], array, tolerance)

    return check


@pytest.fixture(scope="session")
def refusal():
    """The message with which a model is refused."""
    from convc.frontends.onnx import ImportProblem

    def message(model: Any, **options: Any) -> str:
        with pytest.raises(ImportProblem) as caught:
            import_model(model, CompilerContext(), **options)
        return str(caught.value)

    return message


@pytest.fixture(scope="session")
def operations():
    """The names of the operations that a model becomes, weights left out."""

    def names(model: onnx.ModelProto, **options: Any) -> list[str]:
        module = import_model(model, CompilerContext(), **options)
        found = [op for op in module.walk() if op.name.startswith("convc.") and not isinstance(op, WeightOp)]
        return [op.name.removeprefix("convc.") for op in found if op.name != "convc.constant"]

    return names


@pytest.fixture(scope="session")
def model_of():
    """`make_model`, for tests of more than one node."""
    return make_model


@pytest.fixture(scope="session")
def both_run():
    """A model (or another `instead` of it) computes imported what the model does in onnxruntime."""

    def check(
        model: onnx.ModelProto,
        feeds: Mapping[str, np.ndarray],
        *,
        instead: onnx.ModelProto | None = None,
        tolerance: float = 1e-5,
        **options: Any,
    ) -> None:
        want, got = run_onnxruntime(model, feeds), run_imported(instead or model, feeds, **options)
        assert list(got) == list(want)
        for name, array in want.items():
            assert_close(got[name], array, tolerance)

    return check


@pytest.fixture(scope="session")
def imported():
    """The outputs of a model's import, evaluated."""
    return run_imported


@pytest.fixture(scope="session")
def live():
    """An operand of `agrees` that is an input of the model with given elements."""
    return Live
