"""Loading and running artifacts."""

from __future__ import annotations

import copy
import os
import pickle
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convc.runtime import ArtifactError, Executable, InputError, load
from convc.runtime import executable as module

Check = Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], None]


@pytest.fixture(scope="module")
def executable(artifact: Path) -> Executable:
    return load(artifact)


@pytest.fixture
def inputs() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {"image": (2, 3, 5, 7), "gain": (1, 1, 1, 7)}
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def assert_right(two_layers: Callable[..., dict[str, np.ndarray]], weight: np.ndarray) -> Check:
    """Compares outputs with what numpy computes from the inputs in float64."""

    def check(outputs: dict[str, np.ndarray], inputs: dict[str, np.ndarray]) -> None:
        expected = two_layers(inputs["image"].astype(float), inputs["gain"].astype(float), weight.astype(float))
        assert outputs.keys() == expected.keys()
        for name, array in expected.items():
            assert outputs[name].dtype == np.float32
            assert outputs[name].shape == array.shape
            assert np.abs(outputs[name] - array).max() <= 1e-5 * np.abs(array).max()

    return check


def test_outputs_come_by_name(executable: Executable, inputs: dict[str, Any], assert_right: Check) -> None:
    assert_right(executable.run(inputs), inputs)
    assert_right(executable(inputs), inputs)
    assert_right(executable(**inputs), inputs)


