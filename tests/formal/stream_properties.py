"""What is offered on a stream stays until it is taken: blocks of which no other proof says so."""

from __future__ import annotations

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Module, Signal, Value

from gateware.engine.run_generator import RunGenerator
from gateware.engine.slot_generator import SlotGenerator
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.timing import RUN_CYCLES
from gateware.link.bus_master import BusMaster
from tests.formal.prover import Property, assert_stream_rule, open_up


def leave_to_chance(m: Module, *inputs: Value) -> None:
    for value in map(Value.cast, inputs):
        m.d.comb += value.eq(AnySeq(len(value)))


class BusMasterKeepsItsRequest(Property):
    """A byte's request, whenever it is granted; and that it is asked for once."""

    def __init__(self, master: type = BusMaster) -> None:
        self.master = master

    def build(self, m: Module) -> None:
        dut = self.master(17)
        m.submodules.dut, inner = open_up(dut)
        bus = dut.bus
        leave_to_chance(m, dut.load, dut.read, dut.write, dut.byte)
        leave_to_chance(m, bus.request.ready, bus.response.valid, bus.response.payload)
        begins, awaited, last = Signal(), Signal(), Signal(8)
        m.d.comb += begins.eq(dut.read | dut.write)
        m.d.sync += last.eq(dut.byte)
        with m.If(bus.request.valid & bus.request.ready):
            m.d.sync += awaited.eq(~bus.request.p.write)
        with m.If(bus.response.valid):
            m.d.sync += awaited.eq(0)
        m.d.comb += [
            Assume(~(dut.read & dut.write)),
            Assume(~dut.busy | ~(begins | dut.load)),
            Assume(~dut.busy | (dut.byte == last)),
            Assume(~bus.response.valid | awaited),
        ]
        assert_stream_rule(m, bus.request)
        granted = bus.request.valid & bus.request.ready
        owed = Signal()
        with m.If(begins):
            m.d.sync += owed.eq(1)
        with m.Elif(granted):
            m.d.sync += owed.eq(0)
        m.d.comb += [
            Assert(bus.request.valid == owed),
            Assert(dut.busy == (owed | awaited)),
            Assert(~(owed & awaited)),
        ]


class RunsStay(Property):
    """Each run of a layer of any shape, to a partner that stalls at will.

    And each comes when it should: 4 cycles after the start, ``RUN_CYCLES`` after the one before.
    """

    def __init__(self, generator: type = RunGenerator) -> None:
        self.generator = generator

    def build(self, m: Module) -> None:
        dut = self.generator()
        m.submodules.dut, inner = open_up(dut)
        layer = Value.cast(dut.layer)
        m.d.comb += layer.eq(AnyConst(len(layer)))
        leave_to_chance(m, dut.deltas.valid, dut.deltas.payload, dut.start, dut.runs.ready)
        # Cycles until a run is there.
        working, left = Signal(), Signal(2)
        m.d.sync += left.eq(left - (left != 0))
        with m.If(dut.runs.valid & dut.runs.ready):
            m.d.sync += [left.eq(RUN_CYCLES - 1), working.eq(~inner["finished"])]
        with m.If(dut.start):
            m.d.sync += [left.eq(RUN_CYCLES), working.eq(1)]
        m.d.comb += Assume(~working | ~(dut.start | dut.deltas.valid))
        assert_stream_rule(m, dut.runs)
        m.d.comb += [
            Assert(dut.runs.valid == (working & (left == 0))),
            Assert(inner["add_place"] == (working & (left == 1))),
        ]


class SlotGeneratorKeepsItsRequest(Property):
    """Reads for runs of any kind: they stay until the memory takes them."""

    def __init__(self, generator: type = SlotGenerator) -> None:
        self.generator = generator

    def build(self, m: Module) -> None:
        dut = self.generator(EngineConfiguration())
        m.submodules.dut = dut
        leave_to_chance(m, dut.layer, dut.runs.valid, dut.runs.payload, dut.room)
        leave_to_chance(m, dut.request.ready)
        assert_stream_rule(m, dut.request)
