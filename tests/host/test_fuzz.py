"""Whatever bytes come back, the host gives an answer or one clear error, soon and in little memory.

A few thousand cases here; EYESPOT_FUZZ=N runs N of each. What was once found is kept as a test of
its own below.
"""

from __future__ import annotations

import json
import os
import random
import zlib
from dataclasses import replace

import numpy as np
import pytest

from gateware.interface.image import HEADER_BYTES, ImageHeader, read_metadata
from gateware.interface.protocol import REPLY_FLAG, Info, Opcode, Result, State, Status
from host import compiler
from host.board import Board
from host.errors import EyespotError, LinkError
from host.link.framing import ReplyDecoder, Request, decode_cobs, encode_cobs
from host.link.link import Link
from host.model_card import ModelCard
from model import zoo
from tests.host.fake_board import FakeBoard, FakePort

CASES = int(os.environ.get("EYESPOT_FUZZ", "300"))


def mutate(data: bytes, generator: random.Random, most: int = 8) -> bytes:
    """Some bytes changed, cut out, put in, repeated."""
    mutated = bytearray(data)
    for _ in range(generator.randrange(1, most)):
        place = generator.randrange(len(mutated) + 1)
        length = generator.choice([1, 1, 2, 4, 30])
        how = generator.randrange(5)
        if how == 0 and place < len(mutated):
            mutated[place] = generator.choice([0, 1, 127, 128, 255, generator.randrange(256)])
        elif how == 1 and place < len(mutated):
            mutated[place] ^= 1 << generator.randrange(8)
        elif how == 2:
            del mutated[place : place + length]
        elif how == 3:
            mutated[place:place] = generator.randbytes(length)
        else:
            mutated[place:place] = mutated[place : place + length]
    return bytes(mutated)


