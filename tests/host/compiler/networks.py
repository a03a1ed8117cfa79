"""Random small networks that the engine can run, and how to run them by the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.image import ImageHeader
from host.compiler import CompiledModel
from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Graph, Padding
from tests.tape_interpreter import Execution, execute

ZERO_POINTS = (-128, -127, -17, 0, 1, 90, 126, 127)

#: (lanes, pixels) or (lanes, pixels, requantisers): the smallest, the iCE40's, as many pixels as
#: lanes, no powers of two, more pixels than channels, an ECP5's.
SIZES = ((1, 1), (8, 2), (4, 4), (3, 3), (6, 3), (16, 8), (4, 5), (16, 8, 8), (4, 4, 4))


def configuration(size: tuple[int, ...], **values: int) -> EngineConfiguration:
    lanes, pixels, *requantizers = size
    if requantizers:
        values["requantizers"] = requantizers[0]
    return EngineConfiguration(lanes=lanes, pixels=pixels, **values)


def run(
    compiled: CompiledModel, picture: npt.NDArray[np.int8], layers: int = 0
) -> tuple[npt.NDArray[np.int8], Execution]:
    """Memory after the image ran on ``picture``, its only input."""
    memory = loaded(compiled, (picture,))
    execution = execute(compiled.configuration, memory, layers)
    if layers == 0:
        assert execution.tape_bytes == sum(layer.tape_bytes for layer in compiled.layers)
    assert memory[: len(compiled.image)].tobytes() == compiled.image
    assert ImageHeader.unpack(compiled.image).layers == len(compiled.layers)
    return memory, execution


def run_all(
    compiled: CompiledModel, inputs: Sequence[npt.NDArray[np.int8]], layers: int = 0
) -> npt.NDArray[np.int8]:
    """Memory after the image, or so many layers of it, ran on all its inputs."""
    memory = loaded(compiled, inputs)
    execute(compiled.configuration, memory, layers)
    assert memory[: len(compiled.image)].tobytes() == compiled.image
    return memory


def loaded(compiled: CompiledModel, inputs: Sequence[npt.NDArray[np.int8]]) -> npt.NDArray[np.int8]:
    """Memory with image and inputs; what nobody has written holds garbage."""
    size = compiled.configuration.memory_bytes
    memory = np.random.default_rng(0).integers(-128, 128, size).astype(np.int8)
    memory[: len(compiled.image)] = np.frombuffer(compiled.image, np.int8)
    for card, values in zip(compiled.card.inputs, inputs):
        data = np.frombuffer(card.pack(values), np.int8)
        memory[card.layout.address :][: len(data)] = data
    return memory


class RandomNetwork:
    """Adds random layers, with numbers that the engine's limits allow, to a graph builder."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        self.rng = rng
        self.scale = self._log_uniform(-8, -2)
        self.builder = GraphBuilder("random", shape, self.scale, self.zero_point())

    @property
    def shape(self) -> tuple[int, ...]:
        graph = self.builder.build()
        return graph.tensors[self.builder.last].shape[1:]

    def zero_point(self) -> int:
        return int(self.rng.choice(ZERO_POINTS))

    def activation(self) -> Activation:
        return Activation(str(self.rng.choice([value.value for value in Activation])))

    def _log_uniform(self, low: float, high: float) -> float:
        return float(np.float32(2 ** self.rng.uniform(low, high)))

    def _layer(self, weight_shape: tuple[int, ...], per_channel: bool) -> dict[str, Any]:
        rng, channels = self.rng, weight_shape[0]
        # Large windows have small weights, so that no sum exceeds 23 bits.
        limit = max(1, min(127, 2**22 // (80 * prod(weight_shape[1:]))))
        weights = rng.integers(-limit, limit + 1, weight_shape).astype(np.int8)
        scales = [self._log_uniform(-9, -6) for _ in range(channels if per_channel else 1)]
        spread = np.sqrt(prod(weight_shape[1:])) * 2 ** rng.uniform(4.0, 7.0)
        self.scale = float(np.float32(self.scale * max(scales) * spread))
        bias = rng.integers(-(2**14), 2**14, channels).astype(np.int32)
        return {
            "weights": weights,
            "weight_scale": scales if per_channel else scales[0],
            "bias": bias if rng.random() < 0.9 else None,
            "scale": self.scale,
            "zero_point": self.zero_point(),
            "activation": self.activation(),
        }

    def _window(self, largest: int) -> tuple[tuple[int, int], Padding]:
        padding = Padding.SAME if self.rng.random() < 0.5 else Padding.VALID
        height, width, _ = self.shape
        limits = (largest, largest) if padding is Padding.SAME else (height, width)
        kernel = tuple(int(self.rng.integers(1, min(largest, n) + 1)) for n in limits)
        return (kernel[0], kernel[1]), padding

    def _stride(self) -> tuple[int, int]:
        return int(self.rng.integers(1, 4)), int(self.rng.integers(1, 4))

    def conv(self) -> None:
        size, padding = self._window(5)
        dilation = (1, 1)
        if padding is Padding.SAME and self.rng.random() < 0.3:
            dilation = (2, int(self.rng.integers(1, 4)))
        channels = int(self.rng.integers(1, 20))
        self.builder.conv_2d(
            **self._layer((channels, *size, self.shape[2]), self.rng.random() < 0.8),
            stride=self._stride() if self.rng.random() < 0.4 else (1, 1),
            padding=padding,
            dilation=dilation,
        )

    def pointwise(self) -> None:
        channels = int(self.rng.integers(1, 20))
        self.builder.conv_2d(**self._layer((channels, 1, 1, self.shape[2]), True))

    def depthwise(self) -> None:
        size, padding = self._window(5)
        outputs = self.shape[2] * int(self.rng.choice([1, 1, 2]))
        values = self._layer((outputs, *size), True)
        values["weights"] = np.moveaxis(values["weights"], 0, -1)[np.newaxis]
        dilation = (1, 1)
        if padding is Padding.SAME and self.rng.random() < 0.3:
            dilation = (int(self.rng.integers(1, 4)), 2)
        self.builder.depthwise_conv_2d(
            **values,
            stride=self._stride() if self.rng.random() < 0.4 else (1, 1),
            padding=padding,
            dilation=dilation,
        )

    def average(self) -> None:
        height, width, _ = self.shape
        size = [int(self.rng.integers(1, min(n, 8) + 1)) for n in (height, width)]
        padding = Padding.VALID
        if self.rng.random() < 0.3:
            size = [height, width]
        elif self.rng.random() < 0.5:
            padding = Padding.SAME
        stride = self._stride() if self.rng.random() < 0.5 else None
        self.builder.average_pool_2d((size[0], size[1]), stride, padding, self.activation())

    def mean(self) -> None:
        scale = self.scale
        if self.rng.random() < 0.7:
            self.scale = scale * self._log_uniform(-3, 1)
        self.builder.mean(self.scale, self.zero_point())

    def pad(self) -> None:
        self.builder.pad(*(int(n) for n in self.rng.integers(0, 4, 4)))

    def branch(self) -> None:
        """A residual block: a convolution, or nothing, beside another, and their sum."""
        begin, scale = self.builder.last, self.scale
        channels = int(self.rng.integers(1, 20))
        if self.rng.random() < 0.5:
            channels = self.shape[2]
            other, other_scale = begin, scale
        else:
            self.builder.conv_2d(**self._layer((channels, 1, 1, self.shape[2]), True))
            other, other_scale = self.builder.last, self.scale
            self.builder.last, self.scale = begin, scale
        size = (channels, *((3, 3) if self.rng.random() < 0.5 else (1, 1)), self.shape[2])
        self.builder.conv_2d(**self._layer(size, True), padding=Padding.SAME)
        # An addition needs inputs of like scales.
        self.scale = other_scale * self._log_uniform(-2, 2)
        self.builder.quantize(self.scale, self.zero_point())
        self.scale = max(self.scale, other_scale) * self._log_uniform(-1, 1)
        self.builder.add(
            other, scale=self.scale, zero_point=self.zero_point(), activation=self.activation()
        )

    def dense(self) -> None:
        if self.rng.random() < 0.5:
            self.builder.reshape((prod(self.shape),))
        shape = (int(self.rng.integers(1, 20)), prod(self.shape))
        self.builder.fully_connected(**self._layer(shape, False))

    def pool(self) -> None:
        size, padding = self._window(4)
        stride = self._stride() if self.rng.random() < 0.5 else None
        self.builder.max_pool_2d(size, stride, padding, self.activation())

    def pooled(self) -> None:
        """What becomes one layer, where it can; most often of a convolution that keeps the size."""
        if min(self.shape[:2]) < 2 or len(self.shape) < 3:
            return
        if self.rng.random() < 0.7:
            weights = (int(self.rng.integers(1, 20)), 3, int(self.rng.integers(1, 4)))
            layer = self._layer((*weights, self.shape[2]), False)
            self.builder.conv_2d(**layer, padding=Padding.SAME)
        else:
            self.conv()
        if min(self.shape[:2]) >= 2:
            self.builder.max_pool_2d((2, 2))

    def table(self) -> None:
        choice = str(self.rng.choice(TABLES))
        if choice in ("logistic", "tanh"):
            getattr(self.builder, choice)()
            self.scale = 1 / 256 if choice == "logistic" else 1 / 128
            return
        if choice == "relu6":
            self.builder.relu6()
            return
        self.scale = self.scale * self._log_uniform(-1, 1)
        values = [self.scale, self.zero_point()]
        if choice == "leaky_relu":
            values.insert(0, float(self.rng.choice([0.0, 0.1, 0.5, 1.5])))
        getattr(self.builder, choice)(*values)

    def rsqrt(self) -> None:
        self.builder.quantize(self.scale, -128)
        self.scale = float(np.float32(self.rng.uniform(0.2, 2) / np.sqrt(self.scale) / 127))
        self.builder.rsqrt(self.scale, self.zero_point())


TABLES = ("logistic", "tanh", "relu", "relu6", "leaky_relu", "hard_swish", "quantize")
LAYERS = ("conv", "conv", "pointwise", "pool", "table")
CHANNEL_WISE = ("pointwise", "depthwise", "depthwise", "average", "mean", "pad")
EVERY = (*LAYERS, *CHANNEL_WISE, "branch", "pad")
EVERY_AND_POOLED = (*EVERY, "pooled", "pooled", "rsqrt")


def random_network(rng: np.random.Generator, layers: Sequence[str] = LAYERS) -> Graph:
    """Up to four layers on a small picture, some with dense layers and a softmax behind them."""
    shape = tuple(int(n) for n in (rng.integers(1, 12), rng.integers(1, 12), rng.integers(1, 7)))
    if rng.random() < 0.15:
        # Sound: one row, or one column.
        shape = (1, int(rng.integers(8, 50)), shape[2])
        shape = shape if rng.random() < 0.5 else (shape[1], 1, shape[2])
    network = RandomNetwork(rng, shape)
    for _ in range(int(rng.integers(1, 5))):
        getattr(network, str(rng.choice(layers)))()
    # A pool may have found too small a picture, and is then left out.
    if rng.random() < 0.5 or not network.builder.build().operators:
        network.dense()
        if rng.random() < 0.3:
            network.table()
        if rng.random() < 0.3:
            network.dense()
        if rng.random() < 0.5:
            network.builder.softmax()
    return network.builder.build()
