"""The drain: a window's sums leave one by one while the next window accumulates."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from ..interface.tape import COMBINE_SHIFT
from ..primitives import Technology
from ..primitives.adder import AdderMode, SelectAdder
from .layer import LAYER

#: Parameters of so many tiles are kept: those of the tiles of which sums may be under way, and of
#: the one that is being loaded.
PARAMETER_BANKS = 4


def sum_layout(configuration: EngineConfiguration) -> data.StructLayout:
    """A sum on its way to the requantiser: ``bank`` and ``lane`` select its parameters."""
    return data.StructLayout(
        {
            "value": configuration.accumulator_bits,
            "lane": range(configuration.lanes),
            "bank": range(PARAMETER_BANKS),
        }
    )


class Drain(wiring.Component):
    """``P`` shift chains of ``L`` sums, loaded at once, emptied one after the other.

    Slot ``p`` leaves in the order ``first_lane(p)``, ``first_lane(p) + 1``, … modulo ``L``, as
    many lanes of as many slots as the layer drains; where the layer combines lanes, a pair leaves
    as one sum. Back-pressure: ``blocked`` is high while a window's last step would bring its sums
    here too early. Latency: a cycle from the load to the first sum.

    Parameters
    ----------
    configuration : EngineConfiguration
    technology : Technology

    Members
    -------
    layer : :py:`In(LAYER)`
    sums : :py:`In(accumulator_bits)` for each pixel and lane
    load : :py:`In(1)`
        Take the sums.
    maxima : :py:`In(8)` for each pixel
    load_maxima : :py:`In(1)`
        Take twice the maxima instead, as the first lane of each slot.
    bank : :py:`In(1)`
        The parameter bank of what is loaded.
    issued : :py:`In(1)`
        A window's last step: it loads some cycles from now.
    blocked : :py:`Out(1)`
        No window's last step may be issued now. Comes from a register.
    results : :py:`Out(stream.Signature(sum_layout))`
    """

    def __init__(self, configuration: EngineConfiguration, technology: Technology) -> None:
        self.configuration = configuration
        self.technology = technology
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
        lanes, pixels = self.configuration.lanes, self.configuration.pixels
        loads, taken = Signal(), Signal()
        free = Signal()
        valid = Signal()
        index = Signal(range(lanes))  # of the lane within its slot
        lane = Signal(range(lanes))
        slot = Signal(range(pixels))
        bank = Signal.like(self.bank)
        last_lane, last_slot = Signal(), Signal()
        m.d.comb += [
            loads.eq(self.load | self.load_maxima),
            taken.eq(self.results.valid & self.results.ready),
            last_lane.eq(index == self.layer.drain_lanes),
            last_slot.eq(slot == self.layer.drain_slots),
        ]
        first_lanes = Array(self.configuration.first_lane(p) for p in range(pixels))
        with m.If(loads):
            m.d.sync += [valid.eq(1), index.eq(0), lane.eq(0), slot.eq(0), bank.eq(self.bank)]
        with m.Elif(taken):
            m.d.sync += [
                index.eq(index + 1),
                lane.eq(Mux(lane == lanes - 1, 0, Mux(self.layer.combine, lane + 2, lane + 1))),
            ]
            with m.If(last_lane):
                m.d.sync += [index.eq(0), slot.eq(slot + 1), lane.eq(first_lanes[slot + 1])]
                with m.If(last_slot):
                    m.d.sync += valid.eq(0)

        # The second of a pair follows it out in the cycle between two sums.
        second, slot_of_second = Signal(), Signal.like(slot)
        m.d.sync += [second.eq(taken & self.layer.combine), slot_of_second.eq(slot)]
        heads = [
            self._chain(
                m,
                pixel,
                loads,
                (taken & (slot == pixel)) | (second & (slot_of_second == pixel)),
            )
            for pixel in range(pixels)
        ]
        m.submodules.pair = pair = SelectAdder(
            self.configuration.accumulator_bits, AdderMode.CONDITIONAL, self.technology
        )
        m.d.comb += [
            pair.a.eq(Array(head for head, _ in heads)[slot]),
            pair.b.eq(Array(following for _, following in heads)[slot] << COMBINE_SHIFT),
            pair.select.eq(self.layer.combine),
            self.results.valid.eq(valid),
            self.results.p.value.eq(pair.output),
            self.results.p.lane.eq(lane),
            self.results.p.bank.eq(bank),
        ]

        # A window may be issued before its predecessor's last sums have left, if by the time it
        # loads, they have: two sums with the multipliers' latency, one with the maxima's. Only one
        # window is under way. The decision looks a sum ahead, so that it can come from a register.
        under_way, released = Signal(), Signal()
        one_left, two_left, three_left = Signal(), Signal(), Signal()
        with m.If(self.issued):
            m.d.sync += under_way.eq(1)
        with m.Elif(loads):
            m.d.sync += under_way.eq(0)
        m.d.comb += [
            one_left.eq(last_slot & last_lane),
            two_left.eq(last_slot & (index + 1 == self.layer.drain_lanes)),
            three_left.eq(last_slot & (index + 2 == self.layer.drain_lanes)),
            released.eq(
                Mux(
                    self.layer.pool,
                    one_left | (two_left & taken),
                    one_left | two_left | (three_left & taken),
                )
            ),
            self.blocked.eq(~free),
        ]
        m.d.sync += free.eq(~under_way & ~self.issued & ~loads & (~valid | released))
        return m

    def _chain(
        self, m: Module, pixel: int, loads: Signal, shift: Signal
    ) -> tuple[Signal, Signal | Const]:
        """A pixel's sums: the one to leave first, at the head, and the one after it."""
        lanes = self.configuration.lanes
        bits = self.configuration.accumulator_bits
        first = self.configuration.first_lane(pixel)
        chain = [
            Signal(bits, reset_less=True, name=f"chain{pixel}_{place}") for place in range(lanes)
        ]
        with m.If(loads | shift):
            for place, register in enumerate(chain):
                following = chain[place + 1] if place + 1 < lanes else 0
                m.d.sync += register.eq(
                    Mux(loads, self.sums[pixel][(first + place) % lanes], following)
                )
        with m.If(self.load_maxima):
            m.d.sync += chain[0].eq(Cat(0, self.maxima[pixel]))
        return chain[0], chain[1] if lanes > 1 else Const(0, bits)
