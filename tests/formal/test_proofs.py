"""What is proven of link and flash, and that each proof fails where the block has a fault."""

from __future__ import annotations

import os
import random
import zlib
from fractions import Fraction
from functools import partial

import pytest

from gateware.engine import pixel_buffers, run_generator, slot_generator, weight_ring
from gateware.flash import controller, pages, shifter
from gateware.interface.flash import IS25LP128F, W25Q128JV
from gateware.interface.timing import MIN_BIT_CYCLES
from gateware.link import (
    bus_master,
    crc,
    framing,
    processor,
    program,
    reply_sender,
    request_buffer,
    uart,
)
from gateware.link.uart import DIVISOR_BITS
from tests.formal.command_properties import ProcessorCarriesOutInstructions, ProgramReturns
from tests.formal.crc_properties import CRCIsTheTextbooks, step
from tests.formal.flash_properties import FlashIsWrittenWithinBounds
from tests.formal.framing_properties import DecodedIsWhatWasEncoded, DecoderInvertsEncoder
from tests.formal.pixel_properties import BuffersKeepTheirBytes
from tests.formal.prover import check, prove, prove_bounded, with_fault
from tests.formal.reply_sender_properties import SenderSendsItsBuffer
from tests.formal.request_buffer_properties import RequestsAreWholeFrames
from tests.formal.ring_properties import RingKeepsTheTape
from tests.formal.stream_properties import (
    BusMasterKeepsItsRequest,
    RunsStay,
    SlotGeneratorKeepsItsRequest,
)
from tests.formal.uart_properties import (
    ReceiverSamplesInTheMiddle,
    ReceiverUnderstands,
    TransmitterSendsCharacters,
    is_sampled_right,
)

LONG = pytest.mark.skipif(not os.environ.get("EYESPOT_LONG"), reason="EYESPOT_LONG=1: minutes")


@pytest.mark.parametrize(
    "wanted, depth",
    [
        (DecoderInvertsEncoder, 2),
        (DecodedIsWhatWasEncoded, 2),
        (CRCIsTheTextbooks, 2),
        (RequestsAreWholeFrames, 3),
        (SenderSendsItsBuffer, 2),
        (ReceiverSamplesInTheMiddle, 2),
        (TransmitterSendsCharacters, 2),
        (ProcessorCarriesOutInstructions, 3),
        # Longer than any stretch in which it is taken for granted what a variable holds.
        (ProgramReturns, 18),
        (BusMasterKeepsItsRequest, 2),
        (RunsStay, 4),
        (SlotGeneratorKeepsItsRequest, 2),
    ],
)
def test_holds_for_all_time(wanted, depth):
    prove(wanted(), depth)


@pytest.mark.parametrize("lanes", [2, 6])
def test_ring_keeps_the_tape(lanes):
    prove(RingKeepsTheTape(lanes))


@pytest.mark.parametrize("pixel", [0, 1])
def test_buffers_keep_their_bytes(pixel):
    prove(BuffersKeepTheirBytes(pixel))


BLOCKS = {
    DecoderInvertsEncoder: "COBSDecoder",
    DecodedIsWhatWasEncoded: "COBSDecoder",
    CRCIsTheTextbooks: "CRC32",
    RequestsAreWholeFrames: "RequestBuffer",
    SenderSendsItsBuffer: "ReplySender",
    ReceiverSamplesInTheMiddle: "UARTReceiver",
    TransmitterSendsCharacters: "UARTTransmitter",
    ProcessorCarriesOutInstructions: "Processor",
    BusMasterKeepsItsRequest: "BusMaster",
    RunsStay: "RunGenerator",
    SlotGeneratorKeepsItsRequest: "SlotGenerator",
    BuffersKeepTheirBytes: "PixelBuffers",
}
ENDLESS_WRITE = ("p.do(Strobe.WRITE)", "pass")

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


