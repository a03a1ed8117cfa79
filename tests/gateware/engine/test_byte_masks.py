"""The masks of each beat of a run, against the run's bytes one by one."""

from __future__ import annotations

import random

import pytest
from amaranth.sim import Simulator

from gateware.engine.byte_masks import ByteMasks
from gateware.interface.configuration import EngineConfiguration


@pytest.mark.parametrize("pixels", [1, 2, 3, 8])
def test_masks_are_those_of_the_bytes(pixels):
    """Every alignment and length of up to two words, rows of any length, before, in and behind the
    row."""
    configuration = EngineConfiguration(pixels=pixels)
    word = configuration.word_bytes
    dut = ByteMasks(configuration)
    rng = random.Random(pixels)
    cases = [
        (start, length, size)
        for start in range(-word, 4 * word)
        for length in range(1, 2 * word + 1)
        for size in (1, word, 2 * word + 1, 3 * word - 1)
    ]
    cases = rng.sample(cases, min(len(cases), 150))

    async def testbench(ctx):
        for start, length, size in cases:
            words, rest = divmod(length - 1, word)
            row_words, row_rest = divmod(size, word)
            outside = rng.randrange(8) == 0
            layer = {"run_rest": rest, "row_words": row_words, "row_rest": row_rest}
            for name, value in layer.items():
                ctx.set(dut.layer[name], value)
            ctx.set(dut.outside, outside)
            runs_over = start % word + rest >= word
            for beat in range(words + 1 + runs_over):
                ctx.set(dut.x, start + beat * word)
                ctx.set(dut.first, beat == 0)
                ctx.set(dut.no_words, beat >= words)
                ctx.set(dut.tail, beat == words + 1)
                await ctx.delay(1e-9)
                at = (start + beat * word) // word
                places = range(at * word, (at + 1) * word)
                valid = sum((start <= b < start + length) << j for j, b in enumerate(places))
                pad = sum((outside or not 0 <= b < size) << j for j, b in enumerate(places))
                case = (start, length, size, outside, beat)
                assert ctx.get(dut.valid) == valid, case
                assert ctx.get(dut.pad) == pad, case
                assert ctx.get(dut.in_picture) == (not outside and 0 <= at <= row_words), case

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()
