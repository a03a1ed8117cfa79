"""Folding: removes batch normalisation and dropout, which only training needs.

After training, a `BatchNorm` is a fixed scale and shift of each channel, with f = g / sqrt(v +
epsilon): y = f (x - m) + s. Together with the layer x = linear(u, w) + b before it, it is again a
layer of that kind,

y = linear(u, f w) + (f (b - m) + s)

because a layer's output is linear in its weights, channel by channel. The folded network computes
the same function with fewer layers.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (2018), section 3.2, equation 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import numpy as np

from model.errors import ModelError
from model.training.layers import BatchNorm, Dropout, Layer, Residual, Weighted
from model.training.network import Network

__all__ = ["fold"]


def fold(network: Network) -> Network:
    """Copy a trained network without batch normalisation and dropout; every layer of the copy has a
    bias.

    Raises
    ------
    ModelError
        If a `BatchNorm` does not directly follow a layer with weights.
    """
    return Network.of_built(_fold(network.layers), network.shape, network.classes)


def _fold(layers: Sequence[Layer]) -> list[Layer]:
    folded: list[Layer] = []
    for layer in layers:
        match layer:
            case Dropout():
                continue
            case BatchNorm():
                if not (folded and isinstance(folded[-1], Weighted)):
                    raise ModelError("a BatchNorm folds only into a layer with weights before it")
                _absorb(folded[-1], layer)
            case Residual():
                folded.append(Residual(_fold(layer.body), _fold(layer.shortcut)))
            case Weighted():
                copy = deepcopy(layer)
                weights = layer.parameters["weights"]
                no_bias = np.zeros(weights.shape[-1], weights.dtype)
                copy.replace(weights.copy(), layer.parameters.get("bias", no_bias).copy())
                folded.append(copy)
            case _:
                folded.append(deepcopy(layer))
    return folded


def _absorb(layer: Weighted, norm: BatchNorm) -> None:
    """Change the weights and bias of `layer` so that it includes `norm`."""
    mean, variance = norm.state["mean"], norm.state["variance"]
    factor = norm.parameters["scale"] / np.sqrt(variance + norm.EPSILON)
    layer.replace(
        weights=layer.parameters["weights"] * factor,
        bias=factor * (layer.parameters["bias"] - mean) + norm.parameters["shift"],
    )
