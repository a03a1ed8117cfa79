"""The flash behind the link's byte bus, and before the engine's tape."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import bits_for

from ..interface.configuration import EngineConfiguration
from ..interface.flash import (
    PAGE_BYTES,
    REQUEST_BYTES,
    SECTOR_BYTES,
    SLOT_PAGES,
    STREAM_PAGE,
    WINDOW_BYTES,
    FlashCommand,
    FlashOperation,
    FlashPart,
)
from ..memory.bus import ByteBusSignature
from ..primitives.counter import load_or_count
from .controller import FlashController
from .pins import FlashPinsSignature

__all__ = ["FlashPort"]

#: A request's last byte, from bit 0.
REQUEST = data.StructLayout({"operation": FlashOperation, "tag": 1})
_PAGE_BITS = bits_for(PAGE_BYTES - 1)
_SECTOR_BITS = bits_for(SECTOR_BYTES - 1)
#: Of a page's number: which slot.
_SLOT_BIT = bits_for(SLOT_PAGES - 1)


class FlashPort(wiring.Component):
    """Carries out what is written to the window behind the memory (:mod:`.interface.flash`), moves
    bytes between flash and memory, and gives a run its stream.

    A request is a shift register: its bytes may come at any pace, and what is written before the
    last one does nothing.

    Latency: a byte of the bus is passed on in the same cycle. Throughput: READ writes a byte
    every other cycle, at best; the stream is the controller's. Back-pressure: while bytes move, the
    bus waits; that takes at most the time of a sector's READ. Erasing and programming it does not
    wait for.

    Parameters
    ----------
    configuration : EngineConfiguration
    part : FlashPart
        Of 16 MiB, for a slot has a name of one bit.

    Members
    -------
    pins : :py:`Out(FlashPinsSignature())`
    bus : :py:`In(ByteBusSignature())`
        From the link.
    memory : :py:`Out(ByteBusSignature())`
        To the scratchpad.
    running : :py:`In(1)`
        A run is under way: requests are refused.
    wants_stream : :py:`In(1)`
        The run wants what ``stream`` gives: the selected slot from its stream's first word on.
    stream : :py:`Out(stream.Signature(8 * W))`
    invalidate : :py:`Out(1)`
        High for one cycle: the image in memory, or what it streams, is about to change.

    Raises
    ------
    ValueError
        If the part has another size.
    """

    def __init__(self, configuration: EngineConfiguration, part: FlashPart) -> None:
        if part.page_bits != bits_for(2 * SLOT_PAGES - 1):
            raise ValueError(
                f"The flash must have {4 * SLOT_PAGES * PAGE_BYTES} bytes, so that its slots "
                f"have their pages, not {part.size_bytes!r}"
            )
        self.configuration = configuration
        self.part = part
        super().__init__(
            {
                "pins": Out(FlashPinsSignature()),
                "bus": In(ByteBusSignature()),
                "memory": Out(ByteBusSignature()),
                "running": In(1),
                "wants_stream": In(1),
                "stream": Out(stream.Signature(8 * configuration.word_bytes)),
                "invalidate": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory_bytes = self.configuration.memory_bytes
        m.submodules.controller = controller = FlashController(
            self.part, word_bytes=self.configuration.word_bytes
        )
        connect(m, controller.pins, flipped(self.pins))

        # The request, and what becomes of it.
        address = Signal(bits_for(memory_bytes - 1), reset_less=True)
        page = address[: self.part.page_bits]
        operation = Signal(FlashOperation, reset_less=True)  # its codes are the controller's
        tag, slot = Signal(), Signal()
        pending, moving, misplaced = Signal(), Signal(), Signal()

        # The bus: to the window, or on to the memory.
        bus, memory = self.bus.request, self.memory.request
        for_window, to_window, is_last = Signal(), Signal(), Signal()
        passes = Signal()
        m.d.comb += [
            passes.eq(~(pending | moving)),
            for_window.eq(bus.p.address >= memory_bytes),
            is_last.eq(bus.p.address[: bits_for(WINDOW_BYTES - 1)] == REQUEST_BYTES - 1),
            to_window.eq(passes & bus.valid & for_window),
            bus.ready.eq(passes & (for_window | memory.ready)),
        ]
        status_read = Signal()
        m.d.sync += status_read.eq(to_window & ~bus.p.write)
        status = Cat(controller.present, controller.busy, controller.failed | misplaced, tag, slot)
        m.d.comb += [
            self.bus.response.valid.eq(status_read | (self.memory.response.valid & ~moving)),
            self.bus.response.payload.eq(Mux(status_read, status, self.memory.response.payload)),
        ]

        # A request comes byte by byte; its last byte is carried out.
        shifts, accepted, moved = Signal(), Signal(), Signal()
        word = data.View(REQUEST, bus.p.data[: REQUEST.size])
        written = Signal()
        m.d.comb += [
            written.eq(to_window & bus.p.write),
            shifts.eq(written & ~is_last),
            accepted.eq(written & is_last & (word.tag != tag) & ~self.running & ~controller.busy),
        ]
        with m.If(shifts | moved):
            shifted = Cat(bus.p.data, address)[: len(address)]
            m.d.sync += address.eq(load_or_count(shifts, shifted, address))

        # What is behind the last whole page is no part of any image.
        in_last_page = Signal()
        m.d.comb += in_last_page.eq(address[_PAGE_BITS:] == memory_bytes // PAGE_BYTES - 1)
        with m.If(accepted):
            m.d.sync += [tag.eq(word.tag), operation.eq(word.operation), misplaced.eq(0)]
            with m.Switch(word.operation):
                with m.Case(FlashOperation.SELECT):
                    m.d.sync += slot.eq(page[_SLOT_BIT])
                    m.d.comb += self.invalidate.eq(1)
                with m.Case(FlashOperation.READ):
                    m.d.sync += [
                        moving.eq(controller.streaming),
                        misplaced.eq(~controller.streaming),
                    ]
                    m.d.comb += self.invalidate.eq(~in_last_page)
                with m.Default():
                    m.d.sync += [
                        pending.eq(1),
                        moving.eq(word.operation == FlashOperation.PROGRAM),
                    ]
                    m.d.comb += self.invalidate.eq(
                        (word.operation == FlashOperation.ERASE) & (page[_SLOT_BIT] == slot)
                    )

        # The controller's commands: the operation, or the run's stream, once for each run. A READ
        # that is still under way when a run begins comes to its end first.
        streams = Signal()
        command = controller.command
        m.d.comb += [
            command.valid.eq(pending | (self.wants_stream & ~streams & ~moving)),
            command.p.kind.eq(Mux(pending, operation[:2], FlashCommand.READ)),
            command.p.page.eq(Mux(pending, page, Cat(Const(STREAM_PAGE, _SLOT_BIT), slot))),
        ]
        with m.If(command.valid & command.ready):
            m.d.sync += [pending.eq(0), streams.eq(~pending)]
        with m.If(~self.running):
            m.d.sync += streams.eq(0)

        # Bytes into memory come from words, and the memory's bytes go to the controller: it waits
        # for each, so that the one that comes is taken.
        asked = Signal()
        reads_flash, reads_memory = Signal(), Signal()
        chosen = address[: bits_for(self.configuration.word_bytes - 1)]
        m.d.comb += [
            reads_flash.eq(moving & (operation == FlashOperation.READ)),
            reads_memory.eq(moving & (operation != FlashOperation.READ)),
            memory.p.address.eq(Mux(moving, address, bus.p.address)),
            memory.p.write.eq(Mux(moving, reads_flash, bus.p.write)),
            memory.p.data.eq(
                Mux(moving, controller.words.payload.word_select(chosen, 8), bus.p.data)
            ),
            memory.valid.eq(
                (passes & bus.valid & ~for_window)
                | (reads_flash & controller.words.valid)
                | (reads_memory & controller.data.ready & ~asked)
            ),
            moved.eq(moving & memory.valid & memory.ready),
            controller.data.valid.eq(reads_memory & self.memory.response.valid),
            controller.data.payload.eq(self.memory.response.payload),
            self.stream.valid.eq(streams & controller.words.valid),
            self.stream.payload.eq(controller.words.payload),
            controller.words.ready.eq(
                Mux(moving, reads_flash & memory.ready & chosen.all(), streams & self.stream.ready)
            ),
        ]
        with m.If(moved):
            m.d.sync += asked.eq(reads_memory)
        with m.If(controller.data.valid):
            m.d.sync += asked.eq(0)
            with m.If(address[:_PAGE_BITS] == 0):
                m.d.sync += moving.eq(0)
        with m.If(reads_flash & moved & address[:_SECTOR_BITS].all()):
            m.d.sync += moving.eq(0)
        with m.If(~pending & controller.failed):
            m.d.sync += [moving.eq(0), asked.eq(0)]
        return m
