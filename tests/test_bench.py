"""Timing side by side."""

import os

import pytest

from convc import bench


def test_calls_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "WARM_UP_SECONDS", 0.0)
    seen: list[str] = []
    timings = bench.interleave({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, seconds=1e-9)
    rounds = bench.MIN_ROUNDS
    assert "".join(seen[-2 * rounds :]) == "ab" * rounds
    assert timings["a"].runs == timings["b"].runs == rounds
    assert 0 < timings["a"].min_ms <= timings["a"].median_ms


def test_timers_tell_their_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "WARM_UP_SECONDS", 0.0)
    clocks = {"a": iter(range(1, 100)), "b": iter(range(2, 200, 2))}
    timings = bench.take_turns({name: lambda clock=clock: float(next(clock)) for name, clock in clocks.items()}, 1e-9)
    assert timings["a"].times_ms == (3, 4, 5, 6, 7)  # after two to warm up
    assert timings["a"].ratio_to(timings["b"]) == 0.5


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin processes")
def test_pinned_keeps_to_its_cores_and_lets_go() -> None:
    before = os.sched_getaffinity(0)
    with bench.pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores) == {min(before)}
    assert os.sched_getaffinity(0) == before
