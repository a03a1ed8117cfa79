"""The pixel fetcher's word reads: which words hold the bytes of a run, and which of their bytes."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from ..memory.scratchpad import ReadPortSignature
from .byte_masks import ByteMasks
from .layer import LAYER
from .run_generator import RUN


def pixel_tag(configuration: EngineConfiguration) -> data.StructLayout:
    """The tag of a pixel read.

    ``slot``: the pixel stream; in a channel-wise layer the first byte's place in the word.
    ``valid``: the bytes that belong to the run. ``pad``: the bytes that lie beside the picture.
    """
    word_bytes = configuration.word_bytes
    return data.StructLayout(
        {"slot": (word_bytes - 1).bit_length(), "valid": word_bytes, "pad": word_bytes}
    )


class SlotGenerator(wiring.Component):
    """Read the words of each run, for each pixel (slot) in turn.

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
        The pixel buffers have room for all reads under way and one more beat.
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
        next_valid, following = self._next_run(m, take)
        m.d.comb += [
            go.eq(self.request.ready & self.room),
            last_beat.eq(no_words & (tail | ~more)),
            take.eq(next_valid & (~run_active | (go & last_slot & last_beat))),
        ]
        with m.If(take):
            m.d.sync += [
                run_active.eq(1),
                outside.eq(following.outside),
                first.eq(1),
                tail.eq(0),
                more.eq(self._has_tail(m, following.x[:lane_bits])),
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

        m.submodules.masks = masks = ByteMasks(self.configuration)
        m.d.comb += [
            masks.layer.eq(layer),
            masks.x.eq(x),
            masks.outside.eq(outside),
            masks.first.eq(first),
            masks.tail.eq(tail),
            masks.no_words.eq(no_words),
        ]
        self._add_request(m, run_active, row, x, slot, masks)
        return m

    def _next_run(self, m: Module, take: Signal) -> tuple[Signal, data.View]:
        """The run that comes next waits in a register: what lets this one go on does not reach the
        run generator's counters."""
        valid = Signal(name="next_valid")
        following = Signal(RUN, reset_less=True)
        m.d.comb += self.runs.ready.eq(~valid)
        with m.If(~valid):
            m.d.sync += [valid.eq(self.runs.valid), following.eq(self.runs.payload)]
        with m.Elif(take):
            m.d.sync += valid.eq(0)
        return valid, following

    def _has_tail(self, m: Module, start: Value) -> Value:
        """Whether a run that begins at that byte of a word needs a beat for its tail. Slots that
        are aligned alike need it together; else one of them may."""
        lane_bits = len(start)
        layer = self.layer
        carry = Signal(lane_bits + 1)
        m.d.comb += carry.eq(layer.run_rest[:lane_bits] + start)
        return Mux(
            layer.slot_step[:lane_bits] == 0,
            carry[lane_bits],
            layer.run_rest[:lane_bits] != 0,
        )

    def _add_request(
        self, m: Module, run_active: Signal, row: Signal, x: Signal, slot: Signal, masks: ByteMasks
    ) -> None:
        """The slot's read, registered: the comparisons stay away from the memory's choice of what
        to serve."""
        layer = self.layer
        lane_bits = (self.configuration.word_bytes - 1).bit_length()
        is_slot = Signal()
        m.d.comb += is_slot.eq(layer.channel_wise | (slot < self.configuration.pixels))
        asked = Signal()
        read = Signal(self.request.p.shape(), reset_less=True)
        with m.If(self.request.ready):
            m.d.sync += [
                # A slot without a pixel reads nothing, but keeps its place among the answers: words
                # of one stream must be at least W apart, or their bytes would collide in the
                # buffers.
                asked.eq(run_active & self.room),
                # x is an offset from the row's start, and may be negative.
                read.address.eq(row + x[lane_bits:].as_signed()),
                read.enable.eq(is_slot & masks.in_picture & masks.valid.any()),
                read.tag.slot.eq(Mux(layer.channel_wise, x[:lane_bits], slot)),
                read.tag.valid.eq(masks.valid),
                read.tag.pad.eq(masks.pad),
            ]
        m.d.comb += [self.request.valid.eq(asked), self.request.payload.eq(read)]
