"""Formulas of several nodes that are a known function of one tensor.

x sigmoid(x), x relu6(x + 3) / 6, or the formula of GELU become that function.
"""

from __future__ import annotations

import numpy as np

from model.importing.float_graph import FloatGraph, Node
from model.importing.float_operators import FUNCTIONS, Affine, Binary, Function

__all__ = ["recognize"]

_GRID = np.linspace(-12, 12, 2401)
"""Where formulas are compared with functions."""

_MAX_ROOTS = 6


def recognize(graph: FloatGraph) -> None:
    """Put functions in the place of the formulas that spell them out."""
    # By tensor: values over the grid, by the tensor that they are a function of.
    values: dict[int, dict[int, np.ndarray]] = {0: {0: _GRID}}
    for node in graph.nodes:
        of: dict[int, np.ndarray] = {}
        operator = node.operator
        inputs = [values.get(index, {index: _GRID}) for index in node.inputs]
        with np.errstate(all="ignore"):
            if isinstance(operator, Affine) and operator.factor.size == operator.offset.size == 1:
                factor, offset = (
                    float(operator.factor.ravel()[0]),
                    float(operator.offset.ravel()[0]),
                )
                of = {root: x * factor + offset for root, x in inputs[0].items()}
            elif isinstance(operator, Function):
                of = {root: operator.forward(x) for root, x in inputs[0].items()}
            elif isinstance(operator, Binary):
                common = inputs[0].keys() & inputs[1].keys()
                of = {root: operator.forward(inputs[0][root], inputs[1][root]) for root in common}
        if node.clamp is not None:
            of = {root: np.clip(x, *node.clamp) for root, x in of.items()}
        of = dict(list(of.items())[:_MAX_ROOTS])
        if len(node.inputs) > 1 or isinstance(operator, Affine):
            for root, x in of.items():
                known = _function_of(x)
                if known is not None and not any(
                    tensor in graph.fixed for tensor in _between(graph, root, node)
                ):
                    node.operator, node.inputs, node.clamp = known, [root], None
                    break
        values[node.output] = {**of, node.output: _GRID}
    graph.drop_unused()


def _between(graph: FloatGraph, root: int, node: Node) -> set[int]:
    """Tensors on the ways from `root` to `node`, both left out."""
    found: set[int] = set()
    waiting = list(node.inputs)
    while waiting:
        tensor = waiting.pop()
        producer = graph.producer(tensor)
        if tensor != root and tensor not in found and producer is not None:
            found.add(tensor)
            waiting += producer.inputs
    return found


def _function_of(x: np.ndarray) -> Function | None:
    """The function whose values over the grid are `x`."""
    for name in ("hard_swish", "silu", "gelu", "gelu_by_tanh", "mish"):
        if np.allclose(x, FUNCTIONS[name](_GRID, 0.0), rtol=1e-4, atol=1e-5):
            return Function(name)
    # With a slope below 0 that the left end tells.
    if not np.allclose(x[_GRID >= 0], _GRID[_GRID >= 0], rtol=1e-5, atol=1e-6):
        return None
    slope = float(x[0] / _GRID[0])
    if not 1e-4 < slope < 1:
        return None
    leaky = Function("leaky_relu", slope)
    return leaky if np.allclose(x, leaky.forward(_GRID), rtol=1e-4, atol=1e-5) else None
