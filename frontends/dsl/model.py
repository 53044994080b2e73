"""Models: graphs of layers with their weights, themselves layers of larger ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from convc.frontends.dsl.core import InputLayer
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.graph import Graph
from convc.frontends.dsl.layer import Inputs, Layer, Weight, one
from convc.frontends.dsl.naming import auto_name
from convc.frontends.dsl.problem import ModelError
from convc.frontends.dsl.tensor import Shape, SymbolicTensor

if TYPE_CHECKING:
    import onnx


class Model(Layer):
    """The layers between `inputs`, which come from Input(), and `outputs`: Keras's functional form.

    `to_onnx()` writes it, `convc.compile(model)` makes it run.
    """

    def __init__(self, inputs: Inputs, outputs: Inputs, name: str | None = None, **options: Any) -> None:
        super().__init__(name=name, **options)
        self._graph: Graph | None = self._connected(
            _tensors(self, "inputs", inputs), _tensors(self, "outputs", outputs)
        )

    def _connected(self, inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor]) -> Graph:
        if other := [tensor for tensor in inputs if not isinstance(tensor.layer, InputLayer)]:
            raise self.problem(f"inputs: expected tensors that Input() returns, got the output of {other[0].layer!r}")
        if len(set(inputs)) != len(inputs):
            raise self.problem(f"inputs: expected each once, got {', '.join(tensor.layer.name for tensor in inputs)}")
        try:
            graph = Graph(inputs, outputs)
        except ModelError as error:
            raise self.problem(str(error)) from None
        names = [layer.name for layer in graph.layers]
        if twice := [name for name in names if names.count(name) > 1]:
            raise self.problem(
                f"expected layers of different names, '{twice[0]}' is the name of {names.count(twice[0])}"
            )
        return graph

    @property
    def graph(self) -> Graph:
        """The calls of its layers. Raises ModelError before the input's shape is known."""
        if self._graph is None:
            raise self.problem("expected layers and a known input shape: begin with Input(shape), or call build(shape)")
        return self._graph

    @property
    def built(self) -> bool:
        return self._graph is not None

    # Parts

    @property
    def class_name(self) -> str:
        return "Functional"

    @property
    def layers(self) -> list[Layer]:
        """In Keras's order: from the inputs on, by depth."""
        return self.graph.layers

    def get_layer(self, name: str) -> Layer:
        """The layer of a name. Raises ModelError."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise self.problem(f"expected the name of one of its layers, got '{name}'")

    @property
    def inputs(self) -> list[SymbolicTensor]:
        """The tensors of its inputs, in the order in which they are given."""
        return list(self.graph.inputs)

    @property
    def outputs(self) -> list[SymbolicTensor]:
        """The tensors of its outputs, in the order in which they are returned."""
        return list(self.graph.outputs)

    @property
    def input(self) -> Any:
        return one(self.inputs)

    @property
    def output(self) -> Any:
        return one(self.outputs)

    @property
    def input_shape(self) -> Any:
        """The input's shape, a list of them if there are several; None is a size that is fixed when compiling."""
        return one([tensor.shape for tensor in self.inputs])

    @property
    def output_shape(self) -> Any:
        """The output's shape, a list of them if there are several."""
        return one([tensor.shape for tensor in self.outputs])

    @property
    def weights(self) -> list[Weight]:
        return _distinct(weight for layer in self.layers for weight in layer.weights)

    @property
    def trainable_weights(self) -> list[Weight]:
        return _distinct(w for layer in self.layers for w in layer.trainable_weights) if self.trainable else []

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self.layers:
            layer.trainable = value

    def summary(
        self,
        line_length: int | None = None,
        expand_nested: bool = False,
        print_fn: Callable[[str], object] | None = None,
    ) -> None:
        """Print Keras's table, or give it to `print_fn` as one text."""
        from convc.frontends.dsl.summary import print_summary

        print_summary(self, line_length, expand_nested, print_fn)

    # As a layer

    def _given(self, inputs: Inputs) -> list[SymbolicTensor]:
        tensors = _tensors(self, "inputs", inputs)
        if self._graph is not None and len(tensors) != len(self.inputs):
            raise self.problem(f"expected {len(self.inputs)} inputs, got {len(tensors)}")
        return tensors

    def ensure_built(self, shapes: Sequence[Shape]) -> None:
        for shape, tensor in zip(shapes, self.inputs, strict=True):
            fits = len(shape) == len(tensor.shape) and all(
                None in (size, own) or size == own for size, own in zip(shape[1:], tensor.shape[1:])
            )
            if not fits:
                raise self.problem(f"expected an input of shape {tensor.shape}, got {shape}")

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        found: dict[SymbolicTensor, Shape] = dict(zip(self.inputs, shapes, strict=True))
        for node in self.graph.nodes:
            if node.inputs:
                results = node.layer.output_shapes([found[tensor] for tensor in node.inputs])
                found.update(zip(node.outputs, results, strict=True))
        return [found[tensor] for tensor in self.outputs]

    def emit_all(self, emitter: Emitter, inputs: Sequence[Value]) -> list[Value]:
        return emitter.run(self.graph, inputs)

    # Out

    def to_onnx(self) -> onnx.ModelProto:
        """The model in ONNX, opset 17. Inputs and outputs are channels last and keep their layers' names; sizes that
        are None stay open, the batch under the name `batch`."""
        from convc.frontends.dsl.export import export

        return export(self)


