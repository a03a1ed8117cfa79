"""The program of the link's processor: it takes requests and makes replies.

The program first judges a request: it finds everything that may be wrong with it before it changes
anything. (CHECK is an exception: if it fails, there is no valid image.) Then the program carries
the request out, and then it makes the reply, of which each byte goes through the CRC into the reply
buffer.

The reply is COBS-encoded at the same time. The position of a block's code is kept free (the
variable ``CODE``). When a zero ends the block, the distance is stored there, and the zero's
position becomes that of the next block's code.
"""

from __future__ import annotations

from enum import IntEnum

from ..interface.protocol import (
    CRC_BYTES,
    CRC_RESIDUE,
    MAX_READ,
    REPLY_FLAG,
    REPLY_HEADER_BYTES,
    REQUEST_HEADER_BYTES,
    Info,
    Opcode,
    Result,
    State,
    Status,
)
from ..interface.timing import MIN_BIT_CYCLES
from .instructions import Assembler, Condition, Port, RareStrobe, Source, Strobe
from .uart import DIVISOR_BITS

__all__ = ["VARIABLE_BYTES", "command_program"]

# Places in a request.
_SEQUENCE, _OPCODE, _ADDRESS, _PAYLOAD = 0, 1, 2, REQUEST_HEADER_BYTES
#: Place of the payload in an encoded reply, which begins with a code.
_REPLY_PAYLOAD = 1 + REPLY_HEADER_BYTES

#: Bytes of the variables, and of the reply buffer.
VARIABLE_BYTES = 256

CONSTANT, VARIABLE, REQUEST, PORT = Source


class Variable(IntEnum):
    """The variables; header and INFO's payload have the same positions as in the reply."""

    SEQUENCE = 1
    OPCODE = 2
    STATUS = 3
    INFO = _REPLY_PAYLOAD
    STATE = INFO + Info.STATIC_BYTES
    IMAGE_BYTES = STATE + 1
    #: Place of the request's end, without its CRC.
    END = IMAGE_BYTES + 3
    #: Number of bytes in the request's payload, or to be read.
    COUNT = END + 1
    #: End of the memory that a request addresses; number of bytes to check.
    LIMIT = COUNT + 1
    #: Label for each byte, end of the loop in the reply, and label after the loop.
    LOOP = LIMIT + 3
    LOOP_END = LOOP + 1
    THEN = LOOP_END + 1
    #: The current COBS block's code.
    CODE = THEN + 1
    PLACE = CODE + 1
    #: For each opcode, the length of its payload and the label of its handler.
    LENGTHS = PLACE + 1
    HANDLERS = LENGTHS + len(Opcode)


#: Bytes of each opcode's payload; WRITE's may have any number but zero.
_PAYLOAD_BYTES = {Opcode.READ: 1, Opcode.RUN: 2, Opcode.RESULT: 1}


