"""What is proven of link and flash, and that each proof fails where the block has a fault."""

from __future__ import annotations

import random
import zlib

import pytest
from crc_properties import CRCIsTheTextbooks, step
from flash_properties import FlashIsWrittenWithinBounds
from framing_properties import DecodedIsWhatWasEncoded, DecoderInvertsEncoder
from prover import check, prove, with_fault
from reply_sender_properties import SenderSendsItsBuffer
from request_buffer_properties import RequestsAreWholeFrames

from gateware.flash import controller
from gateware.interface.flash import IS25LP128F, W25Q128JV
from gateware.link import crc, framing, reply_sender, request_buffer


@pytest.mark.parametrize(
    "wanted, depth",
    [
        (DecoderInvertsEncoder, 2),
        (DecodedIsWhatWasEncoded, 2),
        (CRCIsTheTextbooks, 2),
        (RequestsAreWholeFrames, 3),
        (SenderSendsItsBuffer, 2),
    ],
)
def test_holds_for_all_time(wanted, depth):
    prove(wanted(), depth)


FAULTS = [
    # A ready that is dropped: an item is overwritten before it is taken.
    (
        DecoderInvertsEncoder,
        framing,
        "self.i.ready.eq(~self.o.valid | self.o.ready)",
        "self.i.ready.eq(1)",
        8,
    ),
    # A block's code one too small.
    (
        DecoderInvertsEncoder,
        framing,
        "(load, self.i.payload, left)",
        "(load, self.i.payload - 1, left)",
        8,
    ),
    (DecodedIsWhatWasEncoded, framing, "left[1:] == 0", "left[2:] == 0", 12),
    (DecoderInvertsEncoder, framing, "first | ~at_code", "first", 8),
    # A wrong bit of the polynomial; a bit too few; a byte accepted too early.
    (CRCIsTheTextbooks, crc, "0xEDB88320", "0xEDB88321", 12),
    (CRCIsTheTextbooks, crc, "count != 7", "count != 6", 12),
    (CRCIsTheTextbooks, crc, "self.i.ready.eq(~busy)", "self.i.ready.eq(1)", 12),
    (SenderSendsItsBuffer, reply_sender, "& ~self.o.valid)", ")", 8),
    (SenderSendsItsBuffer, reply_sender, "place.eq(0), ", "", 12),
    (SenderSendsItsBuffer, reply_sender, "self.data != DELIMITER", "self.data != 1", 8),
]


@pytest.mark.parametrize("wanted, module, old, new, depth", FAULTS)
def test_a_fault_is_found(wanted, module, old, new, depth):
    block = {
        framing: "COBSDecoder",
        crc: "CRC32",
        reply_sender: "ReplySender",
    }[module]
    faulty = getattr(with_fault(module, old, new), block)
    status, log = check(wanted(faulty), mode="bmc", depth=depth)
    assert status == "FAIL", log


@pytest.mark.parametrize(
    "old, new",
    [
        ("Cat(self.address, ~half)", "Cat(self.address, half)"),
        ("with m.If(self.request.ready):", "with m.If(1):"),
        ("good.eq(matches & ", "good.eq("),
        ("length == MAX_REQUEST_BYTES", "length == MAX_REQUEST_BYTES + 1"),
        ("length >= MIN_REQUEST_BYTES", "length >= MIN_REQUEST_BYTES - 1"),
        ("half.eq(~half)", "half.eq(half)"),
        ("put & (self.request.valid | longest)", "put & longest"),
    ],
)
def test_a_fault_in_the_request_buffer_is_found(old, new):
    """A right request is far too long for a search from the beginning: here the induction fails."""
    faulty = with_fault(request_buffer, old, new).RequestBuffer
    status, log = check(RequestsAreWholeFrames(faulty), depth=3)
    assert status in ("FAIL", "UNKNOWN"), log


@pytest.mark.parametrize("part", [W25Q128JV, IS25LP128F], ids=lambda part: part.name)
def test_flash_is_written_within_bounds(part):
    prove(FlashIsWrittenWithinBounds(part))


@pytest.mark.parametrize(
    "old, new",
    [
        ("Cat(page, Const(1, 1))", "Cat(page, Const(0, 1))"),
        ("in_sector.eq(0)", "in_sector.eq(in_sector)"),
        ("& ~erased)", "& 0)"),
        ("[page.eq(self.command.p.page), erased.eq(0)]", "page.eq(self.command.p.page)"),
        ("in_sector.eq(in_sector + 1)", "in_sector.eq(in_sector)"),
        ("self.present & ~(programming & in_sector.all())", "self.present"),
        ("Mux(programming, PROGRAM_PAGE, ERASE_SECTOR)", "PROGRAM_PAGE"),
        ("self.failed.eq(1), erased.eq(0), ", "self.failed.eq(1), "),
    ],
)
def test_a_fault_in_the_flash_controller_is_found(old, new):
    """A command is too far from the beginning for a search; here, too, the induction fails."""
    faulty = with_fault(controller, old, new).FlashController
    status, log = check(FlashIsWrittenWithinBounds(W25Q128JV, faulty))
    assert status in ("FAIL", "UNKNOWN"), log


def test_textbook_is_zlib():
    """For every CRC and byte: both are affine in the 40 bits, so 41 cases tell all of them."""

    def byte_of(value: int, byte: int) -> int:
        for at in range(8):
            value = step(value, byte >> at & 1)
        return value

    cases = [(0, 0), *((1 << at, 0) for at in range(32)), *((0, 1 << at) for at in range(8))]
    for value, byte in cases:
        assert byte_of(value, byte) == zlib.crc32(bytes([byte]), value)
    generator = random.Random(1)
    for _ in range(100):
        value, byte = generator.getrandbits(32), generator.getrandbits(8)
        assert byte_of(value, byte) == zlib.crc32(bytes([byte]), value)


def test_only_its_own_crc_gives_the_residue():
    """After data with any CRC, for all four bytes: again affine, and so settled by its matrix."""
    residue = zlib.crc32(bytes(4), 0)

    def after(value: int, sent: int) -> int:
        return zlib.crc32(sent.to_bytes(4, "little"), value)

    for value in (0, *(1 << at for at in range(32))):
        assert after(value, value) == residue
    # Of full rank: so no two of the 2³² words give the same.
    rows: list[int] = []
    for at in range(32):
        row = after(0, 1 << at) ^ residue
        for other in rows:
            row = min(row, row ^ other)
        assert row
        rows.append(row)
