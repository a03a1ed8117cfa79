"""A request to the flash, as it is written to the window behind the memory."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..interface.configuration import EngineConfiguration
from ..interface.flash import PAGE_BYTES, SLOT_PAGES, FlashOperation, FlashPart
from ..primitives.counter import load_or_count

__all__ = ["SLOT_BIT", "FlashRequest"]

#: A request's last byte, from bit 0.
REQUEST = data.StructLayout({"operation": FlashOperation, "tag": 1})
#: Of a page's number: which slot.
SLOT_BIT = bits_for(SLOT_PAGES - 1)
_PAGE_BITS = bits_for(PAGE_BYTES - 1)


class FlashRequest(wiring.Component):
    """Shifts a request in, and decides with its last byte what becomes of it.

    Its bytes may come at any pace, and what is written before the last one does nothing. The
    argument is also the address in memory from which on bytes move (:class:`.DataMover`).

    Latency: a cycle. Throughput: a byte a cycle. Back-pressure: while ``pending``, or while bytes
    move, nothing may be written.

    Parameters
    ----------
    configuration : EngineConfiguration
    part : FlashPart

    Members
    -------
    write : :py:`In(1)`
        A byte is written to the window.
    is_last : :py:`In(1)`
        It is a request's last one.
    byte : :py:`In(8)`
    running, busy, streaming : :py:`In(1)`
        A run is under way: requests are refused. The controller's outputs of these names.
    begun : :py:`In(1)`
        The controller has taken the operation's command.
    moved : :py:`In(1)`
        A byte was moved: the address goes on.
    address : :py:`Out(range(memory_bytes))`
        A page, or an address in memory, as the operation has it.
    operation : :py:`Out(FlashOperation)`
    tag, slot : :py:`Out(1)`
        Of the last request that was carried out; the slot that SELECT chose.
    pending : :py:`Out(1)`
        The controller is to carry the operation out.
    moves : :py:`Out(1)`
        For one cycle: bytes are to move between flash and memory.
    misplaced : :py:`Out(1)`
        The last request was a READ of what does not stream.
    invalidate : :py:`Out(1)`
        For one cycle: the image in memory, or what it streams, is about to change.
    """

    def __init__(self, configuration: EngineConfiguration, part: FlashPart) -> None:
        self.memory_bytes = configuration.memory_bytes
        self.page_bits = part.page_bits
        super().__init__(
            {
                "write": In(1),
                "is_last": In(1),
                "byte": In(8),
                "running": In(1),
                "busy": In(1),
                "streaming": In(1),
                "begun": In(1),
                "moved": In(1),
                "address": Out(range(self.memory_bytes)),
                "operation": Out(FlashOperation),
                "tag": Out(1),
                "slot": Out(1),
                "pending": Out(1),
                "moves": Out(1),
                "misplaced": Out(1),
                "invalidate": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        address = Signal.like(self.address, reset_less=True)
        operation = Signal(FlashOperation, reset_less=True)
        m.d.comb += [self.address.eq(address), self.operation.eq(operation)]
        shifts, accepted = Signal(), Signal()
        word = data.View(REQUEST, self.byte[: REQUEST.size])
        m.d.comb += [
            shifts.eq(self.write & ~self.is_last),
            accepted.eq(
                self.write & self.is_last & (word.tag != self.tag) & ~self.running & ~self.busy
            ),
        ]
        with m.If(shifts | self.moved):
            shifted = Cat(self.byte, address)[: len(address)]
            m.d.sync += address.eq(load_or_count(shifts, shifted, address))

        page = address[: self.page_bits]
        # What is behind the last whole page is no part of any image.
        in_last_page = Signal()
        m.d.comb += in_last_page.eq(address[_PAGE_BITS:] == self.memory_bytes // PAGE_BYTES - 1)
        with m.If(self.begun):
            m.d.sync += self.pending.eq(0)
        with m.If(accepted):
            m.d.sync += [self.tag.eq(word.tag), operation.eq(word.operation)]
            m.d.sync += self.misplaced.eq(0)
            with m.Switch(word.operation):
                with m.Case(FlashOperation.SELECT):
                    m.d.sync += self.slot.eq(page[SLOT_BIT])
                    m.d.comb += self.invalidate.eq(1)
                with m.Case(FlashOperation.READ):
                    m.d.sync += self.misplaced.eq(~self.streaming)
                    m.d.comb += [
                        self.moves.eq(self.streaming),
                        self.invalidate.eq(~in_last_page),
                    ]
                with m.Default():
                    m.d.sync += self.pending.eq(1)
                    m.d.comb += [
                        self.moves.eq(word.operation == FlashOperation.PROGRAM),
                        self.invalidate.eq(
                            (word.operation == FlashOperation.ERASE) & (page[SLOT_BIT] == self.slot)
                        ),
                    ]
        return m
