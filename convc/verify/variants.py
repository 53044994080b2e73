"""All variants of an artifact beside onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from convc.verify.precision import PRECISIONS
from convc.verify.reference import Reference
from convc.verify.report import Report, verify

if TYPE_CHECKING:
    from convc.runtime import Executable


def verify_variants(
    executable: Executable,
    model: Path | onnx.ModelProto,
    *,
    samples: int,
    seed: int,
    on_sample: Callable[[int], None] = lambda seed: None,
) -> Iterator[Report]:
    """A report on each set of input shapes, as `verify` makes it; the model may compute more than the artifact. Raises
    ReferenceFailure."""
    precision = PRECISIONS[executable.manifest["precision"]]
    outputs = [name for name, *_ in executable.outputs]
    for signature in executable.signatures:
        reference = Reference(model, shapes={name: shape for name, shape, _ in signature}, outputs=outputs)
        yield verify(
            executable.run,
            reference,
            signature,
            samples=samples,
            seed=seed,
            precision=precision,
            nearby=partial(reference.nearby, unit=precision.unit),
            on_sample=on_sample,
        )
