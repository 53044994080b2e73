"""Tables of the benchmark of GPUs."""

from __future__ import annotations

from typing import Any

import pytest
from gpu import report

ENGINES = ["convc", "torch", "torch.compile"]


REFERENCE = {"untold": "", "doubt": 0.0}


def row(batch: int, **engines: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": "net",
        "precision": "fp16",
        "batch": batch,
        "engines": engines,
        "kernels": [],
        "reference": REFERENCE,
    }


CONVC = {"error": 2e-4, "right": True, "median_ms": 0.5, "convc_ratio": 1.0}
ROWS = [
    row(1, convc=CONVC, torch={"error": 1e-3, "right": True, "median_ms": 2.0, "convc_ratio": 0.25}),
    row(8, convc=CONVC, torch={"median_ms": 0.5, "error": 0.0, "right": True, "convc_ratio": 1.0}),
]


def test_engines_that_failed_leave_the_means() -> None:
    rows = [*ROWS, row(32, convc={"failed": "no memory"}, torch={"error": 0.0, "right": True, "median_ms": 9.0})]
    _, _, *lines = report.times(rows, ENGINES).splitlines()
    assert lines == [
        "| net | fp16 | 1 | 2e-04 | 1e-03 | 0.500 | 0.25 | - |",
        "| net | fp16 | 8 | 2e-04 | 0e+00 | 0.500 | 1.00 | - |",
        "| net | fp16 | 32 | - | 0e+00 | - | - | - |",
        "| **geometric mean** |  |  |  |  |  | 0.50 | - |",
    ]
    assert [report.failures(each) for each in rows] == [[], [], ["net fp16 x32: convc: no memory"]]
    told = report.progress({"row": rows[-1]})
    assert told == "net fp16 x32: ms: torch 9.000\nnet fp16 x32: convc: no memory"


def test_what_is_wrong_or_was_not_compared_is_marked() -> None:
    wrong = row(1, convc=CONVC | {"error": 0.5, "right": False}, torch=CONVC | {"error": None, "right": False})
    wrong["reference"] = {"untold": "ValueError: no rule", "doubt": 2e-3}
    assert report.times([wrong], ENGINES).splitlines()[-1] == "| net | fp16 | 1 | 5e-01 ! | - | 0.500 | 1.00 | - |"
    assert report.failures(wrong) == [
        "net fp16 x1: convc: max|diff|/max|ref| 5.0e-01",
        "net fp16 x1: torch: max|diff|/max|ref| inf",
        "net fp16 x1: not compared with torch: ValueError: no rule",
        "net fp16 x1: torch's fp32 differs from the definition by 2.0e-03",
    ]


def test_the_slowest_kernels_come_with_their_share() -> None:
    step = {
        "kernel": "k3_conv",
        "name": "c",
        "template": "direct",
        "gbytes": 100.0,
        "tflops": 5.0,
        "bound": "memory",
        "share": 0.5,
    }
    _, _, *lines = report.kernels([step | {"us": float(us)} for us in range(20, 0, -1)]).splitlines()
    assert len(lines) == 12
    assert lines[0] == "| k3_conv c | direct | 20.0 | 10% | 100 | 5.0 | memory | 50% |"


def test_the_plot_shows_every_case(tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="the plot is an extra")
    path = tmp_path / "plot.svg"
    report.plot(ROWS, ENGINES, path)
    text = path.read_text()
    assert all(f"<!-- {word} -->" in text for word in ("net fp16 x1", "net fp16 x8", "4.00", "1.00", "torch"))
