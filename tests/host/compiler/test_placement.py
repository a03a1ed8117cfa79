"""Memory: what is needed at the same time never overlaps, and all of it lies where it may."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from gateware.interface.image import ImageHeader, read_metadata
from gateware.interface.protocol import IMAGE_PAGE_BYTES
from host.compiler import CompiledModel, compile
from host.compiler.report import MemoryBlock
from host.model_card import ModelCard
from model.int8.builder import GraphBuilder
from model.int8.graph import Padding
from tests.host.compiler.networks import SIZES, configuration, random_network


def overlapping(compiled: CompiledModel) -> list[tuple[MemoryBlock, MemoryBlock]]:
    """Pairs of blocks that share memory while both are needed."""
    return [
        (one, other)
        for one, other in combinations(compiled.memory, 2)
        if one.first <= other.last
        and other.first <= one.last
        and one.address < other.address + other.size
        and other.address < one.address + one.size
    ]


@pytest.mark.parametrize("size", SIZES)
def test_live_tensors_never_overlap(size):
    for seed in range(30):
        rng = np.random.default_rng([seed, *size, 1])
        engine = configuration(size)
        compiled = compile(random_network(rng), engine)
        assert compiled.memory[0].size == len(compiled.image)
        assert overlapping(compiled) == [], seed
        for block in compiled.memory:
            assert block.address % engine.word_bytes == 0
            assert 0 <= block.address <= block.address + block.size <= engine.memory_bytes


def deep_network(width: int = 16):
    builder = GraphBuilder("deep", (16, width, 8), 1.0, 0)
    weights = np.ones((8, 3, 3, 8), np.int8)
    for _ in range(8):
        builder.conv_2d(weights, 2**-10, None, scale=1.0, zero_point=0, padding=Padding.SAME)
    return builder.build()


def test_space_is_used_again():
    graph = deep_network()
    compiled = compile(graph, configuration((8, 2), memory_bytes=16 * 1024))
    assert sum(block.size for block in compiled.memory) > 16 * 1024
    assert compiled.memory_bytes <= 16 * 1024


def test_source_and_target_are_apart_where_nothing_else_fits():
    compiled = compile(deep_network(32), configuration((8, 2), memory_bytes=16 * 1024))
    assert overlapping(compiled) == []
    image, source, target = (block.size for block in compiled.memory[:3])
    assert image + source + 2 * target > 16 * 1024, "a third would fit, so nothing is short"


def test_source_and_target_lie_in_different_banks_where_there_is_room():
    compiled = compile(deep_network(), configuration((8, 2)))
    bank = compiled.configuration.bank_bytes
    tape_bank = {0}
    assert len(compiled.image) <= bank
    banks = {
        block.first: set(range(block.address // bank, (block.address + block.size - 1) // bank + 1))
        for block in compiled.memory[1:]
    }
    for layer in range(len(compiled.layers)):
        assert not banks[layer - 1] & banks[layer]
        assert not banks[layer] & tape_bank


def test_image_is_deterministic_and_describes_itself():
    rng = [np.random.default_rng(5) for _ in range(2)]
    engine = configuration((8, 2))
    one, two = (compile(random_network(generator), engine) for generator in rng)
    assert one.image == two.image
    assert len(one.image) % IMAGE_PAGE_BYTES == 0
    header = ImageHeader.unpack(one.image)
    text = one.image[header.metadata_address :][: header.metadata_bytes]
    card = ModelCard.from_dict(read_metadata(header, text), engine.memory_bytes)
    assert card == one.card
    assert (header.lanes, header.pixels) == (8, 2)
    assert header.tape_bytes == sum(layer.tape_bytes for layer in one.layers)
