"""The bad line of the simulated port: what it is told, and what it does."""

from __future__ import annotations

import pytest
from serial.serialutil import SerialException

from host.errors import PortError
from host.simulation.faults import BURST_BYTES, STALL_SECONDS, Faults, FaultyLine

CLOCK_HZ = 1_000_000


class Echo:
    """A backend that gives back each byte ten cycles after it came."""

    name = "echo"
    flash = None

    def __init__(self) -> None:
        self.cycles = 0
        self.state = b"on"
        self.queue: list[int] = []

    @property
    def pending(self) -> int:
        return len(self.queue)

    def send(self, data: bytes) -> None:
        self.queue += data

    def run(self, cycles: int) -> bytes:
        end = self.cycles + cycles
        received = bytearray()
        while self.queue and self.cycles + 10 <= end:
            self.cycles += 10
            received.append(self.queue.pop(0))
            if not received[-1]:
                return bytes(received)
        self.cycles = end
        return bytes(received)

    def snapshot(self) -> bytes:
        return self.state

    def restore(self, state: bytes) -> None:
        self.state = state

    def set_bit_cycles(self, cycles: float) -> None:
        pass

    def hold_low(self, cycles: int) -> None:
        pass

    def close(self) -> None:
        pass


def through(faults: str, data: bytes) -> bytes:
    """What is left of ``data`` after the way there and back."""
    line = FaultyLine(Echo(), Faults.parse(faults), CLOCK_HZ)
    line.send(data)
    received = b""
    while line.pending or line._to_host.waiting:
        received += line.run(1000)
    return received


DATA = bytes(range(1, 251)) * 40


def test_without_faults_all_arrives():
    assert through("seed:3", DATA) == DATA


@pytest.mark.parametrize(
    ("name", "shorter", "longer"),
    [("lose", 120, 280), ("duplicate", -280, -120), ("insert", -280, -120), ("flip", 0, 0)],
)
def test_each_fault_hits_as_often_as_it_should(name, shorter, longer):
    """One byte in a hundred, twice: about 200 of 10,000."""
    received = through(f"{name}:0.01", DATA)
    assert shorter <= len(DATA) - len(received) <= longer
    if name == "flip":
        changed = [a ^ b for a, b in zip(DATA, received) if a != b]
        assert 120 <= len(changed) <= 280
        assert all(bits.bit_count() <= 2 for bits in changed)


def test_bursts_have_their_length():
    received = through("burst:1e-3", DATA)
    assert len(received) == len(DATA)
    wrong = sum(a != b for a, b in zip(DATA, received))
    assert 5 * BURST_BYTES / 2 < wrong < 50 * BURST_BYTES


def test_the_seed_decides():
    every = "flip:.01,lose:.01,duplicate:.01,insert:.01,burst:.001,stall:.001"
    assert through(f"{every},seed:5", DATA) == through(f"{every},seed:5", DATA)
    assert through(f"{every},seed:5", DATA) != through(f"{every},seed:6", DATA)


def test_latency_is_that_of_each_way():
    line = FaultyLine(Echo(), Faults.parse("latency:16ms"), CLOCK_HZ)
    line.send(b"\5\0")
    assert line.pending == 2
    assert line.run(100_000) == b"\5\0"
    assert line.cycles == 32_000 + 20
    assert line.run(50) == b""
    assert line.cycles == 32_070


def test_stalls_keep_the_order():
    line = FaultyLine(Echo(), Faults.parse("stall:.02"), CLOCK_HZ)
    line.send(DATA[:200])
    received = b""
    while len(received) < 200:
        received += line.run(1000)
    assert received == DATA[:200]
    assert 2000 < line.cycles < 12 * STALL_SECONDS * CLOCK_HZ


def test_resets_and_disconnection_have_their_time():
    board = Echo()
    line = FaultyLine(board, Faults.parse("disconnect:9ms,reset:4ms,reset:2ms"), CLOCK_HZ)
    for milliseconds in (2, 4):
        line.restore(b"changed")
        line.run(milliseconds * 1000 - line.cycles - 1)
        assert board.state == b"changed"
        line.run(1)
        assert board.state == b"on"
    with pytest.raises(SerialException, match="disconnected"):
        line.run(10_000)
    assert line.cycles == 9000
    for use in (lambda: line.send(b"x"), lambda: line.pending, lambda: line.run(1)):
        with pytest.raises(SerialException, match="disconnected"):
            use()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no ''; there are flip, lose"),
        ("flop:1", "there is no 'flop'"),
        ("flip", "flip needs a value, as flip:1e-3"),
        ("latency:", "latency needs a value, as latency:16ms"),
        ("flip:2", "flip is a chance from 0 to 1, not '2'"),
        ("flip:nan", "flip is a chance from 0 to 1, not 'nan'"),
        ("lose:x", "lose is a chance"),
        ("latency:16", "latency is a time, as 16ms or 2s, not '16'"),
        ("reset:-1s", "reset is a time"),
        ("seed:1.5", "seed is a whole number"),
        ("flip:0,flip:0", "flip is given twice"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(text, message):
    with pytest.raises(PortError, match=message) as caught:
        Faults.parse(text)
    assert "\n" not in str(caught.value)
