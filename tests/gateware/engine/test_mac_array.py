"""Multipliers and max pool against NumPy, window after window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gateware.engine.mac_array import MacArray
from gateware.engine.max_pool import MaxPool
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import LEAST_WEIGHT
from gateware.primitives import Technology
from tests.gateware.streams import simulate


def packed(values: np.ndarray) -> int:
    return int.from_bytes(values.astype(np.int8).tobytes(), "little")


def random_window(rng: np.random.Generator, streams: int) -> np.ndarray:
    """int8 values, shape (taps, streams); often extreme ones."""
    return random_bytes(rng, (int(rng.integers(1, 12)), streams))


def random_bytes(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    if rng.random() < 0.4:
        return rng.choice([-128, -127, 0, 127], shape)
    return rng.integers(-128, 128, shape)


def random_operands(ctx, dut, rng: np.random.Generator, streams: int) -> None:
    ctx.set(dut.pixels.as_value(), packed(rng.integers(-128, 128, streams)))
    if isinstance(dut, MacArray):
        ctx.set(dut.weights, packed(rng.integers(-128, 128, dut.configuration.lanes)))


async def step(ctx, dut, rng, stall, pixels, flags, weights=None) -> None:
    """Take a byte of each stream, after a pause; without ``flags`` it is no step.

    What is taken comes a cycle later, and at other times anything may.
    """
    while rng.random() < stall:
        ctx.set(dut.flags, {"first": rng.integers(2), "last": rng.integers(2)})
        await ctx.tick()
        random_operands(ctx, dut, rng, len(pixels))
    is_step = flags is not None
    ctx.set(dut.flags, flags or {"first": rng.integers(2), "last": rng.integers(2)})
    ctx.set(dut.step, is_step)
    if isinstance(dut, MacArray):
        ctx.set(dut.take, 1)
    await ctx.tick()
    ctx.set(dut.step, 0)
    random_operands(ctx, dut, rng, len(pixels))
    ctx.set(dut.pixels.as_value(), packed(pixels))
    if isinstance(dut, MacArray):
        ctx.set(dut.take, 0)
        if is_step:
            ctx.set(dut.weights, packed(weights))


async def window(ctx, dut, rng, stall, streams, weights=None) -> None:
    """A step for each row of ``streams``."""
    for tap, pixels in enumerate(streams):
        flags = {"first": int(tap == 0), "last": int(tap == len(streams) - 1)}
        await step(ctx, dut, rng, stall, pixels, flags, None if weights is None else weights[tap])


SIZES = [(8, 2), (1, 1), (3, 3), (4, 5), (4, 4)]


class Watch:
    """Counts cycles; keeps at each ``done`` what ``read`` gives then."""

    def __init__(self, dut, read: Callable[[Any], Any]) -> None:
        self.dut, self.read = dut, read
        self.cycle = 0
        self.results: list[Any] = []
        self.done: list[int] = []

    async def run(self, ctx) -> None:
        while True:
            if ctx.get(self.dut.done):
                self.results.append(self.read(ctx))
                self.done.append(self.cycle)
            await ctx.tick()
            self.cycle += 1


def sums_of(ctx, dut: MacArray) -> np.ndarray:
    """The accumulators, shape (pixels, lanes)."""
    limit = 1 << (dut.configuration.accumulator_bits - 1)
    sums = np.array([[ctx.get(value) for value in lane] for lane in dut.sums])
    return (sums + limit) % (2 * limit) - limit


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize(("lanes", "pixels"), SIZES)
def test_sums_of_products(lanes: int, pixels: int, stall: float) -> None:
    configuration = EngineConfiguration(lanes=lanes, pixels=pixels)
    rng = np.random.default_rng([lanes, pixels])
    dut = MacArray(configuration, Technology.GENERIC)
    expected, last_steps = [], []
    limit = 1 << (configuration.accumulator_bits - 1)

    async def testbench(ctx) -> None:
        # Of no meaning here.
        ctx.set(dut.every_second, int(rng.integers(2)))
        for number in range(25):
            streams = random_window(rng, pixels)
            weights = rng.integers(-128, 128, (len(streams), lanes))
            if number == 20:
                # Overflows, and so shows that sums are exact modulo 2**24.
                streams, weights = (np.full((600, n), -128) for n in (pixels, lanes))
            expected.append((streams.T @ weights + limit) % (2 * limit) - limit)
            await window(ctx, dut, rng, stall, streams, weights)
            last_steps.append(watch.cycle - 1)
        await ctx.tick().repeat(configuration.mac_latency)

    watch = Watch(dut, lambda ctx: sums_of(ctx, dut))
    simulate(dut, testbench, background=[watch.run])
    assert np.array_equal(watch.results, expected)
    assert watch.done == [cycle + configuration.mac_latency for cycle in last_steps]


def channel_wise_sums(
    runs: list[np.ndarray], weights: np.ndarray, slots: int, distance: int
) -> np.ndarray:
    """Sums of the last ``slots`` pixels' lanes, of runs of words that begin with what fills."""
    fill, lanes = (slots - 1) * distance, weights.shape[1]
    sums = np.zeros((slots, lanes), int)
    for slot in range(slots):
        seen = [
            run[place - (slots - 1 - slot) * distance]
            for run in runs
            for place in range(fill, len(run))
        ]
        sums[slot] = sum(weights[tap] * np.resize(word, lanes) for tap, word in enumerate(seen))
    return sums


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize(
    ("lanes", "pixels", "every_second"),
    [
        (lanes, pixels, stride - 1)
        for lanes, pixels in SIZES
        for stride in range(1, EngineConfiguration(lanes=lanes, pixels=pixels).kept_stride + 1)
    ],
)
def test_channel_wise_sums(lanes: int, pixels: int, every_second: int, stall: float) -> None:
    """Windows of several runs, each of which begins with words that only fill."""
    configuration = EngineConfiguration(lanes=lanes, pixels=pixels)
    group, distance = configuration.channel_group, 1 + every_second
    rng = np.random.default_rng([lanes, pixels, every_second])
    dut = MacArray(configuration, Technology.GENERIC)
    expected: list[np.ndarray] = []
    last_steps: list[int] = []

    async def layer(ctx, slots: int) -> None:
        """Windows of one layer; only the last ``slots`` pixels count."""
        ctx.set(dut.channel_wise, 1)
        ctx.set(dut.every_second, every_second)
        fill = (slots - 1) * distance
        for _ in range(8):
            count, taps = int(rng.integers(1, 4)), int(rng.integers(1, 6))
            runs = [random_bytes(rng, (fill + taps, pixels)) for _ in range(count)]
            weights = random_bytes(rng, (count * taps, lanes))
            expected.append(
                channel_wise_sums([run[:, :group] for run in runs], weights, slots, distance)
            )
            tap = 0
            for run in runs:
                for streams in run[:fill]:
                    await step(ctx, dut, rng, stall, streams, None)
                for streams in run[fill:]:
                    flags = {"first": int(tap == 0), "last": int(tap == len(weights) - 1)}
                    await step(ctx, dut, rng, stall, streams, flags, weights[tap])
                    tap += 1
            last_steps.append(watch.cycle - 1)
        await ctx.tick().repeat(configuration.mac_latency)

    async def testbench(ctx) -> None:
        for slots in range(1, pixels + 1):
            await layer(ctx, slots)
            # An ordinary layer between two of them.
            ctx.set(dut.channel_wise, 0)
            streams = random_window(rng, pixels)
            weights = rng.integers(-128, 128, (len(streams), lanes))
            expected.append(streams.T @ weights)
            await window(ctx, dut, rng, stall, streams, weights)
            last_steps.append(watch.cycle - 1)
            await ctx.tick().repeat(configuration.mac_latency)

    watch = Watch(dut, lambda ctx: sums_of(ctx, dut))
    simulate(dut, testbench, background=[watch.run])
    assert len(watch.results) == len(expected)
    for found, wanted in zip(watch.results, expected):
        assert np.array_equal(found[pixels - len(wanted) :], wanted)
    assert watch.done == [cycle + configuration.mac_latency for cycle in last_steps]


