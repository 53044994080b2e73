"""The arena: values that live at the same time never share memory, others do where it saves any."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convc.targets.memory import ALIGNMENT, Lifetime, plan

lifetimes = st.builds(
    lambda nbytes, first, length: Lifetime(nbytes, first, first + length),
    st.integers(1, 5000),
    st.integers(0, 30),
    st.integers(0, 8),
)


@given(st.lists(lifetimes, max_size=40))
def test_values_alive_together_lie_apart_and_aligned(values: list[Lifetime]) -> None:
    offsets, size = plan(values)
    spans = [(offset, offset + value.nbytes) for offset, value in zip(offsets, values)]
    assert all(offset % ALIGNMENT == 0 for offset in offsets)
    assert all(begin >= 0 and end <= size for begin, end in spans)
    for i, a in enumerate(values):
        for j, b in enumerate(values[:i]):
            if a.overlaps(b):
                assert spans[i][1] <= spans[j][0] or spans[j][1] <= spans[i][0]


def test_a_chain_needs_the_two_largest_neighbours() -> None:
    sizes = [640, 1280, 320, 1280, 640]
    chain = [Lifetime(size, i, i + 1) for i, size in enumerate(sizes)]
    assert plan(chain)[1] == max(a + b for a, b in pairwise(sizes))


def test_what_lives_throughout_is_never_overwritten() -> None:
    residual = Lifetime(64, 0, 9)
    offsets, _ = plan([residual, *(Lifetime(64, i, i + 1) for i in range(9))])
    assert offsets.count(offsets[0]) == 1


@pytest.mark.parametrize(("values", "size"), [([], 0), ([Lifetime(1, 0, 0)], ALIGNMENT)])
def test_the_least_arenas(values: list[Lifetime], size: int) -> None:
    assert plan(values)[1] == size


def nested(n: int) -> list[Lifetime]:
    return [Lifetime(64, i, 2 * n - i) for i in range(n)]


def chained(n: int) -> list[Lifetime]:
    return [Lifetime(64, i, i + 1) for i in range(n)]


@pytest.mark.parametrize("values", [nested, chained])
def test_twice_the_values_are_about_twice_the_work(
    values: Callable[[int], list[Lifetime]], lines_run: Callable[[Callable[[], object]], int]
) -> None:
    few, many = (lines_run(partial(plan, values(n))) for n in (200, 400))
    assert many < 2.5 * few
