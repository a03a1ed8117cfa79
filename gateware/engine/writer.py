"""The writer: where each result goes, and which of the last ones is the greatest."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..interface import tape
from ..interface.configuration import EngineConfiguration
from ..interface.tape import Level
from ..memory.scratchpad import ByteWrite
from .layer import LAYER, DeltaWrite

#: Results that the search for the greatest tells apart.
CLASS_BITS = 10


class Writer(wiring.Component):
    """The loop nest of results: for each tile, line, group, slot and lane an address.

    Results that belong to no channel, pixel or line of the output are passed over. Throughput: a
    result every 2 cycles. Latency: none.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    deltas : :py:`In(stream.Signature(DeltaWrite, always_ready=True))`
    layer : :py:`In(LAYER)`
    start : :py:`In(1)`
        Begin the layer: 4 cycles before its first result at the latest.
    results : :py:`In(stream.Signature(8, always_ready=True))`
        In the order of the drain; at least 2 cycles apart.
    writes : :py:`Out(stream.Signature(ByteWrite, always_ready=True))`
    finished : :py:`Out(1)`
        All results of the layer were written.
    best : :py:`Out(CLASS_BITS)`
        Index of the greatest result written in the last layer, the first of equals.
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.configuration = configuration
        super().__init__(
            {
                "deltas": In(stream.Signature(DeltaWrite, always_ready=True)),
                "layer": In(LAYER),
                "start": In(1),
                "results": In(stream.Signature(8, always_ready=True)),
                "writes": Out(stream.Signature(ByteWrite, always_ready=True)),
                "finished": Out(1),
                "best": Out(CLASS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The loops stand still for a cycle after each result, in which what they say is registered:
        # no result waits for a comparison.
        level, is_output = Signal(Level), Signal()
        next_level, next_is_output = self._loops(m)
        m.d.sync += [level.eq(next_level), is_output.eq(next_is_output)]
        address = self._address(m, level)
        m.d.comb += [
            self.writes.valid.eq(self.results.valid & is_output),
            self.writes.p.address.eq(address),
            self.writes.p.data.eq(self.results.payload),
        ]
        self._search(m)
        return m

    def _loops(self, m: Module) -> tuple[Signal, Signal]:
        """Count the loops down; say which advances and whether the result is one of the output."""
        layer = self.layer
        level = Signal(Level)
        lanes, pixels = self.configuration.lanes, self.configuration.pixels
        index = Signal(range(lanes))  # of the lane within its slot
        lane = Signal(range(lanes))
        slot = Signal(range(pixels))
        group, line, tile = (Signal.like(n) for n in (layer.groups, layer.lines, layer.tiles))
        last_lane, last_slot, last_group, last_line, last_tile = (
            Signal(name=f"last_{name}") for name in ("lane", "slot", "group", "line", "tile")
        )
        m.d.comb += [
            last_lane.eq(index == layer.drain_lanes),
            last_slot.eq(slot == layer.drain_slots),
            last_group.eq(group == 0),
            last_line.eq(line == 0),
            last_tile.eq(tile == 0),
        ]
        with m.If(~last_lane):
            m.d.comb += level.eq(Mux(lane == lanes - 1, tape.WRAP, Level.LANE))
        with m.Elif(~last_slot):
            m.d.comb += level.eq(Mux(slot == 0, Level.FIRST_SLOT, Level.SLOT))
        with m.Elif(~last_group):
            m.d.comb += level.eq(Level.GROUP)
        with m.Elif(~last_line):
            m.d.comb += level.eq(Level.LINE)
        with m.Else():
            m.d.comb += level.eq(Level.TILE)

        with m.If(self.start):
            m.d.sync += [
                index.eq(0),
                lane.eq(0),
                slot.eq(0),
                group.eq(layer.groups),
                line.eq(layer.lines),
                tile.eq(layer.tiles),
                self.finished.eq(0),
            ]
        with m.Elif(self.results.valid):
            m.d.sync += [index.eq(index + 1), lane.eq(Mux(lane == lanes - 1, 0, lane + 1))]
            with m.If(last_lane):
                # Slot p + 1 begins lanes_per_pixel lanes after slot p did.
                following = Signal(range(pixels + 1))
                m.d.comb += following.eq(Mux(last_slot, 0, slot + 1))
                m.d.sync += [index.eq(0), slot.eq(following)]
                with m.Switch(following):
                    for pixel in range(pixels):
                        with m.Case(pixel):
                            m.d.sync += lane.eq(self.configuration.first_lane(pixel))
                with m.If(last_slot):
                    m.d.sync += group.eq(Mux(last_group, layer.groups, group - 1))
                    with m.If(last_group):
                        m.d.sync += line.eq(Mux(last_line, layer.lines, line - 1))
                        with m.If(last_line):
                            m.d.sync += [tile.eq(tile - 1), self.finished.eq(last_tile)]

        lane_beyond, slot_beyond = Signal(), Signal()
        m.d.comb += [
            lane_beyond.eq(
                Mux(
                    layer.lanes_end_on_line,
                    last_line & (index > layer.last_lanes),
                    last_tile & (lane > layer.last_lanes),
                )
            ),
            slot_beyond.eq(
                Mux(layer.channel_wise, last_tile, last_group) & (slot > layer.last_slots)
            ),
        ]
        is_output = Signal()
        m.d.comb += is_output.eq(~lane_beyond & ~slot_beyond)
        return level, is_output

    def _address(self, m: Module, level: Signal) -> Signal:
        bits = (self.configuration.memory_bytes - 1).bit_length()
        m.submodules.memory = memory = Memory(shape=bits, depth=tape.LEVELS, init=[])
        write, read = memory.write_port(), memory.read_port()
        starting, add = Signal(), Signal()
        address = Signal(bits)
        m.d.comb += [
            write.en.eq(self.deltas.valid),
            write.addr.eq(self.deltas.p.index),
            write.data.eq(self.deltas.p.delta.write),
            read.en.eq(1),
            read.addr.eq(Mux(self.results.valid, level, Level.START)),
        ]
        m.d.sync += [starting.eq(self.start), add.eq(self.results.valid | starting)]
        with m.If(self.start):
            m.d.sync += address.eq(0)
        with m.Elif(add):
            m.d.sync += address.eq(address + read.data)
        return address

    def _search(self, m: Module) -> None:
        index = Signal(CLASS_BITS)
        greatest = Signal(signed(8), reset_less=True)
        with m.If(self.start):
            m.d.sync += index.eq(0)
        with m.Elif(self.writes.valid & self.layer.last):
            m.d.sync += index.eq(index + 1)
            with m.If((index == 0) | (self.results.payload.as_signed() > greatest)):
                m.d.sync += [greatest.eq(self.results.payload), self.best.eq(index)]
