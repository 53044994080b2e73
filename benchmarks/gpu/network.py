"""convc's graph dialect, written as JSON, as a torch module: the same network for torch's engines.

The module is a torch.fx graph: straight-line code without an interpreter in it, which torch.compile and eager mode run
as if someone had written it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import fx

from gpu.functions import FUNCTIONS
from gpu.windows import average_pool, convolve, convolve_transposed, cudnn_convolve, max_pool

Node: TypeAlias = Mapping[str, Any]
"""`op`, `inputs` and `output` (names of values), `shape` and `dtype` of the output, `attributes` of the operation."""
Graph: TypeAlias = Mapping[str, Any]
"""`inputs` (name, value, shape, dtype each), `outputs` (name and value each), `nodes` in order."""


def torch_module(graph: Graph, weights: Mapping[str, np.ndarray], dtype: torch.dtype = torch.float32) -> fx.GraphModule:
    """The network as a module that takes and returns tensors in the order of the graph's signature, `dtype` in place of
    float32. Raises ValueError for an operation that torch has no like of."""
    root, made = torch.nn.Module(), fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(made)
    values = {}
    for number, entry in enumerate(graph["inputs"]):
        values[entry["value"]] = fx.Proxy(made.placeholder(f"input{number}"), tracer)
    for number, node in enumerate(graph["nodes"]):
        if node["op"] in ("weight", "constant"):
            held = torch.from_numpy(_held(node, weights))
            root.register_buffer(f"weight{number}", held.to(dtype) if held.is_floating_point() else held)
            values[node["output"]] = fx.Proxy(made.get_attr(f"weight{number}"), tracer)
        else:
            values[node["output"]] = _result(node, [values[name] for name in node["inputs"]], dtype)
    made.output(tuple(values[entry["value"]].node for entry in graph["outputs"]))
    return fx.GraphModule(root, made).eval()


def _held(node: Node, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    if node["op"] == "weight":
        return np.array(weights[node["attributes"]["ref"]])
    return np.full(node["shape"], node["attributes"]["value"], node["dtype"])


def _result(node: Node, operands: Sequence[Any], dtype: torch.dtype) -> Any:
    if node["op"] == "cast":
        return operands[0].to(dtype if node["dtype"] == "float32" else getattr(torch, node["dtype"]))
    rule = OPERATIONS.get(node["op"])
    if rule is None:
        raise ValueError(f"torch's network has no rule for the operation {node['op']}")
    return rule(node, *operands)


def _elementwise(node: Node, *operands: Any) -> Any:
    parameters = dict(node["attributes"])
    name = parameters.pop("fn")
    if name not in FUNCTIONS:
        raise ValueError(f"torch's network has no rule for the function {name}")
    return FUNCTIONS[name](*operands, **parameters)


def _matmul(node: Node, a: Any, b: Any) -> Any:
    return torch.matmul(a, torch.transpose(b, -1, -2)) if node["attributes"].get("transpose_b") else torch.matmul(a, b)


_REDUCERS: Mapping[str, Callable[..., Any]] = {
    "sum": torch.sum,
    "mean": torch.mean,
    "max": torch.amax,
    "min": torch.amin,
    "l2": torch.linalg.vector_norm,
    "log_sum_exp": torch.logsumexp,
}


def _reduce(node: Node, x: Any) -> Any:
    attributes = node["attributes"]
    if attributes["kind"] not in _REDUCERS:
        raise ValueError(f"torch's network has no rule for the reduction {attributes['kind']}")
    return _REDUCERS[attributes["kind"]](x, dim=attributes["axes"], keepdim=attributes.get("keepdims", False))


def _softmax(node: Node, x: Any) -> Any:
    attributes = node["attributes"]
    first, last = min(attributes["axes"]), max(attributes["axes"])
    function = torch.log_softmax if attributes.get("log") else torch.softmax
    # Along a run of axes: they are one, as long as all of them.
    return torch.reshape(function(torch.flatten(x, first, last), dim=first), node["shape"])


def _lrn(node: Node, x: Any) -> Any:
    attributes = node["attributes"]
    if attributes["size"] % 2 == 0:
        raise ValueError(f"torch centres LRN otherwise over an even number of channels ({attributes['size']})")
    numbers = (attributes[name] for name in ("size", "alpha", "beta", "bias"))
    return torch.nn.functional.local_response_norm(x, *numbers)


def _batch_norm(node: Node, x: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> Any:
    epsilon = node["attributes"]["epsilon"]
    return torch.nn.functional.batch_norm(x, mean, variance, scale, shift, eps=epsilon)


def _slice(node: Node, x: Any) -> Any:
    starts, steps = node["attributes"]["starts"], node["attributes"]["steps"]
    if min(steps) < 0:
        raise ValueError("torch's network has no rule for slices by negative steps")
    ends = (start + size * step for start, step, size in zip(starts, steps, node["shape"], strict=True))
    return x[tuple(map(slice, starts, ends, steps))]


def _pad(node: Node, x: Any) -> Any:
    attributes, rank = node["attributes"], len(node["shape"])
    modes = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}
    pads = attributes["pads"]
    ends = [end for axis in reversed(range(rank)) for end in (pads[axis], pads[rank + axis])]
    if attributes["mode"] == "constant":
        return torch.nn.functional.pad(x, ends, value=attributes["value"])
    if any(ends[2 * rank - 4 :]):
        raise ValueError(f"torch pads batches and channels with constants only, the mode is {attributes['mode']}")
    return torch.nn.functional.pad(x, ends[: 2 * rank - 4], mode=modes[attributes["mode"]])


_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


def _resize(node: Node, x: Any) -> Any:
    """torch takes ratios of whole sizes and has two of ONNX's ways to place samples."""
    attributes, rank = node["attributes"], len(node["shape"])
    mode, coordinates = attributes["mode"], attributes["coordinates"]
    options: dict[str, Any]
    if mode == "linear" and coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        options = {"mode": _LINEAR[rank], "align_corners": coordinates == "align_corners"}
    elif mode == "nearest" and coordinates == "asymmetric" and attributes["nearest"] == "floor":
        options = {"mode": "nearest"}
    else:
        raise ValueError(f"torch's network has no rule for resizing by {mode}, {coordinates}")
    if attributes["antialias"] or attributes["exclude_outside"]:
        raise ValueError("torch's network has no rule for resizing with antialias or exclude_outside")
    before = [size / scale for size, scale in zip(node["shape"], attributes["scales"], strict=True)]
    if any(size != round(size) for size in before):
        raise ValueError(f"torch resizes by ratios of sizes, the scales are {attributes['scales']}")
    return torch.nn.functional.interpolate(x, node["shape"][2:], **options)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "conv": convolve,
    "conv_transpose": convolve_transposed,
    "cudnn_conv": cudnn_convolve,
    "elementwise": _elementwise,
    "matmul": _matmul,
    "reduce": _reduce,
    "softmax": _softmax,
    "lrn": _lrn,
    "batch_norm": _batch_norm,
    "pool": lambda node, x: (max_pool if node["attributes"]["kind"] == "max" else average_pool)(node, x),
    "reshape": lambda node, x: torch.reshape(x, node["shape"]),
    "transpose": lambda node, x: torch.permute(x, node["attributes"]["perm"]),
    "broadcast": lambda node, x: x.expand(node["shape"]),
    "concat": lambda node, *parts: torch.cat(parts, node["attributes"]["axis"]),
    "slice": _slice,
    "pad": _pad,
    "resize": _resize,
}
