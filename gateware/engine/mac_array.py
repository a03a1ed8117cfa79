"""The multipliers: ``L`` output channels by ``P`` output pixels."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from ..primitives import Technology
from ..primitives.adder import AdderMode, SelectAdder
from ..primitives.multiplier import DualMultiplier


class StepFlags(data.Struct):
    """The role of a step in its window."""

    first: 1
    last: 1


class MacArray(wiring.Component):
    """``accumulator[p][l] = sum over a window of pixel[p] * weight[l]``, exactly, modulo
    ``2**accumulator_bits``.

    In a channel-wise layer the streams bring a word of ``G`` channels, and lane ``l`` multiplies
    channel ``l % G``. The last pixel uses the newest word, and the pixels before it use earlier
    words, which are kept here. Each word is thus read once for all outputs along a line that need
    it.

    In a layer with ``product``, the steps that the tape marks multiply two words of the streams:
    the last pixel's first ``G`` lanes have the word before as their weights, and the word that
    just came is not kept.

    A step's bytes and weights arrive a cycle after it. Throughput: ``L * P`` products a cycle.
    Latency: ``done`` is high :attr:`.EngineConfiguration.mac_latency` cycles after a window's last
    step, and the accumulators hold the window's sums in that cycle. Reference: :func:`numpy.dot` on
    int8.

    Parameters
    ----------
    configuration : EngineConfiguration
    technology : Technology

    Members
    -------
    take : :py:`In(1)`
        A byte of each stream arrives, for a step or only to be kept.
    step : :py:`In(1)`
        With ``take``: multiply.
    flags : :py:`In(StepFlags)`
    channel_wise, every_second : :py:`In(1)`
        Of the layer; ``every_second``: pixel ``p`` sees the word that came two words, not one,
        before pixel ``p + 1``'s.
    product : :py:`In(1)`
        Of the layer, which is channel-wise then: a weight of lane 0 below
        :data:`.interface.tape.LEAST_WEIGHT` is a mark.
    pixels : :py:`In(8)` for each stream
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
                "take": In(1),
                "step": In(1),
                "flags": In(StepFlags),
                "channel_wise": In(1),
                "every_second": In(1),
                "product": In(1),
                "pixels": In(data.ArrayLayout(8, configuration.pixels)),
                "weights": In(8 * configuration.lanes),
                "sums": Out(data.ArrayLayout(lanes, configuration.pixels)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = self.configuration.lanes
        latency = self.configuration.mac_latency
        valid, first, last = Signal(latency - 1), Signal(latency - 1), Signal(latency)
        m.d.sync += [
            valid.eq(Cat(self.step, valid[:-1])),
            first.eq(Cat(self.flags.first, first[:-1])),
            last.eq(Cat(self.step & self.flags.last, last[:-1])),
        ]
        m.d.comb += self.done.eq(last[-1])
        # Below LEAST_WEIGHT, by the two bits that say so.
        marked = Signal()
        m.d.comb += marked.eq(self.product & self.weights[7] & ~self.weights[6])
        words = self._words(m, ~marked)
        entry = Signal.like(self.weights, reset_less=True, name="entry")
        weighted = Mux(marked, words[1], self.weights[: len(words[1])])
        domain = m.d.sync if self.configuration.distributes else m.d.comb
        domain += entry.eq(Cat(weighted, self.weights[len(words[1]) :]))
        weights = [entry.word_select(lane, 8).as_signed() for lane in range(lanes)]
        for pixel, factors in enumerate(self._factors(m, words)):
            for lane in range(0, lanes, 2):
                multiplier = DualMultiplier(self.technology)
                m.submodules[f"multiplier{pixel}_{lane}"] = multiplier
                m.d.comb += [multiplier.a_low.eq(factors[lane]), multiplier.b_low.eq(weights[lane])]
                self._accumulate(m, pixel, lane, multiplier.low, valid[-1], first[-1])
                if lane + 1 < lanes:
                    m.d.comb += [
                        multiplier.a_high.eq(factors[lane + 1]),
                        multiplier.b_high.eq(weights[lane + 1]),
                    ]
                    self._accumulate(m, pixel, lane + 1, multiplier.high, valid[-1], first[-1])
        return m

    def _words(self, m: Module, keeps: Value) -> list[Value]:
        """The newest word, and the words that were kept, the latest first."""
        pixels, group = self.configuration.pixels, self.configuration.channel_group
        oldest = max(1, self.configuration.kept_stride * (pixels - 1))
        word = Cat(self.pixels[channel] for channel in range(group))
        taken = Signal()
        m.d.sync += taken.eq(self.take)
        words = [word]
        for age in range(1, oldest + 1):
            before = Signal(8 * group, reset_less=True, name=f"word{age}")
            with m.If(taken & self.channel_wise & keeps):
                m.d.sync += before.eq(words[-1])
            words.append(before)
        return words

    def _factors(self, m: Module, words: list[Value]) -> list[list[Value]]:
        """The factors that each pixel's lanes multiply with their weights."""
        pixels, group = self.configuration.pixels, self.configuration.channel_group
        stride = self.configuration.kept_stride
        factors = []
        for pixel in range(pixels):
            age = pixels - 1 - pixel
            seen = words[age]
            if age and stride == 2:
                seen = Mux(self.every_second, words[2 * age], seen)
            channels = [
                Signal(signed(8), reset_less=True, name=f"factor{pixel}_{channel}")
                for channel in range(group)
            ]
            for channel, factor in enumerate(channels):
                own = seen.word_select(channel, 8)
                domain = m.d.sync if self.configuration.distributes else m.d.comb
                domain += factor.eq(Mux(self.channel_wise, own, self.pixels[pixel]))
            factors.append([channels[lane % group] for lane in range(self.configuration.lanes)])
        return factors

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
