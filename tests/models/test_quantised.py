"""A network as onnxruntime's static quantiser writes it builds, and every number is onnxruntime's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from convc.verify.report import Report

LAYERS = [
    ("Conv", ["x", "w1", "b1"], "c1", {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    ("LeakyRelu", ["c1"], "l1", {"alpha": 0.1}),
    ("Conv", ["l1", "w2", "b2"], "c2", {"pads": [1, 1, 1, 1]}),
    ("Relu", ["c2"], "r2", {}),
    ("Add", ["l1", "r2"], "a", {}),
    ("GlobalAveragePool", ["a"], "g", {}),
    ("Conv", ["g", "w3", "b3"], "c3", {}),
    ("Sigmoid", ["c3"], "s", {}),
    ("Mul", ["a", "s"], "m", {}),
    ("MaxPool", ["m"], "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("Conv", ["p", "w4", "b4"], "c4", {}),
    ("Concat", ["p", "c4"], "k", {"axis": 1}),
    ("GlobalAveragePool", ["k"], "g2", {}),
    ("Flatten", ["g2"], "f", {}),
    ("Gemm", ["f", "w5", "b5"], "y", {"transB": 1}),
]
WEIGHTS = {"1": (24, 3, 3, 3), "2": (24, 24, 3, 3), "3": (24, 24, 1, 1), "4": (8, 24, 1, 1), "5": (10, 32)}
IMAGE = (1, 3, 16, 16)


class Images(CalibrationDataReader):
    """What ranges are measured on."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.images = [rng.standard_normal(IMAGE).astype(np.float32) for _ in range(4)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return {"x": self.images.pop()} if self.images else None


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    weights = []
    for name, shape in WEIGHTS.items():
        w = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        weights.append(numpy_helper.from_array(w.astype(np.float32), f"w{name}"))
        weights.append(numpy_helper.from_array(rng.standard_normal(shape[0]).astype(np.float32), f"b{name}"))
    nodes = [helper.make_node(op, inputs, [output], **attributes) for op, inputs, output, attributes in LAYERS]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 10))
    model = helper.make_model(
        helper.make_graph(nodes, "net", [image], [result], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path = tmp_path_factory.mktemp("quantised") / "float.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("form", "activation", "per_channel"),
    [
        (QuantFormat.QOperator, QuantType.QUInt8, False),
        (QuantFormat.QOperator, QuantType.QInt8, True),
        (QuantFormat.QDQ, QuantType.QUInt8, True),
    ],
    ids=str,
)
def test_quantised_statically(
    network: Path,
    tmp_path: Path,
    agrees: Callable[..., Report],
    form: QuantFormat,
    activation: QuantType,
    per_channel: bool,
) -> None:
    path = tmp_path / "quantised.onnx"
    options = {"quant_format": form, "activation_type": activation, "weight_type": QuantType.QInt8}
    quantize_static(network, path, Images(), per_channel=per_channel, **options)
    written = {node.op_type for node in onnx.load(path).graph.node}
    assert {"QLinearAdd", "QLinearConcat", "QGemm"} <= written or form is QuantFormat.QDQ
    assert max(output.error for output in agrees(path).outputs) == 0
