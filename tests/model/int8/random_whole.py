"""Random networks of many layers: every operator before and behind every other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.int8.builder import GraphBuilder
from model.int8.graph import Activation, Graph, Padding
from tests.model.int8.draws import ZERO_POINTS, pick, scale, weights

Step = Callable[[np.random.Generator, GraphBuilder], object]

_MAX_ELEMENTS = 600


def _near(rng: np.random.Generator, builder: GraphBuilder) -> dict:
    """A quantisation not far from the last tensor's, so that values survive."""
    at = builder.scale * float(2 ** rng.uniform(-1, 1.5))
    return {"scale": float(np.float32(at)), "zero_point": pick(rng, ZERO_POINTS)}


def _weight_scale(rng: np.random.Generator, count: int, taps: int) -> list[float]:
    return [float(np.float32(rng.uniform(0.5, 2) / 64 / taps**0.5)) for _ in range(count)]


def _conv(rng: np.random.Generator, builder: GraphBuilder) -> None:
    channels, own = int(rng.integers(1, 6)), builder.shape[2]
    kernel = tuple(int(k) for k in rng.integers(1, 4, 2))
    builder.conv_2d(
        weights(rng, (channels, *kernel, own)),
        _weight_scale(rng, channels, kernel[0] * kernel[1] * own),
        rng.integers(-2000, 2000, channels) if rng.random() < 0.8 else None,
        stride=pick(rng, ((1, 1), (1, 1), (2, 2), (1, 2))),
        padding=Padding.SAME,
        activation=pick(rng, tuple(Activation)),
        **_near(rng, builder),
    )


def _depthwise(rng: np.random.Generator, builder: GraphBuilder) -> None:
    channels = builder.shape[2] * pick(rng, (1, 1, 2))
    builder.depthwise_conv_2d(
        weights(rng, (1, 3, 3, channels)),
        _weight_scale(rng, channels, 9),
        rng.integers(-2000, 2000, channels),
        padding=Padding.SAME,
        activation=pick(rng, tuple(Activation)),
        **_near(rng, builder),
    )


def _transpose_conv(rng: np.random.Generator, builder: GraphBuilder) -> None:
    channels, own = int(rng.integers(1, 4)), builder.shape[2]
    builder.transpose_conv(
        weights(rng, (channels, 2, 3, own)),
        _weight_scale(rng, channels, 6 * own),
        rng.integers(-2000, 2000, channels),
        stride=(2, 1),
        padding=pick(rng, tuple(Padding)),
        **_near(rng, builder),
    )


def _dense_on_a_map(rng: np.random.Generator, builder: GraphBuilder) -> None:
    units = int(rng.integers(1, 6))
    builder.fully_connected(
        weights(rng, (units, builder.shape[-1])),
        _weight_scale(rng, 1, builder.shape[-1])[0],
        rng.integers(-2000, 2000, units),
        keep_num_dims=True,
        **_near(rng, builder),
    )


def _constant_arithmetic(rng: np.random.Generator, builder: GraphBuilder) -> None:
    shape = pick(rng, ((), (builder.shape[-1],), (1, *builder.shape)))
    data = rng.integers(-128, 128, shape).astype(np.int8)
    other = builder.constant(data, builder.scale, pick(rng, ZERO_POINTS))
    kind, near = pick(rng, ("add", "sub", "mul", "maximum", "minimum")), _near(rng, builder)
    if kind in ("maximum", "minimum"):
        getattr(builder, kind)(other)
        return
    if kind == "mul":
        near["scale"] = float(np.float32(near["scale"] * builder.scale * 64))
    if rng.random() < 0.3:
        builder.last, other = other, builder.last
    getattr(builder, kind)(other, **near, activation=pick(rng, tuple(Activation)))


def _gate(rng: np.random.Generator, builder: GraphBuilder) -> None:
    """Squeeze and excitation, or x times sigmoid(x)."""
    x, before = builder.last, builder.scale
    near = _near(rng, builder)
    if rng.random() < 0.5:
        builder.mean(before, pick(rng, ZERO_POINTS), keep_dims=True)
    builder.logistic()
    gate, builder.last = builder.last, x
    builder.mul(gate, **near)


def _byte_function(rng: np.random.Generator, builder: GraphBuilder) -> None:
    kind = pick(rng, ("relu", "leaky_relu", "elu", "abs", "quantize", "tanh", "prelu", "relu6"))
    near = _near(rng, builder)
    if kind in ("tanh", "relu6"):
        getattr(builder, kind)()
    elif kind == "leaky_relu":
        builder.leaky_relu(float(np.float32(rng.uniform(0, 1))), **near)
    elif kind == "prelu":
        builder.prelu(rng.integers(-128, 128, builder.shape[-1:]), 1 / 128, **near)
    else:
        getattr(builder, kind)(**near)


def _slice(rng: np.random.Generator, builder: GraphBuilder) -> None:
    shape = (1, *builder.shape)
    axis = int(rng.integers(1, len(shape)))
    if shape[axis] < 2:
        return
    if rng.random() < 0.5:
        begin = [0] * len(shape)
        begin[axis] = int(rng.integers(1, shape[axis]))
        builder.slice(begin, [-1] * len(shape))
        return
    strides = [1] * len(shape)
    strides[axis] = pick(rng, (2, -1))
    every = (1 << len(shape)) - 1
    builder.strided_slice(
        [0] * len(shape), [0] * len(shape), strides, begin_mask=every, end_mask=every
    )


