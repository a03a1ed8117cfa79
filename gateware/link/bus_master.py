"""The commands' way to the memory: an address that counts, and a byte at a time."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..memory.bus import ByteBusSignature
from ..primitives.counter import load_or_count

__all__ = ["BusMaster"]


class BusMaster(wiring.Component):
    """Single reads and writes at an address that each of them increases.

    Parameters
    ----------
    address_bits : int
        Of the addresses: at most 20.

    Members
    -------
    load : :py:`In(1)`
        Shift ``byte`` into the address from below. Not while ``busy``.
    read, write : :py:`In(1)`
        Begin to. Not while ``busy``.
    byte : :py:`In(8)`
        What to write; must stand while ``busy``.
    busy : :py:`Out(1)`
        From the cycle after ``read`` or ``write`` until it is done.
    response : :py:`Out(8)`
        The byte that was read last.
    bus : :py:`Out(ByteBusSignature())`
    """

    def __init__(self, address_bits: int) -> None:
        if not 1 <= address_bits <= 20:
            raise ValueError(f"Address must have 1 to 20 bits, as the bus, not {address_bits!r}")
        self._address_bits = address_bits
        super().__init__(
            {
                "load": In(1),
                "read": In(1),
                "write": In(1),
                "byte": In(8),
                "busy": Out(1),
                "response": Out(8),
                "bus": Out(ByteBusSignature()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        address = Signal(self._address_bits, reset_less=True)
        request, response = self.bus.request, self.bus.response
        asking, writing = Signal(), Signal(reset_less=True)
        answer = Signal(8, reset_less=True)
        m.d.comb += [
            request.valid.eq(asking),
            request.p.address.eq(address),
            request.p.write.eq(writing),
            request.p.data.eq(self.byte),
            self.response.eq(answer),
        ]
        accepted = Signal()
        m.d.comb += accepted.eq(asking & request.ready)
        with m.If(self.load | accepted):
            shifted = Cat(self.byte, address)[: len(address)]
            m.d.sync += address.eq(load_or_count(self.load, shifted, address))
        with m.If(accepted):
            m.d.sync += asking.eq(0)
        with m.If(response.valid | (accepted & writing)):
            m.d.sync += self.busy.eq(0)
        with m.If(response.valid):
            m.d.sync += answer.eq(response.payload)
        with m.If(self.read | self.write):
            m.d.sync += [asking.eq(1), self.busy.eq(1), writing.eq(self.write)]
        return m
