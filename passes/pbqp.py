"""Partitioned Boolean quadratic problems: one alternative a node, so that the sum of costs is least.

    minimise  sum over nodes i of cost_i[x_i]  +  sum over edges (i, j) of cost_ij[x_i, x_j]

Reductions that lose nothing (Scholz and Eckstein, LCTES 2002) take nodes away one by one: without edges (R0), with one
(RI), with two (RII). Before that every edge is made as small as can be: what depends on one of its ends alone is that
node's cost, and an edge of which nothing is left is none. Trees and series-parallel graphs, as most networks are, come
out solved. In what is left the node of the most edges is tried in each alternative, the one that looks best first (the
heuristic RN), and given up where a bound shows that nothing better follows (Hames and Scholz, JMLC 2006). So the answer
is the least sum unless more than `LIMIT` alternatives had to be tried; beyond that RN alone decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

LIMIT = 1000
"""Alternatives that are tried in what cannot be reduced: half a second where that is of 240 nodes."""

Costs = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """The number of each node's alternative, the sum of their costs, and whether no other sum is known to be less."""

    choices: list[int]
    cost: float
    proved: bool


@dataclass
class Problem:
    """Costs are finite or infinite; an infinite one forbids an alternative, or two beside each other."""

    costs: list[Costs] = field(default_factory=list)
    edges: dict[int, dict[int, Costs]] = field(default_factory=dict)
    """By the numbers of both ends, in either order: rows are alternatives of the first."""

    def node(self, costs: Sequence[float]) -> int:
        """A node with an alternative for each cost; its number."""
        self.costs.append(np.array(costs, np.float64))
        self.edges[len(self.costs) - 1] = {}
        return len(self.costs) - 1

    def edge(self, i: int, j: int, costs: Sequence[Sequence[float]]) -> None:
        """Costs of each alternative of node i beside each of node j, on top of what there is between them."""
        matrix = np.array(costs, np.float64)
        if i == j or matrix.shape != (len(self.costs[i]), len(self.costs[j])):
            shape = f"{len(self.costs[i])} x {len(self.costs[j])}"
            raise ValueError(f"expected {shape} costs between nodes {i} and {j}, got {matrix.shape}")
        _join(self.edges, i, j, matrix)

    def cost(self, choices: Sequence[int]) -> float:
        """The sum of the costs of a choice."""
        nodes = sum(float(costs[choice]) for costs, choice in zip(self.costs, choices, strict=True))
        pairs = ((i, j, matrix) for i, others in self.edges.items() for j, matrix in others.items() if i < j)
        return nodes + sum(float(matrix[choices[i], choices[j]]) for i, j, matrix in pairs)

    def solve(self) -> Solution:
        """Choose for all nodes; equal problems have equal solutions. Raises ValueError if all choices are forbidden."""
        search, rest = _Search(), _Rest.of(self.costs, self.edges)
        for i, others in self.edges.items():
            for j in others:
                if i < j:
                    rest.simplify(i, j)
        search.run(rest)
        if search.best is None:
            raise ValueError(f"a problem of {len(self.costs)} nodes has no solution: every choice has an infinite cost")
        choices = [search.best[i] for i in range(len(self.costs))]
        return Solution(choices, self.cost(choices), not search.cut)


_Edges = dict[int, dict[int, Costs]]


def _join(edges: _Edges, i: int, j: int, matrix: Costs) -> None:
    """Add costs to those between two nodes; matrices are shared between copies and never changed."""
    if j in edges[i]:
        matrix = edges[i][j] + matrix
    edges[i][j], edges[j][i] = matrix, matrix.T


@dataclass(frozen=True)
class _Taken:
    """A node that was reduced: its choice follows from those of the nodes that its edges led to."""

    node: int
    costs: Costs
    edges: dict[int, Costs]


@dataclass(frozen=True)
class _Mark:
    """A state of a `_Rest` that it can be taken back to."""

    changes: int
    taken: int
    spent: float


