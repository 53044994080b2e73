"""Tuning for GPUs in two halves, on the software device, with candidates that fail planted among those that do not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest

from convc.artifact.manifest import ArtifactError
from convc.cli.main import main
from convc.ir.kernel import KernelOp
from convc.ir.text import kernel_text, main_function
from convc.pipeline import Build
from convc.runtime.cuda import driver
from convc.targets.cuda.compiler import DEVICE_HEADERS, MachineCode, Resources
from convc.targets.cuda.emulator.build import emulated_driver, emulated_kernels
from convc.targets.cuda.target import CudaTarget, parse_cuda
from convc.targets.measurements import Record, TuningError
from convc.targets.select import chosen, notes
from convc.targets.toolchain import ToolchainError
from convc.tuning import known
from convc.tuning.cuda.emit import emit
from convc.tuning.cuda.folder import RECORDS, Candidates, Records
from convc.tuning.cuda.measure import measure
from convc.tuning.database import Database, Setting
from convc.tuning.known import export
from convc.tuning.workloads import Candidate, Workload

NO_CODE, SPILLS = "no code can be made of it", "it does not fit into registers"
FAULTS = {
    1: ("wrong", "return;"),
    2: ("crashed", "*(volatile int *)16 = 1;"),
    3: ("hung", 'for (;;) asm volatile("" ::: "memory");'),
    4: ("refused", NO_CODE),
    5: ("refused", SPILLS),
    6: ("wrong", "((char *)RESULT)[40 * 64 * 4] = 1;"),
    7: ("wrong", "if (blockIdx.x + 1 == gridDim.x && blockIdx.y + 1 == gridDim.y) ((char *)OPERAND)[threadIdx.x] = 1;"),
}
"""What is planted in the code of candidates, by number, and what is to become of them; the others are right."""
LIMIT = 3.0  # seconds after which a call hangs, on a device as slow as this one


def compiling(folder: Path, faults: Mapping[int, tuple[str, str]]) -> Callable[[str, str, Sequence[str]], MachineCode]:
    """A compiler for the software device that plants faults."""

    def compiled(source: str, arch: str, functions: Sequence[str]) -> MachineCode:
        number = int(re.findall(r"\d+", functions[0])[1])
        code = faults.get(number, ("ok", ""))[1]
        if code == NO_CODE:
            raise ToolchainError(code)
        if code not in ("", SPILLS):
            found = re.search(r'extern "C" __global__[^(]*\([^(]*\)[^(]*\(([^)]*)\) \{', source)
            assert found is not None, source
            names = [parameter.split()[-1] for parameter in found[1].split(",")]
            planted = code.replace("RESULT", names[-1]).replace("OPERAND", names[0])
            place = source.rindex("}") if number == 7 else found.end()  # when all has been read
            source = f"{source[:place]} {planted}{source[place:]}"
        path = folder / f"{functions[0]}.so"
        emulated_kernels(source, functions, path, DEVICE_HEADERS)
        spilled = 8 if code == SPILLS else 0
        return MachineCode(path.read_bytes(), {name: Resources(1, 0, 0, spilled) for name in functions})

    return compiled


@pytest.fixture(scope="module")
def model(product: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    return product(40, 64, 64)


@pytest.fixture(scope="module")
def emitted(model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates of a matrix product of halves, most of which fail. Not to be changed: copy it first."""
    folder = tmp_path_factory.mktemp("cuda")
    build = Build(parse_cuda("cuda:sm_90a"), precision="fp16", measured=False)
    emit(model, [{}], build, folder / "candidates", 9, compiling(folder, FAULTS))
    return folder / "candidates"


