"""Between the flash controller and the pads."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["FlashPads", "FlashPinsSignature", "LATENCY"]

#: From a clock pulse at the controller to what the flash showed then: a register in each pad.
LATENCY = 2


class FlashPinsSignature(wiring.Signature):
    """What the controller, or the pads, say in a cycle.

    Members
    -------
    select : :py:`Out(1)`
        The flash is selected.
    clock : :py:`Out(1)`
        The flash's clock rises in the middle of this cycle and falls at its end (SPI mode 0).
    o, oe : :py:`Out(4)`
        Data lines, and which of them are driven.
    i : :py:`In(4)`
        Data lines, as they were in this cycle before the flash's clock fell.
    """

    def __init__(self) -> None:
        super().__init__({"select": Out(1), "clock": Out(1), "o": Out(4), "oe": Out(4), "i": In(4)})


class FlashPads(wiring.Component):
    """The registers in the pads, as every board has them: none of them is in the fabric.

    Latency: a cycle each way; together :data:`LATENCY`. Being registers of the pads, the way from
    the falling clock through the flash and back has a whole cycle.

    Members
    -------
    controller : :py:`In(FlashPinsSignature())`
    pads : :py:`Out(FlashPinsSignature())`
    """

    def __init__(self) -> None:
        super().__init__(
            {"controller": In(FlashPinsSignature()), "pads": Out(FlashPinsSignature())}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        seen = Signal(4)
        m.d.sync += [
            self.pads.select.eq(self.controller.select),
            self.pads.clock.eq(self.controller.clock),
            self.pads.o.eq(self.controller.o),
            self.pads.oe.eq(self.controller.oe),
            seen.eq(self.pads.i),
        ]
        m.d.comb += self.controller.i.eq(seen)
        return m
