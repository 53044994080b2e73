"""The elementwise functions of convc's graph dialect in torch, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional


def _hard_sigmoid(x: Any, alpha: float, beta: float) -> Any:
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return functional.hardsigmoid(x)  # one kernel, where the others are three
    return torch.clamp(x * alpha + beta, 0, 1)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": torch.abs,
    "ceil": torch.ceil,
    "clip": lambda x, min, max: torch.clamp(x, min, max),
    "cos": torch.cos,
    "elu": functional.elu,
    "erf": torch.erf,
    "exp": torch.exp,
    "floor": torch.floor,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": functional.hardswish,
    "leaky_relu": lambda x, alpha: functional.leaky_relu(x, alpha),
    "log": torch.log,
    "mish": functional.mish,
    "neg": torch.neg,
    "reciprocal": torch.reciprocal,
    "relu": torch.relu,
    "round": torch.round,
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": functional.silu,
    "sin": torch.sin,
    "softplus": functional.softplus,
    "sqrt": torch.sqrt,
    "tanh": torch.tanh,
    "not": torch.logical_not,
    "add": torch.add,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
    "mul": torch.mul,
    "pow": torch.pow,
    "prelu": lambda x, slope: torch.where(x >= 0, x, slope * x),
    "sub": torch.sub,
    "and": torch.logical_and,
    "or": torch.logical_or,
    "equal": torch.eq,
    "greater": torch.gt,
    "greater_or_equal": torch.ge,
    "less": torch.lt,
    "less_or_equal": torch.le,
    "where": torch.where,
}