class Sequential(Model):
    """One layer after the other. It is built when the input's shape is known: from an Input at its head or the first
    layer's `input_shape`, by `build`, or by calling it."""

    def __init__(
        self, layers: Sequence[Layer | SymbolicTensor] | None = None, trainable: bool = True, name: str | None = None
    ) -> None:
        Layer.__init__(self, name=name, trainable=trainable)
        self._stack: list[Layer] = []
        self._tensors: list[SymbolicTensor] = []
        """The output of each layer that is connected."""
        self._graph = None
        for layer in layers or ():
            self._append(layer)
        self._rebuild()

    @property
    def class_name(self) -> str:
        return "Sequential"

    @property
    def layers(self) -> list[Layer]:
        """Without the input."""
        return [layer for layer in self._stack if not isinstance(layer, InputLayer)]

    def add(self, layer: Layer | SymbolicTensor) -> None:
        """Put a layer on top."""
        self._append(layer)
        self._rebuild()

    def pop(self) -> Layer:
        """Take the last layer away."""
        layer = self._stack.pop()
        del self._tensors[len(self._stack) :]
        self._rebuild()
        return layer

    def build(self, *shapes: Shape) -> None:
        """Build for inputs of this shape, the batch counted."""
        self.ensure_built(shapes)

    def ensure_built(self, shapes: Sequence[Shape]) -> None:
        if self._graph is None and self._stack and not isinstance(self._stack[0], InputLayer):
            self._stack.insert(0, InputLayer(batch_shape=shapes[0]))
            self._rebuild()
        super().ensure_built(shapes)

    def _append(self, given: Layer | SymbolicTensor) -> None:
        layer = given.layer if isinstance(given, SymbolicTensor) else given
        if not isinstance(layer, Layer) or (given is not layer and not isinstance(layer, InputLayer)):
            raise self.problem(f"expected a layer or the result of Input(), got {given!r}")
        if any(layer.name == other.name for other in self._stack):
            raise self.problem(f"expected layers of different names, '{layer.name}' is there already")
        if not self._stack and layer.first_input_shape is not None:
            self._stack.append(InputLayer(layer.first_input_shape))
        elif self._stack and isinstance(layer, InputLayer):
            raise self.problem(f"expected an Input at the head only, got '{layer.name}' after '{self._stack[-1].name}'")
        self._stack.append(layer)

    def _rebuild(self) -> None:
        """Connect the layers, if the input's shape is known. A model at the head brings it along."""
        self._graph = None
        if len(self._stack) > 1 and isinstance(self._stack[0], Model) and self._stack[0]._graph is not None:
            self._stack.insert(0, InputLayer(batch_shape=self._stack[0].input_shape))
        if len(self._stack) > 1 and isinstance(self._stack[0], InputLayer):
            self._tensors = self._tensors or [self._stack[0].tensor]
            for layer in self._stack[len(self._tensors) :]:
                self._tensors.append(layer(self._tensors[-1]))
            self._graph = self._connected(self._tensors[:1], self._tensors[-1:])
            auto_name("Functional")  # Keras makes such a model here, whose name is then taken

    @property
    def weights(self) -> list[Weight]:
        return _distinct(weight for layer in self._stack for weight in layer.weights)


def _tensors(model: Layer, what: str, given: Inputs) -> list[SymbolicTensor]:
    tensors = [given] if isinstance(given, SymbolicTensor) else given
    if not isinstance(tensors, list | tuple) or not all(isinstance(x, SymbolicTensor) for x in tensors) or not tensors:
        raise model.problem(
            f"{what}: expected symbolic tensors, as Input() and layers return, got {type(given).__name__}; "
            "convc.compile(model) makes a function of arrays"
        )
    return list(tensors)


def _distinct(weights: Iterable[Weight]) -> list[Weight]:
    return list({id(weight): weight for weight in weights}.values())
