"""A controller at a simulated flash."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib.wiring import connect

from gateware.flash.controller import FlashController
from gateware.flash.pins import FlashPads
from gateware.interface.flash import W25Q128JV, FlashCommand
from host.simulation.flash.flash import Flash

#: So short that erasing takes 1,620 cycles at 36 MHz; waking then takes none.
SCALE = 1e-3


class Bench:
    """Controller, pads and flash; ``attach`` is the flash's process."""

    def __init__(self, part=W25Q128JV, faults=0, scale=SCALE, flash=None, **options) -> None:
        self.controller = FlashController(part, **options)
        self.pads = FlashPads()
        self.flash = flash or Flash(part, scale=scale, faults=faults)
        self.module = Module()
        self.module.submodules.controller = self.controller
        self.module.submodules.pads = self.pads
        connect(self.module, self.controller.pins, self.pads.controller)
        self.clocks: list[int] = []
        #: Off: the board has no power, or the FPGA is in reset.
        self.attached = True

    async def attach(self, ctx) -> None:
        pads = self.pads.pads
        while True:
            if self.attached:
                levels = [ctx.get(pin) for pin in (pads.select, pads.clock, pads.o, pads.oe)]
                self.clocks.append(levels[1])
                ctx.set(pads.i, self.flash.cycle(*levels))
            await ctx.tick()

    async def finish(self, ctx) -> bool:
        """Until the command is done; True if it was carried out."""
        while ctx.get(self.controller.busy):
            await ctx.tick()
        return not ctx.get(self.controller.failed)

    async def command(self, ctx, kind: FlashCommand, page: int = 0) -> bool:
        command = self.controller.command
        ctx.set(command.payload, {"kind": kind, "page": page})
        ctx.set(command.valid, 1)
        await ctx.tick().until(command.ready)
        ctx.set(command.valid, 0)
        if kind is FlashCommand.PROGRAM:
            return True
        return await self.finish(ctx)

    async def program(self, ctx, data: bytes) -> bool:
        """Program a page. Where the controller refuses it, the bytes are not taken."""
        await self.command(ctx, FlashCommand.PROGRAM)
        source = self.controller.data
        for byte in data:
            ctx.set(source.payload, byte)
            ctx.set(source.valid, 1)
            taken = False
            while not taken:
                *_, taken = await ctx.tick().sample(source.ready)
                if not ctx.get(self.controller.busy):
                    ctx.set(source.valid, 0)
                    return not ctx.get(self.controller.failed)
        ctx.set(source.valid, 0)
        return await self.finish(ctx)
