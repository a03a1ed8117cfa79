"""The weight ring: everything on the tape passes through it."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from ..interface.image import TAPE_ADDRESS
from ..interface.tape import SEGMENT
from ..memory.scratchpad import ReadPortSignature
from ..primitives.counter import load_or_count_down
from .layer import struct_layout

#: More reads than the memory can have under way at once.
_MOST_OUTSTANDING = 7


class TapeReader(wiring.Component):
    """Copy the tape to the ring, without knowing what it carries.

    The reader reads memory words one after the other from the tape's beginning, while the ring has
    space, and never jumps. It begins when its reset ends. Throughput: a word a cycle, if the memory
    grants it. It withdraws a request that was not granted if the ring turns out to be full; the
    address stays.

    With a flash it follows the segments' headers. A header takes the time of a memory read, after
    the read before it was answered. In a segment of the flash, a word is taken in the cycle in
    which it is offered.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    freed : :py:`In(1)`
        The ring has freed an entry.
    port : :py:`Out(ReadPortSignature(W, 0))`
    flash : :py:`In(stream.Signature(8 * W))`
        Words of the flash, in order; never valid without a flash.
    wants_flash : :py:`Out(1)`
        A segment of the flash is being read.
    words : :py:`Out(stream.Signature(8 * W, always_ready=True))`
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.configuration = configuration
        width = 8 * configuration.word_bytes
        super().__init__(
            {
                "freed": In(1),
                "port": Out(ReadPortSignature(configuration.word_bytes, 0)),
                "flash": In(stream.Signature(width)),
                "wants_flash": Out(1),
                "words": Out(stream.Signature(width, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        configuration = self.configuration
        address = Signal(
            range(configuration.memory_words), init=TAPE_ADDRESS // configuration.word_bytes
        )
        word = Signal(range(configuration.entry_words))
        space = Signal(range(configuration.ring_entries + 1), init=configuration.ring_entries)
        has_space = Signal()
        request, response, reserve = self.port.request, self.port.response, Signal()
        granted, taken = Signal(), Signal()
        m.d.comb += [
            request.p.address.eq(address),
            request.p.enable.eq(1),
            granted.eq(request.valid & request.ready),
        ]
        with m.If(granted):
            m.d.sync += address.eq(address + 1)
        with m.If(taken):
            m.d.sync += word.eq(word + 1)
            with m.If(word == configuration.entry_words - 1):
                m.d.sync += word.eq(0)
                m.d.comb += reserve.eq(1)
        # Of entries that take several words, the next one is not begun before this is counted: so
        # the grant ends here.
        counted = Signal()
        if configuration.entry_words > 1:
            m.d.sync += counted.eq(reserve)
        else:
            m.d.comb += counted.eq(reserve)
        if configuration.flash:
            self._follow_segments(m, has_space, granted, taken, reserve, counted)
        else:
            m.d.comb += [
                request.valid.eq(has_space),
                taken.eq(granted),
                self.words.valid.eq(response.valid),
                self.words.payload.eq(response.p.data),
            ]
        with m.If(counted & ~self.freed):
            m.d.sync += space.eq(space - 1)
        with m.Elif(self.freed & ~counted):
            m.d.sync += space.eq(space + 1)
        # An entry stays unused: this is a cycle late.
        m.d.sync += has_space.eq(space[1:] != 0)
        return m

    def _follow_segments(
        self,
        m: Module,
        has_space: Signal,
        granted: Signal,
        taken: Signal,
        reserve: Signal,
        counted: Signal,
    ) -> None:
        """Take words from the sources that the headers name."""
        request, response = self.port.request, self.port.response
        # Reads that were granted and not answered yet: what is answered last is the header.
        outstanding = Signal(range(_MOST_OUTSTANDING + 1))
        with m.If(granted & ~response.valid):
            m.d.sync += outstanding.eq(outstanding + 1)
        with m.Elif(response.valid & ~granted):
            m.d.sync += outstanding.eq(outstanding - 1)
        layout = struct_layout(SEGMENT)
        header = data.View(layout, response.p.data[: layout.size])
        entries = Signal.like(header.entries)
        from_header, last_entry = Signal(), Signal()
        with m.If(from_header | counted):
            m.d.sync += entries.eq(load_or_count_down(from_header, header.entries, entries))
        m.d.comb += last_entry.eq(reserve & (entries == 0))
        with m.FSM():
            with m.State("ASK"):
                # Nothing follows without space, and in reset there is none.
                m.d.comb += [
                    request.valid.eq(has_space & (outstanding == 0)),
                    self.words.valid.eq(response.valid),
                ]
                with m.If(granted):
                    m.next = "HEADER"
            with m.State("HEADER"):
                with m.If(response.valid):
                    m.d.comb += from_header.eq(1)
                    m.next = "MEMORY"
                    with m.If(header.flash):
                        m.next = "FLASH"
            with m.State("MEMORY"):
                m.d.comb += [
                    request.valid.eq(has_space),
                    taken.eq(granted),
                    self.words.valid.eq(response.valid),
                ]
                with m.If(last_entry):
                    m.next = "ASK"
            with m.State("FLASH"):
                m.d.comb += [
                    self.wants_flash.eq(1),
                    self.flash.ready.eq(has_space),
                    taken.eq(self.flash.valid & has_space),
                    self.words.valid.eq(taken),
                ]
                with m.If(last_entry):
                    m.next = "ASK"
        m.d.comb += self.words.payload.eq(
            Mux(self.wants_flash, self.flash.payload, response.p.data)
        )


class WeightRing(wiring.Component):
    """``ring_entries`` entries of ``L`` bytes, written by the tape, read and re-read by the steps.

    Reading proceeds from entry to entry; ``rewind`` returns to the entry that ``mark`` marked.
    Entries that were never read lie ahead of the *frontier*; ``fresh`` moves it.

    Latency: ``data`` is the entry at the read pointer of a cycle ago. Throughput: an entry a cycle.
    Back-pressure: ``available``.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    words : :py:`In(stream.Signature(8 * W, always_ready=True))`
    available : :py:`Out(1)`
        There is an entry ahead of the frontier. From a register.
    step : :py:`In(1)`
        Go to the next entry.
    rewind : :py:`In(1)`
        With ``step``: go to the marked entry instead.
    mark : :py:`In(1)`
        With ``step``: the next entry is the marked one.
    fresh : :py:`In(1)`
        With ``step``: the entry left is one that was never read; only while ``available``.
    data : :py:`Out(8 * L)`
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.configuration = configuration
        super().__init__(
            {
                "words": In(stream.Signature(8 * configuration.word_bytes, always_ready=True)),
                "available": Out(1),
                "step": In(1),
                "rewind": In(1),
                "mark": In(1),
                "fresh": In(1),
                "data": Out(8 * configuration.lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        configuration = self.configuration
        depth = configuration.ring_entries
        read_pointer, marked, write_pointer = (
            Signal(range(depth), name=name) for name in ("read_pointer", "marked", "write_pointer")
        )
        word = Signal(range(configuration.entry_words))
        parts: list[Signal] = []
        for index in range(configuration.entry_words):
            width = min(8 * configuration.word_bytes, 8 * configuration.lanes - len(Cat(parts)))
            m.submodules[f"part{index}"] = memory = Memory(shape=width, depth=depth, init=[])
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.words.valid & (word == index)),
                write.addr.eq(write_pointer),
                write.data.eq(self.words.payload),
                read.en.eq(1),
                read.addr.eq(read_pointer),
            ]
            parts.append(read.data)
        m.d.comb += self.data.eq(Cat(parts))

        committed = Signal()
        m.d.comb += committed.eq(self.words.valid & (word == configuration.entry_words - 1))
        with m.If(self.words.valid):
            m.d.sync += word.eq(word + 1)
        with m.If(committed):
            m.d.sync += [word.eq(0), write_pointer.eq(write_pointer + 1)]

        following = Signal(range(depth))
        m.d.comb += following.eq(read_pointer + 1)
        with m.If(self.step):
            m.d.sync += read_pointer.eq(Mux(self.rewind, marked, following))
            with m.If(self.mark):
                m.d.sync += marked.eq(following)

        ahead = Signal(range(depth + 1))
        consumed = Signal()
        m.d.comb += consumed.eq(self.step & self.fresh)
        with m.If(committed & ~consumed):
            m.d.sync += ahead.eq(ahead + 1)
        with m.Elif(~committed & consumed):
            m.d.sync += ahead.eq(ahead - 1)
        m.d.sync += self.available.eq((ahead[1:] != 0) | (ahead[0] & ~consumed))
        return m
