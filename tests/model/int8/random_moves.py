"""Random one-layer networks of operators that only move bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.int8.builder import GraphBuilder
from model.int8.graph import Graph
from tests.model.int8.draws import ZERO_POINTS, pick, scale, some_shape


def _start(rng: np.random.Generator, shape: tuple[int, ...] | None = None) -> GraphBuilder:
    shape = some_shape(rng) if shape is None else shape
    return GraphBuilder("random", shape, scale(rng), pick(rng, ZERO_POINTS))


def concatenation(rng: np.random.Generator) -> Graph:
    """Of several inputs, constants and the same one again, all of one quantisation."""
    at, zero_point = scale(rng), pick(rng, ZERO_POINTS)
    builder = GraphBuilder("random", some_shape(rng), at, zero_point)
    axis = int(rng.integers(1, len(builder.shape) + 1))
    first, others = builder.last, []
    for _ in range(int(rng.integers(1, 4))):
        shape = list(builder.build().tensors[first].shape)
        shape[axis] = int(rng.integers(1, 5))
        kind = rng.random()
        if kind < 0.2:
            others.append(first)
        elif kind < 0.5:
            data = rng.integers(-128, 128, shape).astype(np.int8)
            others.append(builder.constant(data, at, zero_point))
        else:
            others.append(builder.input(tuple(shape[1:]), at, zero_point))
    builder.last = first
    rank = len(builder.shape) + 1
    builder.concatenation(others, axis if rng.random() < 0.5 else axis - rank)
    return builder.build()


def pack(rng: np.random.Generator) -> Graph:
    builder = _start(rng)
    first, shape = builder.last, builder.shape
    others = [builder.input(shape, scale(rng)) for _ in range(int(rng.integers(0, 3)))]
    builder.last = first
    builder.pack(others, int(rng.integers(1, len(shape) + 1)))
    return builder.build()


def unpack(rng: np.random.Generator) -> Graph:
    builder = _start(rng)
    return builder.build(outputs=builder.unpack(int(rng.integers(1, len(builder.shape) + 1))))


def split(rng: np.random.Generator) -> Graph:
    axis, count = int(rng.integers(0, 3)), int(rng.integers(1, 5))
    shape = [int(size) for size in rng.integers(1, 5, 3)]
    shape[axis] *= count
    builder = _start(rng, tuple(shape))
    return builder.build(outputs=builder.split(axis + 1, count))


def split_v(rng: np.random.Generator) -> Graph:
    axis = int(rng.integers(0, 3))
    sizes = [int(size) for size in rng.integers(1, 4, rng.integers(1, 5))]
    shape = [int(size) for size in rng.integers(1, 5, 3)]
    shape[axis] = sum(sizes)
    builder = _start(rng, tuple(shape))
    return builder.build(outputs=builder.split_v(axis + 1, sizes))


def slices(rng: np.random.Generator) -> Graph:
    builder = _start(rng)
    begin, size = [0], [1]
    for side in builder.shape:
        begin.append(int(rng.integers(side)))
        size.append(-1 if rng.random() < 0.3 else int(rng.integers(1, side - begin[-1] + 1)))
    builder.slice(begin, size)
    return builder.build()


def strided_slice(rng: np.random.Generator) -> Graph:
    """Forwards and backwards, from either end, beyond the ends, masked and shrunk."""
    while True:
        builder = _start(rng)
        shape = (1, *builder.shape)
        begin = [int(rng.integers(-size - 2, size + 2)) for size in shape]
        end = [int(rng.integers(-size - 2, size + 2)) for size in shape]
        strides = [pick(rng, (1, 1, 2, 3, -1, -2)) for _ in shape]
        begin_mask, end_mask, shrink = (
            sum(1 << axis for axis in range(len(shape)) if rng.random() < share)
            for share in (0.4, 0.4, 0.2)
        )
        begin[0], end[0], strides[0] = 0, 1, 1
        shrink &= ~1
        for axis, size in enumerate(shape):
            if shrink & 1 << axis:
                begin[axis], strides[axis] = int(rng.integers(-size, size)), 1
                begin_mask &= ~(1 << axis)
        builder.strided_slice(
            begin,
            end,
            strides,
            begin_mask=begin_mask,
            end_mask=end_mask,
            shrink_axis_mask=shrink,
        )
        if 0 not in builder.build().output.shape:
            return builder.build()


def transpose(rng: np.random.Generator) -> Graph:
    builder = _start(rng)
    builder.transpose([int(axis) for axis in rng.permutation(len(builder.shape) + 1)])
    return builder.build()


def squeeze(rng: np.random.Generator) -> Graph:
    builder = _start(rng, pick(rng, ((1, 3, 1), (1, 1, 5), (2, 1, 4))))
    last = len(builder.shape)
    builder.squeeze((last,) if builder.shape[-1] == 1 and rng.random() < 0.5 else ())
    builder.expand_dims(int(rng.integers(-2, 2)))
    return builder.build()


def blocks(rng: np.random.Generator) -> Graph:
    side, height, width, channels = (int(size) for size in rng.integers(1, 4, 4))
    if rng.random() < 0.5:
        builder = _start(rng, (height, width, channels * side**2))
        builder.depth_to_space(side)
    else:
        builder = _start(rng, (height * side, width * side, channels))
        builder.space_to_depth(side)
    return builder.build()


def pad_any(rng: np.random.Generator) -> Graph:
    """PAD and PADV2 of any dimension, to another quantisation."""
    builder = _start(rng)
    widths = tuple(tuple(int(n) for n in rng.integers(0, 3, 2)) for _ in builder.shape)
    builder.pad_by(
        widths,
        int(rng.integers(-128, 128)) if rng.random() < 0.5 else None,
        scale(rng),
        pick(rng, ZERO_POINTS),
    )
    return builder.build()


def reverse(rng: np.random.Generator) -> Graph:
    builder = _start(rng)
    rank = len(builder.shape) + 1
    first = int(rng.integers(1, rank))
    axes = np.arange(first, int(rng.integers(first, rank)) + 1)
    builder.reverse(rng.permutation(axes - rank * rng.integers(0, 2, len(axes))).tolist())
    return builder.build()


LAYERS: dict[str, Callable[[np.random.Generator], Graph]] = {
    "CONCATENATION": concatenation,
    "PACK": pack,
    "UNPACK": unpack,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "SLICE": slices,
    "STRIDED_SLICE": strided_slice,
    "TRANSPOSE": transpose,
    "REVERSE_V2": reverse,
    "SQUEEZE": squeeze,
    "DEPTH_TO_SPACE": blocks,
    "PADV2": pad_any,
}
