"""An adder and a multiplexer in the same logic cell: one cell a bit on iCE40 and ECP5."""

from __future__ import annotations

from enum import Enum
from typing import Any

from amaranth.hdl import Const, Instance, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from . import Technology


class AdderMode(Enum):
    """What ``select`` does."""

    #: ``select ? b : a + b``: an accumulator with a load input.
    LOAD = "load"
    #: ``select ? a + b : a``: a row of a multiplier.
    CONDITIONAL = "conditional"
    #: ``select ? b : a + 1``: a counter with a load input.
    COUNT = "count"


#: Truth table of a bit's look-up table in a CCU2C, with ``a`` at A, ``b`` at B, ``select`` at C and
#: one at D. The cell adds the carry to the table's value. Where that is zero, the carry out is the
#: table's lowest quarter, a function of A and B alone. The first bit has no carry in. If the sum is
#: not selected, the quarter is zero wherever the value is zero, so no carry arises.
_CCU2C_INIT = {AdderMode.LOAD: 0xC60C, AdderMode.CONDITIONAL: 0x6A0A}


class SelectAdder(wiring.Component):
    """``width``-bit sum, modulo ``2**width``, with a select input. Combinational.

    On iCE40, each bit is an explicit SB_LUT4 with the carry at I3, because yosys does not merge the
    multiplexer into the adder's cell. On ECP5, two bits are an explicit CCU2C for the same reason.

    Parameters
    ----------
    width : int
    mode : AdderMode
    technology : Technology

    Members
    -------
    a, b : :py:`In(width)`
    select : :py:`In(1)`
    output : :py:`Out(width)`
    """

    def __init__(self, width: int, mode: AdderMode, technology: Technology) -> None:
        self.width = width
        self.mode = mode
        self.technology = technology
        super().__init__({"a": In(width), "b": In(width), "select": In(1), "output": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.technology is Technology.ICE40:
            self._elaborate_cells(m)
        elif self.technology is Technology.ECP5 and self.mode in _CCU2C_INIT:
            self._elaborate_ccu2c(m)
        elif self.mode is AdderMode.LOAD:
            m.d.comb += self.output.eq(Mux(self.select, self.b, self.a + self.b))
        elif self.mode is AdderMode.COUNT:
            m.d.comb += self.output.eq(Mux(self.select, self.b, self.a + 1))
        else:
            m.d.comb += self.output.eq(Mux(self.select, self.a + self.b, self.a))
        return m

    @property
    def lut_init(self) -> int:
        """Truth table of a bit's cell, with I0, I1 and I2 from :meth:`_inputs`, and the carry in at
        I3."""
        init = 0
        for index in range(16):
            first, a, other, carry = (index >> i & 1 for i in range(4))
            if self.mode is AdderMode.COUNT:
                b, select = first, other
                value = b if select else a ^ carry
            else:
                select, b = first, other
                total = a ^ b ^ carry
                if self.mode is AdderMode.LOAD:
                    value = b if select else total
                else:
                    value = total if select else a
            init |= value << index
        return init

    def _inputs(self, bit: int) -> tuple[Value, Value, Value]:
        """A cell's I0, I1 and I2. The carry shares the latter two; in a counter they are ``a`` and
        ``select``, which is low while it counts."""
        a, b = self.a[bit], self.b[bit]
        return (b, a, self.select) if self.mode is AdderMode.COUNT else (self.select, a, b)

    def _elaborate_cells(self, m: Module) -> None:
        counts = self.mode is AdderMode.COUNT
        carry: Signal | Const = Const(counts, 1)
        for bit in range(self.width):
            first, a, other = self._inputs(bit)
            m.submodules[f"sum{bit}"] = Instance(
                "SB_LUT4",
                p_LUT_INIT=Const(self.lut_init, 16),
                i_I0=first,
                i_I1=a,
                i_I2=other,
                i_I3=carry,
                o_O=self.output[bit],
            )
            if bit < self.width - 1:
                carry_out = Signal(name=f"carry{bit}")
                # A counter's increment does not enter as the first carry in, because the chain has
                # no constant for that.
                one_more = counts and bit == 0
                m.submodules[f"chain{bit}"] = Instance(
                    "SB_CARRY",
                    i_I0=a,
                    i_I1=Const(1, 1) if one_more else other,
                    i_CI=Const(0, 1) if one_more else carry,
                    o_CO=carry_out,
                )
                carry = carry_out

    def _elaborate_ccu2c(self, m: Module) -> None:
        init = Const(_CCU2C_INIT[self.mode], 16)
        carry: Signal | Const = Const(0, 1)
        for first in range(0, self.width, 2):
            pins: dict[str, Any] = {}
            for half in range(2):
                bit = first + half
                inside = bit < self.width
                pins |= {
                    f"i_A{half}": self.a[bit] if inside else Const(0, 1),
                    f"i_B{half}": self.b[bit] if inside else Const(0, 1),
                    f"i_C{half}": self.select,
                    f"i_D{half}": Const(1, 1),
                    f"p_INIT{half}": init,
                    f"p_INJECT1_{half}": "NO",
                }
                if inside:
                    pins[f"o_S{half}"] = self.output[bit]
            carry_out = Signal(name=f"carry{first}")
            m.submodules[f"sum{first}"] = Instance("CCU2C", i_CIN=carry, o_COUT=carry_out, **pins)
            carry = carry_out
