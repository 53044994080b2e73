"""The convc command: parses, runs one verb, and turns a user's mistake into one line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from convc import __version__
from convc.cli.arguments import UsageError

VERBS = ("build", "run", "bench", "verify", "tune", "inspect", "opt", "targets")
"""Each is a module with `HELP`, `EXAMPLE`, `add_arguments(parser)` and `execute(arguments) -> exit status`."""


class _Parser(argparse.ArgumentParser):
    """argparse, with its errors in convc's form."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"convc: error: {message} (see `{self.prog} --help`)\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(prog="convc", description="An ahead-of-time compiler for convolutional networks.")
    top.add_argument("--version", action="version", version=f"convc {__version__}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True, parser_class=_Parser)
    for name in VERBS:
        verb = import_module(f"convc.cli.{name}")
        inner = verbs.add_parser(
            name,
            help=verb.HELP,
            description=verb.HELP[0].upper() + verb.HELP[1:] + ".",
            epilog=f"example:\n  {verb.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.add_arguments(inner)
        inner.set_defaults(execute=verb.execute)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status. 0 success, 1 failure, 2 wrong usage, 130 interrupted."""
    try:  # from here on, since imports take time in which a user may think better of it
        arguments = parser().parse_args(argv)
        signal.signal(signal.SIGTERM, _terminate)
        status: int = arguments.execute(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("convc: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read stdout has what it wanted. What is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except UsageError as error:
        return _fail(error, 2)
    except Exception as error:
        if isinstance(error, _mistakes()):
            return _fail(error, 1)
        traceback.print_exc()
        print("convc: this is a bug in convc: please report it with the lines above", file=sys.stderr)
        return 70  # EX_SOFTWARE


def _terminate(signum: int, frame: object) -> NoReturn:
    sys.exit(128 + signum)  # unwinds, so that temporary files go


def _fail(error: Exception, status: int) -> int:
    message = str(error)
    if isinstance(error, OSError):
        message = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    elif isinstance(error, MemoryError):
        message = f"not enough memory: {message}" if message else "not enough memory"
    print(f"convc: error: {' '.join(message.split())}", file=sys.stderr)
    return status


_MISTAKES = {
    "convc.artifact.manifest": "ArtifactError",
    "convc.frontends.onnx.problem": "ImportProblem",
    "convc.runtime.arrays": "InputError",
    "convc.runtime.cuda.driver": "CudaError",
    "convc.targets.cpu.codegen": "CodegenError",
    "convc.targets.measurements": "TuningError",
    "convc.targets.target": "TargetError",
    "convc.targets.toolchain": "ToolchainError",
    "convc.verify.reference": "ReferenceFailure",
    "convc.verify.report": "VerificationError",
}


def _mistakes() -> tuple[type[Exception], ...]:
    """The exceptions that tell of the user's model, files or machine rather than of a bug. Only a module that was
    imported can have raised its own; where there is the run-time alone, most cannot be imported."""
    found = [getattr(sys.modules.get(module), name, None) for module, name in _MISTAKES.items()]
    return (MemoryError, OSError, *filter(None, found))