def product_sums(words: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums of the group's channels; a weight below LEAST_WEIGHT in the first lane marks a step."""
    sums, kept = np.zeros(words.shape[1], int), None
    for word, weight in zip(words, weights):
        marked = weight[0] < LEAST_WEIGHT
        sums += word * (kept if marked else weight[: len(word)])
        kept = kept if marked else word
    return sums


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize(("lanes", "pixels"), [*SIZES, (16, 8)])
def test_products_of_two_words(lanes: int, pixels: int, stall: float) -> None:
    """Marks at any steps but a window's first; depthwise layers before and behind know none."""
    configuration = EngineConfiguration(lanes=lanes, pixels=pixels)
    group = configuration.channel_group
    rng = np.random.default_rng([lanes, pixels, 3])
    dut = MacArray(configuration, Technology.GENERIC)
    expected: list[np.ndarray] = []
    last_steps: list[int] = []

    async def testbench(ctx) -> None:
        ctx.set(dut.channel_wise, 1)
        for layer in range(3):
            ctx.set(dut.product, product := layer == 1)
            for _ in range(15):
                streams = random_window(rng, pixels)
                weights = random_bytes(rng, (len(streams), lanes))
                if product:
                    weights[0, 0] = max(weights[0, 0], LEAST_WEIGHT)
                    sums = product_sums(streams[:, :group], weights)
                else:
                    sums = (streams[:, :group] * weights[:, :group]).sum(axis=0)
                expected.append(sums)
                await window(ctx, dut, rng, stall, streams, weights)
                last_steps.append(watch.cycle - 1)
            await ctx.tick().repeat(configuration.mac_latency)

    watch = Watch(dut, lambda ctx: sums_of(ctx, dut)[-1, :group])
    simulate(dut, testbench, background=[watch.run])
    assert np.array_equal(watch.results, expected)
    assert watch.done == [cycle + configuration.mac_latency for cycle in last_steps]


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("pixels", [1, 2, 5])
def test_maxima(pixels: int, stall: float) -> None:
    rng = np.random.default_rng(pixels)
    configuration = EngineConfiguration(pixels=pixels)
    dut, latency = MaxPool(configuration), configuration.pool_latency
    expected, last_steps = [], []

    async def testbench(ctx) -> None:
        for _ in range(60):
            streams = random_window(rng, pixels)
            expected.append(streams.max(axis=0) + 128)
            await window(ctx, dut, rng, stall, streams)
            last_steps.append(watch.cycle - 1)
        await ctx.tick().repeat(latency)

    def read(ctx) -> list[int]:
        return [ctx.get(value) for value in dut.maxima]

    watch = Watch(dut, read)
    simulate(dut, testbench, background=[watch.run])
    assert np.array_equal(watch.results, expected)
    assert watch.done == [cycle + latency for cycle in last_steps]
