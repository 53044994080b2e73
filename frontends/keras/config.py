"""From Keras's configuration of a model to a DSL model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from convc.frontends import dsl
from convc.frontends.dsl.augmentation import Augmentation
from convc.frontends.dsl.resizing import Sized
from convc.frontends.keras.applications import LAYERS as OF_APPLICATIONS
from convc.frontends.keras.operators import is_constant, is_tensor, operator
from convc.frontends.onnx.problem import ImportProblem

Config: TypeAlias = Mapping[str, Any]

_LAYERS: dict[str, type[dsl.Layer]] = {
    name: value
    for name, value in vars(dsl).items()
    if isinstance(value, type) and issubclass(value, dsl.Layer) and value not in (dsl.Layer, dsl.Model, dsl.Sequential)
}
_MODELS = ("Functional", "Sequential")
_LAYERS_INSIDE = ("activation", "recurrent_activation", "layer", "backward_layer")
"""Options that may hold a layer or a model of their own."""
_OPERATORS = "keras.src.ops"
_MODULES = ("keras.layers", "keras.models", "keras.src.models")
_PRECISIONS = ("float32", "float64", "float16", "mixed_float16", "mixed_bfloat16")
"""Policies whose weights are floats in the file. All is computed in float32."""
_FOR_TRAINING = (
    "_initializer",
    "_regularizer",
    "_constraint",
    "synchronized",
    "noise_shape",
    "implementation",
    "zero_output_for_mask",
    "dropout",
    "seed",
    "renorm_clipping",
    "renorm_momentum",
    "lora_alpha",
)
"""Ends of the names of options that decide nothing at inference."""


def model_of(config: Config) -> dsl.Model:
    """The model, its weights as they are drawn. Raises ImportProblem, which names every layer that is unknown."""
    unknown: dict[str, list[str]] = {}
    for entry in _entries(config):
        if not _is_known(entry):
            unknown.setdefault(str(entry.get("class_name")), []).append(repr(_name(entry)))
    if unknown:
        layers = ", ".join(f"{class_} ({', '.join(names)})" for class_, names in unknown.items())
        raise ImportProblem(f"expected the layers that convc.dsl has, got {layers}")
    model = _layer(config)
    if not isinstance(model, dsl.Model):
        raise ImportProblem(f"expected a Functional or Sequential model, got {config.get('class_name')}")
    return model


# What a configuration consists of


def _entries(config: Config) -> Iterator[Config]:
    """The configuration of every layer and model in it, itself first."""
    yield config
    if config.get("class_name") in _MODELS and _is_known(config):
        for layer in config["config"]["layers"]:
            yield from _entries(layer)
    inner = config.get("config")
    for key in _LAYERS_INSIDE:
        if isinstance(inner, Mapping) and isinstance(inner.get(key), Mapping):
            yield from _entries(inner[key])


def _is_known(entry: Config) -> bool:
    """Whether it is one of Keras's own layers, operators or models, and one that the DSL has."""
    module, class_name = str(entry.get("module")), entry.get("class_name")
    if module.startswith(_OPERATORS):  # whose classes have names that layers have too
        return operator(entry) is not None
    own = module == "keras" or module.startswith(_MODULES)
    return (own and (class_name in _LAYERS or class_name in _MODELS)) or (module, class_name) in OF_APPLICATIONS


def _name(entry: Config) -> str:
    inner = entry.get("config")
    return str(entry.get("name") or (inner.get("name") if isinstance(inner, Mapping) else inner))


# Layers


def _layer(entry: Config) -> dsl.Layer:
    class_name, config = entry["class_name"], entry["config"]
    if entry["module"].startswith(_OPERATORS):
        found = operator(entry)
        assert found is not None, "model_of refuses unknown operators"
        return found
    if class_name == "Functional":
        return _functional(config)
    if class_name == "Sequential":
        return _sequential(config)
    class_ = OF_APPLICATIONS.get((entry["module"], class_name)) or _LAYERS[class_name]
    _check_precision(config)
    if issubclass(class_, Augmentation):
        return class_(**{key: config[key] for key in ("name", "trainable", *class_.arguments) if key in config})
    accepted = inspect.signature(class_).parameters
    arguments = {}
    for key, value in config.items():
        if key in ("name", "trainable") or (key in accepted and not key.endswith("_initializer")):
            arguments[key] = _inside(value) if key in _LAYERS_INSIDE else _plain(value)
        elif not _is_neutral(key, value):
            raise ImportProblem(f"layer '{_name(entry)}' ({class_name}): the option {key}={value!r} is not known")
    if class_name == "InputLayer":
        arguments = {key: arguments[key] for key in ("batch_shape", "dtype", "name")}
    else:
        arguments.pop("dtype", None)
    return class_(**arguments)


