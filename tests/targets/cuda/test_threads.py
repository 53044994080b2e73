"""How threads are dealt out."""

from __future__ import annotations

import pytest

from convc.targets.cuda.target import parse_cuda
from convc.targets.cuda.threads import block_threads


@pytest.mark.parametrize(
    ("extent", "threads"), [(1, 64), (64 * 132, 64), (128 * 132 - 1, 64), (128 * 132, 128), (256 * 132, 256)]
)
def test_few_threads_are_spread_over_all_multiprocessors(extent, threads) -> None:
    assert block_threads(extent, parse_cuda("cuda:sm_90a")) == threads
