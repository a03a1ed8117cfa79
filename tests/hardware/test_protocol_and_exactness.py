"""Protocol and exactness on a board: ``pytest tests/hardware --port /dev/ttyUSB1``.

Without ``--port`` it is the simulated iCEBreaker. What the board holds is overwritten.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator

import numpy as np
import pytest

from gateware.interface.protocol import (
    MAX_PAYLOAD,
    RESET_BAUD,
    EngineError,
    Opcode,
    Result,
    State,
    Status,
)
from host.board import Board
from host.errors import BoardError
from host.evaluation.verify import load_samples, verify
from host.link.framing import Request
from host.link.rates import BAUD_RATES, bit_cycles
from host.simulation.backends.toolchain import find_compiler
from model import zoo

RESULT = Request(Opcode.RESULT, 0, b"\1", reply_bytes=Result.BYTES + 1)


@pytest.fixture(scope="module")
def port(request: pytest.FixtureRequest) -> str:
    name = request.config.getoption("--port")
    if name.startswith("sim") and find_compiler() is None:
        pytest.skip("no C++ compiler: Amaranth's simulator takes hours for this")
    return name


@pytest.fixture
def board(port) -> Iterator[Board]:
    with Board.open(port) as board:
        yield board


def test_it_says_what_it_is(board):
    info = board.info
    assert info.board and info.clock_hz >= 1_000_000
    assert info.memory_bytes == board.configuration.memory_bytes
    assert board.link.read_info().source_hash == info.source_hash


def test_memory_keeps_what_is_written(board):
    """Pieces that differ in one line of the address, and some anywhere."""
    generator = random.Random(1)
    size, piece = board.info.memory_bytes, 16
    places = {0, *(1 << bit for bit in range(4, size.bit_length() - 1)), size - piece}
    places |= {generator.randrange(size // piece) * piece for _ in range(200)}
    held = {place: generator.randbytes(piece) for place in sorted(places)}
    writes = [[Request(Opcode.WRITE, place, data)] for place, data in held.items()]
    for (reply,) in board.link.exchange(writes):
        assert reply.status == Status.OK
    reads = [[Request(Opcode.READ, place, bytes([piece]), piece)] for place in held]
    for (reply,), data in zip(board.link.exchange(reads), held.values(), strict=True):
        assert reply.payload == data


def test_refusals(board):
    size = board.info.memory_bytes
    for request, status in [
        (Request(Opcode.WRITE, size, b"x"), Status.BAD_ADDRESS),
        (Request(Opcode.WRITE, size - 1, b"xy"), Status.BAD_ADDRESS),
        (Request(Opcode.WRITE, 0xFFFFFF, b"x" * MAX_PAYLOAD), Status.BAD_ADDRESS),
        (Request(Opcode.WRITE, 0, b""), Status.BAD_LENGTH),
        (Request(Opcode.READ, size - 1, b"\2"), Status.BAD_ADDRESS),
        (Request(Opcode.READ, 0, b"\0"), Status.BAD_LENGTH),
        (Request(Opcode.READ, 0, b"\1\1"), Status.BAD_LENGTH),
        (Request(Opcode.INFO, 0, b"x"), Status.BAD_LENGTH),
        (Request(Opcode.RUN, 0, b"\0"), Status.BAD_LENGTH),
        (Request(Opcode.CHECK, size + 1), Status.BAD_ADDRESS),
        (Request(Opcode.BAUD, 1), Status.BAD_ADDRESS),
    ]:
        assert board.link.request(request).status == status, request


def test_without_a_valid_image_nothing_runs(board):
    assert board.link.request(Request(Opcode.WRITE, 0, bytes(64))).status == Status.OK
    assert board.link.request(Request(Opcode.CHECK, 256)).status == Status.CRC_MISMATCH
    assert State.VALID not in board.link.read_info().state
    assert board.link.request(Request(Opcode.RUN, 0, b"\0\0")).status == Status.NO_MODEL
    assert board.model is None
    with pytest.raises(BoardError, match="no valid model"):
        board.run(np.zeros((8, 8, 1), np.int8))


def test_damaged_frames_change_nothing(board):
    generator = random.Random(3)
    address = board.info.memory_bytes - 64
    link = board.link
    link.request(Request(Opcode.WRITE, address, bytes(range(64))))
    for _ in range(40):
        frame = bytearray(Request(Opcode.WRITE, address, generator.randbytes(64)).encode(9))
        place = generator.randrange(len(frame) - 1)
        frame[place] ^= 1 << generator.randrange(8)
        link.port.write(bytes(frame) + generator.randbytes(generator.randrange(40)) + b"\0")
        assert link.request(Request(Opcode.INFO, reply_bytes=44)).status == Status.OK
    assert board.memory.read(address, 64) == bytes(range(64))


@pytest.mark.parametrize("baud", BAUD_RATES)
def test_each_rate(port, baud):
    """Those that clock and adapter can do; the rate after reset always."""
    with Board.open(port, RESET_BAUD) as board:
        if bit_cycles(board.info.clock_hz, baud) is None:
            pytest.skip(f"a clock of {board.info.clock_hz} Hz cannot do {baud} baud")
    with Board.open(port, baud) as board:
        assert board.baud == baud
        data = random.Random(baud).randbytes(2000)
        address = board.info.memory_bytes - len(data)
        writes = [
            Request(Opcode.WRITE, address + place, data[place : place + 200])
            for place in range(0, len(data), 200)
        ]
        list(board.link.exchange([each] for each in writes))
        assert board.memory.read(address, len(data)) == data
        assert board.link.repeats == 0


@pytest.mark.parametrize(
    ("model", "data", "count"),
    [("patterns", "patterns", 50), ("digits", "digits", 50), ("mnist", "mnist-5k", 5)],
)
def test_every_answer_is_exact(board, model, data, count):
    graph = zoo.load(model)
    x, y = load_samples(data, graph, count)
    compiled = board.load(graph)
    report = verify(board, graph, compiled, x, y)
    assert report.mismatches == 0
    assert report.cycles == pytest.approx(compiled.cycles, rel=0.02)
    assert board.link.repeats == 0


@pytest.mark.parametrize(
    ("model", "data"), [("patterns", "patterns"), ("digits", "digits"), ("mnist", "mnist-5k")]
)
def test_every_layer_is_exact(board, model, data):
    graph = zoo.load(model)
    x, y = load_samples(data, graph, 1)
    report = verify(board, graph, board.load(graph), x, y, layers=True)
    assert report.mismatches == 0


def test_the_model_outlasts_the_connection(port):
    graph = zoo.load("digits")
    with Board.open(port) as board:
        board.load(graph)
    with Board.open(port) as board:
        assert board.model is not None and board.model.name == "digits"


def test_a_tape_of_nonsense_ends_in_an_error(board):
    """Its CRC is right: so it runs, and the engine stops by itself."""
    body = bytes(64) + random.Random(4).randbytes(252 - 64)
    image = body + zlib.crc32(body).to_bytes(4, "little")
    for place in (0, 128):
        board.link.request(Request(Opcode.WRITE, place, image[place : place + 128]))
    assert board.link.request(Request(Opcode.CHECK, 256)).status == Status.OK
    assert board.link.request(Request(Opcode.RUN, 0, b"\0\0")).status == Status.OK
    result = Result.unpack(board.link.request(RESULT).payload[: Result.BYTES])
    assert result.error == EngineError.BAD_DESCRIPTOR
