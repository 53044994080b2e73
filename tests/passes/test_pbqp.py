"""The solver beside trying all choices, over random graphs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from convc.passes import pbqp
from convc.passes.pbqp import Problem


def problem(edges, rng, *, nodes=None, most=3, forbidden=0.0):
    """A problem of so many alternatives at most a node, with random costs, some of them infinite."""

    def costs(*shape):
        made = np.round(rng.uniform(-5, 10, shape), 2)
        made[rng.random(shape) < forbidden] = math.inf
        return made

    made = Problem()
    for _ in range(nodes or 1 + max(map(max, edges))):
        made.node(costs(rng.integers(1, most + 1)))
    for i, j in edges:
        made.edge(i, j, costs(len(made.costs[i]), len(made.costs[j])))
    return made


def least(made):
    return min(made.cost(choice) for choice in itertools.product(*(range(len(costs)) for costs in made.costs)))


def tree(n, rng):
    return [(int(rng.integers(0, i)), i) for i in range(1, n)]


def series_parallel(n, rng):
    """Edges that are split by a node between, or doubled by a way around, until there are n nodes."""
    edges, nodes = [(0, 1)], 2
    while nodes < n:
        i, j = edges[rng.integers(len(edges))]
        if rng.random() < 0.5:
            edges.remove((i, j))
        edges += [(i, nodes), (nodes, j)]
        nodes += 1
    return edges


def dense(n, rng):
    return [pair for pair in itertools.combinations(range(n), 2) if rng.random() < 0.7] or [(0, n - 1)]


@pytest.mark.parametrize("shape", [tree, series_parallel, dense])
@pytest.mark.parametrize("forbidden", [0.0, 0.15])
@pytest.mark.parametrize("seed", range(8))
def test_no_choice_costs_less(shape, forbidden, seed):
    rng = np.random.default_rng(seed)
    made = problem(shape(7, rng), rng, nodes=7, forbidden=forbidden)
    expected = least(made)
    if math.isinf(expected):
        with pytest.raises(ValueError, match="a problem of 7 nodes has no solution: every choice has an infinite cost"):
            made.solve()
        return
    found = made.solve()
    assert found.proved
    assert found.cost == made.cost(found.choices) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_trees_and_series_parallel_graphs_need_no_search(seed, monkeypatch):
    monkeypatch.setattr(pbqp, "LIMIT", 0)
    rng = np.random.default_rng(seed)
    for edges in (tree(8, rng), series_parallel(8, rng)):
        made = problem(edges, rng, most=2)
        found = made.solve()
        assert found.proved
        assert found.cost == pytest.approx(least(made))


def test_what_is_forbidden_is_not_chosen_without_search_either(monkeypatch):
    solvable = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        made = problem(dense(6, rng), rng, nodes=6, forbidden=0.1)
        expected = least(made)
        if math.isfinite(expected):
            solvable += 1
            with monkeypatch.context() as patch:
                patch.setattr(pbqp, "LIMIT", 0)
                found = made.solve()
            assert expected <= found.cost + 1e-9 < math.inf
            assert found.cost == made.cost(found.choices)
    assert solvable > 5


def test_equal_problems_have_equal_solutions():
    """A chain of complete graphs, each of five nodes and with the last node of the one before."""
    rng = np.random.default_rng(0)
    edges = [(4 * k + i, 4 * k + j) for k in range(12) for i, j in itertools.combinations(range(5), 2)]
    made = problem(edges, rng, most=2)
    assert made.solve() == made.solve()


def test_costs_between_nodes_add_up_in_either_order():
    made = Problem()
    a, b = made.node([0, 1]), made.node([0, 0, 0])
    made.edge(a, b, [[5, 4, 3], [0, 2, 0]])
    made.edge(b, a, [[1, 0], [1, 0], [1, 2]])
    found = made.solve()
    assert (found.choices, found.cost) == ([1, 0], 1)


def test_edges_of_another_size_or_to_the_node_itself_are_refused():
    made = Problem()
    a, b = made.node([0, 1]), made.node([0])
    with pytest.raises(ValueError, match=r"expected 2 x 1 costs between nodes 0 and 1, got \(1, 2\)"):
        made.edge(a, b, [[0, 1]])
    with pytest.raises(ValueError, match="expected 2 x 2 costs between nodes 0 and 0"):
        made.edge(a, a, [[0, 1], [1, 0]])
