"""Bytes between the flash and memory."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..interface.configuration import EngineConfiguration
from ..interface.flash import PAGE_BYTES, SECTOR_BYTES
from ..memory.bus import ByteBusSignature

__all__ = ["DataMover"]

_PAGE_BITS = bits_for(PAGE_BYTES - 1)
_SECTOR_BITS = bits_for(SECTOR_BYTES - 1)


class DataMover(wiring.Component):
    """Moves bytes from the flash's words into memory up to a sector's end, or a page from memory to
    the flash.

    Throughput: into memory a byte every other cycle, at best. It waits for each byte of memory, so
    that the one that comes is taken. Back-pressure: the flash's words wait for the memory.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    begin : :py:`In(1)`
        For one cycle: bytes are to move.
    from_flash : :py:`In(1)`
        They come from the flash; while low, they go there.
    fail : :py:`In(1)`
        Stop: the controller failed.
    address : :py:`In(range(memory_bytes))`
        In memory, of the byte that comes next.
    moved : :py:`Out(1)`
        The address goes on.
    moving, reading : :py:`Out(1)`
        The memory is in use; for bytes of the flash.
    words : :py:`In(stream.Signature(8 * W))`
    data : :py:`Out(stream.Signature(8))`
        To the controller.
    memory : :py:`Out(ByteBusSignature())`
        Its response may also be meant for another reader, while nothing moves.
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.word_bytes = configuration.word_bytes
        super().__init__(
            {
                "begin": In(1),
                "from_flash": In(1),
                "fail": In(1),
                "address": In(range(configuration.memory_bytes)),
                "moved": Out(1),
                "moving": Out(1),
                "reading": Out(1),
                "words": In(stream.Signature(8 * configuration.word_bytes)),
                "data": Out(stream.Signature(8)),
                "memory": Out(ByteBusSignature()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        asked = Signal()
        memory = self.memory.request
        programming = Signal()
        # The controller's readiness is at the end of a long path, and the memory's grant at the
        # beginning of one. It lasts until the byte comes; that it is over must be seen at once.
        wanted = Signal()
        m.d.sync += wanted.eq(self.data.ready & ~self.data.valid)
        chosen = self.address[: bits_for(self.word_bytes - 1)]
        m.d.comb += [
            self.reading.eq(self.moving & self.from_flash),
            programming.eq(self.moving & ~self.from_flash),
            memory.p.address.eq(self.address),
            memory.p.write.eq(self.reading),
            memory.p.data.eq(self.words.payload.word_select(chosen, 8)),
            memory.valid.eq((self.reading & self.words.valid) | (programming & wanted & ~asked)),
            self.moved.eq(memory.valid & memory.ready),
            self.words.ready.eq(self.reading & memory.ready & chosen.all()),
            self.data.valid.eq(programming & self.memory.response.valid),
            self.data.payload.eq(self.memory.response.payload),
        ]
        with m.If(self.begin):
            m.d.sync += self.moving.eq(1)
        with m.If(self.moved):
            m.d.sync += asked.eq(programming)
        with m.If(self.data.valid):
            m.d.sync += asked.eq(0)
            with m.If(self.address[:_PAGE_BITS] == 0):
                m.d.sync += self.moving.eq(0)
        with m.If(self.reading & self.moved & self.address[:_SECTOR_BITS].all()):
            m.d.sync += self.moving.eq(0)
        with m.If(self.fail):
            m.d.sync += [self.moving.eq(0), asked.eq(0)]
        return m
