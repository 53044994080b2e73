"""What a model costs beside time: how long an engine takes to prepare it, memory to run it, bytes on disk."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convc.verify.ncnn import PARAM, WEIGHTS, convert
from convc.verify.reference import ReferenceFailure


class Unusable(Exception):
    """An engine that cannot run a model; the message is one line."""


def footprint(engine: str, model: Path, artifact: Path) -> dict[str, Any]:
    """`compile_s` before an engine can load what it runs (0 where it reads the model itself), `load_s`, `peak_bytes` of
    a process that loads it and runs it once, `disk_bytes`. Raises Unusable."""
    manifest = json.loads((artifact / "manifest.json").read_text())
    inputs = [[each["name"], each["shape"], each["dtype"]] for each in manifest["variants"][0]["inputs"]]
    with tempfile.TemporaryDirectory() as folder:
        path, files, seconds = model, [model], 0.0
        if engine == "convc":
            path, files = artifact, list(artifact.iterdir())
        elif engine == "ncnn":
            begin = time.perf_counter()
            try:
                convert(model, {name: tuple(shape) for name, shape, _ in inputs}, Path(folder))
            except ReferenceFailure as failure:
                raise Unusable(str(failure)) from None
            path, seconds = Path(folder), time.perf_counter() - begin
            files = [path / PARAM, path / WEIGHTS]
        loaded = _once(engine, path, inputs)
        disk = sum(file.stat().st_size for file in files)
    return {"compile_s": seconds, **loaded, "disk_bytes": disk}


def _once(engine: str, path: Path, inputs: Sequence[Any]) -> dict[str, Any]:
    script = Path(__file__).with_name("once.py")
    command = [sys.executable, str(script), engine, str(path), json.dumps(inputs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"{engine} ended with status {done.returncode}"]
        raise Unusable(said[-1].partition("ReferenceFailure: ")[2] or said[-1])
    return json.loads(done.stdout)
