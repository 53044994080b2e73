"""Recurrent layers: `[N, T, C]` -> `[N, units]` after the last step, or `[N, T, units]` with `return_sequences`.

They are ONNX's operators, whose gates stand in another order. The steps are unrolled when the model is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from convc.frontends.dsl import activations
from convc.frontends.dsl.arguments import positive
from convc.frontends.dsl.emitter import Emitter, Value
from convc.frontends.dsl.initial import Initializer
from convc.frontends.dsl.layer import Inputs, Layer, Weight
from convc.frontends.dsl.tensor import Shape, SymbolicTensor

_ACTIVATIONS: dict[str, tuple[str, list[float], list[float]]] = {
    "tanh": ("Tanh", [], []),
    "sigmoid": ("Sigmoid", [], []),
    "relu": ("Relu", [], []),
    "linear": ("Affine", [1.0], [0.0]),
    "hard_sigmoid": ("HardSigmoid", [1 / 6], [0.5]),
    "sparse_sigmoid": ("HardSigmoid", [0.5], [0.5]),
    "softplus": ("Softplus", [], []),
    "softsign": ("Softsign", [], []),
    "elu": ("Elu", [1.0], []),
    "leaky_relu": ("LeakyRelu", [0.2], []),
}
"""Those that ONNX's recurrent operators have, with their alpha and beta."""


def with_states(inputs: Inputs, initial_state: Inputs | None) -> Inputs:
    """What a layer is called with: its inputs, then the states that it starts from, if any are given."""
    if initial_state is None:
        return inputs
    both = (inputs, initial_state)
    return [x for each in both for x in ([each] if isinstance(each, SymbolicTensor) else each)]


class Recurrent(Layer):
    """What SimpleRNN, LSTM and GRU share. They take a sequence and, if they do not start from zeros, their states.

    `dropout`, `recurrent_dropout`, `unroll`, `seed` and `use_cudnn` are taken for Keras's sake: they decide nothing
    here."""

    ranks = (3,)
    operator: ClassVar[str]
    gates: ClassVar[tuple[int, ...]] = (0,)
    """Where Keras has each of ONNX's gates."""
    states: ClassVar[int] = 1

    def _set(
        self,
        units: int,
        functions: dict[str, activations.Identifier],
        use_bias: bool,
        initializers: tuple[Initializer, Initializer, Initializer],
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        stateful: bool,
    ) -> None:
        self.units = positive(self, "units", units)
        self.counts = (1, 1 + self.states)
        self.functions = [self._function(name, given) for name, given in functions.items()]
        self.use_bias = use_bias
        self.bias: Weight | None = None
        self._initializers = initializers
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards = bool(go_backwards)
        if stateful:
            raise self.problem("stateful: expected False, for a network keeps nothing between runs, got True")

    def _function(self, name: str, given: activations.Identifier) -> str:
        found = activations.get(given, self).name
        if found not in _ACTIVATIONS:
            raise self.problem(f"{name}: expected one of {', '.join(_ACTIVATIONS)} in a recurrent layer, got {found!r}")
        return found

    # Calls

    def __call__(self, inputs: Inputs, initial_state: Inputs | None = None) -> Any:
        """`initial_state`: `[N, units]` for each state, H before C."""
        return super().__call__(with_states(inputs, initial_state))

    def ensure_built(self, shapes: Sequence[Shape]) -> None:
        super().ensure_built(shapes[:1])
        for shape in shapes[1:]:
            if len(shape) != 2 or shape[1] not in (self.units, None):
                raise self.problem(f"initial_state: expected states of shape (batch, {self.units}), got {shape}")

    def build(self, *shapes: Shape) -> None:
        columns = self.units * len(self.gates)
        kernel, recurrent, bias = self._initializers
        self.kernel = self.add_weight("kernel", (self.fix(-1), columns), kernel)
        self.recurrent_kernel = self.add_weight("recurrent_kernel", (self.units, columns), recurrent)
        if self.use_bias:
            self.bias = self.add_weight("bias", self._bias_shape(columns), bias)

    def _bias_shape(self, columns: int) -> tuple[int, ...]:
        return (columns,)

    def compute_output_shape(self, *shapes: Shape) -> Shape:
        batch, steps, _ = shapes[0]
        return (batch, steps, self.units) if self.return_sequences else (batch, self.units)

    def output_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The output's, then with `return_state` those of the last states."""
        state = (shapes[0][0], self.units)
        return [self.compute_output_shape(*shapes), *([state] * self.states if self.return_state else [])]

    # ONNX

    def emit_all(self, emitter: Emitter, inputs: Sequence[Value]) -> list[Value]:
        return self.run(emitter, inputs, reversed_=False)

    def run(self, e: Emitter, inputs: Sequence[Value], *, reversed_: bool) -> list[Value]:
        """The outputs of a call; a sequence of them in the order of the steps as they are taken, or the other way."""
        x, *states = inputs
        initial = [e.node("Unsqueeze", [state.name, e.ints([0], "axes")]) for state in states]
        operands = [
            e.node("Transpose", [x.name], perm=[x.axis(1), 0, x.axis(2)]),
            e.weight(self.kernel, "W", self._rows),
            e.weight(self.recurrent_kernel, "R", self._rows),
            e.weight(self.bias, "B", self._biases) if self.bias else "",
            *(["", *initial] if initial else []),
        ]
        found = [_ACTIVATIONS[name] for name in self.functions]
        parameters = {
            "activation_alpha": [value for _, alphas, _ in found for value in alphas],
            "activation_beta": [value for _, _, betas in found for value in betas],
        }
        every, *last = e.nodes_of(
            self.operator,
            operands,
            1 + self.states,
            hidden_size=self.units,
            direction="reverse" if self.go_backwards else "forward",
            activations=[name for name, _, _ in found],
            **{name: values for name, values in parameters.items() if values},
            **self._attributes(),
        )
        batch, steps, _ = x.shape
        ends = [Value((batch, self.units), e.node("Squeeze", [y, e.ints([0], "axes")]), first=False) for y in last]
        results = ends if self.return_state else []
        if not self.return_sequences:
            return [ends[0], *results]
        name = e.node("Squeeze", [every, e.ints([1], "axes")])
        if self.go_backwards != reversed_:  # ONNX writes H of a step to the step's place, whatever the direction
            bounds = [e.ints([bound], what) for bound, what in ((-1, "end"), (np.iinfo(np.int64).min, "begin"))]
            name = e.node("Slice", [name, *bounds, e.ints([0], "axes"), e.ints([-1], "steps")])
        name = e.node("Transpose", [name], perm=[1, 0, 2])
        return [Value((batch, steps, self.units), name, first=False), *results]

    def _attributes(self) -> dict[str, Any]:
        return {}

    def _rows(self, kernel: np.ndarray) -> np.ndarray:
        """`[C, gates * units]` -> `[1, gates * units, C]`, the gates in ONNX's order."""
        split = kernel.reshape(-1, len(self.gates), self.units)[:, list(self.gates)]
        return split.reshape(1, len(kernel), -1).transpose(0, 2, 1)

    def _biases(self, bias: np.ndarray) -> np.ndarray:
        """`[gates * units]`, or one for each kernel -> `[1, 2 * gates * units]`: ONNX has one for each kernel."""
        both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
        return both.reshape(2, len(self.gates), self.units)[:, list(self.gates)].reshape(1, -1)


