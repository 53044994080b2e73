"""convc opt."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from convc.cli.arguments import UsageError

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp
    from xdsl.passes import PassPipeline

    from convc.ir.dialect import CompilerContext

HELP = "run passes on a module in text form"
EXAMPLE = "convc opt dump/00-import.mlir -p canonicalise,fuse"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE.mlir", help="a module, as --dump-ir writes it")
    parser.add_argument("-p", "--passes", required=True, metavar="PASS,PASS", help="`-p list` names the passes")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="its weights (default FILE.safetensors, if it exists)"
    )
    parser.add_argument("--save-weights", type=Path, metavar="FILE", help="write the weights of the result")


def execute(arguments: argparse.Namespace) -> int:
    from convc.passes.registry import PASSES

    if arguments.passes == "list":
        for name, find in PASSES.items():
            title = (sys.modules[find().__module__].__doc__ or "").strip().split("\n", 1)[0]
            print(f"{name:<22} {title}")
        return 0
    if arguments.file is None:
        raise UsageError("expected a FILE.mlir to run the passes on")
    if arguments.save_weights and not arguments.save_weights.absolute().parent.is_dir():
        raise UsageError(f"--save-weights: {arguments.save_weights.parent} is no folder")
    for option, path in (("--weights", arguments.weights), ("--save-weights", arguments.save_weights)):
        if path and path.is_dir():
            raise UsageError(f"{option}: expected a file, {path} is a folder")
    module, context = _read(arguments.file, arguments.weights)
    passes = _pipeline(arguments.passes)
    _apply(passes, module, context)
    from convc.ir.text import to_text

    print(to_text(module))
    if arguments.save_weights:
        context.weights.save(arguments.save_weights)
    return 0


def _read(path: Path, weights: Path | None) -> tuple[ModuleOp, CompilerContext]:
    from safetensors import SafetensorError
    from xdsl.utils.exceptions import ParseError, VerifyException

    from convc.ir.dialect import CompilerContext
    from convc.ir.text import main_function, parse
    from convc.ir.weights import WeightStore

    context = CompilerContext()
    if path.is_dir():
        raise UsageError(f"expected a FILE.mlir, {path} is a folder")
    beside = path.with_suffix(".safetensors")
    if weights is not None or beside.exists():
        try:
            context.weights = WeightStore.load(weights or beside)
        except SafetensorError as error:
            raise UsageError(f"{weights or beside} is no safetensors file: {error}") from None
    try:
        module = parse(path.read_text(), context, str(path))
        main_function(module)
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text") from None
    except (ParseError, VerifyException) as error:
        raise UsageError(f"{path}: {_where(error)}") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    return module, context


def _where(error: Exception) -> str:
    """The message of a parse error with its line and column, on one line."""
    span = getattr(error, "span", None)
    if span is None:
        return str(error)
    line = span.input.content.count("\n", 0, span.start) + 1
    column = span.start - (span.input.content.rfind("\n", 0, span.start) + 1) + 1
    return f"{line}:{column}: {error.args[-1] if error.args else error}"


def _pipeline(text: str) -> PassPipeline:
    from xdsl.utils.exceptions import ArgSpecParseError

    from convc.passes.registry import pipeline

    try:
        return pipeline(text)
    except ArgSpecParseError:  # a BaseException, with a drawing of the text
        raise UsageError(f"--passes: expected PASS,PASS{{option=value}}, got '{text}'") from None
    except ValueError as error:
        raise UsageError(f"--passes: {error}; `convc opt -p list` names the passes") from None


def _apply(passes: PassPipeline, module: ModuleOp, context: CompilerContext) -> None:
    from convc.passes.options import OrderError

    try:
        passes.apply(context, module)
    except OrderError as error:
        raise UsageError(f"--passes: {error}") from None
    except KeyError as error:
        raise UsageError(f"{error.args[0]}: give the weights with --weights FILE") from None
    module.verify()
