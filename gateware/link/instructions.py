"""Instructions of the link's processor, and their assembler.

A word has 16 bits: an operand in bits 0 to 7, and above it one of

- ``JUMP``: bit 14 wait, 13 inverted, 10 to 12 :class:`Condition`, 9 indirect;
- ``STROBES``: bits 8 to 10 :class:`Strobe`, 11 to 13 :class:`RareStrobe`;
- arithmetic: bit 13 load, 11 to 12 :class:`Source`, 10 indexed, 8 and 9 by ``load``: put and keep,
  or subtract and carry.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["JUMP", "STROBES", "Assembler", "Condition", "Port", "RareStrobe", "Source", "Strobe"]

JUMP = 1 << 15
WAIT = 1 << 14
INVERTED = 1 << 13
INDIRECT = 1 << 9
STROBES = 1 << 14
LOAD = 1 << 13
INDEXED = 1 << 10
KEEP = WITH_CARRY = 1 << 9
PUT = SUBTRACT = 1 << 8

PROGRAM_WORDS = 256


class Condition(IntEnum):
    """What a jump or a wait depends on.

    The lowest bit coincides with the bit that makes operands indexed, so a jump to the address in a
    variable needs an even code.
    """

    NEVER = 0
    #: The last addition's carry; after a subtraction, it means that there was no borrow.
    CARRY = 1
    #: The accumulator is zero.
    ZERO = 2
    #: A request is available.
    REQUEST = 3
    #: The engine runs.
    ENGINE = 4
    #: The last reply is being sent.
    SENDING = 5
    #: Every reply has left the line.
    SENT = 6
    #: As ``NEVER``, with the target in an indexed variable.
    NEVER_INDEXED = 7


class Source(IntEnum):
    """Where an operand comes from."""

    CONSTANT = 0
    #: Variables and the table for INFO.
    VARIABLE = 1
    #: The request that was taken last.
    REQUEST = 2
    #: A :class:`Port`. The instruction waits for bus and CRC.
    PORT = 3


class Port(IntEnum):
    """What can be read besides the memories.

    Codes 4 to 15 are the positions of a RESULT's bytes in its reply. The last eight of them are the
    same port, the lowest byte of the engine's counters; putting it through the CRC moves the next
    byte there.
    """

    STATE = 0
    #: The byte that was last read over the bus.
    RESPONSE = 16
    #: Length of the available request, including its CRC.
    LENGTH = 17
    #: Lowest byte of the CRC.
    CRC = 18
    INDEX = 19


class Strobe(IntEnum):
    """What an instruction does with the accumulator."""

    NONE = 0
    STORE = 1
    LOAD_INDEX = 2
    #: Shift into the bus address, highest byte first.
    LOAD_ADDRESS = 3
    #: Store in the reply at the index, and increment the index.
    APPEND = 4
    #: Write to the memory; increment index and bus address.
    WRITE = 5
    #: Read from the memory; increment the bus address.
    READ = 6
    CLEAR_CRC = 7


class RareStrobe(IntEnum):
    """Rarer strobes, in a second field, so that one instruction can issue one of each."""

    NONE = 0
    #: Shift the CRC by a byte.
    FLUSH_CRC = 1
    TAKE_REQUEST = 2
    SEND_REPLY = 3
    #: Mark the image as valid or invalid.
    SET_VALID = 4
    #: Start the engine: layers from the accumulator, stall cause from the index.
    RUN = 5
    #: Set the baud divisor: high bits from the index, low ones from the accumulator.
    SET_DIVISOR = 6


class Assembler:
    """Assemble a program; each method emits one instruction.

    A constant is taken modulo 256. ``indexed`` operands use the index instead of ``operand``.
    """

    def __init__(self) -> None:
        self._words: list[int] = []
        self._labels: dict[str, int] = {}
        self._targets: list[tuple[int, str]] = []

    def _emit(self, word: int, operand: int = 0) -> None:
        self._words.append(word | operand & 0xFF)

    def _emit_target(self, word: int, target: str) -> None:
        self._targets.append((len(self._words), target))
        self._emit(word)

    def label(self, name: str) -> None:
        if name in self._labels:
            raise ValueError(f"Label {name!r} is there already")
        self._labels[name] = len(self._words)

    # Arithmetic

    def load(self, source: Source, operand: int = 0, *, indexed: bool = False) -> None:
        self._emit(LOAD | source << 11 | (INDEXED if indexed else 0), operand)

    def load_and_put(self, source: Source, operand: int = 0, *, indexed: bool = False) -> None:
        """Load, and put the operand through the CRC, when that is ready."""
        self._emit(LOAD | PUT | source << 11 | (INDEXED if indexed else 0), operand)

    def put(self, source: Source, operand: int) -> None:
        """Put the operand through the CRC, without loading it."""
        self._emit(LOAD | PUT | KEEP | source << 11, operand)

    def load_label(self, target: str) -> None:
        self._emit_target(LOAD | Source.CONSTANT << 11, target)

    def add(self, source: Source, operand: int, *, carry: bool = False) -> None:
        self._emit(source << 11 | (WITH_CARRY if carry else 0), operand)

    def subtract(self, variable: int, *, carry: bool = False) -> None:
        """Subtract a variable and, if ``carry`` is set, the borrow."""
        word = SUBTRACT | Source.VARIABLE << 11
        self._emit(word | (WITH_CARRY if carry else 0), variable)

    # Jumps

    def jump(self, target: str) -> None:
        self._emit_target(JUMP | INVERTED, target)

    def jump_if(self, condition: Condition, target: str) -> None:
        self._emit_target(JUMP | condition << 10, target)

    def jump_unless(self, condition: Condition, target: str) -> None:
        self._emit_target(JUMP | INVERTED | condition << 10, target)

    def jump_to_variable(self, variable: int) -> None:
        self._emit(JUMP | INVERTED | INDIRECT, variable)

    def jump_to_indexed_variable(self) -> None:
        self._emit(JUMP | INVERTED | INDIRECT | Condition.NEVER_INDEXED << 10)

    def jump_to_variable_unless_zero(self, variable: int) -> None:
        self._emit(JUMP | INVERTED | INDIRECT | Condition.ZERO << 10, variable)

    def wait_while(self, condition: Condition) -> None:
        self._emit(JUMP | WAIT | condition << 10)

    def wait_until(self, condition: Condition) -> None:
        self._emit(JUMP | WAIT | INVERTED | condition << 10)

    # Strobes

    def do(self, strobe: Strobe, rare: RareStrobe = RareStrobe.NONE, variable: int = 0) -> None:
        self._emit(STROBES | strobe << 8 | rare << 11, variable)

    def store(self, variable: int, rare: RareStrobe = RareStrobe.NONE) -> None:
        self.do(Strobe.STORE, rare, variable)

    def do_rarely(self, rare: RareStrobe) -> None:
        self.do(Strobe.NONE, rare)

    def place_of(self, label: str) -> int:
        return self._labels[label]

    def assemble(self) -> list[int]:
        """Return the program's words.

        Raises
        ------
        ValueError
            If the program is too long.
        KeyError
            If a label is not defined.
        """
        if len(self._words) > PROGRAM_WORDS:
            raise ValueError(
                f"The program must have at most {PROGRAM_WORDS} words, which is a block RAM, not "
                f"{len(self._words)}"
            )
        words = list(self._words)
        for place, target in self._targets:
            words[place] |= self._labels[target]
        return words
