"""The board's side of the serial link."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..engine.control import EngineControlSignature
from ..interface.protocol import Info
from ..memory.bus import ByteBusSignature
from .commands import CommandHandler
from .uart import UARTReceiver, UARTTransmitter

__all__ = ["Link"]


class Link(wiring.Component):
    """A UART, and the command handler that accesses memory and engine.

    Latency, throughput and back-pressure are those of :class:`.UARTReceiver`,
    :class:`.CommandHandler` and :class:`.UARTTransmitter`.

    Parameters
    ----------
    info : Info
        Contents of INFO's reply.
    memory_bytes : int
        Size of the memory; requests beyond it are refused.
    reset_divisor : int
        Clock cycles a bit after reset and after a break.

    Members
    -------
    rx, tx : :py:`In(1)`, :py:`Out(1)`
        The line. ``rx`` is asynchronous; ``tx`` comes from a register.
    bus : :py:`Out(ByteBusSignature())`
    engine : :py:`Out(EngineControlSignature())`
    invalidate : :py:`In(1)`
        High for one cycle: the image is no longer valid.
    valid : :py:`Out(1)`
        There is a valid image.
    """

    def __init__(self, info: Info, memory_bytes: int, reset_divisor: int) -> None:
        self._commands = CommandHandler(info, memory_bytes, reset_divisor)
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "bus": Out(ByteBusSignature()),
                "engine": Out(EngineControlSignature()),
                "invalidate": In(1),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UARTReceiver()
        m.submodules.transmitter = transmitter = UARTTransmitter()
        m.submodules.commands = commands = self._commands
        wiring.connect(m, receiver.o, commands.i)
        wiring.connect(m, commands.o, transmitter.i)
        wiring.connect(m, commands.bus, wiring.flipped(self.bus))
        wiring.connect(m, commands.engine, wiring.flipped(self.engine))
        m.d.comb += [
            receiver.rx.eq(self.rx),
            receiver.divisor.eq(commands.divisor),
            transmitter.divisor.eq(commands.divisor),
            commands.break_.eq(receiver.break_),
            commands.error.eq(receiver.error),
            commands.sent.eq(transmitter.idle),
            self.tx.eq(transmitter.tx),
            commands.invalidate.eq(self.invalidate),
            self.valid.eq(commands.valid),
        ]
        return m
