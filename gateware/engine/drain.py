"""The drain: a window's sums leave in turn while the next window accumulates."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from .layer import LAYER, combines

#: Number of tiles whose parameters are kept: those with sums under way, and the one that is being
#: loaded.
PARAMETER_BANKS = 4


def sum_layout(configuration: EngineConfiguration) -> data.StructLayout:
    """``R`` sums on their way to the requantisers, of lanes ``R * lanes`` and those after it.

    ``bank`` and the lane select a sum's parameters.
    """
    requantizers = configuration.requantizers
    return data.StructLayout(
        {
            "values": data.ArrayLayout(configuration.accumulator_bits, requantizers),
            "lanes": range(configuration.lanes // requantizers),
            "bank": range(PARAMETER_BANKS),
        }
    )


class Drain(wiring.Component):
    """``P`` shift chains of ``L`` sums, loaded at once, emptied one after the other.

    ``R`` lanes leave at a time, from as many lanes and slots as the layer drains: the first slots
    or, in a channel-wise layer, the last ones. In a pooled layer two chains are emptied together,
    and the greater sum leaves. Latency: a cycle from the load to the first sum. Throughput: ``R``
    sums every :attr:`.EngineConfiguration.result_cycles` at best. Back-pressure: ``blocked`` is
    high while the sums of a window's last step would arrive too early.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    layer : :py:`In(LAYER)`
    sums : :py:`In(accumulator_bits)` for each pixel and lane
    load : :py:`In(1)`
        Take the sums.
    maxima : :py:`In(8)` for each stream
    load_maxima : :py:`In(1)`
        Take twice the maxima instead, as the first lanes of the last slot.
    bank : :py:`In(2)`
        The parameter bank of the loaded sums.
    issued : :py:`In(1)`
        A window's last step was issued; its sums arrive some cycles later.
    blocked : :py:`Out(1)`
        No window's last step may be issued in this cycle. From a register.
    results : :py:`Out(stream.Signature(sum_layout))`
        With one requantiser, and in a pooled layer, ready is high only where valid was high in the
        cycle before, and never twice running: a pooled sum is right from its second cycle on.
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.configuration = configuration
        lanes = data.ArrayLayout(configuration.accumulator_bits, configuration.lanes)
        super().__init__(
            {
                "layer": In(LAYER),
                "sums": In(data.ArrayLayout(lanes, configuration.pixels)),
                "load": In(1),
                "maxima": In(data.ArrayLayout(8, configuration.pixels)),
                "load_maxima": In(1),
                "bank": In(range(PARAMETER_BANKS)),
                "issued": In(1),
                "blocked": Out(1),
                "results": Out(stream.Signature(sum_layout(configuration))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pixels = self.configuration.pixels
        loads, taken = Signal(), Signal()
        free = Signal()
        valid = Signal()
        lanes, lanes_left = (
            Signal.like(self.results.p.lanes, name=name) for name in ("lanes", "lanes_left")
        )
        slot, slots_left = Signal(range(pixels)), Signal(range(pixels))
        bank = Signal.like(self.bank)
        m.d.comb += [
            loads.eq(self.load | self.load_maxima),
            taken.eq(self.results.valid & self.results.ready),
        ]
        with m.If(loads):
            m.d.sync += [
                valid.eq(1),
                lanes.eq(0),
                lanes_left.eq(self.layer.drain_lanes),
                slot.eq(Mux(self.layer.channel_wise, pixels - 1 - self.layer.drain_slots, 0)),
                slots_left.eq(self.layer.drain_slots),
                bank.eq(self.bank),
            ]
        with m.Elif(taken):
            m.d.sync += [lanes.eq(lanes + 1), lanes_left.eq(lanes_left - 1)]
            with m.If(lanes_left == 0):
                m.d.sync += [
                    lanes.eq(0),
                    lanes_left.eq(self.layer.drain_lanes),
                    slot.eq(Mux(self.layer.pooled, slot + 2, slot + 1)),
                    slots_left.eq(slots_left - 1),
                ]
                with m.If(slots_left == 0):
                    m.d.sync += valid.eq(0)

        heads = []
        for pixel in range(pixels):
            shifts = slot == pixel
            if pixel % 2:
                shifts |= self.layer.pooled & (slot == pixel - 1)
            heads.append(self._chain(m, pixel, loads, taken & shifts))
        m.d.comb += [
            self.results.valid.eq(valid),
            self.results.p.values.eq(self._chosen(m, heads, slot)),
            self.results.p.lanes.eq(lanes),
            self.results.p.bank.eq(bank),
        ]

        # A window may be issued before its predecessor's last sums have left, if it does not load
        # before the last of them leaves. The requantiser takes them every other cycle, from the
        # third cycle after they were loaded at the latest; or, if it can, in every cycle. Only one
        # window is under way.
        under_way = Signal()
        with m.If(self.issued):
            m.d.sync += under_way.eq(1)
        with m.Elif(loads):
            m.d.sync += under_way.eq(0)
        m.d.comb += self.blocked.eq(~free)
        released = self._released(m, loads, taken, lanes_left, slots_left)
        m.d.sync += free.eq(~under_way & ~self.issued & ~loads & (~valid | released))
        return m

    def _chosen(self, m: Module, heads: list[Value], slot: Signal) -> Value:
        """The sums of a slot or, lane by lane, the greater of it and the next one."""
        if len(heads) == 1:
            return heads[0]
        bits = self.configuration.accumulator_bits
        pair = slot[1:] if len(slot) > 1 else Const(0)
        even, odd = Array(heads[::2])[pair], Array(heads[1::2])[pair]
        values = []
        for index in range(self.configuration.requantizers):
            one, other = (value.word_select(index, bits) for value in (even, odd))
            # They may wrap, but not their difference: with the bias they are in half the range.
            difference = Signal(bits, name=f"difference{index}")
            m.d.comb += difference.eq(one - other)
            # A pair stands at the head for a cycle before it is taken.
            greater = Signal(name=f"greater{index}")
            m.d.sync += greater.eq(difference[-1])
            values.append(Mux(Mux(self.layer.pooled, greater, slot[0]), other, one))
        return Cat(values)

    def _released(
        self, m: Module, loads: Signal, taken: Signal, lanes_left: Signal, slots_left: Signal
    ) -> Value:
        """Whether few enough sums are left; registers count them in units of R, a cycle late."""
        layer = self.layer
        most = self.configuration.lanes // self.configuration.requantizers - 1
        fast = Const(0, 1) if self.configuration.result_cycles == 2 else ~combines(layer)
        left = Signal(7 if self.configuration.result_cycles == 1 else 4)
        for count in range(len(left)):
            found = Const(0, 1)
            for slots in range(min(count + 1, self.configuration.pixels)):
                for last in range(most + 1):
                    rest = count - slots * (last + 1)
                    if 0 <= rest <= last:
                        here = (slots_left == slots) & (lanes_left == rest)
                        # Only slots after this one depend on how many a slot has.
                        found |= (
                            here & (layer.drain_lanes[: len(lanes_left)] == last) if slots else here
                        )
            m.d.sync += left[count].eq(found & ~loads)
        soon, single = Signal(), Signal()
        m.d.sync += [
            soon.eq(taken & Mux(layer.pool, left[2], left[3])),
            single.eq((layer.drain_lanes == 0) & (layer.drain_slots == 0)),
        ]
        few = soon | single | left[0] | left[1] | (left[2] & ~layer.pool)
        return few | (fast & Mux(layer.pool, left[:5].any(), left.any()))

    def _chain(self, m: Module, pixel: int, loads: Signal, shift: Value) -> Value:
        """A pixel's sums: those to leave first, at the head."""
        bits = self.configuration.accumulator_bits
        width = bits * self.configuration.requantizers
        chain = Signal(bits * self.configuration.lanes, reset_less=True, name=f"chain{pixel}")
        loaded = Signal.like(chain)
        m.d.comb += loaded.eq(self.sums[pixel].as_value())
        if pixel == self.configuration.pixels - 1:
            with m.If(self.load_maxima):
                for channel in range(self.configuration.channel_group):
                    part = loaded.word_select(channel, bits)
                    m.d.comb += part.eq(Cat(Const(0, 1), self.maxima[channel]))
        with m.If(loads | shift):
            m.d.sync += chain.eq(Mux(loads, loaded, chain >> width))
        return chain[:width]