@pytest.fixture(scope="module")
def measured(emitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its records. Not to be changed."""
    folder = tmp_path_factory.mktemp("cuda") / "measured"
    shutil.copytree(emitted, folder)
    measure(folder, emulated_driver(), LIMIT)
    return folder


@pytest.fixture
def copy(measured: Path, tmp_path: Path) -> Path:
    shutil.copytree(measured, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> CudaTarget:
    """The software device, as the GPU of this machine, and of processes that begin on it."""
    real, path = driver.Driver, emulated_driver()
    for room in ("runtime.cuda.driver", "runtime.cuda.engine", "tuning.cuda.measure"):
        monkeypatch.setattr(f"convc.{room}.Driver", lambda library=None: real(library or path))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(path.parent))
    return parse_cuda("cuda")


def test_each_fault_is_recorded_as_what_it_is(measured: Path) -> None:
    found = [record for record, _, _ in Records(Candidates(measured)).of_kernel(0)]
    assert [record.outcome for record in found] == [FAULTS.get(i, ("ok", ""))[0] for i in range(9)]
    assert all((record.ns > 0) == (record.outcome == "ok") for record in found)
    reasons = {each["candidate"]: each["why"] for each in json.loads((measured / RECORDS).read_text())["records"]}
    assert "elements differ" in reasons[1]
    assert "ILLEGAL_ADDRESS" in reasons[2]
    assert reasons[3] == "it took more than 3 s"
    assert reasons[6] == "it writes beyond the result"
    assert reasons[7] == "it writes into its operands"
    refused = [each.get("refused", "") for each in Candidates(measured).kernels[0]["candidates"]]
    assert refused[4].endswith(NO_CODE)
    assert refused[5].endswith("it spills 8 bytes of registers")


def test_a_folder_holds_what_measuring_needs_alone(emitted: Path) -> None:
    assert {path.suffix for path in emitted.iterdir()} == {".json", ".npz", ".cubin"}
    (row,) = Records(Candidates(emitted), parse_cuda("cuda:sm_90a")).rows()
    assert (row.name, row.computes, row.candidates, row.failed) == ("rectified", "matmul 40x64 -> 40x64", 2, 2)


ABSENT = ("h5py", "onnx", "onnxruntime", "tvm", "tvm_ffi", "xdsl")
MEASURE = """
import sys
from pathlib import Path
from convc.tuning.cuda.measure import measure
measure(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture
def runtime_alone(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds no compiler."""
    for name in ABSENT:
        (tmp_path / f"{name}.py").write_text("raise ImportError('this machine has the run-time alone')")
    return {"PYTHONPATH": str(tmp_path)}


def test_measuring_goes_on_where_it_was_with_the_runtime_alone(copy: Path, runtime_alone: dict[str, str]) -> None:
    """The candidates that were right are timed again, beside the one of which nothing is known."""
    path = copy / RECORDS
    data = json.loads(path.read_text())
    before = {each["candidate"]: each for each in data["records"]}
    path.write_text(json.dumps(data | {"records": [each for i, each in before.items() if i != 8]}))
    command = [sys.executable, "-c", MEASURE, str(copy), str(emulated_driver())]
    for _ in range(2):  # the second time there is nothing left to do
        done = subprocess.run(command, env=runtime_alone, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        after = {each["candidate"]: each for each in json.loads(path.read_text())["records"]}
        assert after.keys() == before.keys()
        assert {i for i in after if after[i]["at"] != before[i]["at"]} in ({0, 8}, set())
        before = after


@pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="this machine has an NVIDIA driver")
def test_where_there_is_the_runtime_alone_mistakes_are_one_line(emitted: Path, runtime_alone: dict[str, str]) -> None:
    command = [sys.executable, "-m", "convc", "tune", "--measure", str(emitted)]
    done = subprocess.run(command, env=runtime_alone, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"convc: error: .* cannot be measured here, .*\n", done.stderr), done.stderr


def built(target: CudaTarget, model: onnx.ModelProto, database: Path | None = None) -> KernelOp:
    """The product's kernel, as it is built with the user's measurements."""
    module, _ = Build(target, precision="fp16", database=database).module(model, {})
    return next(op for op in main_function(module).body.block.ops if isinstance(op, KernelOp) and op.anchor)


def test_builds_choose_by_what_was_merged(
    measured: Path, model: onnx.ModelProto, here: CudaTarget, tmp_path: Path
) -> None:
    database = tmp_path / "tuning.db"
    records = Records(Candidates(measured))
    records.merge(database)
    records.merge(database)
    (row,) = records.rows()
    kernel = built(here, model, database)
    assert chosen(kernel) == (row.template, row.config)
    assert notes(kernel)["cost"] == {"ns": round(1e3 * (row.tuned_us or 0))}
    assert len(Database.read(database).records(kernel_text(kernel), Setting.of(here, 0))) == 9
    for other in (parse_cuda("cuda:sm_90a"), parse_cuda("cuda:sm_80")):
        assert "cost" not in notes(built(other, model, database)) or not notes(built(other, model, database))["cost"]


def test_where_the_gpu_is_both_halves_are_one(
    model: onnx.ModelProto,
    here: CudaTarget,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    onnx.save(model, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("convc.targets.cuda.compiler.compile_cuda", compiling(tmp_path, FAULTS))
    options = ["--target", "cuda", "--precision", "fp16", "--trials", "2", "--db", "t.db", "--export", "known.json"]
    assert main(["tune", "model.onnx", *options]) == 0
    printed = capsys.readouterr()
    assert re.search(r"^  rectified \(matmul 40x64 -> 40x64\): [\d.]+ us, ", printed.err, re.MULTILINE)
    assert f"measured    on {here.processor}" in printed.out
    assert "2 (1 failed)" in printed.out
    kernel = built(here, model, tmp_path / "t.db")
    records = Database.read(tmp_path / "t.db").records(kernel_text(kernel), Setting.of(here, 0))
    assert [record.outcome for record in records] == ["ok", "wrong"]
    ((processor, choices),) = json.loads((tmp_path / "known.json").read_text())["choices"].items()
    assert processor == here.processor
    assert [template for template, _, _ in choices.values()] == [records[0].template]


def test_nothing_right_is_one_line_when_all_is_merged(
    copy: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = json.loads((copy / RECORDS).read_text())
    for record in data["records"]:
        record |= {"outcome": "wrong", "ns": 0.0} if record["outcome"] == "ok" else {}
    (copy / RECORDS).write_text(json.dumps(data))
    assert main(["tune", "--merge", str(copy), "--db", str(tmp_path / "t.db")]) == 1
    message = "no candidate for kernel 'rectified' is right: 1 crashed, 1 hung, 2 refused, 5 wrong"
    assert capsys.readouterr().err == f"convc: error: {message}\n"
    records = Records(Candidates(copy))
    text = records.candidates.kernels[0]["text"]
    assert len(Database.read(tmp_path / "t.db").records(text, Setting.of(records.target, 0))) == 9


def test_tensor_maps_and_clusters_are_launched_as_in_networks(
    convolutions: Callable[..., onnx.ModelProto], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def few(workload: Workload, target: CudaTarget) -> list[Candidate]:
        every = [each for each in candidates(workload, target) if each.template == "hopper_gemm"]
        return [*every[:1], *(each for each in every if each.config["splits"] == 4)][:2]

    candidates = Workload.candidates
    monkeypatch.setattr(Workload, "candidates", few)
    build = Build(parse_cuda("cuda:sm_90a"), precision="fp16", measured=False)
    emit(convolutions(6), [{}], build, tmp_path / "candidates", 2, compiling(tmp_path, {}))
    (row,) = measure(tmp_path / "candidates", emulated_driver(), LIMIT).rows()
    assert (row.name, row.candidates, row.failed) == ("second", 2, 0)
    first, second = Candidates(tmp_path / "candidates").kernels[0]["candidates"]
    assert isinstance(first["launches"][0]["operands"][0], dict)
    assert second["launches"][0]["cluster"] == [1, 1, 4]


def test_what_failed_is_avoided_though_nothing_succeeded(
    measured: Path, model: onnx.ModelProto, here: CudaTarget, tmp_path: Path
) -> None:
    database = Database.create(tmp_path / "tuning.db")
    kernel = built(here, model, database.path)
    first = chosen(kernel)
    database.add(kernel_text(kernel), Setting.of(here, 0), Record(*first, "wrong"), 0)
    assert chosen(built(here, model, database.path)) != first


def test_what_ships_for_a_gpu_is_used(model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    target = parse_cuda("cuda:sm_90a")
    kernel = built(target, model)
    second = notes(kernel)["runner_up"]
    path = tmp_path / "known.json"
    export(path, target, 0, [(kernel_text(kernel), Record(second["template"], second["config"], "ok", 5.0))])
    assert list(json.loads(path.read_text())["choices"]) == ["H100 (sm_90a), 132 multiprocessors"]
    monkeypatch.setattr(known, "PATH", path)
    assert chosen(built(target, model)) == (second["template"], second["config"])
    assert chosen(built(parse_cuda("cuda:sm_80"), model)) == chosen(kernel)


def damaged(folder: Path) -> None:
    (folder / "k0c0.cubin").write_bytes(b"something else")


def gone(folder: Path) -> None:
    (folder / "k0.npz").unlink()


def edited(folder: Path) -> None:
    path = folder / "candidates.json"
    path.write_text(path.read_text().replace("rectified", "certified"))


def garbled(folder: Path) -> None:
    (folder / RECORDS).write_text("[]")


def others(folder: Path) -> None:
    data = json.loads((folder / RECORDS).read_text())
    (folder / RECORDS).write_text(json.dumps(data | {"of": "0" * 64}))


def elsewhere(folder: Path) -> None:
    data = json.loads((folder / RECORDS).read_text())
    data["target"]["device"] = "NVIDIA H200"
    (folder / RECORDS).write_text(json.dumps(data))


def missing(folder: Path) -> None:
    shutil.rmtree(folder)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


REFUSED: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "altered code": (damaged, ArtifactError, "k0c0.cubin was altered since it was made: emit it again"),
    "a file that is gone": (gone, ArtifactError, "cannot read .*k0.npz: No such file"),
    "an altered manifest": (edited, ArtifactError, "candidates.json was altered since it was made: emit it again"),
    "records that are none": (garbled, TuningError, "records.json holds no records: remove it, and measure again"),
    "records of other candidates": (others, TuningError, "records.json is of other candidates"),
    "records of another GPU": (elsewhere, TuningError, r"is of another GPU \(H200 .*; this is convc emulated"),
    "no folder": (missing, ArtifactError, "expected the folder of a set of candidates, .* does not exist"),
    "an empty folder": (empty, ArtifactError, "is no set of candidates: candidates.json: No such file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_measured_is_one_line(what: str, copy: Path) -> None:
    damage, error, message = REFUSED[what]
    damage(copy)
    with pytest.raises(error, match=message) as caught:
        measure(copy, emulated_driver())
    assert "\n" not in str(caught.value)


def test_another_architecture_is_one_line(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVC_EMULATED_SM", "80")
    with pytest.raises(TuningError, match=r"cannot be measured here, .* cuda:sm_90a: .* is sm_80: build it"):
        measure(copy, emulated_driver())


def test_other_random_numbers_are_noticed(emitted: Path) -> None:
    candidates = Candidates(emitted)
    candidates.kernels[0]["seed"] += 1
    with pytest.raises(TuningError, match=r"makes other random numbers than where .* was emitted"):
        candidates.operands(0)
