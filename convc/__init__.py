"""convc: an ahead-of-time compiler for convolutional networks.

    import convc
    exe = convc.compile("model.onnx", target="cpu")
    y = exe(x)
    exe.save("model.convc")
    exe = convc.load("model.convc")

`from convc import dsl` gives the layers to describe a network with.

Nothing heavy is imported until it is asked for (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convc.api import compile
    from convc.frontends import dsl
    from convc.runtime import ArtifactError, Executable, InputError, load
    from convc.verify import VerificationError

__version__ = "0.1.0"
__all__ = ["ArtifactError", "Executable", "InputError", "VerificationError", "__version__", "compile", "dsl", "load"]

_HOME = {
    "ArtifactError": "convc.runtime",
    "Executable": "convc.runtime",
    "InputError": "convc.runtime",
    "VerificationError": "convc.verify",
    "compile": "convc.api",
    "dsl": "convc.frontends.dsl",
    "load": "convc.runtime",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'convc' has no attribute '{name}'")
    home = import_module(_HOME[name])
    value = globals()[name] = home if name == "dsl" else getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
