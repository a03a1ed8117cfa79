"""The link's processor: an accumulator, an index, and a program in one block RAM."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..primitives.counter import load_or_count
from .instructions import PROGRAM_WORDS, Condition, RareStrobe, Source, Strobe

__all__ = ["Processor"]


class Processor(wiring.Component):
    """Execute :mod:`.instructions`, each in three cycles: fetch, operand, execute.

    The processor decides in the operand's cycle, and registers apply the decisions in the next one.
    An instruction that has to wait stays in the second cycle or, if the memory's other reader needs
    its turns, is fetched again.

    Parameters
    ----------
    program : sequence of int
        At most ``PROGRAM_WORDS`` words.

    Members
    -------
    fetching : :py:`Out(1)`
        High while the processor ignores read data; another reader may use the variable memory.
    address : :py:`Out(8)`
        Address of a variable, a request's byte, or a port. The data at the operand cycle's address
        must be given in the next cycle.
    indexed : :py:`Out(1)`
        The address is the index.
    variable, request, port : :py:`In(8)`
        The data at ``address``. ``port`` must be zero in the cycle after ``port_wanted`` was low.
    port_wanted : :py:`Out(1)`
    share : :py:`In(1)`
        Another reader uses the variable memory.
    hold : :py:`In(1)`
        Instructions with ports or the CRC wait.
    conditions : :py:`In(len(Condition))`
        The processor ignores ``NEVER``, ``ZERO`` and ``CARRY``, which it computes itself.
    accumulator, index, operand : :py:`Out(8)`
    put : :py:`Out(1)`
        The operand goes through the CRC.
    strobes : :py:`Out(len(Strobe))`
    rare_strobes : :py:`Out(len(RareStrobe))`
        The bit of a strobe's code is high for one cycle.

    Raises
    ------
    ValueError
        If the program is too long.
    """

    def __init__(self, program: Sequence[int]) -> None:
        if len(program) > PROGRAM_WORDS:
            raise ValueError(
                f"Program must have at most {PROGRAM_WORDS} words, not {len(program)!r}"
            )
        self._program = list(program)
        super().__init__(
            {
                "fetching": Out(1),
                "address": Out(8),
                "indexed": Out(1),
                "variable": In(8),
                "request": In(8),
                "port": In(8),
                "port_wanted": Out(1),
                "share": In(1),
                "hold": In(1),
                "conditions": In(len(Condition)),
                "accumulator": Out(8),
                "index": Out(8),
                "operand": Out(8),
                "put": Out(1),
                "strobes": Out(len(Strobe)),
                "rare_strobes": Out(len(RareStrobe)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        # An instruction's three cycles share nearly all their signals: they stay together.
        m = Module()
        m.submodules.program = program = Memory(shape=16, depth=PROGRAM_WORDS, init=self._program)
        fetch = program.read_port()
        word = fetch.data
        is_jump, is_strobe, is_load = word[15], word[14], word[13]

        program_counter = Signal(8)
        index = Signal(8, reset_less=True)
        accumulator = Signal(8, reset_less=True)
        carry = Signal(reset_less=True)
        m.d.comb += [
            fetch.addr.eq(program_counter),
            self.index.eq(index),
            self.accumulator.eq(accumulator),
            self.indexed.eq(word[10]),
            self.address.eq(Mux(word[10], index, word[:8])),
        ]

        # The cycle of the instruction, and whether it passes from the second to the third.
        deciding = Signal()
        executing = Signal()
        arithmetic = Signal()
        met = Signal()
        passes = Signal()
        conditions = [*self.conditions]
        conditions[Condition.NEVER] = conditions[Condition.NEVER_INDEXED] = Const(0)
        conditions[Condition.ZERO] = accumulator == 0
        conditions[Condition.CARRY] = carry
        m.d.comb += [
            self.fetching.eq(~deciding & ~executing),
            arithmetic.eq(~is_jump & ~is_strobe),
            self.port_wanted.eq(arithmetic & (word[11:13] == Source.PORT)),
            met.eq(Array(conditions)[word[10:13]] ^ word[13]),
        ]
        with m.If(is_jump):
            m.d.comb += passes.eq(deciding & ~(is_strobe & met))
        with m.Else():
            waits = arithmetic & (self.port_wanted | (is_load & word[8])) & self.hold
            m.d.comb += passes.eq(deciding & ~waits)
        m.d.sync += [
            deciding.eq(self.fetching | (deciding & ~passes & ~self.share)),
            executing.eq(passes),
        ]

        # Decisions
        taken = Signal()
        load = Signal()
        from_request = Signal()
        # Which of variable and constant is the operand: neither, one of them, or the inverted
        # variable.
        kind = Signal(2)
        accumulate, add = Signal(), Signal()
        carry_in = Signal()
        m.d.sync += [
            taken.eq(is_jump & met),
            load.eq(is_load),
            from_request.eq(word[11:13] == Source.REQUEST),
            accumulate.eq(passes & arithmetic & ~(is_load & word[9])),
            add.eq(passes & arithmetic & ~is_load),
            carry_in.eq(Mux(word[9], carry, word[8])),
            self.put.eq(passes & arithmetic & is_load & word[8]),
        ]
        with m.If(is_jump):
            m.d.sync += [kind.eq(Mux(word[9], 1, 2)), from_request.eq(0)]
        with m.Else():
            with m.Switch(word[11:13]):
                with m.Case(Source.CONSTANT):
                    m.d.sync += kind.eq(2)
                with m.Case(Source.VARIABLE):
                    m.d.sync += kind.eq(Mux(is_load | ~word[8], 1, 3))
                with m.Default():
                    m.d.sync += kind.eq(0)
        strobe, rare = Signal(), Signal()
        m.d.comb += [strobe.eq(passes & ~is_jump & is_strobe), rare.eq(strobe)]
        for signal, field, enable in (
            (self.strobes, word[8:11], strobe),
            (self.rare_strobes, word[11:14], rare),
        ):
            for code in range(1, len(signal)):
                m.d.sync += signal[code].eq(enable & (field == code))

        # Execution
        stored = Signal(8)
        total = Signal(9)
        m.d.comb += [
            stored.eq(
                (self.variable ^ (kind[0] & kind[1]).replicate(8)) & kind[0].replicate(8)
                | word[:8] & (kind[1] & ~kind[0]).replicate(8)
            ),
            self.operand.eq(Mux(from_request, self.request, stored | self.port)),
            total.eq((Cat(1, accumulator) + Cat(carry_in, self.operand))[1:]),
        ]
        with m.If(executing):
            m.d.sync += program_counter.eq(load_or_count(taken, self.operand, program_counter))
        with m.If(accumulate):
            m.d.sync += accumulator.eq(Mux(load, self.operand, total[:8]))
        with m.If(add):
            m.d.sync += carry.eq(total[8])
        step = self.strobes[Strobe.APPEND] | self.strobes[Strobe.WRITE]
        with m.If(self.strobes[Strobe.LOAD_INDEX] | step):
            m.d.sync += index.eq(load_or_count(self.strobes[Strobe.LOAD_INDEX], accumulator, index))
        return m
