"""The pixel buffers: each stream's bytes, all of them and in order."""

from __future__ import annotations

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from prover import Property, look_into, open_up

from gateware.engine.pixel_buffers import DEPTH, PixelBuffers
from gateware.engine.slot_generator import pixel_tag
from gateware.interface.configuration import EngineConfiguration

#: Of a counter of bytes: twice the depth, so that full is not empty.
_COUNT = DEPTH.bit_length()


class BuffersKeepTheirBytes(Property):
    """Of one stream, for words of any tags: what is taken are its bytes, in order, with padding.

    Two streams and words of two bytes; layers channel-wise or not. Words of one stream are not
    neighbours, and there are never more bytes than fit: that ``room`` sees to this is not shown.

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

        def has(valid: Value, tag: data.View, byte: int) -> Value:
            """Whether a word has this byte for the stream."""
            own = (tag.slot == pixel) & tag.valid[byte]
            return valid & Mux(channel_wise, Const(byte == pixel), own)

        def counter() -> Signal:
            return Signal(_COUNT)

        def distance(later: Value, earlier: Value) -> Value:
            return (later - earlier)[:_COUNT]

        arrived, taken, pushed = counter(), counter(), counter()
        new = [has(words.valid, tag, byte) for byte in range(2)]
        m.d.sync += [arrived.eq(arrived + new[0] + new[1]), taken.eq(taken + dut.step)]
        valids = [inner[f"stage_valid{stage}"] for stage in range(2)]
        tags = [
            data.View(pixel_tag(configuration), inner[f"stage_tag{stage}"]) for stage in range(2)
        ]
        bytes_ = [inner[f"stage_bytes{stage}"] for stage in range(2)]
        m.d.comb += [
            Assume(distance(arrived, taken) + new[0] + new[1] <= DEPTH),
            Assume(channel_wise | ~(words.valid & valids[0] & (tag.slot == tags[0].slot))),
        ]

        # The byte that is followed.
        number, byte = AnyConst(_COUNT), Signal(8)
        for place, before in ((0, Const(0)), (1, new[0])):
            with m.If(new[place] & (number == (arrived + before)[:_COUNT])):
                read = words.p.data.word_select(place, 8)
                m.d.sync += byte.eq(Mux(tag.pad[place], dut.pad_value, read))
        shown = Signal()
        m.d.sync += shown.eq(dut.step & (taken == number))
        m.d.comb += Assert(~shown | (dut.pixels[pixel] == byte))
        m.d.comb += Assert(~dut.available | (taken != pushed))

        # What makes it inductive: bytes under way, the oldest first, ...
        under_way = [
            (has(valids[1], tags[1], 1), bytes_[1][:8]),
            (has(valids[0], tags[0], 0), bytes_[0][:8]),
            (has(valids[0], tags[0], 1), bytes_[0][8:]),
        ]
        m.d.comb += pushed.eq(arrived - sum(there for there, _ in under_way))
        before: Value = Const(0)
        for there, value in under_way:
            m.d.comb += Assert(~(there & (number == (pushed + before)[:_COUNT])) | (value == byte))
            before = before + there
        # ... those that are stored, and the counters.
        stored = look_into(fragment, f"fifo{pixel}", number[:-1])
        level, has_byte = inner[f"level{pixel}"], inner[f"has_byte{pixel}"]
        m.d.comb += [
            Assert((distance(number, taken) >= distance(pushed, taken)) | (stored == byte)),
            Assert(distance(arrived, taken) <= DEPTH),
            Assert(distance(pushed, taken) <= distance(arrived, taken)),
            Assert(level == distance(pushed, taken)),
            Assert(~has_byte | (level != 0)),
            Assert(inner[f"write_pointer{pixel}"] == pushed[:-1]),
            Assert(inner["read_pointer"] == taken[:-1]),
            Assert(channel_wise | ~(valids[0] & valids[1] & (tags[0].slot == tags[1].slot))),
        ]
