"""Runs on callers' streams. On the software device nothing is done before somebody waits for it, and then only what it
must follow; or, `mixed`, all streams go on meanwhile, a piece of each in turn. An order that is not asked for is seen.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convc.runtime import Executable, InputError
from convc.runtime.cuda import dlpack
from convc.runtime.cuda.dlpack import DeviceArray
from convc.runtime.cuda.driver import Context, CudaError
from convc.runtime.cuda.memory import Allocation
from convc.runtime.cuda.streams import Event, Stream
from convc.targets.cuda.emulator.load import load_emulated

Arrays = dict[str, np.ndarray]

RELU = """
builtin.module {
  func.func @main(%x: tensor<1x262144xf32>) -> tensor<1x262144xf32>
      attributes {convc.input_names = ["x"], convc.output_names = ["y"]} {
    %y = convc.elementwise relu(%x) : (tensor<1x262144xf32>) -> tensor<1x262144xf32>
    func.return %y : tensor<1x262144xf32>
  }
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, build_text: Callable[..., None], two_layers_text: str) -> Path:
    path = tmp_path_factory.mktemp("streams") / "two.convc"
    build_text(path, two_layers_text, target="cuda:sm_90a")
    return path


@pytest.fixture(scope="module")
def executable(folder: Path) -> Executable:
    return load_emulated(folder)


@pytest.fixture(params=["late", "mixed"], autouse=True)
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CONVC_EMULATED_ORDER", request.param)
    return str(request.param)


