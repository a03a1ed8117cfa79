"""The command handler: what its processor does, and that its program comes back."""

from __future__ import annotations

from dataclasses import dataclass
from unittest import mock

from amaranth.asserts import AnySeq
from amaranth.hdl import Array, Assert, Assume, Cat, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory
from prover import Property, look_into, open_up
from serial_bench import INFO

from gateware.interface.protocol import Opcode
from gateware.link import program
from gateware.link.instructions import Assembler, Condition, Port, Source, Strobe
from gateware.link.processor import Processor
from gateware.link.program import Variable, command_program

MEMORY_BYTES = 1 << 17


@dataclass(frozen=True)
class State:
    """What an instruction finds and leaves."""

    place: Value
    accumulator: Value
    index: Value
    carry: Value


def address_of(word: Value, index: Value) -> Value:
    return Mux(word[10], index, word[:8])


def condition_of(word: Value, state: State, outside: Value) -> Value:
    """Whether a jump is taken, or a wait goes on."""
    conditions = [*outside]
    conditions[Condition.NEVER] = conditions[Condition.NEVER_INDEXED] = Value.cast(0)
    conditions[Condition.ZERO] = state.accumulator == 0
    conditions[Condition.CARRY] = state.carry
    return Array(conditions)[word[10:13]] ^ word[13]


def carry_out(
    word: Value, state: State, met: Value, variable: Value, request: Value, port: Value
) -> State:
    """One instruction, as :mod:`gateware.link.instructions` describes it; not one that waits."""
    is_jump, is_strobe, is_load = word[15], ~word[15] & word[14], ~word[15] & ~word[14] & word[13]
    is_add = ~word[15] & ~word[14] & ~word[13]
    sources = {
        Source.CONSTANT: word[:8],
        Source.VARIABLE: Mux(is_add & word[8], ~variable, variable)[:8],
        Source.REQUEST: request,
        Source.PORT: port,
    }
    operand = Array(sources[source] for source in Source)[word[11:13]]
    total = state.accumulator + operand + Mux(word[9], state.carry, word[8])
    strobe = Mux(is_strobe, word[8:11], Strobe.NONE)
    counts = (strobe == Strobe.APPEND) | (strobe == Strobe.WRITE)
    target = Mux(word[9], variable, word[:8])
    loaded = Mux(is_load & ~word[9], operand, state.accumulator)
    return State(
        place=Mux(is_jump & ~word[14] & met, target, (state.place + 1)[:8]),
        accumulator=Mux(is_add, total[:8], loaded),
        index=Mux(strobe == Strobe.LOAD_INDEX, state.accumulator, (state.index + counts)[:8]),
        carry=Mux(is_add, total[8], state.carry),
    )


class ProcessorCarriesOutInstructions(Property):
    """Each instruction of the program does what it says, in its third cycle and in no other.

    Whatever comes in and whenever. It gets to its third cycle as soon as it need not wait.
    """

    def __init__(self, processor: type = Processor) -> None:
        self.processor = processor

    def build(self, m: Module) -> None:
        words, _ = command_program(INFO, MEMORY_BYTES)
        dut = self.processor(words)
        fragment, inner = open_up(dut)
        m.submodules.dut = fragment
        word = look_into(fragment, "program", inner["place"])
        state = State(inner["place"], dut.accumulator, dut.index, inner["carry"])
        deciding, executing = inner["deciding"], inner["executing"]
        conditions, hold, share = AnySeq(len(Condition)), AnySeq(1), AnySeq(1)
        m.d.comb += [
            dut.variable.eq(AnySeq(8)),
            dut.request.eq(AnySeq(8)),
            dut.port.eq(AnySeq(8)),
            dut.conditions.eq(conditions),
            dut.hold.eq(hold),
            dut.share.eq(share),
        ]
        met, met_then, port_wanted = Signal(), Signal(), Signal()
        is_jump, is_strobe = word[15], ~word[15] & word[14]
        is_load = ~word[15] & ~word[14] & word[13]
        puts = is_load & word[8]
        reads_port = ~word[15] & ~word[14] & (word[11:13] == Source.PORT)
        waits = (is_jump & word[14] & met) | ((reads_port | puts) & hold)
        m.d.comb += met.eq(condition_of(word, state, conditions))
        m.d.sync += [met_then.eq(met), port_wanted.eq(dut.port_wanted)]
        m.d.comb += Assume(port_wanted | (dut.port == 0))

        # What must be there in the next cycle.
        after = carry_out(word, state, met_then, dut.variable, dut.request, dut.port)
        due = Signal()
        m.d.sync += due.eq(deciding & ~waits)
        for now, then in zip(vars(state).values(), vars(after).values()):
            wanted, known = Signal(len(now)), Signal()
            m.d.sync += [wanted.eq(Mux(executing, then, now)), known.eq(1)]
            m.d.comb += Assert(~known | (now == wanted))
        m.d.comb += [
            Assert(executing == due),
            Assert(~(deciding & executing)),
            Assert(dut.fetching == ~(deciding | executing)),
            Assert(~deciding | (dut.address == address_of(word, dut.index))),
            Assert(~deciding | (dut.port_wanted == reads_port)),
            Assert(dut.put == (executing & puts)),
        ]
        for strobes, field in ((dut.strobes, word[8:11]), (dut.rare_strobes, word[11:14])):
            for code in range(1, len(strobes)):
                wanted = executing & is_strobe & (field == code)
                m.d.comb += Assert(strobes[code] == wanted)
        # An instruction that waits is still there in the next cycle, or fetched again.
        was_deciding, was_fetching = Signal(), Signal()
        m.d.sync += [
            was_deciding.eq(deciding & waits & ~share),
            was_fetching.eq(dut.fetching),
        ]
        m.d.comb += Assert(deciding == (was_fetching | was_deciding))


