"""The request buffer: whole requests, unchanged, and no others."""

from __future__ import annotations

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Cat, Module, Signal

from gateware.interface.protocol import CRC_RESIDUE
from gateware.link.request_buffer import MAX_REQUEST_BYTES, MIN_REQUEST_BYTES, RequestBuffer
from tests.formal.prover import Property, assert_stream_rule, look_into, open_up


class RequestsAreWholeFrames(Property):
    """What is given is a frame that was decoded, with a right CRC, none of it lost.

    Bytes come at least ten cycles apart, with errors between them; a request is taken at any time,
    and read at any time after that. Of the frames one byte is followed, whichever it is.
    """

    def __init__(self, buffer: type = RequestBuffer) -> None:
        self.buffer = buffer

    def build(self, m: Module) -> None:
        dut = self.buffer()
        fragment, inner = open_up(dut)
        m.submodules.dut = fragment
        half = inner["half"]
        place = AnyConst(8)
        arriving = look_into(fragment, "memory", Cat(place, half))
        executed = look_into(fragment, "memory", Cat(place, ~half))
        pause, arrives = Signal(range(10)), AnySeq(1)
        error = AnySeq(1)
        m.d.sync += pause.eq(pause - (pause != 0))
        with m.If(arrives):
            m.d.sync += pause.eq(9)
        m.d.comb += [
            Assume(~arrives | (pause == 0)),
            dut.i.valid.eq(arrives),
            dut.i.payload.eq(AnySeq(8)),
            dut.error.eq(error),
            dut.request.ready.eq(AnySeq(1)),
            dut.address.eq(AnySeq(8)),
        ]
        valid, item = inner["decoder.o__valid"], inner["decoder.o__payload"]
        put, end, broken = Signal(), Signal(), Signal()
        m.d.comb += [put.eq(valid & ~item[8]), end.eq(valid & item[8]), broken.eq(item[9])]

        # The frame that arrives: its length, its followed byte, and what is wrong with it.
        byte = Signal(8)
        length = Signal(9)
        spoiled = Signal()
        taken_length, taken_byte = Signal(8), Signal(8)
        was_taking = Signal()
        with m.If(put):
            m.d.sync += length.eq(length + (length != 511))
            with m.If(length == place):
                m.d.sync += byte.eq(item[:8])
            # The longest request is still in the way in the cycle after it was taken.
            longest = was_taking & (taken_length == MAX_REQUEST_BYTES)
            with m.If(dut.request.valid | longest):
                m.d.sync += spoiled.eq(1)
        with m.If(end):
            m.d.sync += [length.eq(0), spoiled.eq(0)]
        with m.If(error):
            m.d.sync += spoiled.eq(1)

        # The one that is given, and the one that was taken.
        given_length, given_byte = Signal(8), Signal(8)
        asked = Signal()
        m.d.sync += asked.eq((dut.address == place) & (place < taken_length))
        good = Signal()
        m.d.comb += good.eq(
            ~spoiled
            & ~broken
            & (length >= MIN_REQUEST_BYTES)
            & (length <= MAX_REQUEST_BYTES)
            & (inner["crc.value"] == CRC_RESIDUE)
        )
        owed = Signal()
        taking = dut.request.valid & dut.request.ready
        with m.If(taking):
            m.d.sync += [taken_length.eq(given_length), taken_byte.eq(given_byte), owed.eq(0)]
        with m.If(end & good & ~dut.request.valid):
            m.d.sync += [given_length.eq(length), given_byte.eq(byte), owed.eq(1)]

        assert_stream_rule(m, dut.request)
        m.d.comb += [
            # No byte is lost on the way to the CRC.
            Assert(~put | inner["crc.i__ready"]),
            Assert(dut.request.valid == owed),
            Assert(~owed | (dut.request.payload == given_length)),
        ]
        # What is read stays as it was taken until the next one is taken.
        m.d.sync += was_taking.eq(taking)
        m.d.comb += Assert(~asked | was_taking | (dut.data == taken_byte))

        # What makes it inductive: the decoder and the CRC keep time with the bytes, ...
        busy = inner["crc.busy"]
        m.d.comb += [
            Assert(~valid | (pause == 9)),
            Assert(~busy | (pause == 8 - inner["crc.count"])),
            Assert(busy | (inner["crc.count"] == 0)),
            Assert((length != 0) | (~busy & (inner["crc.value"] == 0xFFFFFFFF))),
            # ... length and damage are as they should be, ...
            Assert(spoiled | owed | (length > MAX_REQUEST_BYTES) | (inner["length"] == length)),
            Assert(~owed | (inner["length"] == given_length)),
            Assert(inner["damaged"] == (spoiled | (length > MAX_REQUEST_BYTES))),
            Assert(~owed | (length == 0) | spoiled),
            # ... and the bytes lie where they will be read.
            Assert(
                spoiled
                | owed
                | (length > MAX_REQUEST_BYTES)
                | (place >= length)
                | (arriving == byte)
            ),
            Assert(~owed | (place >= given_length) | (arriving == given_byte)),
            Assert((place >= taken_length) | (executed == taken_byte)),
            Assert((given_length <= MAX_REQUEST_BYTES) & (taken_length <= MAX_REQUEST_BYTES)),
        ]
