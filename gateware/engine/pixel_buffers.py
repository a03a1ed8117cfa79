"""The pixel streams: words from memory become a byte a cycle for each pixel."""

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
    its stream. So one word a cycle can arrive, and no stream ever gets two bytes at once, as long
    as of ``W`` words in a row each is for another stream; in a channel-wise layer, where a word
    holds a byte for each stream, any may follow any.

    Padding is inserted here and never stored. Latency: W + 2 cycles from a word's arrival to its
    last byte's being available. ``room`` accounts for the words under way.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    words : :py:`In(stream.Signature({data, tag}, always_ready=True))`
    pad_value : :py:`In(8)`
    channel_wise : :py:`In(1)`
    room : :py:`Out(1)`
        There is room for at least :func:`.timing.pixel_margin` bytes more in each stream.
    available : :py:`Out(1)`
        Every stream has a byte. Comes from a register.
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
            # One stage at most has a byte for a stream; where no other has, the last one may.
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
        # The streams fill alike, but for a word.
        m.d.sync += self.room.eq(room[0])
        return m

    def _byte(self, tag: data.View, bytes_: Signal) -> Value:
        """A stage's byte; in a channel-wise layer counted from where the group's channels begin.

        Streams that have no channel get some byte all the same, because all are read together.
        """
        if self.configuration.channel_group == self.configuration.word_bytes:
            return bytes_[:8]
        return bytes_.word_select(Mux(self.channel_wise, tag.slot, 0), 8)

    def _stages(self, m: Module) -> list[tuple[Signal, data.View, Signal]]:
        """For stage j: valid, tag, and the word's bytes from j upward."""
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
