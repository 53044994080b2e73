"""What a path or an object means as a model, and the verbs that take it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from convc.cli.main import main
from convc.frontends import dsl
from convc.frontends.onnx import ImportProblem
from convc.frontends.source import load_source

pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # jax's, on any fork

EXAMPLE = Path(__file__).parents[3] / "examples" / "dsl_net.py"

Script = Callable[..., str]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes net.py; `FILE.py:NAME` of it."""

    def write(text: str, name: str = "model") -> str:
        (tmp_path / "net.py").write_text(text)
        return f"{tmp_path / 'net.py'}:{name}"

    return write


@pytest.fixture
def convc() -> Iterator[Callable[..., int]]:
    """Runs a command line in this process; its exit status."""
    handler = signal.getsignal(signal.SIGTERM)
    yield lambda *arguments: main(list(map(str, arguments)))
    signal.signal(signal.SIGTERM, handler)


NET = "from convc import dsl\nmodel = dsl.Sequential([dsl.Input((8, 8, 3)), dsl.Conv2D(4, 3)])\n"


def arrays(model: onnx.ModelProto) -> list[np.ndarray]:
    return [onnx.numpy_helper.to_array(array) for array in model.graph.initializer]


def test_a_script_makes_the_same_model_whatever_was_made_before(script: Script) -> None:
    dsl.Input((3,))  # takes a name, and the next draw takes other numbers
    dsl.Sequential([dsl.Input((3,)), dsl.Dense(2)])
    first, second = (load_source(script(NET)).model for _ in range(2))
    assert isinstance(first, onnx.ModelProto)
    assert isinstance(second, onnx.ModelProto)
    assert first.SerializeToString() == second.SerializeToString()
    assert first.graph.input[0].name == "input_layer"


def test_a_script_leaves_the_names_and_draws_of_others_alone(script: Script) -> None:
    def kernel(load: bool) -> tuple[str, np.ndarray]:
        dsl.clear_session()
        dsl.set_random_seed(3)
        if load:
            load_source(script(NET))
        layer = dsl.Dense(2)
        layer(dsl.Input((3,)))
        return layer.name, layer.get_weights()[0]

    (name, plain), (other, after) = kernel(False), kernel(True)
    assert name == other == "dense"
    np.testing.assert_array_equal(plain, after)


def test_a_script_is_not_main_and_finds_its_neighbours(script: Script, tmp_path: Path) -> None:
    (tmp_path / "beside_net.py").write_text("filters = 5\n")
    before = list(sys.path)
    source = load_source(
        script(
            "from convc import dsl\nfrom beside_net import filters\n"
            "net = dsl.Sequential([dsl.Input((8, 8, 3)), dsl.Conv2D(filters, 3)])\n"
            "if __name__ == '__main__':\n    raise AssertionError\n",
            "net",
        )
    )
    assert isinstance(source.model, onnx.ModelProto)
    assert arrays(source.model)[1].shape == (5,)
    assert sys.path == before


