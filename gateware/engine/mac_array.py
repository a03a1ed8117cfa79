"""The multipliers: ``L`` output channels by ``P`` output pixels."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from ..primitives import Technology
from ..primitives.adder import AdderMode, SelectAdder
from ..primitives.multiplier import MULTIPLIER_LATENCY, DualMultiplier

#: Cycles from a step to the accumulators that include it: the buffers' read, the multiplier, the
#: accumulator.
MAC_LATENCY = 1 + MULTIPLIER_LATENCY + 1


class StepFlags(data.Struct):
    """What a step is to its window."""

    first: 1
    last: 1


class MacArray(wiring.Component):
    """``accumulator[p][l] = sum over a window of pixel[p] * weight[l]``, exactly, modulo
    ``2**accumulator_bits``.

    The operands of a step arrive a cycle after it. Throughput: ``L * P`` products a cycle.
    Latency: ``done`` is high MAC_LATENCY cycles after a window's last step; the accumulators hold
    its sums in that cycle. Reference: :func:`numpy.dot` on int8.

    Parameters
    ----------
    configuration : EngineConfiguration
    technology : Technology

    Members
    -------
    step : :py:`In(1)`
    flags : :py:`In(StepFlags)`
    pixels : :py:`In(8)` for each pixel
    weights : :py:`In(8 * L)`
    sums : :py:`Out(accumulator_bits)` for each pixel and lane, ``sums[p][l]``
    done : :py:`Out(1)`
    """

    def __init__(self, configuration: EngineConfiguration, technology: Technology) -> None:
        self.configuration = configuration
        self.technology = technology
        lanes = data.ArrayLayout(configuration.accumulator_bits, configuration.lanes)
        super().__init__(
            {
                "step": In(1),
                "flags": In(StepFlags),
                "pixels": In(data.ArrayLayout(8, configuration.pixels)),
                "weights": In(8 * configuration.lanes),
                "sums": Out(data.ArrayLayout(lanes, configuration.pixels)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid = Signal(MAC_LATENCY - 1)
        first = Signal(MAC_LATENCY - 1)
        last = Signal(MAC_LATENCY)
        m.d.sync += [
            valid.eq(Cat(self.step, valid[:-1])),
            first.eq(Cat(self.flags.first, first[:-1])),
            last.eq(Cat(self.step & self.flags.last, last[:-1])),
        ]
        m.d.comb += self.done.eq(last[-1])
        for pixel in range(self.configuration.pixels):
            for lane in range(0, self.configuration.lanes, 2):
                multiplier = DualMultiplier(self.technology)
                m.submodules[f"multiplier{pixel}_{lane}"] = multiplier
                m.d.comb += [
                    multiplier.a.eq(self.pixels[pixel].as_signed()),
                    multiplier.b_low.eq(self.weights.word_select(lane, 8).as_signed()),
                ]
                self._accumulate(m, pixel, lane, multiplier.low, valid[-1], first[-1])
                if lane + 1 < self.configuration.lanes:
                    m.d.comb += multiplier.b_high.eq(
                        self.weights.word_select(lane + 1, 8).as_signed()
                    )
                    self._accumulate(m, pixel, lane + 1, multiplier.high, valid[-1], first[-1])
        return m

    def _accumulate(
        self, m: Module, pixel: int, lane: int, product: Signal, valid: Signal, first: Signal
    ) -> None:
        bits = self.configuration.accumulator_bits
        total = Signal(bits, reset_less=True, name=f"sum{pixel}_{lane}")
        adder = SelectAdder(bits, AdderMode.LOAD, self.technology)
        m.submodules[f"adder{pixel}_{lane}"] = adder
        extended = Signal(signed(bits), name=f"product{pixel}_{lane}")
        m.d.comb += [
            extended.eq(product),
            adder.a.eq(total),
            adder.b.eq(extended),
            adder.select.eq(first),
            self.sums[pixel][lane].eq(total),
        ]
        with m.If(valid):
            m.d.sync += total.eq(adder.output)
