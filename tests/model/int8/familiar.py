"""Small networks of the shapes that people bring: TFLM's examples, detectors, modern blocks.

Weights are random, and scales such that values neither vanish nor saturate everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Graph, Padding

_RELU6 = Activation.RELU6


class _Network(GraphBuilder):
    """With weights drawn at random, each layer in the quantisation that a converter might find."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: str = "int8") -> None:
        super().__init__(name, shape, 1 / 127, 0 if dtype == "int8" else 128, dtype)
        self.rng = np.random.default_rng(sum(name.encode()))
        if dtype != "int8":
            self.quantize(1 / 127, 0)

    def _drawn(self, shape: tuple[int, ...], taps: int) -> tuple[np.ndarray, list[float]]:
        weights = np.clip(self.rng.normal(0, 45, shape), -127, 127).round()
        channels = shape[3] if shape[0] == 1 and len(shape) == 4 else shape[0]
        return weights, list((1 / 45 / taps**0.5) * self.rng.uniform(0.7, 1.4, channels))

    def _bias(self, channels: int) -> np.ndarray:
        return self.rng.normal(0, 3000, channels).round().astype(int)

    def conv(
        self,
        channels: int,
        kernel: int,
        stride: int = 1,
        activation: Activation = _RELU6,
        padding: Padding = Padding.SAME,
    ) -> int:
        own = self.shape[2]
        weights, scales = self._drawn((channels, kernel, kernel, own), kernel**2 * own)
        return self.conv_2d(
            weights,
            scales,
            self._bias(channels),
            stride=(stride, stride),
            padding=padding,
            activation=activation,
            **self._range(activation),
        )

    def depthwise(self, stride: int = 1, kernel: int = 3) -> int:
        channels = self.shape[2]
        weights, scales = self._drawn((1, kernel, kernel, channels), kernel**2)
        return self.depthwise_conv_2d(
            weights,
            scales,
            self._bias(channels),
            stride=(stride, stride),
            padding=Padding.SAME,
            activation=_RELU6,
            **self._range(_RELU6),
        )

    def dense(self, units: int, activation: Activation = Activation.NONE) -> int:
        inputs = int(np.prod(self.shape))
        weights, scales = self._drawn((units, inputs), inputs)
        return self.fully_connected(
            weights, scales[0], self._bias(units), activation=activation, **self._range(activation)
        )

    @staticmethod
    def _range(activation: Activation) -> dict:
        if activation in (Activation.RELU, _RELU6):
            return {"scale": 3 / 255, "zero_point": -128}
        return {"scale": 5 / 255, "zero_point": -4}

    def joined(self, other: int) -> int:
        return self.add(other, scale=6 / 255, zero_point=-9)


def person_detect() -> Graph:
    """A MobileNet of the first version: depthwise and pointwise, a pool, a 1x1 convolution."""
    net = _Network("person_detect", (16, 16, 1))
    net.conv(4, 3, 2)
    for channels, stride in ((6, 1), (8, 2), (8, 1), (12, 2)):
        net.depthwise(stride)
        net.conv(channels, 1)
    net.average_pool_2d((2, 2))
    net.conv(2, 1, activation=Activation.NONE)
    net.reshape((2,))
    net.softmax()
    return net.build()


def micro_speech() -> Graph:
    """A flat spectrogram, one wide depthwise convolution, a dense layer of many inputs."""
    net = _Network("micro_speech", (490,))
    net.reshape((49, 10, 1))
    weights, scales = net._drawn((1, 10, 8, 8), 80)
    net.depthwise_conv_2d(
        weights,
        scales,
        net._bias(8),
        stride=(2, 2),
        padding=Padding.SAME,
        activation=Activation.RELU,
        scale=3 / 255,
        zero_point=-128,
    )
    net.dense(4)
    net.softmax()
    return net.build()


def magic_wand() -> Graph:
    """Three axes of an accelerometer in float32, a large pool, and float32 out."""
    net = _Network("magic_wand", (32, 3, 1), "float32")
    net.conv(4, 3)
    net.max_pool_2d((3, 3))
    net.conv(8, 3)
    net.max_pool_2d((3, 1), padding=Padding.SAME)
    net.dense(8, Activation.RELU)
    net.dense(4)
    net.softmax()
    net.dequantize()
    return net.build()


