"""From an ONNX graph to a module of the convc dialect.

The nodes that the outputs need are taken in order. A value is either known now (an array) or an SSA value of static
shape. A node whose inputs are all known is evaluated with onnx's reference implementation, and so is `Shape` of
anything: exporters' shape arithmetic never reaches the IR. Model-local functions, the branches of an `If` and
operators that the standard defines by others are converted where they are called, in a scope of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from xdsl.dialects.builtin import ArrayAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.utils.exceptions import VerifyException

from convc.frontends.onnx import (  # noqa: F401 - importing a family registers its converters
    activation,
    arithmetic,
    convolution,
    einsum,
    gathering,
    generating,
    integers,
    microsoft,
    movement,
    normalisation,
    pooling,
    products,
    quantisation,
    quantised,
    recurrent,
    reduction,
    regions,
    resize,
    sampling,
    scattering,
    slicing,
)
from convc.frontends.onnx.calls import called, local_functions
from convc.frontends.onnx.ends import ends_before_refused
from convc.frontends.onnx.folding import Evaluator, evaluates
from convc.frontends.onnx.inputs import MAX_ELEMENTS, input_types
from convc.frontends.onnx.loading import check, load, opsets
from convc.frontends.onnx.precision import in_single_precision, note
from convc.frontends.onnx.problem import ImportProblem
from convc.frontends.onnx.refusals import SHOWN, Refusals
from convc.frontends.onnx.registry import MustBeKnown, Node, Value, find_converter, static_dtype, static_shape
from convc.frontends.onnx.schemas import check_node, check_types, function_body, has_function_body
from convc.frontends.onnx.scope import Known, Refused, Scope, refused
from convc.frontends.onnx.sizes import Sizes, contradicted, declared_as
from convc.frontends.onnx.tensors import Initializers
from convc.ir.attributes import element_type, tensor
from convc.ir.data import ConstantOp, WeightOp
from convc.ir.dialect import CompilerContext
from convc.ir.dtypes import from_numpy, to_numpy
from convc.ir.signature import INPUT_NAMES, OUTPUT_NAMES
from convc.notation import shape_text


def import_model(
    model: str | Path | onnx.ModelProto,
    context: CompilerContext,
    shapes: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
) -> ModuleOp:
    """The module of an ONNX model, its weights put into the context's store.

    `shapes` gives inputs their shapes where the model leaves them symbolic, or others than it declares where its graph
    allows them. `constants` are inputs whose values are known now: they leave the signature. Raises ImportProblem.
    """
    folder = None
    if isinstance(model, onnx.ModelProto):
        check(model, "the model")
        name = model.graph.name or "model"
    else:
        path = Path(model)
        folder, name = path.parent, path.stem
        model = load(path)
    context.notes += note(model)
    single = in_single_precision(model, folder)
    return Importer(single, context, folder).module(name, shapes or {}, constants or {})


Shapes: TypeAlias = Mapping[str, Sequence[int]]


class Importer:
    """One import: the block that operations are appended to, and what could not be imported so far."""

    def __init__(self, model: onnx.ModelProto, context: CompilerContext, folder: Path | None) -> None:
        self._model = model
        self._functions = local_functions(model)
        self._context = context
        self._folder = folder
        self._evaluator = Evaluator(folder)
        self._refusals = Refusals()
        self._block = Block()
        self._sizes: Sizes | None = None
        self.scope: Scope | None = None
        """The values of the graph, once its inputs have shapes; also of one that cannot be imported as a whole."""
        self.filling = 0
        """Multiply-accumulates of the module that are none of the model's, but fill blocks."""
        self._materialised: dict[int, tuple[np.ndarray, SSAValue]] = {}
        self._names: dict[int, tuple[np.ndarray, str]] = {}

    def module(self, name: str, shapes: Shapes, constants: Mapping[str, np.ndarray]) -> ModuleOp:
        """The module, called `name`. Raises ImportProblem."""
        given = {**shapes, **{name: np.shape(array) for name, array in constants.items()}}
        declared = contradicted(self._model, given)
        if declared:
            # What its sizes were is known of the model as it is declared, whether or not all of it can be imported.
            before = Importer(self._model, CompilerContext(), self._folder)
            others = {name: array for name, array in constants.items() if name not in declared}
            self._sizes = Sizes(before._imported({**shapes, **declared}, others)[0])
        try:
            return self._module(name, shapes, constants)
        except ImportProblem as error:
            for input_, shape in declared.items():
                said = f"input '{input_}' is declared as {shape_text(shape)}"
                said += f", the graph does not take {shape_text(given[input_])}"
                raise ImportProblem(f"{said}: {error}", error.inputs) from error.__cause__
            raise

    def sizes(self, shapes: Shapes) -> dict[str, list[int]]:
        """The sizes that nodes have at other input shapes than those declared, by output. Raises ImportProblem."""
        self.module("model", shapes, {})
        return self._sizes.changed if self._sizes else {}

    def _imported(self, shapes: Shapes, constants: Mapping[str, np.ndarray]) -> tuple[Scope, list[str]]:
        """The scope of the whole graph, and the names of its inputs; what could not be imported is in `_refusals`."""
        scope = self._scope(self._model.graph, opsets(self._model))
        inputs = self._bind_inputs(scope, shapes, constants)
        self.scope = scope
        self._convert(scope)
        return scope, inputs

    def _module(self, name: str, shapes: Shapes, constants: Mapping[str, np.ndarray]) -> ModuleOp:
        scope, inputs = self._imported(shapes, constants)
        if self._refusals:
            self._refusals.raise_all(inputs, ends_before_refused(scope, SHOWN))
        outputs = list(dict.fromkeys(output.name for output in self._model.graph.output))
        results = [self._output(name, scope) for name in outputs]
        self._block.add_op(ReturnOp(*results))
        types = ([argument.type for argument in self._block.args], [result.type for result in results])
        function = FuncOp("main", types, Region([self._block]))
        function.attributes[INPUT_NAMES] = ArrayAttr([StringAttr(input_) for input_ in inputs])
        function.attributes[OUTPUT_NAMES] = ArrayAttr([StringAttr(output) for output in outputs])
        return ModuleOp([function], sym_name=StringAttr(name))

    def _output(self, name: str, scope: Scope) -> SSAValue:
        try:
            value = self._known(name, scope)
        except ValueError as error:
            raise ImportProblem(f"an output of the graph {error}") from None
        if not isinstance(value, SSAValue | np.ndarray):  # a function returns an input that its call leaves out
            raise ImportProblem(f"expected a value for every output of the graph, '{name}' has none")
        try:
            return self.materialise(value, name)
        except ValueError as error:
            raise ImportProblem(f"output '{name}': {error}") from None

    def _bind_inputs(self, scope: Scope, shapes: Shapes, constants: Mapping[str, np.ndarray]) -> list[str]:
        """Make arguments of the inputs; the names of those that the signature keeps."""
        # Up to IR version 3 weights are listed among the inputs; later, a listed weight is a default, which is taken.
        values = [value for value in self._model.graph.input if value.name not in scope.initializers]
        shapes = {**shapes, **{name: np.shape(array) for name, array in constants.items()}}
        if self._sizes:
            declared = contradicted(self._model, shapes)
            values = [declared_as(v, shapes[v.name]) if v.name in declared else v for v in values]
        for name, type_ in input_types(values, shapes, scope.initializers).items():
            if name in constants:
                expected, array = to_numpy(element_type(type_)), np.asarray(constants[name])
                if array.dtype != expected:
                    raise ImportProblem(f"expected {expected} for the constant input '{name}', got {array.dtype}")
                scope.values[name] = array
            else:
                argument = self._block.insert_arg(type_, len(self._block.args))
                argument.name_hint = _hint(name)
                scope.values[name] = _simplest(argument)
        return [value.name for value in values if value.name not in constants]

    # Scopes

    def _scope(self, graph: onnx.GraphProto, versions: Mapping[str, int], outer: Scope | None = None) -> Scope:
        return Scope(
            nodes=graph.node,
            opsets=versions,
            initializers=Initializers({tensor.name: tensor for tensor in graph.initializer}, self._folder),
            outputs=[output.name for output in graph.output],
            attributes=outer.attributes if outer else None,
            outer=outer,
        )

    def _branch(self, node: onnx.NodeProto, condition: Known, scope: Scope) -> list[Known] | None:
        """The outputs of the branch that an `If` takes; its nodes become part of the graph."""
        if isinstance(condition, Refused):
            return None
        if condition is None:
            raise ValueError("expected a condition, it has none")
        if not isinstance(condition, np.ndarray) or condition.size != 1:
            raise MustBeKnown("expected a constant condition, it is computed at run time", condition)
        name = "then_branch" if condition.reshape(())[()] else "else_branch"
        graph = next(attribute.g for attribute in node.attribute if attribute.name == name)
        inner = self._scope(graph, scope.opsets, scope)
        self._convert(inner)
        return [self._known(output.name, inner) for output in graph.output]

    def _call(
        self, function: onnx.FunctionProto, node: onnx.NodeProto, inputs: Sequence[Known], scope: Scope
    ) -> list[Known]:
        """The outputs of a function, its body converted in place of the call."""
        if len(inputs) > len(function.input) or len(node.output) > len(function.output):
            takes = f"{len(function.input)} inputs and {len(function.output)} outputs"
            raise ValueError(f"its function has {takes}, it has {len(inputs)} and {len(node.output)}")
        inner = Scope(
            nodes=function.node,
            opsets={**scope.opsets, **{domain: version for domain, version in opsets(function).items() if version}},
            initializers=Initializers({}, None),
            outputs=function.output,
            attributes={attribute.name: attribute for attribute in (*function.attribute_proto, *node.attribute)},
            values=dict(zip_longest(function.input, inputs)),
        )
        self._convert(inner)
        return [self._known(name, inner) if wanted else None for wanted, name in zip(node.output, function.output)]

    # Nodes

    def _convert(self, scope: Scope) -> None:
        for proto in scope.live:
            node = scope.bound(proto)
            try:
                inputs = [self._known(name, scope) if name else None for name in node.input]
            except (ImportProblem, ValueError) as error:
                self._refusals.refuse(node, error)
                inputs = [Refused.COMPUTED]
            results = self._results(node, inputs, scope)
            if results is None:
                results = [refused(node, inputs)] * len(node.output)
            self._define(node, results, scope)

    def _results(self, node: onnx.NodeProto, inputs: Sequence[Known], scope: Scope) -> Sequence[Known] | None:
        """The values of a node's outputs; None where it cannot be imported, which is noted."""
        try:
            if function := self._functions.get(called(node)):
                return self._call(function, node, inputs, scope)
            opset = scope.opsets.get("" if node.domain == "ai.onnx" else node.domain, 0)
            branches = node.op_type == "If" and node.domain in ("", "ai.onnx")
            converter = find_converter(node.domain, node.op_type)
            if branches or converter or evaluates(node) or has_function_body(node, opset):
                check_node(node, opset)
                if self._sizes and scope.outer is None and scope.attributes is None:
                    inputs = self._sizes.fitted(node, inputs, scope)
                return self._branch(node, inputs[0], scope) if branches else self._operator(node, inputs, opset, scope)
            self._refusals.unsupported(node)
        except Exception as error:  # a malformed node may trip its converter anywhere
            self._refusals.refuse(node, error)
        return None

    def _operator(
        self, node: onnx.NodeProto, inputs: Sequence[Known], opset: int, scope: Scope
    ) -> Sequence[Known] | None:
        converter = find_converter(node.domain, node.op_type)
        values = [value for value in inputs if not isinstance(value, Refused)]
        if len(values) < len(inputs):
            # Whether the reference could have evaluated it depends on what was refused: in doubt, it could not.
            static = evaluates(node) and refused(node, inputs) is Refused.STATIC
            if not (converter or static or has_function_body(node, opset)):
                self._refusals.unsupported(node)
            return None
        check_types(node, values, opset)
        if (folded := self._evaluator.fold(node, values, opset)) is not None:
            return folded
        if converter:
            wanted = [name in scope.used for name in node.output]
            converted = converter(Node(node, values, opset, wanted, self))
            results = [converted] if isinstance(converted, SSAValue | np.ndarray) else list(converted)
            if len(results) < len(wanted) and any(wanted[len(results) :]):
                name = node.output[wanted.index(True, len(results))]
                raise ValueError(f"its output '{name}' is used, which convc does not compute")
            return results
        if body := function_body(node, values, opset):
            return self._call(body, node, inputs, scope)
        self._refusals.unsupported(node)
        return None

    def _define(self, node: onnx.NodeProto, results: Sequence[Known], scope: Scope) -> None:
        for name, value in zip(node.output, results):
            if not name:
                continue
            if scope.defines(name):
                self._refusals.refuse(node, ValueError(f"defines '{name}', which is defined already"))
                continue
            if isinstance(value, SSAValue | np.ndarray):
                value = self._named(node, name, value)
            scope.values[name] = value

    def _named(self, node: onnx.NodeProto, name: str, value: Value) -> Value | Refused:
        """A value with its name for weights and the text form; refused where it is too large to index."""
        size = prod(max(size, 1) for size in static_shape(value))
        if size > MAX_ELEMENTS:
            reason = f"expected at most {MAX_ELEMENTS} elements, its result '{name}' has {size}"
            self._refusals.refuse(node, ValueError(reason))
            return Refused.COMPUTED
        value = _simplest(value)
        if isinstance(value, np.ndarray):
            self._names.setdefault(id(value), (value, name))
        else:
            value.name_hint = value.name_hint or _hint(name)
        return value

    def _known(self, name: str, scope: Scope) -> Known:
        """What a name stands for. Raises ValueError where it is not defined, ImportProblem for a faulty weight."""
        value = scope.find(name)
        if isinstance(value, np.ndarray) and id(value) not in self._names:  # an initializer, seen first
            self._names[id(value)] = (value, name)
            self._evaluator.credit(value)
        return value

    # What converters use

    def append(self, op: Operation) -> SSAValue:
        """Append an operation that fits its operands; its first result. Raises ValueError."""
        try:
            op.verify()
        except VerifyException as error:
            raise ValueError(str(error)) from None
        self._block.add_op(op)
        return op.results[0]

    def materialise(self, value: Value, hint: str) -> SSAValue:
        """An SSA value for a value: known arrays become splat constants (one element, perhaps repeated) or weights."""
        if isinstance(value, SSAValue):
            return value
        if id(value) in self._materialised:
            return self._materialised[id(value)][1]
        type_ = tensor(from_numpy(value.dtype), value.shape)
        splat = value.size == 1 or (value.size and not any(value.strides))
        if splat and (value.dtype.kind in "fbV" or abs(int(value.flat[0])) <= 2**53):
            result = self.append(ConstantOp(float(value.flat[0]), type_))
        else:
            name = self._context.weights.add(value, self._names.get(id(value), (value, hint))[1])
            result = self.append(WeightOp(name, type_))
        self._materialised[id(value)] = (value, result)  # the array is kept so that its id stays its own
        return result


def _simplest(value: Value) -> Value:
    """A tensor without elements is known, whatever computes it."""
    shape = static_shape(value)
    return value if prod(shape) else np.empty(shape, static_dtype(value))


def _hint(name: str) -> str:
    """An ONNX name as an MLIR value name."""
    text = "".join(c if (c.isalnum() and c.isascii()) or c in "_$." else "_" for c in name)
    return text if text[:1].isalpha() else f"v_{text}"
