"""What is sent when, and again after a loss: without a port."""

from __future__ import annotations

import pytest

from gateware.interface.protocol import Opcode, Status
from host.link.exchange import WINDOW_BYTES, Exchange
from host.link.framing import Reply, Request
from host.link.timing import Timing

TIMING = Timing(clock_hz=36_000_000, baud=3_000_000, run_cycles=1000)


def inference(number: int, size: int = 40) -> list[Request]:
    return [
        Request(Opcode.WRITE, 0x1000, bytes([number]) * size),
        Request(Opcode.RUN, 0, b"\0\0"),
        Request(Opcode.RESULT, 0x2000, b"\4", reply_bytes=20),
    ]


class Driver:
    """Sends what an exchange wants, and answers as it is told."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.sent: list[tuple[int, Request]] = []

    def fill(self) -> str:
        """Send all that may be sent; their first letters."""
        letters = ""
        while (what := self.exchange.next_request(TIMING)) is not None:
            self.sent.append((len(self.sent) + 1, what.request))
            self.exchange.sent(what, len(self.sent), TIMING)
            letters += what.request.opcode.name[:2]
        return letters

    def answer(self, index: int, status: Status = Status.OK) -> bool:
        sequence, request = self.sent[index]
        reply = Reply(sequence, request.opcode, status, bytes(request.reply_bytes))
        return self.exchange.knows(reply) and self.exchange.accept(reply, TIMING, 0)


def test_all_in_order_and_each_given_once():
    driver = Driver(Exchange([inference(1), inference(2)]))
    assert driver.fill() == "WRRURE" * 2
    for index in range(6):
        assert driver.answer(index)
        counts = [len(replies) for replies in driver.exchange.completed()]
        assert counts == ([3] if index in (2, 5) else [])
    assert driver.fill() == "" and driver.exchange.is_over


def test_the_next_input_is_written_while_the_engine_runs():
    driver = Driver(Exchange([inference(n, 200) for n in range(3)], free_after=500, window=6000))
    assert driver.fill() == "WRRU" + "WRRERU" * 2 + "RE"
    # 5000 cycles are 42 bytes of the line: a shorter WRITE may not come right behind RUN.
    driver = Driver(Exchange([inference(n, 20) for n in range(3)], free_after=5000))
    assert driver.fill().startswith("WRRURE")


def test_the_window_grows_with_answers_and_halves_with_losses():
    writes = [[Request(Opcode.WRITE, 240 * n, bytes(240))] for n in range(1000)]
    driver = Driver(Exchange(writes))
    assert driver.fill() == "WR" * 3
    for index in range(60):
        assert driver.answer(index)
        list(driver.exchange.completed())
        driver.fill()
    grown = driver.exchange.window
    assert len(driver.sent) - 60 > 40 and grown > 40 * 240
    assert grown <= 0.05 * 300_000
    driver.exchange.lose()
    assert driver.exchange.window == grown / 2
    for _ in range(20):
        driver.exchange.lose()
    assert driver.exchange.window == WINDOW_BYTES and driver.exchange.failures == 21


def test_after_a_loss_of_writes_only_the_rest_is_sent_again():
    requests = [Request(Opcode.WRITE, n, b"x") for n in range(4)]
    driver = Driver(Exchange([requests]))
    assert driver.fill() == "WR" * 4
    assert driver.answer(0)
    assert not driver.answer(2)  # that of 1 is missing
    driver.exchange.lose()
    driver.exchange.recover(was_lost=False)
    assert driver.fill() == "WR" * 3
    assert [request.address for _, request in driver.sent[4:]] == [1, 2, 3]
    assert not driver.exchange.knows(Reply(2, Opcode.WRITE, Status.OK, b""))  # given up


@pytest.mark.parametrize("was_lost", [False, True])
def test_a_run_that_may_have_been_carried_out_repeats_the_whole_transaction(was_lost):
    driver = Driver(Exchange([inference(1)]))
    driver.fill()
    assert driver.answer(0)
    if was_lost:
        assert driver.answer(1)  # only the RESULT is missing, but the board was reset
    driver.exchange.lose()
    driver.exchange.recover(was_lost)
    # With care: RUN waits for the WRITE's answer, and RESULT for RUN's.
    assert driver.fill() == "WR"
    assert driver.answer(3)
    assert driver.fill() == "RU"
    assert driver.answer(4)
    assert driver.fill() == "RE"
    assert driver.answer(5)
    assert [len(replies) for replies in driver.exchange.completed()] == [3]


def test_an_early_write_of_the_next_input_spoils_this_one():
    first, write = inference(1, 200), Request(Opcode.WRITE, 0x1000, b"next" * 50)
    driver = Driver(Exchange([first, [write]], free_after=500, window=6000))
    assert driver.fill() == "WRRUWRRE"
    assert driver.answer(0) and driver.answer(1)
    driver.exchange.lose()
    driver.exchange.recover(was_lost=False)
    # The RUN was answered, but the RESULT may read what the next input has overwritten.
    driver.fill()
    assert driver.sent[4][1] is first[0]


def test_busy_is_no_answer():
    driver = Driver(Exchange([inference(1)]))
    driver.fill()
    assert not driver.answer(0, Status.BUSY)
    assert driver.answer(0)


def test_a_check_of_unknown_length_is_awaited():
    check = Request(Opcode.CHECK, 5000)
    driver = Driver(Exchange([[check, check, check]]))
    # The board's buffer holds two: when the third may come is not known.
    assert driver.fill() == "CHCH"
    assert driver.answer(0)
    assert driver.fill() == "CH"