class ProgramReturns(Property):
    """From everywhere the program comes back to where it waits for a request.

    An instruction a cycle, as :func:`carry_out` has it. What it reads from outside may be anything,
    and waits end. Each step lessens a rank: stage of the work, pages and bytes that are left in its
    loop, place in the program. Only where a request is awaited may it rise.
    """

    def build(self, m: Module) -> None:
        made: list[Assembler] = []

        class Kept(Assembler):
            def __init__(self) -> None:
                super().__init__()
                made.append(self)

        with mock.patch.object(program, "Assembler", Kept):
            words, variables = command_program(INFO, MEMORY_BYTES)
        at = made[0].place_of

        place = Signal(8)
        accumulator, index, carry = Signal(8), Signal(8), Signal()
        word = Signal(16)
        with m.Switch(place):
            for number, value in enumerate(words):
                with m.Case(number):
                    m.d.comb += word.eq(value)
        m.submodules.memory = memory = Memory(shape=8, depth=256, init=variables)
        write = memory.write_port()

        def variable(address: Value | int) -> Signal:
            read = memory.read_port(domain="comb")
            m.d.comb += read.addr.eq(address)
            return read.data

        state = State(place, accumulator, index, carry)
        address = address_of(word, index)
        port = Mux(~word[10] & (word[:8] == Port.INDEX), index, AnySeq(8))
        met = Signal()
        m.d.comb += met.eq(condition_of(word, state, AnySeq(len(Condition))))
        after = carry_out(word, state, met, variable(address), AnySeq(8), port)
        is_store = (word[14:] == 1) & (word[8:11] == Strobe.STORE)
        m.d.comb += [write.en.eq(is_store), write.addr.eq(word[:8]), write.data.eq(accumulator)]
        m.d.sync += [
            place.eq(after.place),
            accumulator.eq(after.accumulator),
            index.eq(after.index),
            carry.eq(after.carry),
        ]

        # Regions of the program.
        end = len(words)

        def within(first: int, last: int) -> Value:
            return (place >= first) & (place < last)

        def region(first: str, last: str) -> Value:
            return within(at(first), at(last))

        loop, loop_end, then = (
            variable(name) for name in (Variable.LOOP, Variable.LOOP_END, Variable.THEN)
        )
        put_variable, put_port, put_crc, put_memory, put_delimiter = (
            at(name)
            for name in (
                "Put a variable",
                "Put a port",
                "Put a CRC byte",
                "Put a byte of memory",
                "Put the delimiter",
            )
        )
        go_on, end_block = at("Go on"), at("End a block")
        in_block = within(end_block, put_delimiter)
        in_go_on = within(go_on, end_block)
        in_body = (
            region("Put a port", f"Reply to {Opcode.INFO.name}")
            | region("Put a variable", "Put the CRC")
            | region("Put a CRC byte", "CRC is made")
            | within(put_memory, put_delimiter)
        )
        # Which byte of the reply it is: in "End a block" the index goes elsewhere for a while.
        which = Signal(8)
        m.d.comb += which.eq(index)
        with m.If(within(end_block + 2, put_delimiter - 1)):
            m.d.comb += which.eq(variable(Variable.PLACE))
        with m.If(place == put_delimiter - 1):
            m.d.comb += which.eq(index - 1)

        def left(end_: Value, now: Value, done: Value) -> Value:
            """Twice the rounds that are left, and where in a round."""
            before = Cat(0, ((end_ - now - 1)[:8] + 1)[:9])
            return Mux(done, Cat(1, (end_ - now)[:8]), before)

        stage, pages, rounds = Signal(4), Signal(18), Signal(10)
        order = Signal(8)
        m.d.comb += order.eq(~place)
        with m.If(in_go_on):
            m.d.comb += order.eq(~(place + (put_delimiter - end_block))[:8])
        with m.Elif(in_block):
            m.d.comb += order.eq(~(place - (end_block - go_on))[:8])

        low, high = variable(Variable.LIMIT + 1), variable(Variable.LIMIT + 2)
        write_byte, check_byte, check_page = at("Write a byte"), at("Check a byte"), at("Check a page")
        page_end = check_page + 8
        with m.If(place < write_byte):
            m.d.comb += stage.eq(13)
        with m.Elif(region("Write a byte", "Check")):
            m.d.comb += stage.eq(12)
            m.d.comb += rounds.eq(left(variable(Variable.END), index, place >= write_byte + 2))
        with m.Elif(place < check_byte):
            m.d.comb += stage.eq(11)
        with m.Elif(place < page_end):
            m.d.comb += [stage.eq(10), pages.eq(Cat(low, high) + 1)]
            with m.If(place < check_page):
                m.d.comb += rounds.eq(left(accumulator, 0, place >= check_byte + 2))
            with m.Elif(within(check_page + 3, check_page + 6)):
                m.d.comb += pages.eq(Cat((low + 1)[:8], high) + 1)
            with m.Elif(place >= check_page + 6):
                # More than any round of the page that may come.
                m.d.comb += rounds.eq(1023)
                with m.If(~carry):
                    m.d.comb += pages.eq(0)
        with m.Elif(place < at("Header is made")):
            m.d.comb += stage.eq(8)
        with m.Elif(in_body):
            m.d.comb += rounds.eq(left(loop_end, which, in_go_on))
            with m.If(loop == put_delimiter):
                m.d.comb += stage.eq(2)
            with m.Elif(then == at("Header is made")):
                m.d.comb += stage.eq(7)
            with m.Elif(then == at("Put the CRC")):
                m.d.comb += stage.eq(5)
            with m.Else():
                m.d.comb += stage.eq(3)
        with m.Elif(region("Put the CRC", "Put a CRC byte")):
            m.d.comb += stage.eq(4)
        with m.Elif(region("CRC is made", f"Reply to {Opcode.READ.name}")):
            m.d.comb += stage.eq(3)
        with m.Elif(place < put_delimiter):
            m.d.comb += stage.eq(6)
        with m.Else():
            m.d.comb += stage.eq(1)
        # From stage 3's loop to what follows it the rounds fall to nothing.
        rank = Cat(order, rounds, pages, stage)
        last_rank, was_waiting = Signal(len(rank)), Signal(init=1)
        m.d.sync += [last_rank.eq(rank), was_waiting.eq(place == 0)]
        m.d.comb += [
            Assert(was_waiting | (place == 0) | (rank < last_rank)),
            Assert(place < end),
        ]

        # What makes it inductive: where loops go, and the table of the opcodes.
        for opcode in Opcode:
            handler = Variable.HANDLERS + opcode
            m.d.comb += Assert(variable(handler) == variables[handler])
        dispatch = at(Opcode.RESULT.name) - 1
        known = (index >= Variable.HANDLERS) & (index < Variable.HANDLERS + len(Opcode))
        m.d.comb += Assert((place != dispatch) | known)
        bodies = (loop == put_variable) | (loop == put_port) | (loop == put_memory)
        m.d.comb += [
            Assert(~in_body | (stage != 7) | (loop == put_variable)),
            Assert(~in_body | (stage != 5) | bodies),
            Assert(
                ~in_body
                | (stage > 3)
                | ((then == at("CRC is made")) & ((loop == put_crc) | (stage == 2)))
            ),
            Assert(~in_body | (stage != 2) | in_block | in_go_on),
            # The last block's end is not taken for the last byte of the CRC.
            Assert(~in_body | (stage != 2) | ~in_block | (which == loop_end)),
            Assert(~in_body | (stage != 2) | ~in_go_on | (index == (loop_end + 1)[:8])),
            Assert(
                ~region("CRC is made", f"Reply to {Opcode.READ.name}") | (index == loop_end)
            ),
        ]

