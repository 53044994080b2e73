"""What to try next for a workload, given what is known of it."""

from __future__ import annotations

from collections.abc import Sequence

from convc.targets.measurements import Record
from convc.targets.target import CpuTarget
from convc.tuning.neighbours import neighbours
from convc.tuning.workloads import Candidate, Workload

_ALIKE = 1.01
"""Times within this factor may be equal: the search stays with the one that was measured first."""
_PROMISING = 1.1
"""A form whose best candidate is within this factor of the best of all is searched too."""


class Search:
    """First all candidates of all forms, then neighbours of the best, as long as those are better.

    Which records there are says where a search stands, so one that was interrupted goes on where it was."""

    def __init__(self, workload: Workload, target: CpuTarget, records: Sequence[Sequence[Record]]) -> None:
        """`records` are those of each form."""
        self.workload, self.target = workload, target
        self.first = workload.candidates(target)
        self.known: dict[object, tuple[Candidate, Record]] = {}
        for form, each in enumerate(records):
            for record in each:
                self.add(Candidate(form, record.template, record.config), record)

    def add(self, candidate: Candidate, record: Record) -> None:
        """Take in what became of a candidate."""
        self.known[candidate.key] = (candidate, record)

    @property
    def best(self) -> tuple[Candidate, Record] | None:
        """The fastest that is known, or None."""
        return min(self._measured(), key=lambda pair: pair[1].ns, default=None)

    @property
    def untuned(self) -> Record | None:
        """What is known of the candidate that builds take without measurements."""
        known = self.known.get(self.workload.untuned.key)
        return known[1] if known else None

    @property
    def ratio(self) -> float:
        """The time of the best that is known, as a part of the untuned candidate's; 1 where either is not known."""
        best, untuned = self.best, self.untuned
        return best[1].ns / untuned.ns if best and untuned and untuned.ns else 1.0

    @property
    def tried(self) -> bool:
        """Whether all that templates propose has been measured."""
        return all(candidate.key in self.known for candidate in self.first)

    def following(self) -> list[Candidate]:
        """What to measure next, all of it or the first few; nothing when the search is over."""
        if new := [candidate for candidate in self.first if candidate.key not in self.known]:
            return new
        found: dict[object, Candidate] = {}
        for candidate in self._seeds():
            form = self.workload.forms[candidate.form]
            for config in neighbours(form, candidate.template, candidate.config, self.target):
                near = Candidate(candidate.form, candidate.template, config)
                if near.key not in self.known:
                    found.setdefault(near.key, near)
        return list(found.values())

    def _measured(self) -> list[tuple[Candidate, Record]]:
        return [pair for pair in self.known.values() if pair[1].outcome == "ok"]

    def _seeds(self) -> list[Candidate]:
        """Of each promising form the best candidate: of those that are alike, the one that was known first."""
        measured = self._measured()
        fastest = min((record.ns for _, record in measured), default=0.0)
        seeds = []
        for form in range(len(self.workload.forms)):
            own = [(candidate, record) for candidate, record in measured if candidate.form == form]
            best = min((record.ns for _, record in own), default=0.0)
            alike = [pair for pair in own if pair[1].ns <= best * _ALIKE]
            if alike and best <= fastest * _PROMISING:
                seeds.append(min(alike, key=lambda pair: pair[1].at)[0])
        return seeds
