"""What is measured, the most telling first: a machine with a GPU may be lent for minutes, and any of them may be the
last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

COMPILED = "torch.compile"
"""The engine that searches for minutes: it comes when all others have been measured."""
_PATIENCE = {"": 75.0, "convc": 30.0, COMPILED: 300.0}
_OTHERS = 120.0
"""Seconds. Libraries choose among their algorithms at first, and compile some."""
_LONG, _SHORT = 1.0, 0.3
"""Seconds of turns for each engine."""


@dataclass(frozen=True)
class Planned:
    """A network at a precision and batch size, and the engines that it is measured beside, for so many seconds each.
    Without a peer it is verified, timed, and its kernels are."""

    model: str
    precision: str
    batch: int
    peers: tuple[str, ...]
    seconds: float

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.model} {self.precision} x{self.batch}"

    @property
    def network(self) -> tuple[str, str]:
        """What its batches have in common: what one of them does, the others would do."""
        return self.model, self.precision

    def without(self, peer: str) -> Planned:
        """The same beside one engine less."""
        return replace(self, peers=tuple(each for each in self.peers if each != peer))


def patience(engine: str) -> float:
    """How many seconds a process may say nothing before it is taken for hung: at an engine, or, without a name, at what
    comes before the first (the network's weights, and what it computes by definition)."""
    return _PATIENCE.get(engine, _OTHERS)


def plan(contents: Mapping[str, Any], peers: Sequence[str], seconds: float | None = None) -> list[Planned]:
    """The cases of a pack, in four rounds: its first model beside all engines but the one that searches; all others by
    themselves, which verifies them; these beside the engines too; and the one that searches. A model that is measured
    again comes with what is new."""
    first, *others = contents["models"]
    quick = tuple(peer for peer in peers if peer != COMPILED)
    planned = [Planned(*case, quick, seconds or _LONG) for case in _cases(contents, [first])]
    planned += [Planned(*case, (), seconds or _SHORT) for case in _cases(contents, others)]
    if quick:
        planned += [Planned(*case, quick, seconds or _SHORT) for case in _cases(contents, others)]
    if COMPILED in peers:
        planned += [Planned(*case, (COMPILED,), seconds or _SHORT) for case in _cases(contents, contents["models"])]
    return planned


def _cases(contents: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, int]]:
    for model in models:
        for precision in contents["precisions"]:
            for batch in model["batches"]:
                yield model["name"], precision, batch
