"""The weight ring: everything on the tape passes through it."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from ..interface.image import TAPE_ADDRESS
from ..memory.scratchpad import ReadPortSignature


class TapeReader(wiring.Component):
    """A pump from the tape to the ring, that knows nothing of what it carries.

    It reads memory words one after the other from the tape's beginning, for as long as the ring
    has space, and never jumps. It begins when its reset ends. Throughput: a word
    a cycle where the memory grants it. A request that was not granted is withdrawn when the ring
    turns out to be full; its address stays.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    freed : :py:`In(1)`
        The ring has lost an entry.
    port : :py:`Out(ReadPortSignature(W, 0))`
    words : :py:`Out(stream.Signature(8 * W, always_ready=True))`
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.configuration = configuration
        width = 8 * configuration.word_bytes
        super().__init__(
            {
                "freed": In(1),
                "port": Out(ReadPortSignature(configuration.word_bytes, 0)),
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
        request, reserve = self.port.request, Signal()
        m.d.comb += [
            request.valid.eq(has_space),
            request.p.address.eq(address),
            request.p.enable.eq(1),
            self.words.valid.eq(self.port.response.valid),
            self.words.payload.eq(self.port.response.p.data),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += [address.eq(address + 1), word.eq(word + 1)]
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
        with m.If(counted & ~self.freed):
            m.d.sync += space.eq(space - 1)
        with m.Elif(self.freed & ~counted):
            m.d.sync += space.eq(space + 1)
        # An entry stays unused: this is a cycle late.
        m.d.sync += has_space.eq(space[1:] != 0)
        return m


class WeightRing(wiring.Component):
    """``ring_entries`` entries of ``L`` bytes, written by the tape, read and re-read by the steps.

    Reading goes on from entry to entry; ``rewind`` returns to the entry that ``mark`` marked.
    Entries that were never read lie ahead of the *frontier*; ``fresh`` moves it.

    Latency: ``data`` is the entry that the read pointer showed a cycle ago.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    words : :py:`In(stream.Signature(8 * W, always_ready=True))`
    available : :py:`Out(1)`
        There is an entry ahead of the frontier. Comes from a register.
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
        data: list[Signal] = []
        for index in range(configuration.entry_words):
            width = min(8 * configuration.word_bytes, 8 * configuration.lanes - len(Cat(data)))
            m.submodules[f"part{index}"] = memory = Memory(shape=width, depth=depth, init=[])
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.words.valid & (word == index)),
                write.addr.eq(write_pointer),
                write.data.eq(self.words.payload),
                read.en.eq(1),
                read.addr.eq(read_pointer),
            ]
            data.append(read.data)
        m.d.comb += self.data.eq(Cat(data))

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
