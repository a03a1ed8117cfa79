"""The pixel fetcher's word reads: which words hold the bytes of a run, and which of their bytes."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from ..memory.scratchpad import ReadPortSignature
from .layer import LAYER
from .run_generator import RUN


def pixel_tag(configuration: EngineConfiguration) -> data.StructLayout:
    """What a pixel read is for.

    ``slot``: the pixel stream; in a channel-wise layer the first byte's place in the word.
    ``valid``: the bytes that belong to the run. ``pad``: the bytes that lie beside the picture.
    """
    word_bytes = configuration.word_bytes
    return data.StructLayout(
        {"slot": (word_bytes - 1).bit_length(), "valid": word_bytes, "pad": word_bytes}
    )


class SlotGenerator(wiring.Component):
    """Reads the words of each run, for each pixel (slot) in turn.

    A **beat** gives every slot a word; slot ``s`` of a beat reads the word that holds byte
    ``x + s * slot_step + beat * W`` of the row. Ordinary layers have ``W`` slots a beat, of which
    the first ``P`` are pixels, so that each pixel gets a byte a cycle. Channel-wise layers have a
    single beat, with a slot for each tap of the kernel row.

    Throughput: a slot a cycle; runs follow each other without a gap. Latency: 2 cycles.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    layer : :py:`In(LAYER)`
    runs : :py:`In(stream.Signature(RUN))`
    room : :py:`In(1)`
        The pixel buffers can take what is under way and a beat more.
    request : :py:`Out(stream.Signature({address, enable, tag}))`
        To the scratchpad's pixel port: the request of a :class:`.ReadPortSignature`.
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.configuration = configuration
        tag = pixel_tag(configuration)
        super().__init__(
            {
                "layer": In(LAYER),
                "runs": In(stream.Signature(RUN)),
                "room": In(1),
                "request": Out(
                    ReadPortSignature(configuration.word_bytes, tag).members["request"].signature
                ),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word_bytes = self.configuration.word_bytes
        lane_bits = (word_bytes - 1).bit_length()
        layer = self.layer

        run_active, outside, first, tail = Signal(), Signal(), Signal(), Signal()
        more = Signal()  # the run has a tail beat: some slot's last byte lies a word later
        row = Signal.like(self.runs.p.row, reset_less=True)
        beat_x = Signal.like(self.runs.p.x, reset_less=True)
        x = Signal.like(self.runs.p.x, reset_less=True)
        words = Signal.like(layer.run_words, reset_less=True)  # full words still to come
        slot = Signal.like(layer.last_slot, reset_less=True)
        # Kept beside the counters, so that no comparison lies in a handshake.
        no_words, last_slot = Signal(), Signal()
        # Of the layer: synthesis would compare what it selects, where these are selected.
        single_slot, no_full_words = Signal(), Signal()
        before_last_slot = Signal.like(layer.last_slot)
        m.d.sync += [
            single_slot.eq(layer.last_slot == 0),
            no_full_words.eq(layer.run_words == 0),
            before_last_slot.eq(layer.last_slot - 1),
        ]

        last_beat, go, take = Signal(), Signal(), Signal()
        next_valid = Signal()
        following = Signal(RUN, reset_less=True)
        m.d.comb += [
            go.eq(self.request.ready & self.room),
            last_beat.eq(no_words & (tail | ~more)),
            take.eq(next_valid & (~run_active | (go & last_slot & last_beat))),
            self.runs.ready.eq(~next_valid),
        ]
        # The run that comes next waits in a register: what lets this one go on does not reach the
        # run generator's counters.
        with m.If(~next_valid):
            m.d.sync += [next_valid.eq(self.runs.valid), following.eq(self.runs.payload)]
        with m.Elif(take):
            m.d.sync += next_valid.eq(0)

        # In the last word, bytes up to run_rest from the first one's place; beyond W - 1 they lie
        # in the tail beat. Slots of different alignment differ in this.
        place = x[:lane_bits]
        end = Signal(lane_bits + 1)
        m.d.comb += end.eq(layer.run_rest[:lane_bits] + place)

        with m.If(take):
            start = following.x[:lane_bits]
            carry = Signal(lane_bits + 1)
            m.d.comb += carry.eq(layer.run_rest[:lane_bits] + start)
            m.d.sync += [
                run_active.eq(1),
                outside.eq(following.outside),
                first.eq(1),
                tail.eq(0),
                # Slots that are aligned alike need the tail together; else one of them may.
                more.eq(
                    Mux(
                        layer.slot_step[:lane_bits] == 0,
                        carry[lane_bits],
                        layer.run_rest[:lane_bits] != 0,
                    )
                ),
                row.eq(following.row),
                beat_x.eq(following.x),
                x.eq(following.x),
                words.eq(layer.run_words),
                no_words.eq(no_full_words),
                slot.eq(0),
                last_slot.eq(single_slot),
            ]
        with m.Elif(run_active & go):
            m.d.sync += [
                slot.eq(slot + 1),
                last_slot.eq(slot == before_last_slot),
                x.eq(x + layer.slot_step),
            ]
            with m.If(last_slot):
                next_x = Signal.like(beat_x)
                m.d.comb += next_x.eq(beat_x + word_bytes)
                m.d.sync += [
                    slot.eq(0),
                    last_slot.eq(single_slot),
                    beat_x.eq(next_x),
                    x.eq(next_x),
                    first.eq(0),
                ]
                with m.If(no_words):
                    m.d.sync += tail.eq(1)
                with m.Else():
                    m.d.sync += [words.eq(words - 1), no_words.eq(words == 1)]
                with m.If(last_beat):
                    m.d.sync += run_active.eq(0)

        valid = Signal(word_bytes)
        pad = Signal(word_bytes)
        word_index = x[lane_bits:]  # signed: x is an offset from the row's start
        ends_here = Signal()
        row_end, in_row = Signal(), Signal()
        m.d.comb += [
            ends_here.eq(no_words & (tail | ~end[lane_bits])),
            row_end.eq(word_index.as_signed() == layer.row_words),
            in_row.eq(~x[-1] & (word_index.as_signed() < layer.row_words)),
        ]
        for byte in range(word_bytes):
            before, after = Signal(name=f"before{byte}"), Signal(name=f"after{byte}")
            m.d.comb += [
                before.eq(first & (byte < place)),
                after.eq(ends_here & (byte > end[:lane_bits])),
                # In the tail beat only slots that ran over have bytes.
                valid[byte].eq(~before & ~after & ~(tail & ~end[lane_bits])),
                pad[byte].eq(outside | ~(in_row | (row_end & (byte < layer.row_rest)))),
            ]
        is_slot = Signal()
        m.d.comb += is_slot.eq(layer.channel_wise | (slot < self.configuration.pixels))
        # The comparisons end in a register, away from the memory's choice of what to serve.
        asked = Signal()
        read = Signal(self.request.p.shape(), reset_less=True)
        with m.If(self.request.ready):
            m.d.sync += [
                # A slot that is no pixel asks for nothing, but keeps its place among the answers:
                # words of one stream must never be less than W apart, or their bytes meet in the
                # buffers.
                asked.eq(run_active & self.room),
                read.address.eq(row + word_index.as_signed()),
                read.enable.eq(is_slot & ~outside & (in_row | row_end) & valid.any()),
                read.tag.slot.eq(Mux(layer.channel_wise, place, slot)),
                read.tag.valid.eq(valid),
                read.tag.pad.eq(pad),
            ]
        m.d.comb += [self.request.valid.eq(asked), self.request.payload.eq(read)]
        return m
