"""The pixel fetcher's loop nest against four loops."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from gateware.engine.run_generator import RunGenerator
from gateware.interface.tape import DELTA, LEVELS, Level
from gateware.interface.timing import RUN_CYCLES
from tests.gateware.streams import pulse, receive, simulate, watch_nothing

LOOPS = ("tiles", "lines", "groups", "kernel_rows")


def random_deltas(rng: random.Random) -> list[dict[str, int]]:
    """Also some that overflow, and y often near the picture's upper edge."""
    return [
        {
            "row": rng.getrandbits(DELTA["row"].width),
            "x": rng.randrange(-(1 << 14), 1 << 14),
            "y": rng.randrange(-8, 9) if rng.random() < 0.8 else rng.randrange(-256, 256),
            "write": rng.getrandbits(20),
        }
        for _ in range(LEVELS)
    ]


def expected_runs(
    layer: dict[str, int], deltas: list[dict[str, int]]
) -> Iterator[tuple[int, int, bool]]:
    """``row, x, outside`` of every run. A row above the picture is one far below it."""
    row = x = y = 0
    rows, pictures = 1 << DELTA["row"].width, 1 << DELTA["y"].width

    def add(level: Level) -> None:
        nonlocal row, x, y
        row = (row + deltas[level]["row"]) % rows
        x = DELTA["x"].decode(x + deltas[level]["x"])
        y = (y + deltas[level]["y"]) % pictures

    add(Level.START)
    for tile in range(layer["tiles"] + 1):
        for line in range(layer["lines"] + 1):
            for group in range(layer["groups"] + 1):
                for kernel_row in range(layer["kernel_rows"] + 1):
                    yield row, x, y >= layer["height"]
                    if kernel_row < layer["kernel_rows"]:
                        add(Level.KERNEL_ROW)
                    elif group < layer["groups"]:
                        add(Level.GROUP)
                    elif line < layer["lines"]:
                        add(Level.LINE)
                    elif tile < layer["tiles"]:
                        add(Level.TILE)


async def load(ctx, dut, layer: dict[str, Any], deltas: list[dict[str, int]]) -> None:
    ctx.set(dut.layer, layer)
    for index, delta in enumerate(deltas):
        for half in range(2):
            ctx.set(dut.deltas.payload, {"index": index, "half": half, "delta": delta})
            await pulse(ctx, dut.deltas.valid)
    await pulse(ctx, dut.start)


def found(run) -> tuple[int, int, bool]:
    return int(run.row), int(run.x), bool(run.outside)


@pytest.mark.parametrize("stall", [0, 0.6, 0.95])
def test_random_loop_nests(stall: float) -> None:
    rng = random.Random(round(100 * stall))
    dut = RunGenerator()
    limit = 3 if stall > 0.9 else 5
    layers = [
        {name: rng.randrange(limit) for name in LOOPS}
        | {"height": rng.randrange(1, 20 if rng.random() < 0.7 else 512)}
        for _ in range(12)
    ]
    layers += [{name: 0 for name in LOOPS} | {"height": 1}]

    async def testbench(ctx) -> None:
        for layer in layers:
            deltas = random_deltas(rng)
            await load(ctx, dut, layer, deltas)
            wanted = list(expected_runs(layer, deltas))
            runs = await receive(ctx, dut.runs, len(wanted), rng, stall)
            assert [found(run) for run in runs] == wanted
            await watch_nothing(ctx, dut.runs, 20)

    simulate(dut, testbench)


@pytest.mark.parametrize(
    ("loop", "count"),
    [("tiles", 256), ("lines", 512), ("groups", 512), ("kernel_rows", 64)],
)
def test_longest_loops(loop: str, count: int) -> None:
    """Counts up to what their fields hold; a run every RUN_CYCLES cycles."""
    rng = random.Random(count)
    dut = RunGenerator()
    layer = {name: 0 for name in LOOPS} | {loop: count - 1, "height": 1}

    async def testbench(ctx) -> None:
        deltas = random_deltas(rng)
        await load(ctx, dut, layer, deltas)
        wanted = list(expected_runs(layer, deltas))
        runs = await receive(ctx, dut.runs, count, rng)
        assert [found(run) for run in runs] == wanted
        await watch_nothing(ctx, dut.runs, 20)

    assert simulate(dut, testbench) <= RUN_CYCLES * count + 60
