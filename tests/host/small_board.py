"""The smallest board with a real link: commands and memory, and an engine that does nothing."""

from __future__ import annotations

from dataclasses import replace

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.protocol import Info
from gateware.link.link import Link

CLOCK_HZ = 12_000_000
MEMORY_BYTES = 4096


class SmallBoard(wiring.Component):
    """Pins as the real top level has them; an inference takes 50 cycles and changes nothing."""

    def __init__(self, reset_baud: int) -> None:
        self._reset_divisor = round(CLOCK_HZ / reset_baud)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        info = replace(
            Info.of(EngineConfiguration(), clock_hz=CLOCK_HZ, source_hash=0, board="small"),
            memory_bytes=MEMORY_BYTES,
        )
        m = Module()
        m.submodules.link = link = Link(info, MEMORY_BYTES, self._reset_divisor)
        m.submodules.memory = memory = Memory(shape=8, depth=MEMORY_BYTES, init=[])
        write, read = memory.write_port(), memory.read_port()
        request = link.bus.request
        accepted = Signal()
        m.d.sync += accepted.eq(request.valid & ~request.payload.write)
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            request.ready.eq(1),
            write.addr.eq(request.payload.address),
            write.data.eq(request.payload.data),
            write.en.eq(request.valid & request.payload.write),
            read.addr.eq(request.payload.address),
            link.bus.response.valid.eq(accepted),
            link.bus.response.payload.eq(read.data),
        ]
        count = Signal(6)
        m.d.comb += [link.engine.busy.eq(count != 0), link.engine.cycles.eq(50)]
        with m.If(link.engine.run):
            m.d.sync += count.eq(50)
        with m.Elif(count != 0):
            m.d.sync += count.eq(count - 1)
        return m
