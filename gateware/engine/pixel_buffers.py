"""The pixel buffers: they turn words from memory into a byte a cycle for each pixel."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from ..interface.timing import PIXEL_BUFFER_BYTES, pixel_margin
from .slot_generator import pixel_tag


class PixelBuffers(wiring.Component):
    """A byte FIFO for each of ``P`` streams, all read together.

    A word that arrives passes ``W`` stages, one a cycle, and at stage ``j`` its byte ``j`` goes to
    its stream. A word can therefore arrive in each cycle, and no stream ever receives two bytes at
    once, provided that any ``W`` consecutive words are for different streams. In a channel-wise
    layer, where a word has a byte for each stream, words may follow in any order.

    The buffers insert padding, which is never stored. Latency: W + 2 cycles from a word's arrival
    until its last byte is available. Throughput: a word a cycle in, and a byte of each stream a
    cycle out. Back-pressure: ``room`` accounts for the words under way.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    words : :py:`In(stream.Signature({data, tag}, always_ready=True))`
    pad_value : :py:`In(8)`
    channel_wise : :py:`In(1)`
    room : :py:`Out(1)`
        Each stream has room for at least :func:`.timing.pixel_margin` more bytes.
    available : :py:`Out(1)`
        Every stream has a byte. From a register.
    step : :py:`In(1)`
        Take a byte of each stream; only while ``available``.
    pixels : :py:`Out(8)` for each stream, ``pixel0`` …
        The bytes taken by ``step``, one cycle later.
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.configuration = configuration
        word_bytes = configuration.word_bytes
        word = data.StructLayout({"data": 8 * word_bytes, "tag": pixel_tag(configuration)})
        super().__init__(
            {
                "words": In(stream.Signature(word, always_ready=True)),
                "pad_value": In(8),
                "channel_wise": In(1),
                "room": Out(1),
                "available": Out(1),
                "step": In(1),
                "pixels": Out(data.ArrayLayout(8, configuration.pixels)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word_bytes = self.configuration.word_bytes
        stages = self._stages(m)
        read_pointer = Signal(range(PIXEL_BUFFER_BYTES))
        with m.If(self.step):
            m.d.sync += read_pointer.eq(read_pointer + 1)
        available, room = [], []
        for pixel in range(self.configuration.pixels):
            here = Signal(word_bytes, name=f"here{pixel}")
            byte = Signal(8, name=f"byte{pixel}")
            for stage, (valid, tag, _) in enumerate(stages):
                own = tag.valid[stage] & (tag.slot == pixel)
                m.d.comb += here[stage].eq(valid & Mux(self.channel_wise, stage == pixel, own))
            # At most one stage has a byte for a stream; if no other stage has, the last one may.
            m.d.comb += byte.eq(self._byte(*stages[-1][1:]))
            for stage, (_, tag, bytes_) in enumerate(stages[:-1]):
                with m.If(here[stage]):
                    m.d.comb += byte.eq(self._byte(tag, bytes_))
            push = Signal(name=f"push{pixel}")
            m.d.comb += push.eq(here.any())

            memory = Memory(shape=8, depth=PIXEL_BUFFER_BYTES, init=[])
            m.submodules[f"fifo{pixel}"] = memory
            write, read = memory.write_port(), memory.read_port()
            write_pointer = Signal(range(PIXEL_BUFFER_BYTES), name=f"write_pointer{pixel}")
            level = Signal(range(PIXEL_BUFFER_BYTES + 1), name=f"level{pixel}")
            m.d.comb += [
                write.en.eq(push),
                write.addr.eq(write_pointer),
                write.data.eq(byte),
                read.en.eq(1),
                read.addr.eq(read_pointer),
                self.pixels[pixel].eq(read.data),
            ]
            with m.If(push):
                m.d.sync += write_pointer.eq(write_pointer + 1)
            with m.If(push & ~self.step):
                m.d.sync += level.eq(level + 1)
            with m.Elif(~push & self.step):
                m.d.sync += level.eq(level - 1)
            has_byte = Signal(name=f"has_byte{pixel}")
            m.d.sync += has_byte.eq((level[1:] != 0) | (level[0] & ~self.step))
            available.append(has_byte)
            room.append(level < PIXEL_BUFFER_BYTES - pixel_margin(self.configuration))
        m.d.comb += self.available.eq(Cat(available).all())
        # The streams fill equally, except for one word.
        m.d.sync += self.room.eq(room[0])
        return m

    def _byte(self, tag: data.View, bytes_: Signal) -> Value:
        """A stage's byte; in a channel-wise layer it is counted from the group's first channel.

        Streams without a channel receive an arbitrary byte, because all streams are read together.
        """
        if self.configuration.channel_group == self.configuration.word_bytes:
            return bytes_[:8]
        return bytes_.word_select(Mux(self.channel_wise, tag.slot, 0), 8)

    def _stages(self, m: Module) -> list[tuple[Signal, data.View, Signal]]:
        """Valid, tag, and the word's bytes from j upward, for each stage j."""
        tag_layout = self.words.p.tag.shape()
        source = Cat(
            Mux(self.words.p.tag.pad[byte], self.pad_value, self.words.p.data.word_select(byte, 8))
            for byte in range(self.configuration.word_bytes)
        )
        valid, tag = self.words.valid, self.words.p.tag
        stages = []
        for stage in range(self.configuration.word_bytes):
            next_valid = Signal(name=f"stage_valid{stage}")
            next_tag = Signal(tag_layout, reset_less=True, name=f"stage_tag{stage}")
            bytes_ = Signal(len(source), reset_less=True, name=f"stage_bytes{stage}")
            m.d.sync += [next_valid.eq(valid), next_tag.eq(tag), bytes_.eq(source)]
            stages.append((next_valid, next_tag, bytes_))
            valid, tag, source = next_valid, next_tag, bytes_[8:]
        return stages
