"""Random and mutated bytes into the compiled link: after a delimiter it answers, always.

200,000 bytes here; EYESPOT_FUZZ_BYTES=N sends N.
"""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path

import pytest

import gateware
from gateware.interface.protocol import Info, Opcode, State, Status
from host.simulation.backends.cxxrtl import CxxrtlBackend
from host.simulation.backends.cxxrtl_build import build_library
from host.simulation.backends.toolchain import find_compiler
from host.simulation.cache import hash_files
from tests.gateware.link.serial_bench import cobs_decode, parse_reply, request
from tests.host import small_board
from tests.host.small_board import CLOCK_HZ, MEMORY_BYTES, SmallBoard

BYTES = int(os.environ.get("EYESPOT_FUZZ_BYTES", "200000"))
BIT_CYCLES = 8
RESET_BAUD = CLOCK_HZ // BIT_CYCLES
BYTE_CYCLES = 10 * BIT_CYCLES
#: CHECK of the whole memory takes longest; two requests may be there.
LONGEST_CYCLES = 2 * 30 * MEMORY_BYTES

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")


class Line:
    def __init__(self) -> None:
        sources = [Path(small_board.__file__), *Path(gateware.__file__).parent.rglob("*.py")]
        library = build_library(lambda: SmallBoard(RESET_BAUD), hash_files(sources))
        self.backend = CxxrtlBackend(library)
        self.backend.set_bit_cycles(BIT_CYCLES)
        self.encoded = bytearray()
        self.replies: list = []

    def run(self, cycles: int) -> None:
        end = self.backend.cycles + cycles
        while self.backend.cycles < end:
            self.encoded += self.backend.run(end - self.backend.cycles)
            if self.encoded.endswith(b"\0"):
                # Whatever it was asked: what it says is whole.
                self.replies.append(parse_reply(bytes(self.encoded[:-1])))
                self.encoded.clear()

    def send(self, data: bytes) -> None:
        self.backend.send(data)
        self.run(len(data) * BYTE_CYCLES)

    def settle(self) -> None:
        """Until the board has been silent for longer than anything takes it."""
        begin = None
        while begin != len(self.replies) or self.encoded:
            begin = len(self.replies)
            self.run(LONGEST_CYCLES)


def some_request(generator: random.Random) -> bytes:
    """Well formed; of any opcode but BAUD, after which this host would not be understood."""
    opcode = generator.choice([*Opcode, generator.randrange(256)])
    if opcode == Opcode.BAUD:
        opcode = Opcode.READ
    address = generator.choice([0, 1, 256, MEMORY_BYTES - 1, MEMORY_BYTES, 0xFFFFFF])
    address = generator.choice([address, generator.randrange(1 << 24), generator.randrange(4096)])
    length = generator.choice([0, 1, 2, 3, 240, generator.randrange(241)])
    return request(generator.randrange(256), opcode, address, generator.randbytes(length))


def mutate(data: bytes, generator: random.Random) -> bytes:
    mutated = bytearray(data)
    for _ in range(generator.randrange(1, 5)):
        place = generator.randrange(len(mutated))
        how = generator.randrange(4)
        if how == 0:
            mutated[place] ^= 1 << generator.randrange(8)
        elif how == 1:
            mutated[place] = generator.choice([0, 1, 254, 255])
        elif how == 2:
            mutated[place:place] = generator.randbytes(generator.choice([1, 1, 2, 300]))
        elif len(mutated) > 4:
            del mutated[place : place + generator.choice([1, 1, 2, 20])]
            mutated = mutated or bytearray(1)
    return bytes(mutated)


def is_request(frame: bytes) -> bool:
    """Whether a frame, its delimiter taken away, might be carried out."""
    body = cobs_decode(frame)
    return body is not None and len(body) >= 9 and zlib.crc32(body) == 0x2144DF1C


def test_each_info_after_a_delimiter_is_answered():
    generator = random.Random(7)
    line = Line()
    sent = asked = at_once = 0
    while sent < BYTES:
        noise = b""
        for _ in range(generator.randrange(1, 6)):
            kind = generator.randrange(4)
            if kind == 0:
                noise += generator.randbytes(generator.choice([1, 10, 300, 2000]))
            elif kind == 1:
                noise += some_request(generator)
            else:
                noise += mutate(some_request(generator), generator)
        line.send(noise + b"\0")
        sent += len(noise) + 1
        if generator.random() < 0.05:
            # A break, or what is too short to be one.
            line.backend.hold_low(generator.randrange(1, 3 * BYTE_CYCLES))
            line.run(5 * BYTE_CYCLES)
            line.send(b"\0")
        # Where nothing may be under way, it has to answer at once.
        if any(map(is_request, noise.split(b"\0"))):
            line.settle()
        else:
            at_once += 1
        line.replies.clear()
        line.encoded.clear()
        sequence = generator.randrange(256)
        line.send(request(sequence, Opcode.INFO))
        line.settle() if generator.random() < 0.02 else line.run(100 * BYTE_CYCLES)
        (answer,) = line.replies
        assert (answer.sequence, answer.opcode) == (sequence, Opcode.INFO)
        assert answer.status == Status.OK
        assert Info.unpack(answer.payload).state in (State(0), State.VALID)
        asked += 1
    line.backend.close()
    print(f"{sent} bytes, {asked} INFO answered, {at_once} of them with nothing between")
    assert asked > BYTES / 3000 and at_once
