"""Multipliers and max pool against NumPy, window after window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from streams import simulate

from gateware.engine.mac_array import MAC_LATENCY, MacArray
from gateware.engine.max_pool import POOL_LATENCY, MaxPool
from gateware.interface.configuration import EngineConfiguration
from gateware.primitives import Technology


def packed(values: np.ndarray) -> int:
    return int.from_bytes(values.astype(np.int8).tobytes(), "little")


def random_window(rng: np.random.Generator, streams: int) -> np.ndarray:
    """int8 values, shape (taps, streams); often extreme ones."""
    shape = int(rng.integers(1, 12)), streams
    if rng.random() < 0.4:
        return rng.choice([-128, -127, 0, 127], shape)
    return rng.integers(-128, 128, shape)


async def step(ctx, dut, rng, stall, tap, taps, pixels, weights=None) -> None:
    """A step, after a pause. Its operands come a cycle later, and at other times anything may."""
    count = pixels.shape[-1]
    while rng.random() < stall:
        ctx.set(dut.flags, {"first": rng.integers(2), "last": rng.integers(2)})
        await ctx.tick()
        ctx.set(dut.pixels.as_value(), packed(rng.integers(-128, 128, count)))
    ctx.set(dut.flags, {"first": int(tap == 0), "last": int(tap == taps - 1)})
    ctx.set(dut.step, 1)
    await ctx.tick()
    ctx.set(dut.step, 0)
    ctx.set(dut.pixels.as_value(), packed(pixels[tap]))
    if weights is not None:
        ctx.set(dut.weights, packed(weights[tap]))


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


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize(("lanes", "pixels"), [(8, 2), (1, 1), (3, 3), (2, 5)])
def test_sums_of_products(lanes: int, pixels: int, stall: float) -> None:
    configuration = EngineConfiguration(lanes=lanes, pixels=pixels)
    rng = np.random.default_rng([lanes, pixels])
    dut = MacArray(configuration, Technology.GENERIC)
    expected, last_steps = [], []
    limit = 1 << (configuration.accumulator_bits - 1)

    async def testbench(ctx) -> None:
        for number in range(25):
            streams = random_window(rng, pixels)
            weights = rng.integers(-128, 128, (len(streams), lanes))
            if number == 20:
                # Overflows, and so shows that sums are exact modulo 2**24.
                streams, weights = (np.full((600, n), -128) for n in (pixels, lanes))
            expected.append((streams.T @ weights + limit) % (2 * limit) - limit)
            for tap in range(len(streams)):
                await step(ctx, dut, rng, stall, tap, len(streams), streams, weights)
            last_steps.append(watch.cycle - 1)
        await ctx.tick().repeat(MAC_LATENCY)

    def read(ctx) -> np.ndarray:
        sums = np.array([[ctx.get(value) for value in lane] for lane in dut.sums])
        return (sums + limit) % (2 * limit) - limit

    watch = Watch(dut, read)
    simulate(dut, testbench, background=[watch.run])
    assert np.array_equal(watch.results, expected)
    assert watch.done == [cycle + MAC_LATENCY for cycle in last_steps]


@pytest.mark.parametrize("stall", [0, 0.4])
@pytest.mark.parametrize("pixels", [1, 2, 5])
def test_maxima(pixels: int, stall: float) -> None:
    rng = np.random.default_rng(pixels)
    dut = MaxPool(EngineConfiguration(pixels=pixels))
    expected, last_steps = [], []

    async def testbench(ctx) -> None:
        for _ in range(60):
            streams = random_window(rng, pixels)
            expected.append(streams.max(axis=0) + 128)
            for tap in range(len(streams)):
                await step(ctx, dut, rng, stall, tap, len(streams), streams)
            last_steps.append(watch.cycle - 1)
        await ctx.tick().repeat(POOL_LATENCY)

    def read(ctx) -> list[int]:
        return [ctx.get(value) for value in dut.maxima]

    watch = Watch(dut, read)
    simulate(dut, testbench, background=[watch.run])
    assert np.array_equal(watch.results, expected)
    assert watch.done == [cycle + POOL_LATENCY for cycle in last_steps]
