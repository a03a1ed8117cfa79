"""Two signed 8 × 8 bit products: half an SB_MAC16 each on iCE40, a MULT18X18D each on ECP5."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from . import Technology

#: Cycles from factors to products: input registers and product registers.
MULTIPLIER_LATENCY = 2


class DualMultiplier(wiring.Component):
    """``low = a_low * b_low`` and ``high = a_high * b_high``, signed.

    Latency: ``MULTIPLIER_LATENCY`` cycles. Throughput: a pair of products a cycle. There is no
    back-pressure and no reset.

    Parameters
    ----------
    technology : Technology

    Members
    -------
    a_low, a_high, b_low, b_high : :py:`In(signed(8))`
    low, high : :py:`Out(signed(16))`
    """

    def __init__(self, technology: Technology) -> None:
        self.technology = technology
        factors = ("a_low", "a_high", "b_low", "b_high")
        super().__init__(
            {
                **{name: In(signed(8)) for name in factors},
                "low": Out(signed(16)),
                "high": Out(signed(16)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.technology is Technology.ICE40:
            self._elaborate_mac16(m)
        elif self.technology is Technology.ECP5:
            self._add_mult18(m, "low", self.a_low, self.b_low, self.low)
            self._add_mult18(m, "high", self.a_high, self.b_high, self.high)
        else:
            self._elaborate_registers(m)
        return m

    def _elaborate_registers(self, m: Module) -> None:
        for name, factors, product in (
            ("low", (self.a_low, self.b_low), self.low),
            ("high", (self.a_high, self.b_high), self.high),
        ):
            a = Signal(signed(8), reset_less=True, name=f"{name}_a")
            b = Signal(signed(8), reset_less=True, name=f"{name}_b")
            register = Signal(signed(16), reset_less=True, name=f"{name}_product")
            m.d.sync += [Cat(a, b).eq(Cat(factors)), register.eq(a * b)]
            m.d.comb += product.eq(register)

    def _elaborate_mac16(self, m: Module) -> None:
        # Lattice "DSP Function Usage Guide" (TN1295), dual 8x8 multiplier with input and product
        # registers; the products bypass the accumulators (output select 2).
        products = Signal(32)
        zero, one = Const(0, 1), Const(1, 1)
        m.submodules.mac16 = Instance(
            "SB_MAC16",
            p_NEG_TRIGGER=zero,
            p_A_REG=one,
            p_B_REG=one,
            p_C_REG=zero,
            p_D_REG=zero,
            p_TOP_8x8_MULT_REG=one,
            p_BOT_8x8_MULT_REG=one,
            p_PIPELINE_16x16_MULT_REG1=zero,
            p_PIPELINE_16x16_MULT_REG2=zero,
            p_TOPOUTPUT_SELECT=Const(2, 2),
            p_TOPADDSUB_LOWERINPUT=Const(0, 2),
            p_TOPADDSUB_UPPERINPUT=zero,
            p_TOPADDSUB_CARRYSELECT=Const(0, 2),
            p_BOTOUTPUT_SELECT=Const(2, 2),
            p_BOTADDSUB_LOWERINPUT=Const(0, 2),
            p_BOTADDSUB_UPPERINPUT=zero,
            p_BOTADDSUB_CARRYSELECT=Const(0, 2),
            p_MODE_8x8=one,
            p_A_SIGNED=one,
            p_B_SIGNED=one,
            i_CLK=ClockSignal("sync"),
            i_CE=one,
            i_A=Cat(self.a_low, self.a_high),
            i_B=Cat(self.b_low, self.b_high),
            i_C=Const(0, 16),
            i_D=Const(0, 16),
            i_AHOLD=zero,
            i_BHOLD=zero,
            i_CHOLD=zero,
            i_DHOLD=zero,
            i_IRSTTOP=zero,
            i_IRSTBOT=zero,
            i_ORSTTOP=zero,
            i_ORSTBOT=zero,
            i_OLOADTOP=zero,
            i_OLOADBOT=zero,
            i_ADDSUBTOP=zero,
            i_ADDSUBBOT=zero,
            i_OHOLDTOP=zero,
            i_OHOLDBOT=zero,
            i_CI=zero,
            i_ACCUMCI=zero,
            i_SIGNEXTIN=zero,
            o_O=products,
        )
        m.d.comb += [
            self.low.eq(products[:16].as_signed()),
            self.high.eq(products[16:].as_signed()),
        ]

    def _add_mult18(self, m: Module, name: str, a: Signal, b: Signal, product: Signal) -> None:
        # Lattice "ECP5 and ECP5-5G sysDSP Usage Guide" (TN1267): input and output registers. The
        # factors are at the top of the 18 bits, with zeros below: sign extension would route a net
        # to ten more pins.
        clock, zero, one = ClockSignal("sync"), Const(0, 1), Const(1, 1)
        pins: dict[str, Any] = {}
        for pin, factor in (("A", a), ("B", b)):
            padded = Cat(Const(0, 18 - len(factor)), factor)
            pins.update({f"i_{pin}{bit}": padded[bit] for bit in range(18)})
        result = Signal(36, name=f"{name}_product")
        pins.update({f"o_P{bit}": result[bit] for bit in range(36)})
        m.submodules[f"mult18_{name}"] = Instance(
            "MULT18X18D",
            p_REG_INPUTA_CLK="CLK0",
            p_REG_INPUTB_CLK="CLK0",
            p_REG_OUTPUT_CLK="CLK0",
            p_GSR="DISABLED",
            i_CLK0=clock,
            i_CE0=one,
            i_RST0=zero,
            i_SIGNEDA=one,
            i_SIGNEDB=one,
            i_SOURCEA=zero,
            i_SOURCEB=zero,
            **pins,
        )
        m.d.comb += product.eq(result[20:].as_signed())