FAULTS += [
    # The start bit is sampled half a bit too late; each bit a cycle too late; a start bit that was
    # a glitch; a frame's stop bit that is not looked at.
    (
        ReceiverSamplesInTheMiddle,
        uart,
        "[halved.eq(1), restart.eq(elapsed)]",
        "[halved.eq(0), restart.eq(elapsed)]",
        20,
    ),
    (ReceiverSamplesInTheMiddle, uart, "_FIRST_COUNT = 2", "_FIRST_COUNT = 1", 20),
    (
        ReceiverSamplesInTheMiddle,
        uart,
        'with m.If(line):\n                        m.next = "Wait',
        'with m.If(0):\n                        m.next = "Wait',
        20,
    ),
    # A byte accepted too early; each bit a cycle too short; a stop bit that is no mark.
    (TransmitterSendsCharacters, uart, "(elapsed & stopping)", "stopping", 30),
    (TransmitterSendsCharacters, uart, "count == self.divisor)", "count == self.divisor - 1)", 12),
    (TransmitterSendsCharacters, uart, "~shift[1:].any()", "~shift[2:].any()", 30),
    # An instruction that does not wait; one that is carried out while it waits.
    (
        ProcessorCarriesOutInstructions,
        processor,
        "(is_load & word[8])) & self.hold",
        "(is_load & word[8])) & 0",
        20,
    ),
    (
        ProcessorCarriesOutInstructions,
        processor,
        "executing.eq(passes)",
        "executing.eq(deciding)",
        8,
    ),
    # What is offered is withdrawn, or changes, while it waits.
    (BusMasterKeepsItsRequest, bus_master, "asking & request.ready", "asking", 8),
    (BusMasterKeepsItsRequest, bus_master, "self.load | accepted", "asking", 8),
    (RunsStay, run_generator, "valid & ~advance", "0", 12),
    (RunsStay, run_generator, "valid & self.runs.ready", "valid", 12),
    (
        SlotGeneratorKeepsItsRequest,
        slot_generator,
        "with m.If(self.request.ready):",
        "with m.If(1):",
        12,
    ),
    # A jump to itself.
    (
        ProgramReturns,
        program,
        "p.jump_if(Condition.ZERO, Opcode.WRITE.name)",
        'p.label("Here")\n        p.jump_if(Condition.ZERO, "Here")',
        15,
    ),
]


def faulty_block(wanted, module, old, new):
    faulty = with_fault(module, old, new)
    return faulty if module is program else getattr(faulty, BLOCKS[getattr(wanted, "func", wanted)])


@pytest.mark.parametrize("wanted, module, old, new, depth", FAULTS)
def test_a_fault_is_found(wanted, module, old, new, depth):
    status, log = check(wanted(faulty_block(wanted, module, old, new)), mode="bmc", depth=depth)
    assert status == "FAIL", log


@pytest.mark.parametrize(
    "lanes, old, new",
    [
        # The unused entry is used; space that is freed while it is taken; a byte too early.
        (2, "space[1:] != 0", "space != 0"),
        (2, "counted & ~self.freed", "counted"),
        (2, "(ahead[0] & ~consumed)", "ahead[0]"),
        (2, "marked.eq(following)", "marked.eq(read_pointer)"),
        # Each word goes to its entry's first part.
        (6, "word == index", "word == 0"),
    ],
)
def test_a_fault_in_the_ring_is_found(lanes, old, new):
    faulty = with_fault(weight_ring, old, new)
    wanted = RingKeepsTheTape(lanes, faulty.TapeReader, faulty.WeightRing)
    status, log = check(wanted, mode="bmc", depth=60)
    assert status == "FAIL", log


@pytest.mark.parametrize(
    "old, new",
    [
        ("tag.valid[stage]", "tag.valid[0]"),
        ("tag.pad[byte]", "tag.pad[0]"),
        ("stage == pixel", "stage == 0"),
        ("(level[0] & ~self.step)", "level[0]"),
        ("write_pointer.eq(write_pointer + 1)", "write_pointer.eq(write_pointer + self.step)"),
    ],
)
def test_a_fault_in_the_pixel_buffers_is_found(old, new):
    faulty = with_fault(pixel_buffers, old, new).PixelBuffers
    status, log = check(BuffersKeepTheirBytes(1, faulty), mode="bmc", depth=10)
    assert status == "FAIL", log


