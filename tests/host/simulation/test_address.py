"""Addresses of simulated boards."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.errors import PortError
from host.simulation.address import fresh_board, parse
from host.simulation.faults import Faults
from host.simulation.flash.flash import FlashFault


def test_fresh_board():
    assert fresh_board("sim") == "sim://?memory=fresh"
    assert fresh_board("sim://ulx3s-85f", "cxxrtl") == (
        "sim://ulx3s-85f?memory=fresh&backend=cxxrtl"
    )
    assert fresh_board("sim://a?memory=kept&reset_baud=9") == "sim://a?memory=fresh&reset_baud=9"
    for name in ("/dev/ttyUSB1", "COM5", "loop://", "simulated"):
        with pytest.raises(PortError, match="there is one board at a real port"):
            fresh_board(name)


def test_faults_are_taken_and_copies_keep_them():
    address = "sim://icebreaker?faults=flip:1e-3,latency:250us,reset:2s,seed:7&memory=fresh"
    wanted = Faults(flip=1e-3, latency=250e-6, reset=(2.0,), seed=7)
    assert parse(address).faults == wanted
    assert parse(fresh_board(address)).faults == wanted
    assert parse("sim://icebreaker").faults is None


def test_options_are_what_they_say():
    address = parse(
        "sim://ICEBREAKER-flash?flash=/a/b.flash&flash_scale=0.5&flash_faults=worn,stuck"
    )
    assert address.board == "icebreaker-flash"
    assert address.flash == Path("/a/b.flash") and address.flash_scale == 0.5
    assert address.flash_faults == FlashFault.WORN | FlashFault.STUCK
    assert parse("sim://").board == "icebreaker" and not parse("sim://").names_a_flash
    assert parse("sim://?reset_baud=9600&memory=fresh&backend=amaranth")[1:4] == (
        "amaranth",
        9600,
        "fresh",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("backend=verilator", "backend is cxxrtl or amaranth, not 'verilator'"),
        ("memory=", "memory is kept or fresh, not ''"),
        ("reset_baud=fast", "reset_baud is a number, not 'fast'"),
        ("netlist=build&backend=cxxrtl", "a netlist leaves no choice"),
        ("flash_scale=nan", "flash_scale is a number from 0 to 1000, not 'nan'"),
        ("flash_faults=wet", "flash_faults are absent, unknown_id, .*, not 'wet'"),
        ("colour=red", "there is no option 'colour'"),
    ],
)
def test_what_makes_no_sense_is_one_line(options, message):
    with pytest.raises(PortError, match=f"^sim://ulx3s-85f.*: {message}"):
        parse(f"sim://ulx3s-85f?{options}")
