"""The link's frames, opcodes and limits: one definition for gateware and host.

A frame on the wire is COBS-encoded and ends with a zero byte, so that any garbage resynchronises
at the next zero. Decoded, all integers little-endian:

======== ======================================================================
request  ``sequence u8, opcode u8, address u24, payload, crc u32``
reply    ``sequence u8, opcode | 0x80 u8, status u8, payload, crc u32``
======== ======================================================================

The CRC is CRC-32 (IEEE 802.3, as :func:`zlib.crc32`) over all bytes before it. A frame that fails
it, is too short or too long is dropped without an answer and changes no state. Requests are
answered in the order in which they arrive, each once; all of them may be sent again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag

from .configuration import EngineConfiguration

PROTOCOL_VERSION = 3
#: Gateware version, as INFO tells it.
GATEWARE_VERSION = (0, 1, 0)

#: Longest payload of a request or a reply. A whole frame then fits a COBS block (254 bytes).
MAX_PAYLOAD = 240
#: Most bytes of memory in a reply: so they fit behind a :class:`Result`, too.
MAX_READ = 228
REQUEST_HEADER_BYTES = 5
REPLY_HEADER_BYTES = 3
CRC_BYTES = 4
REPLY_FLAG = 0x80
DELIMITER = 0
#: What remains in a CRC-32 register (before the final inversion) after data and its own CRC.
CRC_RESIDUE = 0xDEBB20E3
#: Baud rate after reset.
RESET_BAUD = 115200
#: A valid image protects its memory in pages of this many bytes.
IMAGE_PAGE_BYTES = 256
#: A run that lasts this many cycles is stopped with EngineError.TIMEOUT.
MAX_RUN_CYCLES = 1 << 28
#: RUN can stop after at most so many layers.
MAX_RUN_LAYERS = 255


class Opcode(IntEnum):
    """What a request asks for."""

    #: Reply payload: :class:`Info`.
    INFO = 0
    #: Write the payload (1 to MAX_PAYLOAD bytes) to memory at ``address``. Writing below the end
    #: of a valid image makes it invalid; while the engine runs that is refused with BUSY.
    WRITE = 1
    #: Payload: count u8 (1 to MAX_READ). Reply payload: that many bytes from ``address``.
    READ = 2
    #: Declare memory [0, ``address``) to be an image: CRC-32 over it, its last four bytes being
    #: the CRC of the others, must match. Then the image is valid and may be run.
    CHECK = 3
    #: Start the engine. Payload: layers u8 (stop after so many; 0: all), stall cause u8
    #: (:class:`StallCause`: what the second counter counts). Answers at once.
    RUN = 4
    #: Answers once the engine is idle. Payload: count u8 (1 to MAX_READ). Reply payload:
    #: :class:`Result`, and that many bytes from ``address``.
    RESULT = 5
    #: ``address`` is the number of clock cycles a bit from now on; the reply still goes out at the
    #: old rate. A break (a zero byte with a low stop bit) sets the rate back to RESET_BAUD.
    BAUD = 6


class Status(IntEnum):
    """How a request went."""

    OK = 0
    BAD_OPCODE = 1
    #: The address, or the end of what is addressed, is outside the memory.
    BAD_ADDRESS = 2
    #: The payload has not the length that the opcode needs.
    BAD_LENGTH = 3
    #: The engine is running.
    BUSY = 4
    #: No valid image: nothing was uploaded, or the upload was cut off or damaged.
    NO_MODEL = 5
    #: CHECK found an image whose CRC does not match.
    CRC_MISMATCH = 6


class EngineError(IntEnum):
    """Why the engine stopped."""

    NONE = 0
    #: The tape holds something that is no layer descriptor.
    BAD_DESCRIPTOR = 1
    #: The run took MAX_RUN_CYCLES.
    TIMEOUT = 2


class StallCause(IntEnum):
    """What the second counter counts: cycles in which the multipliers wait, and for what."""

    #: No pixels yet: the memory port or the address generator.
    PIXELS = 0
    #: No weights yet: the tape.
    WEIGHTS = 1
    #: The drain is not free yet: the requantiser.
    DRAIN = 2
    #: Between tiles and layers: descriptors, parameters, the last results.
    OVERHEAD = 3


class State(IntFlag):
    """State bits of INFO."""

    VALID = 1
    BUSY = 2


def _unpack(format_: struct.Struct, payload: bytes, what: str) -> tuple:
    if len(payload) != format_.size:
        raise ValueError(f"{what} must have {format_.size} bytes, not {len(payload)}")
    return format_.unpack(payload)


@dataclass(frozen=True)
class Info:
    """Payload of an INFO reply: 44 bytes, of which the first 40 never change.

    ``protocol, lanes, pixels, log2 ring entries, banks, accumulator bits, requantisers,
    features: u8; memory bytes, clock in Hz: u32; gateware version: 3 u8, zero u8; source hash: u32;
    board: 16 bytes ASCII, zero padded; state: u8; image bytes: u24``.
    """

    protocol: int
    lanes: int
    pixels: int
    ring_entries: int
    banks: int
    accumulator_bits: int
    requantizers: int
    memory_bytes: int
    clock_hz: int
    gateware: tuple[int, int, int]
    source_hash: int
    board: str
    pooling: bool = True
    products: bool = False
    flash: bool = False
    diagnostics: bool = True
    state: State = State(0)
    image_bytes: int = 0

    #: Bits of ``features``.
    _POOLING = 1
    _FLASH = 2
    _NO_DIAGNOSTICS = 4
    _PRODUCTS = 8
    _FORMAT = struct.Struct("<8B II 4B I 16s I")
    STATIC_BYTES = 40
    BYTES = 44

    @classmethod
    def of(
        cls, configuration: EngineConfiguration, *, clock_hz: int, source_hash: int, board: str
    ) -> Info:
        """What a board with this engine, of these sources, tells after its reset."""
        return cls(
            protocol=PROTOCOL_VERSION,
            clock_hz=clock_hz,
            gateware=GATEWARE_VERSION,
            source_hash=source_hash,
            board=board,
            **{each.name: getattr(configuration, each.name) for each in fields(configuration)},
        )

    @property
    def configuration(self) -> EngineConfiguration:
        """The board's engine; raise ValueError if there is no such engine."""
        return EngineConfiguration(
            **{each.name: getattr(self, each.name) for each in fields(EngineConfiguration)}
        )

    def pack(self) -> bytes:
        board = self.board.encode("ascii")
        if len(board) > 16:
            raise ValueError(f"Board name must have at most 16 characters, not {self.board!r}")
        return self._FORMAT.pack(
            self.protocol,
            self.lanes,
            self.pixels,
            self.ring_entries.bit_length() - 1,
            self.banks,
            self.accumulator_bits,
            self.requantizers,
            (
                self._POOLING * self.pooling
                | self._FLASH * self.flash
                | self._NO_DIAGNOSTICS * (not self.diagnostics)
                | self._PRODUCTS * self.products
            ),
            self.memory_bytes,
            self.clock_hz,
            *self.gateware,
            0,
            self.source_hash,
            board,
            int(self.state) | self.image_bytes << 8,
        )

    @classmethod
    def unpack(cls, payload: bytes) -> Info:
        """Raise ValueError where ``payload`` is no INFO payload."""
        (
            protocol,
            lanes,
            pixels,
            ring,
            banks,
            accumulator,
            requantizers,
            features,
            memory,
            clock,
            *version,
            _,
            source_hash,
            board,
            state,
        ) = _unpack(cls._FORMAT, payload, "INFO")
        return cls(
            protocol=protocol,
            lanes=lanes,
            pixels=pixels,
            ring_entries=1 << (ring & 31),
            banks=banks,
            accumulator_bits=accumulator,
            requantizers=requantizers,
            memory_bytes=memory,
            clock_hz=clock,
            gateware=(version[0], version[1], version[2]),
            source_hash=source_hash,
            board=board.rstrip(b"\0").decode("ascii", "replace"),
            pooling=bool(features & cls._POOLING),
            products=bool(features & cls._PRODUCTS),
            flash=bool(features & cls._FLASH),
            diagnostics=not features & cls._NO_DIAGNOSTICS,
            state=State(state & 3),
            image_bytes=state >> 8,
        )


@dataclass(frozen=True)
class Result:
    """Payload of a RESULT reply: ``error u8, zero u8, class u16, cycles u32, stalls u32``.

    ``best`` is the index of the greatest byte that the last layer gave (the first of equals).
    Without :attr:`Info.diagnostics`, class and stalls mean nothing.
    """

    error: EngineError
    best: int
    cycles: int
    stalls: int

    _FORMAT = struct.Struct("<BBHII")
    BYTES = 12

    def pack(self) -> bytes:
        return self._FORMAT.pack(self.error, 0, self.best, self.cycles, self.stalls)

    @classmethod
    def unpack(cls, payload: bytes) -> Result:
        """Raise ValueError where ``payload`` is no RESULT payload."""
        error, _, best, cycles, stalls = _unpack(cls._FORMAT, payload, "RESULT")
        return cls(EngineError(error), best, cycles, stalls)
