"""The verdict over several seeded inputs."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from convc.frontends.onnx import ImportProblem
from convc.verify import Precision, Reference, ReferenceFailure, random_inputs, verify

SIGNATURE = [("x", (2, 3), np.dtype("float32")), ("i", (4,), np.dtype("int64"))]


def double(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"y": inputs["x"] * 2, "j": inputs["i"] + 1}


def test_inputs_follow_the_seed() -> None:
    first, again, other = (random_inputs(SIGNATURE, seed) for seed in (0, 0, 1))
    assert np.array_equal(first["x"], again["x"])
    assert not np.array_equal(first["x"], other["x"])
    assert first["x"].dtype == np.float32
    assert first["i"].shape == (4,)


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int8", "int32", "bool"])
def test_every_element_type_has_inputs(dtype: str) -> None:
    (array,) = random_inputs([("x", (100,), np.dtype(dtype))], 0).values()
    assert array.dtype == dtype
    assert len(np.unique(array)) > 1


def test_agreement_passes() -> None:
    report = verify(double, double, SIGNATURE)
    assert report.passed
    assert [output.name for output in report.outputs] == ["y", "j"]
    assert "over 3 samples" in report.summary()


def test_an_output_of_halves_has_their_last_place_for_tolerance() -> None:
    """It was said to agree by 4e-4 at a tolerance of 1e-4."""

    def halves(offset: float) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
        return lambda inputs: {"y": np.array([1, 2], np.float16), "h": np.array([1 + offset, 2], np.float16)}

    report = verify(halves(2**-10), halves(0), SIGNATURE)
    assert report.passed
    assert report.outputs[1].error == 2**-11
    assert report.outputs[1].tolerance == 2**-10
    assert "4.9e-04 over 3 samples, tolerance 1e-03" in report.summary()


def test_the_error_of_the_output_that_fails_is_told() -> None:
    def both(offset: float) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
        return lambda inputs: {"h": np.ones(2, np.float16), "y": np.array([1 + offset, 1], np.float32)}

    report = verify(both(3e-4), both(0), SIGNATURE)
    assert not report.passed
    assert "output 'y' differs" in report.summary()
    assert "3.0e-04 over 3 samples, tolerance 1e-04" in report.summary()


def test_one_bad_output_in_one_sample_fails() -> None:
    calls = 0

    def wrong(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        nonlocal calls
        calls += 1
        result = double(inputs)
        if calls == 2:
            result["y"] = result["y"] * np.float32(1.01)
        return result

    report = verify(wrong, double, SIGNATURE)
    assert [output.passed for output in report.outputs] == [False, True]
    assert report.error == pytest.approx(0.01, rel=1e-3)
    assert "output 'y' differs" in report.summary()
    assert report.to_dict()["passed"] is False


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (0, "zero")])
def test_outputs_that_show_nothing_are_said_to(value: float, what: str) -> None:
    def dead(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return double(inputs) | {"y": np.full((2, 3), value, np.float32)}

    report = verify(dead, dead, SIGNATURE)
    assert report.passed
    assert f"output 'y' is {what} throughout" in report.summary()
    assert [bool(output["dull"]) for output in report.to_dict()["outputs"]] == [True, False]


def test_an_output_that_shows_something_once_is_not() -> None:
    def rarely(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": inputs["x"] * (inputs["x"][0, 0] > 0), "j": inputs["i"] * 0}

    report = verify(rarely, rarely, SIGNATURE, samples=8)
    assert "throughout" not in report.summary(), "integers may well be constant"


def test_a_missing_output_fails() -> None:
    report = verify(lambda inputs: {"y": double(inputs)["y"]}, double, SIGNATURE)
    assert not report.passed
    assert "is missing" in report.summary()
    assert report.to_dict()["outputs"][1]["error"] is None


def model() -> onnx.ModelProto:
    nodes = [helper.make_node("Neg", ["x"], ["t"]), helper.make_node("Exp", ["t"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_the_reference_runs_a_model_and_any_value_in_it() -> None:
    x = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(Reference(model())({"x": x})["y"], np.exp(-x), rtol=1e-6)
    assert set(Reference(model(), outputs=["t", "y"])({"x": x})) == {"t", "y"}


def test_the_reference_leaves_out_what_its_outputs_do_not_need() -> None:
    """Also what onnxruntime could not load, and what no shape would fit."""
    whole = model()
    whole.graph.node.append(helper.make_node("Unheard", ["t", "other"], ["z"]))
    whole.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [7]))
    whole.graph.output.append(onnx.ValueInfoProto(name="z"))
    x = np.ones((4, 3), np.float32)
    reference = Reference(whole, outputs=["t"], shapes={"x": (4, 3)})
    np.testing.assert_array_equal(reference({"x": x})["t"], -x)
    np.testing.assert_allclose(reference.nearby(0)({"x": x})["t"], -x)


def test_the_reference_reads_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(model(), tmp_path / "m.onnx")
    read: list[Path] = []
    monkeypatch.setattr("convc.verify.reference.load", lambda path: read.append(path) or onnx.load(path))
    assert set(Reference(tmp_path / "m.onnx", outputs=["y"]).output_names) == {"y"}
    assert read == [tmp_path / "m.onnx"]


@pytest.mark.parametrize(("outputs", "said"), [([], "is a folder"), (["z"], "none computes 'z'")])
def test_what_is_no_model_or_has_no_such_output_is_said_as_the_importer_does(
    outputs: list[str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ImportProblem, match=said):
        Reference(model() if outputs else tmp_path, outputs=outputs)


def test_what_onnxruntime_refuses_is_one_line() -> None:
    with pytest.raises(ReferenceFailure, match="onnxruntime cannot run the model") as failure:
        Reference(model())({"x": np.ones((2, 4), np.float32)})
    assert "\n" not in str(failure.value)


def logistic(step: Callable[[np.ndarray], np.ndarray]) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Eight steps of a chaotic map: each nearly doubles an error."""

    def network(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        x = np.abs(np.sin(inputs["x"]))
        for _ in range(8):
            x = step(x)
        return {"y": x}

    return network


CHAOS = [("x", (100,), np.dtype("float32"))]
amplify = logistic(lambda x: np.float32(3.9) * x * (1 - x))


def test_a_model_that_amplifies_rounding_passes_within_its_own_noise() -> None:
    report = verify(logistic(lambda x: np.float32(3.9) * (x - x * x)), amplify, CHAOS, precision=Precision(1e-6))
    assert report.error > 1e-6
    assert report.passed
    assert "amplifies rounding" in report.summary()
    assert report.outputs[0].noise is not None


def test_a_model_that_amplifies_the_rounding_of_its_weights_passes_too() -> None:
    """0.1 * 10,000 - 1,000: an error in 0.1 is all that is left, whatever x."""

    def network(weight: np.float32) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
        return lambda inputs: {"y": np.sign(inputs["x"]) * (weight * np.float32(1e4) - np.float32(1e3) + np.float32(1))}

    def nearby(seed: int) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
        return network(np.nextafter(np.float32(0.1), np.float32(seed % 2)))

    ours = network(np.nextafter(np.float32(0.1), np.float32(1)))
    assert not verify(ours, network(np.float32(0.1)), CHAOS, precision=Precision(1e-5)).passed
    report = verify(ours, network(np.float32(0.1)), CHAOS, precision=Precision(1e-5), nearby=nearby)
    assert report.passed
    assert "last bits of inputs and weights" in report.summary()


def test_a_wrong_build_of_such_a_model_still_fails() -> None:
    report = verify(
        lambda inputs: {"y": amplify(inputs)["y"] * np.float32(1.01)}, amplify, CHAOS, precision=Precision(1e-6)
    )
    assert not report.passed
    assert "differs from onnxruntime's" in report.summary()


def test_a_well_conditioned_model_gets_no_allowance() -> None:
    def slightly(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        result = double(inputs)
        return {**result, "y": result["y"] * np.float32(1.0005)}

    report = verify(slightly, double, SIGNATURE)
    assert not report.passed
    assert report.outputs[0].noise is not None
    assert report.outputs[0].noise < 1e-6
