"""Numbers on the command line that mean nothing are refused before anything is done."""

from __future__ import annotations

import pytest

from convc.cli.arguments import UsageError, shapes
from convc.cli.main import main, parser


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


@pytest.mark.parametrize("size", ["9" * 20, "9" * 5000, "٣"])
def test_sizes_that_no_tensor_has(size):
    with pytest.raises(UsageError, match="--shape: expected NAME=1x3x224x224"):
        shapes([f"x=1x{size}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("inspect . --shape x=1x3", "--shape is for models: . is an artifact, which is built already"),
        ("inspect . --outputs y", "--outputs is for models"),
        ("inspect net.onnx --shape x=1,2x3", "--shape: expected one shape of an input, got 2"),
        ("bench . -O 1", "-O is for models: . is an artifact"),
        ("bench . --target cuda", "--target is for models"),
        ("bench net.onnx --shape x=1,2x3", "--shape: expected one shape of an input, got 2"),
        ("bench net.onnx --model other.onnx", "--model is for artifacts: net.onnx is none"),
        ("build net.onnx --emulate", "--emulate is for GPUs, the target is cpu"),
        ("bench net.onnx --threads 9999", "--threads 9999: this process may use "),
    ],
)
def test_options_that_would_be_in_vain_are_refused(arguments, message, capsys):
    assert main(arguments.split()) == 2
    assert message in capsys.readouterr().err


def test_numbers_that_mean_something():
    assert parser().parse_args(["run", "net.convc", "--random", "0"]).random == 0
    assert parser().parse_args(["bench", "net.convc", "--seconds", "0.5"]).seconds == 0.5
