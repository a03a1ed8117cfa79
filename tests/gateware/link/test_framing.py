"""COBS against a reference codec."""

import random

import pytest

from gateware.link.framing import COBSDecoder
from tests.gateware.link.serial_bench import cobs_decode, cobs_encode, receive, send, simulate

_RNG = random.Random(2)
FRAMES = [
    b"",
    b"\0",
    b"\0\0\0",
    b"\1",
    b"\xff\0",
    b"\0\xff",
    bytes(253),
    bytes(range(1, 254)),
    *(_RNG.randbytes(_RNG.randrange(254)) for _ in range(8)),
    *(bytes(_RNG.choice(b"\0\0\1\xff") for _ in range(_RNG.randrange(60))) for _ in range(8)),
]


def decode(encoded: bytes, seed: int, stall: float) -> list[tuple[bytes, bool]]:
    """What the decoder makes of ``encoded``: frames, and whether each is whole."""
    dut = COBSDecoder()
    rng = random.Random(seed)
    frames: list[tuple[bytes, bool]] = []

    async def feed(ctx) -> None:
        await send(ctx, dut.i, encoded, rng, stall)

    async def collect(ctx) -> None:
        frame = bytearray()
        while len(frames) < encoded.count(0):
            (item,) = await receive(ctx, dut.o, 1, rng, stall)
            if item.end:
                frames.append((bytes(frame), not item.error))
                frame.clear()
            else:
                frame.append(item.data)

    simulate(dut, feed, collect)
    return frames


@pytest.mark.parametrize("stall", [0, 0.5])
def test_decoder_inverts_the_reference_encoder(stall: float) -> None:
    encoded = b"".join(cobs_encode(frame) + b"\0" for frame in FRAMES)
    assert decode(encoded, 3, stall) == [(frame, True) for frame in FRAMES]


@pytest.mark.parametrize("stall", [0, 0.5])
def test_decoder_is_in_step_after_any_delimiter(stall: float) -> None:
    rng = random.Random(4)
    encoded = bytearray()
    expected = []
    for frame in FRAMES:
        garbage = bytes(rng.randrange(1, 255) for _ in range(rng.randrange(12)))
        encoded += garbage + b"\0" + cobs_encode(frame) + b"\0"
        expected += [cobs_decode(garbage), frame]
    found = decode(bytes(encoded), 5, stall)
    assert len(found) == len(expected)
    for (frame, whole), reference in zip(found, expected, strict=True):
        assert whole == (reference is not None)
        assert not whole or frame == reference


def test_reference_codec() -> None:
    assert cobs_encode(b"") == b"\1"
    assert cobs_encode(b"\x11\x22\0\x33") == b"\3\x11\x22\2\x33"
    for frame in FRAMES:
        assert cobs_decode(cobs_encode(frame)) == frame
    assert cobs_decode(b"") is None
    assert cobs_decode(b"\3\1") is None
