"""INFO carries all of a configuration, through its bytes and back."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from boards.catalog import BOARDS
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.protocol import GATEWARE_VERSION, PROTOCOL_VERSION, Info

#: No field as it is by default.
OTHER = EngineConfiguration(
    lanes=16,
    pixels=4,
    ring_entries=512,
    memory_bytes=6 * 8192,
    banks=6,
    accumulator_bits=28,
    requantizers=4,
    pooling=False,
    products=False,
    flash=True,
    diagnostics=False,
)


@pytest.mark.parametrize("configuration", [EngineConfiguration(), OTHER])
def test_a_configuration_survives_the_wire(configuration):
    info = Info.of(configuration, clock_hz=36_000_000, source_hash=0xDEADBEEF, board="a board")
    assert info.configuration == configuration
    told = Info.unpack(info.pack())
    assert told == info
    assert (told.protocol, told.gateware) == (PROTOCOL_VERSION, GATEWARE_VERSION)
    assert len(info.pack()) == Info.BYTES


def test_every_field_is_tried():
    """A field that is new must be in ``OTHER``, too: so INFO cannot forget it."""
    for each in fields(EngineConfiguration):
        assert getattr(OTHER, each.name) != each.default, each.name


@pytest.mark.parametrize("description", BOARDS, ids=lambda each: each.name)
def test_boards(description):
    info = Info.of(
        description.configuration,
        clock_hz=description.clock_hz,
        source_hash=0,
        board=description.name,
    )
    told = Info.unpack(info.pack())
    assert told.configuration == description.configuration
    assert (told.board, told.clock_hz) == (description.name, description.clock_hz)


def test_an_engine_that_cannot_be_is_refused():
    info = Info.of(EngineConfiguration(), clock_hz=1, source_hash=0, board="")
    with pytest.raises(ValueError, match="Lanes must be between 1 and 32, not 33"):
        _ = replace(info, lanes=33).configuration
