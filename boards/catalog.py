"""The boards that there are, as plain data: nothing here imports Amaranth."""

from __future__ import annotations

from dataclasses import dataclass

from gateware.interface.configuration import EngineConfiguration
from model.errors import EyespotError

__all__ = ["BOARDS", "ROUTED_NETLIST", "BoardDescription", "UnknownBoardError", "board"]

#: What nextpnr routed, in a build's directory: :mod:`host.simulation.routed` simulates it.
ROUTED_NETLIST = "eyespot.routed.json"


class UnknownBoardError(EyespotError):
    """There is no board of that name."""


@dataclass(frozen=True)
class BoardDescription:
    """What the compiler and the simulation must know of a board.

    Attributes
    ----------
    name : str
        Carries the size where the board comes in several.
    device : str
        The FPGA.
    configuration : EngineConfiguration
    clock_hz : int
        Frequency of the engine.
    buildable : bool
        ``python -m boards.NAME build`` makes a bitstream; otherwise there is only the simulation.
    """

    name: str
    device: str
    configuration: EngineConfiguration
    clock_hz: int
    buildable: bool = True


BOARDS = (
    BoardDescription(
        name="icebreaker",
        device="iCE40UP5K-SG48",
        # All eight SB_MAC16 in dual 8x8 mode, all four SPRAMs. With pooling the placer finds no
        # legal placement: docs/performance.md.
        configuration=EngineConfiguration(
            lanes=8, pixels=2, memory_bytes=128 * 1024, banks=4, pooling=False
        ),
        clock_hz=36_000_000,
    ),
    BoardDescription(
        name="ulx3s-85f",
        device="LFE5U-85F",
        # 11 banks of 16 block RAMs each, of 208; and a requantiser for each byte of a word.
        configuration=EngineConfiguration(
            lanes=16, pixels=8, requantizers=8, memory_bytes=11 * 32 * 1024, banks=11
        ),
        clock_hz=60_000_000,
        buildable=False,
    ),
)


def board(name: str) -> BoardDescription:
    """The board called ``name``; raise UnknownBoardError, naming those that there are."""
    for description in BOARDS:
        if description.name == name.lower():
            return description
    known = ", ".join(description.name for description in BOARDS)
    raise UnknownBoardError(f"there is no board {name!r}; there are: {known}")
