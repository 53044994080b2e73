"""Samples in `filecheck/*.mlir`, one a rule: before, and checks of what is there after.

A file's first line says which passes run. Parts are separated by `// -----`, and each begins with its title. Weights
are random, but for some names: @zero, @one and @two hold that number everywhere, @var what a variance may be. Besides
the checks, the passes must not change what a part computes.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from filecheck.matcher import Matcher
from filecheck.options import DumpInputKind, Options

from convc.ir.attributes import element_type, shape_of
from convc.ir.data import WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.dtypes import to_numpy
from convc.ir.text import parse, to_text

FOLDER = Path(__file__).parent / "filecheck"
SPECIAL = {"zero": 0, "one": 1, "two": 2}
TOLERANCES = {
    "canonicalise-constants": 1e-5,
    "choose-gpu-algorithms": 1e-6,
    "fold-batch-norm": 1e-5,
    "fold-conv-scale": 1e-5,
    "narrow": 2e-3,
}
"""Where weights are rounded to single precision anew, or values to half precision; 1e-9 elsewhere."""


def samples() -> list[object]:
    found: list[object] = []
    for path in sorted(FOLDER.glob("*.mlir")):
        first, _, text = path.read_text().partition("\n")
        passes = re.fullmatch(r"// RUN: convc opt %s -p '?([^|']+?)'? \| filecheck %s", first)
        assert passes, f"{path}: expected a line // RUN: convc opt %s -p PASSES | filecheck %s, got {first}"
        for part in text.split("// -----\n"):
            title = next(line for line in part.splitlines() if line.startswith("// ")).removeprefix("// ")
            found.append(pytest.param(passes[1], part, TOLERANCES.get(path.stem, 1e-9), id=f"{path.stem}: {title}"))
    return found


@pytest.mark.parametrize(("passes", "text", "tolerance"), samples())
def test_sample(passes, text, tolerance, apply, tmp_path, capsys):
    context, rng = CompilerContext(), np.random.default_rng(1)
    module = parse(text, context)
    for op in module.walk():
        if isinstance(op, WeightOp) and op.key not in context.weights:
            shape = shape_of(op.result)
            array = rng.uniform(0.5, 2, shape) if op.key == "var" else rng.standard_normal(shape)
            array = np.full(shape, SPECIAL[op.key]) if op.key in SPECIAL else array
            assert context.weights.add(array.astype(to_numpy(element_type(op.result))), op.key) == op.key
    apply(passes, module, context, tolerance)
    checks, result = tmp_path / "checks", tmp_path / "result"
    checks.write_text(text)
    result.write_text(to_text(module))
    options = Options(str(checks), str(result), dump_input=DumpInputKind.FAIL)
    assert Matcher.from_opts(options).run() == 0, capsys.readouterr().err + to_text(module)