#: These take too many cycles for a search from the beginning: here the induction fails.
DEEP_FAULTS = [
    *(
        (RequestsAreWholeFrames, request_buffer, old, new, 3)
        for old, new in (
            ("Cat(self.address, ~half)", "Cat(self.address, half)"),
            ("with m.If(self.request.ready):", "with m.If(1):"),
            ("good.eq(matches & ", "good.eq("),
            ("length == MAX_REQUEST_BYTES", "length == MAX_REQUEST_BYTES + 1"),
            ("length >= MIN_REQUEST_BYTES", "length >= MIN_REQUEST_BYTES - 1"),
            ("half.eq(~half)", "half.eq(half)"),
            ("put & (self.request.valid | longest)", "put & longest"),
        )
    ),
    # A stop bit that is not looked at.
    (ReceiverSamplesInTheMiddle, uart, "with m.Elif(line):", "with m.Elif(1):", 2),
    # An addition without its carry; what is only put through the CRC, kept.
    (ProcessorCarriesOutInstructions, processor, "Mux(word[9], carry, word[8])", "word[8]", 3),
    (ProcessorCarriesOutInstructions, processor, "& ~(is_load & word[9])", "", 3),
    # Loops that do not end: WRITE's, and a reply's.
    (ProgramReturns, program, *ENDLESS_WRITE, 18),
    (
        ProgramReturns,
        program,
        'p.do(Strobe.APPEND)\n        p.label("Go on")',
        'p.label("Go on")',
        18,
    ),
    # Room is told where there is too little.
    (
        partial(BuffersKeepTheirBytes, 1),
        pixel_buffers,
        "PIXEL_BUFFER_BYTES - pixel_margin(self.configuration)",
        "PIXEL_BUFFER_BYTES - 16",
        2,
    ),
    # A jump to what is no handler; a request without a reply.
    (
        ProgramReturns,
        program,
        "Variable.HANDLERS - Variable.LENGTHS)",
        "Variable.HANDLERS - Variable.LENGTHS - 1)",
        18,
    ),
    (
        ProgramReturns,
        program,
        "p.do(Strobe.APPEND, RareStrobe.SEND_REPLY)",
        "p.do(Strobe.APPEND)",
        18,
    ),
]


@pytest.mark.parametrize("wanted, module, old, new, depth", DEEP_FAULTS)
def test_a_deep_fault_is_found(wanted, module, old, new, depth):
    status, log = check(wanted(faulty_block(wanted, module, old, new)), depth=depth)
    assert status in ("FAIL", "UNKNOWN"), log


@LONG
def test_an_endless_loop_is_reached():
    """From the beginning, over a whole WRITE: the search takes minutes."""
    faulty = with_fault(program, *ENDLESS_WRITE)
    status, log = check(ProgramReturns(faulty), mode="bmc", depth=70)
    assert status == "FAIL", log


def test_samples_are_right_over_the_tolerance():
    for divisor in range(MIN_BIT_CYCLES, 1 << DIVISOR_BITS):
        for mismatch in (Fraction(-2, 100), Fraction(2, 100)):
            assert is_sampled_right(divisor, mismatch), (divisor, mismatch)
    # Half a bit is 5 % of ten.
    assert not any(is_sampled_right(divisor, Fraction(6, 100)) for divisor in (4, 12, 313))


@pytest.mark.parametrize("mismatch", [-0.02, 0.02])
@pytest.mark.parametrize("divisor", [4, *(pytest.param(size, marks=LONG) for size in (5, 6, 7))])
def test_two_characters_are_understood(divisor, mismatch):
    """What a proof and arithmetic say together, seen from the line."""
    prove_bounded(ReceiverUnderstands(divisor, mismatch), 2 * 10 * divisor + 20)


def test_a_receiver_that_samples_late_is_found():
    faulty = with_fault(uart, "_FIRST_COUNT = 2", "_FIRST_COUNT = 1").UARTReceiver
    status, log = check(ReceiverUnderstands(4, 0.02, faulty), mode="bmc", depth=60)
    assert status == "FAIL", log


@pytest.mark.parametrize("part", [W25Q128JV, IS25LP128F], ids=lambda part: part.name)
def test_flash_is_written_within_bounds(part):
    prove(FlashIsWrittenWithinBounds(part))


@pytest.mark.parametrize(
    "block, old, new",
    [
        (pages, "Cat(page, Const(1, 1))", "Cat(page, Const(0, 1))"),
        (pages, "in_sector.eq(0)", "in_sector.eq(in_sector)"),
        (pages, "[page.eq(self.page), self.erased.eq(0)]", "page.eq(self.page)"),
        (pages, "in_sector.eq(in_sector + 1)", "in_sector.eq(in_sector)"),
        (pages, "self.present & ~(self.programming & in_sector.all())", "self.present"),
        (controller, "(programs & ~pages.erased)", "0"),
        (controller, "Mux(pages.programming, PROGRAM_PAGE, ERASE_SECTOR)", "PROGRAM_PAGE"),
        (controller, "pages.fail.eq(1)", "pages.fail.eq(0)"),
        (shifter, "Mux(quad, 1, 7)", "Mux(quad, 1, 6)"),
    ],
)
def test_a_fault_in_the_flash_controller_is_found(monkeypatch, block, old, new):
    """A command is too far from the beginning for a search; here, too, the induction fails."""
    faulty = with_fault(block, old, new)
    for name in block.__all__:
        monkeypatch.setattr(controller, name, getattr(faulty, name))
    status, log = check(FlashIsWrittenWithinBounds(W25Q128JV, controller.FlashController))
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
