"""Which bytes of a word belong to a run, and which lie beside the picture."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..interface import tape
from ..interface.configuration import EngineConfiguration
from .layer import LAYER

__all__ = ["ByteMasks"]


class ByteMasks(wiring.Component):
    """The bytes that a slot of a run reads from the word with byte ``x`` of a row.

    The run's last byte lies ``run_rest`` bytes behind the first one's place in the last full word,
    or, if that is beyond the word, in the tail beat. Combinational.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    layer : :py:`In(LAYER)`
    x : :py:`In(signed)`
        Byte offset from the row's start: the slot's first byte and whole words.
    outside : :py:`In(1)`
        The row lies above or below the picture.
    first, tail : :py:`In(1)`
        The beat is the run's first one, or its tail.
    no_words : :py:`In(1)`
        No full word follows this one.
    valid : :py:`Out(W)`
        The bytes that belong to the run.
    pad : :py:`Out(W)`
        The bytes that lie beside the picture.
    in_picture : :py:`Out(1)`
        The word has bytes of the row, or follows directly behind them, so it must be read.
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.word_bytes = configuration.word_bytes
        super().__init__(
            {
                "layer": In(LAYER),
                "x": In(signed(tape.DELTA["x"].width)),
                "outside": In(1),
                "first": In(1),
                "tail": In(1),
                "no_words": In(1),
                "valid": Out(self.word_bytes),
                "pad": Out(self.word_bytes),
                "in_picture": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer = self.layer
        lane_bits = (self.word_bytes - 1).bit_length()
        place = self.x[:lane_bits]
        word_index = self.x[lane_bits:].as_signed()
        # Slots of different alignment differ in whether they run over into the tail beat.
        end = Signal(lane_bits + 1)
        ends_here = Signal()
        row_end, in_row = Signal(), Signal()
        m.d.comb += [
            end.eq(layer.run_rest[:lane_bits] + place),
            ends_here.eq(self.no_words & (self.tail | ~end[lane_bits])),
            row_end.eq(word_index == layer.row_words),
            in_row.eq(~self.x[-1] & (word_index < layer.row_words)),
            self.in_picture.eq(~self.outside & (in_row | row_end)),
        ]
        for byte in range(self.word_bytes):
            before, after = Signal(name=f"before{byte}"), Signal(name=f"after{byte}")
            m.d.comb += [
                before.eq(self.first & (byte < place)),
                after.eq(ends_here & (byte > end[:lane_bits])),
                # In the tail beat only slots that ran over have bytes.
                self.valid[byte].eq(~before & ~after & ~(self.tail & ~end[lane_bits])),
                self.pad[byte].eq(self.outside | ~(in_row | (row_end & (byte < layer.row_rest)))),
            ]
        return m
