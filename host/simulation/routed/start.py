"""Start the simulation of a routed netlist, if it is what it should be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateware.interface.protocol import RESET_BAUD, Info, Opcode
from gateware.interface.sources import source_hash

from ...errors import PortError
from ...link.framing import ReplyDecoder, Request
from ..backends.cxxrtl import CxxrtlBackend
from ..cache import write_atomically
from .netlist import RoutedNetlist

if TYPE_CHECKING:
    from boards.catalog import BoardDescription

__all__ = ["start"]

#: Enough for the PLL's model and the reset behind it.
_LOCKED_CYCLES = 100
#: An INFO and its answer take 5 ms at the rate after reset.
_ANSWER_SECONDS = 0.02
#: Cycles in one go, so that Ctrl-C takes effect at once.
_SLICE = 20_000


def start(path: Path, board: BoardDescription) -> tuple[CxxrtlBackend, int, str]:
    """Simulate the netlist at ``path``, if it is the board's and of today's gateware.

    Returns
    -------
    backend : CxxrtlBackend
    clock_hz : int
        For which the design was made: its UART counts on it.
    content : str
        Names the netlist's content.

    Raises
    ------
    PortError
        If there is no such netlist, or it is another board's, or of other sources.
    CompileError
    """
    netlist = RoutedNetlist.read(path, board.name)
    if netlist.device != board.device.lower():
        raise PortError(f"{path}: is routed for {netlist.device}, not for {board.device}")
    library = netlist.compile()
    info = _identify(path, library, netlist.clock_hz)
    again = f"`python -m boards.{board.name} build` makes it anew"
    if info.board != board.name:
        raise PortError(f"{path}: is the board {info.board}, not {board.name}")
    if info.source_hash != source_hash():
        raise PortError(
            f"{path}: is made of other gateware (sources {info.source_hash:08x}, here "
            f"{source_hash():08x}): {again}"
        )
    if abs(info.clock_hz - netlist.clock_hz) > 1:
        raise PortError(
            f"{path}: its PLL makes {netlist.clock_hz:.0f} Hz, its UART counts on {info.clock_hz}"
        )
    return CxxrtlBackend(library, "routed"), info.clock_hz, library.stem


def _identify(path: Path, library: Path, clock_hz: float) -> Info:
    """What the design says that it is; asked once for each netlist, as its line is slow."""
    answer = library.with_suffix(".info")
    try:
        return Info.unpack(answer.read_bytes())
    except (OSError, ValueError):
        pass
    backend = CxxrtlBackend(library, "routed")
    backend.set_bit_cycles(clock_hz / RESET_BAUD)
    backend.run(_LOCKED_CYCLES)
    backend.send(Request(Opcode.INFO).encode(0))
    decoder = ReplyDecoder()
    try:
        while backend.cycles < _ANSWER_SECONDS * clock_hz:
            for reply in decoder.feed(backend.run(_SLICE)):
                write_atomically(answer, reply.payload)
                return Info.unpack(reply.payload)
    except ValueError as error:
        raise PortError(f"{path}: the board in it answers what is no INFO: {error}") from error
    except OSError as error:
        raise PortError(f"{answer.parent}: cannot be written: {error.strerror}") from error
    finally:
        backend.close()
    raise PortError(f"{path}: the board in it does not answer")
