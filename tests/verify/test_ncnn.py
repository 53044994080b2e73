"""ncnn as a peer: it computes the same, and what keeps it from doing so is one line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest

from convc.verify import Reference, ReferenceFailure
from convc.verify.ncnn import Ncnn, convert

TEXT = """<ir_version: 8, opset_import: ["": 17]> g (float[1, 3, 9, 8] x) => (float[1, 4, 9, 8] y)
<float[4, 3, 3, 3] w = {%s}> { c = Conv<pads = [1, 1, 1, 1]>(x, w) y = Relu(c) }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    weights = ", ".join(f"{value:.3f}" for value in np.random.default_rng(0).standard_normal(108))
    onnx.save(onnx.parser.parse_model(TEXT % weights), tmp_path / "conv.onnx")
    return tmp_path / "conv.onnx"


def test_it_computes_what_onnxruntime_does(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ncnn", reason="ncnn is an extra")
    if importlib.util.find_spec("pnnx") is None:
        pytest.skip("pnnx is installed by hand: it asks for PyTorch")
    x = np.random.default_rng(1).standard_normal((1, 3, 9, 8), np.float32)
    (folder := tmp_path / "converted").mkdir()
    convert(model, {"x": x.shape}, folder)
    (actual,) = Ncnn(folder, 1, {"x": x})({"x": x})
    np.testing.assert_allclose(actual, Reference(model)({"x": x})["y"][0], atol=1e-4)


def test_without_pnnx_it_says_what_to_install(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ReferenceFailure, match=r"^pnnx, .* is not installed: pip install --no-deps pnnx$"):
        convert(model, {"x": (1, 3, 9, 8)}, tmp_path)
