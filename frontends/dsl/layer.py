"""What every layer is: a name, weights, and what it makes of its inputs' shapes and of their values."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import numpy as np

from convc.frontends.dsl.initial import Initializer, draw, next_generator
from convc.frontends.dsl.naming import auto_name
from convc.frontends.dsl.problem import ModelError
from convc.frontends.dsl.tensor import Node, Shape, SymbolicTensor, connect

if TYPE_CHECKING:
    from convc.frontends.dsl.emitter import Emitter, Value

Inputs: TypeAlias = SymbolicTensor | Sequence[SymbolicTensor]

_Item = TypeVar("_Item")

_AXES = {
    2: "(batch, features)",
    3: "(batch, steps, channels)",
    4: "(batch, height, width, channels)",
    5: "(batch, depth, height, width, channels)",
}


def _axes(rank: int, first: bool) -> str:
    if first and rank > 2:
        return _AXES[rank].replace(", channels", "").replace("batch", "batch, channels")
    return _AXES[rank]


class Weight:
    """A float32 array of a layer, drawn when it is first asked for: what is loaded from a file never is."""

    def __init__(
        self, layer: Layer, name: str, shape: Sequence[int], initializer: Initializer, trainable: bool
    ) -> None:
        self.name, self.shape, self.trainable = name, tuple(shape), trainable
        self._layer = layer
        self._draw, self._generator = draw(initializer), next_generator()
        self._value: np.ndarray | None = None

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)

    def numpy(self) -> np.ndarray:
        """The array itself, drawn now if it has no value yet."""
        if self._value is None:
            self.assign(self._draw(self.shape, self._generator()))
        assert self._value is not None
        return self._value

    def check(self, value: Any) -> None:
        """Raises ModelError if the shape is another."""
        if np.shape(value) != self.shape:
            raise self._layer.problem(f"expected weight '{self.name}' of shape {self.shape}, got {np.shape(value)}")

    def assign(self, value: Any) -> None:
        """Raises ModelError if the shape is another."""
        self.check(value)
        self._value = np.array(value, np.float32)


class Layer:
    """A layer. A subclass says what it adds in `build`, `compute_output_shape` and `emit`.

    `trainable` decides what `summary()` counts as trainable, nothing else. Regularizers and constraints, which only
    training uses, are taken and have no effect.
    """

    ranks: ClassVar[tuple[int, ...]] = ()
    """The ranks that inputs may have, the batch counted; empty: any."""
    merges: ClassVar[bool] = False
    """Whether it is called with a list of tensors."""
    counts: tuple[int, ...] = ()
    """How many tensors it is called with; empty: one, or any number if it merges."""
    stateless: ClassVar[bool] = False
    """Whether it counts as built before it is called. Keras says so of some layers without weights, not of all."""

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: str | None = None,
        input_shape: Sequence[int | None] | None = None,
        **options: Any,
    ) -> None:
        self.name = name or auto_name(self.class_name)
        self._trainable, self._built = trainable, False
        self._weights: list[Weight] = []
        self._nodes: list[Node] = []
        self._fixed: dict[int, int] = {}
        """Sizes of the input's axes that the weights were made for."""
        self._built_for: Shape = ()
        self._channels_first = False
        self.first_input_shape = None if input_shape is None else tuple(input_shape)
        """What a Sequential that starts with this layer takes."""
        unknown = [key for key in options if not key.endswith(("_regularizer", "_constraint"))]
        if unknown:
            raise self.problem(f"got the unknown argument {unknown[0]}={options[unknown[0]]!r}")
        if dtype not in (None, "float32"):
            raise self.problem(f"dtype: expected 'float32', which all layers compute in, got {dtype!r}")

    def set_data_format(self, data_format: str | None) -> None:
        """Which axis of inputs and outputs holds the channels. Inside, a layer sees and makes them channels last."""
        if data_format not in (None, "channels_last", "channels_first"):
            raise self.problem(f"data_format: expected 'channels_last' or 'channels_first', got {data_format!r}")
        self._channels_first = data_format == "channels_first"

    def _seen(self, shape: Shape) -> Shape:
        """A shape that is given, as the layer sees it."""
        return (shape[0], *shape[2:], shape[1]) if self._channels_first and len(shape) > 2 else shape

    def _shown(self, shape: Shape) -> Shape:
        """A shape that the layer makes, as it is given on."""
        return (shape[0], shape[-1], *shape[1:-1]) if self._channels_first and len(shape) > 2 else shape

    def forget(self) -> None:
        """Become a layer that was never called."""
        self._built, self._weights, self._nodes, self._fixed, self._built_for = False, [], [], {}, ()

    # What subclasses define

    def build(self, *shapes: Shape) -> None:
        """Make the weights for inputs of these shapes."""

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        """The output's shape; raises ModelError for inputs that do not fit."""
        return shapes[0]

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        """Append the ONNX nodes of one call."""
        raise NotImplementedError

    # Calls

    def __call__(self, inputs: Inputs) -> Any:
        """Connect the layer to one symbolic tensor, or to a list of them if it merges several."""
        tensors = self._given(inputs)
        shapes = [tensor.shape for tensor in tensors]
        self.ensure_built(shapes)
        node = connect(self, tensors, self.output_shapes(shapes), len(self._nodes))
        self._nodes.append(node)
        return node.outputs if len(node.outputs) > 1 else node.outputs[0]

    def ensure_built(self, shapes: Sequence[Shape]) -> None:
        """Check inputs of these shapes, and build if they are the first."""
        for shape in shapes:
            if self.ranks and len(shape) not in self.ranks:
                expected = " or ".join(_axes(rank, self._channels_first) for rank in self.ranks)
                raise self.problem(f"expected an input of shape {expected}, got {shape}")
        shapes = [self._seen(shape) for shape in shapes]
        if not self.built:
            self._built_for = shapes[0]
            self.build(*shapes)
            self._built = True
        for axis, size in self._fixed.items():
            if len(shapes[0]) != len(self._built_for) or shapes[0][axis] not in (size, None):
                raise self.problem(f"expected an input like {self._built_for}, for which it is built, got {shapes[0]}")

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shape of each output, for inputs of these shapes: a layer has one output, a model may have several."""
        return [self._shown(self.compute_output_shape(*map(self._seen, shapes)))]

    def emit_all(self, emitter: Emitter, inputs: Sequence[Value]) -> list[Value]:
        """Append the ONNX nodes of one call; the value of each output."""
        if not self._channels_first:
            return [self.emit(emitter, *inputs)]
        y = self.emit(emitter, *(emitter.moved_last(x) for x in inputs))
        return [emitter.moved_first(y)]

    def _given(self, inputs: Inputs) -> list[SymbolicTensor]:
        tensors = [inputs] if isinstance(inputs, SymbolicTensor) else inputs
        if not isinstance(tensors, list | tuple) or not all(isinstance(x, SymbolicTensor) for x in tensors):
            raise self.problem(
                f"expected symbolic tensors, as Input() and layers return, got {type(inputs).__name__}; "
                "convc.compile(model) makes a function of arrays"
            )
        if self.merges and (isinstance(inputs, SymbolicTensor) or not tensors):
            raise self.problem(f"expected a list of tensors to merge, got {inputs!r}")
        counts = self.counts or (() if self.merges else (1,))
        if counts and len(tensors) not in counts:
            number = " or ".join({1: "one", 2: "two"}.get(count, str(count)) for count in counts)
            expected = "one input" if counts == (1,) else f"{number} inputs"
            raise self.problem(f"expected {expected}, got {len(tensors)}")
        return list(tensors)

    # Weights

    def add_weight(
        self, name: str, shape: Sequence[int], initializer: Initializer, *, trainable: bool = True
    ) -> Weight:
        """A new weight; get_weights() returns them in the order in which they are added."""
        try:
            weight = Weight(self, name, shape, initializer, trainable)
        except ValueError as error:
            raise self.problem(f"{name}_initializer: {error}") from None
        self._weights.append(weight)
        return weight

    def fix(self, axis: int, what: str = "channels") -> int:
        """The size of the input's axis that weights depend on: later calls must have the same. Call it in build."""
        size = self._built_for[axis]
        if size is None:
            raise self.problem(
                f"expected an input whose number of {what} (axis {axis}) is known, got {self._built_for}"
            )
        self._fixed[axis] = size
        return size

    @property
    def built(self) -> bool:
        """Whether its weights exist."""
        return self._built or self.stateless

    @property
    def weights(self) -> list[Weight]:
        """Trainable and not, each once."""
        return list(self._weights)

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)

    @property
    def trainable_weights(self) -> list[Weight]:
        """Those that training would change: none if the layer is not trainable."""
        return [weight for weight in self._weights if weight.trainable] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Weight]:
        """All others."""
        trainable = {id(weight) for weight in self.trainable_weights}
        return [weight for weight in self.weights if id(weight) not in trainable]

    def count_params(self) -> int:
        """Numbers in all weights."""
        if not self.built:
            raise self.problem("expected a layer that is built before its parameters are counted: call it first")
        return sum(weight.size for weight in self.weights)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the arrays of all weights."""
        return [weight.numpy().copy() for weight in self.weights]

    def set_weights(self, arrays: Sequence[Any]) -> None:
        """Replace all arrays. Raises ModelError, and changes nothing, if their number or a shape is another."""
        weights = self.weights
        if len(arrays) != len(weights):
            raise self.problem(f"expected {len(weights)} arrays, got {len(arrays)}")
        for weight, array in zip(weights, arrays):
            weight.check(array)
        for weight, array in zip(weights, arrays):
            weight.assign(array)

    # Descriptions

    @property
    def class_name(self) -> str:
        """Keras's name of its class, as tables and errors show it."""
        return type(self).__name__

    @property
    def input(self) -> Any:
        """The tensor or tensors that it was called with."""
        return one(self._only_node().inputs)

    @property
    def output(self) -> Any:
        """The tensor or tensors that its call returned."""
        return one(self._only_node().outputs)

    def _only_node(self) -> Node:
        if len(self._nodes) != 1:
            raise self.problem(f"expected a layer that is called once, it is called {len(self._nodes)} times")
        return self._nodes[0]

    @property
    def nodes(self) -> list[Node]:
        """Its calls, in order."""
        return list(self._nodes)

    def problem(self, message: str) -> ModelError:
        """An error that names the layer."""
        return ModelError(f"layer '{self.name}' ({self.class_name}): {message}")

    def __repr__(self) -> str:
        return f"<{self.class_name} name={self.name}>"


def one(items: list[_Item]) -> _Item | list[_Item]:
    """The only item, or all of several."""
    return items[0] if len(items) == 1 else items
