"""The passes in their order, and the variants among which the fastest is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateware.interface.configuration import EngineConfiguration
from model.int8 import reference
from model.int8.graph import Graph, Operator, OperatorKind

from ..addition import find_addition
from ..layers import Layer
from ..schedule import cycles, schedule
from .build_bytes import build_copy
from .build_move import build_move
from .build_pooling import build_average_pool, build_max_pool, build_mean
from .build_weighted import build_convolution, build_depthwise, build_fully_connected
from .fuse import fuse
from .network import analyse
from .plan import Lowered, Step
from .storage import Stored, store
from .sums import place_sums

_BUILDERS: dict[OperatorKind, Callable[[Stored, Step, Operator], list[Layer]]] = {
    OperatorKind.CONV_2D: build_convolution,
    OperatorKind.FULLY_CONNECTED: build_fully_connected,
    OperatorKind.DEPTHWISE_CONV_2D: build_depthwise,
    OperatorKind.MAX_POOL_2D: build_max_pool,
    OperatorKind.AVERAGE_POOL_2D: build_average_pool,
    OperatorKind.MEAN: build_mean,
}


def lower(graph: Graph, configuration: EngineConfiguration) -> Lowered:
    """Turn ``graph`` into layers.

    Raises
    ------
    CompileError
        If the engine has no way to run a layer; the text names it and the reason.
    """
    network = analyse(graph)
    found = []
    for pools in (False, True) if configuration.pooling else (False,):
        plan = place_sums(fuse(network, configuration, pools))
        if pools and not any(step.pooled for step in plan.steps):
            break
        plain = store(plan)
        found.append(_build(plain))
        # Padding that the host writes with the picture saves the fetcher's starting within a word.
        padded = store(plan, stores_padding=True)
        if any(padded.margin):
            found.append(_build(padded))
    return min(found, key=lambda lowered: cycles(lowered.layers, configuration))


def _build(stored: Stored) -> Lowered:
    plan = stored.plan
    layers = tuple(
        replace(part, result=step.target)
        for step in plan.steps
        for layer in _layers(stored, step)
        for part in schedule(layer, plan.configuration)
    )
    return Lowered(
        layers=layers,
        storage=stored.storage,
        inputs=plan.graph.inputs,
        outputs={tensor: plan.root(tensor) for tensor in plan.graph.outputs},
        margin=stored.margin,
    )


def _layers(stored: Stored, step: Step) -> list[Layer]:
    """The layers of a step, with the ADD behind it."""
    layers = _plain_layers(stored, step)
    if step.sum is None:
        return layers
    operator, made = step.sum.operator, step.sum.made
    addition = find_addition(operator.name, reference.addition(stored.plan.graph, operator))
    if made == 1:
        addition = replace(addition, tables=addition.tables[::-1])
    return [replace(each, epilogue=each.epilogue.adding(addition)) for each in layers]


def _plain_layers(stored: Stored, step: Step) -> list[Layer]:
    if step.move is not None:
        return build_move(stored, step)
    if step.operator is None:
        return build_copy(stored, step)
    return _BUILDERS[step.operator.kind](stored, step, step.operator)
