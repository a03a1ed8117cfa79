"""The commands' access to the memory: one byte at a time, at an address that counts."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..memory.bus import ByteBusSignature
from ..primitives.counter import load_or_count

__all__ = ["BusMaster"]


class BusMaster(wiring.Component):
    """Read and write single bytes at an address that each access increments.

    Latency and throughput: those of the bus; the next access may begin in the cycle in which
    ``busy`` is low.

    Parameters
    ----------
    address_bits : int
        Width of the addresses: at most 20.

    Members
    -------
    load : :py:`In(1)`
        Shift ``byte`` into the address as its lowest byte. Not allowed while ``busy``.
    read, write : :py:`In(1)`
        Begin a read or a write. Not allowed while ``busy``.
    byte : :py:`In(8)`
        The byte to write; it must be stable while ``busy``.
    busy : :py:`Out(1)`
        High from the cycle after ``read`` or ``write`` until the access is complete.
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
