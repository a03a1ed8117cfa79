"""Requests and replies over a serial port: several in flight, lost ones sent again.

What is sent when, and what is sent again, is decided in :mod:`.exchange`; here that meets the port
(:mod:`.line`). A board that has fallen back to the rate after reset (a break on the line does that)
is found again there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gateware.interface.protocol import Info, Opcode, Result, Status

from ..errors import LinkError
from .exchange import WINDOW_BYTES, Exchange
from .framing import OnceRequest, Reply, Request
from .line import ATTEMPTS, Line, Port
from .rates import agree, ask_info

__all__ = ["Link"]

#: Attempts before the board is looked for at the rate after reset.
_ATTEMPTS_AT_RATE = 4


class Link(Line):
    """A line with several requests in flight.

    Parameters
    ----------
    port : Port
        Open; its rate must be the one at which the board listens (:meth:`connect` finds it).
    """

    def __init__(self, port: Port) -> None:
        super().__init__(port)
        self._window = float(WINDOW_BYTES)

    def connect(self, baud: int | None = None) -> Info:
        """Find the board and agree on a rate.

        Parameters
        ----------
        baud : int or None
            The rate to use; None for the fastest that works.

        Returns
        -------
        Info
            What the board says of itself; ``info`` from now on.

        Raises
        ------
        LinkError
            If what is at the port's other end is no board, or speaks another protocol, or ``baud``
            does not work.
        """
        agree(self, baud)
        assert self.info is not None
        return self.info

    def read_info(self) -> Info:
        """INFO, fresh.

        Raises
        ------
        LinkError
            If the board does not answer.
        """
        info = ask_info(self, ATTEMPTS)
        if info is None:
            raise LinkError("the board does not answer any more")
        self.info = info
        return info

    def exchange(
        self, transactions: Iterable[Sequence[Request]], *, free_after: int | None = None
    ) -> Iterator[list[Reply]]:
        """Carry out transactions in order, several requests in flight.

        Parameters
        ----------
        transactions, free_after
            See :class:`.Exchange`.

        Yields
        ------
        list of Reply
            One for each request of a transaction; its status may be an error.

        Raises
        ------
        LinkError
            If the board stops to answer.
        """
        exchange = Exchange(transactions, free_after=free_after, window=self._window)
        deadline = 0.0
        while True:
            if self._send_all(exchange):
                deadline = self._deadline_of(exchange)
            yield from exchange.completed()
            if exchange.is_over:
                return
            if exchange.awaited is None:
                continue
            reply = self.receive(deadline)
            if reply is not None and not exchange.knows(reply):
                continue  # of an attempt that was given up
            if reply is not None and exchange.accept(reply, self.timing, self.unsent):
                self.learn(reply)
                if exchange.awaited is not None:
                    deadline = self._deadline_of(exchange)
            else:
                exchange.lose()
                self.repeats += 1
                if exchange.failures > ATTEMPTS:
                    is_busy = reply is not None and reply.status == Status.BUSY
                    why = "stays busy" if is_busy else "does not answer any more"
                    raise LinkError(f"the board {why}")
                was_lost = self._wait_until_idle()
                exchange.recover(was_lost, self._carried_out(exchange.doubtful))
            self._window = exchange.window

    def _send_all(self, exchange: Exchange) -> bool:
        """Send what may be sent; whether that was anything."""
        any_sent = False
        while (what := exchange.next_request(self.timing)) is not None:
            if what.padding:
                self.write(bytes(what.padding))
            exchange.sent(what, self.send(what.request), self.timing)
            any_sent = True
        return any_sent

    def _deadline_of(self, exchange: Exchange) -> float:
        assert exchange.awaited is not None
        return self.deadline([exchange.awaited], exchange.failures)

    def _carried_out(self, once: OnceRequest | None) -> bool:
        """Whether the board's memory says that it did what must not be done twice."""
        if once is None or once.witness is None:
            return False
        reply = self.request(once.witness)
        return reply.status == Status.OK and reply.payload == once.mark

    def _wait_until_idle(self) -> bool:
        """Until all that was sent has been carried out, and the engine has come to rest.

        Returns
        -------
        bool
            Whether the board had to be found anew: it may have been reset.
        """
        request = Request(Opcode.RESULT, 0, b"\1", Result.BYTES + 1)
        self.write(b"\0")
        baud = self.port.baudrate
        try:
            self.request(request, ATTEMPTS if baud == self.reset_baud else _ATTEMPTS_AT_RATE)
        except LinkError:
            if baud == self.reset_baud:
                raise
        else:
            return False
        try:
            self.connect(baud)
        except LinkError as error:
            raise LinkError("the board does not answer any more") from error
        self.request(request)
        return True
