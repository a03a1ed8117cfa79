"""From a `.keras` model (Sequential or Functional) to a float graph.

Keras puts channels last, as we do; a sequence (steps, channels) is a picture of height 1.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from model.errors import ModelError
from model.importing.float_graph import FloatGraph
from model.importing.keras.file import KerasWeights, read_keras
from model.importing.keras.layer import KerasTensor, Layer, ours
from model.importing.keras.layers import LAYERS, WITH_NUMBER, activated
from model.importing.names import printable

__all__ = ["load"]

_MAX_LAYERS = 10_000

_MAX_DEPTH = 20


def load(path: Path) -> FloatGraph:
    """Read a `.keras` file.

    Raises
    ------
    ModelError
        If it cannot be read or converted. The text is without the file's name.
    """
    config, weights = read_keras(path)
    graph = FloatGraph()
    try:
        outputs = _Model(graph, config, weights, 0).call(None)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelError("its configuration makes no sense") from error
    for number, output in enumerate(outputs):
        if output.number == 0:
            raise ModelError("its output is its input")
        graph.outputs.append(output.number)
        graph.output_names.append(f"output {number + 1}")
    return graph


class _Model:
    """A model, or one that is a layer of another."""

    def __init__(
        self, graph: FloatGraph, config: dict[str, Any], weights: KerasWeights | None, depth: int
    ) -> None:
        self.graph = graph
        self.kind = printable(str(config["class_name"]))
        self.depth = depth
        if self.kind not in ("Sequential", "Functional"):
            raise ModelError(f"{self.kind} models are not supported; Sequential and Functional are")
        if depth > _MAX_DEPTH:
            raise ModelError("models are nested too deep")
        self.config = config["config"]
        self.layers: list[dict[str, Any]] = list(self.config["layers"])
        if len(self.layers) + len(graph.nodes) > _MAX_LAYERS:
            raise ModelError(f"{len(self.layers)} layers; {_MAX_LAYERS} are possible")
        self.weights = self._groups(weights)

    def _groups(self, weights: KerasWeights | None) -> list[KerasWeights | None]:
        """Each layer's weights: groups are named after the class, and counted."""
        parent = None if weights is None else weights.child("layers")
        seen: Counter[str] = Counter()
        groups: list[KerasWeights | None] = []
        for layer in self.layers:
            stem = _snake_case(str(layer["class_name"]))
            name = f"{stem}_{seen[stem]}" if seen[stem] else stem
            seen[stem] += 1
            groups.append(None if parent is None else parent.child(name))
        return groups

    def call(self, given: KerasTensor | None) -> list[KerasTensor]:
        """The outputs for an input; without one, the input is made."""
        if self.kind == "Sequential":
            return [self._call_in_turn(given)]
        return self._call_by_names(given)

    def _input(self, layer: dict[str, Any], given: KerasTensor | None) -> KerasTensor:
        if given is not None:
            return given
        config = layer["config"]
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        sizes = tuple(shape[1:])
        if not 1 <= len(sizes) <= 3 or not all(isinstance(size, int) for size in sizes):
            raise ModelError(f"its input has shape {shape}: one to three given sizes are needed")
        return KerasTensor(self.graph.tensor(ours(sizes)), sizes)

    def _call_in_turn(self, given: KerasTensor | None) -> KerasTensor:
        tensor = given
        for layer, weights in zip(self.layers, self.weights):
            if layer["class_name"] == "InputLayer":
                tensor = self._input(layer, tensor)
                continue
            if tensor is None:
                tensor = self._input({"config": self._built_shape(layer)}, None)
            tensor = self._apply(layer, weights, [tensor], [])
        if tensor is None:
            raise ModelError("has no layers")
        return tensor

    def _built_shape(self, layer: dict[str, Any]) -> dict[str, Any]:
        built = self.config.get("build_input_shape") or layer["build_config"]["input_shape"]
        return {"batch_shape": built}

    def _call_by_names(self, given: KerasTensor | None) -> list[KerasTensor]:
        inputs = _histories(self.config["input_layers"])
        if len(inputs) != 1:
            raise ModelError(f"has {len(inputs)} inputs; one is possible")
        known: dict[tuple[str, int], list[KerasTensor]] = {}
        waiting: list[tuple[dict[str, Any], KerasWeights | None, int]] = []
        for layer, weights in zip(self.layers, self.weights):
            if layer["class_name"] == "InputLayer":
                known[str(layer["config"]["name"]), 0] = [self._input(layer, given)]
            else:
                waiting += [(layer, weights, place) for place in range(len(layer["inbound_nodes"]))]
        while waiting:
            left = []
            for layer, weights, place in waiting:
                node = layer["inbound_nodes"][place]
                sources: list[tuple[str, int, int]] = []
                numbers: list[float] = []
                _gather(node["args"], sources, numbers, 0)
                if any((name, index) not in known for name, index, _ in sources):
                    left.append((layer, weights, place))
                    continue
                tensors = [known[name, index][which] for name, index, which in sources]
                name = str(layer.get("name", layer["config"]["name"]))
                known[name, place] = [self._apply(layer, weights, tensors, numbers)]
            if len(left) == len(waiting):
                raise ModelError("its layers form a circle, or read what is not there")
            waiting = left
        outputs = _histories(self.config["output_layers"])
        return [known[name, index][which] for name, index, which in outputs]

    def _apply(
        self,
        described: dict[str, Any],
        weights: KerasWeights | None,
        tensors: list[KerasTensor],
        numbers: list[float],
    ) -> KerasTensor:
        kind, config = printable(str(described["class_name"])), described["config"]
        if kind in ("Sequential", "Functional"):
            outputs = _Model(self.graph, described, weights, self.depth + 1).call(tensors[0])
            return outputs[0]
        if kind == "TimeDistributed" or kind not in LAYERS:
            name = printable(str(config.get("name", kind)))
            raise ModelError(f"layer {name} ({kind}): is not supported")
        variables = [] if weights is None else weights.variables()
        layer = Layer(self.graph, kind, printable(str(config["name"])), config, variables)
        if not tensors:
            raise layer.error("has no input")
        try:
            if numbers and len(tensors) == 1 and kind in WITH_NUMBER:
                return layer.append(WITH_NUMBER[kind](numbers[0]), tensors)
            result = LAYERS[kind](layer, tensors)
            return activated(layer, result)
        except ModelError as error:
            text = str(error)
            raise error if text.startswith("layer ") else layer.error(text) from error


def _snake_case(name: str) -> str:
    """Keras's own: ``naming.to_snake_case``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _histories(value: Any) -> list[tuple[str, int, int]]:
    """Names of tensors: one, or a list of them."""
    if value and isinstance(value[0], str):
        value = [value]
    return [(str(name), int(index), int(which)) for name, index, which in value]


def _gather(
    value: Any, sources: list[tuple[str, int, int]], numbers: list[float], depth: int
) -> None:
    """The tensors and numbers among a call's arguments, in their order."""
    if depth > _MAX_DEPTH:
        raise ModelError("its configuration makes no sense")
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            name, index, which = value["config"]["keras_history"]
            sources.append((str(name), int(index), int(which)))
        else:
            for each in value.values():
                _gather(each, sources, numbers, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _gather(each, sources, numbers, depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        numbers.append(float(value))
