"""Manifests: what a folder that convc wrote holds, with a digest of every file and of the manifest itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convc.artifact.schema import check_artifact

FORMAT = 4
MANIFEST, WEIGHTS = "manifest.json", "weights.safetensors"
KERNELS = {"cpu": "kernels.so", "cuda": "kernels.cubin"}
"""The file of machine code, by kind of target."""
SOURCE = "kernels.cu"
"""The CUDA C++ that kernels.cubin was made of."""

_MAX_BYTES = 64 << 20
_KEY = b'"digest": "'
_BLANK = b"0" * 64


class ArtifactError(Exception):
    """A folder that is no artifact, was altered, or cannot run here; the message is one line for the user."""


@dataclass(frozen=True)
class Kind:
    """A sort of folder: what it is called, the file of its manifest and the format of that, how to make it, and what
    raises ValueError for what its manifest may not say."""

    name: str
    manifest: str
    format: int
    remedy: str
    check: Callable[[Any], None]

    @property
    def indefinite(self) -> str:
        """The name with its article."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"


ARTIFACT = Kind("artifact", MANIFEST, FORMAT, "build it again", check_artifact)
CANDIDATES = Kind("set of candidates", "candidates.json", 1, "emit it again", lambda manifest: None)
"""What `convc tune --emit-candidates` writes."""


def write_manifest(folder: Path, manifest: Mapping[str, Any], kind: Kind = ARTIFACT) -> None:
    """Write a folder's manifest, with a digest of each of the files that are there."""
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.name != kind.manifest}
    text = json.dumps({**manifest, "files": files, "digest": _BLANK.decode()}, indent=1).encode() + b"\n"
    digest = hashlib.sha256(text).hexdigest().encode()
    (folder / kind.manifest).write_bytes(text.replace(_KEY + _BLANK, _KEY + digest))


def read_manifest(folder: Path, kind: Kind = ARTIFACT) -> dict[str, Any]:
    """The manifest of a folder, itself intact (the other files are not looked at). Raises ArtifactError."""
    path = folder / kind.manifest
    try:
        if not folder.is_dir():
            problem = "is a file" if folder.exists() else "does not exist"
            raise ArtifactError(f"expected the folder of {kind.indefinite}, {folder} {problem}")
        if path.stat().st_size > _MAX_BYTES:
            raise ArtifactError(f"{path} is larger than any manifest")
        text = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{folder} is no {kind.name}: {kind.manifest}: {error.strerror}") from None
    try:
        manifest = json.loads(text)
        found = manifest["format"]
        digest = manifest["digest"].encode()
        json.dumps(manifest, ensure_ascii=False).encode()  # halves of surrogate pairs, which nothing can print
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ArtifactError(f"{path} is no manifest of {kind.indefinite}, or was altered") from None
    if found != kind.format:
        has = f"{folder} has the {kind.name}'s format {found}"
        raise ArtifactError(f"{has}, this convc reads {kind.format}: {kind.remedy}")
    if hashlib.sha256(text.replace(_KEY + digest, _KEY + _BLANK)).hexdigest().encode() != digest:
        raise ArtifactError(f"{path} was altered since it was made: {kind.remedy}")
    try:  # a digest is no signature: whoever edits a manifest can make it anew
        kind.check(manifest)
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}: {kind.remedy}") from None
    return manifest


def check_files(folder: Path, manifest: Mapping[str, Any], kind: Kind = ARTIFACT) -> None:
    """Raises ArtifactError unless every file is what was made."""
    for name, digest in manifest["files"].items():
        try:
            found = file_digest(folder / name)
        except OSError as error:
            raise ArtifactError(f"cannot read {folder / name}: {error.strerror}") from None
        if found != digest:
            raise ArtifactError(f"{folder / name} was altered since it was made: {kind.remedy}")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