def face_detection() -> Graph:
    """Residual blocks whose channels are padded, and four outputs in the form of anchors."""
    net = _Network("face_detection", (16, 16, 3))
    net.conv(4, 5, 2)
    for channels, stride in ((4, 1), (6, 1), (8, 2)):
        shortcut = net.last
        net.depthwise(stride)
        net.conv(channels, 1, activation=Activation.NONE)
        block, net.last = net.last, shortcut
        if stride == 2:
            net.max_pool_2d((2, 2), padding=Padding.SAME)
        if net.shape[2] < channels:
            net.pad(0, 0, 0, 0, 0, channels - net.shape[2])
        net.add(block, scale=4 / 255, zero_point=-128, activation=Activation.RELU)
    features, ends = net.last, []
    net.conv(8, 3, 2)
    for source, anchors in ((features, 2), (net.last, 3)):
        for values in (1, 4):
            net.last = source
            net.conv(anchors * values, 1, activation=Activation.NONE)
            net.reshape((net.shape[0] * net.shape[1] * anchors, values))
            ends.append(net.last)
    return net.build(outputs=tuple(ends))


def yolo_person_detect() -> Graph:
    """Inverted residuals, leaky activations, a feature pyramid with resizing, two heads."""
    net = _Network("yolo_person_detect", (16, 16, 3))
    net.conv(6, 3, 2, Activation.NONE)
    net.leaky_relu(0.1, 4 / 255, -100)
    shortcut = net.last
    net.conv(12, 1)
    net.depthwise()
    net.conv(6, 1, activation=Activation.NONE)
    fine = net.joined(shortcut)
    net.depthwise(2)
    coarse = net.conv(8, 1, activation=Activation.NONE)
    first = net.conv(9, 1, activation=Activation.NONE)
    net.last = coarse
    net.resize_nearest_neighbor(8, 8)
    net.quantize(6 / 255, -9)
    net.concatenation([fine])
    net.conv(8, 1)
    second = net.conv(9, 1, activation=Activation.NONE)
    return net.build(outputs=(first, second))


def fomo() -> Graph:
    """A MobileNetV2 cut early, with a softmax for each cell of the picture."""
    net = _Network("fomo", (24, 24, 1))
    net.conv(4, 3, 2)
    net.depthwise(2)
    shortcut = net.conv(6, 1, activation=Activation.NONE)
    net.conv(12, 1)
    net.depthwise()
    net.conv(6, 1, activation=Activation.NONE)
    net.joined(shortcut)
    net.conv(8, 1, activation=Activation.RELU)
    net.conv(3, 1, activation=Activation.NONE)
    net.softmax()
    return net.build()


def squeeze_and_excitation() -> Graph:
    """Hard swishes, written with ADD, MIN, MAX and MUL, and a gate for each channel."""
    net = _Network("squeeze_and_excitation", (8, 8, 3))
    net.conv(8, 3, 2, Activation.NONE)
    _written_out_hard_swish(net)
    map_ = net.last
    net.mean(4 / 255, -20, keep_dims=True)
    net.conv(4, 1, activation=Activation.RELU)
    net.conv(8, 1, activation=Activation.NONE)
    net.logistic()
    gate, net.last = net.last, map_
    net.mul(gate, scale=4 / 255, zero_point=-30)
    net.conv(8, 3)
    net.mean(3 / 255, -128, keep_dims=False)
    net.dense(5)
    return net.build()


def _written_out_hard_swish(net: _Network) -> None:
    """x * min(max(x + 3, 0), 6) / 6."""
    x = net.last
    net.add(net.constant(np.array([127], np.int8), 3 / 127), scale=8 / 255, zero_point=-110)
    scale, zero_point = net.scale, -110
    for bound, combine in ((0, net.maximum), (6, net.minimum)):
        byte = int(np.clip(round(bound / scale) + zero_point, -128, 127))
        combine(net.constant(np.array(byte, np.int8), scale, zero_point))
    net.mul(net.constant(np.array([127], np.int8), 1 / 6 / 127), scale=1 / 255, zero_point=-128)
    net.mul(x, scale=4 / 255, zero_point=-100)


def swish() -> Graph:
    """x * sigmoid(x) behind every convolution, two branches, and a flattening transposition."""
    net = _Network("swish", (8, 8, 2))
    for channels, stride in ((4, 1), (6, 2)):
        x = net.conv(channels, 3, stride, Activation.NONE)
        net.logistic()
        net.mul(x, scale=3 / 255, zero_point=-110)
    first, second = net.split(3, 2)
    net.last = second
    net.strided_slice((0, 0, 0, 0), (1, 4, 4, 3), (1, 1, -1, 1), begin_mask=15, end_mask=15)
    net.concatenation([first])
    net.transpose((0, 3, 1, 2))
    net.reshape((96,))
    net.dense(5)
    net.log_softmax()
    return net.build()


NETWORKS: Sequence[Callable[[], Graph]] = (
    person_detect,
    micro_speech,
    magic_wand,
    face_detection,
    yolo_person_detect,
    fomo,
    squeeze_and_excitation,
    swish,
)