def command_program(info: Info, memory_bytes: int) -> tuple[list[int], list[int]]:
    """Return the program's words, and the initial contents of the page of variables.

    The function is as long as the program, which is read from top to bottom as it runs.
    """
    p = Assembler()

    def refuse_if(condition: Condition, status: Status) -> None:
        p.jump_if(condition, status.name)

    def refuse_unless(condition: Condition, status: Status) -> None:
        p.jump_unless(condition, status.name)

    def wait_for_a_request() -> None:
        p.label("Wait for a request")
        p.wait_until(Condition.REQUEST)
        p.load(PORT, Port.LENGTH)
        p.add(CONSTANT, -CRC_BYTES)
        p.store(Variable.END)
        p.add(CONSTANT, -_PAYLOAD)
        p.store(Variable.COUNT, RareStrobe.TAKE_REQUEST)

    def choose(labels: dict[Opcode, str]) -> None:
        """Jump to the opcode's label, or continue."""
        p.load(REQUEST, _OPCODE)
        passed = 0
        for opcode, label in sorted(labels.items()):
            if opcode != passed:
                p.add(CONSTANT, passed - opcode)
            passed = opcode
            p.jump_if(Condition.ZERO, label)

    def judge() -> None:
        p.load(REQUEST, _OPCODE)
        p.add(CONSTANT, -len(Opcode))
        refuse_if(Condition.CARRY, Status.BAD_OPCODE)
        p.add(CONSTANT, len(Opcode) - Opcode.WRITE)
        p.jump_if(Condition.ZERO, Opcode.WRITE.name)
        p.add(CONSTANT, Opcode.WRITE + Variable.LENGTHS)
        p.do(Strobe.LOAD_INDEX)
        p.load(VARIABLE, indexed=True)
        p.subtract(Variable.COUNT)
        refuse_unless(Condition.ZERO, Status.BAD_LENGTH)
        p.load(PORT, Port.INDEX)
        p.add(CONSTANT, Variable.HANDLERS - Variable.LENGTHS)
        p.do(Strobe.LOAD_INDEX)
        p.jump_to_indexed_variable()

    def judge_baud() -> None:
        p.label(Opcode.BAUD.name)
        p.load(REQUEST, _ADDRESS + 2)
        refuse_unless(Condition.ZERO, Status.BAD_ADDRESS)
        p.load(REQUEST, _ADDRESS + 1)
        p.add(CONSTANT, -(1 << (DIVISOR_BITS - 8)))
        refuse_if(Condition.CARRY, Status.BAD_ADDRESS)
        p.load(REQUEST, _ADDRESS)
        p.add(CONSTANT, -MIN_BIT_CYCLES)
        p.load(REQUEST, _ADDRESS + 1)
        p.add(CONSTANT, -1, carry=True)
        refuse_unless(Condition.CARRY, Status.BAD_ADDRESS)
        p.jump(Status.OK.name)

    def judge_run() -> None:
        p.label(Opcode.RUN.name)
        p.load(PORT, Port.STATE)
        p.add(CONSTANT, -State.VALID)
        p.jump_unless(Condition.ZERO, "Refuse to run")
        p.load(REQUEST, _PAYLOAD + 1)
        p.do(Strobe.LOAD_INDEX)
        p.load(REQUEST, _PAYLOAD)
        p.do_rarely(RareStrobe.RUN)
        p.jump(Status.OK.name)

    def judge_addresses() -> None:
        """Judge WRITE, READ, RESULT and CHECK: the addressed range must end in the memory."""
        p.label(Opcode.RESULT.name)
        p.label(Opcode.READ.name)
        p.load(REQUEST, _PAYLOAD)
        refuse_if(Condition.ZERO, Status.BAD_LENGTH)
        p.store(Variable.COUNT)
        p.add(CONSTANT, -(MAX_READ + 1))
        refuse_if(Condition.CARRY, Status.BAD_LENGTH)
        p.jump("Judge the address")
        p.label(Opcode.WRITE.name)
        p.load(VARIABLE, Variable.COUNT)
        refuse_if(Condition.ZERO, Status.BAD_LENGTH)
        p.label("Judge the address")
        p.label(Opcode.CHECK.name)
        p.load(REQUEST, _ADDRESS)
        p.add(VARIABLE, Variable.COUNT)
        p.store(Variable.LIMIT)
        for place in (1, 2):
            p.load(REQUEST, _ADDRESS + place)
            p.add(CONSTANT, 0, carry=True)
            p.store(Variable.LIMIT + place)
        refuse_if(Condition.CARRY, Status.BAD_ADDRESS)
        for place, byte in enumerate(memory_bytes.to_bytes(3, "little")):
            p.load(CONSTANT, byte)
            p.subtract(Variable.LIMIT + place, carry=place > 0)
        refuse_unless(Condition.CARRY, Status.BAD_ADDRESS)
        for place in reversed(range(3)):
            p.load(REQUEST, _ADDRESS + place)
            p.do(Strobe.LOAD_ADDRESS)
        p.load(REQUEST, _OPCODE)
        p.add(CONSTANT, -Opcode.CHECK)
        p.jump_if(Condition.ZERO, "Check")
        p.jump_if(Condition.CARRY, "Wait for the engine")
        p.add(CONSTANT, Opcode.CHECK - Opcode.READ)
        p.jump_if(Condition.ZERO, Status.OK.name)

    def write() -> None:
        for place in range(3):
            p.load(REQUEST, _ADDRESS + place)
            p.subtract(Variable.IMAGE_BYTES + place, carry=place > 0)
        p.jump_if(Condition.CARRY, "Write")
        p.load(PORT, Port.STATE)
        p.add(CONSTANT, -(State.VALID | State.BUSY))
        refuse_if(Condition.ZERO, Status.BUSY)
        p.load(CONSTANT, 0)
        p.do_rarely(RareStrobe.SET_VALID)
        p.label("Write")
        p.load(CONSTANT, _PAYLOAD)
        p.do(Strobe.LOAD_INDEX)
        p.label("Write a byte")
        p.load(REQUEST, indexed=True)
        p.do(Strobe.WRITE)
        p.load(PORT, Port.INDEX)
        p.subtract(Variable.END)
        p.jump_unless(Condition.ZERO, "Write a byte")
        p.jump(Status.OK.name)

    def check() -> None:
        p.label("Check")
        p.load(PORT, Port.STATE)
        p.add(CONSTANT, -State.BUSY)
        refuse_if(Condition.CARRY, Status.BUSY)
        p.load(CONSTANT, 0)
        p.do(Strobe.LOAD_ADDRESS, RareStrobe.SET_VALID)
        p.do(Strobe.LOAD_ADDRESS)
        p.do(Strobe.LOAD_ADDRESS)
        p.do(Strobe.CLEAR_CRC)
        for place in reversed(range(3)):
            p.load(VARIABLE, Variable.LIMIT + place)
            p.store(Variable.IMAGE_BYTES + place)
        p.jump_if(Condition.ZERO, "Check a page")
        # The accumulator counts the bytes; zero stands for a page of 256.
        p.label("Check a byte")
        p.do(Strobe.READ)
        p.add(CONSTANT, -1)
        p.put(PORT, Port.RESPONSE)
        p.jump_unless(Condition.ZERO, "Check a byte")
        p.label("Check a page")
        p.load(VARIABLE, Variable.LIMIT + 1)
        p.add(CONSTANT, -1)
        p.store(Variable.LIMIT + 1)
        p.load(VARIABLE, Variable.LIMIT + 2)
        p.add(CONSTANT, -1, carry=True)
        p.store(Variable.LIMIT + 2)
        p.load(CONSTANT, 0)
        p.jump_if(Condition.CARRY, "Check a byte")
        for place, byte in enumerate((CRC_RESIDUE ^ 0xFFFFFFFF).to_bytes(CRC_BYTES, "little")):
            if place:
                p.do_rarely(RareStrobe.FLUSH_CRC)
            p.load(PORT, Port.CRC)
            p.add(CONSTANT, -byte)
            refuse_unless(Condition.ZERO, Status.CRC_MISMATCH)
        p.load(CONSTANT, 1)
        p.do_rarely(RareStrobe.SET_VALID)

    def conclude() -> None:
        p.label("Wait for the engine")
        p.wait_while(Condition.ENGINE)
        p.label(Status.OK.name)
        p.label(Opcode.INFO.name)
        p.load(CONSTANT, Status.OK)
        p.jump("Reply")
        for status in Status:
            if status == Status.NO_MODEL:
                p.label("Refuse to run")
                p.add(CONSTANT, -State.BUSY)
                refuse_if(Condition.ZERO, Status.BUSY)
            if status != Status.OK:
                p.label(status.name)
                p.load(CONSTANT, status)
                if status != max(Status):
                    p.jump("Reply")

    def reply() -> None:
        p.label("Reply")
        p.store(Variable.STATUS)
        p.load(PORT, Port.STATE)
        p.store(Variable.STATE)
        p.load(REQUEST, _SEQUENCE)
        p.store(Variable.SEQUENCE)
        p.load(REQUEST, _OPCODE)
        p.add(CONSTANT, REPLY_FLAG)
        p.jump_unless(Condition.CARRY, "Flag is set")
        p.load(REQUEST, _OPCODE)
        p.label("Flag is set")
        p.store(Variable.OPCODE)
        p.wait_while(Condition.SENDING)
        p.do(Strobe.CLEAR_CRC)
        p.load(CONSTANT, Variable.SEQUENCE)
        p.do(Strobe.LOAD_INDEX)
        then("Header is made")
        repeat("Put a variable", _REPLY_PAYLOAD)
        p.jump("Put a variable")

        p.label("Header is made")
        then("Put the CRC")
        p.load(VARIABLE, Variable.STATUS)
        p.jump_unless(Condition.ZERO, "Put the CRC")
        choose({opcode: f"Reply to {opcode.name}" for opcode in (Opcode.INFO, Opcode.READ)})
        p.add(CONSTANT, Opcode.READ - Opcode.RESULT)
        p.jump_unless(Condition.ZERO, "Put the CRC")

        then("Put bytes of memory")
        repeat("Put a port", _REPLY_PAYLOAD + Result.BYTES)
        p.label("Put a port")
        p.load_and_put(PORT, indexed=True)
        p.jump("Append")

        p.label(f"Reply to {Opcode.INFO.name}")
        repeat("Put a variable", _REPLY_PAYLOAD + Info.BYTES)
        p.label("Put a variable")
        p.load_and_put(VARIABLE, indexed=True)
        p.jump("Append")

        # After the CRC, its register gives a zero, which ends the last block.
        p.label("Put the CRC")
        p.load(PORT, Port.INDEX)
        p.add(CONSTANT, CRC_BYTES + 1)
        p.store(Variable.LOOP_END)
        then("Put the delimiter")
        p.load_label("Put a CRC byte")
        p.store(Variable.LOOP)
        p.label("Put a CRC byte")
        p.load(PORT, Port.CRC)
        p.do_rarely(RareStrobe.FLUSH_CRC)
        p.jump("Append")

        p.label("Put bytes of memory")
        then("Put the CRC")
        p.label(f"Reply to {Opcode.READ.name}")
        p.load(PORT, Port.INDEX)
        p.add(REQUEST, _PAYLOAD)
        p.store(Variable.LOOP_END)
        p.load_label("Put a byte of memory")
        p.store(Variable.LOOP)
        p.label("Put a byte of memory")
        p.do(Strobe.READ)
        p.load_and_put(PORT, Port.RESPONSE)
        append()

    def then(label: str) -> None:
        p.load_label(label)
        p.store(Variable.THEN)

    def repeat(label: str, end: int) -> None:
        p.load_label(label)
        p.store(Variable.LOOP)
        p.load(CONSTANT, end)
        p.store(Variable.LOOP_END)

    def append() -> None:
        """Append the byte that was just loaded, and continue the loop."""
        p.label("Append")
        p.jump_if(Condition.ZERO, "End a block")
        p.do(Strobe.APPEND)
        p.label("Go on")
        p.load(PORT, Port.INDEX)
        go_on()

        p.label("End a block")
        p.load(PORT, Port.INDEX)
        p.store(Variable.PLACE)
        p.load(VARIABLE, Variable.CODE)
        p.do(Strobe.LOAD_INDEX)
        p.load(VARIABLE, Variable.PLACE)
        p.subtract(Variable.CODE)
        p.do(Strobe.APPEND)
        p.load(VARIABLE, Variable.PLACE)
        p.store(Variable.CODE)
        p.add(CONSTANT, 1)
        p.do(Strobe.LOAD_INDEX)
        p.label("Block is ended")
        go_on()

    def go_on() -> None:
        """Continue the loop or leave it; the accumulator holds the index."""
        p.subtract(Variable.LOOP_END)
        p.jump_to_variable_unless_zero(Variable.LOOP)
        p.jump_to_variable(Variable.THEN)

    def send() -> None:
        p.label("Put the delimiter")
        p.load(VARIABLE, Variable.PLACE)
        p.do(Strobe.LOAD_INDEX)
        p.load(CONSTANT, 0)
        p.store(Variable.CODE)
        p.do(Strobe.APPEND, RareStrobe.SEND_REPLY)
        p.load(REQUEST, _OPCODE)
        p.add(CONSTANT, -Opcode.BAUD)
        p.jump_unless(Condition.ZERO, "Wait for a request")
        p.load(VARIABLE, Variable.STATUS)
        p.jump_unless(Condition.ZERO, "Wait for a request")
        p.wait_until(Condition.SENT)
        p.load(REQUEST, _ADDRESS + 1)
        p.do(Strobe.LOAD_INDEX)
        p.load(REQUEST, _ADDRESS)
        p.do_rarely(RareStrobe.SET_DIVISOR)
        p.jump("Wait for a request")

    wait_for_a_request()
    judge()
    judge_baud()
    judge_run()
    judge_addresses()
    write()
    check()
    conclude()
    reply()
    send()
    variables = [0] * VARIABLE_BYTES
    for opcode in Opcode:
        variables[Variable.LENGTHS + opcode] = _PAYLOAD_BYTES.get(opcode, 0)
        variables[Variable.HANDLERS + opcode] = p.place_of(opcode.name)
    variables[Variable.INFO : Variable.STATE] = info.pack()[: Info.STATIC_BYTES]
    return p.assemble(), variables
