"""How a pack is run: what comes first, and what is left when a process dies, hangs or runs out of time."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convc.artifact.manifest import KERNELS, SOURCE, WEIGHTS, read_manifest, write_manifest
from convc.targets.cuda.compiler import DEVICE_HEADERS
from convc.targets.cuda.emulator.build import emulated_driver, emulated_kernels

CONTENTS = {
    "models": [{"name": "a", "batches": [1, 8]}, {"name": "b", "batches": [1]}],
    "precisions": {"fp16": 1e-2, "fp32": 1e-4},
}
WORKER = """
import json, os, sys, time
task = json.load(open(sys.argv[1]))
output = open(task["output"], "a")
def say(**found):
    output.write(json.dumps(found) + "\\n")
    output.flush()
if task["trace"]:
    (case,) = task["cases"]
    for step in ("k0 conv (direct {})", "k1 pool (window {})"):
        say(step=step)
    if case["model"] == "a":
        os.abort()
    say(step="")
    sys.exit()
if task["torch"] and os.environ.get("TORCH") == "broken":
    say(raised="RuntimeError: torch finds no GPU")
    sys.exit(1)
say(machine={"gpu": "x"})
for case in task["cases"]:
    say(begin="")
    say(engine="convc")
    if case["model"] in ("a", "b") and case["precision"] == "fp16" and case["batch"] == 1:
        if case["model"] == "a":
            os.abort()
        if task["early"]:
            time.sleep(60)
    names = ["convc", *case["peers"]]
    for name in case["peers"]:
        say(engine=name)
        if name == "fragile" and case["precision"] == "fp32":
            os.abort()
    about = {key: case[key] for key in ("model", "precision", "batch")}
    say(row=about | {"engines": dict.fromkeys(names, {}), "kernels": []})
    say(done="")
