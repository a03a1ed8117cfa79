"""The epilogue: tables, additions and maxima, between requantiser and writer."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..interface import tape
from ..interface.configuration import EngineConfiguration
from ..memory.scratchpad import RESULT_READ_LATENCY
from .layer import LAYER, struct_layout

TABLE = struct_layout(tape.TABLE)
#: Cycles from a result to its byte, or to the read of the byte to which it is added.
EPILOGUE_LATENCY = 2
#: Cycles from that read to the sum.
COMBINATION_LATENCY = RESULT_READ_LATENCY + 3

#: Pairs of cycles that a result waits for its first table entry.
WAITING = (EPILOGUE_LATENCY + RESULT_READ_LATENCY) // 2


class TableWrite(data.Struct):
    """A table word to be written to the tables, in two halves: ``first``, then ``second``."""

    index: 8
    half: 1
    table: TABLE


class Epilogue(wiring.Component):
    """Passes a result through, looks it up in a table, adds the byte at its destination, each by
    its own table, or takes the greater of the two.

    Latency: a result appears at ``results`` EPILOGUE_LATENCY cycles after it arrived. In a layer
    that combines, the other byte must be at ``others`` RESULT_READ_LATENCY cycles later; their
    combination then appears at ``combined`` COMBINATION_LATENCY cycles after ``results``.
    Throughput: R results a cycle, or every 2 cycles if the layer combines. There is no
    back-pressure.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    layer : :py:`In(LAYER)`
    table : :py:`In(stream.Signature(TableWrite, always_ready=True))`
        The tables' entries; only ``first`` for a layer that does not add.
    requantized : :py:`In(stream.Signature(8 * R, always_ready=True))`
        Results; if the layer combines, an even number of cycles apart.
    results : :py:`Out(stream.Signature(8 * R, always_ready=True))`
    others : :py:`In(8 * R)`
    combined : :py:`Out(8 * R)`
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.configuration = configuration
        width = 8 * configuration.requantizers
        super().__init__(
            {
                "layer": In(LAYER),
                "table": In(stream.Signature(TableWrite, always_ready=True)),
                "requantized": In(stream.Signature(width, always_ready=True)),
                "results": Out(stream.Signature(width, always_ready=True)),
                "others": In(width),
                "combined": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Where the layer combines, results come in even cycles, seen from the first one; the memory
        # answers after an even number of them. So the tables' ports have the even cycles for the
        # second entries, and the odd ones for the first entries of results that waited for that.
        odd, even = Signal(), Signal()
        m.d.sync += odd.eq(even)
        m.d.comb += even.eq(self.requantized.valid | ~odd)
        valid = Signal(EPILOGUE_LATENCY)
        m.d.sync += valid.eq(Cat(self.requantized.valid, valid[:-1]))
        m.d.comb += self.results.valid.eq(valid[-1])
        waiting = [self.requantized.p]
        for age in range(WAITING):
            register = Signal(len(self.requantized.p), reset_less=True, name=f"waiting{age}")
            with m.If(even):
                m.d.sync += register.eq(waiting[-1])
            waiting.append(register)

        source = self.table.p
        entry = Cat(
            self.table.valid,
            source.index,
            source.half,
            Mux(source.half, source.table.second, source.table.first),
        )
        if self.configuration.distributes:
            # The ring is far from the tables, and tables are written long before they are read.
            entry_then = Signal(len(entry), reset_less=True)
            m.d.sync += entry_then.eq(entry)
            entry = entry_then

        for index in range(self.configuration.requantizers):
            now, recent, waited, addend = (
                value.word_select(index, 8)
                for value in (waiting[0], waiting[1], waiting[-1], self.others)
            )
            m.submodules[f"table{index}"] = memory = Memory(
                shape=tape.TABLE_BITS, depth=2 * tape.TABLE_WORDS, init=[]
            )
            write, read = memory.write_port(), memory.read_port()
            address = Signal(9, name=f"address{index}")
            m.d.comb += [
                Cat(write.en, write.addr, write.data).eq(entry),
                address.eq(Mux(self.layer.add, Mux(even, Cat(addend, 1), waited), now)),
                read.en.eq(1),
                # Bytes are two's complement, and indices begin at the least one.
                read.addr.eq(address ^ 0x80),
            ]
            # The greater byte is stable for two cycles, until it can be written.
            greater = Signal(signed(8), reset_less=True, name=f"greater{index}")
            with m.If(even):
                m.d.sync += greater.eq(Mux(waited.as_signed() > addend.as_signed(), waited, addend))
            result = Signal(8, reset_less=True, name=f"result{index}")
            first = Signal(signed(tape.TABLE_BITS), reset_less=True, name=f"first{index}")
            total = Signal(signed(tape.TABLE_BITS), reset_less=True, name=f"total{index}")
            clamped = Signal(8, reset_less=True, name=f"clamped{index}")
            m.d.sync += [
                result.eq(Mux(self.layer.table, read.data, recent)),
                first.eq(read.data),
                total.eq(first + read.data.as_signed()),
            ]
            scaled = total >> tape.ADDITION_SHIFT
            with m.If(self.layer.pooled):
                m.d.sync += clamped.eq(greater)
            with m.Elif(scaled < self.layer.minimum):
                m.d.sync += clamped.eq(self.layer.minimum)
            with m.Elif(scaled > self.layer.maximum):
                m.d.sync += clamped.eq(self.layer.maximum)
            with m.Else():
                m.d.sync += clamped.eq(scaled)
            m.d.comb += [
                self.results.payload.word_select(index, 8).eq(result),
                self.combined.word_select(index, 8).eq(clamped),
            ]
        return m
