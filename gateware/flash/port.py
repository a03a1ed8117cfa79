"""The flash behind the link's byte bus, and before the engine's tape."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import bits_for

from ..interface.configuration import EngineConfiguration
from ..interface.flash import (
    PAGE_BYTES,
    REQUEST_BYTES,
    SLOT_PAGES,
    STREAM_PAGE,
    WINDOW_BYTES,
    FlashCommand,
    FlashOperation,
    FlashPart,
)
from ..memory.bus import ByteBusSignature
from .controller import FlashController
from .mover import DataMover
from .pins import FlashPinsSignature
from .request import SLOT_BIT, FlashRequest

__all__ = ["FlashPort"]


class FlashPort(wiring.Component):
    """Carries out what is written to the window behind the memory (:mod:`.interface.flash`), moves
    bytes between flash and memory, and gives a run its stream.

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
        m.submodules.request = request = FlashRequest(self.configuration, self.part)
        m.submodules.mover = mover = DataMover(self.configuration)
        connect(m, controller.pins, flipped(self.pins))
        connect(m, mover.data, controller.data)

        # The bus: to the window, or on to the memory, which has one user at a time.
        bus, memory = self.bus.request, self.memory.request
        for_window, to_window = Signal(), Signal()
        passes = Signal()
        m.d.comb += [
            passes.eq(~(request.pending | mover.moving)),
            for_window.eq(bus.p.address >= memory_bytes),
            to_window.eq(passes & bus.valid & for_window),
            bus.ready.eq(passes & (for_window | memory.ready)),
            memory.payload.eq(Mux(mover.moving, mover.memory.request.payload, bus.payload)),
            memory.valid.eq((passes & bus.valid & ~for_window) | mover.memory.request.valid),
            mover.memory.request.ready.eq(memory.ready),
            mover.memory.response.valid.eq(self.memory.response.valid),
            mover.memory.response.payload.eq(self.memory.response.payload),
        ]
        status_read = Signal()
        m.d.sync += status_read.eq(to_window & ~bus.p.write)
        status = Cat(
            controller.present,
            controller.busy,
            controller.failed | request.misplaced,
            request.tag,
            request.slot,
        )
        m.d.comb += [
            self.bus.response.valid.eq(status_read | (self.memory.response.valid & ~mover.moving)),
            self.bus.response.payload.eq(Mux(status_read, status, self.memory.response.payload)),
        ]

        # The controller's commands: the request's operation, or the run's stream, once for each
        # run. A READ that is still under way when a run begins comes to its end first.
        streams = Signal()
        command = controller.command
        first = Cat(Const(STREAM_PAGE, SLOT_BIT), request.slot)
        m.d.comb += [
            command.valid.eq(request.pending | (self.wants_stream & ~streams & ~mover.moving)),
            # The operations that become commands have their codes.
            command.p.kind.eq(Mux(request.pending, request.operation[:2], FlashCommand.READ)),
            command.p.page.eq(Mux(request.pending, request.address[: self.part.page_bits], first)),
        ]
        with m.If(command.valid & command.ready):
            m.d.sync += streams.eq(~request.pending)
        with m.If(~self.running):
            m.d.sync += streams.eq(0)

        m.d.comb += [
            request.write.eq(to_window & bus.p.write),
            request.is_last.eq(bus.p.address[: bits_for(WINDOW_BYTES - 1)] == REQUEST_BYTES - 1),
            request.byte.eq(bus.p.data),
            request.running.eq(self.running),
            request.busy.eq(controller.busy),
            request.streaming.eq(controller.streaming),
            request.begun.eq(command.ready),
            request.moved.eq(mover.moved),
            self.invalidate.eq(request.invalidate),
            mover.begin.eq(request.moves),
            mover.from_flash.eq(request.operation == FlashOperation.READ),
            mover.fail.eq(~request.pending & controller.failed),
            mover.address.eq(request.address),
            mover.words.valid.eq(controller.words.valid),
            mover.words.payload.eq(controller.words.payload),
            self.stream.valid.eq(streams & controller.words.valid),
            self.stream.payload.eq(controller.words.payload),
            controller.words.ready.eq(
                Mux(mover.moving, mover.words.ready, streams & self.stream.ready)
            ),
        ]
        return m
