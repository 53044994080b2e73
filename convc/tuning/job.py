"""A job for a measuring process: candidates of one workload, linked into a library, and what they are run on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from io import BytesIO

import numpy as np

from convc.targets.lower import Place
from convc.tuning.problem import Problem
from convc.tuning.results import Result


@dataclass(frozen=True)
class Job:
    """Candidate number i is `convc_run_i` of the library and computes in the form `forms[i]`. All are compared with
    the `incumbent`, which takes `incumbent_ns` (0: not known yet). Weights are read from `cold_bytes` of copies in
    turn. A call that takes more than `limit` seconds hangs."""

    problem: Problem
    forms: tuple[int, ...]
    incumbent: int
    incumbent_ns: float
    threads: int
    cold_bytes: int
    limit: float

    def to_bytes(self) -> bytes:
        """For another machine; `from_bytes` is the inverse."""
        problem = self.problem
        facts = {key: value for key, value in vars(self).items() if key != "problem"}
        facts["places"] = [[asdict(place) for place in places] for places in problem.places]
        facts["results"] = [[result.layout, result.tolerance] for result in problem.results]
        arrays = {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
        expected = [result.expected for result in problem.results]
        for name, group in (("input", problem.inputs), ("weight", problem.weights), ("expected", expected)):
            arrays |= {f"{name}{i}": array for i, array in enumerate(group)}
        file = BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        return file.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Job:
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            facts = json.loads(arrays["facts"].tobytes())

            def group(name: str) -> list[np.ndarray]:
                return [arrays[f"{name}{i}"] for i in range(sum(key.rstrip("0123456789") == name for key in arrays))]

            places = [tuple(Place(**place) for place in each) for each in facts.pop("places")]
            results = [Result(array, *rest) for array, rest in zip(group("expected"), facts.pop("results"))]
            problem = Problem(group("input"), group("weight"), places, results)
        return Job(problem, **facts | {"forms": tuple(facts["forms"])})
