"""The half of the benchmark of GPUs that runs there, on torch's CPU and the software device."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import helper

from convc.frontends.onnx import import_model
from convc.ir.dialect import CompilerContext
from convc.ir.functions import FUNCTIONS, Fn
from convc.passes.registry import pipeline
from convc.pipeline import phases
from convc.roofline import Roofline
from convc.runtime import ArtifactError, StepTime
from convc.targets.cuda.emulator.load import load_emulated
from convc.targets.target import parse_target
from convc.verify.reference import Reference

torch = pytest.importorskip("torch", reason="the benchmark's other half runs on torch, which is not installed here")

from gpu import network, report  # noqa: E402
from gpu.alone import Engine, definition, feed  # noqa: E402
from gpu.apart import Results  # noqa: E402
from gpu.engines import Case, eager, graphed  # noqa: E402
from gpu.fused import fused  # noqa: E402
from gpu.kernels import kernel_table  # noqa: E402
from gpu.plan import Planned  # noqa: E402
from gpu.rates import measure  # noqa: E402
from gpu.run import run_case, run_cases  # noqa: E402
from graphs import graph_of  # noqa: E402

SIMPLIFY = dict(phases(3, parse_target("cuda:sm_90a")))["simplify"]


def simplified(model: onnx.ModelProto) -> tuple[dict[str, Any], CompilerContext]:
    """The graph that a pack holds of a model, by way of JSON, and the context with its weights."""
    context = CompilerContext()
    module = import_model(model, context)
    pipeline(SIMPLIFY).apply(context, module)
    return json.loads(json.dumps(graph_of(module))), context


def node(op: str, inputs: str = "x", output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


IMAGE = [2, 6, 9, 11]
MODELS: dict[str, tuple[list[onnx.NodeProto], list[int], dict[str, tuple[int, ...]]]] = {
    "conv": ([node("Conv", "x w b", strides=[2, 1], pads=[1, 2, 1, 2])], IMAGE, {"w": (4, 6, 3, 5), "b": (4,)}),
    "conv padded unevenly": ([node("Conv", "x w", pads=[0, 1, 2, 3])], IMAGE, {"w": (4, 6, 3, 3)}),
    "conv in groups": ([node("Conv", "x w", group=3, dilations=[2, 3])], IMAGE, {"w": (9, 2, 3, 3)}),
    "conv in one dimension": ([node("Conv", "x w", pads=[2, 2])], [2, 3, 17], {"w": (4, 3, 5)}),
    "conv transposed": (
        [node("ConvTranspose", "x w b", strides=[2, 3], pads=[1, 0, 1, 0], output_padding=[1, 2], group=2)],
        *(IMAGE, {"w": (6, 2, 3, 4), "b": (4,)}),
    ),
    "max pool": ([node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], IMAGE, {}),
    "max pool padded unevenly": ([node("MaxPool", kernel_shape=[3, 2], pads=[0, 1, 2, 0])], IMAGE, {}),
    "max pool beyond the end": ([node("MaxPool", kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1)], IMAGE, {}),
    "average pool": ([node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], IMAGE, {}),
    "average pool with padding": (
        [node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)],
        *(IMAGE, {}),
    ),
    "global pool": ([node("GlobalAveragePool")], IMAGE, {}),
    "dense": ([node("Gemm", "x w b", transB=1)], [3, 17], {"w": (5, 17), "b": (5,)}),
    "matmul": ([node("MatMul", "x w")], [2, 3, 7], {"w": (7, 5)}),
    "batch norm": (
        [node("Abs", "v0", "v"), node("Relu", "x", "r"), node("BatchNormalization", "r s t m v")],
        *(IMAGE, {"s": (6,), "t": (6,), "m": (6,), "v0": (6,)}),
    ),
    "lrn": ([node("LRN", size=3, alpha=0.1)], IMAGE, {}),
    "softmax": ([node("Softmax", axis=1)], IMAGE, {}),
    "log softmax": ([node("LogSoftmax", axis=-1)], IMAGE, {}),
    "shuffle": (
        [
            helper.make_node("Constant", [], ["g"], value_ints=[2, 2, 3, 9, 11]),
            helper.make_node("Constant", [], ["s"], value_ints=[2, 6, 9, 11]),
            *(node("Reshape", "x g", "a"), node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4])),
            *(node("Reshape", "b s", "c"), node("Concat", "c x", axis=1)),
        ],
        *(IMAGE, {}),
    ),
    "slice": (
        [helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2), node("Mul", "a b")],
        *(IMAGE, {}),
    ),
    "pad": (
        [
            helper.make_node("Constant", [], ["p"], value_ints=[0, 0, 1, 2, 0, 0, 3, 0]),
            *(node("Pad", "x p", "q"), node("Pad", "q p", mode="reflect")),
        ],
        *(IMAGE, {}),
    ),
    "upsample": (
        [
            helper.make_node("Constant", [], ["s"], value_ints=[2, 6, 18, 33]),
            helper.make_node(
                *("Resize", ["x", "", "", "s"], ["y"]),
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
        ],
        *(IMAGE, {}),
    ),
    "clipped": (
        [helper.make_node("Constant", [], [name], value_float=value) for name, value in (("low", 0.0), ("high", 0.7))]
        + [node("Clip", "x low high")],
        *(IMAGE, {}),
    ),
    "gate": (
        [
            *(node("Conv", "x w", "c"), node("HardSigmoid", "c", "s", alpha=1 / 6), node("Mul", "c s", "g")),
            *(node("HardSigmoid", "g", "h", alpha=0.3), node("Sigmoid", "g", "t"), node("Mul", "g t", "u")),
            node("Add", "u h"),
        ],
        *(IMAGE, {"w": (4, 6, 1, 1)}),
    ),
} | {
    f"bilinear, {mode}": (
        [
            helper.make_node("Constant", [], ["s"], value_ints=[2, 6, 27, 22]),
            helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode="linear", coordinate_transformation_mode=mode),
        ],
        *(IMAGE, {}),
    )
    for mode in ("half_pixel", "pytorch_half_pixel", "align_corners")
}


@pytest.mark.parametrize("name", MODELS)
def test_torch_computes_what_onnxruntime_does(name, make) -> None:
    nodes, shape, weights = MODELS[name]
    model = make(nodes, shape, weights)
    graph, context = simplified(model)
    x = np.random.default_rng(3).standard_normal(shape, np.float32)
    (found,) = network.torch_module(graph, context.weights)(torch.from_numpy(x))
    expected = Reference(model)({"x": x})["y"]
    assert tuple(found.shape) == expected.shape
    assert np.abs(found.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", network.FUNCTIONS)
def test_functions_mean_the_same(name) -> None:
    spec = FUNCTIONS[Fn(name)]
    generator = np.random.default_rng(1)
    operands = [generator.standard_normal((3, 50)) for _ in range(spec.arity)]
    if name in ("log", "sqrt", "pow"):
        operands[0] = np.abs(operands[0])
    if name in ("not", "and", "or"):
        operands = [operand > 0 for operand in operands]
    if name == "where":
        operands[0] = operands[0] > 0
    parameters = {"clip": {"min": -0.5, "max": 0.6}}.get(name, dict(spec.params))
    expected = spec.numpy(*operands, **parameters)
    found = network.FUNCTIONS[name](*map(torch.from_numpy, operands), **parameters)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("what", "nodes"),
    {"the function asin": [node("Asin")], "the reduction sum_square": [node("ReduceSumSquare")]}.items(),
)
def test_what_torch_has_no_rule_for_is_a_line(what, nodes, make) -> None:
    graph, context = simplified(make(nodes, [3, 4], {}))
    with pytest.raises(ValueError, match=f"^torch's network has no rule for {what}$"):
        network.torch_module(graph, context.weights)


def test_convolutions_are_fused_with_what_follows(residual, monkeypatch) -> None:
    graph, context = simplified(residual)
    changed, count = fused(graph)
    assert count == 3
    traced = network.torch_module(changed, context.weights)
    called = [each.target.__name__ for each in traced.graph.nodes if each.op == "call_function"]
    assert called[:3] == ["cudnn_convolution_relu", "cudnn_convolution_relu", "cudnn_convolution_add_relu"]
    x = np.random.default_rng(0).standard_normal((1, 3, 9, 11), np.float32)
    # What only GPUs run must at least be called as torch declares it.
    with pytest.raises(NotImplementedError, match=r"'aten::cudnn_convolution_relu' .* 'CPU' backend"):
        traced(torch.from_numpy(x))

    def meaning(x: Any, w: Any, b: Any, *numbers: Any) -> Any:
        return torch.relu(torch.conv2d(x, w, b, *numbers))

    def meaning_with_addend(x: Any, w: Any, z: Any, alpha: float, b: Any, *numbers: Any) -> Any:
        return torch.relu(torch.conv2d(x, w, b, *numbers) + alpha * z)

    monkeypatch.setattr(torch, "cudnn_convolution_relu", meaning)
    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", meaning_with_addend)
    (found,) = network.torch_module(changed, context.weights)(torch.from_numpy(x))
    expected = Reference(residual)({"x": x})["y"]
    assert np.abs(found.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


KEPT = {
    "a value that is read twice": [node("Conv", "x w b", "c"), node("Relu", "c", "r"), node("Concat", "c r", axis=1)],
    "an addend that is broadcast": [
        *(node("Conv", "x w b", "c"), node("GlobalAveragePool", "x", "p"), node("Conv", "p w b", "z")),
        *(node("Add", "c z", "a"), node("Relu", "a")),
    ],
    "uneven pads": [node("Conv", "x w b", "c", pads=[0, 0, 1, 1]), node("Relu", "c")],
    "no bias": [node("Conv", "x w", "c"), node("Relu", "c")],
}


@pytest.mark.parametrize("what", KEPT)
def test_what_cudnn_does_not_fuse_stays(what, make) -> None:
    graph, _ = simplified(make(KEPT[what], IMAGE, {"w": (6, 6, 1, 1), "b": (6,)}))
    changed, count = fused(graph)
    assert count == 0
    assert changed == graph


class Host:
    """This machine's CPU, and the software device."""

    name = "cpu"

    def describe(self) -> dict[str, str]:
        return {"gpu": "software"}

    def load(self, artifact: Path) -> tuple[Any, Any]:
        executable = load_emulated(artifact)
        return executable, executable._engine

    def check(self) -> None:
        """It always does."""

    def milliseconds(self, work: Callable[[], object]) -> float:
        begin = time.perf_counter()
        work()
        return (time.perf_counter() - begin) * 1e3

    def graphed(self, run: Any, count: int) -> Any:
        return run


