"""The slots at the strict simulated flash: cut off anywhere, there is a valid model."""

from __future__ import annotations

import random
import zlib
from dataclasses import replace

import pytest

from gateware.interface.flash import PAGE_BYTES, SECTOR_BYTES, W25Q128JV
from host.board import flash_slots
from host.board.flash_slots import FlashError, SlotHeader, Slots
from host.simulation.backends.toolchain import find_compiler
from host.simulation.flash.flash import Flash, FlashFault

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")

PART = W25Q128JV


class PowerLost(Exception):
    pass


class Device:
    """Speaks SPI to the flash as the controller does; loses power after so many cycles."""

    def __init__(self, flash: Flash, cycles: float = float("inf")) -> None:
        self.flash, self.left = flash, cycles
        self.page = 0
        self.say(b"\xab")
        self.wait(10)

    def cycle(self, *levels: int) -> int:
        self.left -= 1
        if self.left < 0:
            raise PowerLost
        return self.flash.cycle(*levels)

    def wait(self, cycles: int) -> None:
        for _ in range(cycles):
            self.cycle(0, 0, 0, 0)

    def say(self, data: bytes, count: int = 0) -> bytes:
        for byte in data:
            for at in range(7, -1, -1):
                self.cycle(1, 1, 0xC | byte >> at & 1, 0xD)
        got = bytearray()
        for _ in range(count):
            byte = 0
            for _ in range(8):
                byte = byte << 1 | self.cycle(1, 1, 0xD, 0xD) >> 1 & 1
            got.append(byte)
        self.wait(4)
        return bytes(got)

    def where(self, page: int) -> bytes:
        return (PART.area_address + page * PAGE_BYTES).to_bytes(3, "big")

    def finish(self) -> None:
        while self.say(b"\x05", 1)[0] & 1:
            pass

    def erase(self, page: int) -> None:
        self.page = page // 16 * 16
        self.say(b"\x06")
        self.say(b"\x20" + self.where(self.page))
        self.finish()

    def program(self, data: bytes) -> None:
        assert len(data) == PAGE_BYTES
        self.say(b"\x06")
        self.say(b"\x02" + self.where(self.page) + data)
        self.finish()
        self.page += 1

    def read(self, page: int, count: int) -> bytes:
        return self.say(b"\x03" + self.where(page), count)


def running(flash: Flash) -> tuple[bytes, bytes] | None:
    """Image and stream of the newest whole model."""
    slots = Slots(Device(flash))
    contents = [slots.content(slot) for slot in slots.headers()]
    return next((content for content in contents if content is not None), None)


def test_updates_alternate():
    flash = Flash(PART, scale=1e-5)
    generator = random.Random(1)
    slots = Slots(Device(flash))
    assert slots.headers() == []
    told: list[tuple[int, int]] = []
    for turn in range(4):
        model = generator.randbytes(5000), generator.randbytes((0, 300, 4096, 5000)[turn])
        slot = slots.update(*model, progress=lambda done, total: told.append((done, total)))
        assert (slot.number, slot.header.sequence) == (turn % 2, turn)
        assert slots.headers()[0] == slot and slots.content(slot) == model
        assert told == sorted(told) and told[-1] == (sum(map(len, model)),) * 2
        told.clear()


def test_a_slot_can_be_kept():
    flash = Flash(PART, scale=1e-5)
    slots = Slots(Device(flash))
    slots.update(b"one")
    slots.update(b"two")
    slots.update(b"three", keep=0)
    assert [slots.content(slot) for slot in slots.headers()] == [(b"three", b""), (b"one", b"")]


def test_what_streams_has_a_check_for_each_piece(monkeypatch):
    monkeypatch.setattr(flash_slots, "CHUNK_BYTES", 1000)
    flash = Flash(PART, scale=1e-5)
    slots = Slots(Device(flash))
    stream = random.Random(1).randbytes(2500)
    slot = slots.update(b"image", stream)
    assert slot.header.stream_crcs == tuple(
        zlib.crc32(stream[at : at + 1000]) for at in (0, 1000, 2000)
    )
    assert slots.content(slot) == (b"image", stream)
    flash.memory[PART.area_address + SECTOR_BYTES + 1234] ^= 1
    assert slots.content(slot) is None


