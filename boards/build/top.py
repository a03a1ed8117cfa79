"""The design that is built: the SoC behind a board's clock and pins."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value
from amaranth.lib import io, wiring

from gateware.soc import Soc

from .board import Board, LedPins, Pin
from .flash_pads import BoardFlashPads

__all__ = ["Top"]


class Top(Elaboratable):
    """The SoC, its clock and its pins."""

    def __init__(self, board: Board, frequency_hz: float) -> None:
        self.board = board
        self.frequency_hz = frequency_hz

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        board = self.board
        platform.add_resources(board.resources)
        board.clock.add(m, platform, self.frequency_hz)
        m.submodules.soc = soc = Soc(
            board.description.configuration,
            board=board.name,
            clock_hz=round(board.clock.frequency(self.frequency_hz)),
            technology=board.technology,
            flash=board.description.flash,
        )
        if board.description.flash is not None:
            m.submodules.flash_pads = pads = BoardFlashPads(board.technology)
            wiring.connect(m, soc.flash, pads.controller)
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [soc.rx.eq(rx.i), tx.o.eq(soc.tx)]
        self._outputs(m, platform, soc)
        return m

    def _outputs(self, m: Module, platform: Any, soc: Soc) -> None:
        leds = self.board.leds
        values: list[tuple[Pin | None, Value | int]] = [
            (leds.valid, soc.valid),
            (leds.error, soc.error),
            (leds.busy, soc.busy),
            *zip(leds.best, soc.best, strict=False),
            *self.board.held,
        ]
        if leds == LedPins():
            # With nothing to show, yosys 0.70 loses its way: its ABC pass ends in an assertion.
            unseen = Signal(13, attrs={"keep": 1})
            m.d.comb += unseen.eq(Cat(soc.valid, soc.error, soc.busy, soc.best))
        # A resource with several signals comes at once, whatever of it is used.
        requested: dict[tuple[str, int], Any] = {}
        for pin, value in values:
            if pin is None:
                continue
            name, number, *inside = pin
            if (name, number) not in requested:
                requested[name, number] = platform.request(name, number, dir="-")
            port = requested[name, number]
            buffer = io.Buffer("o", getattr(port, inside[0]) if inside else port)
            m.submodules["_".join(map(str, pin))] = buffer
            m.d.comb += buffer.o.eq(value)
