"""A folder of candidates, and what has been found of them. Nothing here needs the compiler."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from platform import node
from typing import Any

import numpy as np

from convc.artifact.manifest import CANDIDATES, check_files, read_manifest
from convc.runtime.arrays import dtype_named
from convc.targets.cuda.target import CudaTarget
from convc.targets.measurements import Record, TuningError
from convc.tuning.database import Database, Setting
from convc.tuning.findings import Finding, nothing_right
from convc.tuning.operands import Operand, in_memory, random_operands
from convc.tuning.results import Result, Sample
from convc.tuning.rows import Row

RECORDS = "records.json"


class Candidates:
    """A folder that `emit` wrote. Raises ArtifactError for what is none, or was altered."""

    def __init__(self, folder: Path, *, checked: bool = True) -> None:
        self.folder, self.manifest = folder, read_manifest(folder, CANDIDATES)
        if checked:
            check_files(folder, self.manifest, CANDIDATES)
        self.target = CudaTarget.from_dict(self.manifest["target"])
        self.kernels: list[dict[str, Any]] = self.manifest["kernels"]

    def operands(self, number: int) -> list[np.ndarray]:
        """The operands of a kernel, as they lie in memory. Raises TuningError where they are not those whose results
        are known."""
        kernel = self.kernels[number]
        operands = [Operand(**{**each, "shape": tuple(each["shape"])}) for each in kernel["operands"]]
        arrays = random_operands(operands, kernel["seed"])
        if digest_of(operands, arrays) != kernel["digest"]:
            raise TuningError(f"numpy {np.__version__} makes other random numbers than where {self.folder} was emitted")
        return [in_memory(array, operand.layout) for operand, array in zip(operands, arrays, strict=True)]

    def results(self, number: int) -> list[Result]:
        """What a kernel should compute."""
        kernel, found = self.kernels[number], []
        with np.load(self.folder / kernel["expected"], allow_pickle=False) as arrays:
            for i, each in enumerate(kernel["results"]):
                shape, places = tuple(each["shape"]), f"places{i}"
                sample = Sample(shape, arrays[places]) if places in arrays else None
                expected = arrays[f"expected{i}"].view(dtype_named(each["dtype"]))
                expected = expected if sample else expected.reshape(shape)
                found.append(Result(expected, each["layout"], each["tolerance"], sample))
        return found


def digest_of(operands: Sequence[Operand], arrays: Sequence[np.ndarray]) -> str:
    """What tells whether another machine has made the same operands."""
    digest = sha256()
    for operand, array in zip(operands, arrays, strict=True):
        digest.update(in_memory(array, operand.layout).data)
    return digest.hexdigest()


class Records:
    """What has been found of a folder's candidates on a GPU, in a file beside them that always holds all that is known.
    Raises TuningError for a file that is of something else."""

    def __init__(self, candidates: Candidates, target: CudaTarget | None = None) -> None:
        """Without a `target`, whichever GPU the records are of."""
        self.candidates, self._path = candidates, candidates.folder / RECORDS
        self._found: dict[tuple[int, int], dict[str, Any]] = {}
        digest = candidates.manifest["digest"]
        if not self._path.exists():
            if target is None:
                raise TuningError(f"{candidates.folder} was not measured: convc tune --measure it where its GPU is")
            self.target = target
            return
        try:
            data = json.loads(self._path.read_bytes())
            self.target, of = CudaTarget.from_dict(data["target"]), data["of"]
            self._found = {(each["kernel"], each["candidate"]): each for each in data["records"]}
        except (ValueError, KeyError, TypeError):
            raise TuningError(f"{self._path} holds no records: remove it, and measure again") from None
        if of != digest:
            raise TuningError(f"{self._path} is of other candidates: remove it, and measure again")
        if target is not None and target.identity() != self.target.identity():
            which = f"{self.target.processor}; this is {target.processor}"
            raise TuningError(f"{self._path} is of another GPU ({which}): remove it, and measure again")

    def add(self, kernel: int, finding: Finding) -> None:
        """Write down what became of a candidate."""
        facts = {"outcome": finding.outcome, "ns": finding.ns, "samples": finding.samples, "why": finding.why}
        entry = {"kernel": kernel, "candidate": finding.candidate, **facts, "at": time.time(), "machine": node()}
        self._found[kernel, finding.candidate] = entry
        of, target = self.candidates.manifest["digest"], self.target.to_dict()
        data = {"of": of, "target": target, "records": list(self._found.values())}
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(data, indent=1) + "\n")
        temporary.replace(self._path)

    def left(self, kernel: int) -> list[int]:
        """Which candidates of a kernel are to be measured: where any is, all that have not failed, since they are timed
        beside one another."""
        every = [i for i, each in enumerate(self.candidates.kernels[kernel]["candidates"]) if "refused" not in each]
        outcomes = {i: self._found[kernel, i]["outcome"] for i in every if (kernel, i) in self._found}
        return [i for i in every if outcomes.get(i, "ok") == "ok"] if len(outcomes) < len(every) else []

    def of_kernel(self, kernel: int) -> Iterator[tuple[Record, int, str]]:
        """What is known of each candidate of a kernel, refused ones included: with the rounds in which it was timed,
        and the machine."""
        for i, candidate in enumerate(self.candidates.kernels[kernel]["candidates"]):
            template, config = candidate["template"], candidate["config"]
            if "refused" in candidate:
                yield Record(template, config, "refused"), 0, ""
            elif found := self._found.get((kernel, i)):
                record = Record(template, config, found["outcome"], found["ns"], found["at"])
                yield record, found["samples"], found["machine"]

    def merge(self, database: Path) -> None:
        """Add all to a database. Raises TuningError for a file that is none."""
        manifest = self.candidates.manifest
        setting = Setting.of(self.target, 0, convc=manifest["convc"], tvm=manifest["tvm"])
        opened = Database.create(database)
        try:
            for kernel, described in enumerate(self.candidates.kernels):
                for found in self.of_kernel(kernel):
                    opened.add(described["text"], setting, *found)
        finally:
            opened.close()

    def choices(self) -> Iterator[tuple[str, Record]]:
        """The fastest candidate of each kernel, with its text."""
        for kernel, described in enumerate(self.candidates.kernels):
            if good := [record for record, _, _ in self.of_kernel(kernel) if record.outcome == "ok"]:
                yield described["text"], min(good, key=lambda record: record.ns)

    def failures(self) -> list[str]:
        """What to say of kernels of which no candidate is right."""
        outcomes = [[record.outcome for record, _, _ in self.of_kernel(i)] for i in range(len(self.candidates.kernels))]
        pairs = zip(self.candidates.kernels, outcomes, strict=True)
        return [nothing_right(kernel["name"], each) for kernel, each in pairs if "ok" not in each]

    def rows(self) -> list[Row]:
        """All kernels, those that take most of the time first; shares are of the time of all that were measured."""
        rows = [self.row(kernel) for kernel in range(len(self.candidates.kernels))]
        total = sum(row.share for row in rows) or 1.0
        return sorted((replace(row, share=row.share / total) for row in rows), key=lambda row: -row.share)

    def row(self, kernel: int) -> Row:
        described = self.candidates.kernels[kernel]
        known = [record for record, _, _ in self.of_kernel(kernel)]
        first = described["candidates"][0]
        good = sorted((record for record in known if record.outcome == "ok"), key=lambda record: record.ns)
        untuned = next((r.ns for r in good if (r.template, r.config) == (first["template"], first["config"])), None)
        best = good[0] if good else None
        return Row(
            name=described["name"],
            computes=described["computes"],
            count=described["count"],
            share=described["count"] * (untuned or (best.ns if best else 0.0)),
            untuned_us=untuned and untuned / 1e3,
            tuned_us=best.ns / 1e3 if best else None,
            ratio=best.ns / untuned if best and untuned else 1.0,
            template=best.template if best else first["template"],
            config=dict(best.config) if best else first["config"],
            candidates=len(known),
            failed=len(known) - len(good),
        )
