"""The run generator: the pixel fetcher's loop nest, which gives one run of bytes after the
other."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..interface import tape
from ..interface.tape import Level
from .layer import LAYER, DeltaWrite

#: A row of a window: its beginning for slot 0, and whether it lies above or below the picture.
RUN = data.StructLayout(
    {
        "row": tape.DELTA["row"].width,  # word address of the picture row
        "x": signed(tape.DELTA["x"].width),  # byte offset in it
        "outside": 1,
    }
)


class RunGenerator(wiring.Component):
    """Generate one run for each tile, line, group and kernel row of a layer.

    There is one address and one delta memory: the outermost loop that advances selects the delta to
    add (:mod:`.interface.tape`). A delta is read in two halves, which saves a block RAM. Latency: 4
    cycles from ``start``. Throughput: a run every :data:`.timing.RUN_CYCLES` cycles. Back-pressure:
    the loops stop while ``runs`` waits.

    Members
    -------
    deltas : :py:`In(stream.Signature(DeltaWrite, always_ready=True))`
        Writes to the delta memory; not allowed while runs are generated.
    layer : :py:`In(LAYER)`
    start : :py:`In(1)`
        Begin the layer. The memory and ``layer`` must be complete.
    runs : :py:`Out(stream.Signature(RUN))`
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "deltas": In(stream.Signature(DeltaWrite, always_ready=True)),
                "layer": In(LAYER),
                "start": In(1),
                "runs": Out(stream.Signature(RUN)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        # One loop nest: its counters, the level that advances, and what is then added.
        m = Module()
        row_field, x_field, y_field = (tape.DELTA[name] for name in ("row", "x", "y"))
        place_layout = data.StructLayout({"x": signed(x_field.width), "y": signed(y_field.width)})
        width = max(row_field.width, place_layout.size)
        m.submodules.memory = memory = Memory(shape=width, depth=2 * tape.LEVELS, init=[])
        write, read = memory.write_port(), memory.read_port()
        source = self.deltas.payload
        m.d.comb += [
            write.en.eq(self.deltas.valid),
            write.addr.eq(Cat(source.half, source.index)),
            write.data.eq(Mux(source.half, Cat(source.delta.x, source.delta.y), source.delta.row)),
        ]

        kernel_row = Signal.like(self.layer.kernel_rows)
        group = Signal.like(self.layer.groups)
        line = Signal.like(self.layer.lines)
        tile = Signal.like(self.layer.tiles)
        # The loops count down; each is reloaded as the one around it advances. They stand still
        # for a cycle after each run, in which what they say is registered.
        level = Signal(Level)
        finished = Signal()
        m.d.sync += finished.eq(0)
        with m.If(kernel_row != 0):
            m.d.sync += level.eq(Level.KERNEL_ROW)
        with m.Elif(group != 0):
            m.d.sync += level.eq(Level.GROUP)
        with m.Elif(line != 0):
            m.d.sync += level.eq(Level.LINE)
        with m.Else():
            m.d.sync += [level.eq(Level.TILE), finished.eq(tile == 0)]

        advance, valid = Signal(), Signal()
        m.d.comb += advance.eq(valid & self.runs.ready)
        with m.If(advance):
            m.d.sync += kernel_row.eq(
                Mux(level == Level.KERNEL_ROW, kernel_row - 1, self.layer.kernel_rows)
            )
            with m.If(level != Level.KERNEL_ROW):
                m.d.sync += group.eq(Mux(level == Level.GROUP, group - 1, self.layer.groups))
            with m.If((level == Level.LINE) | (level == Level.TILE)):
                m.d.sync += line.eq(Mux(level == Level.LINE, line - 1, self.layer.lines))
            with m.If(level == Level.TILE):
                m.d.sync += tile.eq(tile - 1)
        row = Signal(row_field.width)
        x = Signal(signed(x_field.width))
        y = Signal(y_field.width)
        # Cycles in which START is read, and in which each half of a delta is added.
        starting, add_row, add_place = Signal(2), Signal(), Signal()
        place = data.View(place_layout, read.data[: place_layout.size])
        m.d.sync += [
            starting.eq(Cat(self.start, starting[0])),
            add_row.eq((advance & ~finished) | starting[0]),
            add_place.eq(add_row),
            valid.eq(add_place | (valid & ~advance)),
        ]
        m.d.comb += [
            read.en.eq(1),
            # The level that advanced is stable for one more cycle.
            read.addr.eq(Cat(add_row, Mux(starting.any(), Level.START, level))),
        ]
        with m.If(self.start):
            m.d.sync += [
                row.eq(0),
                x.eq(0),
                y.eq(0),
                kernel_row.eq(self.layer.kernel_rows),
                group.eq(self.layer.groups),
                line.eq(self.layer.lines),
                tile.eq(self.layer.tiles),
            ]
        with m.If(add_row):
            m.d.sync += row.eq(row + read.data)
        with m.If(add_place):
            m.d.sync += [x.eq(x + place.x), y.eq(y + place.y)]
        m.d.comb += [
            self.runs.valid.eq(valid),
            self.runs.p.row.eq(row),
            self.runs.p.x.eq(x),
            # Above the picture, y is negative; as an unsigned number, it is far below the picture.
            self.runs.p.outside.eq(y >= self.layer.height),
        ]
        return m
