"""Amaranth's own simulator: slow (about 12,000 cycles a second), but always there."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from amaranth.sim import Simulator

from ...link.framing import BITS_PER_BYTE

if TYPE_CHECKING:
    from ..flash.flash import Flash

__all__ = ["AmaranthBackend"]

#: The simulator's clock: one microsecond a cycle, so that cycles are exact in its time.
_PERIOD = 1e-6


class AmaranthBackend:
    """:class:`.Backend` in Python.

    Parameters
    ----------
    design : wiring.Component
        With pins ``rx`` and ``tx`` and a ``sync`` domain.
    flash : Flash, optional
        At the other pins of a :class:`.FlashBoard`.
    """

    name = "amaranth"

    def __init__(self, design: Any, flash: Flash | None = None) -> None:
        self._design = design
        self.flash = flash
        self._cycles = 0
        self._bit_cycles = 16.0
        self._queue: deque[int] = deque()
        self._low = 0
        self._sending = False
        self._received = bytearray()
        self._simulator = Simulator(design)
        self._simulator.add_clock(_PERIOD)
        self._simulator.add_testbench(self._transmit, background=True)
        self._simulator.add_testbench(self._receive, background=True)
        if flash is not None:
            self._simulator.add_testbench(self._attach, background=True)

    @property
    def cycles(self) -> int:
        return self._cycles

    @property
    def pending(self) -> int:
        return len(self._queue) + self._sending + (self._low > 0)

    def set_bit_cycles(self, cycles: float) -> None:
        self._bit_cycles = cycles

    def send(self, data: bytes) -> None:
        self._queue.extend(data)

    def hold_low(self, cycles: int) -> None:
        self._low = cycles

    async def _transmit(self, ctx: Any) -> None:
        ctx.set(self._design.rx, 1)
        while True:
            if self._queue:
                self._sending = True
                byte = self._queue.popleft()
                for position in range(BITS_PER_BYTE):
                    ctx.set(self._design.rx, (byte << 1 | 0x200) >> position & 1)
                    await ctx.delay(self._bit_cycles * _PERIOD)
                self._sending = False
            elif self._low:
                ctx.set(self._design.rx, 0)
                await ctx.delay(self._low * _PERIOD)
                ctx.set(self._design.rx, 1)
                self._low = 0
            else:
                await ctx.delay(_PERIOD)

    async def _receive(self, ctx: Any) -> None:
        while True:
            await ctx.negedge(self._design.tx)
            await ctx.delay(1.5 * self._bit_cycles * _PERIOD)
            byte = 0
            for position in range(8):
                byte |= ctx.get(self._design.tx) << position
                await ctx.delay(self._bit_cycles * _PERIOD)
            self._received.append(byte)
            # In the middle of the stop bit. After a break, the next byte begins with a high line.
            if not ctx.get(self._design.tx):
                await ctx.posedge(self._design.tx)

    async def _attach(self, ctx: Any) -> None:
        design = self._design
        pins = (design.flash_select, design.flash_clock, design.flash_o, design.flash_oe)
        while True:
            assert self.flash is not None
            ctx.set(design.flash_i, self.flash.cycle(*(ctx.get(pin) for pin in pins)))
            await ctx.tick()

    def run(self, cycles: int) -> bytes:
        end = self._cycles + cycles
        step = max(1, int(self._bit_cycles))
        while self._cycles < end and 0 not in self._received:
            self._cycles = min(end, self._cycles + step)
            self._simulator.run_until(self._cycles * _PERIOD)
        received = bytes(self._received)
        self._received.clear()
        return received

    # Amaranth has no interface to its simulator's state: this knows how its 0.5 keeps it.

    def _slots(self) -> list[Any]:
        """Everything with a state but the clock, which begins anew."""
        slots = self._simulator._engine._state.slots
        return [slot for slot in slots if hasattr(slot, "data") or slot.signal.name != "clk"]

    def snapshot(self) -> bytes:
        values = [list(slot.data) if hasattr(slot, "data") else slot.curr for slot in self._slots()]
        flash = self.flash.snapshot().hex() if self.flash else ""
        return json.dumps([flash, *values], separators=(",", ":")).encode()

    def restore(self, state: bytes) -> None:
        slots, (flash, *values) = self._slots(), json.loads(state)
        if len(values) != len(slots):
            raise ValueError(f"The state of this board has {len(slots)} parts, not {len(values)}")
        if self.flash is not None:
            self.flash.restore(bytes.fromhex(flash))
        for slot, value in zip(slots, values):
            if hasattr(slot, "data"):
                slot.data[:] = value
            else:
                slot.curr = slot.next = value

    def close(self) -> None:
        self._queue.clear()