@pytest.fixture
def feeds() -> list[Arrays]:
    generator = np.random.default_rng(0)
    shapes = {"image": (2, 3, 5, 7), "gain": (1, 1, 1, 7)}
    return [
        {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(12)
    ]


@pytest.fixture
def check(two_layers: Callable[..., Arrays], weight: np.ndarray) -> Callable[[Any, Arrays], None]:
    def check(outputs: Any, feed: Arrays) -> None:
        expected = two_layers(*(array.astype(float) for array in feed.values()), weight.astype(float))
        for name, array in expected.items():
            found = outputs[name] if isinstance(outputs[name], np.ndarray) else outputs[name].numpy()
            assert np.abs(found - array).max() <= 1e-5 * np.abs(array).max()

    return check


class Library:
    """Another user of the GPU, as PyTorch is: streams of its own, and tensors that are written on them, late."""

    def __init__(self, executable: Executable) -> None:
        self.context = Context(executable._engine._context.driver)
        self.driver = self.context.driver

    def stream(self) -> Stream:
        self.context.enter()
        handle = self.context.make("cuStreamCreate", "cuStreamDestroy_v2", ctypes.c_uint(1))
        return Stream(self.driver, handle.value or 0)

    def tensor(self, array: np.ndarray, stream: Stream, offset: int = 0) -> DeviceArray:
        """Not numbers until the stream has come so far."""
        self.context.enter()
        source, address = self.context.pinned(array.nbytes), self.context.memory(array.nbytes + offset) + offset
        ctypes.memmove(source, array.ctypes.data, array.nbytes)
        stream.upload(address, source, array.nbytes)
        return DeviceArray(address, array.shape, array.dtype, None)

    def tensors(self, feed: Arrays, stream: Stream) -> dict[str, Any]:
        return {name: self.tensor(array, stream) for name, array in feed.items()}

    def mark(self, stream: Stream) -> Event:
        """Passes when the stream has come so far."""
        event = Event(self.context)
        stream.record(event)
        return event

    def read(self, array: DeviceArray, stream: Stream) -> np.ndarray:
        """What a tensor holds in the order of a stream."""
        result = np.empty(array.shape, array.dtype)
        stream.download(result.ctypes.data, array.address, result.nbytes)
        stream.synchronise()
        return result


@pytest.fixture
def library(executable: Executable) -> Library:
    return Library(executable)


class Tensor:
    """One of the library, by DLPack: the consumer's stream waits for the stream that writes it."""

    def __init__(self, library: Library, array: np.ndarray, stream: Stream) -> None:
        self.library, self.stream, self.asked = library, stream, []
        self.array = library.tensor(array, stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __dlpack__(self, *, stream: int) -> Any:
        self.asked.append(stream)
        Stream(self.library.driver, stream).follow(self.stream, self.library.context)
        return self.array.__dlpack__(stream=-1)


def test_a_run_comes_after_what_its_stream_was_given_and_before_what_follows(executable, library, feeds, check) -> None:
    stream = library.stream()
    outputs = executable.run(library.tensors(feeds[0], stream), stream=stream.number)
    assert not library.mark(stream).passed  # the host has not waited
    found = {name: library.read(array, stream) for name, array in outputs.items()}
    check(found, feeds[0])


def test_other_streams_than_the_one_that_was_named_do_not_come_after(executable, library, feeds) -> None:
    """What the tests here rest on: an order that is missing is seen."""
    writer, other = library.stream(), library.stream()
    outputs = executable.run(library.tensors(feeds[0], writer), stream=other.number)
    assert np.isnan(outputs["features"].numpy()).any()
    inputs = library.tensors(feeds[0], writer)
    writer.synchronise()
    outputs = executable.run(inputs, stream=writer.number)
    assert np.isnan(library.read(outputs["flat"], other)).any()
    writer.synchronise()


def test_producers_are_asked_with_the_stream_of_the_run(executable, library, feeds, check, order) -> None:
    writer, stream, unrelated = (library.stream() for _ in range(3))
    tensors = {name: Tensor(library, array, writer) for name, array in feeds[0].items()}
    check(executable.run(tensors, stream=stream.number), feeds[0])
    assert [tensor.asked for tensor in tensors.values()] == [[stream.number]] * 2

    library.tensor(feeds[0]["image"], unrelated)
    late = library.mark(unrelated)
    tensors = {name: Tensor(library, array, writer) for name, array in feeds[1].items()}
    check(executable.run(tensors), feeds[1])
    assert tensors["image"].asked == [executable._engine._pool.context.stream.number]
    if order == "late":
        assert not late.passed  # nor has the host waited for what has nothing to do with it


def test_the_default_stream_is_asked_for_by_the_number_that_dlpack_gives_it(executable, library, feeds, check) -> None:
    default = Stream(library.driver, 0)
    tensors = {name: Tensor(library, array, default) for name, array in feeds[0].items()}
    check(executable.run(tensors, stream=0), feeds[0])
    assert tensors["image"].asked == [1]


def test_consumers_of_results_wait_for_them(executable, library, feeds, check) -> None:
    stream, consumer = library.stream(), library.stream()
    outputs = executable.run(library.tensors(feeds[0], stream), stream=stream.number)
    capsules = [array.__dlpack__(stream=consumer.number) for array in outputs.values()]
    check({name: library.read(array, consumer) for name, array in outputs.items()}, feeds[0])

    outputs = executable.run(library.tensors(feeds[1], stream), stream=stream.number)
    capsules += [array.__dlpack__(stream=-1) for array in outputs.values()]
    assert np.isnan(library.read(outputs["flat"], consumer)).any()  # it said that it had waited

    outputs = executable.run(library.tensors(feeds[2], stream), stream=stream.number)
    capsules += [array.__dlpack__() for array in outputs.values()]
    check({name: library.read(array, Stream(library.driver, 1)) for name, array in outputs.items()}, feeds[2])

    with pytest.raises(ValueError, match="stream 0 is ambiguous"):
        outputs["flat"].__dlpack__(stream=0)
    for options in ({"copy": True}, {"dl_device": (1, 0)}):
        with pytest.raises(BufferError, match="handed on where it lies"):
            outputs["flat"].__dlpack__(**options)


def test_array_interfaces_say_which_stream_writes(executable, library, feeds, check) -> None:
    writer, stream = library.stream(), library.stream()

    def interfaces(feed: Arrays, **said: Any) -> dict[str, Any]:
        result = {}
        for name, array in library.tensors(feed, writer).items():
            interface = {**array.__cuda_array_interface__, **said}
            if not said:
                del interface["stream"]
            result[name] = type("Array", (), {"__cuda_array_interface__": interface, "shape": array.shape})()
        return result

    outputs = executable.run(interfaces(feeds[0], stream=writer.number), stream=stream.number)
    assert outputs["flat"].__cuda_array_interface__["stream"] == stream.number
    check(outputs, feeds[0])
    check(executable.run(interfaces(feeds[1], stream=writer.number)), feeds[1])
    check(executable.run(interfaces(feeds[2])), feeds[2])  # which does not say: the host waits for all
    check(executable.run(interfaces(feeds[3]), stream=writer.number), feeds[3])
    assert executable.run(feeds[0] | interfaces(feeds[3]))["flat"].__cuda_array_interface__["stream"] is None


def test_runs_on_several_streams_share_memory_in_turns(executable, library, feeds, check) -> None:
    streams = [library.stream() for _ in range(3)]
    results = []
    for number, feed in enumerate(feeds):
        stream = streams[number % 3]
        results.append(executable.run(library.tensors(feed, stream), stream=stream.number))
    for result, feed in reversed(list(zip(results, feeds))):
        check(result, feed)


def test_inputs_of_the_host_are_kept_until_they_are_read(executable, library, feeds, check) -> None:
    stream = library.stream()
    mixed = [{**feed, "image": library.tensor(feed["image"], stream)} for feed in feeds]
    results = [executable.run(inputs, stream=stream.number) for inputs in mixed]
    for result, feed in zip(results, feeds):
        check(result, feed)
    check(executable.run(feeds[3], stream=stream.number), feeds[3])  # all of the host: so are the results


def test_graphs_of_runs_that_are_not_done_are_kept(executable, library, feeds, check) -> None:
    """More sets of addresses than graphs are kept for."""
    stream = library.stream()
    results = [executable.run(library.tensors(feed, stream), stream=stream.number) for feed in feeds]
    for result, feed in zip(results, feeds):
        check(result, feed)


def test_inputs_live_until_the_run_is_done(executable, library, feeds, check) -> None:
    writer = library.stream()
    before = len(dlpack._handed_out)
    outputs = executable.run({n: Tensor(library, a, writer) for n, a in feeds[0].items()}, stream=writer.number)
    assert len(dlpack._handed_out) == before + 2
    check(outputs, feeds[0])
    executable.run(feeds[1])
    assert len(dlpack._handed_out) == before


def test_results_are_given_back_in_the_order_of_their_stream(executable, library, feeds) -> None:
    """Memory that is gone cannot be read: the device would say so."""
    stream, consumer = library.stream(), library.stream()
    target = library.context.pinned(4 * 280)
    for shared in (False, True):
        outputs = executable.run(library.tensors(feeds[0], stream), stream=stream.number)
        reader = consumer if shared else stream
        capsule = outputs["flat"].__dlpack__(stream=reader.number)
        reader.download(target, outputs["flat"].address, 4 * 280)
        address, read = outputs["flat"].address, library.mark(reader)
        del outputs, capsule
        gc.collect()
        assert read.passed == shared  # nobody knows when another stream will have read it: the host waits
        reader.synchronise()
        found = np.ctypeslib.as_array((ctypes.c_float * 280).from_address(target))
        assert np.isfinite(found).all()
        stream.synchronise()
        with pytest.raises(CudaError, match="INVALID_VALUE"):
            stream.download(target, address, 4)


def test_results_outlive_their_network(folder, library, feeds, check) -> None:
    executable, stream = load_emulated(folder), library.stream()
    late = executable.run(library.tensors(feeds[0], stream), stream=stream.number)
    done = executable.run(library.tensors(feeds[0], stream) | feeds[1])
    del executable
    gc.collect()
    check(late, feeds[0])
    check(done, feeds[1])


def test_no_destructor_waits_for_the_gpu_while_a_graph_is_recorded(
    executable, library, feeds, check, monkeypatch
) -> None:
    """A capture does not survive it, and garbage is collected whenever something is made."""
    stream = library.stream()
    outputs = executable.run(library.tensors(feeds[0], stream), stream=stream.number)
    capsules = [array.__dlpack__(stream=library.stream().number) for array in outputs.values()]
    cycle: list[Any] = [outputs, *capsules]
    cycle.append(cycle)
    launch = Stream.launch

    def launching(self: Stream, *arguments: Any, **options: Any) -> None:
        """One that fills the youngest generation, as any number of objects may."""
        kept: list[list[int]] = [[] for _ in range(1 << 10)]
        launch(self, *arguments, **options)
        assert kept

    monkeypatch.setattr(Stream, "launch", launching)
    inputs = library.tensors(feeds[1], stream)
    limits = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    del outputs, capsules, cycle
    try:
        result = executable.run(inputs, stream=stream.number)
    finally:
        gc.set_threshold(*limits)
    check(result, feeds[1])
    assert gc.isenabled()


def test_a_graph_that_cannot_be_recorded_is_no_hindrance_to_the_next(
    folder, library, feeds, check, monkeypatch
) -> None:
    executable, stream, launch = load_emulated(folder), library.stream(), Stream.launch
    inputs = library.tensors(feeds[0], stream)

    def failing(self: Stream, *arguments: Any, **options: Any) -> None:
        raise CudaError("cuLaunchKernelEx: CUDA_ERROR_INVALID_VALUE", 1)

    monkeypatch.setattr(Stream, "launch", failing)
    with pytest.raises(CudaError, match="cuLaunchKernelEx"):
        executable.run(inputs, stream=stream.number)
    monkeypatch.setattr(Stream, "launch", launch)
    check(executable.run(inputs, stream=stream.number), feeds[0])


def test_threads_and_networks_at_once(folder, executable, library, feeds, check) -> None:
    """Two threads call one network, a third another; each on a stream of its own, or on none."""
    other = load_emulated(folder)

    def work(called: Executable, feeds: list[Arrays]) -> None:
        stream, results = library.stream(), []
        for feed in feeds:
            results.append(called.run(library.tensors(feed, stream), stream=stream.number))
            check(called.run(feed), feed)
        for result, feed in zip(results, feeds):
            check(result, feed)

    with ThreadPoolExecutor(3) as pool:
        calls = ((executable, feeds[:4]), (executable, feeds[4:8]), (other, feeds[8:]))
        for done in [pool.submit(work, *call) for call in calls]:
            done.result()


def test_tensors_that_no_vector_can_be_read_from_are_copied(executable, library, build_text, tmp_path) -> None:
    build_text(tmp_path / "relu.convc", RELU, target="cuda:sm_90a")
    stream, array = library.stream(), np.linspace(-1, 1, 1 << 18, dtype=np.float32).reshape(1, -1)
    relu = load_emulated(tmp_path / "relu.convc")
    result = relu(library.tensor(array, stream, offset=4), stream=stream.number)
    np.testing.assert_array_equal(result.numpy(), np.maximum(array, 0))


def test_streams_are_handles_or_objects_of_other_libraries(executable, library, feeds, check) -> None:
    stream = library.stream()

    class Protocol:
        def __cuda_stream__(self) -> tuple[int, int]:
            return 0, stream.number

    forms: list[Any] = [type(name, (), {name: stream.number})() for name in ("cuda_stream", "ptr")]
    for form in (*forms, Protocol(), np.uint64(stream.number)):
        outputs = executable.run(library.tensors(feeds[0], stream), stream=form)
        owner = outputs["flat"].owner
        assert isinstance(owner, Allocation)
        assert (owner.stream.number, owner.stream.owner) == (stream.number, form)
        check(outputs, feeds[0])
    for wrong in ("default", -1, True, 1.5):
        with pytest.raises(InputError, match="stream: expected a CUDA stream of PyTorch or CuPy, or its handle, got"):
            executable.run(feeds[0], stream=wrong)


def test_tensors_of_another_gpu_are_refused(executable, library, feeds) -> None:
    stream = library.stream()
    inputs = library.tensors(feeds[0], stream)
    inputs["gain"].device = 1
    with pytest.raises(InputError, match="input 'gain' lies in the memory of GPU 1, the network runs on GPU 0"):
        executable.run(inputs)