"""


def test_the_most_telling_comes_first() -> None:
    from gpu.plan import plan

    cases = plan(CONTENTS, ["torch-graph", "torch.compile"])
    assert [(case.title, case.peers) for case in cases[:6]] == [
        *((f"a {precision} x{batch}", ("torch-graph",)) for precision in ("fp16", "fp32") for batch in (1, 8)),
        *((f"b {precision} x1", ()) for precision in ("fp16", "fp32")),
    ]
    assert [case.title for case in cases[6:8]] == ["b fp16 x1", "b fp32 x1"]
    assert cases[7].peers == ("torch-graph",)
    assert [case.peers for case in cases[8:]] == [("torch.compile",)] * 6
    assert len(plan(CONTENTS, [])) == 6


def test_the_engine_that_searches_is_waited_for() -> None:
    from gpu.plan import patience

    assert patience("torch.compile") > patience("torch-graph") > patience("convc")


def test_a_process_that_dies_or_hangs_costs_one_network(tmp_path, monkeypatch) -> None:
    from gpu import apart
    from gpu.apart import run_apart
    from gpu.plan import plan

    monkeypatch.setattr(apart, "patience", lambda engine: 0.5)
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    seen = []
    cases = plan(CONTENTS, ["torch-graph"])
    found = run_apart([sys.executable, str(worker)], cases, 60, lambda results, new: seen.append(len(results.rows)))
    results = json.loads(json.dumps(found.to_dict()))
    assert [(row["model"], row["precision"], row["batch"]) for row in results["rows"]] == [
        *(("a", "fp32", 1), ("a", "fp32", 8), ("b", "fp16", 1), ("b", "fp32", 1)),
    ]
    # `b` was measured alone first, and beside the engine later.
    assert list(results["rows"][-1]["engines"]) == ["convc", "torch-graph"]
    assert results["stopped"] == [
        "a fp16 x1: its process ended with status -6, in the step k1 pool (window {})",
        "b fp16 x1: nothing came for 0 s, though each step by itself goes through: from here on no kernel begins early",
    ]
    assert results["unreached"] == []
    assert results["machine"] == {"gpu": "x"}
    assert sorted(set(seen)) == [0, 1, 2, 3, 4]


def test_an_engine_that_dies_costs_itself_alone(tmp_path) -> None:
    from gpu.apart import run_apart
    from gpu.plan import plan

    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    cases = [case for case in plan(CONTENTS, ["fragile", "torch-graph"]) if case.precision == "fp32"]
    results = run_apart([sys.executable, str(worker)], cases, 60)
    assert results.stopped == [f"{model} fp32 x1: fragile: its process ended with status -6" for model in "ab"]
    assert [(row["model"], row["batch"], list(row["engines"])) for row in results.rows] == [
        (model, batch, ["convc", "torch-graph"]) for model, batch in (("a", 1), ("a", 8), ("b", 1))
    ]
    assert results.unreached == []


def test_convc_goes_on_where_torch_does_not_work(tmp_path, monkeypatch) -> None:
    from gpu.apart import run_apart
    from gpu.plan import plan

    monkeypatch.setenv("TORCH", "broken")
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    cases = [case for case in plan(CONTENTS, ["torch-graph"]) if case.precision == "fp32"]
    results = run_apart([sys.executable, str(worker)], cases, 60)
    raised = "its process ended with status 1 (RuntimeError: torch finds no GPU)"
    assert results.stopped == [f"torch: {raised}: convc goes on by itself"]
    assert [(row["model"], row["batch"], list(row["engines"])) for row in results.rows] == [
        (model, batch, ["convc"]) for model, batch in (("a", 1), ("a", 8), ("b", 1))
    ]


def test_where_no_process_begins_there_is_an_end(tmp_path) -> None:
    from gpu.apart import run_apart
    from gpu.plan import plan

    results = run_apart([sys.executable, "-c", "raise SystemExit(3)"], plan(CONTENTS, ["torch-graph"]), 60)
    problem = "its process ended with status 3"
    assert results.stopped == [f"torch: {problem}: convc goes on by itself", f"no process begins: {problem}"]
    assert results.rows == []


def test_what_time_does_not_reach_is_told(tmp_path) -> None:
    from gpu.apart import run_apart
    from gpu.plan import plan

    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    cases = [case for case in plan(CONTENTS, ["torch-graph"]) if case.model == "b"]
    cases = sorted(cases, key=lambda case: case.precision, reverse=True)  # the one that hangs comes last
    results = run_apart([sys.executable, str(worker)], cases, 3)
    assert [row["precision"] for row in results.rows] == ["fp32"]
    assert results.stopped == []
    assert results.unreached == ["b fp16 x1: convc", "b fp16 x1: convc, torch-graph"]


PARENT = """
import sys
from gpu.apart import run_apart
from gpu.plan import Planned
run_apart([sys.executable, sys.argv[1]], [Planned("a", "fp16", 1, (), 1.0)], 60)
"""
CHILD = """
import time
from gpu.apart import end_with_parent
end_with_parent()
alive = open("alive", "w")
alive.write("yes")
alive.flush()
time.sleep(600)
"""


def test_no_process_outlives_the_one_that_started_it(tmp_path) -> None:
    """A benchmark that is killed leaves the GPU to who comes next."""
    (tmp_path / "child.py").write_text(CHILD)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "benchmarks")}
    command = [sys.executable, "-c", PARENT, "child.py"]
    os.mkfifo(tmp_path / "alive")
    with subprocess.Popen(command, env=environment, cwd=tmp_path) as parent, (tmp_path / "alive").open() as alive:
        assert alive.read(3) == "yes"
        parent.kill()
        assert alive.read() == ""  # which nobody could write to any more


@pytest.fixture
def on_software(packed, tmp_path) -> Path:
    """The pack, its machine code that of the software device."""
    pack = tmp_path / "pack"
    shutil.copytree(packed, pack)
    for artifact in pack.glob("models/*/*.convc"):
        compile_for_software(artifact)
    return pack


def compile_for_software(artifact: Path) -> None:
    manifest = read_manifest(artifact)
    functions = [launch["function"] for kernel in manifest["kernels"].values() for launch in kernel["launches"]]
    emulated_kernels((artifact / SOURCE).read_text(), functions, artifact / "kernels.so", DEVICE_HEADERS)
    (artifact / "kernels.so").replace(artifact / KERNELS["cuda"])
    (artifact / "kernels.cpp").unlink()
    (artifact / WEIGHTS).unlink(missing_ok=True)
    write_manifest(artifact, manifest)


HIDDEN = "import sys; sys.modules['torch'] = None"
ON_CPU = """
import time
from functools import partial
from gpu import device, rates

class OnCpu(device.Cuda):
    name = "cpu"

    def __init__(self, early):
        self._early = early

    def describe(self):
        return {"gpu": "software"}

    def check(self):
        pass

    def milliseconds(self, work):
        begin = time.perf_counter()
        work()
        return (time.perf_counter() - begin) * 1e3

    def graphed(self, run, count):
        return run

