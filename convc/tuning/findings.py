"""What becomes of candidates when they are run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convc.targets.measurements import Outcome

RUNNING, SINCE = range(2)
"""What a process writes down while it works: the candidate that runs, or ran last, and since when, by the monotonic
clock in ns, 0 if it has returned."""


@dataclass(frozen=True)
class Finding:
    """What became of a candidate, by its number in the job; `samples` are the rounds in which it was timed, `machine`
    where, if not here."""

    candidate: int
    outcome: Outcome
    ns: float = 0.0
    samples: int = 0
    why: str = ""
    machine: str = ""


def nothing_right(kernel: str, outcomes: Sequence[Outcome]) -> str:
    """What to say of a kernel for which no candidate is right, though all were tried."""
    counts = ", ".join(f"{outcomes.count(each)} {each}" for each in sorted(set(outcomes)))
    return f"no candidate for kernel '{kernel}' is right: {counts}"


class Failed(Exception):
    """A candidate that is not to be timed, and why."""

    def __init__(self, outcome: Outcome, why: str) -> None:
        super().__init__(why)
        self.outcome: Outcome = outcome