def _is_neutral(key: str, value: Any) -> bool:
    """Whether an option that the DSL's layer has not changes nothing."""
    return value is None or value is False or key == "dtype" or key.endswith(_FOR_TRAINING)


def _check_precision(config: Config) -> None:
    policy = config.get("dtype")
    name = policy["config"]["name"] if isinstance(policy, Mapping) else policy
    if isinstance(policy, Mapping) and name not in _PRECISIONS:
        raise ImportProblem(
            f"layer '{config.get('name')}': expected one of the policies {', '.join(_PRECISIONS)}, got {name}"
        )


def _inside(value: Any) -> Any:
    """A name, or a layer that serves as an activation or is wrapped."""
    return _layer(value) if isinstance(value, Mapping) else value


def _plain(value: Any) -> Any:
    """Tuples and arrays as Keras writes them into JSON."""
    if isinstance(value, Mapping) and value.get("class_name") == "__tuple__":
        return tuple(map(_plain, value["items"]))
    if isinstance(value, Mapping) and value.get("class_name") in ("__numpy__", "__tensor__"):
        return value["config"]["value"]
    return value


# Models


def _sequential(config: Config) -> dsl.Sequential:
    layers = [_layer(entry) for entry in config["layers"]]
    model = dsl.Sequential(layers, trainable=config.get("trainable", True), name=config["name"])
    if not model.built and config.get("build_input_shape"):
        model.build(config["build_input_shape"])
    return model


def _functional(config: Config) -> dsl.Model:
    """Calls every layer as often, and in the order, as it was called."""
    layers = {entry["name"]: _layer(entry) for entry in config["layers"]}
    pending = {
        entry["name"]: [_inputs_of(entry, call) for call in entry["inbound_nodes"]] for entry in config["layers"]
    }
    tensors: dict[tuple[str, int, int], dsl.SymbolicTensor] = {}
    for name, layer in layers.items():
        if isinstance(layer, dsl.InputLayer):
            tensors[name, 0, 0] = layer.tensor
    while any(pending.values()):
        before = sum(map(len, pending.values()))
        for name, calls in pending.items():
            while calls and all(key in tensors for key in calls[0]):
                _call(name, layers[name], [tensors[key] for key in calls.pop(0)], tensors)
        if sum(map(len, pending.values())) == before:
            stuck = next(name for name, calls in pending.items() if calls)
            raise ImportProblem(f"expected a graph without loops or loose ends, layer '{stuck}' lacks an input")

    def found(keys: Any) -> list[dsl.SymbolicTensor]:
        if isinstance(keys, Mapping):
            return [tensor for key in sorted(keys) for tensor in found(keys[key])]
        if keys and isinstance(keys[0], str):
            name, call, output = keys
            # Keras counts the calls of a functional model from 1: 0 is the one that defines it.
            nested = isinstance(layers[name], dsl.Model) and not isinstance(layers[name], dsl.Sequential)
            return [tensors[name, call - nested, output]]
        return [tensor for key in keys for tensor in found(key)]

    inputs, outputs = found(config["input_layers"]), found(config["output_layers"])
    return dsl.Model(inputs, outputs, name=config["name"], trainable=config.get("trainable", True))


def _inputs_of(entry: Config, call: Config) -> list[tuple[str, int, int]]:
    """The tensors that a call takes, as (layer, call, output)."""
    name, is_operator = entry["name"], str(entry["module"]).startswith(_OPERATORS)
    flat: list[Any] = []
    options = dict(call["kwargs"])
    # What a layer takes beside its first argument: by name or by place, one tensor or a list.
    states = options.pop("initial_state", None)
    for argument in [*call["args"], *([] if states is None else [states])]:
        flat += argument if isinstance(argument, list) else [argument]
    tensors = [argument for argument in flat if is_tensor(argument)]
    if len(tensors) != sum(not (is_operator and is_constant(argument)) for argument in flat):
        raise ImportProblem(f"layer '{name}': expected tensors as inputs, got {flat!r}")
    if issubclass(_LAYERS.get(entry["class_name"], dsl.Layer), Augmentation | Sized):
        options.pop("training", None)  # is True in the file, and False at inference all the same
    given = {key: value for key, value in options.items() if value not in (None, False)}
    if given:
        raise ImportProblem(f"layer '{name}': expected a call for inference, got the arguments {given!r}")
    return [tuple(tensor["config"]["keras_history"]) for tensor in tensors]


def _call(
    name: str,
    layer: dsl.Layer,
    inputs: Sequence[dsl.SymbolicTensor],
    tensors: dict[tuple[str, int, int], dsl.SymbolicTensor],
) -> None:
    layer(inputs if layer.merges or len(inputs) != 1 else inputs[0])
    node = layer.nodes[-1]
    tensors.update({(name, node.index, i): tensor for i, tensor in enumerate(node.outputs)})
