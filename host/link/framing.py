"""Frames as bytes on the wire: COBS, sequence numbers and CRC-32, after :mod:`.protocol`.

The gateware has its own; this is the host's side, in plain Python.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from gateware.interface.protocol import (
    CRC_BYTES,
    DELIMITER,
    MAX_PAYLOAD,
    REPLY_FLAG,
    REPLY_HEADER_BYTES,
    Opcode,
    Status,
)

__all__ = [
    "BITS_PER_BYTE",
    "OnceRequest",
    "Reply",
    "ReplyDecoder",
    "Request",
    "decode_cobs",
    "encode_cobs",
]

#: Of the line: start bit, eight data bits, stop bit.
BITS_PER_BYTE = 10

_MAX_BLOCK = 0xFF
#: Longest encoded reply: one COBS block. What is longer was never a frame.
_MAX_ENCODED = REPLY_HEADER_BYTES + MAX_PAYLOAD + CRC_BYTES + 1


def encode_cobs(data: bytes) -> bytes:
    """Consistent overhead byte stuffing: ``data`` without zeros, no delimiter at the end."""
    encoded = bytearray()
    for run in data.split(b"\0"):
        while len(run) >= _MAX_BLOCK - 1:
            encoded += bytes([_MAX_BLOCK]) + run[: _MAX_BLOCK - 1]
            run = run[_MAX_BLOCK - 1 :]
        encoded += bytes([len(run) + 1]) + run
    return bytes(encoded)


def decode_cobs(encoded: bytes) -> bytes:
    """Inverse of :func:`encode_cobs`.

    Raises
    ------
    ValueError
        If ``encoded`` holds a zero, is empty, or ends within a block.
    """
    if not encoded or 0 in encoded:
        raise ValueError("Not COBS: empty, or a zero within")
    data = bytearray()
    position = 0
    while position < len(encoded):
        code = encoded[position]
        block = encoded[position + 1 : position + code]
        if len(block) != code - 1:
            raise ValueError("Not COBS: the last block is cut off")
        data += block
        position += code
        if code < _MAX_BLOCK and position < len(encoded):
            data.append(0)
    return bytes(data)


@dataclass(frozen=True)
class Request:
    """What the host asks the board.

    Attributes
    ----------
    opcode : Opcode
    address : int
        24 bits.
    payload : bytes
        At most ``MAX_PAYLOAD``.
    reply_bytes : int
        Length of the payload of a successful answer.
    """

    opcode: Opcode
    address: int = 0
    payload: bytes = b""
    reply_bytes: int = 0

    def __post_init__(self) -> None:
        if len(self.payload) > MAX_PAYLOAD:
            raise ValueError(f"Payload must have at most {MAX_PAYLOAD} bytes")
        if not 0 <= self.address < 1 << 24:
            raise ValueError(f"Address must have 24 bits, not {self.address!r}")

    def encode(self, sequence: int) -> bytes:
        """The frame on the wire, its delimiter included."""
        body = bytes([sequence, self.opcode]) + self.address.to_bytes(3, "little") + self.payload
        crc = zlib.crc32(body).to_bytes(CRC_BYTES, "little")
        return encode_cobs(body + crc) + bytes([DELIMITER])


@dataclass(frozen=True)
class OnceRequest(Request):
    """A request that must be carried out once, and whose effect can be seen.

    Attributes
    ----------
    witness : Request
        A READ that tells whether it has been carried out.
    mark : bytes
        What that gives afterwards, and never before.
    """

    witness: Request | None = None
    mark: bytes = b""


@dataclass(frozen=True)
class Reply:
    """What the board answers."""

    sequence: int
    opcode: Opcode
    status: Status
    payload: bytes

    @classmethod
    def decode(cls, encoded: bytes) -> Reply:
        """Read a frame, its delimiter taken away; raise ValueError where it is no reply."""
        if len(encoded) > _MAX_ENCODED:
            raise ValueError("Too long for a reply")
        body = decode_cobs(encoded)
        if len(body) < REPLY_HEADER_BYTES + CRC_BYTES:
            raise ValueError("Too short for a reply")
        if zlib.crc32(body[:-CRC_BYTES]) != int.from_bytes(body[-CRC_BYTES:], "little"):
            raise ValueError("The CRC does not match")
        sequence, opcode, status = body[:REPLY_HEADER_BYTES]
        if not opcode & REPLY_FLAG:
            raise ValueError("Not a reply")
        return cls(
            sequence,
            Opcode(opcode ^ REPLY_FLAG),
            Status(status),
            body[REPLY_HEADER_BYTES:-CRC_BYTES],
        )


class ReplyDecoder:
    """Cuts a stream of bytes into replies; whatever is no reply is counted and passed over.

    Holds at most one frame's bytes, whatever arrives.

    Attributes
    ----------
    received : int
        Bytes that came.
    damaged : int
        Frames that were none of ours, or were damaged on the way.
    """

    def __init__(self) -> None:
        self._partial = bytearray()
        self.received = 0
        self.damaged = 0

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Take what came from the port; give the replies that it completes."""
        self.received += len(data)
        *complete, rest = data.split(bytes([DELIMITER]))
        for chunk in complete:
            frame = bytes(self._partial) + chunk
            self._partial.clear()
            if not frame:
                continue
            try:
                reply = Reply.decode(frame)
            except ValueError:
                self.damaged += 1
            else:
                yield reply
        # One byte more than a frame can have: enough to know that it is none.
        self._partial += rest[: max(0, _MAX_ENCODED + 1 - len(self._partial))]
