"""The whole engine, compiled, against the interpreter of tapes: all of memory, every answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gateware.engine.engine import Engine
from gateware.engine.writer import CLASS_BITS
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.image import TAPE_ADDRESS
from gateware.interface.protocol import EngineError, StallCause
from gateware.interface.tape import (
    CONTROL_0,
    CONTROL_1,
    CONTROL_2,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_WORDS,
    LEVELS,
    decode_words,
    encode_words,
    word_entries,
)
from gateware.primitives import Technology
from host.compiler import CompiledModel, compile
from host.simulation.backends.toolchain import find_compiler
from host.simulation.routed.cells import ice40_cells
from tests import tape_interpreter
from tests.gateware.engine.bench import MAX_RUN_CYCLES, EngineBench
from tests.gateware.streams import unused_components
from tests.host.compiler.networks import CHANNEL_WISE, EVERY, LAYERS, configuration, random_network
from tests.host.compiler.pairs import random_pair

#: What the random networks need, and no more: a test reads all of it, byte by byte.
MEMORY_BYTES = 1 << 15
ICE40 = configuration((8, 2), memory_bytes=MEMORY_BYTES)
#: The smallest, the iCE40's, as many pixels as lanes, no powers of two (in a single bank, so that
#: everybody meets there), an ECP5's with one requantiser and with eight, more pixels than channels.
ENGINES = (
    configuration((1, 1), memory_bytes=MEMORY_BYTES),
    ICE40,
    configuration((4, 4), memory_bytes=MEMORY_BYTES),
    configuration((3, 3), memory_bytes=MEMORY_BYTES, banks=1),
    configuration((6, 3), memory_bytes=MEMORY_BYTES),
    configuration((16, 8), memory_bytes=MEMORY_BYTES),
    configuration((16, 8, 8), memory_bytes=3 << 14, banks=3),
    configuration((4, 5), memory_bytes=MEMORY_BYTES, banks=2),
)


def name(engine: EngineConfiguration) -> str:
    return f"{engine.lanes}x{engine.pixels}x{engine.requantizers}"


@pytest.fixture(scope="module")
def bench_of() -> Callable[[EngineConfiguration], EngineBench]:
    """A compiled engine of any size, made once."""
    if find_compiler() is None:
        pytest.skip("no C++ compiler to simulate the engine with")
    benches: dict[EngineConfiguration, EngineBench] = {}

    def get(engine: EngineConfiguration) -> EngineBench:
        if engine not in benches:
            benches[engine] = EngineBench(engine)
        return benches[engine]

    yield get
    for bench in benches.values():
        bench.close()


class Run:
    """A network and a picture in memory, and what the interpreter makes of them.

    All other memory holds garbage, which the engine must leave as it is.
    """

    def __init__(self, compiled: CompiledModel, rng: np.random.Generator) -> None:
        self.compiled = compiled
        self.size = compiled.configuration.memory_bytes
        shape = compiled.card.input.shape
        self.picture = compiled.card.input.pack(rng.integers(-128, 128, shape).astype(np.int8))
        memory = bytearray(rng.bytes(self.size))
        memory[: len(compiled.image)] = compiled.image
        address = compiled.input.address
        memory[address : address + len(self.picture)] = self.picture
        self.memory = bytes(memory)

    def expect(self, layers: int = 0) -> tuple[bytes, tape_interpreter.Execution]:
        memory = np.frombuffer(self.memory, np.int8).copy()
        execution = tape_interpreter.execute(self.compiled.configuration, memory, layers)
        return memory.tobytes(), execution

    def check(self, bench: EngineBench) -> None:
        """The whole network: all of the memory; again: its written part; then layer by layer."""
        expected, execution = self.expect()
        bench.write(0, self.memory)
        first = bench.run()
        assert first.error == EngineError.NONE
        assert bench.read(0, self.size) == expected
        if execution.results <= 1 << CLASS_BITS:
            assert first.best == execution.best
        bench.write(self.compiled.input.address, self.picture)
        assert bench.run() == first
        self.check_written(bench, expected, execution)
        for layers in range(1, execution.layers + 1):
            bench.write(self.compiled.input.address, self.picture)
            assert bench.run(layers).error == EngineError.NONE
            self.check_written(bench, *self.expect(layers))

    def check_written(
        self, bench: EngineBench, memory: bytes, execution: tape_interpreter.Execution
    ) -> None:
        addresses = [address for address, _ in execution.writes]
        start, end = min(addresses), max(addresses) + 1
        found = np.frombuffer(bench.read(start, end - start), np.int8)
        wanted = np.frombuffer(memory[start:end], np.int8)
        places = np.unique(addresses) - start
        assert np.array_equal(found[places], wanted[places])


def random_run(engine: EngineConfiguration, seed: int, layers=LAYERS) -> Run:
    rng = np.random.default_rng([seed, engine.lanes, engine.pixels, len(layers)])
    return Run(compile(random_network(rng, layers), engine), rng)


@pytest.mark.parametrize("engine", ENGINES, ids=name)
def test_random_networks(bench_of, engine: EngineConfiguration) -> None:
    for seed in range(8):
        random_run(engine, seed).check(bench_of(engine))
    for kinds in (CHANNEL_WISE, EVERY):
        for seed in range(6):
            random_run(engine, seed, kinds).check(bench_of(engine))


@pytest.mark.parametrize("engine", ENGINES, ids=name)
def test_products_and_maxima_of_two_tensors(bench_of, engine: EngineConfiguration) -> None:
    bench = bench_of(engine)
    rng = np.random.default_rng([engine.lanes, engine.pixels, 2])
    # An engine with more memory runs it as well.
    small = replace(engine, memory_bytes=1 << 15, banks=1)
    for number in range(20):
        made, layer, target, wanted = random_pair(rng, small, number)
        made.load([layer])
        expected = made.run()
        assert np.array_equal(made.read(target, expected), wanted)
        bench.write(0, made.memory.tobytes())
        assert bench.run().error == EngineError.NONE
        assert bench.read(0, small.memory_bytes) == expected.tobytes()


def test_the_whole_memory_of_a_board(bench_of) -> None:
    """Addresses of all their bits: tensors lie as far apart as a board's banks."""
    engine = configuration((8, 2))
    random_run(engine, 0, EVERY).check(bench_of(engine))


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler to simulate the engine with")
def test_engine_of_ice40_cells() -> None:
    """With Yosys's models of the cells: the multipliers' mode, the SRAMs' wiring.

    Small, because the models take long to compile.
    """
    engine = configuration((3, 2), memory_bytes=1 << 16, banks=2)
    bench = EngineBench(engine, Technology.ICE40, cells=ice40_cells())
    for seed in range(2):
        random_run(engine, seed).check(bench)
    random_run(engine, 0, CHANNEL_WISE).check(bench)
    bench.close()


