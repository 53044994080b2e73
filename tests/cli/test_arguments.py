"""Numbers on the command line that mean nothing are refused before anything is done."""

from __future__ import annotations

import pytest

from convc.cli.main import parser


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("run net.convc --random -1", "argument --random: expected a whole number of at least 0, got '-1'"),
        ("verify net.convc net.onnx --seed -1", "argument --seed: expected a whole number of at least 0, got '-1'"),
        ("verify net.convc net.onnx --seed 1.5", "argument --seed: expected a whole number of at least 0, got '1.5'"),
        ("bench net.convc --seconds nan", "argument --seconds: expected a positive number of seconds, got 'nan'"),
        ("bench net.convc --seconds inf", "argument --seconds: expected a positive number of seconds, got 'inf'"),
        ("bench net.convc --seconds 0", "argument --seconds: expected a positive number of seconds, got '0'"),
        ("bench net.convc --seconds soon", "argument --seconds: expected a positive number of seconds, got 'soon'"),
    ],
)
def test_numbers(arguments, expected, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"convc: error: {expected} (see ")


def test_numbers_that_mean_something():
    assert parser().parse_args(["run", "net.convc", "--random", "0"]).random == 0
    assert parser().parse_args(["bench", "net.convc", "--seconds", "0.5"]).seconds == 0.5
