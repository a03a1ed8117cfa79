"""One-layer networks whose scales are as far apart as a file may say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Graph
from tests.model.int8.draws import ZERO_POINTS, pick, scale


def _far(rng: np.random.Generator) -> float:
    """Often near one, sometimes anywhere that float32 reaches, at powers of two and beside them."""
    exponent = rng.normal(0, 6) if rng.random() < 0.7 else rng.uniform(-120, 120)
    if rng.random() < 0.3:
        power = np.float32(2.0 ** round(exponent))
        return float(pick(rng, (power, np.nextafter(power, np.float32(0)))))
    return scale(rng, exponent, exponent + 1)


def _to(rng: np.random.Generator, activation: bool = False) -> dict:
    options = {"scale": _far(rng), "zero_point": pick(rng, ZERO_POINTS)}
    if activation:
        options["activation"] = pick(rng, tuple(Activation))
    return options


def _bytes(rng: np.random.Generator, shape: tuple[int, ...] = (1, 1, 256)) -> GraphBuilder:
    return GraphBuilder("extreme", shape, _far(rng), pick(rng, ZERO_POINTS))


def _bias(rng: np.random.Generator, channels: int) -> np.ndarray:
    """Up to where the accumulator wraps."""
    high = pick(rng, (1 << 10, 1 << 20, 1 << 30, (1 << 31) - 1))
    return rng.integers(-high, high, channels)


def _arithmetic(kind: str) -> Callable[[np.random.Generator], Graph]:
    def draw(rng: np.random.Generator) -> Graph:
        builder = _bytes(rng)
        other = builder.constant(
            rng.integers(-128, 128, (1, 1, 1, 256)).astype(np.int8),
            builder.scale * float(2 ** rng.normal(0, 8)),
            pick(rng, ZERO_POINTS),
        )
        getattr(builder, kind)(other, **_to(rng, activation=True))
        return builder.build()

    return draw


def _function(kind: str, *arguments) -> Callable[[np.random.Generator], Graph]:
    def draw(rng: np.random.Generator) -> Graph:
        builder = _bytes(rng)
        fixed = ("logistic", "tanh", "relu6", "softmax", "log_softmax", "dequantize")
        getattr(builder, kind)(*arguments, **({} if kind in fixed else _to(rng)))
        return builder.build()

    return draw


def _prelu(rng: np.random.Generator) -> Graph:
    builder = _bytes(rng)
    builder.prelu(rng.integers(-128, 128, 256), _far(rng), pick(rng, ZERO_POINTS), **_to(rng))
    return builder.build()


def _leaky_relu(rng: np.random.Generator) -> Graph:
    builder = _bytes(rng)
    builder.leaky_relu(abs(_far(rng)), **_to(rng))
    return builder.build()


def _quantize(rng: np.random.Generator) -> Graph:
    builder = GraphBuilder("extreme", (256,), dtype="float32")
    builder.quantize(**_to(rng))
    return builder.build()


def _weighted(kind: str, shape: tuple[int, ...]) -> Callable[[np.random.Generator], Graph]:
    def draw(rng: np.random.Generator) -> Graph:
        builder = _bytes(rng, (8,) if kind == "fully_connected" else (3, 3, 4))
        channels = 4
        getattr(builder, kind)(
            rng.integers(-127, 128, shape),
            [_far(rng) for _ in range(channels)],
            _bias(rng, channels) if rng.random() < 0.8 else None,
            **_to(rng, activation=True),
        )
        return builder.build()

    return draw


LAYERS: dict[str, Callable[[np.random.Generator], Graph]] = {
    **{kind: _arithmetic(kind) for kind in ("add", "sub", "mul")},
    **{
        kind: _function(kind)
        for kind in (
            *("logistic", "tanh", "relu", "relu6", "elu", "abs", "hard_swish", "quantize"),
            *("softmax", "log_softmax", "dequantize", "mean", "sum"),
        )
    },
    "prelu": _prelu,
    "leaky_relu": _leaky_relu,
    "quantize of float32": _quantize,
    "conv_2d": _weighted("conv_2d", (4, 2, 2, 4)),
    "depthwise_conv_2d": _weighted("depthwise_conv_2d", (1, 2, 2, 4)),
    "transpose_conv": _weighted("transpose_conv", (4, 2, 2, 4)),
    "fully_connected": _weighted("fully_connected", (4, 8)),
}