def _split_and_join(rng: np.random.Generator, builder: GraphBuilder) -> None:
    """The parts in another order; one of them may go through something."""
    shape = (1, *builder.shape)
    axis = int(rng.integers(1, len(shape)))
    if shape[axis] < 2:
        return
    cut = int(rng.integers(1, shape[axis]))
    first, second = builder.split_v(axis, (cut, shape[axis] - cut))
    if rng.random() < 0.5:
        first, second = second, first
    builder.last = first
    builder.concatenation([second, first] if rng.random() < 0.3 else [second], axis)


def _unpack_and_pack(rng: np.random.Generator, builder: GraphBuilder) -> None:
    axis = int(rng.integers(1, len(builder.shape) + 1))
    parts = list(builder.unpack(axis))
    rng.shuffle(parts)
    builder.last = int(parts[0])
    builder.pack([int(part) for part in parts[1:]], int(rng.integers(1, len(builder.shape) + 2)))


def _transpose(rng: np.random.Generator, builder: GraphBuilder) -> None:
    axes = 1 + rng.permutation(len(builder.shape))
    builder.transpose([0, *(int(axis) for axis in axes)])


def _pad(rng: np.random.Generator, builder: GraphBuilder) -> None:
    near = _near(rng, builder)
    widths = tuple(tuple(int(n) for n in rng.integers(0, 2, 2)) for _ in builder.shape)
    value = int(rng.integers(-128, 128)) if rng.random() < 0.4 else None
    builder.pad_by(widths, value, near["scale"], near["zero_point"])


def _reduce(rng: np.random.Generator, builder: GraphBuilder) -> None:
    axis = int(rng.integers(1, len(builder.shape) + 1))
    near = _near(rng, builder)
    if rng.random() < 0.5:
        builder.mean(**near, axes=(axis,))
    else:
        builder.reduce_max((axis,))


def _resize(rng: np.random.Generator, builder: GraphBuilder) -> None:
    size = tuple(int(side) for side in rng.integers(1, 9, 2))
    if rng.random() < 0.5:
        builder.resize_nearest_neighbor(*size, half_pixel=bool(rng.random() < 0.5))
    else:
        builder.resize_bilinear(*size, half_pixel=bool(rng.random() < 0.5))


def _pool(rng: np.random.Generator, builder: GraphBuilder) -> None:
    kernel, stride = (int(rng.integers(1, 4)), int(rng.integers(1, 4))), (1, 2)
    kind = pick(rng, (builder.max_pool_2d, builder.average_pool_2d))
    kind(kernel, stride, Padding.SAME, pick(rng, tuple(Activation)))


def _blocks(rng: np.random.Generator, builder: GraphBuilder) -> None:
    height, width, channels = builder.shape
    if channels % 4 == 0:
        builder.depth_to_space(2)
    elif height % 2 == width % 2 == 0:
        builder.space_to_depth(2)


def _softmax(rng: np.random.Generator, builder: GraphBuilder) -> None:
    builder.softmax()


_STEPS: tuple[Step, ...] = (
    *(_conv, _depthwise, _transpose_conv, _dense_on_a_map, _constant_arithmetic, _gate),
    *(_byte_function, _byte_function, _slice, _split_and_join, _unpack_and_pack, _transpose),
    *(_pad, _pad, _reduce, _resize, _pool, _blocks, _softmax),
)


def network(rng: np.random.Generator) -> Graph:
    """A network of 2 to 9 of these, with branches that are joined, and up to three outputs."""
    shape = tuple(int(size) for size in rng.integers(1, 7, 3))
    dtype = pick(rng, ("int8", "int8", "float32"))
    builder = GraphBuilder("whole", shape, scale(rng, -6, -3), pick(rng, ZERO_POINTS), dtype)
    if dtype == "float32":
        builder.quantize(scale(rng, -6, -3), pick(rng, ZERO_POINTS))
    made = [builder.last]
    for _ in range(int(rng.integers(2, 10))):
        before = builder.last
        if len(builder.shape) != 3 or 0 in builder.shape:
            builder.reshape((1,) * (3 - len(builder.shape)) + builder.shape[:3])
        pick(rng, _STEPS)(rng, builder)
        if len(builder.shape) > 3:
            builder.reshape((builder.shape[0] * builder.shape[1], *builder.shape[2:]))
        if np.prod(builder.shape) > _MAX_ELEMENTS:
            builder.reduce_max((1,))
        if rng.random() < 0.3:
            _join(rng, builder, made)
        if builder.last != before:
            made.append(builder.last)
    if len(made) == 1:
        builder.relu6()
        made.append(builder.last)
    ends = [builder.last]
    for tensor in made[1:-1]:
        if rng.random() < 0.1 and len(ends) < 3:
            ends.append(tensor)
    if rng.random() < 0.3:
        builder.dequantize()
        ends[0] = builder.last
    return builder.build(outputs=tuple(dict.fromkeys(ends)))


def _join(rng: np.random.Generator, builder: GraphBuilder, made: list[int]) -> None:
    """Add an earlier tensor of the same shape, if there is one."""
    tensors = builder.build().tensors
    alike = [each for each in made if tensors[each].shape == tensors[builder.last].shape]
    if not alike:
        return
    other, near = pick(rng, alike), _near(rng, builder)
    kind = pick(rng, ("add", "sub", "maximum"))
    if kind == "maximum":
        builder.maximum(other)
    else:
        at = float(tensors[other].quantization.scale[0])
        near["scale"] = max(near["scale"], float(np.float32(at / 4)))
        getattr(builder, kind)(other, **near, activation=pick(rng, tuple(Activation)))
