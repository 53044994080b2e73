"""Layers around layers: both directions of a recurrent one, and one layer for every step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from convc.frontends.dsl.arguments import one_of
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.layer import Inputs, Layer, Weight
from convc.frontends.dsl.recurrent import Recurrent, with_states
from convc.frontends.dsl.tensor import Shape


class Wrapper(Layer):
    """A layer whose weights are those of others."""

    @property
    def parts(self) -> dict[str, Layer]:
        """The layers inside, by the names of the attributes that hold them."""
        raise NotImplementedError

    @property
    def weights(self) -> list[Weight]:
        return [weight for part in self.parts.values() for weight in part.weights]

    @property
    def trainable_weights(self) -> list[Weight]:
        return [w for part in self.parts.values() for w in part.trainable_weights] if self.trainable else []

    @property
    def trainable(self) -> bool:
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for part in self.parts.values():
            part.trainable = value


class Bidirectional(Wrapper):
    """A recurrent layer and one that takes the steps the other way; their outputs side by side, by default.

    `merge_mode`: "concat", "sum", "mul", "ave", or None for two outputs. `return_state` adds the states of both."""

    def __init__(
        self,
        layer: Layer,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Layer | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.merge_mode = None if merge_mode is None else one_of(self, "merge_mode", merge_mode, list(_MERGES))
        if weights is not None:
            raise self.problem("weights: expected None, got arrays: set_weights takes them")
        layer = self._recurrent("layer", layer)
        self.forward_layer = _copied(layer, "forward_", layer.go_backwards)
        self.backward_layer = (
            _copied(layer, "backward_", True)
            if backward_layer is None
            else self._recurrent("backward_layer", backward_layer)
        )
        self.counts = (1, 1 + self.forward_layer.states + self.backward_layer.states)
        ahead, back = self.forward_layer, self.backward_layer
        if ahead.go_backwards == back.go_backwards:
            raise self.problem(f"expected layers with different go_backwards, got {ahead.go_backwards} for both")
        for name in ("return_sequences", "return_state"):
            if getattr(ahead, name) != getattr(back, name):
                raise self.problem(
                    f"backward_layer: expected {name}={getattr(ahead, name)}, as layer has, got {getattr(back, name)}"
                )

    def _recurrent(self, name: str, given: Any) -> Recurrent:
        if not isinstance(given, Recurrent):
            raise self.problem(f"{name}: expected a SimpleRNN, LSTM or GRU layer, got {given!r}")
        return given

    @property
    def parts(self) -> dict[str, Layer]:
        return {"forward_layer": self.forward_layer, "backward_layer": self.backward_layer}

    def __call__(self, inputs: Inputs, initial_state: Inputs | None = None) -> Any:
        """`initial_state`: the states of the forward layer, then those of the backward layer."""
        return super().__call__(with_states(inputs, initial_state))

    def ensure_built(self, shapes: Sequence[Shape]) -> None:
        for part, given in self._split(shapes):
            part.ensure_built(given)
        self._built = True

    def _split(self, inputs: Sequence[Any]) -> list[tuple[Recurrent, list[Any]]]:
        """What each layer is called with."""
        x, *states = inputs
        half = self.forward_layer.states if states else 0
        return [(self.forward_layer, [x, *states[:half]]), (self.backward_layer, [x, *states[half:]])]

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        found = [part.output_shapes(given) for part, given in self._split(shapes)]
        outputs, states = [shapes_[0] for shapes_ in found], [shape for shapes_ in found for shape in shapes_[1:]]
        if self.merge_mode == "concat":
            outputs = [(*outputs[0][:-1], self.forward_layer.units + self.backward_layer.units)]
        return [*(outputs if self.merge_mode is None else outputs[:1]), *states]

    def emit_all(self, emitter: Emitter, inputs: Sequence[Value]) -> list[Value]:
        found = []
        for (part, given), reversed_ in zip(self._split(inputs), (False, True)):
            with emitter.scope(part.name):
                found.append(part.run(emitter, given, reversed_=reversed_))
        (y, *states), (z, *others) = found
        if self.merge_mode is None:
            return [y, z, *states, *others]
        return [_MERGES[self.merge_mode](emitter, y, z), *states, *others]


def _beside(e: Emitter, y: Value, z: Value) -> Value:
    shape = (*y.shape[:-1], (y.shape[-1] or 0) + (z.shape[-1] or 0))
    return Value(shape, e.node("Concat", [y.name, z.name], axis=-1), first=False)


_MERGES: dict[str, Callable[[Emitter, Value, Value], Value]] = {
    "concat": _beside,
    "sum": lambda e, y, z: e.apply("Add", y, z),
    "mul": lambda e, y, z: e.apply("Mul", y, z),
    "ave": lambda e, y, z: e.apply("Mul", e.apply("Add", y, z), 0.5),
}


def _copied(layer: Recurrent, prefix: str, go_backwards: bool) -> Recurrent:
    """A layer of the same options without weights: two directions share nothing."""
    found = copy.copy(layer)
    found.forget()
    found.name = prefix + layer.name.removeprefix(prefix)
    found.go_backwards = go_backwards
    return found


class TimeDistributed(Wrapper):
    """One layer or model for every step, as if the steps were examples: `[N, T, ...]` -> `[N, T, ...]`."""

    def __init__(self, layer: Layer, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(layer, Layer):
            raise self.problem(f"layer: expected a layer, got {layer!r}")
        self.layer = layer

    @property
    def parts(self) -> dict[str, Layer]:
        return {"layer": self.layer}

    def _step(self, shape: Shape) -> Shape:
        if len(shape) < 3:
            raise self.problem(f"expected an input of shape (batch, steps, ...), got {shape}")
        if None in shape[2:]:
            raise self.problem(f"expected steps whose sizes are known, got {shape}")
        return (None, *shape[2:])

    def ensure_built(self, shapes: Sequence[Shape]) -> None:
        self.layer.ensure_built([self._step(shapes[0])])
        self._built = True

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        found = self.layer.output_shapes([self._step(shapes[0])])
        if len(found) != 1:
            raise self.problem(f"layer: expected one output, '{self.layer.name}' has {len(found)}")
        return (*shapes[0][:2], *found[0][1:])

    def emit(self, emitter: Emitter, *inputs: Value) -> Value:
        x, e = inputs[0], emitter
        shape = self.compute_output_shape(x.shape)
        step = self._step(x.shape)
        flat = e.node("Reshape", [e.last(x), e.ints([-1, *(size or 0 for size in step[1:])], "step")])
        with e.scope(self.layer.name):
            (y,) = self.layer.emit_all(e, [Value(step, flat, first=False)])
        rest = [size or 0 for size in shape[2:]]
        if shape[1] is not None:
            target = e.ints([-1, shape[1], *rest], "shape")
        else:
            leading = e.node("Shape", [e.last(x)], start=0, end=2)
            target = e.node("Concat", [leading, e.ints(rest, "rest")], axis=0)
        return Value(shape, e.node("Reshape", [e.last(y), target]), first=False)