def steps(run: Run, monkeypatch: pytest.MonkeyPatch) -> int:
    """Steps of the multipliers in the whole network."""
    count = 0
    accumulate = tape_interpreter._Layer.accumulate

    def counting(layer, streams, weights):
        nonlocal count
        count += len(streams)
        return accumulate(layer, streams, weights)

    with monkeypatch.context() as patch:
        patch.setattr(tape_interpreter._Layer, "accumulate", counting)
        run.expect()
    return count


def test_every_cycle_is_a_step_or_a_stall(bench_of, monkeypatch) -> None:
    bench = bench_of(ICE40)
    for seed in range(4):
        run = random_run(ICE40, seed)
        stalls = []
        for cause in StallCause:
            bench.write(0, run.memory)
            result = bench.run(cause=cause)
            stalls.append(result.stalls)
        assert abs(result.cycles - sum(stalls) - steps(run, monkeypatch)) <= 2
        assert stalls[StallCause.OVERHEAD] > 0


# Tapes that are none


def after_an_error(bench: EngineBench) -> None:
    """The next run is as if nothing had been."""
    run = random_run(bench.configuration, seed=1)
    expected, execution = run.expect()
    bench.write(0, run.memory)
    result = bench.run()
    assert (result.error, result.best) == (EngineError.NONE, execution.best)
    assert bench.read(0, run.size) == expected


