"""The passes in their order, and the variants among which the fastest is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import numpy as np

from gateware.interface.configuration import EngineConfiguration
from model.int8 import reference
from model.int8.graph import Graph, Operator, OperatorKind

from ..addition import find_addition
from ..errors import ReshapeError
from ..layers import Layer
from ..schedule import cycles, schedule
from .analysis import analyse
from .bands import in_bands
from .build_bytes import build_copy
from .build_move import build_move
from .build_pairs import build_lines, build_pair
from .build_pooling import build_average_pool, build_max_pool, build_mean, build_reduce_max
from .build_weighted import build_convolution, build_depthwise, build_fully_connected
from .fuse import fuse
from .network import Network
from .plan import Lowered, Step
from .reshape import in_long_rows
from .rewrite import rewrite, with_macs_of
from .state import keep_state
from .storage import Stored, store
from .sums import place_sums

_BUILDERS: dict[OperatorKind, Callable[[Stored, Step, Operator], list[Layer]]] = {
    OperatorKind.CONV_2D: build_convolution,
    OperatorKind.FULLY_CONNECTED: build_fully_connected,
    OperatorKind.DEPTHWISE_CONV_2D: build_depthwise,
    OperatorKind.MAX_POOL_2D: build_max_pool,
    OperatorKind.AVERAGE_POOL_2D: build_average_pool,
    OperatorKind.MEAN: build_mean,
    OperatorKind.SUM: build_mean,
    OperatorKind.REDUCE_MAX: build_reduce_max,
}


def lower(
    graph: Graph, configuration: EngineConfiguration, most_bytes: int | None = None
) -> Lowered | None:
    """Turn ``graph`` into layers.

    Parameters
    ----------
    graph : Graph
    configuration : EngineConfiguration
    most_bytes : int or None
        That tensors may need at once; None: what is fastest.

    Returns
    -------
    Lowered or None
        None if they need more than ``most_bytes``.

    Raises
    ------
    CompileError
        If the engine has no way to run a layer; the text names it and the reason.
    """
    if most_bytes is not None and graph.variables:
        return None  # bands do not know that variables stay where they are
    rewritten = rewrite(graph)
    network = analyse(rewritten)
    copied: frozenset[int] = frozenset()
    while True:
        try:
            best = _fastest(network, configuration, copied, most_bytes)
        except ReshapeError as error:
            # Its bytes do not lie as the layer reads them: they are put so.
            if error.tensor in copied:
                raise
            copied |= {error.tensor}
        else:
            if best is None:
                return None
            return replace(best, layers=with_macs_of(graph, rewritten, best.layers))


def _fastest(
    network: Network,
    configuration: EngineConfiguration,
    copied: frozenset[int],
    most_bytes: int | None,
) -> Lowered | None:
    found = []
    for pools in (False, True) if configuration.pooling else (False,):
        plan = keep_state(place_sums(fuse(network, configuration, pools, copied)))
        if pools and not any(step.pooled for step in plan.steps):
            break
        plain = store(plan)
        found.append(_build(plain, most_bytes))
        # Padding that the host writes with the picture saves the fetcher's starting within a word.
        padded = store(plan, stores_padding=True)
        if any(padded.margin):
            found.append(_build(padded, most_bytes))
    fitting = [lowered for lowered in found if lowered is not None]
    return min(fitting, key=lambda lowered: cycles(lowered.layers, configuration), default=None)


def _build(stored: Stored, most_bytes: int | None) -> Lowered | None:
    plan = stored.plan
    stages = [
        tuple(replace(layer, result=step.target) for layer in _layers(stored, step))
        for step in plan.steps
    ]
    lowered = Lowered(
        layers=tuple(chain.from_iterable(stages)),
        storage=stored.storage,
        results={step.target: stored.target(step) for step in plan.steps},
        inputs=plan.graph.inputs,
        outputs={
            tensor: plan.answers.get(tensor, plan.root(tensor)) for tensor in plan.graph.outputs
        },
        margin=stored.margin,
        variables={each.tensor: stored.value_view(each.tensor) for each in plan.graph.variables},
    )
    if most_bytes is not None:
        found = in_bands(stages, lowered, most_bytes, plan.configuration)
        if found is None:
            return None
        lowered = found
    layers = (
        part
        for layer in lowered.layers
        for part in schedule(in_long_rows(layer, plan.configuration), plan.configuration)
    )
    return replace(lowered, layers=tuple(layers))


def _layers(stored: Stored, step: Step) -> list[Layer]:
    """The layers of a step, with the ADD behind it."""
    layers = _plain_layers(stored, step)
    if step.sum is None:
        return layers
    operator, made = step.sum.operator, step.sum.made
    every = np.arange(-128, 128).astype(np.int8)
    operands = every.reshape(1, 256, 1), every.reshape(1, 1, 256)
    (wanted,) = reference.compute(stored.plan.graph, operator, operands)
    addition = find_addition(operator.name, np.asarray(wanted).reshape(256, 256))
    if made == 1:
        addition = replace(addition, tables=addition.tables[::-1])
    return [replace(each, epilogue=each.epilogue.adding(addition)) for each in layers]


def _plain_layers(stored: Stored, step: Step) -> list[Layer]:
    if step.move is not None:
        return build_move(stored, step)
    if step.lines is not None:
        return build_lines(stored, step)
    if step.pair is not None:
        return build_pair(stored, step)
    if step.operator is None:
        return build_copy(stored, step)
    return _BUILDERS[step.operator.kind](stored, step, step.operator)
