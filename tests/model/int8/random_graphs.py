"""Random one-layer networks over corners that real models seldom visit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Graph, Padding, Tensor
from tests.model.int8 import random_arithmetic, random_moves
from tests.model.int8.draws import ZERO_POINTS, pick, scale, weights


def _picture(rng: np.random.Generator, channels: int) -> GraphBuilder:
    shape = (int(rng.integers(1, 10)), int(rng.integers(1, 10)), channels)
    return GraphBuilder("random", shape, scale(rng), pick(rng, ZERO_POINTS))


def _kernel(rng: np.random.Generator, padding: Padding, pixels: tuple[int, int]):
    """A kernel that fits: SAME may hang over, VALID may not."""
    largest = (7, 7) if padding is Padding.SAME else pixels
    return tuple(int(rng.integers(1, min(7, size) + 1)) for size in largest)


def _stride(rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(1, 4)), int(rng.integers(1, 4))


def _pixels(builder: GraphBuilder) -> tuple[int, int]:
    _, height, width, _ = builder.build().input.shape
    return height, width


def conv_2d(rng: np.random.Generator) -> Graph:
    channels_in, channels_out = int(rng.integers(1, 9)), int(rng.integers(1, 10))
    builder = _picture(rng, channels_in)
    padding = pick(rng, tuple(Padding))
    kernel = _kernel(rng, padding, _pixels(builder))
    per_channel = rng.random() < 0.8
    builder.conv_2d(
        weights(rng, (channels_out, *kernel, channels_in)),
        [scale(rng) for _ in range(channels_out)] if per_channel else scale(rng),
        rng.integers(-(2**16), 2**16, channels_out) if rng.random() < 0.9 else None,
        stride=_stride(rng),
        padding=padding,
        activation=pick(rng, tuple(Activation)),
        scale=scale(rng, -6, 6),
        zero_point=pick(rng, ZERO_POINTS),
    )
    return builder.build()


def dilated_conv_2d(rng: np.random.Generator) -> Graph:
    builder = GraphBuilder("random", (9, 11, 3), scale(rng), pick(rng, ZERO_POINTS))
    builder.conv_2d(
        weights(rng, (4, 3, 2, 3)),
        [scale(rng) for _ in range(4)],
        rng.integers(-(2**16), 2**16, 4),
        stride=(1, 2),
        dilation=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        padding=pick(rng, tuple(Padding)),
        scale=scale(rng, -4, 4),
        zero_point=pick(rng, ZERO_POINTS),
    )
    return builder.build()


def fully_connected(rng: np.random.Generator) -> Graph:
    inputs, outputs = int(rng.integers(1, 300)), int(rng.integers(1, 20))
    builder = GraphBuilder("random", (inputs,), scale(rng), pick(rng, ZERO_POINTS))
    builder.fully_connected(
        weights(rng, (outputs, inputs)),
        scale(rng),
        rng.integers(-(2**16), 2**16, outputs) if rng.random() < 0.9 else None,
        activation=pick(rng, tuple(Activation)),
        scale=scale(rng, -6, 6),
        zero_point=pick(rng, ZERO_POINTS),
    )
    return builder.build()


def per_channel_fully_connected(rng: np.random.Generator) -> Graph:
    builder = GraphBuilder("random", (31,), scale(rng), pick(rng, ZERO_POINTS))
    builder.fully_connected(
        weights(rng, (7, 31)),
        [scale(rng) for _ in range(7)],
        rng.integers(-(2**16), 2**16, 7),
        scale=scale(rng, -6, 6),
        zero_point=pick(rng, ZERO_POINTS),
    )
    return builder.build()


def max_pool_2d(rng: np.random.Generator) -> Graph:
    builder = _picture(rng, int(rng.integers(1, 9)))
    padding = pick(rng, tuple(Padding))
    kernel = _kernel(rng, padding, _pixels(builder))
    builder.max_pool_2d(kernel, _stride(rng), padding, pick(rng, tuple(Activation)))
    return builder.build()


def every_byte(rng: np.random.Generator, at: float | None = None) -> GraphBuilder:
    """A picture that has room for each of the 256 bytes."""
    at = scale(rng, -12, 3) if at is None else at
    return GraphBuilder("random", (256,), at, pick(rng, ZERO_POINTS))


def logistic(rng: np.random.Generator) -> Graph:
    builder = every_byte(rng)
    builder.logistic()
    return builder.build()


def relu(rng: np.random.Generator) -> Graph:
    builder = every_byte(rng, scale(rng, -6, 3))
    builder.relu(scale(rng, -6, 3), pick(rng, ZERO_POINTS))
    return builder.build()


def relu6(rng: np.random.Generator) -> Graph:
    builder = every_byte(rng, scale(rng, -6, 3))
    builder.relu6()
    return builder.build()


def softmax(rng: np.random.Generator) -> Graph:
    classes = int(rng.integers(1, 40))
    builder = GraphBuilder("random", (classes,), scale(rng, -12, 3), pick(rng, ZERO_POINTS))
    builder.softmax(pick(rng, (1.0, 1.0, 0.5, 2.75)))
    return builder.build()


def reshape(rng: np.random.Generator) -> Graph:
    builder = GraphBuilder("random", (3, 5, 2))
    builder.relu6()
    builder.reshape((30,))
    return builder.build()


def depthwise_conv_2d(rng: np.random.Generator) -> Graph:
    channels = int(rng.integers(1, 7))
    builder = _picture(rng, channels)
    padding = pick(rng, tuple(Padding))
    kernel = _kernel(rng, padding, _pixels(builder))
    outputs = channels * pick(rng, (1, 1, 1, 2, 3))
    stride = _stride(rng)
    builder.depthwise_conv_2d(
        weights(rng, (1, *kernel, outputs)),
        [scale(rng) for _ in range(outputs)],
        rng.integers(-(2**14), 2**14, outputs) if rng.random() < 0.9 else None,
        stride=(stride[0], stride[0]),
        padding=padding,
        activation=pick(rng, tuple(Activation)),
        scale=scale(rng, -6, 4),
        zero_point=pick(rng, ZERO_POINTS),
    )
    return builder.build()


def average_pool_2d(rng: np.random.Generator) -> Graph:
    builder = _picture(rng, int(rng.integers(1, 9)))
    padding = pick(rng, tuple(Padding))
    kernel = _kernel(rng, padding, _pixels(builder))
    builder.average_pool_2d(kernel, _stride(rng), padding, pick(rng, tuple(Activation)))
    return builder.build()


def add(rng: np.random.Generator) -> Graph:
    """A picture and its tanh, added."""
    builder = every_byte(rng, scale(rng, -8, -2))
    picture = builder.last
    builder.tanh()
    builder.add(
        picture,
        scale=scale(rng, -8, 1),
        zero_point=pick(rng, ZERO_POINTS),
        activation=pick(rng, tuple(Activation)),
    )
    return builder.build()


def tanh(rng: np.random.Generator) -> Graph:
    builder = every_byte(rng)
    builder.tanh()
    return builder.build()


def leaky_relu(rng: np.random.Generator) -> Graph:
    builder = every_byte(rng, scale(rng, -6, 3))
    alpha = float(np.float32(rng.uniform(0, 1.5)))
    builder.leaky_relu(alpha, scale(rng, -6, 3), pick(rng, ZERO_POINTS))
    return builder.build()


def hard_swish(rng: np.random.Generator) -> Graph:
    at = scale(rng, -8, 0)
    builder = every_byte(rng, at)
    builder.hard_swish(float(np.float32(at * rng.uniform(0.3, 3))), pick(rng, ZERO_POINTS))
    return builder.build()


def rsqrt(rng: np.random.Generator) -> Graph:
    at = scale(rng, -9, 3)
    builder = GraphBuilder("random", (256,), at, -128)
    builder.rsqrt(float(np.float32(scale(rng, -8, 4) / np.sqrt(at))), pick(rng, ZERO_POINTS))
    return builder.build()


def quantize(rng: np.random.Generator) -> Graph:
    builder = every_byte(rng, scale(rng, -6, 3))
    builder.quantize(scale(rng, -6, 3), pick(rng, ZERO_POINTS))
    return builder.build()


def mean(rng: np.random.Generator) -> Graph:
    builder = _picture(rng, int(rng.integers(1, 9)))
    builder.mean(scale(rng, -9, 1), pick(rng, ZERO_POINTS))
    return builder.build()


def pad(rng: np.random.Generator) -> Graph:
    builder = _picture(rng, int(rng.integers(1, 9)))
    builder.pad(*(int(size) for size in rng.integers(0, 4, 4)))
    return builder.build()


LAYERS: dict[str, Callable[[np.random.Generator], Graph]] = {
    "CONV_2D": conv_2d,
    "CONV_2D dilated": dilated_conv_2d,
    "FULLY_CONNECTED": fully_connected,
    "FULLY_CONNECTED per channel": per_channel_fully_connected,
    "MAX_POOL_2D": max_pool_2d,
    "LOGISTIC": logistic,
    "RELU": relu,
    "RELU6": relu6,
    "SOFTMAX": softmax,
    "RESHAPE": reshape,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "AVERAGE_POOL_2D": average_pool_2d,
    "ADD": add,
    "TANH": tanh,
    "LEAKY_RELU": leaky_relu,
    "HARD_SWISH": hard_swish,
    "RSQRT": rsqrt,
    "QUANTIZE": quantize,
    "MEAN": mean,
    "PAD": pad,
    **random_arithmetic.LAYERS,
    **random_moves.LAYERS,
}


def pictures(rng: np.random.Generator, graph: Graph, count: int) -> np.ndarray:
    """Inputs of every kind: random, all the same byte, the extremes alone, every byte once."""
    return _examples(rng, graph.input, count)


def examples(rng: np.random.Generator, graph: Graph, count: int) -> dict[str, np.ndarray]:
    """The same for all of the network's inputs, by name."""
    tensors = [graph.tensors[index] for index in graph.inputs]
    return {tensor.name: _examples(rng, tensor, count) for tensor in tensors}


def _examples(rng: np.random.Generator, tensor: Tensor, count: int) -> np.ndarray:
    shape = tensor.example_shape
    if tensor.dtype == "float32":
        # On and between the steps of the network's quantisation, beyond its range, and odd ones.
        x = rng.normal(0, 10 ** rng.uniform(-2, 3), (count, *shape)).astype(np.float32)
        x[0] = np.resize([0, -0.0, 0.5, -0.5, 1e9, -1e9, 3e38, -3e38, np.inf, np.nan, 1e-40], shape)
        return x
    limits = np.iinfo(tensor.dtype)
    x = rng.integers(limits.min, limits.max + 1, (count, *shape)).astype(limits.dtype)
    x[0] = np.resize(np.arange(limits.min, limits.max + 1), shape)
    if count > 3:
        x[1] = limits.min
        x[2] = limits.max
        x[3] = rng.choice([limits.min, limits.max], shape)
    return x
