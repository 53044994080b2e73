"""How candidates are run and timed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from convc.pipeline import Build
from convc.targets.target import CpuTarget
from convc.tuning.batch import Conditions, run_batch
from convc.tuning.competing import compete
from convc.tuning.job import Job
from convc.tuning.measuring import Copies, supervise
from convc.tuning.neighbours import neighbours
from convc.tuning.problem import make_problem
from convc.tuning.workloads import Candidate, Workload, workloads


@pytest.fixture(scope="module")
def convolution(convolutions: Callable[..., Any], target: CpuTarget) -> Workload:
    """A 3x3 convolution in its three forms."""
    module, _ = Build(target, measured=False).module(convolutions(), {})
    return next(each for each in workloads([module], target)[0] if len(each.forms) == 3)


class Machine:
    """Stands for a bench: candidates take these times, times a speed that wanders by a third."""

    def __init__(self, times: Sequence[float]) -> None:
        self.times, self.random, self.speed = times, random.Random(0), 1.0
        self.calls = [0] * len(times)

    def calls_of_a_sample(self, candidate: int) -> int:
        return 1

    def sample(self, candidate: int, calls: int) -> float:
        self.calls[candidate] += 1
        self.speed = min(max(self.speed * self.random.uniform(0.97, 1.03), 0.75), 1.3)
        return self.times[candidate] * self.speed * self.random.uniform(0.99, 1.01)


def test_ratios_do_not_mind_a_machine_whose_speed_changes() -> None:
    times = [1000.0, 970.0, 1200.0, 3000.0, 1010.0]
    findings = {finding.candidate: finding for finding in compete(Machine(times), list(range(5)), 0, 500.0)}
    for candidate, time in enumerate(times):
        assert findings[candidate].ns == pytest.approx(time / 2, rel=0.05)
    assert min(findings, key=lambda candidate: findings[candidate].ns) == 1


def test_losers_leave_early() -> None:
    machine = Machine([1000.0, 990.0, 2000.0, 1100.0, 1500.0])
    findings = {finding.candidate: finding for finding in compete(machine, list(range(5)), 0, 0.0)}
    assert findings[2].samples < findings[3].samples < findings[1].samples
    assert findings[0].samples == findings[1].samples, "the incumbent stays"


def test_an_incumbent_that_failed_is_done_without() -> None:
    machine = Machine([1000.0, 500.0, 800.0])
    findings = {finding.candidate: finding for finding in compete(machine, [1, 2], 0, 123.0)}
    assert findings[2].ns / findings[1].ns == pytest.approx(1.6, rel=0.05)
    assert findings[1].ns > 300, "the incumbent's time says nothing of theirs"


def test_weights_are_read_from_many_copies_in_turn() -> None:
    array = np.arange(192, dtype=np.uint8)
    copies = Copies(array, 1000)
    addresses = [copies.following() for _ in range(10)]
    assert len(set(addresses)) == 5
    assert addresses[:5] == addresses[5:]
    begin = copies.memory.ctypes.data
    for address in addresses:
        assert address % 64 == 0
        assert np.array_equal(copies.memory[address - begin :][:192], array)
    assert Copies(np.zeros(0, np.uint8), 1000).following(), "a kernel without weights"


def test_how_much_is_cold_follows_the_network_and_the_caches(target: CpuTarget) -> None:
    small = replace(target, l2_bytes=1 << 20, l3_bytes=8 << 20)
    sizes = [Conditions.of(small, 1, weights << 20, 1.0).cold_bytes >> 20 for weights in (1, 10, 100)]
    assert sizes == [4, 10, 16]


def test_operands_are_the_same_numbers_in_every_form(convolution: Workload) -> None:
    problem = make_problem(convolution)
    assert [len(places) for places in problem.places] == [3, 3, 3], "x, w and the result"
    assert [result.expected.shape for result in problem.results] == [(1, 32, 12, 12)]
    direct, two, four = (weights.size for weights in problem.weights)
    assert direct < two < four


def test_jobs_travel_as_bytes(convolution: Workload) -> None:
    job = Job(make_problem(convolution), (0, 2, 1), 1, 3.5, 2, 1 << 20, 0.5)
    again = Job.from_bytes(job.to_bytes())
    assert replace(again, problem=job.problem) == job
    assert again.problem.places == job.problem.places
    for name in ("inputs", "weights"):
        for one, other in zip(getattr(again.problem, name), getattr(job.problem, name), strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(again.problem.results, job.problem.results, strict=True):
        assert (one.layout, one.tolerance) == (other.layout, other.tolerance)
        np.testing.assert_array_equal(one.expected, other.expected)


def test_neighbours_of_every_form_are_right(convolution: Workload, target: CpuTarget) -> None:
    """Whatever the local search may try can be built and computes what it should."""
    tried = []
    for form in range(3):
        first = next(each for each in convolution.candidates(target) if each.form == form)
        near = neighbours(convolution.forms[form], first.template, first.config, target)
        assert first.config not in near
        assert len(near) > 3
        tried += [Candidate(form, first.template, config) for config in near]
    conditions = Conditions(target, 2, 1 << 20, 10.0)
    trials = list(run_batch(convolution, tried, (tried[0], 0.0), conditions, supervise))
    assert len(trials) == len(tried)
    assert {trial.record.outcome for trial in trials} == {"ok"}, [trial.why for trial in trials]


def test_templates_without_a_search_have_no_neighbours(convolution: Workload, target: CpuTarget) -> None:
    assert neighbours(convolution.forms[0], "window", {"width": 7}, target) == []


def test_candidates_begin_with_the_untuned_one_and_leave_the_fallback_out(
    convolution: Workload, target: CpuTarget
) -> None:
    found = convolution.candidates(target)
    assert found[0] == convolution.untuned
    assert {each.form for each in found[:4]} == {0, 1, 2}
    assert "generic" not in {each.template for each in found}
    assert len({each.key for each in found}) == len(found)
