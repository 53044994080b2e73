"""Models that Keras saves, read without Keras."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from convc.frontends.keras import load
from convc.frontends.onnx import ImportProblem, import_model
from convc.ir.dialect import CompilerContext
from convc.ir.interpreter import interpret


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    """Keras 3 on numpy, which takes the convolutions from jax."""
    os.environ["KERAS_BACKEND"] = "numpy"
    pytest.importorskip("jax", reason="the reference, Keras on numpy, needs jax: pip install -e '.[dev]'")
    module = pytest.importorskip("keras", reason="the reference is Keras: pip install -e '.[dev]'")
    module.utils.set_random_seed(0)
    return module


@pytest.fixture(autouse=True)
def _fresh_names(keras: ModuleType) -> None:
    keras.utils.clear_session(free_memory=False)


def randomise(model: Any) -> None:
    """Kernels are random already; the other arrays must differ from each other, and little, lest values explode."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        value = np.asarray(weight) + (rng.standard_normal(weight.shape) * 0.05 if len(weight.shape) < 2 else 0)
        weight.assign(np.abs(value) if weight.name.endswith("variance") else value)
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):  # of a Normalization: takes the weights over, as after loading
            layer.finalize_state()


def summary_of(model: Any) -> str:
    lines: list[str] = []
    model.summary(print_fn=lines.append, expand_nested=True)
    return "\n".join(lines)


@pytest.fixture
def saved(keras: ModuleType, tmp_path: Path) -> Callable[[Any], Path]:
    """Saves a model with random weights."""

    def save(model: Any) -> Path:
        randomise(model)
        model.save(tmp_path / "model.keras")
        return tmp_path / "model.keras"

    return save


@pytest.fixture
def feeds() -> Callable[..., dict[str, np.ndarray]]:
    """An array for each of a Keras model's inputs, by the name of the input's layer."""

    def make(model: Any, batch: int = 1) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(1)
        shapes = {tensor._keras_history[0].name: (batch, *tensor.shape[1:]) for tensor in model.inputs}
        return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    return make


@pytest.fixture
def agrees(saved: Callable[[Any], Path], feeds: Callable[..., Any]) -> Callable[..., None]:
    """A model that Keras saves is read with its table and its outputs, as the interpreter computes them."""

    def check(model: Any, summary: bool = True, tolerance: float = 1e-5) -> None:
        arrays = feeds(model, 2)
        path = saved(model)
        want = model(list(arrays.values()) if len(arrays) > 1 else next(iter(arrays.values())), training=False)
        ours, context = load(path), CompilerContext()
        assert not summary or summary_of(ours) == summary_of(model)
        module = import_model(ours.to_onnx(), context, {name: array.shape for name, array in arrays.items()})
        got = interpret(module, context.weights, arrays, dtype=np.float64)
        if isinstance(want, dict):
            want = [want[name] for name in sorted(want)]
        results = want if isinstance(want, list | tuple) else [want]
        for ours_, theirs in zip(got.values(), map(np.asarray, results), strict=True):
            error = np.abs(ours_ - theirs).max() / np.abs(theirs).max()
            assert error <= tolerance

    return check


@pytest.fixture
def refusal() -> Callable[[Path], str]:
    """The message with which a file is refused."""

    def message(path: Path) -> str:
        with pytest.raises(ImportProblem) as caught:
            load(path)
        return str(caught.value)

    return message
