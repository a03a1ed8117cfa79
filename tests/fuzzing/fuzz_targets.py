"""What is fuzzed: functions that take any bytes and must not raise, nor take long.

Each reads the bytes as a stranger's and passes over the clear refusals that are promised; whatever
else is raised is a bug. :mod:`fuzz` looks for such bytes, ``test_fuzz_corpus.py`` tries the kept.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable

import numpy as np

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.image import HEADER_BYTES, ImageHeader, read_metadata
from gateware.interface.protocol import Info, Result
from host import compiler
from host.link.framing import Reply, ReplyDecoder, decode_cobs, encode_cobs
from host.model_card import ModelCard
from model.errors import ModelError
from model.int8 import tflite

MEMORY_BYTES = 1 << 17


def _check(reply: Reply) -> None:
    for kind in (Info, Result):
        try:
            kind.unpack(reply.payload)
        except ValueError as error:
            assert str(error)


def replies(data: bytes) -> None:
    """The host's decoder. The first byte: in pieces of which size, and whether as good frames."""
    if not data:
        return
    kind, data = data[0], data[1:]
    assert decode_cobs(encode_cobs(data)) == data
    try:
        assert encode_cobs(decode_cobs(data)) in (data, data + b"\1")
    except ValueError as error:
        assert str(error)
    if kind & 128:
        # No fuzzer finds a CRC: so frames of which only the contents are the stranger's.
        stream = b"".join(
            encode_cobs(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"
            for body in data.split(b"\xff\0")
        )
    else:
        stream = data
    size = 1 + (kind & 127)
    decoder = ReplyDecoder()
    for begin in range(0, len(stream), size):
        for reply in decoder.feed(stream[begin : begin + size]):
            _check(reply)
        assert len(decoder._partial) <= 256
    assert decoder.received == len(stream)
    # After a delimiter a good frame gets through, whatever came before.
    good = bytes([7, 0x81, 0])
    good = encode_cobs(good + zlib.crc32(good).to_bytes(4, "little")) + b"\0"
    *_, last = decoder.feed(b"\0" + good)
    assert (last.sequence, last.opcode, last.payload) == (7, 1, b"")


def image(data: bytes) -> None:
    """What a board holds: image header, and after it the model card."""
    try:
        header = ImageHeader.unpack(data[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0"))
        assert header.metadata_address + header.metadata_bytes <= header.image_bytes
    except ValueError as error:
        assert str(error)
    text = data[HEADER_BYTES:]
    header = ImageHeader(8, 2, MEMORY_BYTES, 0, HEADER_BYTES, len(text), 1)
    try:
        card = ModelCard.from_dict(read_metadata(header, text), MEMORY_BYTES)
    except ValueError as error:
        assert str(error)
    else:
        assert len(card.input.pack(np.zeros(card.input.shape, np.int8))) <= MEMORY_BYTES
        assert ModelCard.from_dict(card.to_dict(), MEMORY_BYTES) == card


def model(data: bytes) -> None:
    """The importer. What it takes can be written, and read again, or writing it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            graph = tflite.decode(data, "stranger")
            written = tflite.encode(graph)
        except ModelError as error:
            assert str(error) and "\n" not in str(error)
            return
        again = tflite.decode(written, "stranger")
        assert len(again.operators) == len(graph.operators)


def compiled(data: bytes) -> None:
    """Importer and compiler: an image of the network, or a clear refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            graph = tflite.decode(data, "stranger")
            result = compiler.compile(graph, EngineConfiguration())
        except ModelError as error:
            assert str(error) and "\n" not in str(error)
            return
        assert len(result.image) <= MEMORY_BYTES


TARGETS: dict[str, Callable[[bytes], None]] = {
    "replies": replies,
    "image": image,
    "model": model,
    "compiled": compiled,
}
