"""The search for the first wrong value, on builds that are wrong in known ways."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from convc.verify import Reference, bisect
from convc.verify.report import Network

SIGNATURE = [("x", (2, 3), np.dtype("float32"))]
CHAIN = [("Neg", "x", "a"), ("Abs", "a", "b"), ("Sqrt", "b", "c"), ("Neg", "c", "d"), ("Exp", "d", "y")]


def chain() -> onnx.ModelProto:
    nodes = [helper.make_node(op, [x], [y], name=f"make_{y}") for op, x, y in CHAIN]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def miscompiled(op_type: str, level: int, when: Callable[[onnx.ModelProto], bool] = lambda model: True) -> object:
    """A build in which, from a level on, every node of a type computes Identity instead."""

    def build(model: onnx.ModelProto, at: int) -> Network:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        for node in changed.graph.node:
            if at >= level and node.op_type == op_type and when(model):
                node.op_type = "Identity"
        return Reference(changed)

    return build


def test_a_right_build_has_no_first_wrong_value() -> None:
    assert bisect(chain(), miscompiled("Sin", 0), SIGNATURE) is None


@pytest.mark.parametrize("level", [0, 2, 3])
def test_the_level_and_the_node_are_found(level: int) -> None:
    finding = bisect(chain(), miscompiled("Sqrt", level), SIGNATURE)
    assert finding is not None
    assert (finding.level, finding.node, finding.op_type, finding.value) == (level, "make_c", "Sqrt", "c")
    assert "'make_c' (Sqrt)" in str(finding)


def test_a_fault_that_intermediate_outputs_hide_is_found_by_cutting() -> None:
    few_outputs = miscompiled("Sqrt", 2, lambda model: len(model.graph.output) == 1)
    finding = bisect(chain(), few_outputs, SIGNATURE)
    assert finding is not None
    assert (finding.level, finding.value) == (2, "c")
