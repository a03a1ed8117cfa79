"""The layers of a network in floating point: what each computes, and its true gradient.

Every layer has a `forward` and a `backward`. The latter takes the loss's gradient by the layer's
output, accumulates the gradients of its parameters, and returns the gradient by its input. That is
the chain rule for one layer; `model.training.network` applies it to all.

Read `layer` first, then `dense`, the simplest layer that learns. `window`, `convolution`,
`depthwise` and `pooling` slide a kernel over a picture. `activation`, `normalization` and `dropout`
follow, and `residual`, a layer that consists of layers.

Pictures are float32 arrays of shape (H, W, N, C): height, width, picture of the batch, channel.
With the batch inside, the pixels that a shifted window covers lie in long contiguous runs, which
makes NumPy fast. After `Flatten`, arrays have shape (N, features).

Sources: Goodfellow, Bengio, Courville, "Deep Learning" (2016), 6.5 for back-propagation and 9 for
convolution and pooling; each layer names its own.
"""

from model.training.layers.activation import ReLU, Sigmoid
from model.training.layers.convolution import Conv2D
from model.training.layers.dense import Dense, Flatten
from model.training.layers.depthwise import DepthwiseConv2D
from model.training.layers.dropout import Dropout
from model.training.layers.layer import Layer, Weighted
from model.training.layers.normalization import BatchNorm
from model.training.layers.pooling import AveragePool2D, GlobalAveragePool, MaxPool2D
from model.training.layers.residual import Residual
from model.training.layers.window import Windowed

__all__ = [
    "AveragePool2D",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePool",
    "Layer",
    "MaxPool2D",
    "ReLU",
    "Residual",
    "Sigmoid",
    "Weighted",
    "Windowed",
]
