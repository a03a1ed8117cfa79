"""Channels brought to one range, so that one scale fits them all.

A tensor has one scale for all its channels. Where one channel reaches 100 and another 1, the second
has a hundredth of the steps. But a channel may be scaled at will where a layer makes it and a layer
reads it: what is linear, or a ReLU, passes the factor on, and the reader's weights take it back.
Depthwise readers, with a weight scale for each channel, lose nothing by it; others share one among
all that an output channel reads, and meet it half way.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(2019), section 4.1. There weights have one scale for all channels, and are what is equalised.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, isfinite

import numpy as np

from model.importing.calibration import Statistics
from model.importing.float_graph import FloatGraph, Node, is_relu
from model.importing.float_operators import (
    AveragePool,
    Convolution,
    Dense,
    MaxPool,
    Reduction,
    Reshape,
)

__all__ = ["equalize"]

_MOST = 1e4
"""The largest factor: beyond, a channel is as good as dead."""


def equalize(graph: FloatGraph, statistics: Statistics) -> bool:
    """Scale channels, in place, so that those of each tensor reach equally far.

    Parameters
    ----------
    graph : FloatGraph
        Simplified. It computes what it did.
    statistics : Statistics
        Of its tensors as they are now; no longer true of those that were scaled.

    Returns
    -------
    bool
        Whether anything was scaled.
    """
    scaled = False
    for node in graph.nodes:
        if not isinstance(node.operator, Convolution | Dense):
            continue
        reader = _reader(graph, node)
        if reader is None:
            continue
        factor = _factor(node, reader, statistics)
        if (factor == 1).all():
            continue
        node.operator = replace(
            node.operator,
            weights=node.operator.weights * factor,
            bias=node.operator.bias * factor,
        )
        _take_back(reader, factor)
        scaled = True
    return scaled


def _reader(graph: FloatGraph, node: Node) -> Node | None:
    """The one layer that reads what a layer makes, if only what passes a factor on is between."""
    if not (node.clamp is None or (node.clamp[0] in (0, -inf) and node.clamp[1] > 0)):
        return None
    tensor = node.output
    while True:
        reader = graph.sole_consumer(tensor)
        if reader is None or tensor in graph.fixed:
            return None
        if isinstance(reader.operator, Convolution | Dense):
            return None if reader.operator.weight_scale is not None else reader
        passes = isinstance(reader.operator, AveragePool | MaxPool | Reduction | Reshape)
        if not passes or not (reader.clamp is None or is_relu(reader.clamp)):
            return None
        if isinstance(reader.operator, Reduction) and 2 in reader.operator.axes:
            return None
        if isinstance(reader.operator, Reshape):
            # The last axis must stay the channels: a flattening, in front of a dense layer.
            behind = graph.sole_consumer(reader.output)
            if behind is None or not isinstance(behind.operator, Dense):
                return None
        tensor = reader.output


def _factor(node: Node, reader: Node, statistics: Statistics) -> np.ndarray:
    """What to multiply each channel with."""
    reach = statistics[node.output].largest
    greatest = float(reach.max())
    operator = reader.operator
    assert isinstance(operator, Convolution | Dense)
    is_depthwise = isinstance(operator, Convolution) and operator.is_depthwise
    is_grouped = isinstance(operator, Convolution) and operator.groups > 1
    if not greatest > 0 or (is_grouped and not is_depthwise):
        return np.ones(len(reach))
    reach = np.maximum(reach, greatest / _MOST)
    if is_depthwise:
        factor = greatest / reach
    else:
        # What is read of each channel: its range and that of the weights become the same.
        weights = operator.weights.reshape(-1, operator.weights.shape[-1])
        read = np.abs(weights).max(axis=1).reshape(-1, len(reach)).max(axis=0)
        read = np.maximum(read, read.max() / _MOST)
        if not read.max() > 0:
            return np.ones(len(reach))
        factor = np.sqrt(read / reach) * (greatest / np.sqrt(read * reach).max())
    if node.clamp is not None and isfinite(node.clamp[1]):
        # The bound of a clamp is not scaled: what reaches it stays, what does not stays below.
        factor = np.maximum(np.minimum(factor, node.clamp[1] / reach), 1.0)
    return factor


def _take_back(reader: Node, factor: np.ndarray) -> None:
    operator = reader.operator
    if isinstance(operator, Dense):
        every = np.tile(factor, len(operator.weights) // len(factor))
        reader.operator = replace(operator, weights=operator.weights / every[:, np.newaxis])
    elif isinstance(operator, Convolution):
        weights = operator.weights
        if operator.is_depthwise:
            weights = weights / np.repeat(factor, weights.shape[3] // len(factor))
        else:
            weights = weights / factor[:, np.newaxis]
        reader.operator = replace(operator, weights=weights)