def test_what_a_script_prints_is_not_among_the_results(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    load_source(script(NET + "model.summary()\n"))
    captured = capsys.readouterr()
    assert not captured.out
    assert "conv2d (Conv2D)" in captured.err


def test_a_script_may_make_onnx_by_any_means(script: Script) -> None:
    text = f"{NET}class Other:\n    def to_onnx(self): return model.to_onnx()\nother = Other()\n"
    source = load_source(script(text, "other"))
    assert isinstance(source.model, onnx.ModelProto)
    assert dict(source.defaults) == {"input_layer": (1, 8, 8, 3)}
    assert not load_source(script(NET + "proto = model.to_onnx()\n", "proto")).defaults


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (NET, "net", "expected 'net' in FILE, which makes the models model"),
        ("x = 1\n", "net", "expected 'net' in FILE, which makes the models (none)"),
        ("x = 1\n", "x", "expected a model: a path, a ModelProto or an object with to_onnx(), got 1"),
        ("x = 1\n\nx = 1 / 0\n", "x", "FILE:3: ZeroDivisionError: division by zero"),
        ("def f():\n    raise OSError('no\\ndisk')\nf()\n", "x", "FILE:2: OSError: no disk"),
        ("x = (\n", "x", "FILE:1: SyntaxError: '(' was never closed (net.py, line 1)"),
        ("raise SystemExit(3)\n", "x", "FILE:1: SystemExit: 3"),
        ("import no_such_module\n", "x", "FILE:1: ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "from convc import dsl\nm = dsl.Conv2D(0, 3)\n",
            "m",
            "FILE:2: ModelError: layer 'conv2d' (Conv2D): filters: expected a positive integer, got 0",
        ),
        (
            "from convc import dsl\nm = dsl.Sequential([dsl.Dense(3)])\n",
            "m",
            "layer 'sequential' (Sequential): expected layers and a known input shape: begin with Input(shape), or "
            "call build(shape)",
        ),
    ],
)
def test_a_script_that_fails_is_one_line(text: str, name: str, message: str, script: Script) -> None:
    source = script(text, name)
    with pytest.raises(ImportProblem) as caught:
        load_source(source)
    assert str(caught.value) == message.replace("FILE", source.rpartition(":")[0])


def test_a_script_needs_a_name_and_a_file(tmp_path: Path) -> None:
    with pytest.raises(
        ImportProblem, match=r"expected FILE.py:NAME, where the script makes the model NAME, got .*net.py"
    ):
        load_source(tmp_path / "net.py")
    with pytest.raises(ImportProblem, match="it is no file"):
        load_source(f"{tmp_path / 'net.py'}:model")


def test_onnx_files_and_protos_are_taken_as_they_are(tmp_path: Path) -> None:
    assert load_source("some.onnx").model == Path("some.onnx")
    proto = onnx.ModelProto()
    source = load_source(proto)
    assert source.model is proto
    assert source.shapes([{}]) == [{}]


def test_given_shapes_replace_the_default_batch(script: Script) -> None:
    source = load_source(script(NET))
    given = {"input_layer": (4, 8, 8, 3)}
    assert source.shapes([{}, given]) == [{"input_layer": (1, 8, 8, 3)}, given]


def test_the_verbs_take_the_example(
    convc: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = f"{EXAMPLE}:model"
    assert convc("build", model, "--shape", "image=2x32x32x3") == 0
    assert "agrees with onnxruntime" in capsys.readouterr().out
    assert (tmp_path / "dsl_net.convc" / "manifest.json").is_file()
    assert convc("verify", "dsl_net.convc", model, "--json") == 0
    assert json.loads(capsys.readouterr().out)["passed"]
    assert convc("inspect", model, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"] == [{"name": "image", "shape": [1, 32, 32, 3], "dtype": "uint8"}]
    assert found["parameters"] == 78_378
    assert (
        convc("bench", "dsl_net.convc", "--model", model, "--against", "onnxruntime", "--seconds", "0.05", "--json")
        == 0
    )
    assert set(json.loads(capsys.readouterr().out)["engines"]) == {"convc", "onnxruntime"}


class FromAFile:
    """In the place of OpenVINO, which reads models from files only and may not be installed."""

    def __init__(self, model: Path, threads: int, inputs: dict[str, np.ndarray]) -> None:
        self.outputs = [output.name for output in onnx.load(model).graph.output]

    def __call__(self, inputs: dict[str, np.ndarray]) -> list[str]:
        return self.outputs


def test_bench_builds_a_script_and_gives_engines_a_file(
    convc: Callable[..., int], script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convc.verify.openvino.OpenVino", FromAFile)
    assert convc("bench", script(NET), "--against", "openvino", "--seconds", "0.05", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["engines"]) == {"convc", "openvino"}


def test_a_failing_script_is_one_line_of_stderr(
    convc: Callable[..., int], script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    source = script("raise ValueError('broken')\n")
    for verb in ("build", "inspect", "bench"):
        assert convc(verb, source) == 1
        captured = capsys.readouterr()
        assert captured.err == f"convc: error: {source.rpartition(':')[0]}:1: ValueError: broken\n"
        assert not captured.out