class Clock(Host):
    """Everything takes 2 ms."""

    def milliseconds(self, work: Callable[[], object]) -> float:
        work()
        return 2.0


def broken(case: Case) -> Engine:
    raise RuntimeError("out of memory\nand a page about it")


def wrong(case: Case) -> Engine:
    right = eager(case)
    return Engine(lambda: [array + 1 for array in right.outputs()], right.milliseconds)


def test_a_pack_is_run_from_end_to_end(packed, monkeypatch) -> None:
    monkeypatch.setattr("convc.bench.WARM_UP_SECONDS", 0.0)
    peers = {"torch": eager, "torch-graph": graphed, "broken": broken, "wrong": wrong}
    device, said = Host(), []
    run_cases(
        *(packed, device, [Planned("small", "fp16", 2, tuple(peers), 1e-9)], said.append, peers),
        *(lambda *parts: Case(*parts, device), lambda precision, loaded: Roofline(100.0, 10.0)),
    )
    engines = [found["engine"] for found in said if "engine" in found]
    assert engines == ["convc", *peers, "convc"]  # by themselves, then in turns
    said = [found for found in said if "engine" not in found]
    assert [list(found) for found in said] == [["machine"], ["begin"], ["rates"], ["row"], ["done"]]
    row = said[3]["row"]
    assert (row["model"], row["precision"], row["batch"]) == ("small", "fp16", 2)
    assert row["reference"]["untold"] == ""
    assert 0 < row["reference"]["doubt"] < 1e-5
    engines = row["engines"]
    for name in ("convc", "torch", "torch-graph"):
        assert engines[name]["error"] <= 1e-2
        assert engines[name]["right"]
        assert engines[name]["median_ms"] > 0
        assert engines[name]["convc_ratio"] > 0
    assert engines["convc"]["convc_ratio"] == 1
    assert engines["broken"] == {"failed": "RuntimeError: out of memory"}
    # How long what is wrong takes is worth knowing too.
    assert not engines["wrong"]["right"]
    assert engines["wrong"]["median_ms"] > 0
    assert sum(step["tflops"] > 0 for step in row["kernels"]) == 2
    assert all(step["us"] > 0 and step["share"] > 0 for step in row["kernels"])
    results = Results(rates=said[2]["rates"])
    results.add(row)
    text = report.markdown(json.loads(json.dumps(results.to_dict())))
    assert "| small | fp16 | 2 |" in text
    assert "### small fp16 x2: kernels" in text
    assert "small fp16 x2: wrong: max|diff|/max|ref| " in text


