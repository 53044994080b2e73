#!/usr/bin/env python3
"""Make a ResNet-50 (He et al., 2015) as ONNX, with weights drawn from a seed: real work without a download.

    python examples/resnet50.py -o resnet50.onnx [--seed 0]

The weights are He-initialised and each residual branch is damped, so activations stay in range through all
sixteen blocks; the output depends on the input but means nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""(bottleneck width, blocks) of each stage; a stage's output has four times its width."""
BRANCH_GAIN = 0.3
"""Scale of a residual branch's last convolution: sixteen added branches then grow the variance by only 4x."""


class Builder:
    """Collects nodes and initializers; every method returns the name of the value that it adds."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, *shape: int, std: float) -> str:
        values = self.rng.standard_normal(shape, dtype=np.float32) * np.float32(std)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, op: str, name: str, inputs: list[str], **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x: str, name: str, c: int, o: int, k: int, stride: int = 1, gain: float = 1.0) -> str:
        w = self.weight(f"{name}.weight", o, c, k, k, std=gain * (2 / (c * k * k)) ** 0.5)
        b = self.weight(f"{name}.bias", o, std=0.1)
        pads = [k // 2] * 4
        return self.node("Conv", name, [x, w, b], kernel_shape=[k, k], strides=[stride] * 2, pads=pads)

    def relu(self, x: str) -> str:
        return self.node("Relu", f"{x}.relu", [x])

    def block(self, x: str, name: str, c: int, width: int, stride: int) -> str:
        y = self.relu(self.conv(x, f"{name}.conv1", c, width, 1))
        y = self.relu(self.conv(y, f"{name}.conv2", width, width, 3, stride))
        y = self.conv(y, f"{name}.conv3", width, 4 * width, 1, gain=BRANCH_GAIN)
        if c != 4 * width or stride != 1:
            x = self.conv(x, f"{name}.downsample", c, 4 * width, 1, stride)
        return self.relu(self.node("Add", f"{name}.add", [y, x]))


def resnet50(seed: int = 0, batch: int = 1) -> onnx.ModelProto:
    """ResNet-50: input `[batch, 3, 224, 224]`, output `[batch, 1000]` logits, opset 17, 4.1 GMACs an image."""
    net = Builder(seed)
    x = net.relu(net.conv("input", "conv1", 3, 64, 7, 2))
    x = net.node("MaxPool", "maxpool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (width, blocks) in enumerate(STAGES, 1):
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 1 else 1
            x = net.block(x, f"layer{stage}.{block}", channels, width, stride)
            channels = 4 * width
    x = net.node("Flatten", "flatten", [net.node("GlobalAveragePool", "avgpool", [x])])
    fc = net.weight("fc.weight", 1000, channels, std=channels**-0.5)
    net.node("Gemm", "output", [x, fc, net.weight("fc.bias", 1000, std=0.1)], transB=1)
    graph = helper.make_graph(
        net.nodes,
        "resnet50",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, 224, 224])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, 1000])],
        net.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def main() -> None:
    parser = argparse.ArgumentParser(description="write a ResNet-50 with seeded weights as ONNX")
    parser.add_argument("-o", "--output", type=Path, default=Path("resnet50.onnx"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    onnx.save(resnet50(arguments.seed), arguments.output)


if __name__ == "__main__":
    main()
