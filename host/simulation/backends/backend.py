"""What a simulator of a board can do, whichever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..flash.flash import Flash

__all__ = ["Backend"]


class Backend(Protocol):
    """A design with UART pins ``rx`` and ``tx``, its clock, and a UART at the pins' other end.

    Attributes
    ----------
    name : str
        As in the address: ``?backend=name``.
    cycles : int
        Clock cycles simulated so far.
    flash : Flash or None
        The board's; a snapshot has its state, but not its contents, which outlast power.
    """

    name: str
    flash: Flash | None

    @property
    def cycles(self) -> int: ...

    @property
    def pending(self) -> int:
        """Bytes that are not wholly sent yet."""

    def set_bit_cycles(self, cycles: float) -> None:
        """Rate of the UART at the pins' other end, in clock cycles a bit; 2 or more."""

    def send(self, data: bytes) -> None:
        """Append to what goes to the board's ``rx``, 8N1, while the simulation runs."""

    def hold_low(self, cycles: int) -> None:
        """Keep ``rx`` low for so many cycles, once all before is sent: a break."""

    def run(self, cycles: int) -> bytes:
        """Simulate until a zero byte (a frame's end) has come from ``tx``, or for ``cycles``.

        Returns
        -------
        bytes
            What came, whatever the stop bits say.
        """

    def snapshot(self) -> bytes:
        """The state of every register and memory."""

    def restore(self, state: bytes) -> None:
        """Go back to a :meth:`snapshot` of the same design; ValueError where it is of another."""

    def close(self) -> None:
        """Free what the simulation holds."""
