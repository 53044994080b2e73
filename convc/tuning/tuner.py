"""Tune the kernels of a network: the most expensive first, until there is nothing better to try or the budget is spent.

Every outcome is committed to the database as soon as it is known. What the database knows is not measured again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from convc.scratch import Scratch
from convc.tuning.batch import Conditions, Measure, Trial
from convc.tuning.database import Database, Setting
from convc.tuning.findings import nothing_right
from convc.tuning.search import Search
from convc.tuning.workers import Worker, wait
from convc.tuning.workloads import Workload

_BATCH = 12  # candidates that are measured together: more would let the machine change between two turns
_TICK = 0.25  # seconds between reports of progress
_TRIAL_SECONDS = 0.5  # a first guess
_GRACE = 30.0  # seconds beyond the budget for batches that have begun: a machine that is gone does not answer


@dataclass(frozen=True)
class Budget:
    """How many candidates may be measured, and for how long."""

    trials: float = inf
    seconds: float = inf

    @staticmethod
    def of(trials: int | None, seconds: float | None) -> Budget:
        """None is without limit."""
        return Budget(trials or inf, seconds or inf)


Report = Callable[["Tuner", int | None], None]


class Tuner:
    """The tuning of some workloads under some conditions. `report` is called every now and then, and with the number of
    a workload when a batch of it is over."""

    def __init__(
        self,
        workloads: Sequence[Workload],
        conditions: Conditions,
        database: Database,
        budget: Budget,
        report: Report = lambda tuner, workload: None,
    ) -> None:
        self.workloads, self.conditions, self.budget = workloads, conditions, budget
        self.database, self.setting = database, Setting.of(conditions.target, conditions.threads)
        self.searches = [
            Search(each, conditions.target, [database.records(text, self.setting) for text in each.texts])
            for each in workloads
        ]
        self.trials = 0
        self._given = 0  # of which some are still at work
        self.steps = [0] * len(workloads)
        self.over: set[int] = set()
        self.last: Trial | None = None
        self._report = report
        self._begin, self._end = time.monotonic(), 0.0

    def run(self, machines: Sequence[Measure]) -> None:
        """Tune, on as many machines at once as there are ways to measure. Raises TuningError, OSError and
        ToolchainError where tuning cannot go on; what was measured until then is kept."""
        with Scratch() as folder:
            workers = [Worker(self.workloads, self.conditions, measure, folder) for measure in machines]
            try:
                self._run(workers)
            finally:
                self._end = time.monotonic()
                for worker in workers:
                    worker.end()

    def _run(self, workers: Sequence[Worker]) -> None:
        while True:
            for worker in workers:
                if worker.workload is None:
                    self._give(worker, {each.workload for each in workers})
            late = self.seconds > self.budget.seconds + _GRACE
            if late or all(worker.workload is None for worker in workers):
                return
            self._report(self, None)
            for worker in wait(workers, _TICK):
                self._take(worker)

    @property
    def seconds(self) -> float:
        """Since tuning began, until it ended."""
        return (self._end or time.monotonic()) - self._begin

    @property
    def seconds_left(self) -> float:
        """What the budget allows for, as far as can be told; infinite without one."""
        each = self.seconds / self.trials if self.trials else _TRIAL_SECONDS
        return min(self.budget.seconds - self.seconds, (self.budget.trials - self.trials) * each)

    @property
    def tried(self) -> int:
        """Of how many workloads all that templates propose has been measured."""
        return sum(search.tried for search in self.searches)

    @property
    def ratio(self) -> float:
        """The network's time by the best that is known, as a part of the untuned network's."""
        return sum(each.workload.share * each.ratio for each in self.searches)

    def failures(self) -> list[str]:
        """What to say of workloads for which no candidate is right, though all were tried."""
        return [
            nothing_right(search.workload.name, [record.outcome for _, record in search.known.values()])
            for search in self.searches
            if search.best is None and search.tried
        ]

    def _give(self, worker: Worker, busy: set[int | None]) -> None:
        """Give a worker the batch that promises most, if the budget allows for another."""
        while (room := self._room()) > 0:
            free = [i for i in range(len(self.workloads)) if i not in busy and i not in self.over]
            if not free:
                return
            number = min(free, key=self._priority)
            search = self.searches[number]
            candidates = search.following()[:room]
            if not candidates:
                self.over.add(number)
                continue
            self.steps[number] += search.tried
            self._given += len(candidates)
            best = search.best
            worker.begin(number, candidates, (best[0], best[1].ns) if best else (candidates[0], 0.0))
            return

    def _priority(self, number: int) -> tuple[int, float]:
        """What templates propose goes before what has no alternative, which is to be checked all the same, and that
        before the steps of the search; what takes much of the network's time before what takes little."""
        search = self.searches[number]
        stage = 2 + self.steps[number] if search.tried else int(len(search.first) == 1)
        return stage, -search.workload.share

    def _room(self) -> int:
        """How many candidates the budget still allows for in a batch."""
        if self.seconds_left <= 0:
            return 0
        each = self.seconds / self.trials if self.trials else _TRIAL_SECONDS
        affordable = max((self.budget.seconds - self.seconds) / each, 1)
        return int(min(_BATCH, self.budget.trials - self._given, affordable))

    def _take(self, worker: Worker) -> None:
        number = worker.workload
        assert number is not None
        trial = worker.receive()
        if trial is None:
            self._report(self, number)
            return
        self.trials += 1
        self.last = trial
        self.searches[number].add(trial.candidate, trial.record)
        text = self.workloads[number].texts[trial.candidate.form]
        self.database.add(text, self.setting, trial.record, trial.samples, trial.machine)
