"""A .keras file as a DSL model."""

from __future__ import annotations

from pathlib import Path

from convc.frontends import dsl
from convc.frontends.dsl.export import check_size
from convc.frontends.keras.archive import read_archive
from convc.frontends.keras.config import model_of
from convc.frontends.keras.weights import read_weights
from convc.frontends.onnx.problem import ImportProblem


def load(path: str | Path) -> dsl.Model:
    """The model in a file that `model.save("x.keras")` of Keras 3 wrote. Raises ImportProblem."""
    path = Path(path)
    config, weights = read_archive(path)
    try:
        model = model_of(config)
        check_size(model)
    except dsl.ModelError as error:
        raise ImportProblem(f"{path}: {error}") from None
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ImportProblem(f"{path}: config.json is damaged: {type(error).__name__}: {error}") from None
    read_weights(weights, model)
    return model
