"""The simulated flash refuses what the datasheets do not allow, and keeps what it should."""

from __future__ import annotations

import dataclasses

import pytest

from gateware.interface.flash import IS25LP128F, SECTOR_BYTES, W25Q128JV
from host.simulation.backends.toolchain import find_compiler
from host.simulation.flash.flash import Flash, FlashFault, FlashMisused

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")

ENABLE, STATUS, ERASE, PROGRAM = b"\x06", b"\x05", b"\x20", b"\x02"
PAGE = b"\x80\x10\x00"
AT = 0x801000


class Master:
    """Speaks SPI, a bit a cycle, right unless told otherwise."""

    def __init__(self, part=W25Q128JV, awake=True, **options) -> None:
        self.flash = Flash(part, scale=1e-3, **options)
        if awake:
            self.say(b"\xab")
            self.wait(4000)

    def wait(self, cycles: int) -> None:
        for _ in range(cycles):
            self.flash.cycle(0, 0, 0, 0)

    def send(self, data: bytes, bits: int | None = None) -> None:
        everything = [byte >> at & 1 for byte in data for at in range(7, -1, -1)]
        for bit in everything[:bits]:
            self.flash.cycle(1, 1, 0xC | bit, 0xD)

    def take(self, count: int) -> bytes:
        bits = [self.flash.cycle(1, 1, 0xD, 0xD) >> 1 & 1 for _ in range(8 * count)]
        return bytes(int("".join(map(str, bits[at : at + 8])), 2) for at in range(0, len(bits), 8))

    def say(self, data: bytes, answer: int = 0, bits: int | None = None) -> bytes:
        self.send(data, bits)
        got = self.take(answer)
        self.wait(4)
        return got

    def quad_enable(self) -> None:
        self.say(b"\x50")
        self.say(b"\x31\x02")

    def nibbles(self, data: bytes, oe: int = 0xF) -> list[int]:
        return [self.flash.cycle(1, 1, n, oe) for byte in data for n in (byte >> 4, byte & 15)]


def finish(master: Master) -> None:
    while master.flash.busy:
        master.wait(100)


def test_ids():
    assert Master().say(b"\x9f", 3) == b"\xef\x70\x18"
    assert Master(IS25LP128F).say(b"\x9f", 3) == b"\x9d\x60\x18"


def test_erases_programs_and_reads():
    master = Master()
    master.flash.memory[AT : AT + 4] = bytes(4)
    master.say(ENABLE)
    assert master.say(STATUS, 1) == b"\x02"
    master.say(ERASE + PAGE)
    assert master.say(STATUS, 1) == b"\x03"
    finish(master)
    assert master.say(STATUS, 1) == b"\x00"
    master.say(ENABLE)
    master.say(PROGRAM + PAGE + b"abc")
    finish(master)
    assert master.say(b"\x03" + PAGE, 4) == b"abc\xff"
    master.quad_enable()
    for again in (False, True):
        if not again:
            master.send(b"\xeb")
        master.nibbles(PAGE + b"\xa0")
        master.nibbles(bytes(2), oe=0)
        got = master.nibbles(bytes(3), oe=0)
        assert bytes(a << 4 | b for a, b in zip(got[::2], got[1::2])) == b"abc"
        master.wait(4)
    # Eight clocks of ones end the continuous mode.
    master.say(b"\xff")
    assert master.say(STATUS, 1) == b"\x00"


def _busy(master: Master) -> None:
    master.say(ENABLE)
    master.say(ERASE + PAGE)


MISUSES = {
    "power-down": lambda m: m.say(b"\xb9") or m.say(b"\x9f"),
    "without write-enable": lambda m: m.say(ERASE + PAGE),
    "02h without write-enable": lambda m: m.say(PROGRAM + PAGE + b"a"),
    "while busy": lambda m: _busy(m) or m.say(b"\x03" + PAGE),
    "06h while busy": lambda m: _busy(m) or m.say(ENABLE),
    "is unknown": lambda m: m.say(b"\xc7"),
    "not erased": lambda m: (
        m.flash.memory.__setitem__(AT, 0xFE) or m.say(ENABLE) or m.say(PROGRAM + PAGE + b"\x01")
    ),
    "more than a page": lambda m: m.say(ENABLE) or m.say(PROGRAM + PAGE + bytes(257)),
    "past a page's end": lambda m: m.say(ENABLE) or m.say(PROGRAM + b"\x80\x10\xff" + bytes(2)),
    "nothing to program": lambda m: m.say(ENABLE) or m.say(PROGRAM + PAGE),
    "within a byte": lambda m: m.say(ENABLE) or m.say(PROGRAM + PAGE + b"ab", bits=41),
    "within a command": lambda m: m.say(ENABLE) or m.say(ERASE + PAGE, bits=31),
    "more than an address": lambda m: m.say(ENABLE) or m.say(ERASE + PAGE + b"a"),
    "after the end": lambda m: m.say(ENABLE + b"\x00"),
    "quad mode is off": lambda m: m.say(b"\xeb"),
    "outlives power": lambda m: m.say(ENABLE) or m.say(b"\x31\x02"),
    "too soon": lambda m: m.send(b"\x06") or m.wait(1) or m.send(b"\x05"),
    "two drive": lambda m: m.send(STATUS) or m.flash.cycle(1, 1, 0, 0xF),
    "clocks without selection": lambda m: m.flash.cycle(0, 1, 0, 0xF),
    "/HOLD is low": lambda m: m.flash.cycle(1, 1, 0x4, 0xD),
    "floats": lambda m: m.send(b"\x9f", 4) or m.flash.cycle(1, 1, 0x2, 0x2),
}