@dataclass
class _Rest:
    """What is left of a problem; `least` is the least cost of each node that is left, and `spent` is what nodes without
    edges cost, which are left no more. `taken` are the nodes that were taken away, in that order. Changes can be
    undone: a search that copied the rest for each alternative would spend its time on that."""

    costs: dict[int, Costs]
    edges: _Edges
    least: dict[int, float]
    spent: float = 0.0
    taken: list[_Taken] = field(default_factory=list)
    _changes: list[tuple[dict[int, Any], int, Any]] = field(default_factory=list)
    """A table, a key and what was there before; None for nothing."""

    @staticmethod
    def of(costs: Sequence[Costs], edges: _Edges) -> _Rest:
        """All of a problem."""
        least = {i: float(each.min()) for i, each in enumerate(costs)}
        return _Rest(dict(enumerate(costs)), {i: dict(others) for i, others in edges.items()}, least)

    def mark(self) -> _Mark:
        return _Mark(len(self._changes), len(self.taken), self.spent)

    def undo(self, mark: _Mark) -> None:
        """Go back to a state in which the rest once was."""
        while len(self._changes) > mark.changes:
            table, key, before = self._changes.pop()
            if before is None:
                del table[key]
            else:
                table[key] = before
        del self.taken[mark.taken :]
        self.spent = mark.spent

    def _put(self, table: dict[int, Any], key: int, value: Any) -> None:
        self._changes.append((table, key, table.get(key)))
        table[key] = value

    def _remove(self, table: dict[int, Any], key: int) -> None:
        self._changes.append((table, key, table.pop(key)))

    def _cost(self, i: int, costs: Costs) -> None:
        self._put(self.costs, i, costs)
        self._put(self.least, i, float(costs.min()))

    def _edge(self, i: int, j: int, matrix: Costs) -> None:
        self._put(self.edges[i], j, matrix)
        self._put(self.edges[j], i, matrix.T)

    def reduce(self, ready: list[int]) -> None:
        """R0, RI and RII until none applies, if it is to some `ready` nodes that they apply."""
        while ready:
            i = ready.pop()
            if i not in self.costs or len(self.edges[i]) > 2:
                continue
            reduced = self._take(i)
            self.taken.append(reduced)
            around = list(reduced.edges)
            if not around:
                self.spent += float(reduced.costs.min())
            elif len(around) == 1:
                (j,) = around
                self._cost(j, self.costs[j] + (reduced.costs[:, None] + reduced.edges[j]).min(axis=0))
            else:
                j, k = around
                sums = reduced.costs[:, None, None] + reduced.edges[j][:, :, None] + reduced.edges[k][:, None, :]
                between = sums.min(axis=0)
                self._edge(j, k, self.edges[j][k] + between if k in self.edges[j] else between)
                self.simplify(j, k)
            ready += around

    def _take(self, i: int) -> _Taken:
        """Remove a node with its edges."""
        taken = _Taken(i, self.costs[i], self.edges[i])
        for j in taken.edges:
            self._remove(self.edges[j], i)
        for table in (self.edges, self.costs, self.least):
            self._remove(table, i)
        return taken

    def fix(self, i: int, choice: int) -> list[int]:
        """Give a node its alternative; the nodes around it."""
        fixed = self._take(i)
        self.spent += float(fixed.costs[choice])
        for j, matrix in fixed.edges.items():
            self._cost(j, self.costs[j] + matrix[choice])
        self.taken.append(_Taken(i, _only(choice, fixed.costs), {}))
        return list(fixed.edges)

    def bound(self) -> float:
        """No choice costs less: simplified edges have no negative costs."""
        return self.spent + sum(self.least.values())

    def simplify(self, i: int, j: int) -> None:
        """Move from an edge to its ends what depends on one of them alone, and what is left is least: 0 in every row
        and column."""
        matrix = self.edges[i][j]
        for node, axis in ((i, 1), (j, 0)):
            least = matrix.min(axis=axis)
            self._cost(node, self.costs[node] + least)
            # What is forbidden beside all others, the node's own cost forbids.
            never = np.expand_dims(np.isinf(least), axis)
            matrix = np.where(never, 0, matrix - np.where(never, 0, np.expand_dims(least, axis)))
        if matrix.any():
            self._edge(i, j, matrix)
        else:
            self._remove(self.edges[i], j)
            self._remove(self.edges[j], i)


@dataclass(frozen=True)
class _Branch:
    """A node whose alternatives are tried one by one, `untried` with what they seem to cost, the best one first."""

    node: int
    untried: Iterator[tuple[int, float]]
    before: _Mark

    @staticmethod
    def of(rest: _Rest) -> _Branch:
        """Of the node of the most edges."""
        node = max(rest.costs, key=lambda i: (len(rest.edges[i]), -i))
        sums = rest.costs[node] + sum((m + rest.costs[j]).min(axis=1) for j, m in rest.edges[node].items())
        order = np.argsort(sums, kind="stable")
        return _Branch(node, iter([(int(choice), float(sums[choice])) for choice in order]), rest.mark())


@dataclass
class _Search:
    """`best` is the best choice that was found, `cost` what it costs; `left` alternatives may still be tried,
    and if there were more the search was `cut`."""

    best: dict[int, int] | None = None
    cost: float = inf
    left: int = field(default_factory=lambda: LIMIT)
    cut: bool = False

    def run(self, rest: _Rest) -> None:
        """Choose for a problem, depth first. (A call for each node that is tried would go deeper than Python does.)"""
        branches: list[_Branch] = []
        ready = list(rest.costs)
        while True:
            rest.reduce(ready)
            if rest.bound() < self.cost:
                if rest.costs:
                    branches.append(_Branch.of(rest))
                else:
                    self.best, self.cost = _chosen(rest.taken), rest.spent
            choice = None
            while branches and (choice := self._next(branches[-1])) is None:
                branches.pop()
            if choice is None:
                return
            rest.undo(branches[-1].before)
            ready = rest.fix(branches[-1].node, choice)

    def _next(self, branch: _Branch) -> int | None:
        """The alternative to try next at a node; None if there is none, or no more may be tried."""
        for choice, seems in branch.untried:
            if self.best is not None and self.left <= 0:
                self.cut = True
                return None
            if seems < inf:
                self.left -= 1
                return choice
        return None


def _only(choice: int, costs: Costs) -> Costs:
    return np.where(np.arange(len(costs)) == choice, costs, inf)


def _chosen(taken: Sequence[_Taken]) -> dict[int, int]:
    """The alternatives of all nodes, those that were taken last first."""
    found: dict[int, int] = {}
    for each in reversed(taken):
        sums = each.costs + sum(matrix[:, found[j]] for j, matrix in each.edges.items())
        found[each.node] = int(np.argmin(sums))
    return found
