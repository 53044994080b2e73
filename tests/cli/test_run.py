"""What `convc run` is given and gives, without a network."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from convc.cli.arguments import UsageError
from convc.cli.run import _named, _preview, _summary, _write
from convc.cli.show import print_json

NAMES = ["x", "a=b:0", "a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=1.npy", ("x", "1.npy")),
        ("x=1=2.npy", ("x", "1=2.npy")),
        ("a=b:0=1.npy", ("a=b:0", "1.npy")),
        ("a=b:1=1.npy", ("a", "b:1=1.npy")),
    ],
)
def test_names_and_files_may_hold_equals_signs(text: str, expected: tuple[str, str]) -> None:
    assert _named(text, NAMES) == expected


@pytest.mark.parametrize("text", ["", "x", "x="])
def test_a_name_and_a_file_are_wanted(text: str) -> None:
    with pytest.raises(UsageError, match="expected NAME=FILE"):
        _named(text, NAMES)


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="no input 'y'; the inputs are x, a=b:0, a"):
        _named("y=1.npy", NAMES)


@pytest.mark.parametrize("name", ["y" * 300, "\N{CJK UNIFIED IDEOGRAPH-65E5}" * 100])
def test_names_that_no_file_can_have_are_cut(name: str, tmp_path: Path) -> None:
    arrays = {name: np.zeros(1), f"{name}2": np.ones(1)}
    paths = _write(arrays, tmp_path)
    assert len(set(paths.values())) == 2
    for each, array in arrays.items():
        np.testing.assert_array_equal(np.load(paths[each]), array)


def test_numbers_that_are_none_are_null_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    array = np.array([np.inf, -np.inf, 1], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        print_json({"outputs": [_summary("y", array, None)]})
        assert _preview(array)[1] == "min -inf, max inf, mean nan"

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    (found,) = json.loads(capsys.readouterr().out, parse_constant=refuse)["outputs"]
    assert found == {
        "name": "y", "shape": [3], "dtype": "float32", "min": None, "max": None, "mean": None, "file": None
    }  # fmt: skip
