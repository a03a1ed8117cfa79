"""The writer: it writes each result to its address, and finds the last layer's greatest one."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..interface import tape
from ..interface.configuration import EngineConfiguration
from ..interface.tape import Level
from ..memory.scratchpad import ResultPortSignature
from .epilogue import COMBINATION_LATENCY, EPILOGUE_LATENCY
from .layer import LAYER, DeltaWrite, combines

#: Cycles from a result's notice to the result, which is in the epilogue in between.
NOTICE_CYCLES = EPILOGUE_LATENCY
#: Number of results that the search for the greatest can distinguish.
CLASS_BITS = 10
#: Bits of a delta in one memory.
DELTA_BITS = 16
#: Whether the result counts, its index, and its value.
Candidate = tuple[Value, Value, Value]


class Writer(wiring.Component):
    """The loop nest of results, with an address for each tile, line, group, slot and ``R`` lanes.

    The writer skips results that belong to no channel, pixel or line of the output. In a layer that
    adds, and in the second of two pooled lines, a result is combined with the byte at its
    destination: that byte is read first, and the combination written later. Latency: none, or that
    of the combination. Throughput: ``R`` results every :attr:`.EngineConfiguration.result_cycles`,
    or every 2 cycles if the layer combines. There is no back-pressure.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    deltas : :py:`In(stream.Signature(DeltaWrite, always_ready=True))`
    layer : :py:`In(LAYER)`
    start : :py:`In(1)`
        Begin the layer, at least 4 cycles before its first result.
    notice : :py:`In(1)`
        A result arrives in NOTICE_CYCLES; its address is computed until then.
    results : :py:`In(stream.Signature(8 * R, always_ready=True))`
        In the drain's order; if the layer combines, an even number of cycles apart.
    combined : :py:`In(8 * R)`
        The combination of a result with another byte, COMBINATION_LATENCY cycles after the result.
    memory : :py:`Out(ResultPortSignature(R))`
        Only its request.
    finished : :py:`Out(1)`
        All results of the layer have been written.
    best : :py:`Out(CLASS_BITS)`
        Index of the greatest result written in the last layer, the first of equals; not of a
        pooled one.
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.configuration = configuration
        requantizers = configuration.requantizers
        request = ResultPortSignature(requantizers).members["request"].signature
        super().__init__(
            {
                "deltas": In(stream.Signature(DeltaWrite, always_ready=True)),
                "layer": In(LAYER),
                "start": In(1),
                "notice": In(1),
                "results": In(stream.Signature(8 * requantizers, always_ready=True)),
                "combined": In(8 * requantizers),
                "memory": Out(request),
                "finished": Out(1),
                "best": Out(CLASS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The loops advance with the notice; what they say is registered, and a cycle later the
        # delta to the next result is read. So no result waits for a comparison or a memory.
        layer_combines = combines(self.layer)
        noticed, arrived = Signal(), Signal()
        level, mask, next_mask = (
            Signal(Level),
            *(Signal(self.configuration.requantizers, name=name) for name in ("mask", "next_mask")),
        )
        # Whether the result is combined with what lies where it goes: in a pooled layer those of
        # every second line are.
        meets, next_meets = Signal(), Signal()
        loop_level, loop_mask, second_line, complete = self._loops(m)
        m.d.sync += [
            noticed.eq(self.notice),
            arrived.eq(self.results.valid),
            level.eq(loop_level),
            next_mask.eq(loop_mask),
            next_meets.eq(self.layer.add | second_line),
        ]
        # Where the layer combines, address and mask stand for two cycles.
        with m.If(~layer_combines | ~self.results.valid):
            m.d.sync += [mask.eq(next_mask), meets.eq(next_meets)]
        advance = Mux(layer_combines, arrived, self.results.valid)
        address = self._address(m, level, noticed, advance)

        # Results come in even cycles then, seen from the first one; what is combined is written in
        # odd ones.
        odd = Signal()
        m.d.sync += odd.eq(self.results.valid | ~odd)
        held = (address, mask & (arrived & meets).replicate(len(mask)))
        pending = [arrived]
        for pair in range(COMBINATION_LATENCY // 2):
            held_address = Signal.like(address, reset_less=True, name=f"address{pair}")
            held_mask = Signal.like(mask, name=f"mask{pair}")
            with m.If(odd):
                m.d.sync += [held_address.eq(held[0]), held_mask.eq(held[1])]
            held = held_address, held_mask
            pending.append(held_mask.any())
        # The first result may arrive in any cycle.
        later = Signal()
        m.d.comb += [
            later.eq(layer_combines & odd & ~self.results.valid),
            self.memory.valid.eq(Mux(later, held[1].any(), self.results.valid & mask.any())),
            self.memory.p.write.eq(~meets | later),
            self.memory.p.address.eq(Mux(later, held[0], address)),
            self.memory.p.data.eq(Mux(later, self.combined, self.results.payload)),
            self.memory.p.mask.eq(Mux(later, held[1], mask)),
            self.finished.eq(
                complete & ~(noticed | self.results.valid) & ~(layer_combines & Cat(pending).any())
            ),
        ]
        if self.configuration.diagnostics:
            self._search(m)
        return m

    def _loops(self, m: Module) -> tuple[Signal, Signal, Signal, Signal]:
        """Count the loops down; say which advances, which results belong to the output, whether a
        pooled layer is in the second line of a pair, and whether there was notice of all. Longer
        than a screen, for it is one loop nest."""
        layer = self.layer
        level = Signal(Level)
        requantizers, group_lanes = (
            self.configuration.requantizers,
            self.configuration.channel_group,
        )
        second_line = Signal()
        lanes = Signal.like(layer.drain_lanes)
        slot = Signal(range(self.configuration.pixels))
        group, line, tile = (Signal.like(n) for n in (layer.groups, layer.lines, layer.tiles))
        last_lanes, last_slot, last_group, last_line, last_tile = (
            Signal(name=f"last_{name}") for name in ("lanes", "slot", "group", "line", "tile")
        )
        # The lanes' number splits into a place among G lanes and the number of those.
        bits = (group_lanes // requantizers - 1).bit_length()
        within, results = lanes[:bits], lanes[bits:]
        last_within = within.all() if bits else Const(1)
        m.d.comb += [
            last_lanes.eq(lanes == layer.drain_lanes),
            last_slot.eq(slot == layer.drain_slots),
            last_group.eq(group == 0),
            last_line.eq(line == 0),
            last_tile.eq(tile == 0),
        ]
        with m.If(~last_lanes):
            m.d.comb += level.eq(Mux(last_within, Level.LANES, Level.LANE))
        with m.Elif(~last_slot):
            m.d.comb += level.eq(Level.SLOT)
        with m.Elif(~last_group):
            m.d.comb += level.eq(Level.GROUP)
        with m.Elif(~last_line):
            m.d.comb += level.eq(Mux(second_line, Level.KERNEL_ROW, Level.LINE))
        with m.Else():
            m.d.comb += level.eq(Level.TILE)

        # The outer loops advance a cycle later where results come every other cycle at most.
        inner_done, outer_advances = Signal(), Signal()
        m.d.comb += inner_done.eq(self.notice & last_lanes & last_slot)
        if self.configuration.result_cycles == 2:
            m.d.sync += outer_advances.eq(inner_done)
        else:
            m.d.comb += outer_advances.eq(inner_done)
        complete = Signal()
        with m.If(self.start | ~layer.pooled):
            m.d.sync += second_line.eq(0)
        with m.Elif(inner_done & last_group):
            m.d.sync += second_line.eq(~second_line)
        with m.If(self.start):
            m.d.sync += [
                lanes.eq(0),
                slot.eq(0),
                group.eq(layer.groups),
                line.eq(layer.lines),
                tile.eq(layer.tiles),
                complete.eq(0),
            ]
        with m.Else():
            with m.If(self.notice):
                m.d.sync += lanes.eq(lanes + 1)
                with m.If(last_lanes):
                    m.d.sync += [lanes.eq(0), slot.eq(Mux(last_slot, 0, slot + 1))]
            with m.If(outer_advances):
                m.d.sync += group.eq(Mux(last_group, layer.groups, group - 1))
                with m.If(last_group):
                    m.d.sync += line.eq(Mux(last_line, layer.lines, line - 1))
                    with m.If(last_line):
                        m.d.sync += [tile.eq(tile - 1), complete.eq(last_tile)]

        beyond = Signal()
        m.d.comb += beyond.eq(
            (last_line & (results > layer.last_results))
            | (Mux(layer.channels_inside, last_tile, last_group) & (slot > layer.last_slots))
        )
        mask = Signal(requantizers)
        first = Cat(
            Const(0, (requantizers - 1).bit_length()), Mux(layer.channel_wise, within, lanes)
        )
        for index in range(requantizers):
            lane_beyond = Signal(name=f"lane_beyond{index}")
            m.d.comb += [
                lane_beyond.eq(last_tile & ((first | index) > layer.last_lanes)),
                mask[index].eq(~beyond & ~lane_beyond),
            ]
        return level, mask, second_line, complete

    def _address(self, m: Module, level: Signal, read_delta: Signal, advance: Value) -> Signal:
        bits = (self.configuration.memory_bytes - 1).bit_length()
        starting = Signal()
        address, delta = Signal(bits), Signal(bits)
        # As wide as an iCE40's block RAM; what is above, needs only a few registers.
        for low in range(0, bits, DELTA_BITS):
            part = delta[low : low + DELTA_BITS]
            m.submodules[f"memory{low}"] = memory = Memory(
                shape=len(part), depth=tape.LEVELS, init=[]
            )
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.deltas.valid),
                write.addr.eq(self.deltas.p.index),
                write.data.eq(self.deltas.p.delta.write[low:]),
                read.en.eq(self.start | read_delta),
                read.addr.eq(Mux(self.start, Level.START, level)),
                part.eq(read.data),
            ]
        m.d.sync += starting.eq(self.start)
        with m.If(self.start):
            m.d.sync += address.eq(0)
        with m.Elif(starting | advance):
            m.d.sync += address.eq(address + delta)
        return address

    def _search(self, m: Module) -> None:
        """Find the greatest of the last layer's results; those of one write are compared first."""
        requantizers = self.configuration.requantizers
        memory = self.memory
        candidates = [
            (memory.p.mask[i], Const(i), memory.p.data.word_select(i, 8).as_signed())
            for i in range(requantizers)
        ]
        found, counted = Signal(), Signal(range(requantizers + 1))
        m.d.comb += [
            found.eq(memory.valid & memory.p.write & self.layer.last),
            # Results that count come first.
            counted.eq(sum(memory.p.mask[i] for i in range(requantizers))),
        ]
        # A cycle for each round of comparisons. None of this is reset: the last rounds may come
        # after the run's end, while it still counts as busy.
        search = [found, counted]
        while True:
            parts = [*search, *(part for candidate in candidates for part in candidate)]
            registers = [
                Signal.like(part, reset_less=True, name=f"round{len(candidates)}_{number}")
                for number, part in enumerate(parts)
            ]
            m.d.sync += [register.eq(part) for register, part in zip(registers, parts)]
            search, rest = registers[:2], registers[2:]
            candidates = list(zip(rest[::3], rest[1::3], rest[2::3], strict=True))
            if len(candidates) == 1:
                break
            pairs = zip(candidates[::2], candidates[1::2], strict=True)
            candidates = [self._greater(m, *pair) for pair in pairs]
        found, counted = search
        _, offset, value = candidates[0]
        index = Signal(CLASS_BITS, reset_less=True)
        greatest = Signal(signed(8), reset_less=True)
        # It keeps its value after the run.
        best = Signal.like(self.best, reset_less=True)
        m.d.comb += self.best.eq(best)
        with m.If(self.start):
            m.d.sync += index.eq(0)
        with m.Elif(found):
            m.d.sync += index.eq(index + counted)
            with m.If((index == 0) | (value > greatest)):
                m.d.sync += [greatest.eq(value), best.eq(index + offset)]

    @staticmethod
    def _greater(m: Module, one: Candidate, other: Candidate) -> Candidate:
        """The greater of two (valid, index, value); of equal ones, the first."""
        second = other[0] & (~one[0] | (other[2] > one[2]))
        index, value = Signal(range(max(2, 1 << len(other[1])))), Signal(signed(8))
        m.d.comb += [
            index.eq(Mux(second, other[1], one[1])),
            value.eq(Mux(second, other[2], one[2])),
        ]
        return one[0] | other[0], index, value
