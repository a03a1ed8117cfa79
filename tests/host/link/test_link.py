"""Frames and the link, against a board in plain Python."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gateware.interface.protocol import EngineError, Opcode, Result, State, Status
from host.errors import LinkError
from host.link.framing import Reply, ReplyDecoder, Request, decode_cobs, encode_cobs
from host.link.link import Link
from host.link.rates import bit_cycles
from tests.host.fake_board import FakeBoard, FakePort, Faults


@pytest.mark.parametrize("length", [0, 1, 2, 5, 253, 254, 255, 256, 600])
def test_cobs_is_invertible_and_has_no_zeros(length):
    generator = random.Random(length)
    for alphabet in (256, 2, 1):
        data = bytes(generator.randrange(alphabet) for _ in range(length))
        encoded = encode_cobs(data)
        assert 0 not in encoded
        assert decode_cobs(encoded) == data


@pytest.mark.parametrize("garbage", [b"", b"\5ab", b"\2\0", b"\0"])
def test_cobs_refuses_what_is_none(garbage):
    with pytest.raises(ValueError):
        decode_cobs(garbage)


def test_decoder_survives_anything_and_stays_small():
    generator = random.Random(3)
    decoder = ReplyDecoder()
    reply = FakeBoard().receive
    frame = Request(Opcode.INFO).encode(7)
    answer = None
    for byte in frame:
        answer = reply(byte, 0.0) or answer
    assert answer is not None
    seen = 0
    for _ in range(300):
        garbage = bytes(generator.randrange(256) for _ in range(generator.randrange(600)))
        assert not list(decoder.feed(garbage))
        assert len(decoder._partial) <= 256
        seen += len(list(decoder.feed(b"\0" + answer[0])))
    assert seen == 300
    assert decoder.damaged > 0


def test_decoder_does_not_take_a_request_for_a_reply():
    with pytest.raises(ValueError, match="Not a reply"):
        Reply.decode(Request(Opcode.INFO).encode(1)[:-1])


def test_bit_cycles_keeps_to_the_tolerance():
    assert bit_cycles(36_000_000, 3_000_000) == 12
    assert bit_cycles(12_000_000, 3_000_000) == 4
    assert bit_cycles(12_000_000, 6_000_000) is None
    assert bit_cycles(10_000_000, 921_600) == 11
    assert bit_cycles(10_000_000, 2_000_000) == 5
    assert bit_cycles(10_000_000, 1_500_000) is None


def test_connect_negotiates_the_fastest_rate():
    port = FakePort(FakeBoard())
    info = Link(port).connect()
    assert info.board == "icebreaker"
    assert port.baudrate == 3_000_000


def test_connect_falls_back_where_the_cable_is_slow():
    port = FakePort(FakeBoard(), fastest=1_000_000)
    link = Link(port)
    link.connect()
    assert port.baudrate == 1_000_000
    assert link.read_info().board == "icebreaker"


def test_connect_calls_back_a_board_left_at_a_higher_rate():
    board = FakeBoard()
    board.bit_cycles = 12
    port = FakePort(board)
    Link(port).connect(baud=115_200)
    assert port.baudrate == 115_200


def test_connect_refuses_a_rate_that_does_not_work():
    with pytest.raises(LinkError, match="7000000 baud does not work"):
        Link(FakePort(FakeBoard())).connect(baud=7_000_000)


def test_connect_says_that_nothing_answers():
    port = FakePort(None)
    with pytest.raises(LinkError, match="no answer"):
        Link(port).connect()
    assert port.now() < 5


def test_connect_says_that_it_is_no_board():
    class Echo(FakePort):
        def write(self, data):
            self._incoming.extend((self._time + 0.001, byte) for byte in data)
            return len(data)

    with pytest.raises(LinkError, match="no Eyespot board"):
        Link(Echo(None)).connect()


def test_connect_refuses_another_protocol():
    board = FakeBoard()
    board.info = replace(board.info, protocol=9)
    with pytest.raises(LinkError, match="protocol 9"):
        Link(FakePort(board)).connect()


def write(address: int, payload: bytes) -> list[Request]:
    return [Request(Opcode.WRITE, address, payload)]


@pytest.mark.parametrize("rate", [0.0, 1e-3, 4e-3])
def test_writes_arrive_whatever_the_line_does(rate):
    board = FakeBoard()
    port = FakePort(board, Faults(rate, rate, seed=6))
    link = Link(port)
    link.connect(baud=115_200 if rate else None)
    data = random.Random(1).randbytes(20_000)
    replies = link.exchange(write(i, data[i : i + 200]) for i in range(0, len(data), 200))
    assert all(reply.status == Status.OK for (reply,) in replies)
    assert board.memory[: len(data)] == data
    assert bool(link.repeats) == bool(rate)


def test_windowed_writes_use_the_line_despite_latency():
    port = FakePort(FakeBoard(), latency=0.016)
    link = Link(port)
    link.connect()
    start = port.now()
    data = bytes(1 + i % 255 for i in range(48_000))
    for _ in link.exchange(write(i, data[i : i + 240]) for i in range(0, len(data), 240)):
        pass
    line = len(data) * 10 / port.baudrate
    assert port.now() - start < 8 * line


def inverting_engine(memory: bytearray, layers: int) -> tuple[EngineError, int, int]:
    """Overwrites its own input, as a compiler that reuses memory makes it do."""
    memory[2000:2064] = bytes(255 - b for b in memory[1000:1064])
    memory[1000:1064] = bytes(64)
    return EngineError.NONE, memory[2000], 5000


@pytest.mark.parametrize("rate", [0.0, 1e-3, 5e-3])
@pytest.mark.parametrize("seed", range(6))
def test_inferences_are_right_or_repeated_never_wrong(rate, seed):
    board = FakeBoard(engine=inverting_engine)
    board.info = replace(board.info, state=State.VALID, image_bytes=256)
    port = FakePort(board, Faults(rate, rate, seed))
    link = Link(port)
    link.connect(baud=115_200 if rate else None)
    link.run_cycles = 5000
    generator = random.Random(seed)
    inputs = [generator.randbytes(64) for _ in range(60)]

    def inference(data: bytes) -> list[Request]:
        return [
            Request(Opcode.WRITE, 1000, data[:32]),
            Request(Opcode.WRITE, 1032, data[32:]),
            Request(Opcode.RUN, 0, b"\0\0"),
            Request(Opcode.RESULT, 0, b"\1", Result.BYTES + 1),
            Request(Opcode.READ, 2000, b"\x40", reply_bytes=64),
        ]

    answers = list(link.exchange(map(inference, inputs)))
    assert len(answers) == len(inputs)
    for data, replies in zip(inputs, answers):
        assert replies[-1].payload == bytes(255 - b for b in data)
        assert Result.unpack(replies[-2].payload[: Result.BYTES]).best == 255 - data[0]


def test_a_board_that_dies_is_given_up_in_reasonable_time():
    board = FakeBoard()
    port = FakePort(board)
    link = Link(port)
    link.connect()
    port.dies_after = port.sent + 1000
    start = port.now()
    with pytest.raises(LinkError, match="does not answer any more"):
        list(link.exchange(write(i, bytes(200)) for i in range(0, 20_000, 200)))
    assert port.now() - start < 60
