"""Manifests that were edited, their digests made anew: what one says is refused in a line, or harmless."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convc.artifact.manifest import MANIFEST, ArtifactError
from convc.cli.main import main
from convc.runtime import load

HOSTILE: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    3,
    2**31,
    2**40,
    2**63,
    10**30,
    1.5,
    float("nan"),
    "",
    "x",
    "\ud800",
    "a\0b",
]
HOSTILE += ["../../x", "/dev/zero", "object", "float64", "cpu:no-such", [], [[]], [1], {}, {"a": 1}, ["input", 0, 0]]


@pytest.fixture
def forge(artifact: Path, tmp_path: Path) -> Callable[[Any], Path]:
    """The folder of an artifact with another manifest."""
    folder = tmp_path / "forged.convc"
    shutil.copytree(artifact, folder)

    def write(manifest: Any) -> Path:
        text = json.dumps({**manifest, "digest": "0" * 64}, indent=1)
        (folder / MANIFEST).write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest()))
        return folder

    return write


@pytest.fixture
def manifest(artifact: Path) -> dict[str, Any]:
    return json.loads((artifact / MANIFEST).read_text())


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a manifest with every key in it."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def edited(manifest: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A manifest in which something is another value, is gone, or is there twice."""
    copy = json.loads(json.dumps(manifest))
    container, key = rng.choice([place for place in places(copy) if place != (copy, "digest")])
    match rng.randrange(6):
        case 0:
            del container[key]
        case 1 if isinstance(container, list):
            container.append(container[key])
        case 2 if isinstance(container, dict):
            container[rng.choice(["", "x", "../x", "\ud800", "kind"])] = container.pop(key)
        case _:
            container[key] = rng.choice(HOSTILE)
    return copy


@pytest.mark.parametrize("seed", range(60))
def test_an_edited_manifest_is_refused_in_a_line_or_harmless(
    seed: int,
    manifest: dict[str, Any],
    forge: Callable[[Any], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = random.Random(seed)
    for _ in range(5):
        folder = str(forge(edited(manifest, rng)))
        for arguments in (["inspect", folder], ["inspect", folder, "--json"], ["run", folder, "--random", "0"]):
            status = main(arguments)
            error = capsys.readouterr().err
            assert status in (0, 1)
            if status:
                assert error.startswith("convc: error: ")
                assert error.count("\n") == 1
        try:
            exe = load(folder)
        except ArtifactError:
            continue
        exe.profile({name: np.zeros(shape, dtype) for name, shape, dtype in exe.inputs})


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.pop("threads"), "expected manifest.threads, there is none: build it again"),
        (lambda m: m.update(threads=0), "expected a whole number of at least 1 for manifest.threads, got 0"),
        (lambda m: m.update(variants=[]), r"expected a list of at least 1 for manifest.variants, got \[\]"),
        (lambda m: m["files"].update({"../other": ""}), "expected the name of a file in the folder for a name in"),
        (lambda m: m["variants"][0].update(arena_bytes=1 << 50), "its code and its manifest disagree on variant 0"),
        (lambda m: m["variants"][0].update(arena_bytes=64), "its code and its manifest disagree on variant 0"),
        (lambda m: m["variants"][0]["steps"].pop(), "its code and its manifest disagree on variant 0"),
        (lambda m: m["variants"][0]["inputs"][0]["shape"].append(0), "its code and its manifest disagree on variant 0"),
        (lambda m: m["variants"].append(m["variants"][0]), "its code says nothing of variant 1: build it again"),
        (lambda m: m.update(weight_bytes=1 << 50), "should hold 1125899906842624 bytes of weights, its size says"),
    ],
)
def test_what_the_message_says(
    edit: Callable[[Any], Any], message: str, manifest: dict[str, Any], forge: Callable[[Any], Path]
) -> None:
    edit(manifest)
    with pytest.raises(ArtifactError, match=message):
        load(forge(manifest))


def test_a_manifest_nested_deeper_than_python_reads_is_refused(forge: Callable[[Any], Path], artifact: Path) -> None:
    folder = forge({})
    (folder / MANIFEST).write_text("[" * 100_000)
    with pytest.raises(ArtifactError, match="is no manifest of an artifact, or was altered"):
        load(folder)