class SimpleRNN(Recurrent):
    """H = activation(x @ kernel + H @ recurrent_kernel + bias)"""

    operator = "RNN"

    def __init__(
        self,
        units: int,
        activation: activations.Identifier = "tanh",
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        recurrent_initializer: Initializer = "orthogonal",
        bias_initializer: Initializer = "zeros",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._set(
            units,
            {"activation": activation},
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            return_sequences,
            return_state,
            go_backwards,
            stateful,
        )


class LSTM(Recurrent):
    """I, F, O = recurrent_activation(A), G = activation(A) of A = x @ kernel + H @ recurrent_kernel + bias;
    C = F C + I G;  H = O activation(C) (Hochreiter and Schmidhuber, 1997; Gers et al., 2000)."""

    operator = "LSTM"
    gates = (0, 3, 1, 2)  # Keras has i, f, c, o and ONNX i, o, f, c
    states = 2

    def __init__(
        self,
        units: int,
        activation: activations.Identifier = "tanh",
        recurrent_activation: activations.Identifier = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        recurrent_initializer: Initializer = "orthogonal",
        bias_initializer: Initializer = "zeros",
        unit_forget_bias: bool = True,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        use_cudnn: bool | str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._set(
            units,
            {"recurrent_activation": recurrent_activation, "activation": activation, "activation of C": activation},
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            return_sequences,
            return_state,
            go_backwards,
            stateful,
        )
        self.unit_forget_bias = unit_forget_bias
        if unit_forget_bias:
            self._initializers = (*self._initializers[:2], self._remembering)

    def _remembering(self, shape: Sequence[int]) -> np.ndarray:
        """A bias whose forget gates are open (Jozefowicz et al., 2015)."""
        bias = np.zeros(shape)
        bias[self.units : 2 * self.units] = 1
        return bias


class GRU(Recurrent):
    """Z, R = recurrent_activation(A), G = activation(A') of A = x @ kernel + H @ recurrent_kernel + bias, A' with
    R * H in place of H, or with `reset_after` R * (H @ recurrent_kernel + bias); H = Z H + (1 - Z) G (Cho et al.,
    2014)."""

    operator = "GRU"
    gates = (0, 1, 2)

    def __init__(
        self,
        units: int,
        activation: activations.Identifier = "tanh",
        recurrent_activation: activations.Identifier = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Initializer = "glorot_uniform",
        recurrent_initializer: Initializer = "orthogonal",
        bias_initializer: Initializer = "zeros",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: bool | str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._set(
            units,
            {"recurrent_activation": recurrent_activation, "activation": activation},
            use_bias,
            (kernel_initializer, recurrent_initializer, bias_initializer),
            return_sequences,
            return_state,
            go_backwards,
            stateful,
        )
        self.reset_after = bool(reset_after)

    def _bias_shape(self, columns: int) -> tuple[int, ...]:
        return (2, columns) if self.reset_after else (columns,)

    def _attributes(self) -> dict[str, Any]:
        return {"linear_before_reset": int(self.reset_after)}
