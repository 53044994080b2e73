"""The tables of the benchmark."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import cpu

    return cpu


def row(model: str, **peers: float) -> dict[str, Any]:
    """A model of 1 GMAC that convc runs in 10 ms, and each peer in so many."""
    engines = {"convc": {"median_ms": 10.0, "convc_ratio": 1.0}}
    engines |= {name: {"median_ms": time, "convc_ratio": 10 / time} for name, time in peers.items()}
    return {"model": model, "error": 1e-6, "macs": 10**9, "threads": {1: engines}}


def test_a_peer_that_cannot_run_a_model_is_left_out_of_its_means(cpu: ModuleType) -> None:
    rows = [row("one", onnxruntime=20.0, ncnn=40.0), row("two", onnxruntime=80.0)]
    _, _, one, two, means = cpu.times(rows, {1: 400.0}, ["onnxruntime", "ncnn"], tuned=False).splitlines()
    assert one == "| one | 1e-06 | 10.00 | 0.50 | 0.25 | 0.50 | 200 | 50% |"
    assert two == "| two | 1e-06 | 10.00 | 0.12 | - | 0.12 | 200 | 50% |"
    assert means == "| **geometric mean** |  |  | 0.25 | 0.25 | 0.25 |  |  |"


def test_the_plot_shows_every_model(cpu: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot is an extra")
    cpu.plot([row("one", onnxruntime=20.0), row("two", ncnn=80.0)], [1], tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text()
    assert all(f"<!-- {word} -->" in text for word in ("one", "two", "onnxruntime", "ncnn", "0.50", "0.12"))


def test_without_matplotlib_there_is_no_plot(
    cpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    cpu.plot([row("one", onnxruntime=20.0)], [1], tmp_path / "plot.svg")
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == "no plot, which needs matplotlib: pip install -e '.[plot]'\n"