device.Cuda = OnCpu
rates.measure = partial(rates.measure, nbytes=1 << 20, size=64)
"""
"""In place of the GPU, as torch drives it."""


def run(pack: Path, *options: str, first: str = HIDDEN, **variables: str) -> subprocess.CompletedProcess[str]:
    """run.py on the software device, where torch is not installed, or what is done `first` puts something in its
    place."""
    environment = os.environ | {"LD_LIBRARY_PATH": str(emulated_driver().parent), "CONVC_EMULATED_SM": "90"} | variables
    (pack / "sitecustomize.py").write_text(first)
    return subprocess.run(
        [sys.executable, str(pack / "run.py"), "--seconds", "0.01", *options],
        env=environment | {"PYTHONPATH": os.pathsep.join([str(pack), *filter(None, [os.environ.get("PYTHONPATH")])])},
        capture_output=True,
        text=True,
        check=False,
        cwd=pack,
    )


def test_a_pack_runs_on_the_software_device(on_software) -> None:
    """Without torch, by itself: each batch is compared with the definition."""
    done = run(on_software)
    assert done.returncode == 0, done.stderr
    results = json.loads((on_software / "results.json").read_text())
    assert [(row["model"], row["batch"]) for row in results["rows"]] == [("small", 1), ("small", 2)]
    for row in results["rows"]:
        assert row["engines"]["convc"]["right"], row
        assert 0 < row["engines"]["convc"]["error"] < 5e-3
        assert row["engines"]["convc"]["median_ms"] > 0
        assert {kernel["template"] for kernel in row["kernels"]}
    assert results["stopped"] == results["unreached"] == []
    assert results["rates"]["fp16"]["gbytes"] == 3350
    text = (on_software / "results.md").read_text()
    assert "| small | fp16 | 2 |" in text
    assert "torch is not installed: convc runs by itself" in done.stdout


def test_torch_runs_beside_it(on_software) -> None:
    pytest.importorskip("torch", reason="torch, to be timed beside, is not installed here")
    done = run(on_software, "--engines", "torch-graph,cudnn-fused,torch", first=ON_CPU)
    assert done.returncode == 0, done.stderr
    results = json.loads((on_software / "results.json").read_text())
    assert results["stopped"] == results["unreached"] == []
    assert results["rates"]["fp16"]["gflops"] > 0
    for row in results["rows"]:
        assert row["engines"].pop("cudnn-fused")["failed"].startswith("NotImplementedError: ")  # it is for GPUs alone
        assert list(row["engines"]) == ["convc", "torch-graph", "torch"]
        assert all(found["right"] and found["median_ms"] > 0 for found in row["engines"].values()), row
        assert row["reference"]["untold"] == ""


def test_a_torch_without_a_gpu_is_told(on_software) -> None:
    pytest.importorskip("torch", reason="torch, which finds no GPU, is not installed here")
    done = run(on_software, first="")
    assert done.returncode == 0, done.stderr
    results = json.loads((on_software / "results.json").read_text())
    problem = "its process ended with status 1 (RuntimeError: torch finds no GPU)"
    assert results["stopped"] == [f"torch: {problem}: convc goes on by itself"]
    assert [(row["batch"], list(row["engines"])) for row in results["rows"]] == [(1, ["convc"]), (2, ["convc"])]


def test_kernels_that_begin_too_early_do_so_once(on_software) -> None:
    (artifact,) = on_software.glob("models/*/*.convc")
    text = (artifact / SOURCE).read_text()
    text = text.replace("convc_grid_begin();", "").replace("convc_grid_wait();", "")
    (artifact / SOURCE).write_text(text)
    compile_for_software(artifact)
    early = "small fp16 x1: .*, though each step by itself goes through: from here on no kernel begins early"
    for options, stopped in (([], [early]), (["--late"], [])):
        assert run(on_software, *options).returncode == 0
        results = json.loads((on_software / "results.json").read_text())
        assert len(results["stopped"]) == len(stopped)
        assert all(map(re.fullmatch, stopped, results["stopped"])), results["stopped"]
        assert [row["engines"]["convc"]["right"] for row in results["rows"]] == [True, True]


def test_a_network_is_made_once(on_software) -> None:
    """Processes follow each other, and each network comes up several times."""
    assert run(on_software).returncode == 0
    (artifact,) = on_software.glob("models/*/*.convc")
    made = (artifact / WEIGHTS).stat().st_mtime_ns
    assert run(on_software).returncode == 0
    assert (artifact / WEIGHTS).stat().st_mtime_ns == made
    assert not list(artifact.glob("*.new"))


def test_folders_that_cannot_be_written_to_are_told_first(on_software) -> None:
    done = run(on_software, "-o", "nowhere/results")
    assert done.returncode == 1
    assert done.stderr.strip() == "cannot write nowhere/results.json: No such file or directory"


def test_the_end_of_what_is_printed_is_a_table_of_all(on_software) -> None:
    """Kernels' tables are in results.md: of long outputs the end is what people see."""
    done = run(on_software)
    assert "| small | fp16 | 2 |" in done.stdout
    assert "kernels" not in done.stdout
    assert "### small fp16 x2: kernels" in (on_software / "results.md").read_text()


def test_a_kernel_that_faults_is_named(on_software) -> None:
    (artifact,) = on_software.glob("models/*/*.convc")
    kernel, text = list(read_manifest(artifact)["kernels"])[-1], (artifact / SOURCE).read_text()
    place = text.index("{\n", text.index(f" {kernel}")) + 2
    (artifact / SOURCE).write_text(f"{text[:place]}  __trap();\n{text[place:]}")
    compile_for_software(artifact)
    done = run(on_software)
    assert done.returncode == 0, done.stderr
    results = json.loads((on_software / "results.json").read_text())
    (line,) = results["stopped"]
    # Batch 1 has kernels of its own.
    assert re.match(rf"small fp16 x2: its process ended with status 1 \(CudaError: \w.*\), in the step {kernel} ", line)
    assert [row["batch"] for row in results["rows"]] == [1, 2]
    assert results["rows"][0]["engines"]["convc"]["right"]
    assert results["rows"][1]["engines"]["convc"]["failed"].startswith("CudaError: ")


def test_a_machine_without_a_gpu_says_so(packed) -> None:
    done = run(packed, CUDA_VISIBLE_DEVICES="", LD_LIBRARY_PATH="")
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"this machine has no NVIDIA driver .*|the NVIDIA driver finds no GPU", done.stderr.strip())
