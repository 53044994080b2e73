"""Candidates that crash, hang, compute garbage or cannot be built cost themselves, and are never chosen."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convc.ir.kernel import KernelOp
from convc.ir.text import main_function
from convc.pipeline import Build
from convc.runtime import load
from convc.targets.measurements import TuningError
from convc.targets.select import chosen
from convc.targets.target import CpuTarget
from convc.tuning.tuner import Budget, Tuner

ALL = ("wrong", "crashed", "none", "hung", "refused", "beyond")


def outcomes(tuner: Tuner, faults: Sequence[str]) -> dict[str, str]:
    """What became of each planted fault."""
    (search,) = tuner.searches
    return {faults[record.config["fault"]]: record.outcome for _, record in search.known.values()}


def test_each_is_recorded_as_what_it_is(
    plant: Callable[..., None], product: Any, session: Any, faults: Sequence[str]
) -> None:
    plant(*ALL)
    tuner = session(product(), Budget()).run()
    assert outcomes(tuner, faults) == {
        "none": "ok", "wrong": "wrong", "crashed": "crashed", "hung": "hung", "refused": "refused", "beyond": "wrong"
    }  # fmt: skip
    assert tuner.trials == len(ALL)


def test_the_one_that_is_right_is_built(
    plant: Callable[..., None], product: Any, session: Any, target: CpuTarget, tmp_path: Path
) -> None:
    plant(*ALL)
    session(product(), Budget()).run()
    build = Build(target, threads=1, database=tmp_path / "tuning.db")
    module, _ = build.module(product(), {})
    (kernel,) = [op for op in main_function(module).body.block.ops if isinstance(op, KernelOp)]
    assert chosen(kernel) == ("planted", {"fault": 0})
    build.run(product(), tmp_path / "m.convc")
    x = np.random.default_rng(1).standard_normal((4, 32)).astype(np.float32)
    weight = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    found = load(tmp_path / "m.convc")(x)
    assert np.abs(found - np.maximum(x @ weight, 0)).max() < 1e-4


def test_what_failed_is_avoided_though_nothing_succeeded_yet(
    plant: Callable[..., None], product: Any, session: Any, target: CpuTarget, tmp_path: Path
) -> None:
    plant("wrong", "crashed", "none")
    session(product(), Budget(trials=2)).run()
    module, _ = Build(target, threads=1, database=tmp_path / "tuning.db").module(product(), {})
    (kernel,) = [op for op in main_function(module).body.block.ops if isinstance(op, KernelOp)]
    assert chosen(kernel) == ("planted", {"fault": 0})


def test_nothing_right_is_an_error_that_names_the_kernel(
    plant: Callable[..., None], product: Any, session: Any
) -> None:
    plant("wrong", "crashed", "refused")
    message = "no candidate for kernel 'rectified' is right: 1 crashed, 1 refused, 1 wrong"
    with pytest.raises(TuningError, match=re.escape(message)):
        session(product(), Budget()).run()


def test_a_kernel_that_is_not_tried_to_the_end_is_no_error(
    plant: Callable[..., None], product: Any, session: Any
) -> None:
    plant("wrong", "crashed", "refused")
    assert session(product(), Budget(trials=1)).run().trials == 1
