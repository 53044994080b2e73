"""What candidates for GPUs are checked against: samples of what the kernel's definition says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from convc.pipeline import Build
from convc.targets.cuda.target import parse_cuda
from convc.tuning import expected
from convc.tuning.findings import Failed
from convc.tuning.operands import random_operands
from convc.tuning.problem import interpreted, operands_of
from convc.tuning.results import Output, Result, Sample
from convc.tuning.workloads import workloads


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_sample_of_a_large_problem_is_of_the_whole(
    precision: str, convolutions: Callable[..., onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = convolutions(24)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 5
    build = Build(parse_cuda("cuda:sm_90a"), precision=precision, measured=False)
    module, _ = build.module(model, {})
    tf32 = precision == "tf32"
    (found,), cut = workloads([module], build.target), 0
    for workload in found:
        kernel, weights = workload.forms[0], workload.weights
        operands = random_operands(operands_of(kernel, weights), 0)
        wholes = interpreted(kernel, operands)
        for most in (1, 1 << 40):
            monkeypatch.setattr(expected, "_MOST", most)
            results = expected.expected_results(kernel, weights, operands, tf32, 0)
            for result, whole in zip(results, wholes, strict=True):
                assert result.shape == whole.shape
                if result.sample is None:
                    np.testing.assert_array_equal(result.expected, whole)
                    continue
                np.testing.assert_allclose(
                    result.expected.astype(float), whole.reshape(-1)[result.sample.places].astype(float), rtol=1e-6
                )
                images = set(result.sample.places // (whole.size // 5))
                assert images in ({0, 4}, set(range(5)))
                cut += images == {0, 4}
    assert cut == len(found) - 1 == 3, "all but the mean, which is no kernel that keeps its rows"


def test_a_sample_misses_nothing_that_was_left_out() -> None:
    whole = np.arange(512, dtype=np.float32).reshape(8, 64)
    places = np.arange(0, 511, 7)
    output = Output(Result(whole.reshape(-1)[places], "", 1e-5, Sample(whole.shape, places)))
    output.spoil()
    output.inside.view(np.float32)[:511] = whole.reshape(-1)[:511]
    with pytest.raises(Failed, match="the result holds NaN, or was not written everywhere"):
        output.check("the result")
    output.inside.view(np.float32)[511] = 12345.0
    output.check("the result")
    output.inside.view(np.float32)[7] += 1
    with pytest.raises(Failed, match="expected at most 1e-05"):
        output.check("the result")