def test_what_is_no_descriptor_ends_at_once_and_writes_nothing(bench_of) -> None:
    bench = bench_of(ICE40)
    for seed in range(4):
        # The first byte of garbage that would be the magic is not.
        memory = bytearray(random.Random(seed).randbytes(ICE40.memory_bytes))
        entries = DESCRIPTOR_WORDS * word_entries(ICE40)
        memory[TAPE_ADDRESS + entries * ICE40.entry_bytes - 1] = DESCRIPTOR_MAGIC ^ (1 << seed)
        bench.write(0, bytes(memory))
        result = bench.run()
        assert result.error == EngineError.BAD_DESCRIPTOR
        assert result.cycles < 1000
        assert bench.read(0, len(memory)) == memory
    after_an_error(bench)


def test_second_descriptor_is_checked_too(bench_of) -> None:
    bench = bench_of(ICE40)
    run = next(
        run
        for run in (random_run(ICE40, seed) for seed in range(20))
        if len(run.compiled.layers) > 1
    )
    bench.write(0, run.memory)
    second = TAPE_ADDRESS + run.compiled.layers[0].tape_bytes
    size = DESCRIPTOR_WORDS * word_entries(ICE40) * ICE40.entry_bytes
    bench.write(second, bytes(size))
    assert bench.run().error == EngineError.BAD_DESCRIPTOR
    # With one layer to run, nobody looks at the second.
    bench.write(run.compiled.input.address, run.picture)
    assert bench.run(layers=1).error == EngineError.NONE


@pytest.mark.parametrize("engine", [ICE40, ENGINES[3]], ids=name)
def test_garbage_with_a_magic_always_stops(bench_of, engine: EngineConfiguration) -> None:
    bench = bench_of(engine)
    for seed in range(6):
        rng = random.Random(seed)
        words = [rng.getrandbits(64) for _ in range(LEVELS)]
        for control in (CONTROL_0, CONTROL_1, CONTROL_2):
            values = {
                field.name: field.decode(rng.getrandbits(rng.randrange(1, field.width + 1)))
                for field in control.fields
            }
            if "magic" in values:
                values["magic"] = DESCRIPTOR_MAGIC
            words.append(control.pack(**values))
        memory = bytearray(rng.randbytes(engine.memory_bytes))
        tape = encode_words(engine, words)
        assert list(decode_words(engine, tape, len(words))) == words
        memory[TAPE_ADDRESS : TAPE_ADDRESS + len(tape)] = tape
        bench.write(0, bytes(memory))
        result = bench.run(limit=2 * MAX_RUN_CYCLES)
        assert result.cycles <= MAX_RUN_CYCLES + 1
    after_an_error(bench)


def test_a_run_that_never_ends_times_out(bench_of) -> None:
    """Windows for which no run of pixels is ever fetched."""
    bench = bench_of(ICE40)
    words = [0] * LEVELS + [
        CONTROL_0.pack(last_slot=1, row_words=1, height=1),
        CONTROL_1.pack(windows=9),
        CONTROL_2.pack(magic=DESCRIPTOR_MAGIC, last=1),
    ]
    bench.write(0, bytes(ICE40.memory_bytes))
    bench.write(TAPE_ADDRESS, encode_words(ICE40, words))
    result = bench.run(limit=2 * MAX_RUN_CYCLES)
    assert result.error == EngineError.TIMEOUT
    assert MAX_RUN_CYCLES <= result.cycles <= MAX_RUN_CYCLES + 1
    after_an_error(bench)


@pytest.mark.parametrize("cycles", [0, 3, (1 << 20) + 1, 1 << 32])
def test_longest_run_is_a_power_of_two(cycles: int) -> None:
    with unused_components(), pytest.raises(ValueError, match=f"not {cycles}"):
        Engine(ICE40, Technology.GENERIC, cycles)
