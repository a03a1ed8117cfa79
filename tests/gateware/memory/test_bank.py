"""A bank against a list of words."""

import random

import pytest

from gateware.memory.bank import SPRAM_WORDS, Bank
from gateware.primitives import Technology
from tests.gateware.streams import simulate, unused_components


@pytest.mark.parametrize("word_bytes", [2, 8])
def test_reads_and_masked_writes(word_bytes: int) -> None:
    depth = 32
    dut = Bank(depth, word_bytes, Technology.GENERIC)
    rng = random.Random(word_bytes)
    # None: never written.
    memory: list[list[int | None]] = [[None] * word_bytes for _ in range(depth)]
    compared = 0

    async def testbench(ctx) -> None:
        nonlocal compared
        last_read: list[int | None] = [None] * word_bytes
        for _ in range(3000):
            address = rng.randrange(depth)
            word = rng.randbytes(word_bytes)
            mask = rng.randrange(1 << word_bytes)
            enable, write = rng.random() < 0.8, rng.random() < 0.5
            ctx.set(dut.address, address)
            ctx.set(dut.write_data, int.from_bytes(word, "little"))
            ctx.set(dut.mask, mask)
            ctx.set(dut.enable, enable)
            ctx.set(dut.write, write)
            await ctx.tick()
            if enable and write:
                for byte in range(word_bytes):
                    if mask >> byte & 1:
                        memory[address][byte] = word[byte]
                last_read = [None] * word_bytes
            elif enable:
                last_read = list(memory[address])
            data = ctx.get(dut.read_data).to_bytes(word_bytes, "little")
            for found, wanted in zip(data, last_read):
                assert wanted is None or found == wanted
                compared += wanted is not None

    simulate(dut, testbench)
    assert compared > 1000


@pytest.mark.parametrize(("depth", "word_bytes"), [(8192, 2), (SPRAM_WORDS, 1), (SPRAM_WORDS, 3)])
def test_ice40_banks_are_whole_srams(depth: int, word_bytes: int) -> None:
    match = f"not {depth} words of {word_bytes}"
    with unused_components(), pytest.raises(ValueError, match=match):
        Bank(depth, word_bytes, Technology.ICE40)
