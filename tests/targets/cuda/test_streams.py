"""Streams of the emulated device: work is done when somebody waits for it."""

from __future__ import annotations

import ctypes
import threading
from ctypes import byref, c_float, c_int, c_size_t

import numpy as np
import pytest

NON_BLOCKING, NO_TIMING = 1, 2
ONES = np.ones(8, np.float32)


@pytest.fixture
def pinned(device):
    """`pinned(array)`: a view of a copy in pinned memory."""

    def copy(array):
        place = device.handle("cuMemHostAlloc", c_size_t(array.nbytes), 0)
        view = np.ctypeslib.as_array((ctypes.c_float * array.size).from_address(place.value))
        view[:] = array
        return view

    return copy


def address(array):
    return ctypes.c_void_p(array.ctypes.data)


def test_work_is_late_and_in_order(device, DriverError, pinned):
    stream, event = device.handle("cuStreamCreate", NON_BLOCKING), device.handle("cuEventCreate", NO_TIMING)
    source, place, result = pinned(ONES), device.put(0 * ONES), pinned(0 * ONES)
    device.cuMemcpyHtoDAsync_v2(place, address(source), source.nbytes, stream)
    device.cuEventRecord(event, stream)
    source[:] = 2  # it has not been read
    device.cuMemcpyDtoHAsync_v2(address(result), place, result.nbytes, stream)
    for query, handle in (("cuEventQuery", event), ("cuStreamQuery", stream)):
        with pytest.raises(DriverError, match="NOT_READY"):
            getattr(device, query)(handle)
    device.cuEventSynchronize(event)
    assert (result == 0).all()
    device.cuStreamSynchronize(stream)
    assert (result == 2).all()
    device.cuStreamQuery(stream)
    with pytest.raises(DriverError, match="INVALID_HANDLE"):
        device.cuEventElapsedTime(byref(c_float()), event, event)


def test_host_memory_that_is_not_pinned_is_read_at_once_and_written_before_the_call_returns(device):
    stream, place = device.handle("cuStreamCreate", NON_BLOCKING), device.put(0 * ONES)
    source, result = ONES.copy(), np.zeros_like(ONES)
    device.cuMemcpyHtoDAsync_v2(place, address(source), source.nbytes, stream)
    source[:] = 2
    device.cuMemcpyDtoHAsync_v2(address(result), place, result.nbytes, stream)
    assert (result == 1).all()


@pytest.mark.parametrize("order", ["late", "mixed"])
def test_streams_wait_for_events_and_the_null_stream_for_blocking_ones(device, pinned, monkeypatch, order):
    monkeypatch.setenv("CONVC_EMULATED_ORDER", order)
    writer, reader, blocking = (device.handle("cuStreamCreate", flags) for flags in (1, 1, 0))
    event, source, place = device.handle("cuEventCreate", 0), pinned(ONES), device.put(0 * ONES)

    def read(stream):
        result = np.zeros_like(ONES)
        device.cuMemcpyDtoHAsync_v2(address(result), place, result.nbytes, stream)
        return result[0]

    device.cuMemcpyHtoDAsync_v2(place, address(source), source.nbytes, writer)
    device.cuEventRecord(event, writer)
    device.cuStreamWaitEvent(reader, event, 0)
    assert read(reader) == 1

    for number, (first, second, seen) in enumerate(
        ((writer, reader, False), (writer, None, False), (blocking, None, True), (None, blocking, True)), 2
    ):
        before = read(first)
        source[:] = number
        device.cuMemsetD8Async(place, 0, 32, first)
        device.cuMemcpyHtoDAsync_v2(place, address(source), source.nbytes, first)
        assert (read(second) == number) == seen
        assert before != number == read(first)


def test_a_stream_that_is_destroyed_does_what_it_was_given(device, pinned):
    stream, source, place = device.handle("cuStreamCreate", NON_BLOCKING), pinned(ONES), device.put(0 * ONES)
    device.cuMemcpyHtoDAsync_v2(place, address(source), source.nbytes, stream)
    device.cuStreamDestroy_v2(stream)
    device.cuCtxSynchronize()
    np.testing.assert_array_equal(device.get(place, ONES), ONES)


def test_memory_of_pools_is_given_back_in_the_order_of_a_stream(device, DriverError, pinned):
    pool, stream = device.handle("cuMemPoolCreate", None), device.handle("cuStreamCreate", NON_BLOCKING)
    place = device.handle("cuMemAllocFromPoolAsync", c_size_t(32), pool, stream)
    source = pinned(ONES)
    device.cuMemcpyHtoDAsync_v2(place, address(source), source.nbytes, stream)
    device.cuMemFreeAsync(place, stream)
    device.cuMemFreeAsync(place, stream)
    with pytest.raises(DriverError, match=r"INVALID_VALUE.*given back twice"):
        device.cuStreamSynchronize(stream)


def test_a_graph_must_live_until_it_is_done(device, DriverError, pinned):
    stream, graph = device.handle("cuStreamCreate", NON_BLOCKING), ctypes.c_void_p()
    place = device.put(ONES)
    device.cuStreamBeginCapture_v2(stream, 1)
    device.cuMemsetD8Async(place, 0, 32, stream)
    device.cuStreamEndCapture(stream, byref(graph))
    executable = device.handle("cuGraphInstantiateWithFlags", graph, ctypes.c_ulonglong(0))
    device.cuGraphLaunch(executable, stream)
    device.cuGraphExecDestroy(executable)
    with pytest.raises(DriverError, match=r"INVALID_HANDLE.*graph was destroyed"):
        device.cuStreamSynchronize(stream)


def test_a_capture_of_one_thread_lets_others_allocate(device, DriverError):
    stream, graph, errors = device.handle("cuStreamCreate", NON_BLOCKING), ctypes.c_void_p(), []

    def allocate():
        device.cuCtxSetCurrent(device.context)
        errors.append(device.library.cuMemAlloc_v2(byref(ctypes.c_uint64()), c_size_t(4)))

    for mode in (1, 0):  # of the thread; of all
        device.cuStreamBeginCapture_v2(stream, mode)
        thread = threading.Thread(target=allocate)
        thread.start()
        thread.join()
        if mode:
            device.cuStreamEndCapture(stream, byref(graph))
        else:
            with pytest.raises(DriverError, match="STREAM_CAPTURE_INVALIDATED"):
                device.cuStreamEndCapture(stream, byref(graph))
    assert errors == [0, 900]


def test_a_capture_does_not_wait_for_what_is_outside(device, DriverError):
    stream, other = (device.handle("cuStreamCreate", NON_BLOCKING) for _ in range(2))
    event, status = device.handle("cuEventCreate", 0), c_int()
    device.cuEventRecord(event, other)
    device.cuStreamBeginCapture_v2(stream, 1)
    with pytest.raises(DriverError, match="STREAM_CAPTURE_ISOLATION"):
        device.cuStreamWaitEvent(stream, event, 0)
    device.cuStreamIsCapturing(stream, byref(status))
    assert status.value == 1
