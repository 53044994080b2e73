"""Convolutions that cuDNN computes together with what follows them.

    relu(conv(x, w, b))      =>  cudnn_conv(x, w, b)
    relu(conv(x, w, b) + z)  =>  cudnn_conv(x, w, b, z)

Where nothing else reads the values between, in two dimensions, padded alike on both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gpu.network import Graph, Node


def fused(graph: Graph) -> tuple[dict[str, Any], int]:
    """The graph with its convolutions so fused, and how many are."""
    nodes: Mapping[str, Node] = {node["output"]: node for node in graph["nodes"]}
    shapes = {value["value"]: value["shape"] for value in graph["inputs"]}
    shapes |= {name: node["shape"] for name, node in nodes.items()}  # cuDNN adds without broadcasting
    uses = Counter(name for node in graph["nodes"] for name in node["inputs"])
    uses.update(entry["value"] for entry in graph["outputs"])
    replaced: dict[str, Node] = {}
    gone: set[str] = set()

    def alone(name: str) -> Node | None:
        return nodes[name] if name in nodes and uses[name] == 1 else None

    for node in graph["nodes"]:
        if not _is(node, "relu"):
            continue
        before = alone(node["inputs"][0])
        if before is not None and _fusible(before):
            replaced[node["output"]] = _fuse(node, before)
            gone.add(before["output"])
        elif before is not None and _is(before, "add"):
            for name, other in (before["inputs"], before["inputs"][::-1]):
                conv = alone(name)
                if conv is not None and _fusible(conv) and shapes[name] == shapes[other]:
                    replaced[node["output"]] = _fuse(node, conv, other)
                    gone |= {before["output"], name}
                    break
    kept = [replaced.get(node["output"], node) for node in graph["nodes"] if node["output"] not in gone]
    return {**graph, "nodes": kept}, len(replaced)


def _is(node: Node, function: str) -> bool:
    return node["op"] == "elementwise" and node["attributes"]["fn"] == function


def _fusible(node: Node) -> bool:
    if node["op"] != "conv" or len(node["inputs"]) < 3:
        return False
    pads = node["attributes"]["pads"]
    return len(pads) == 4 and pads[:2] == pads[2:]


def _fuse(node: Node, conv: Node, *addend: str) -> Node:
    return {**node, "op": "cudnn_conv", "attributes": conv["attributes"], "inputs": [*conv["inputs"], *addend]}