def test_an_artifact_built_again_is_loaded_again(
    build_text: Callable[..., None], two_layers_text: str, inputs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    path, outputs = tmp_path / "two.convc", []
    loaded = []
    for text in (two_layers_text, two_layers_text.replace("elementwise exp", "elementwise neg"), two_layers_text):
        shutil.rmtree(path, ignore_errors=True)
        build_text(path, text)
        loaded.append(load(path))
        outputs.append(loaded[-1].run(inputs)["flat"])
    assert np.all(outputs[0] > 0)
    np.testing.assert_array_equal(outputs[0], outputs[2])
    np.testing.assert_allclose(np.log(outputs[0]), -outputs[1], rtol=1e-4, atol=1e-5)


def test_a_path_may_hold_anything(
    build_text: Callable[..., None], two_layers_text: str, inputs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    folder = tmp_path / 'it\'s a "quoted" ünicode $HOME'
    folder.mkdir()
    build_text(folder / "two.convc", two_layers_text)
    assert load(folder / "two.convc").run(inputs).keys() == {"features", "flat"}


def test_the_signature_is_the_models(executable: Executable) -> None:
    f32 = np.dtype("float32")
    assert executable.inputs == [("image", (2, 3, 5, 7), f32), ("gain", (1, 1, 1, 7), f32)]
    assert executable.outputs == [("features", (2, 4, 5, 7), f32), ("flat", (2, 140), f32)]


def unaligned(array: np.ndarray) -> np.ndarray:
    memory = np.empty(array.nbytes + 128, np.uint8)
    start = -memory.ctypes.data % 64 + 4
    view = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "unaligned": unaligned,
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    "Fortran order": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "broadcast": lambda a: np.broadcast_to(a[:1, :1, :1], a.shape),
    "read-only": read_only,
    "of the other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_however_they_lie(
    form: str, executable: Executable, inputs: dict[str, Any], assert_right: Check
) -> None:
    changed = {name: FORMS[form](array.copy()) for name, array in inputs.items()}
    assert_right(executable.run(changed), {name: np.array(array) for name, array in changed.items()})


def test_dlpack_is_taken(executable: Executable, inputs: dict[str, Any], assert_right: Check) -> None:
    class Foreign:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    assert_right(executable.run({name: Foreign(array) for name, array in inputs.items()}), inputs)


def test_constants_that_agree_in_six_digits_are_returned_each(build_text: Callable[..., None], tmp_path: Path) -> None:
    numbers = 1000000.0, 1000001.0
    constants = "".join(f"%c{i} = convc.constant {n} : f64 : tensor<i64>\n" for i, n in enumerate(numbers))
    text = f"""
        func.func @main() -> (tensor<i64>, tensor<i64>) {{
          {constants} func.return %c0, %c1 : tensor<i64>, tensor<i64>
        }}
    """
    build_text(tmp_path / "constants.convc", text)
    assert [int(output) for output in load(tmp_path / "constants.convc").run({}).values()] == list(numbers)


def test_inputs_are_not_written_and_outputs_are_fresh(executable: Executable, inputs: dict[str, Any]) -> None:
    before = {name: array.copy() for name, array in inputs.items()}
    first = executable.run(inputs)
    kept = {name: array.copy() for name, array in first.items()}
    executable.run({name: array + 1 for name, array in inputs.items()})
    for name in inputs:
        np.testing.assert_array_equal(inputs[name], before[name])
    for name in kept:
        np.testing.assert_array_equal(first[name], kept[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((2, 3, 5, 8), np.float32)}, "input 'image': expected shape 2x3x5x7, got 2x3x5x8"),
        ({"image": np.zeros((3, 5, 7), np.float32)}, "input 'image': expected shape 2x3x5x7, got 3x5x7"),
        ({"image": np.zeros((2, 3, 5, 7))}, "input 'image': expected float32, got float64"),
        ({"image": "text"}, "input 'image': expected float32, got <U4"),
        ({"picture": np.zeros(1)}, "unknown input 'picture'; the inputs are image, gain"),
        ({"image": [[1.0], [1.0, 2.0]]}, "input 'image' is no array: "),
        ({"gain": None}, "input 'gain' is missing; the inputs are image, gain"),
    ],
)
def test_wrong_inputs_get_one_line(
    change: dict[str, Any], message: str, executable: Executable, inputs: dict[str, Any]
) -> None:
    changed = {name: value for name, value in {**inputs, **change}.items() if value is not None}
    with pytest.raises(InputError) as caught:
        executable.run(changed)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_one_array_for_several_inputs_is_refused(executable: Executable, inputs: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected arrays by name, since the inputs are image, gain"):
        executable(inputs["image"])
    with pytest.raises(InputError, match="expected a mapping of arrays by name, got ndarray"):
        executable.run(inputs["image"])
    with pytest.raises(InputError, match="expected one array, one mapping or arrays by name, got 2 arguments"):
        executable(inputs["image"], inputs["gain"])


def test_a_cpu_has_no_streams(executable: Executable, inputs: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="stream: the network runs on a CPU, which has none, got 1"):
        executable.run(inputs, stream=1)


def test_threads_may_share_a_network(executable: Executable, assert_right: Check) -> None:
    failed: list[BaseException] = []

    def caller(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(50):
            mine = {name: generator.standard_normal(s).astype(np.float32) for name, s, _ in executable.inputs}
            try:
                assert_right(executable.run(mine), mine)
            except BaseException as error:
                failed.append(error)
                raise

    threads = [threading.Thread(target=caller, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_a_profile_has_a_time_for_every_kernel(executable: Executable, inputs: dict[str, Any]) -> None:
    steps = executable.profile(inputs)
    assert [step.name for step in steps] == [step["name"] for step in executable.manifest["variants"][0]["steps"]]
    assert all(step.nanoseconds >= 0 for step in steps)
    assert max(step.macs for step in steps) == 2 * 4 * 5 * 7 * 3


def test_the_shape_of_the_inputs_chooses_the_variant(
    build_text: Callable[..., None], two_layers_text: str, tmp_path: Path
) -> None:
    build_text(tmp_path / "both.convc", two_layers_text, two_layers_text.replace("<2x", "<3x"))
    both = load(tmp_path / "both.convc")
    generator = np.random.default_rng(1)
    for batch in (2, 3):
        image = generator.standard_normal((batch, 3, 5, 7)).astype(np.float32)
        gain = generator.standard_normal((1, 1, 1, 7)).astype(np.float32)
        assert both(image=image, gain=gain)["flat"].shape == (batch, 140)
    with pytest.raises(InputError) as caught:
        both(image=np.zeros((4, 3, 5, 7), np.float32), gain=gain)
    built = "image 2x3x5x7, gain 1x1x1x7; image 3x3x5x7, gain 1x1x1x7"
    assert str(caught.value) == f"no variant for image 4x3x5x7, gain 1x1x1x7; built for: {built}"
    weights = (tmp_path / "both.convc" / "weights.safetensors").stat().st_size
    build_text(tmp_path / "one.convc", two_layers_text)
    assert weights == (tmp_path / "one.convc" / "weights.safetensors").stat().st_size, "weights are shared"


def test_saving_copies_the_artifact(executable: Executable, tmp_path: Path, inputs: dict[str, Any]) -> None:
    executable.save(tmp_path / "copy.convc")
    for name, array in load(tmp_path / "copy.convc").run(inputs).items():
        np.testing.assert_array_equal(array, executable.run(inputs)[name])
    with pytest.raises(FileExistsError, match="exists: name another folder, or remove it"):
        executable.save(tmp_path / "copy.convc")


@pytest.mark.parametrize("change", ["removed", "built again"])
def test_what_is_no_longer_there_is_not_saved(
    change: str, artifact: Path, build_text: Callable[..., None], two_layers_text: str, tmp_path: Path
) -> None:
    folder = tmp_path / "two.convc"
    shutil.copytree(artifact, folder)
    loaded = load(folder)
    shutil.rmtree(folder)
    if change == "built again":
        build_text(folder, two_layers_text.replace("elementwise exp", "elementwise neg"))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ArtifactError, match=f"two.convc was {change} since it was loaded"):
        loaded.save(tmp_path / "saved.convc")
    assert sorted(tmp_path.iterdir()) == before


def test_a_network_runs_when_its_folder_is_gone(
    artifact: Path, tmp_path: Path, inputs: dict[str, Any], assert_right: Check
) -> None:
    shutil.copytree(artifact, tmp_path / "two.convc")
    loaded = load(tmp_path / "two.convc")
    shutil.rmtree(tmp_path / "two.convc")
    assert_right(loaded.run(inputs), inputs)


@pytest.mark.parametrize("how", ["pickled", "copied", "copied deeply"])
def test_a_copy_is_the_same_network(
    how: str, artifact: Path, inputs: dict[str, Any], assert_right: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(artifact.parent)
    loaded = load(artifact.name, threads=3)
    monkeypatch.chdir("/")
    ways = {"pickled": lambda x: pickle.loads(pickle.dumps(x)), "copied": copy.copy, "copied deeply": copy.deepcopy}
    again = ways[how](loaded)
    assert again.threads == 3
    assert_right(again.run(inputs), inputs)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_runs_though_a_thread_of_its_parent_did_just_then(
    executable: Executable, inputs: dict[str, Any]
) -> None:
    with executable._engine._lock:  # type: ignore[attr-defined]
        child = os.fork()
        if not child:
            signal.alarm(30)
            try:
                os._exit(0 if np.isfinite(executable.run(inputs)["features"]).all() else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0) == (child, 0)


def test_what_is_built_again_while_it_is_loaded_is_loaded_whole(
    artifact: Path,
    build_text: Callable[..., None],
    two_layers_text: str,
    inputs: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The manifest of one with the kernels of another would be a crash."""
    path, checked = tmp_path / "two.convc", module.check_files
    shutil.copytree(artifact, path)
    replaced: list[Path] = []

    def check(folder: Path, manifest: Any) -> None:
        if not replaced:  # at first before the files are looked at, then before they are loaded
            replaced.append(folder)
            build_text(path, two_layers_text.replace("elementwise exp", "elementwise abs"))
        checked(folder, manifest)
        if len(replaced) == 1:
            replaced.append(folder)
            build_text(path, two_layers_text.replace("elementwise exp", "elementwise neg"))

    monkeypatch.setattr(module, "check_files", check)
    outputs = load(path).run(inputs)
    np.testing.assert_array_equal(outputs["flat"], -outputs["features"].reshape(2, 140))


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_that_mean_nothing_are_refused(threads: Any, artifact: Path, executable: Executable) -> None:
    for use in (lambda: load(artifact, threads), lambda: setattr(executable, "threads", threads)):
        with pytest.raises(ValueError, match="threads: expected a whole number of at least 1"):
            use()


def test_more_threads_than_there_are_numbers_for(artifact: Path, inputs: dict[str, Any], assert_right: Check) -> None:
    assert_right(load(artifact, 1 << 40).run(inputs), inputs)


@pytest.mark.parametrize("name", ["manifest.json", "kernels.so", "weights.safetensors"])
def test_one_flipped_byte_anywhere_is_refused(name: str, artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two.convc"
    shutil.copytree(artifact, folder)
    data = bytearray((folder / name).read_bytes())
    for position in np.random.default_rng(3).integers(0, len(data), 24):
        changed = data.copy()
        changed[position] ^= 1
        (folder / name).write_bytes(changed)
        with pytest.raises(ArtifactError) as caught:
            load(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["manifest.json", "kernels.so", "weights.safetensors"])
def test_a_missing_or_truncated_file_is_refused(name: str, artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two.convc"
    shutil.copytree(artifact, folder)
    data = (folder / name).read_bytes()
    for change in (lambda: (folder / name).write_bytes(data[: len(data) // 2]), (folder / name).unlink):
        change()
        with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
            load(folder)


def test_what_is_no_artifact_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    with pytest.raises(ArtifactError, match=r"expected the folder of an artifact, .* does not exist"):
        load(tmp_path / "none")
    with pytest.raises(ArtifactError, match=r"expected the folder of an artifact, .* is a file"):
        load(tmp_path / "file")
    with pytest.raises(ArtifactError, match="is no artifact"):
        load(tmp_path)


def test_code_for_another_machine_is_refused(
    build_text: Callable[..., None], two_layers_text: str, tmp_path: Path
) -> None:
    import platform

    other = {"x86_64": "cpu:aarch64-linux-gnu", "aarch64": "cpu:x86-64-v3"}[platform.machine()]
    pytest.importorskip("ziglang", reason="only ziglang links for other architectures")
    build_text(tmp_path / "other.convc", two_layers_text, target=other)
    with pytest.raises(ArtifactError, match=f"built for {other}: its code is for .*; build it again for this machine"):
        load(tmp_path / "other.convc")


def test_missing_instructions_are_named(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convc.runtime import cpu

    assert cpu.lacking({"triple": f"{os.uname().machine}-linux-gnu", "required_features": []}) == ""
    found = cpu.lacking({"triple": f"{os.uname().machine}-linux-gnu", "required_features": ["quantum"]})
    assert found == "its code needs quantum, which this machine lacks"


ALONE = """
import sys
import numpy as np
import convc
exe = convc.load(sys.argv[1])
exe.run({name: np.zeros(shape, dtype) for name, shape, dtype in exe.inputs})
heavy = {"tvm", "tvm_ffi", "onnx", "onnxruntime", "xdsl", "safetensors"} & set(sys.modules)
assert not heavy, heavy
maps = open("/proc/self/maps").read() if sys.platform == "linux" else ""
assert "libtvm" not in maps
"""


def test_running_needs_numpy_alone(artifact: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(artifact)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 takes long for results below the normal numbers")
@pytest.mark.parametrize("threads", [1, 2])
def test_results_below_the_normal_numbers_are_zero_and_operands_are_seen(threads: int) -> None:
    import onnx

    import convc

    text = """<ir_version: 8, opset_import: ["": 17]> g (float[64, 8192] x) => (float[64, 8192] y, float[64, 8192] z) {
        y = Mul(x, x)
        z = Log(x)
    }"""
    executable = convc.compile(onnx.parser.parse_model(text))
    executable.threads = threads
    x = np.resize(np.array([1e-20, 1e-40, 2.0], np.float32), (64, 8192))
    outputs = executable.run({"x": x})
    np.testing.assert_array_equal(outputs["y"], np.where(x == 2, 4, 0))
    np.testing.assert_allclose(outputs["z"], np.log(x.astype(np.float64)), rtol=1e-5)
    assert np.all(x[x == np.float32(1e-20)] * np.float32(1e-20) > 0), "the caller's own arithmetic is as it was"


PEAK = """
import sys
import numpy as np
import convc
def peak():
    # Unlike that of getrusage, it does not begin with what the parent had.
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
before = peak()
exe = convc.load(sys.argv[1])
exe.run({name: np.zeros(shape, dtype) for name, shape, dtype in exe.inputs})
print(before, peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process in /proc")
def test_running_takes_little_more_memory_than_the_weights(tmp_path: Path) -> None:
    """A ResNet-50 has 100 MB of them; this has as many in two products."""
    import onnx
    from onnx import helper, numpy_helper

    from convc.pipeline import Build
    from convc.targets.target import parse_target

    generator = np.random.default_rng(0)
    weights = {name: generator.standard_normal((3584, 3584), np.float32) for name in ("v", "w")}
    nodes = [helper.make_node("MatMul", ["x", "v"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 3584)) for name in "xy")
    held = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    model = helper.make_model(helper.make_graph(nodes, "products", [x], [y], held))
    Build(parse_target("cpu")).run(model, tmp_path / "products.convc")

    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "products.convc")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, peak = map(int, done.stdout.split())
    held_bytes = sum(array.nbytes for array in weights.values())
    assert held_bytes < peak - before < held_bytes + 16 * 2**20, "each weight is in memory once"
    assert peak < held_bytes + 150 * 10**6
