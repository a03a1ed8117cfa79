"""Random one-layer networks of arithmetic, reductions, scores, resizing and the networks' ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Graph, Padding
from tests.model.int8.draws import ZERO_POINTS, pick, scale, some_shape, weights

BROADCASTS = ("same", "scalar", "channels", "pixel", "column", "larger", "lower rank")


def _operand(
    rng: np.random.Generator, builder: GraphBuilder, form: str, constant: bool, at: float
) -> int:
    """A tensor that combines with `last`: constant, or another input."""
    shape = builder.shape
    other = {
        "same": shape,
        "scalar": (1,) * len(shape),
        "channels": (1,) * (len(shape) - 1) + shape[-1:],
        "pixel": shape[:-1] + (1,),
        "column": (1,) + shape[1:],
        "larger": shape,
        "lower rank": shape[-1:],
    }[form]
    zero_point = pick(rng, ZERO_POINTS)
    if constant or form == "lower rank":
        data = rng.integers(-128, 128, other if form == "lower rank" else (1, *other))
        if form == "scalar":
            data = data.reshape(pick(rng, ((), (1,), (1, 1))))
        return builder.constant(data.astype(np.int8), at, zero_point)
    last = builder.last
    number = builder.input(other, at, zero_point)
    builder.last = last
    return number


def _combined(rng: np.random.Generator, append: Callable, like: bool = False) -> Graph:
    """`append(builder, other)` on two tensors of any forms, in either order."""
    form, first = pick(rng, BROADCASTS), scale(rng, -8, -1)
    second = first * float(2 ** rng.uniform(-4, 4))
    shape = some_shape(rng)
    zero_point = pick(rng, ZERO_POINTS)
    builder = GraphBuilder("random", shape, first, zero_point)
    other = _operand(rng, builder, form, rng.random() < 0.6, float(np.float32(second)))
    if rng.random() < 0.4:
        builder.last, other = other, builder.last
    append(builder, other)
    return builder.build()


def _quantization(rng: np.random.Generator, low: float, high: float) -> dict:
    return {"scale": scale(rng, low, high), "zero_point": pick(rng, ZERO_POINTS)}


def add(rng: np.random.Generator) -> Graph:
    activation = pick(rng, tuple(Activation))
    return _combined(
        rng, lambda b, other: b.add(other, **_quantization(rng, -8, 1), activation=activation)
    )


def sub(rng: np.random.Generator) -> Graph:
    activation = pick(rng, tuple(Activation))
    return _combined(
        rng, lambda b, other: b.sub(other, **_quantization(rng, -8, 1), activation=activation)
    )


def mul(rng: np.random.Generator) -> Graph:
    activation = pick(rng, tuple(Activation))
    return _combined(
        rng, lambda b, other: b.mul(other, **_quantization(rng, -12, 2), activation=activation)
    )


def square(rng: np.random.Generator) -> Graph:
    """A tensor times itself, and less itself."""
    builder = GraphBuilder("random", (256,), scale(rng, -8, -1), pick(rng, ZERO_POINTS))
    builder.mul(builder.last, **_quantization(rng, -8, 2))
    builder.sub(builder.last, **_quantization(rng, -8, 2))
    return builder.build()


def maximum(rng: np.random.Generator) -> Graph:
    return _combined(rng, lambda builder, other: builder.maximum(other))


def minimum(rng: np.random.Generator) -> Graph:
    return _combined(rng, lambda builder, other: builder.minimum(other))


def prelu(rng: np.random.Generator) -> Graph:
    shape = some_shape(rng)
    builder = GraphBuilder("random", shape, scale(rng, -6, 1), pick(rng, ZERO_POINTS))
    slopes = pick(rng, (shape, shape[-1:], (1,) * len(shape)))
    builder.prelu(
        rng.integers(-128, 128, slopes),
        scale(rng, -9, -4),
        pick(rng, (0, 0, -128, 5)),
        **_quantization(rng, -6, 2),
    )
    return builder.build()


def elu(rng: np.random.Generator) -> Graph:
    builder = GraphBuilder("random", (256,), scale(rng, -9, 1), pick(rng, ZERO_POINTS))
    builder.elu(**_quantization(rng, -9, 1))
    return builder.build()


def absolute(rng: np.random.Generator) -> Graph:
    at = scale(rng, -6, 2)
    builder = GraphBuilder("random", (256,), at, pick(rng, ZERO_POINTS))
    builder.abs(at if rng.random() < 0.3 else scale(rng, -6, 2), pick(rng, ZERO_POINTS))
    return builder.build()


def reduction(rng: np.random.Generator) -> Graph:
    """Over any axes, named from either side, more than once, or none."""
    shape = some_shape(rng)
    builder = GraphBuilder("random", shape, scale(rng, -6, 1), pick(rng, ZERO_POINTS))
    rank = len(shape) + 1
    axes = tuple(int(axis) for axis in rng.integers(-rank, rank, rng.integers(1, 4)))
    kind, keep_dims = pick(rng, ("mean", "sum", "max", "min")), bool(rng.random() < 0.5)
    if kind == "mean":
        builder.mean(scale(rng, -8, 1), pick(rng, ZERO_POINTS), axes, keep_dims)
    elif kind == "sum":
        builder.sum(scale(rng, -5, 5), pick(rng, ZERO_POINTS), axes, keep_dims)
    elif kind == "max":
        builder.reduce_max(axes, keep_dims)
    else:
        builder.reduce_min(axes, keep_dims)
    return builder.build()


def resize(rng: np.random.Generator) -> Graph:
    shape = tuple(int(size) for size in rng.integers(1, 8, 3))
    builder = GraphBuilder("random", shape, scale(rng), pick(rng, ZERO_POINTS))
    size = tuple(int(size) for size in rng.integers(1, 20, 2))
    align = bool(rng.random() < 0.5)
    half = bool(rng.random() < 0.5)
    if rng.random() < 0.5:
        builder.resize_nearest_neighbor(*size, align, half)
    else:
        builder.resize_bilinear(*size, align, half and not align)
    return builder.build()


def log_softmax(rng: np.random.Generator) -> Graph:
    shape = pick(rng, ((int(rng.integers(1, 40)),), (3, int(rng.integers(1, 9)))))
    builder = GraphBuilder("random", shape, scale(rng, -12, 3), pick(rng, ZERO_POINTS))
    builder.log_softmax()
    return builder.build()


def softmax_of_a_map(rng: np.random.Generator) -> Graph:
    builder = GraphBuilder("random", some_shape(rng), scale(rng, -8, 2), pick(rng, ZERO_POINTS))
    builder.softmax(pick(rng, (1.0, 0.5)))
    return builder.build()


def arg(rng: np.random.Generator) -> Graph:
    shape = some_shape(rng)
    builder = GraphBuilder("random", shape, scale(rng), pick(rng, ZERO_POINTS))
    axis = int(rng.integers(-len(shape), len(shape)))
    builder.arg_max(axis) if rng.random() < 0.5 else builder.arg_min(axis)
    return builder.build()


def ends(rng: np.random.Generator) -> Graph:
    """Anything in, a byte in the middle, anything out."""
    shape = some_shape(rng)
    dtype = pick(rng, ("float32", "uint8", "int8"))
    zero_point = pick(rng, ZERO_POINTS) + 128 * (dtype == "uint8")
    builder = GraphBuilder("random", shape, scale(rng, -6, 1), zero_point, dtype)
    if rng.random() < 0.3:
        builder.reshape((1, *shape))
    builder.quantize(**_quantization(rng, -6, 1))
    end = pick(rng, ("float32", "uint8", "softmax", "log_softmax"))
    if end == "uint8":
        builder.quantize(scale(rng, -6, 1), pick(rng, ZERO_POINTS) + 128, "uint8")
        return builder.build()
    builder.dequantize()
    if end == "softmax":
        builder.softmax(pick(rng, (1.0, 0.7)))
    elif end == "log_softmax":
        builder.log_softmax()
    return builder.build()


def transpose_conv(rng: np.random.Generator) -> Graph:
    shape = tuple(int(size) for size in rng.integers(1, 6, 3))
    builder = GraphBuilder("random", shape, scale(rng), pick(rng, ZERO_POINTS))
    channels, kernel = int(rng.integers(1, 6)), tuple(int(k) for k in rng.integers(1, 6, 2))
    stride = tuple(int(k) for k in rng.integers(1, 4, 2))
    padding = pick(rng, tuple(Padding))
    size = None
    if rng.random() < 0.3:
        # converters also write outputs smaller or larger than the kernels reach
        size = tuple(
            max(1, (side - 1) * step + k + int(rng.integers(-2, 3)))
            for side, step, k in zip(shape, stride, kernel)
        )
        if padding is Padding.VALID:
            size = tuple(max(side, k) for side, k in zip(size, kernel))
    builder.transpose_conv(
        weights(rng, (channels, *kernel, shape[2])),
        [scale(rng) for _ in range(channels)] if rng.random() < 0.7 else scale(rng),
        rng.integers(-(2**14), 2**14, channels) if rng.random() < 0.8 else None,
        stride=stride,
        padding=padding,
        activation=pick(rng, tuple(Activation)),
        size=size,
        **_quantization(rng, -6, 4),
    )
    return builder.build()


def grouped_conv_2d(rng: np.random.Generator) -> Graph:
    groups, own, made = (int(n) for n in rng.integers(1, 4, 3))
    builder = GraphBuilder("random", (5, 6, groups * own), scale(rng), pick(rng, ZERO_POINTS))
    builder.conv_2d(
        weights(rng, (groups * made, 3, 2, own)),
        [scale(rng) for _ in range(groups * made)],
        rng.integers(-(2**14), 2**14, groups * made),
        padding=pick(rng, tuple(Padding)),
        activation=pick(rng, tuple(Activation)),
        **_quantization(rng, -4, 4),
    )
    return builder.build()


def fully_connected_on_a_map(rng: np.random.Generator) -> Graph:
    shape = some_shape(rng)
    builder = GraphBuilder("random", shape, scale(rng), pick(rng, ZERO_POINTS))
    units = int(rng.integers(1, 8))
    builder.fully_connected(
        weights(rng, (units, shape[-1])),
        [scale(rng) for _ in range(units)] if rng.random() < 0.5 else scale(rng),
        rng.integers(-(2**14), 2**14, units) if rng.random() < 0.8 else None,
        activation=pick(rng, tuple(Activation)),
        keep_num_dims=True,
        **_quantization(rng, -4, 4),
    )
    return builder.build()


LAYERS: dict[str, Callable[[np.random.Generator], Graph]] = {
    "ADD broadcast": add,
    "SUB": sub,
    "MUL": mul,
    "MUL of itself": square,
    "MAXIMUM": maximum,
    "MINIMUM": minimum,
    "PRELU": prelu,
    "ELU": elu,
    "ABS": absolute,
    "reductions": reduction,
    "resizing": resize,
    "LOG_SOFTMAX": log_softmax,
    "SOFTMAX of a map": softmax_of_a_map,
    "ARG_MAX": arg,
    "ends": ends,
    "TRANSPOSE_CONV": transpose_conv,
    "CONV_2D grouped": grouped_conv_2d,
    "FULLY_CONNECTED on a map": fully_connected_on_a_map,
}
