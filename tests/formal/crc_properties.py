"""CRC-32 as :mod:`zlib` has it, for data of any length."""

from __future__ import annotations

from typing import TypeVar

from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Module, Mux, Signal, Value

from gateware.interface.protocol import CRC_RESIDUE
from gateware.link.crc import CRC32
from tests.formal.prover import Property, open_up

Word = TypeVar("Word", int, Value)


def step(value: Word, bit: Word) -> Word:
    """The CRC after one more bit: the textbook's, with what is affine in GF(2) and no more."""
    inverse = value ^ 0xFFFFFFFF
    low = (inverse ^ bit) & 1
    inverse = inverse >> 1
    for at in range(32):
        if 0xEDB88320 >> at & 1:
            inverse = inverse ^ low << at
    return inverse ^ 0xFFFFFFFF


class CRCIsTheTextbooks(Property):
    """A :func:`step` in each of the eight cycles after a byte was accepted, the lowest bit first.

    Bytes, ``clear`` and ``flush`` come at any time. With ``flush`` the step is a shift,
    with zeros behind the CRC. ``ready`` is low for eight cycles.
    """

    def __init__(self, crc: type = CRC32) -> None:
        self.crc = crc

    def build(self, m: Module) -> None:
        dut = self.crc()
        m.submodules.dut, inner = open_up(dut)
        valid, byte, clear, flush = AnySeq(1), AnySeq(8), AnySeq(1), AnySeq(1)
        m.d.comb += [
            dut.i.valid.eq(valid),
            dut.i.payload.eq(byte),
            dut.clear.eq(clear),
            dut.flush.eq(flush),
        ]
        value = Signal(32)
        current = Signal(8)
        left = Signal(range(9))
        with m.If(left == 0):
            with m.If(valid):
                m.d.sync += [left.eq(8), current.eq(byte)]
        with m.Else():
            m.d.sync += [left.eq(left - 1), current.eq(current >> 1)]
            m.d.sync += value.eq(Mux(flush, value >> 1, step(value, current[0])))
        with m.If(clear):
            m.d.sync += [left.eq(0), value.eq(0)]
        # The block gives the inverse of the CRC.
        inverse = ~value
        m.d.comb += [
            Assert(dut.i.ready == (left == 0)),
            Assert(dut.value == inverse),
            Assert(dut.match == (inverse == CRC_RESIDUE)),
            # What makes it inductive.
            Assert(left <= 8),
            Assert(inner["count"] == (8 - left)[:3]),
            Assert((left == 0) | (inner["shift"] == current)),
        ]
