"""What the gateware's tests share: a simulation that ends, and drivers for streams."""

from __future__ import annotations

import contextlib
import gc
import random
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from amaranth.hdl import UnusedElaboratable
from amaranth.sim import Simulator

Testbench = Callable[[Any], Awaitable[None]]


def simulate(
    dut, *testbenches: Testbench, background: Iterable[Testbench] = (), cycles: int = 100_000
) -> int:
    """Run until every testbench that is not in the background has ended.

    Returns
    -------
    int
        Cycles until then; more than ``cycles`` are a failure.
    """
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    elapsed = 0
    running = len(testbenches)

    async def watch(ctx) -> None:
        nonlocal elapsed
        while True:
            await ctx.tick()
            elapsed += running > 0
            assert elapsed < cycles, f"Still not finished after {cycles} cycles"

    def counted(testbench: Testbench) -> Testbench:
        async def run(ctx) -> None:
            nonlocal running
            await testbench(ctx)
            running -= 1

        return run

    simulator.add_testbench(watch, background=True)
    for testbench in background:
        simulator.add_testbench(testbench, background=True)
    for testbench in testbenches:
        simulator.add_testbench(counted(testbench))
    simulator.run()
    return elapsed


@contextlib.contextmanager
def unused_components() -> Iterator[None]:
    """Components that are made here, or refused, need not be used: Amaranth would warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        yield
        gc.collect()


async def pause(ctx, rng: random.Random, stall: float) -> None:
    """Let a random number of cycles pass."""
    while rng.random() < stall:
        await ctx.tick()


async def pulse(ctx, signal) -> None:
    """High for a cycle."""
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


async def send(ctx, stream, items: Iterable, rng: random.Random, stall: float = 0) -> None:
    """Offer ``items``, each after a pause of random length."""
    for item in items:
        await pause(ctx, rng, stall)
        ctx.set(stream.payload, item)
        ctx.set(stream.valid, 1)
        ready = False
        while not ready:
            *_, ready = await ctx.tick().sample(stream.ready)
        ctx.set(stream.valid, 0)


async def receive(ctx, stream, count: int, rng: random.Random, stall: float = 0) -> list:
    """Take ``count`` items; what is offered must stand until it is taken."""
    items: list = []
    offered = None
    while len(items) < count:
        ready = rng.random() >= stall
        ctx.set(stream.ready, ready)
        *_, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        assert offered is None or (valid and payload == offered), "An offer was taken back"
        offered = payload if valid and not ready else None
        if valid and ready:
            items.append(payload)
    ctx.set(stream.ready, 0)
    return items


async def watch_nothing(ctx, stream, cycles: int) -> None:
    """Be ready for ``cycles``, in which nothing may come."""
    ctx.set(stream.ready, 1)
    for _ in range(cycles):
        *_, valid = await ctx.tick().sample(stream.valid)
        assert not valid, "More came than there is"
    ctx.set(stream.ready, 0)
