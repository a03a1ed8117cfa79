"""Small networks with state: rings as in wake words, and other ways to keep bytes."""

from __future__ import annotations

import numpy as np

from model.int8.builder import GraphBuilder
from model.int8.graph import Graph

__all__ = ["NETWORKS", "features", "keyword", "random_stream"]

SCALE, ZERO_POINT = 0.05, -7


def features(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """A stream: what changes slowly, silence, full scale, noise."""
    x = np.clip(rng.normal(0, 20, (count, *shape)).cumsum(axis=0) / 4, -128, 127)
    kind = np.arange(count) // 7 % 4
    x[kind == 1], x[kind == 2] = -128, 127
    x[kind == 3] = rng.integers(-128, 128, x[kind == 3].shape)
    return np.round(x).astype(np.int8)


def _weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-127, 128, shape).astype(np.int8)


def _ring(builder: GraphBuilder, rng: np.random.Generator, rows: int, *, whole: bool) -> None:
    """Put `last` behind the rows that came before, as microWakeWord does; all of them are `last`.

    The variable keeps the rows that the next run needs, or, if `whole`, those that it drops, too.
    """
    new = builder.last
    height, width, channels = builder.shape
    first = rng.integers(-128, 128, (rows, width, channels))
    kept = rows + height if whole else rows
    state = builder.variable(
        (kept, width, channels),
        builder._quantization(new)[0],
        builder._quantization(new)[1],
        first if not whole else np.concatenate([first[:1].repeat(height, 0), first]),
    )
    if whole:
        builder.last = state
        builder.slice((0, height, 0, 0), (1, rows, width, channels))
        joined = builder.concatenation([new], axis=1)
        builder.assign(state, joined)
    else:
        builder.last = state
        joined = builder.concatenation([new], axis=1)
        builder.slice((0, height, 0, 0), (1, rows, width, channels))
        builder.assign(state)
    builder.last = joined


def _convolution(builder: GraphBuilder, rng: np.random.Generator, outputs: int) -> None:
    height, _, channels = builder.shape
    builder.conv_2d(
        _weights(rng, outputs, height, 1, channels),
        0.004,
        rng.integers(-500, 500, outputs),
        scale=SCALE,
        zero_point=ZERO_POINT,
    )


def keyword(seed: int = 0, channels: int = 10) -> Graph:
    """A network like a wake word's: three rings, a depthwise layer, an answer of one byte."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder("keyword", (3, 1, channels), SCALE, ZERO_POINT)
    _ring(builder, rng, 2, whole=False)
    _convolution(builder, rng, 8)
    _ring(builder, rng, 3, whole=False)
    height, _, channels = builder.shape
    builder.depthwise_conv_2d(
        _weights(rng, 1, height, 1, channels),
        0.01,
        rng.integers(-500, 500, channels),
        scale=SCALE,
        zero_point=ZERO_POINT,
    )
    _convolution(builder, rng, 6)
    _ring(builder, rng, 4, whole=True)
    builder.reshape((int(np.prod(builder.shape)),))
    builder.fully_connected(
        _weights(rng, 1, builder.shape[0]),
        0.002,
        rng.integers(-500, 500, 1),
        scale=0.1,
        zero_point=3,
    )
    builder.logistic()
    return builder.build()


def swap(seed: int = 0) -> Graph:
    """Two variables that change places, and a third that keeps the input: a line of delays."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder("swap", (2, 3, 4), SCALE, ZERO_POINT)
    given = builder.last
    one, other, delay = (
        builder.variable((2, 3, 4), SCALE, ZERO_POINT, rng.integers(-128, 128, (2, 3, 4)))
        for _ in range(3)
    )
    builder.assign(one, other)
    builder.assign(other, one)
    builder.assign(delay, given)
    builder.last = one
    builder.concatenation([delay, given], axis=3)
    builder.conv_2d(_weights(rng, 5, 1, 1, 12), 0.004, None, scale=SCALE, zero_point=ZERO_POINT)
    return builder.build()


def running_sum(seed: int = 0) -> Graph:
    """A recurrence: the state is a function of itself and of the input, and the answer of both."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder("sum", (1, 1, 12), SCALE, ZERO_POINT)
    given = builder.last
    state = builder.variable((1, 1, 12), SCALE, ZERO_POINT)
    builder.last = state
    builder.concatenation([given], axis=3)
    builder.conv_2d(_weights(rng, 12, 1, 1, 24), 0.004, None, scale=SCALE, zero_point=ZERO_POINT)
    builder.assign(state)
    builder.conv_2d(_weights(rng, 4, 1, 1, 12), 0.004, None, scale=SCALE, zero_point=ZERO_POINT)
    return builder.build()


def two_new_rows(seed: int = 0) -> Graph:
    """A ring that is all variable, with two new rows, of which the later is read elsewhere too."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder("two", (1, 1, 8), SCALE, ZERO_POINT)
    rows = []
    for _ in range(2):
        builder.last = 0
        _convolution(builder, rng, 8)
        rows.append(builder.last)
    first = rng.integers(-128, 128, (4, 1, 8))
    state = builder.variable((4, 1, 8), SCALE, ZERO_POINT, first)
    builder.slice((0, 2, 0, 0), (1, 2, 1, 8))
    joined = builder.concatenation(rows[::-1], axis=1)
    builder.assign(state, joined)
    _convolution(builder, rng, 8)
    builder.concatenation([rows[1]], axis=3)
    builder.conv_2d(_weights(rng, 4, 1, 1, 16), 0.004, None, scale=SCALE, zero_point=ZERO_POINT)
    return builder.build()


def constant_state(seed: int = 0) -> Graph:
    """A variable that is read and never changes, beside one that does."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder("constant", (2, 2, 4), SCALE, ZERO_POINT)
    given = builder.last
    fixed = builder.variable((2, 2, 4), SCALE, ZERO_POINT, rng.integers(-128, 128, (2, 2, 4)))
    state = builder.variable((2, 2, 4), SCALE, ZERO_POINT)
    builder.assign(state, given)
    builder.last = given
    builder.add(fixed, scale=SCALE, zero_point=ZERO_POINT)
    builder.concatenation([state], axis=3)
    builder.conv_2d(_weights(rng, 4, 1, 1, 8), 0.004, None, scale=SCALE, zero_point=ZERO_POINT)
    return builder.build()


def random_stream(seed: int) -> Graph:
    """Rings of random sizes, one behind the other."""
    rng = np.random.default_rng(seed)
    rows, channels = int(rng.integers(1, 4)), int(rng.integers(1, 20))
    builder = GraphBuilder("stream", (rows, 1, channels), SCALE, ZERO_POINT)
    for _ in range(rng.integers(1, 4)):
        _ring(builder, rng, int(rng.integers(1, 6)), whole=bool(rng.integers(2)))
        _convolution(builder, rng, int(rng.integers(1, 20)))
    return builder.build()


NETWORKS = {
    "keyword": keyword,
    "swap": swap,
    "running_sum": running_sum,
    "constant_state": constant_state,
    "two_new_rows": two_new_rows,
    **{f"stream{seed}": lambda seed=seed: random_stream(seed) for seed in range(6)},
}
