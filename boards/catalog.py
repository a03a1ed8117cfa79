"""The boards that there are, as plain data: nothing here imports Amaranth."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.flash import IS25LP128F, W25Q128JV, FlashPart
from model.errors import EyespotError

__all__ = ["BOARDS", "ROUTED_NETLIST", "BoardDescription", "UnknownBoardError", "board"]

#: What nextpnr routed, in a build's directory: :mod:`host.simulation.routed.netlist` simulates it.
ROUTED_NETLIST = "eyespot.routed.json"


class UnknownBoardError(EyespotError):
    """There is no board of that name."""


@dataclass(frozen=True)
class BoardDescription:
    """What the compiler and the simulation must know of a board.

    Attributes
    ----------
    name : str
        Carries the size where the board comes in several, and ``flash`` where models lie in it.
    device : str
        The FPGA.
    configuration : EngineConfiguration
    clock_hz : int
        Frequency of the engine.
    flash : FlashPart or None
        Where models lie; the configuration says then that there is one.
    """

    name: str
    device: str
    configuration: EngineConfiguration
    clock_hz: int
    flash: FlashPart | None = None

    def with_flash(self, part: FlashPart, **configuration: bool) -> BoardDescription:
        """The same board, for models that lie in its flash, and with what else is said."""
        return replace(
            self,
            name=f"{self.name}-flash",
            configuration=replace(self.configuration, flash=True, **configuration),
            flash=part,
        )


#: All eight SB_MAC16 in dual 8x8 mode, all four SPRAMs.
_UP5K = EngineConfiguration(lanes=8, pixels=2, memory_bytes=128 * 1024, banks=4)
#: 24 of 28 multipliers; 5 banks of 8 block RAMs each, of 56.
_ECP5_25F = EngineConfiguration(lanes=8, pixels=3, memory_bytes=5 * 16 * 1024, banks=5)
#: 64 of 72 multipliers; 5 banks of 16 block RAMs each, of 108; a requantiser for each byte of a
#: word.
_ECP5_45F = EngineConfiguration(
    lanes=8, pixels=8, requantizers=8, memory_bytes=5 * 32 * 1024, banks=5
)
#: 128 of 156 multipliers; 11 banks of 16 block RAMs each, of 208.
_ECP5_85F = EngineConfiguration(
    lanes=16, pixels=8, requantizers=8, memory_bytes=11 * 32 * 1024, banks=11
)

_ICEBREAKER = BoardDescription("icebreaker", "iCE40UP5K-SG48", _UP5K, 36_000_000)
_ULX3S = (
    BoardDescription("ulx3s-12f", "LFE5U-12F", _ECP5_25F, 80_000_000),
    BoardDescription("ulx3s-25f", "LFE5U-25F", _ECP5_25F, 80_000_000),
    BoardDescription("ulx3s-45f", "LFE5U-45F", _ECP5_45F, 70_000_000),
    BoardDescription("ulx3s-85f", "LFE5U-85F", _ECP5_85F, 60_000_000),
)

BOARDS = (
    _ICEBREAKER,
    # What makes room for the flash, in a device that is nearly full.
    _ICEBREAKER.with_flash(W25Q128JV, pooling=False, products=False, diagnostics=False),
    BoardDescription("icesugar", "iCE40UP5K-SG48", _UP5K, 36_000_000),
    BoardDescription("upduino", "iCE40UP5K-SG48", _UP5K, 36_000_000),
    *(each for plain in _ULX3S for each in (plain, plain.with_flash(IS25LP128F))),
    BoardDescription("icepi_zero", "LFE5U-25F", _ECP5_25F, 80_000_000),
    BoardDescription("ecpix5-45f", "LFE5UM5G-45F", _ECP5_45F, 70_000_000),
    BoardDescription("ecpix5-85f", "LFE5UM5G-85F", _ECP5_85F, 60_000_000),
    BoardDescription("orangecrab-25f", "LFE5U-25F", _ECP5_25F, 80_000_000),
    BoardDescription("orangecrab-85f", "LFE5U-85F", _ECP5_85F, 60_000_000),
    BoardDescription("colorlight_5a75b", "LFE5U-25F", _ECP5_25F, 80_000_000),
    BoardDescription("versa_ecp5", "LFE5UM-45F", _ECP5_45F, 70_000_000),
)


def board(name: str) -> BoardDescription:
    """The board called ``name``; raise UnknownBoardError, naming those that there are."""
    for description in BOARDS:
        if description.name == name.lower():
            return description
    known = ", ".join(description.name for description in BOARDS)
    raise UnknownBoardError(f"there is no board {name!r}; there are: {known}")
