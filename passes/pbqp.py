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

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

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
        search, rest = _Search(), _Rest(dict(enumerate(self.costs)), _copied(self.edges))
        for i, others in self.edges.items():
            for j in others:
                if i < j:
                    rest.simplify(i, j)
        search.run(rest, list(rest.costs), [])
        if search.best is None:
            raise ValueError(f"a problem of {len(self.costs)} nodes has no solution: every choice has an infinite cost")
        choices = [search.best[i] for i in range(len(self.costs))]
        return Solution(choices, self.cost(choices), not search.cut)


_Edges = dict[int, dict[int, Costs]]


def _copied(edges: _Edges) -> _Edges:
    return {i: dict(others) for i, others in edges.items()}


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


@dataclass
class _Rest:
    """What is left of a problem; `spent` is what nodes without edges cost, which are left no more."""

    costs: dict[int, Costs]
    edges: _Edges
    spent: float = 0.0

    def reduce(self, ready: list[int]) -> list[_Taken]:
        """R0, RI and RII until none applies, if it is to some `ready` nodes that they apply; what was taken away, in
        that order."""
        taken = []
        while ready:
            i = ready.pop()
            if i not in self.costs or len(self.edges[i]) > 2:
                continue
            reduced = self.take(i)
            taken.append(reduced)
            around = list(reduced.edges)
            if not around:
                self.spent += float(reduced.costs.min())
            elif len(around) == 1:
                (j,) = around
                self.costs[j] = self.costs[j] + (reduced.costs[:, None] + reduced.edges[j]).min(axis=0)
            else:
                j, k = around
                sums = reduced.costs[:, None, None] + reduced.edges[j][:, :, None] + reduced.edges[k][:, None, :]
                _join(self.edges, j, k, sums.min(axis=0))
                self.simplify(j, k)
            ready += around
        return taken

    def take(self, i: int) -> _Taken:
        """Remove a node with its edges."""
        edges = self.edges.pop(i)
        for j in edges:
            del self.edges[j][i]
        return _Taken(i, self.costs.pop(i), edges)

    def fixed(self, i: int, choice: int) -> _Rest:
        """The problem that is left once a node has its alternative."""
        rest = _Rest(dict(self.costs), _copied(self.edges), self.spent)
        taken = rest.take(i)
        rest.spent += float(taken.costs[choice])
        for j, matrix in taken.edges.items():
            rest.costs[j] = rest.costs[j] + matrix[choice]
        return rest

    def bound(self) -> float:
        """No choice costs less: simplified edges have no negative costs."""
        return self.spent + sum(float(costs.min()) for costs in self.costs.values())

    def simplify(self, i: int, j: int) -> None:
        """Move from an edge to its ends what depends on one of them alone, and what is left is least: 0 in every row
        and column."""
        matrix = self.edges[i][j]
        for node, axis in ((i, 1), (j, 0)):
            least = matrix.min(axis=axis)
            self.costs[node] = self.costs[node] + least
            # What is forbidden beside all others, the node's own cost forbids.
            never = np.expand_dims(np.isinf(least), axis)
            matrix = np.where(never, 0, matrix - np.where(never, 0, np.expand_dims(least, axis)))
        if matrix.any():
            self.edges[i][j], self.edges[j][i] = matrix, matrix.T
        else:
            del self.edges[i][j], self.edges[j][i]


@dataclass
class _Search:
    """`best` is the best choice that was found, `cost` what it costs; `left` alternatives may still be tried,
    and if there were more the search was `cut`."""

    best: dict[int, int] | None = None
    cost: float = inf
    left: int = field(default_factory=lambda: LIMIT)
    cut: bool = False

    def run(self, rest: _Rest, ready: list[int], before: list[_Taken]) -> None:
        """Choose for what is left of a problem after others were taken from around the `ready` nodes."""
        taken = [*before, *rest.reduce(ready)]
        if rest.bound() >= self.cost:
            return
        if not rest.costs:
            self.best, self.cost = _chosen(taken), rest.spent
            return
        node = max(rest.costs, key=lambda i: (len(rest.edges[i]), -i))
        sums = rest.costs[node] + sum((m + rest.costs[j]).min(axis=1) for j, m in rest.edges[node].items())
        for choice in map(int, np.argsort(sums, kind="stable")):
            if self.best is not None and self.left <= 0:
                self.cut = True
                return
            if sums[choice] < inf:
                self.left -= 1
                fixed = rest.fixed(node, choice)
                self.run(fixed, list(rest.edges[node]), [*taken, _Taken(node, _only(choice, rest.costs[node]), {})])


def _only(choice: int, costs: Costs) -> Costs:
    return np.where(np.arange(len(costs)) == choice, costs, inf)


def _chosen(taken: Sequence[_Taken]) -> dict[int, int]:
    """The alternatives of all nodes, those that were taken last first."""
    found: dict[int, int] = {}
    for each in reversed(taken):
        sums = each.costs + sum(matrix[:, found[j]] for j, matrix in each.edges.items())
        found[each.node] = int(np.argmin(sums))
    return found
