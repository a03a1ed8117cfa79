"""The whole board except its clock and pins: link, engine, memory.

Bitstream and simulation contain this same component."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .engine.engine import Engine
from .flash.pins import FlashPinsSignature
from .flash.port import FlashPort
from .interface.configuration import EngineConfiguration
from .interface.flash import WINDOW_BYTES, FlashPart
from .interface.protocol import (
    RESET_BAUD,
    EngineError,
    Info,
)
from .interface.sources import source_hash
from .interface.timing import MIN_BIT_CYCLES
from .link.link import Link
from .primitives import Technology

__all__ = ["Soc"]


class Soc(wiring.Component):
    """An engine behind a serial line.

    Parameters
    ----------
    configuration : EngineConfiguration
    board : str
        The name in INFO's reply, at most 16 characters.
    clock_hz : int
        Frequency of the domain ``sync``.
    reset_baud : int
        Baud rate after reset.
    technology : Technology
    flash : FlashPart or None
        The flash, if the configuration has one.

    Members
    -------
    rx, tx : :py:`In(1)`, :py:`Out(1)`
        The serial line. ``rx`` is asynchronous.
    busy, error, valid : :py:`Out(1)`
        The engine is running; its last run ended with an error; there is a model.
    best : :py:`Out(10)`
        Class of the last answer; zero without diagnostics.
    flash : :py:`Out(FlashPinsSignature())`
        Before the pads' registers (:class:`.FlashPads`); only with a flash.

    Raises
    ------
    ValueError
        If the clock is too slow for ``reset_baud``, or a flash is given and the configuration has
        none, or the reverse.
    """

    def __init__(
        self,
        configuration: EngineConfiguration,
        *,
        board: str,
        clock_hz: int,
        reset_baud: int = RESET_BAUD,
        technology: Technology = Technology.GENERIC,
        flash: FlashPart | None = None,
    ) -> None:
        if configuration.flash != (flash is not None):
            raise ValueError(
                f"The flash must be given if the configuration has one, and only then, "
                f"not {flash!r}"
            )
        divisor = round(clock_hz / reset_baud)
        if divisor < MIN_BIT_CYCLES:
            raise ValueError(
                f"A baud rate of {reset_baud!r} needs a clock of at least "
                f"{MIN_BIT_CYCLES * reset_baud} Hz, because a bit takes {MIN_BIT_CYCLES} cycles or "
                f"more, not {clock_hz!r}"
            )
        info = Info.of(configuration, clock_hz=clock_hz, source_hash=source_hash(), board=board)
        window = WINDOW_BYTES if flash else 0
        self._link = Link(info, configuration.memory_bytes + window, divisor)
        self._engine = Engine(configuration, technology)
        self._flash = None if flash is None else FlashPort(configuration, flash)
        super().__init__(
            {
                **({} if flash is None else {"flash": Out(FlashPinsSignature())}),
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "busy": Out(1),
                "error": Out(1),
                "valid": Out(1),
                "best": Out(10),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = self._link
        m.submodules.engine = engine = self._engine
        connect(m, link.engine, engine.control)
        if self._flash is None:
            connect(m, link.bus, engine.host)
        else:
            m.submodules.flash = port = self._flash
            connect(m, port.pins, flipped(self.flash))
            connect(m, link.bus, port.bus)
            connect(m, port.memory, engine.host)
            connect(m, port.stream, engine.flash)
            m.d.comb += [
                port.running.eq(engine.control.busy),
                port.wants_stream.eq(engine.wants_flash),
                link.invalidate.eq(port.invalidate),
            ]
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            self.busy.eq(engine.control.busy),
            self.error.eq(engine.control.error != EngineError.NONE),
            self.valid.eq(link.valid),
            self.best.eq(engine.control.best),
        ]
        return m
