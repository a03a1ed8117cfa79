"""One single-port bank of the scratchpad."""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..primitives import Technology

SPRAM_WORDS = 1 << 14
SPRAM_BYTES = 2


class Bank(wiring.Component):
    """``depth`` words of ``word_bytes`` bytes: a read or a write in each cycle.

    On iCE40 the bank consists of SB_SPRAM256KA (16,384 words of 16 bits), one for each two bytes of
    the word. Elsewhere it is block RAM. Its initial contents are undefined. Latency of a read: one
    cycle. No back-pressure.

    Members
    -------
    enable, write : :py:`In(1)`
    address : :py:`In(range(depth))`
    write_data : :py:`In(8 * word_bytes)`
    mask : :py:`In(word_bytes)`
        Bytes that a write changes.
    read_data : :py:`Out(8 * word_bytes)`
        Data of the last read; undefined after a write.

    Raises
    ------
    ValueError
        If an iCE40 bank does not consist of whole SPRAMs.
    """

    def __init__(self, depth: int, word_bytes: int, technology: Technology) -> None:
        if technology is Technology.ICE40 and (depth != SPRAM_WORDS or word_bytes % SPRAM_BYTES):
            raise ValueError(
                f"An iCE40 bank is {SPRAM_WORDS} words of 2, 4, ... bytes, because that is an "
                f"SPRAM's size, not {depth!r} words of {word_bytes!r}"
            )
        self.depth = depth
        self.word_bytes = word_bytes
        self.technology = technology
        super().__init__(
            {
                "enable": In(1),
                "write": In(1),
                "address": In(range(depth)),
                "write_data": In(8 * word_bytes),
                "mask": In(word_bytes),
                "read_data": Out(8 * word_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.technology is Technology.ICE40:
            for index in range(self.word_bytes // SPRAM_BYTES):
                self._add_spram(m, index)
        else:
            m.submodules.memory = memory = Memory(
                shape=8 * self.word_bytes, depth=self.depth, init=[]
            )
            write_port = memory.write_port(granularity=8)
            read_port = memory.read_port()
            m.d.comb += [
                write_port.addr.eq(self.address),
                write_port.data.eq(self.write_data),
                write_port.en.eq(self.mask & (self.enable & self.write).replicate(self.word_bytes)),
                read_port.addr.eq(self.address),
                read_port.en.eq(self.enable & ~self.write),
                self.read_data.eq(read_port.data),
            ]
        return m

    def _add_spram(self, m: Module, index: int) -> None:
        low, high = self.mask.word_select(index, SPRAM_BYTES)
        m.submodules[f"spram{index}"] = Instance(
            "SB_SPRAM256KA",
            i_ADDRESS=self.address,
            i_DATAIN=self.write_data.word_select(index, 16),
            # There is a mask bit for each nibble.
            i_MASKWREN=Cat(low, low, high, high),
            i_WREN=self.write,
            i_CHIPSELECT=self.enable,
            i_CLOCK=ClockSignal("sync"),
            i_STANDBY=Const(0, 1),
            i_SLEEP=Const(0, 1),
            i_POWEROFF=Const(1, 1),  # active low
            o_DATAOUT=self.read_data.word_select(index, 16),
        )