def framed(body: bytes) -> bytes:
    return encode_cobs(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"


@pytest.mark.parametrize("seed", range(4))
def test_decoder(seed):
    """Random and mutated streams, in pieces of any size: good frames get through after a zero."""
    generator = random.Random(seed)
    decoder = ReplyDecoder()
    good = framed(bytes([7, Opcode.INFO | REPLY_FLAG, Status.OK]) + bytes(44))
    for _ in range(CASES):
        noise = mutate(good * 3, generator) if generator.random() < 0.5 else b""
        noise += generator.randbytes(generator.choice([0, 5, 300, 3000]))
        stream = noise + b"\0" + good
        replies = []
        while stream:
            size = generator.choice([1, 3, 60, 5000])
            replies += decoder.feed(stream[:size])
            stream = stream[size:]
            assert len(decoder._partial) <= 256
        assert replies and replies[-1].sequence == 7


@pytest.mark.parametrize("seed", range(4))
def test_cobs_decoder_gives_bytes_or_value_error(seed):
    generator = random.Random(seed)
    for _ in range(CASES):
        encoded = generator.randbytes(generator.randrange(300))
        try:
            assert len(decode_cobs(encoded)) < len(encoded)
        except ValueError:
            pass


class LyingBoard(FakeBoard):
    """Answers frames with a right CRC, and other contents than it should have."""

    def __init__(self, generator: random.Random) -> None:
        super().__init__()
        self.generator = generator
        self.lies = 0.0

    def receive(self, byte: int, now: float) -> tuple[bytes, float] | None:
        answer = super().receive(byte, now)
        if answer is None or self.generator.random() >= self.lies:
            return answer
        encoded, ready = answer
        body = decode_cobs(encoded[:-1])[:-4]
        how = self.generator.randrange(5)
        if how == 0:  # another payload, of another length
            body = body[:3] + self.generator.randbytes(self.generator.randrange(241))
        elif how == 1:  # another header
            body = self.generator.randbytes(3) + body[3:]
        elif how == 2:
            body = mutate(body, self.generator)[:247]
        elif how == 3:  # no frame at all
            return self.generator.randbytes(self.generator.randrange(600)), ready
        else:  # more answers than questions
            return encoded * self.generator.randrange(5), ready
        return framed(body), ready


@pytest.fixture(scope="module")
def compiled():
    return compiler.compile(zoo.load("patterns"), FakeBoard().configuration)


@pytest.mark.parametrize("seed", range(max(40, CASES // 8)))
def test_boards_that_lie(seed, compiled):
    generator = random.Random(seed)
    lying = LyingBoard(generator)
    lying.memory[: len(compiled.image)] = compiled.image
    lying.info = replace(lying.info, state=State.VALID, image_bytes=len(compiled.image))
    port = FakePort(lying)
    early = generator.random() < 0.3
    lying.lies = generator.choice([0.05, 0.3, 1.0]) if early else 0.0
    try:
        with Board.open(port) as board:
            lying.lies = generator.choice([0.05, 0.3, 1.0])
            card = board.model
            if card is not None:
                x = np.zeros(card.input.shape, np.int8)
                for inference in board.run_many([x] * 5):
                    assert inference.output.shape == card.output.shape
            board.load(compiled)
    except EyespotError as error:
        assert str(error)
    assert port.now() < 3600


@pytest.mark.parametrize("seed", range(4))
def test_model_cards(seed, compiled):
    """Mutated as text and as values."""
    generator = random.Random(seed)
    header = ImageHeader.unpack(compiled.image[:HEADER_BYTES])
    begin = header.metadata_address
    text = compiled.image[begin : begin + header.metadata_bytes]
    values = [None, -1, 0, 1e308, 10**400, float("nan"), float("inf"), "x", [], {}, True, 1 << 24]
    for _ in range(CASES):
        try:
            value = read_metadata(header, mutate(text, generator)[: header.metadata_bytes])
            card = ModelCard.from_dict(value, 1 << 17)
            assert len(card.input.pack(np.zeros(card.input.shape, np.int8))) <= 1 << 17
        except ValueError as error:
            assert str(error)
        value = json.loads(text)
        for _ in range(generator.randrange(1, 4)):
            place = value
            while isinstance(place, (dict, list)) and place:
                keys = list(place) if isinstance(place, dict) else list(range(len(place)))
                key = generator.choice(keys)
                if not isinstance(place[key], (dict, list)) or generator.random() < 0.2:
                    place[key] = generator.choice(values)
                    break
                place = place[key]
        try:
            card = ModelCard.from_dict(value, 1 << 17)
            assert len(card.input.pack(np.zeros(card.input.shape, np.int8))) <= 1 << 17
        except ValueError as error:
            assert str(error)


@pytest.mark.parametrize("seed", range(2))
def test_image_headers(seed, compiled):
    generator = random.Random(seed)
    for _ in range(CASES):
        data = mutate(compiled.image[:HEADER_BYTES], generator).ljust(HEADER_BYTES, b"\0")
        try:
            header = ImageHeader.unpack(data)
            assert header.metadata_address + header.metadata_bytes <= header.image_bytes
        except ValueError as error:
            assert str(error)


# What was found.


def test_answers_to_nothing_do_not_hold_the_host_forever():
    """Each of them once began the time-out anew."""

    class Chatter(FakePort):
        def read(self, size: int = 1) -> bytes:
            if self.chats:
                self._time += 0.001
                body = bytes([0x77, Opcode.WRITE | REPLY_FLAG, Status.OK])
                return framed(body)
            return super().read(size)

        chats = False

    port = Chatter(FakeBoard())
    link = Link(port)
    link.connect()
    port.chats = True
    with pytest.raises(LinkError, match="does not answer any more"):
        list(link.exchange([[Request(Opcode.WRITE, 0, b"x")]]))
    assert port.now() < 120


def test_a_board_without_a_clock_is_refused():
    board = FakeBoard()
    board.info = replace(board.info, clock_hz=0)
    with pytest.raises(LinkError, match="a clock of 0 Hz"):
        Link(FakePort(board)).connect()


def test_metadata_nested_without_end_is_damage():
    text = b"[" * 100_000
    header = ImageHeader(8, 2, 200_000, 0, HEADER_BYTES, len(text), 1)
    with pytest.raises(ValueError, match="metadata is damaged"):
        read_metadata(header, text)


def test_numbers_beyond_floats_are_refused(compiled):
    value = compiled.card.to_dict()
    value["inputs"][0]["scale"] = 10**400
    with pytest.raises(ValueError, match=r"input\.scale must be positive"):
        ModelCard.from_dict(value, 1 << 17)


def test_payloads_of_other_lengths_are_no_info_and_no_result():
    for length in (0, 1, 11, 13, 43, 45, 240):
        for kind in (Info, Result):
            if length != kind.BYTES:
                with pytest.raises(ValueError, match="bytes"):
                    kind.unpack(bytes(length))