@pytest.mark.parametrize("message", MISUSES)
def test_misuse_fails_and_stays(message):
    master = Master()
    with pytest.raises(FlashMisused, match=message):
        MISUSES[message](master)
        master.wait(1)
    with pytest.raises(FlashMisused):
        master.wait(1)


def test_waking_takes_its_time():
    master = Master(awake=False)
    with pytest.raises(FlashMisused, match="power-down"):
        master.say(b"\x9f")
    flash = Flash(W25Q128JV)
    master = Master()
    master.flash = flash
    master.say(b"\xab")
    with pytest.raises(FlashMisused, match="release"):
        master.say(b"\x9f")


@pytest.mark.parametrize("erasing", [True, False])
def test_lost_power_leaves_neither_old_nor_new(erasing):
    master = Master()
    if erasing:
        master.flash.memory[AT : AT + SECTOR_BYTES] = bytes(SECTOR_BYTES)
    before = bytes(master.flash.memory)
    master.say(ENABLE)
    master.say(ERASE + PAGE if erasing else PROGRAM + PAGE + bytes(256))
    assert master.flash.busy
    master.flash.lose_power(1)
    after = bytes(master.flash.memory)
    size = SECTOR_BYTES if erasing else 256
    damaged = after[AT : AT + size]
    assert damaged not in (bytes(size), b"\xff" * size)
    assert after[:AT] == before[:AT] and after[AT + size :] == before[AT + size :]
    with pytest.raises(FlashMisused, match="power-down"):
        master.say(b"\x9f")


@pytest.mark.parametrize(
    ("sent", "bits", "programmed"),
    [
        (ENABLE, 5, b""),
        (PROGRAM + PAGE, 20, b""),
        (PROGRAM + PAGE, None, b""),
        (PROGRAM + PAGE + b"abc", None, b"abc"),
        (PROGRAM + PAGE + b"abc", 51, b""),
        (STATUS + b"\0", None, b""),
    ],
)
def test_a_reset_master_may_stop_anywhere(sent, bits, programmed):
    master = Master()
    master.say(ENABLE)
    master.send(sent, bits)
    master.flash.lose_master()
    assert master.flash.busy == bool(programmed)
    finish(master)
    assert master.flash.memory[AT : AT + 4] == programmed.ljust(4, b"\xff")
    master.wait(4)
    master.quad_enable()
    # It goes on as if nothing had been.
    assert master.say(STATUS, 1) == (b"\x00" if programmed else b"\x02")


@pytest.mark.parametrize("how", ["erasing", "waking"])
def test_a_reset_master_leaves_the_flash_at_work(how):
    master = Master(awake=how == "erasing")
    master.flash.memory[AT] = 0
    if how == "erasing":
        _busy(master)
    else:
        # Loading the FPGA takes longer than that.
        master.say(b"\xab")
    master.flash.lose_master()
    assert master.flash.busy == (how == "erasing")
    finish(master)
    assert master.flash.memory[AT] == (0xFF if how == "erasing" else 0)
    assert master.say(b"\x9f", 3) == b"\xef\x70\x18"


def test_broken_in_its_ways():
    master = Master(faults=FlashFault.PROTECTED)
    master.say(ENABLE)
    master.say(PROGRAM + PAGE + b"\x00")
    finish(master)
    assert master.flash.memory[AT] == 0xFF
    master = Master(faults=FlashFault.WORN)
    master.say(ENABLE)
    master.say(PROGRAM + PAGE + b"\x00")
    finish(master)
    assert master.flash.memory[AT] == 1
    master = Master(faults=FlashFault.STUCK)
    _busy(master)
    master.wait(10_000)
    assert master.flash.busy
    assert Master(faults=FlashFault.ABSENT).say(b"\x9f", 3) == b"\xff" * 3


def test_a_part_without_a_model_is_refused():
    with pytest.raises(ValueError, match="There is a model of"):
        Flash(dataclasses.replace(W25Q128JV, name="other"))
