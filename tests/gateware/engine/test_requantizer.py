"""The requantiser against the fixed-point arithmetic of TensorFlow Lite in :mod:`model`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from gateware.engine.drain import PARAMETER_BANKS
from gateware.engine.requantizer import FINISH_STAGES, Requantizer
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import PARAMETER, entry_parameters
from gateware.primitives import Technology
from model.int8.fixed_point import multiply_by_quantized_multiplier
from tests.gateware.streams import pulse, send, simulate, unused_components

#: Cycles from the end of the last sum to the end of the last result, and some.
FLUSH = 60
LEAST_MULTIPLIER, GREATEST_MULTIPLIER = 1 << 30, (1 << 31) - 1


@dataclass
class Layer:
    """Numbers of a layer; where it adds, its clamp comes later."""

    zero_point: int = 0
    minimum: int = -128
    maximum: int = 127
    add: bool = False

    def finish(self, scaled: int) -> int:
        minimum, maximum = (-128, 127) if self.add else (self.minimum, self.maximum)
        return min(max(scaled + self.zero_point, minimum), maximum)


@dataclass
class Batch:
    """Parameters for each bank and lane, and sums that use them, R in a row for as many lanes."""

    parameters: dict[tuple[int, int], dict[str, int]]
    sums: list[tuple[int, int, int]] = field(default_factory=list)  # value, bank, lane

    def expected(self, layer: Layer) -> list[int]:
        rows = [self.parameters[bank, lane] for _, bank, lane in self.sums]
        totals = np.array([value for value, _, _ in self.sums]) + [row["bias"] for row in rows]
        multipliers = np.array([row["multiplier"] for row in rows]) + LEAST_MULTIPLIER
        shifts = np.array([-row["shift"] for row in rows])
        scaled = multiply_by_quantized_multiplier(totals, multipliers, shifts)
        return [layer.finish(int(value)) for value in scaled]


def total_limit(configuration: EngineConfiguration) -> int:
    """Sums with their bias lie below this, and not below its negative."""
    return 1 << (configuration.accumulator_bits - 2)


def random_batch(
    configuration: EngineConfiguration,
    rng: random.Random,
    count: int,
    banks: Sequence[int] = range(PARAMETER_BANKS),
) -> Batch:
    """Sums over their whole range; often near a tie of the rounding, or where results are small.

    As many as ``count``, or a few more, for all lanes that go together.
    """
    limit = total_limit(configuration)
    bias = PARAMETER["bias"]
    biases = (-(1 << (bias.width - 1)), (1 << (bias.width - 1)) - 1, 0)
    parameters = {}
    for bank in range(PARAMETER_BANKS):
        for lane in range(configuration.lanes):
            multiplier = rng.choice(
                [0, GREATEST_MULTIPLIER - LEAST_MULTIPLIER, 1, rng.getrandbits(30)]
            )
            parameters[bank, lane] = {
                "bias": rng.choice([*biases, rng.randint(biases[0], biases[1])]),
                "shift": rng.randrange(32),
                "multiplier": multiplier,
            }
    batch = Batch(parameters)
    requantizers = configuration.requantizers
    bank = first = 0
    while len(batch.sums) < count or len(batch.sums) % requantizers:
        lane = len(batch.sums) % requantizers
        if lane == 0:
            bank = rng.choice(banks)
            first = rng.randrange(0, configuration.lanes, requantizers)
        lane += first
        row = parameters[bank, lane]
        factor = (row["multiplier"] + LEAST_MULTIPLIER) / 2**31 / 2 ** row["shift"]
        kind = rng.randrange(4)
        if kind == 0:
            total = rng.randint(-limit, limit - 1)
        elif kind == 1:
            total = rng.choice([-limit, -limit + 1, -1, 0, 1, limit - 1])
        elif kind == 2:
            # Near a result of an integer and a half.
            total = round((rng.randint(-300, 300) + 0.5) / factor) + rng.randint(-1, 1)
        else:
            total = round(rng.randint(-300, 300) / factor) + rng.randint(-1, 1)
        value = total - row["bias"]
        if -2 * limit <= value < 2 * limit and -limit <= total < limit:
            batch.sums.append((value, bank, lane))
    return batch


class RequantizerBench:
    def __init__(self, configuration: EngineConfiguration, **arguments) -> None:
        self.configuration = configuration
        self.dut = Requantizer(configuration, Technology.GENERIC, **arguments)
        self.layer = Layer()
        self.results: list[int] = []

    async def load(self, ctx, layer: Layer, batch: Batch) -> None:
        self.set_layer(ctx, layer)
        await self.load_parameters(ctx, batch.parameters)

    def set_layer(self, ctx, layer: Layer) -> None:
        self.layer = layer
        ctx.set(
            self.dut.layer,
            {
                "zero_point": layer.zero_point,
                "minimum": layer.minimum,
                "maximum": layer.maximum,
                "add": int(layer.add),
            },
        )

    async def load_parameters(self, ctx, parameters: dict[tuple[int, int], dict[str, int]]) -> None:
        dut = self.dut
        count = entry_parameters(self.configuration)
        for bank, lane in parameters:
            if lane % count:
                continue
            entry = [parameters[bank, lane + index] for index in range(count)]
            # Several requantisers take it at once, whatever ``half`` says.
            for half in range(2 if self.configuration.requantizers == 1 else 1):
                write = {"entry": lane // count, "bank": bank, "half": half, "parameters": entry}
                ctx.set(dut.parameters.payload, write)
                await pulse(ctx, dut.parameters.valid)

    def payloads(self, batch: Batch) -> list[dict]:
        requantizers = self.configuration.requantizers
        sums = []
        for place in range(0, len(batch.sums), requantizers):
            values, banks, lanes = zip(*batch.sums[place : place + requantizers])
            values = [value % (1 << self.configuration.accumulator_bits) for value in values]
            index = lanes[0] // requantizers
            assert lanes == tuple(range(index * requantizers, (index + 1) * requantizers))
            sums.append({"values": values, "bank": banks[0], "lanes": index})
        return sums

    async def collect(self, ctx) -> None:
        results = self.dut.results
        folded = self.configuration.result_cycles == 2
        latency = 2 * len(self.dut.stages) + FINISH_STAGES + (not folded)
        cycle, last, layer = 0, None, self.layer
        taken: list[int] = []
        while True:
            *_, take, valid, values = await ctx.tick().sample(
                self.dut.sums.valid & self.dut.sums.ready, results.valid, results.payload
            )
            cycle += 1
            if layer is not self.layer:
                layer, last = self.layer, None
            if take:
                taken.append(cycle)
            if valid:
                if folded or self.layer.add:
                    assert last is None or (cycle - last) % 2 == 0, "Epilogue and writer rely on it"
                assert cycle == taken.pop(0) + latency
                last = cycle
                parts = values.to_bytes(self.configuration.requantizers, "little")
                self.results += [part - 256 if part > 127 else part for part in parts]

    def run(self, cases: list[tuple[Layer, Batch]], stall: float) -> int:
        rng = random.Random(0)

        async def main(ctx) -> None:
            for layer, batch in cases:
                await self.load(ctx, layer, batch)
                self.results.clear()
                await send(ctx, self.dut.sums, self.payloads(batch), rng, stall)
                await ctx.tick().repeat(FLUSH)
                expected = batch.expected(layer)
                assert len(self.results) == len(expected)
                for place, (found, wanted) in enumerate(zip(self.results, expected)):
                    value, bank, lane = batch.sums[place]
                    assert found == wanted, (value, batch.parameters[bank, lane], layer)

        return simulate(self.dut, main, background=[self.collect])


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_random_sums_and_corners(seed: int, stall: float) -> None:
    random_sums_and_corners(EngineConfiguration(), seed, stall)


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize(
    "size", [(1, 1, 1), (3, 3, 1), (4, 5, 1), (16, 8, 8), (24, 8, 8), (4, 4, 4), (2, 2, 2)]
)
def test_other_sizes(size: tuple[int, int, int], stall: float) -> None:
    lanes, pixels, requantizers = size
    configuration = EngineConfiguration(lanes=lanes, pixels=pixels, requantizers=requantizers)
    random_sums_and_corners(configuration, sum(size), stall)


def random_sums_and_corners(configuration: EngineConfiguration, seed: int, stall: float) -> None:
    rng = random.Random(seed)
    cases = []
    for zero_point in rng.sample([-128, -127, -1, 0, 1, 5, 126, 127], 3):
        minimum, maximum = sorted(rng.choices([-128, -127, zero_point, 0, 127], k=2))
        layer = Layer(zero_point, minimum, maximum, add=rng.random() < 0.5)
        cases.append((layer, random_batch(configuration, rng, 400)))
    RequantizerBench(configuration).run(cases, stall)


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_all_zero_points_and_clamps(zero_point: int) -> None:
    """A multiplier of nearly one half: every result from below to above all bytes."""
    configuration = EngineConfiguration(lanes=1, pixels=1)
    row = {"bias": 0, "shift": 0, "multiplier": 0}
    parameters = {(bank, 0): row for bank in range(PARAMETER_BANKS)}
    sums = [(value, 0, 0) for value in range(-560, 561, 3)]
    layers = [
        Layer(zero_point),
        Layer(zero_point, minimum=zero_point),
        Layer(zero_point, minimum=-3, maximum=-3),
        Layer(zero_point, minimum=-3, maximum=-3, add=True),
    ]
    RequantizerBench(configuration).run([(layer, Batch(parameters, sums)) for layer in layers], 0)


@pytest.mark.parametrize("shift", [0, 1, 7, 8, 15, 16, 22, 23, 24, 30, 31])
def test_ties_round_away_from_zero(shift: int) -> None:
    """Every tie of the second rounding within reach, and its neighbours, with both signs."""
    configuration = EngineConfiguration(lanes=2, pixels=1)
    limit = total_limit(configuration)
    extremes = (0, GREATEST_MULTIPLIER - LEAST_MULTIPLIER)
    parameters = {
        (bank, lane): {"bias": 0, "shift": shift, "multiplier": extremes[lane]}
        for bank in range(PARAMETER_BANKS)
        for lane in range(2)
    }
    sums = []
    for lane in range(2):
        for whole in range(4):
            tie = (2 * whole + 1 << shift) if lane == 0 else (2 * whole + 1 << shift >> 1)
            for near in (tie - 1, tie, tie + 1, tie + 2):
                sums += [(sign * near, 1, lane) for sign in (1, -1) if near < limit]
    sums += [(value, 2, lane) for value in (-limit, limit - 1, -1, 0, 1) for lane in range(2)]
    RequantizerBench(configuration).run([(Layer(3), Batch(parameters, sums))], 0)


@pytest.mark.parametrize("bits", [20, 32])
def test_other_accumulators(bits: int) -> None:
    configuration = EngineConfiguration(lanes=3, accumulator_bits=bits)
    rng = random.Random(bits)
    case = Layer(-5), random_batch(configuration, rng, 300)
    RequantizerBench(configuration).run([case], 0.2)


@pytest.mark.parametrize("stages", [(5, 5, 5), (3, 3, 3, 3, 3), (1,) * 15, (4, 3, 3, 3, 2), (15,)])
def test_other_pipelines(stages: tuple[int, ...]) -> None:
    configuration = EngineConfiguration()
    case = Layer(17), random_batch(configuration, random.Random(len(stages)), 200)
    RequantizerBench(configuration, stages=stages).run([case], 0.2)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("size", [(8, 2, 1), (8, 8, 8)])
def test_throughput(size: tuple[int, int, int], add: bool) -> None:
    lanes, pixels, requantizers = size
    configuration = EngineConfiguration(lanes=lanes, pixels=pixels, requantizers=requantizers)
    batch = random_batch(configuration, random.Random(0), 500 * requantizers)
    loading = 2 * len(batch.parameters)
    cycles = RequantizerBench(configuration).run([(Layer(add=add), batch)], 0)
    between = 2 if add or requantizers == 1 else 1
    assert cycles <= loading + between * len(batch.sums) // requantizers + FLUSH + 4


@pytest.mark.parametrize("size", [(8, 2, 1), (3, 3, 1), (16, 8, 8)])
def test_parameters_are_loaded_while_sums_are_under_way(size: tuple[int, int, int]) -> None:
    """As tiles follow each other: some banks are read while another is written."""
    lanes, pixels, requantizers = size
    configuration = EngineConfiguration(lanes=lanes, pixels=pixels, requantizers=requantizers)
    bench = RequantizerBench(configuration)
    rng = random.Random(0)
    layer = Layer(-7)
    batches = [
        random_batch(configuration, rng, 4 * lanes * requantizers, [number % PARAMETER_BANKS])
        for number in range(12)
    ]
    loaded = sent = 0

    async def main(ctx) -> None:
        nonlocal sent
        bench.set_layer(ctx, layer)
        for batch in batches:
            while loaded <= sent:
                await ctx.tick()
            await send(ctx, bench.dut.sums, bench.payloads(batch), rng, 0.1)
            sent += 1
        await ctx.tick().repeat(FLUSH)

    async def loader(ctx) -> None:
        nonlocal loaded
        for number, batch in enumerate(batches):
            # The sums of three banks may be under way or still to come.
            while loaded - sent >= PARAMETER_BANKS - 1:
                await ctx.tick()
            bank = number % PARAMETER_BANKS
            rows = {place: row for place, row in batch.parameters.items() if place[0] == bank}
            await bench.load_parameters(ctx, rows)
            loaded += 1

    simulate(bench.dut, main, loader, background=[bench.collect])
    assert bench.results == [result for batch in batches for result in batch.expected(layer)]


@pytest.mark.parametrize("stages", [(5, 5), (3, 3, 3, 3, 4), (14, 1)])
def test_wrong_stages_are_refused(stages: tuple[int, ...]) -> None:
    with unused_components(), pytest.raises(ValueError, match="odd number with 15 rows"):
        Requantizer(EngineConfiguration(), Technology.GENERIC, stages)
