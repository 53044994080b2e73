"""The verdict on an executable: its outputs beside the reference's, over several seeded inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convc.notation import shape_text
from convc.runtime.compare import Difference, compare
from convc.runtime.inputs import random_inputs
from convc.verify.precision import FP32, Precision
from convc.verify.rounding import nearby_inputs

if TYPE_CHECKING:
    from convc.ir.signature import Signature

NOISE_FACTOR = 4.0
"""Some models amplify rounding: change the last bits of their inputs and weights, and the reference's own output moves
by more than the tolerance. No two computations can then agree to it; they may differ by this many such
movements, since they round every sum on the way, not only what goes in."""

Network = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""Arrays by name in, arrays by name out."""
Draw = Callable[["Signature", int], Mapping[str, np.ndarray]]
"""The inputs of a signature for a seed."""


@dataclass(frozen=True)
class OutputReport:
    """The worst of an output over all samples. `tolerance` is that of its type, the last place of a narrow one, or else
    of the precision. `problem` is empty unless something but the error is wrong. `noise` is
    measured where the error exceeds the tolerance: how far the reference moves when last bits of its inputs and weights
    do. `dull`: in words, what all of the reference's floats were in every sample, if that shows nothing of a build."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    error: float
    tolerance: float
    passed: bool
    problem: str = ""
    noise: float | None = None
    dull: str = ""


@dataclass(frozen=True)
class Report:
    """What `verify` found."""

    outputs: tuple[OutputReport, ...]
    samples: int
    tolerance: float

    @property
    def passed(self) -> bool:
        return all(output.passed for output in self.outputs)

    @property
    def error(self) -> float:
        """The largest max|diff|/max|ref| of all outputs."""
        return max((output.error for output in self.outputs), default=0.0)

    def summary(self) -> str:
        """One line: the verdict, and what is wrong first if anything is."""
        for output in self.outputs:
            if not output.passed:
                return f"output '{output.name}' differs from onnxruntime's: {output.problem or self._measured(output)}"
        head = self._measured(max(self.outputs, key=lambda output: output.error / output.tolerance))
        dull = next((f"; output '{output.name}' is {output.dull}" for output in self.outputs if output.dull), "")
        noise = max((output.noise or 0.0 for output in self.outputs), default=0.0)
        if noise:
            return (
                f"agrees with onnxruntime as far as its precision goes: {head}, but the model amplifies rounding: "
                f"onnxruntime's own result moves by {noise:.1e} with last bits of inputs and weights{dull}"
            )
        return f"agrees with onnxruntime: {head}{dull}"

    def _measured(self, output: OutputReport) -> str:
        return f"max|diff|/max|ref| {output.error:.1e} over {self.samples} samples, tolerance {output.tolerance:.0e}"

    def rows(self) -> list[tuple[str, ...]]:
        """Table cells, a row an output."""
        return [
            (
                output.name,
                shape_text(output.shape),
                output.dtype,
                "-" if output.problem else f"{output.error:.2e}",
                ("ok" if output.passed else "FAILED" + (f": {output.problem}" if output.problem else "")),
            )
            for output in self.outputs
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; an infinite error becomes None."""
        outputs = [asdict(output) for output in self.outputs]
        for output in outputs:
            output["error"] = output["error"] if np.isfinite(output["error"]) else None
        return {"passed": self.passed, "samples": self.samples, "tolerance": self.tolerance, "outputs": outputs}


class VerificationError(Exception):
    """A build whose outputs differ from the reference's; the message is one line."""


def verify(
    network: Network,
    reference: Network,
    signature: Signature,
    *,
    samples: int = 3,
    seed: int = 0,
    precision: Precision = FP32,
    draw: Draw = random_inputs,
    nearby: Callable[[int], Network] | None = None,
    on_sample: Callable[[int], None] = lambda seed: None,
) -> Report:
    """Run both on inputs drawn with `samples` seeds from `seed` on, and compare every output of the reference to the
    tolerance of a precision.

    An error above the tolerance passes if the model amplifies rounding to that degree (`NOISE_FACTOR`); `nearby` makes
    for a seed the reference with other last bits in its weights (without it those of inputs alone are moved). Raises
    whatever either of them raises.
    """
    worst: dict[str, _Worst] = {}
    dull: dict[str, str] = {}
    for each in range(seed, seed + samples):
        on_sample(each)
        inputs = draw(signature, each)
        got, expected = network(inputs), reference(inputs)
        for name, array in expected.items():
            dull[name] = _dull(array) if dull.get(name, "-") else ""
            found = compare(np.asarray(got[name]), array) if name in got else Difference(np.inf, "is missing")
            if name not in worst or _rank(found) > _rank(worst[name].difference):
                worst[name] = _Worst(each, array, found)
    tolerances = {name: max(precision.tolerance, _unit(case.expected.dtype)) for name, case in worst.items()}
    agreeing = {name for name, case in worst.items() if case.difference.within(tolerances[name])}
    doubtful = {name: case for name, case in worst.items() if name not in agreeing and not case.difference.problem}

    def near(case_seed: int, trial: int) -> Mapping[str, np.ndarray]:
        return nearby_inputs(draw(signature, case_seed), trial, precision.unit)

    noises = _noise(nearby or (lambda trial: reference), doubtful, near)
    outputs = []
    for name, case in worst.items():
        shape, dtype, difference, noise = case.expected.shape, case.expected.dtype, case.difference, noises.get(name)
        passed = name in agreeing or (noise is not None and difference.error <= NOISE_FACTOR * noise)
        error, problem, tolerance = difference.error, difference.problem, tolerances[name]
        outputs.append(OutputReport(name, shape, str(dtype), error, tolerance, passed, problem, noise, dull[name]))
    return Report(tuple(outputs), samples, precision.tolerance)


@dataclass(frozen=True)
class _Worst:
    seed: int
    expected: np.ndarray
    difference: Difference


def _dull(expected: np.ndarray) -> str:
    """What all elements of an array of floats are, if a build that went wrong could well agree on it."""
    if expected.dtype.kind in "iub" or not expected.size:
        return ""
    if not np.isfinite(expected).any():
        return "NaN or infinite throughout, which shows nothing"
    return "" if expected.any() else "zero throughout, which shows little"


def _unit(dtype: np.dtype) -> float:
    """The last place of a type that is narrower than float32, by which two roundings of nearly one number may differ;
    0 for all others."""
    if dtype.kind in "iub" or dtype.itemsize >= 4:
        return 0.0
    import ml_dtypes

    return float(ml_dtypes.finfo(dtype).eps) if "float" in dtype.name else 0.0


def _noise(
    nearby: Callable[[int], Network],
    cases: Mapping[str, _Worst],
    inputs: Callable[[int, int], Mapping[str, np.ndarray]],
    trials: int = 3,
) -> dict[str, float]:
    """How far some outputs of the reference move, as max|diff|/max|ref|, when floats of the inputs and weights are
    rounded another way; `inputs` draws those of a seed, so moved, in a trial. 0 where an output does more than move."""
    largest = dict.fromkeys(cases, 0.0)
    for trial in range(trials if cases else 0):
        network = nearby(trial)
        for name, case in cases.items():
            found = compare(network(inputs(case.seed, trial))[name], case.expected)
            largest[name] = max(largest[name], 0.0 if found.problem else found.error)
    return largest


def _rank(difference: Difference) -> tuple[bool, float]:
    return bool(difference.problem), difference.error
