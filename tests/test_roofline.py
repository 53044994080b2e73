"""What a machine does at the most, and what bounds a kernel."""

from __future__ import annotations

import pytest

from convc.roofline import Roofline, measure
from convc.targets.cpus import parse_cpu


def test_wider_vectors_multiply_faster() -> None:
    narrow, wide = measure(vector_bytes=16), measure()
    assert narrow.gbytes > 0
    assert wide.gbytes > 0
    if parse_cpu("cpu").vector_bits > 128:
        assert wide.gflops > 1.2 * narrow.gflops > 0


@pytest.mark.parametrize(
    ("macs", "nbytes", "expected"),
    [(1000, 100, ("compute", 0.5)), (10, 1000, ("memory", 2.5)), (0, 100, ("memory", 0.25))],
)
def test_a_kernel_is_bound_by_what_takes_longer(macs: int, nbytes: int, expected: tuple[str, float]) -> None:
    # 2000 operations take 20 ns, 1000 bytes 100 ns
    assert Roofline(gflops=100.0, gbytes=10.0).bound(macs, nbytes, 40.0) == expected
