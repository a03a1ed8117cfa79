"""The flash's pads on a real FPGA; :class:`gateware.flash.pins.FlashPads` is what they are."""

from amaranth.build import Attrs, Pins, PinsN, Resource, Subsignal
from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In

from gateware.flash.pins import FlashPinsSignature
from gateware.primitives import Technology

__all__ = ["BoardFlashPads", "quad_flash"]


def quad_flash(*, select: str, data: str, attributes: Attrs, clock: str | None = None) -> Resource:
    """A flash's pins, with four data lines of both directions.

    Parameters
    ----------
    select : str
        Pin of chip select, active low.
    data : str
        Pins of IO0 to IO3: DI, DO, /WP, /HOLD.
    attributes : Attrs
    clock : str or None
        Pin of the clock; None where it is the FPGA's own configuration clock (ECP5).
    """
    signals = [
        Subsignal("select", PinsN(select, dir="o")),
        Subsignal("data", Pins(data, dir="io")),
    ]
    if clock is not None:
        signals.append(Subsignal("clock", Pins(clock, dir="o")))
    return Resource("quad_flash", 0, *signals, attributes)


class BoardFlashPads(wiring.Component):
    """Registers in the pads, for the resource that :func:`quad_flash` makes.

    The flash's clock is the domain's, inverted, for as long as the controller wants: it rises in
    the middle of a cycle, half a cycle after the data changed. On iCE40 a double-rate output makes
    it. On ECP5 the configuration clock's pin takes only a signal of the fabric (USRMCLK): a
    register that changes with the domain's clock, while that clock holds the gate behind it closed.
    The tools do not constrain that way, nor the flash's answer.

    Members
    -------
    controller : :py:`In(FlashPinsSignature())`

    Raises
    ------
    ValueError
        If the technology has no pads.
    """

    def __init__(self, technology: Technology) -> None:
        if technology is Technology.GENERIC:
            raise ValueError("Pads are those of an FPGA, not of the generic technology")
        self.technology = technology
        super().__init__({"controller": In(FlashPinsSignature())})

    def elaborate(self, platform) -> Module:
        m = Module()
        pins = self.controller
        port = platform.request("quad_flash", 0, dir="-")
        m.submodules.select = select = io.FFBuffer("o", port.select)
        m.d.comb += select.o.eq(pins.select)
        for line in range(4):
            m.submodules[f"data{line}"] = data = io.FFBuffer("io", port.data[line])
            m.d.comb += [
                data.o.eq(pins.o[line]),
                data.oe.eq(pins.oe[line]),
                pins.i[line].eq(data.i),
            ]
        if self.technology is Technology.ICE40:
            m.submodules.clock = clock = io.DDRBuffer("o", port.clock)
            m.d.comb += clock.o.eq(Cat(Const(0, 1), pins.clock))
        else:
            wanted = Signal()
            m.d.sync += wanted.eq(pins.clock)
            m.submodules.clock = Instance(
                "USRMCLK",
                i_USRMCLKI=wanted & ~ClockSignal(),
                i_USRMCLKTS=Const(0, 1),
            )
        return m