def test_a_network_that_torch_does_not_know_is_compared_with_the_definition(residual, packed) -> None:
    graph, context = simplified(residual)
    outputs = Reference(residual)(dict(zip("x", feed(graph, 0))))
    graph["nodes"][-1]["op"] = "unheard of"
    case = Case(graph, context.weights, "fp32", definition(outputs), Clock())
    assert case.untold == "ValueError: torch's network has no rule for the operation unheard of"
    assert case.error([outputs["y"]]) == 0
    assert case.error([outputs["y"] * 1.01]) == pytest.approx(1e-2, rel=1e-3)


def test_what_is_wrong_or_cannot_be_loaded_is_not_timed(residual, monkeypatch) -> None:
    monkeypatch.setattr("convc.bench.WARM_UP_SECONDS", 0.0)
    graph, context = simplified(residual)
    case = Case(graph, context.weights, "fp32", {}, Clock())
    planned = Planned("residual", "fp32", 1, ("torch",), 1e-9)
    refused, roofline = ArtifactError("built for another GPU"), Roofline(1.0, 1.0)
    found = run_case(case, planned, 1e-4, refused, roofline, {"torch": eager}, case.device)
    assert found["engines"]["convc"] == {"failed": "ArtifactError: built for another GPU"}
    assert found["engines"]["torch"]["median_ms"] == 2.0 / 4  # four sets of inputs
    assert "convc_ratio" not in found["engines"]["torch"]
    assert found["kernels"] == []
    assert case.error([np.full((1, 5), np.nan)]) == float("inf")