def test_an_update_cut_off_at_any_moment_leaves_the_old_model_or_the_new():
    flash = Flash(PART, scale=1e-4)
    generator = random.Random(2)
    device = Device(flash)
    old = generator.randbytes(600), b""
    Slots(device).update(*old)
    device.left = 1e9
    new = generator.randbytes(300), generator.randbytes(300)
    Slots(device).update(*new)
    whole = int(1e9 - device.left)
    old, seen = new, [0, 0]
    for turn in range(200):
        new = generator.randbytes(300), generator.randbytes(300)
        # Some of them at the very end, where the header is written.
        begin = 0 if turn % 2 else int(0.8 * whole)
        try:
            Slots(Device(flash, generator.randrange(begin, whole + 500))).update(*new)
        except PowerLost:
            flash.lose_power(turn)
        else:
            flash.lose_power(turn)
            assert running(flash) == new
        now = running(flash)
        assert now in (old, new), f"turn {turn}: neither the old model nor the new"
        seen[now == new] += 1
        old = now
    assert min(seen) > 10


def test_sequence_numbers_wrap():
    flash = Flash(PART, scale=1e-5)
    slots = Slots(Device(flash))
    slots.update(b"a")
    header = replace(slots.headers()[0].header, sequence=(1 << 32) - 1).pack()
    flash.memory[PART.area_address : PART.area_address + len(header)] = header
    slot = slots.update(b"b")
    assert (slot.number, slot.header.sequence) == (1, 0)
    assert running(flash) == (b"b", b"")


@pytest.mark.parametrize("fault", [FlashFault.PROTECTED, FlashFault.WORN])
def test_a_flash_that_does_not_take_it_leaves_the_running_model(fault):
    flash = Flash(PART, scale=1e-5)
    Slots(Device(flash)).update(b"old")
    flash.set_faults(fault)
    with pytest.raises(FlashError, match="write-protected or worn"):
        Slots(Device(flash)).update(bytes(300))
    assert running(flash) == (b"old", b"")


def test_a_damaged_image_is_not_valid():
    flash = Flash(PART, scale=1e-5)
    slots = Slots(Device(flash))
    slots.update(b"old")
    slots.update(b"new")
    flash.memory[PART.area_address + PART.area_address // 2 + SECTOR_BYTES] ^= 1
    assert running(flash) == (b"old", b"")


def test_an_image_that_was_not_taken_gets_no_header():
    class OneBadPage(Device):
        def program(self, data: bytes) -> None:
            super().program(bytes(PAGE_BYTES) if data[:3] == b"new" else data)

    flash = Flash(PART, scale=1e-5)
    slots = Slots(OneBadPage(flash))
    slots.update(b"old")
    with pytest.raises(FlashError, match="does not hold what was written"):
        slots.update(b"new")
    header = PART.area_address + PART.area_address // 2
    assert bytes(flash.memory[header : header + 100]) == b"\xff" * 100


@pytest.mark.parametrize("size", [0, 1 << 22])
def test_what_does_not_fit_is_refused(size):
    with pytest.raises(FlashError, match=r"a slot takes 1 to 4,190,208 bytes"):
        Slots(Device(Flash(PART, scale=1e-5))).update(bytes(size))


def test_a_damaged_header_is_none():
    header = SlotHeader(1, 2, 3, 4, (5,))
    packed = header.pack()
    assert SlotHeader.unpack(packed) == header
    for at in range(8 * len(packed)):
        damaged = bytearray(packed)
        damaged[at // 8] ^= 1 << at % 8
        assert SlotHeader.unpack(bytes(damaged)) is None
    assert SlotHeader.unpack(b"\xff" * SlotHeader.MOST_BYTES) is None
    assert SlotHeader.unpack(packed[:-1]) is None
