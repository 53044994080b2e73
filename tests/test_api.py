"""What `convc.compile` refuses before it does anything."""

from __future__ import annotations

from typing import Any

import pytest

import convc


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"level": 4}, ValueError, "level: expected 0 to 3, got 4"),
        ({"level": "3"}, ValueError, "level: expected 0 to 3, got '3'"),
        ({"threads": 0}, ValueError, "threads: expected a whole number of at least 1, got 0"),
        ({"threads": 1.5}, ValueError, "threads: expected a whole number of at least 1, got 1.5"),
        ({"precision": "fp8"}, ValueError, "precision: expected one of fp32, tf32, fp16, bf16, got 'fp8'"),
        (
            {"precision": "fp8", "target": "cuda:sm_90a"},
            ValueError,
            "precision: expected one of fp32, tf32, fp16, bf16, got 'fp8'",
        ),
        (
            {"shapes": (1, 3, 8, 8)},
            TypeError,
            "shapes: expected {'NAME': (1, 3, 224, 224)} or several such, got (1, 3, 8, 8)",
        ),
        ({"shapes": {"x": "1x3x8x8"}}, TypeError, "shapes: expected whole numbers for 'x', got '1x3x8x8'"),
        ({"shapes": {"x": (1, 3.0)}}, TypeError, "shapes: expected whole numbers for 'x', got (1, 3.0)"),
        ({"shapes": {"x": 8}}, TypeError, "shapes: expected whole numbers for 'x', got 8"),
    ],
)
def test_arguments_that_mean_nothing(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        convc.compile("never-read.onnx", **options)
    assert str(caught.value) == message
