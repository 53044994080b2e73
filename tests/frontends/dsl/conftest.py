"""One description, built with Keras and with the DSL, their weights made equal."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from convc.frontends import dsl
from convc.frontends.onnx import import_model
from convc.ir.dialect import CompilerContext
from convc.ir.interpreter import interpret

Build = Callable[[Any], Any]
"""Builds a model of a namespace that has the names of Keras's layers, Input, Model and Sequential."""


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    """Keras 3 on numpy, which takes the convolutions from jax."""
    os.environ["KERAS_BACKEND"] = "numpy"
    pytest.importorskip("jax", reason="the reference, Keras on numpy, needs jax: pip install -e '.[dev]'")
    return pytest.importorskip("keras", reason="the reference is Keras: pip install -e '.[dev]'")


@pytest.fixture(scope="session")
def namespace(keras: ModuleType) -> SimpleNamespace:
    """Keras's names in one place, as the DSL has them."""
    names = {name: getattr(keras.layers, name) for name in dir(keras.layers) if name[0].isupper()}
    top = {name: getattr(keras, name) for name in ("Input", "Model", "Sequential", "activations")}
    return SimpleNamespace(**{**names, **top})


@dataclass
class Pair:
    """The model in Keras and in the DSL."""

    theirs: Any
    ours: dsl.Model

    def feeds(self, batch: int) -> dict[str, np.ndarray]:
        """An array for each of the inputs; other axes that are open get 8."""
        rng = np.random.default_rng(1)
        feeds = {}
        for tensor in self.ours.inputs:
            shape = [tensor.shape[0] or batch, *(size or 8 for size in tensor.shape[1:])]
            values = rng.standard_normal(shape) * 2 if tensor.dtype == "float32" else rng.integers(0, 200, shape)
            feeds[tensor.layer.name] = values.astype(tensor.dtype)
        return feeds

    def keras_outputs(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        results = self.theirs(list(feeds.values()) if len(feeds) > 1 else next(iter(feeds.values())), training=False)
        return [np.asarray(result) for result in (results if isinstance(results, list | tuple) else [results])]

    def assert_same_outputs(self) -> None:
        """What the interpreter makes of the imported ONNX, in float64, is what Keras computes."""
        feeds = self.feeds(batch=2)
        assert_close(run_imported(self.ours.to_onnx(), feeds), self.keras_outputs(feeds))


def run_imported(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    context = CompilerContext()
    module = import_model(model, context, {name: array.shape for name, array in feeds.items()})
    return list(interpret(module, context.weights, feeds, dtype=np.float64).values())


def assert_close(got: list[np.ndarray], want: list[np.ndarray]) -> None:
    """max|got - want| / max|want| is at most 1e-5."""
    assert len(got) == len(want)
    for ours, theirs in zip(got, want):
        assert ours.shape == theirs.shape
        error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        assert error <= 1e-5


def summary_of(model: Any, **options: Any) -> str:
    lines: list[str] = []
    model.summary(print_fn=lines.append, **options)
    return "\n".join(lines)


@pytest.fixture(scope="session")
def both(keras: ModuleType, namespace: SimpleNamespace) -> Callable[[Build], Pair]:
    """Builds a description with both, gives both random weights and compares summaries, shapes and counts."""

    def make(build: Build) -> Pair:
        keras.utils.clear_session(free_memory=False)  # the collection of garbage takes 0.2 s
        dsl.clear_session()
        pair = Pair(build(namespace), build(dsl))
        rng = np.random.default_rng(0)
        arrays = []
        for weight, ours in zip(pair.theirs.weights, pair.ours.weights, strict=True):
            assert weight.name == ours.name
            value = rng.standard_normal(weight.shape) * 0.5
            arrays.append(np.float32(np.abs(value) + 0.5 if weight.name.endswith("variance") else value))
        pair.theirs.set_weights(arrays)
        for layer in pair.theirs.layers:
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()  # takes the weights over, as after loading
        pair.ours.set_weights(arrays)
        assert summary_of(pair.ours) == summary_of(pair.theirs)
        assert pair.ours.count_params() == pair.theirs.count_params()
        assert pair.ours.output_shape == pair.theirs.output_shape
        assert pair.ours.input_shape == pair.theirs.input_shape
        return pair

    return make


@pytest.fixture(scope="session")
def summarise() -> Callable[..., str]:
    return summary_of


@pytest.fixture(scope="session", name="run_imported")
def _run_imported() -> Callable[..., list[np.ndarray]]:
    return run_imported


@pytest.fixture(scope="session")
def close() -> Callable[..., None]:
    return assert_close
