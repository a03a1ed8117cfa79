"""The pixel buffers: each stream's bytes, all of them and in order."""

from __future__ import annotations

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from gateware.engine.pixel_buffers import PixelBuffers
from gateware.engine.slot_generator import pixel_tag
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.timing import PIXEL_BUFFER_BYTES, pixel_margin
from tests.formal.prover import Property, look_into, open_up

#: Of a counter of bytes: twice the depth, so that full is not empty.
_COUNT = PIXEL_BUFFER_BYTES.bit_length()


#: Words that may still come after ``room`` fell.
_UNDER_WAY = 11


class BuffersKeepTheirBytes(Property):
    """Of one stream, for words of any tags: what is taken are its bytes, in order, with padding.

    And no byte comes where one still lies. Two streams and words of two bytes; layers channel-wise
    or not. What comes is as the buffers' documentation wants it: words of one stream are not
    neighbours, both streams got alike but for a word, and eleven words at most come while there is
    no room.

    Parameters
    ----------
    pixel : int
        The stream.
    """

    def __init__(self, pixel: int, buffers: type = PixelBuffers) -> None:
        self.pixel = pixel
        self.buffers = buffers

    def build(self, m: Module) -> None:
        configuration = EngineConfiguration()
        pixel = self.pixel
        dut = self.buffers(configuration)
        fragment, inner = open_up(dut)
        m.submodules.dut = fragment
        words, tag = dut.words, dut.words.p.tag
        channel_wise = AnyConst(1)
        m.d.comb += [
            words.valid.eq(AnySeq(1)),
            words.payload.eq(AnySeq(len(Value.cast(words.payload)))),
            dut.pad_value.eq(AnySeq(8)),
            dut.channel_wise.eq(channel_wise),
            dut.step.eq(AnySeq(1)),
            Assume(~dut.step | dut.available),
        ]

        def has(stream: int, valid: Value, tag: data.View, byte: int) -> Value:
            """Whether a word has this byte for the stream."""
            own = (tag.slot == stream) & tag.valid[byte]
            return valid & Mux(channel_wise, Const(byte == stream), own)

        def counter() -> Signal:
            return Signal(_COUNT)

        valids = [inner[f"stage_valid{stage}"] for stage in range(2)]
        tags = [
            data.View(pixel_tag(configuration), inner[f"stage_tag{stage}"]) for stage in range(2)
        ]
        bytes_ = [inner[f"stage_bytes{stage}"] for stage in range(2)]
        #: Stage and byte, the oldest first.
        under_way = [(1, 1), (0, 0), (0, 1)]
        taken = counter()
        m.d.sync += taken.eq(taken + dut.step)
        #: Bytes that arrived and were not taken, with those under way and without.
        full, level = [], []
        arrived = counter()
        for stream in range(2):
            new = [has(stream, words.valid, tag, byte) for byte in range(2)]
            left = sum(has(stream, valids[at], tags[at], byte) for at, byte in under_way)
            filled, stored = counter(), counter()
            m.d.sync += filled.eq(filled + new[0] + new[1] - dut.step)
            m.d.comb += stored.eq(filled - left)
            full.append(filled)
            level.append(stored)
            if stream == pixel:
                m.d.sync += arrived.eq(arrived + new[0] + new[1])
        late = Signal(range(_UNDER_WAY + 1))
        m.d.sync += late.eq(Mux(dut.room, 0, late + words.valid))
        m.d.comb += [
            Assume(dut.room | ~words.valid | (late < _UNDER_WAY)),
            Assume((full[0] - full[1] + 2)[:_COUNT] <= 4),
            Assume(channel_wise | ~(words.valid & valids[0] & (tag.slot == tags[0].slot))),
        ]

        # The byte that is followed.
        number, byte = AnyConst(_COUNT), Signal(8)
        new = [has(pixel, words.valid, tag, place) for place in range(2)]
        for place, before in ((0, Const(0)), (1, new[0])):
            with m.If(new[place] & (number == (arrived + before)[:_COUNT])):
                read = words.p.data.word_select(place, 8)
                m.d.sync += byte.eq(Mux(tag.pad[place], dut.pad_value, read))
        shown = Signal()
        m.d.sync += shown.eq(dut.step & (taken == number))
        m.d.comb += [
            Assert(~shown | (dut.pixels[pixel] == byte)),
            Assert(~dut.available | (level[pixel] != 0)),
            Assert(full[pixel] <= PIXEL_BUFFER_BYTES),
        ]

        # What makes it inductive: bytes under way, ...
        before = Const(0)
        for stage, place in under_way:
            there = has(pixel, valids[stage], tags[stage], place)
            value = bytes_[stage].word_select(place - stage, 8)
            its = (taken + level[pixel] + before)[:_COUNT]
            m.d.comb += Assert(~(there & (number == its)) | (value == byte))
            before = before + there
        # ... those that are stored, ...
        stored = look_into(fragment, f"fifo{pixel}", number[: _COUNT - 1])
        lies = (number - taken)[:_COUNT] < level[pixel]
        m.d.comb += [
            Assert(~lies | (stored == byte)),
            Assert(inner["read_pointer"] == taken[: _COUNT - 1]),
            Assert(channel_wise | ~(valids[0] & valids[1] & (tags[0].slot == tags[1].slot))),
        ]
        # ... and the counters.
        for stream in range(2):
            has_byte = inner[f"has_byte{stream}"]
            m.d.comb += [
                Assert(inner[f"level{stream}"] == level[stream]),
                Assert(~has_byte | (level[stream] != 0)),
                Assert(level[stream] <= full[stream]),
                Assert(full[stream] <= PIXEL_BUFFER_BYTES),
            ]
        m.d.comb += [
            Assert(arrived == (taken + full[pixel])[:_COUNT]),
            Assert(inner[f"write_pointer{pixel}"] == (taken + level[pixel])[: _COUNT - 1]),
        ]
        # Room is told a cycle late, and with up to three bytes under way.
        most = PIXEL_BUFFER_BYTES - pixel_margin(dut.configuration) + 1 + 3
        m.d.comb += Assert(full[0] <= most + 2 * late)
