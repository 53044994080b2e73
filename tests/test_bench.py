"""Timing side by side."""

import itertools
import os

import pytest

from convc import bench


def test_calls_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr(bench, "TURN_SECONDS", 0.0)
    seen: list[str] = []
    timings = bench.interleave({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, seconds=1e-9)
    rounds = bench.MIN_ROUNDS
    assert "".join(seen[-4 * rounds :]) == "aabb" * rounds  # a call to wake up, one that is timed
    assert timings["a"].runs == timings["b"].runs == rounds
    assert 0 < timings["a"].min_ms <= timings["a"].median_ms


def test_a_turn_begins_when_the_threads_of_the_last_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP's spin for 200 ms: whoever came after ncnn took twice its time on two threads."""
    spent, slept = iter([0.0, 0.002, 0.002, 0.0035, 0.0035, 0.0035]), []
    monkeypatch.setattr(bench.time, "process_time", lambda: next(spent))
    monkeypatch.setattr(bench.time, "sleep", slept.append)
    monkeypatch.setattr(bench, "SETTLE_SECONDS", 1e3)
    bench._settle()
    assert len(slept) == 3
    assert next(spent, None) is None


def test_a_turn_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.time, "process_time", itertools.count().__next__)
    monkeypatch.setattr(bench.time, "sleep", lambda _: None)
    monkeypatch.setattr(bench, "SETTLE_SECONDS", 0.01)
    bench._settle()


def test_timers_tell_their_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "WARM_UP_SECONDS", 0.0)
    clocks = {"a": iter(range(1, 100)), "b": iter(range(2, 200, 2))}
    timings = bench.take_turns({name: lambda clock=clock: float(next(clock)) for name, clock in clocks.items()}, 1e-9)
    assert timings["a"].times_ms == (3, 4, 5, 6, 7)  # after two to warm up
    assert timings["a"].ratio_to(timings["b"]) == 0.5


def test_time_without_end_is_for_so_many_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "WARM_UP_SECONDS", 0.0)
    assert bench.take_turns({"a": lambda: 1.0}, 1e308)["a"].runs == bench.MAX_ROUNDS


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin processes")
def test_pinned_keeps_to_its_cores_and_lets_go() -> None:
    before = os.sched_getaffinity(0)
    with bench.pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores) == {min(before)}
    assert os.sched_getaffinity(0) == before
