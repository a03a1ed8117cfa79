"""The command handler: what its processor does, and that its program comes back."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from unittest import mock

from amaranth.asserts import AnySeq
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.protocol import Info, Opcode, Status
from gateware.link import program
from gateware.link.instructions import (
    INDIRECT,
    INVERTED,
    JUMP,
    Assembler,
    Condition,
    Port,
    RareStrobe,
    Source,
    Strobe,
)
from gateware.link.processor import Processor
from gateware.link.program import Variable, command_program
from tests.formal.prover import Property, look_into, open_up

MEMORY_BYTES = 1 << 17
INFO = Info.of(
    EngineConfiguration(memory_bytes=MEMORY_BYTES),
    clock_hz=36_000_000,
    source_hash=0xDEADBEEF,
    board="icebreaker",
)


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


def operand_of(word: Value, variable: Value, request: Value, port: Value) -> Value:
    """What is added or loaded; a subtraction adds the variable's inverse."""
    is_add = ~word[13]
    sources = {
        Source.CONSTANT: word[:8],
        Source.VARIABLE: Mux(is_add & word[8], ~variable, variable)[:8],
        Source.REQUEST: request,
        Source.PORT: port,
    }
    return Array(sources[source] for source in Source)[word[11:13]]


def carry_out(word: Value, state: State, met: Value, variable: Value, operand: Value) -> State:
    """One instruction, as :mod:`gateware.link.instructions` describes it; not one that waits."""
    is_jump, is_strobe, is_load = word[15], ~word[15] & word[14], ~word[15] & ~word[14] & word[13]
    is_add = ~word[15] & ~word[14] & ~word[13]
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
        word = look_into(fragment, "program", inner["program_counter"])
        state = State(inner["program_counter"], dut.accumulator, dut.index, inner["carry"])
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
        operand = operand_of(word, dut.variable, dut.request, dut.port)
        after = carry_out(word, state, met_then, dut.variable, operand)
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
            Assert(dut.fetching | (dut.address == address_of(word, dut.index))),
            Assert(dut.fetching | (dut.indexed == word[10])),
            Assert(~deciding | (dut.port_wanted == reads_port)),
            Assert(dut.put == (executing & puts)),
            Assert(~dut.put | (dut.operand == operand)),
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
    """The program comes back to where it waits for a request, and sends one reply on its way.

    An instruction a cycle, as :func:`carry_out` has it. What it reads from outside may be anything,
    and waits end. Each step lessens a rank: stage of the work, pages and bytes that are left in its
    loop, place in the program. Only where a request is awaited may it rise. So nothing that a
    request or the board holds keeps the program busy for ever.
    """

    def __init__(self, source: ModuleType = program) -> None:
        self.program = source

    def build(self, m: Module) -> None:
        made: list[Assembler] = []

        class Kept(Assembler):
            def __init__(self) -> None:
                super().__init__()
                made.append(self)

        with mock.patch.object(self.program, "Assembler", Kept):
            words, variables = self.program.command_program(INFO, MEMORY_BYTES)
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
        operand = operand_of(word, variable(address), AnySeq(8), port)
        after = carry_out(word, state, met, variable(address), operand)
        is_strobe = word[14:] == 1
        is_store = is_strobe & (word[8:11] == Strobe.STORE)
        m.d.comb += [write.en.eq(is_store), write.addr.eq(word[:8]), write.data.eq(accumulator)]
        m.d.sync += [
            place.eq(after.place),
            accumulator.eq(after.accumulator),
            index.eq(after.index),
            carry.eq(after.carry),
        ]

        # Stretches of the program, from its end to its beginning. In the loop that makes the reply,
        # what comes behind it says how far the reply is.
        def within(first: int, end: int) -> Value:
            return (place >= first) & (place < end)

        def stretch(first: str, end: str) -> Value:
            return within(at(first), at(end))

        loop, loop_end, then = (
            variable(name) for name in (Variable.LOOP, Variable.LOOP_END, Variable.THEN)
        )
        put_byte = {
            what: at(f"Put a {what}") for what in ("variable", "port", "CRC byte", "byte of memory")
        }
        go_on, end_block, delimiter = at("Go on"), at("End a block"), at("Put the delimiter")
        block_ended = at("Block is ended")
        in_go_on = within(go_on, end_block) | within(block_ended, delimiter)
        in_loop = (
            stretch("Put a port", f"Reply to {Opcode.INFO.name}")
            | stretch("Put a variable", "Put the CRC")
            | stretch("Put a CRC byte", "Put bytes of memory")
            | within(put_byte["byte of memory"], delimiter)
        )
        write_byte, check_byte, check_page = (
            at("Write a byte"),
            at("Check a byte"),
            at("Check a page"),
        )
        page_end = check_page + 8

        def left(end: Value, now: Value, done: Value) -> Value:
            """Twice the rounds that are left, less one where this round's byte is done."""
            before = Cat(0, ((end - now - 1)[:8] + 1)[:9])
            return Mux(done, Cat(1, (end - now)[:8]), before)

        stage, pages, rounds = Signal(4), Signal(17), Signal(10)
        with m.If(place >= delimiter):
            m.d.comb += stage.eq(1)
        with m.Elif(in_loop):
            # Where a block ends the index goes elsewhere for a while.
            which = Signal(8)
            m.d.comb += [which.eq(index), rounds.eq(left(loop_end, which, in_go_on))]
            with m.If(within(end_block + 2, block_ended)):
                m.d.comb += which.eq(variable(Variable.PLACE))
            with m.Switch(then):
                for number, label in (
                    (2, "Put the delimiter"),
                    (4, "Put the CRC"),
                    (6, "Put bytes of memory"),
                    (8, "Header is made"),
                ):
                    with m.Case(at(label)):
                        m.d.comb += stage.eq(number)
        with m.Elif(stretch("Put the CRC", "Put a CRC byte")):
            m.d.comb += stage.eq(3)
        with m.Elif(stretch("Put bytes of memory", "Put a byte of memory")):
            m.d.comb += stage.eq(5)
        with m.Elif(place >= at("Header is made")):
            m.d.comb += stage.eq(7)
        with m.Elif(place >= page_end):
            # The one jump backwards that is no loop.
            m.d.comb += stage.eq(9)
            m.d.comb += rounds.eq(stretch("Refuse to run", Status.NO_MODEL.name))
        with m.Elif(place >= check_byte):
            low, high = variable(Variable.LIMIT + 1), variable(Variable.LIMIT + 2)
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
        with m.Elif(place >= at("Check")):
            m.d.comb += stage.eq(11)
        with m.Elif(place >= write_byte):
            m.d.comb += stage.eq(12)
            m.d.comb += rounds.eq(left(variable(Variable.END), index, place >= write_byte + 2))
        with m.Else():
            m.d.comb += stage.eq(13)
        rank = Cat(~place, rounds, pages, stage)
        last_rank, was_waiting = Signal(len(rank)), Signal(init=1)
        m.d.sync += [last_rank.eq(rank), was_waiting.eq(place == 0)]
        m.d.comb += [
            Assert(was_waiting | (place == 0) | (rank < last_rank)),
            Assert(place < len(words)),
        ]
        # One reply, and no more, on the way.
        sends = is_strobe & (word[11:14] == RareStrobe.SEND_REPLY)
        replied = Signal()
        with m.If(place == 0):
            m.d.sync += replied.eq(0)
        with m.Elif(sends):
            m.d.sync += replied.eq(1)
        m.d.comb += [
            Assert(was_waiting | (place != 0) | replied),
            Assert(~sends | ~replied),
            Assert((place == 0) | (place >= delimiter) | ~replied),
        ]

        # What makes it inductive: the table of the handlers, and which loops there are.
        for opcode in Opcode:
            handler = Variable.HANDLERS + opcode
            m.d.comb += Assert(variable(handler) == variables[handler])
        dispatch = words.index(JUMP | INVERTED | INDIRECT | Condition.NEVER_INDEXED << 10)
        in_table = (index >= Variable.HANDLERS) & (index < Variable.HANDLERS + len(Opcode))
        m.d.comb += Assert((place != dispatch) | in_table)
        loops = [
            (["variable"], "Header is made"),
            (["port"], "Put bytes of memory"),
            (["variable", "byte of memory"], "Put the CRC"),
            (["CRC byte"], "Put the delimiter"),
        ]
        known = Const(0)
        for bytes_, label in loops:
            for what in bytes_:
                known |= (loop == put_byte[what]) & (then == at(label))
        m.d.comb += Assert(~in_loop | known)
