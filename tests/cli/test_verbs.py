"""The command line, as a user meets it: each verb in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convc.cli.main import main

Convc = Callable[..., subprocess.CompletedProcess[str]]


def network(channels: int = 8, size: object = 6) -> onnx.ModelProto:
    """Two convolutions, the first rectified; [1, 3, size, size] -> [1, 8, size, size]."""
    generator = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
        for name, shape in {"w1": (channels, 3, 3, 3), "w2": (8, channels, 1, 1)}.items()
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["out"], name="second"),
    ]
    image, out = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, c, size, size])
        for name, c in (("image", 3), ("out", 8))
    )
    graph = helper.make_graph(nodes, "network", [image], [out], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(network(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of the network, not to be changed."""
    folder = tmp_path_factory.mktemp("built")
    onnx.save(network(), folder / "net.onnx")
    command = [sys.executable, "-m", "convc", "build", "net.onnx"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "net.convc"


@pytest.fixture
def built(built_once: Path, model: Path) -> Path:
    """A copy of it, beside the model."""
    return shutil.copytree(built_once, model.with_name("net.convc"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_one_line(done: subprocess.CompletedProcess[str], message: str, status: int = 1) -> None:
    """Failed, with one line that says why, after any lines of progress."""
    *progress, last = done.stderr.splitlines()
    assert done.returncode == status, done.stderr
    assert last.startswith("convc: error: ")
    assert message in last
    assert all(line.endswith(" ...") for line in progress), done.stderr
    assert not done.stdout


def test_build_writes_a_verified_artifact(convc: Convc, model: Path, tmp_path: Path) -> None:
    done = convc("build", model)
    assert done.returncode == 0, done.stderr
    assert "agrees with onnxruntime" in done.stdout
    assert files(tmp_path) == ["net.convc", "net.onnx"]
    assert files(tmp_path / "net.convc") == ["kernels.so", "manifest.json", "weights.safetensors"]


@pytest.mark.parametrize("level", range(4))
def test_every_level_agrees_with_onnxruntime(level: int, convc: Convc, model: Path) -> None:
    done = convc("build", model, "-O", level, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["level"] == level
    assert facts["verified"]["passed"]


def test_building_again_replaces_the_artifact(convc: Convc, built: Path, model: Path, tmp_path: Path) -> None:
    before = (built / "weights.safetensors").stat().st_ino
    assert convc("build", model, "-o", built).returncode == 0
    assert (built / "weights.safetensors").stat().st_ino != before
    assert files(tmp_path) == ["net.convc", "net.onnx"]


def test_a_dump_holds_what_the_kernels_became(convc: Convc, model: Path, tmp_path: Path) -> None:
    assert convc("build", model, "--no-verify", "--dump-ir", "dump").returncode == 0
    (folder,) = (tmp_path / "dump").glob("*-lower")
    assert {"k0_conv.py", "k1_conv.py", "program.c"} <= {*files(folder)}
    program = (folder / "program.c").read_text()
    assert program.index("STEP(0, k0_conv(in[0], ") < program.index("STEP(1, k1_conv(")
    assert 'def main(arg0: T.Buffer((1, 3, 6, 6), "float32"), ' in (folder / "k0_conv.py").read_text()


def test_dumped_modules_go_back_into_opt(convc: Convc, model: Path, tmp_path: Path) -> None:
    assert convc("build", model, "--no-verify", "--dump-ir", "dump").returncode == 0
    names = [path.name for path in sorted((tmp_path / "dump").glob("*.mlir"))]
    assert [name[3:] for name in names] == [
        "import.mlir", "simplify.mlir", "fuse.mlir", "layouts.mlir", "select.mlir"
    ]  # fmt: skip
    for name in names:
        done = convc("opt", Path("dump") / name, "-p", "canonicalise")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("builtin.module")
    done = convc("opt", Path("dump") / names[1], "-p", "fuse,select{template=generic}")
    assert 'convc.kernel template "generic"' in done.stdout


def test_opt_lists_the_passes(convc: Convc) -> None:
    done = convc("opt", "-p", "list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == sorted(
        line.split()[0] for line in done.stdout.splitlines()
    )
    assert "fold-batch-norm" in done.stdout


def test_run_takes_arrays_images_and_seeds(convc: Convc, built: Path, tmp_path: Path) -> None:
    from PIL import Image

    x = np.random.default_rng(0).random((1, 3, 6, 6), np.float32)
    np.save(tmp_path / "x.npy", x)
    Image.new("RGB", (20, 10), (255, 0, 0)).save(tmp_path / "red.png")
    for source in (["--input", "image=x.npy"], ["--input", "image=red.png"], ["--random", "3"]):
        done = convc("run", built, *source, "--output", "results")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("out: 1x8x6x6 float32 -> results/out.npy")
        assert np.load(tmp_path / "results" / "out.npy").shape == (1, 8, 6, 6)


def test_verify_and_bench_tell_machines_too(convc: Convc, built: Path, model: Path) -> None:
    done = convc("verify", built, model, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"]
    done = convc("bench", built, "--model", model, "--against", "onnxruntime", "--seconds", 0.1, "--profile", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert set(facts["engines"]) == {"convc", "onnxruntime"}
    assert facts["engines"]["onnxruntime"]["convc_ratio"] > 0
    assert facts["roofline"]["gflops"] > 0
    assert all(row["bound"] in ("compute", "memory") and row["of_bound"] > 0 for row in facts["kernels"])
    assert [row["name"] for row in facts["kernels"]] == [
        step["name"] for step in json.loads((built / "manifest.json").read_text())["variants"][0]["steps"]
    ]


def test_verify_finds_a_build_of_another_model(convc: Convc, built: Path, tmp_path: Path) -> None:
    other = network()
    other.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full((8, 8, 1, 1), 0.25, np.float32), "w2"))
    onnx.save(other, tmp_path / "other.onnx")
    done = convc("verify", built, "other.onnx")
    assert done.returncode == 1
    assert "output 'out' differs from onnxruntime's" in done.stdout


def test_targets_names_this_machine(convc: Convc) -> None:
    found = json.loads(convc("targets", "--json").stdout)
    assert found["cpu"]["cores"] >= 1
    assert "znver4" in found["known"]["x86_64"]
    assert "cuda:sm_90a" in found["known"]["cuda"]
    text = convc("targets").stdout
    assert "to build for GPUs: NVRTC" in text
    assert (found["cuda"]["description"] or found["cuda"]["missing"]) in text


@pytest.mark.parametrize("verb", ["build", "run", "bench", "verify", "tune", "inspect", "opt", "targets"])
def test_every_verb_has_help_with_an_example(verb: str, convc: Convc) -> None:
    done = convc(verb, "--help")
    assert done.returncode == 0
    assert f"example:\n  convc {verb}" in done.stdout


def truncated(folder: Path) -> str:
    data = network().SerializeToString()
    (folder / "m.onnx").write_bytes(data[: len(data) // 2])
    return "m.onnx"


def text(folder: Path) -> str:
    (folder / "m.onnx").write_text("this is no model\n" * 10)
    return "m.onnx"


def unsupported(folder: Path) -> str:
    changed = network()
    changed.graph.node[1].op_type = "Unheard"
    onnx.save(changed, folder / "m.onnx")
    return "m.onnx"


def symbolic(folder: Path) -> str:
    onnx.save(network(size="side"), folder / "m.onnx")
    return "m.onnx"


def good(folder: Path) -> str:
    onnx.save(network(), folder / "m.onnx")
    return "m.onnx"


REFUSED = {
    "a missing file": (lambda folder: "none.onnx", [], "cannot read none.onnx: No such file or directory"),
    "a text file": (text, [], "m.onnx is not an ONNX model"),
    "a truncated model": (truncated, [], "m.onnx is not an ONNX model, or is truncated"),
    "an unsupported operator": (unsupported, [], "unsupported operators: Unheard (node relu)"),
    "a symbolic shape": (symbolic, [], "fix it with --shape image=1x3x"),
    "a shape of another rank": (symbolic, ["--shape", "image=3x8x8"], "input 'image'"),
    "a shape that contradicts the model": (good, ["--shape", "image=1x4x6x6"], "input 'image'"),
    "a shape for an unknown input": (good, ["--shape", "x=1x3x6x6"], "'x'"),
    "an unknown target": (good, ["--target", "cpu:znver99"], 'unknown target "cpu:znver99"; did you mean cpu:znver'),
    "a GPU": (good, ["--target", "tpu"], 'unknown target "tpu"'),
}


@pytest.mark.parametrize("what", REFUSED)
def test_build_refuses_in_one_line_and_leaves_nothing(what: str, convc: Convc, tmp_path: Path) -> None:
    make, options, message = REFUSED[what]
    path = make(tmp_path)
    before = files(tmp_path)
    assert_one_line(convc("build", path, *options), message)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shape", "image=1x3xHxW"], "--shape: expected NAME=1x3x224x224"),
        (["--shape", "image=1x3x0x6"], "--shape: expected NAME=1x3x224x224"),
        (["--shape", "image=1x3x6x6", "--shape", "image=1x3x6x6"], "--shape: 'image' is given twice"),
        (["-O", "7"], "invalid choice"),
        (["--threads", "0"], "expected a whole number of at least 1, got '0'"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
    ],
)
def test_wrong_usage_exits_with_2(options: list[str], message: str, convc: Convc, model: Path) -> None:
    assert_one_line(convc("build", model, *options), message, status=2)


def test_what_is_no_artifact_is_not_replaced(convc: Convc, model: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep me")
    assert_one_line(convc("build", model, "-o", "precious"), "precious exists and is no artifact")
    assert files(tmp_path / "precious") == ["file"]
    assert_one_line(convc("build", model, "-o", "no/such/place.convc"), "no/such is no folder")


WRONG_INPUTS = {
    "shape": (np.zeros((1, 3, 6, 7), np.float32), "image", "input 'image': expected shape 1x3x6x6, got 1x3x6x7", 1),
    "dtype": (np.zeros((1, 3, 6, 6)), "image", "input 'image': expected float32, got float64", 1),
    "name": (np.zeros((1, 3, 6, 6), np.float32), "picture", "--input: no input 'picture'; the inputs are image", 2),
}


@pytest.mark.parametrize("what", WRONG_INPUTS)
def test_run_refuses_inputs_that_do_not_fit(what: str, convc: Convc, built: Path, tmp_path: Path) -> None:
    array, name, message, status = WRONG_INPUTS[what]
    np.save(tmp_path / "x.npy", array)
    done = convc("run", built, "--input", f"{name}=x.npy", "--output", "results")
    assert_one_line(done, message, status)
    assert not (tmp_path / "results").exists()


def test_run_wants_every_input(convc: Convc, built: Path) -> None:
    message = "expected --input NAME=FILE or --random SEED for image (1x3x6x6 float32)"
    assert_one_line(convc("run", built), message, status=2)


def test_a_flipped_byte_is_refused(convc: Convc, built: Path) -> None:
    weights = built / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert_one_line(convc("run", built, "--random", 0), "weights.safetensors was altered since it was made")


@pytest.mark.skipif(os.name != "posix", reason="only POSIX systems limit the size of files")
@pytest.mark.parametrize("limit", [100, 5_000, 30_000, 100_000])
def test_a_full_disk_leaves_nothing(limit: int, convc: Convc, tmp_path: Path) -> None:
    onnx.save(network(channels=4000), tmp_path / "net.onnx")  # 500 KB of weights
    done = convc("build", "net.onnx", "--no-verify", limit=limit)
    assert done.returncode == 1, done.stderr
    assert_one_line(done, "")
    assert files(tmp_path) == ["net.onnx"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing(number: signal.Signals, model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "convc", "build", "net.onnx"]
    # SIGINT is ignored where a shell runs the tests with &.
    heed = partial(signal.signal, number, signal.SIG_DFL)
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("compile"):
                process.send_signal(number)
                break
        rest = process.stderr.read()
        assert process.wait() == 128 + number
    assert "Traceback" not in rest
    assert files(tmp_path) == ["net.onnx"]


def test_an_interrupt_while_verbs_are_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("convc.cli.main.import_module", interrupted)
    assert main(["targets"]) == 130
    assert capsys.readouterr() == ("", "convc: interrupted\n")


def test_a_closed_pipe_ends_quietly(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "convc", "targets"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


LIGHT = """
import sys
import convc
import convc.cli.main
convc.cli.main.parser()
heavy = {"numpy", "tvm", "tvm_ffi", "onnx", "onnxruntime", "xdsl", "rich"} & set(sys.modules)
assert not heavy, heavy
"""


def test_importing_convc_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