class Lost(Clock):
    """What the first kernel of convc has left is of no use to anybody."""

    def check(self) -> None:
        raise RuntimeError("an illegal memory access was encountered")


def test_what_the_device_does_not_survive_is_not_blamed_on_others(residual) -> None:
    graph, context = simplified(residual)
    case = Case(graph, context.weights, "fp32", {}, Lost())
    planned, at = Planned("residual", "fp32", 1, ("torch",), 1e-9), []
    fault, roofline = ArtifactError("an illegal memory access"), Roofline(1.0, 1.0)
    found = run_case(case, planned, 1e-4, fault, roofline, {"torch": eager}, case.device, at.append)
    assert found == {"engines": {"convc": {"failed": "ArtifactError: an illegal memory access"}}, "kernels": []}
    assert at == ["convc"]


def test_rates_are_those_of_the_clock() -> None:
    rates = measure("fp32", Clock(), nbytes=1 << 20, size=100)
    assert rates.gbytes == pytest.approx(2 * 2**20 / 2e-3 / 1e9)
    assert rates.gflops == pytest.approx(2 * 100**3 / 2e-3 / 1e9)


class Profiled:
    """An executable of two steps; the second takes 4, 5, 6 ... us."""

    manifest: ClassVar = {"kernels": {"k0": {"template": "copy"}, "k1": {"template": "gemm"}}}

    def __init__(self) -> None:
        self._runs = 0

    def profile(self, inputs: Any) -> list[StepTime]:
        self._runs += 1
        return [
            StepTime("k0", "a", 1000, macs=0, nbytes=1000),
            StepTime("k1", "b", 3000 + 1000 * self._runs, macs=4_000_000, nbytes=1000),
        ]


def test_kernels_are_measured_against_the_roofline() -> None:
    product, copy = kernel_table(Profiled(), {}, Roofline(gflops=2000.0, gbytes=2.0))
    assert (product["name"], product["template"], product["us"]) == ("b", "gemm", 8.0)  # the median of nine
    assert product["tflops"] == pytest.approx(1.0)
    assert (product["bound"], product["share"]) == ("compute", pytest.approx(0.5))
    assert (copy["bound"], copy["gbytes"], copy["share"]) == ("memory", 1.0, pytest.approx(0.5))
