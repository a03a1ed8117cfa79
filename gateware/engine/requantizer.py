"""The requantisers: 24-bit sums become bytes, with TensorFlow Lite's two roundings."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..interface import tape
from ..interface.configuration import EngineConfiguration
from ..primitives import Technology
from ..primitives.adder import AdderMode, SelectAdder
from .drain import PARAMETER_BANKS, sum_layout
from .layer import LAYER, struct_layout

#: Multiplier bits that a pass over the rows takes.
ROWS = 15
PARAMETER = struct_layout(tape.PARAMETER)
#: Cycles from a sum's last pass through the rows to its result: two roundings, a shift in three
#: steps, zero point and clamp.
FINISH_STAGES = 7
#: After the zero point was added twice: enough for any int8 zero point and a saturated result.
SATURATED_BITS = 11


class ParameterWrite(data.Struct):
    """A lane's parameters on their way into the requantiser's memory, half by half."""

    lane: 5
    bank: range(PARAMETER_BANKS)
    half: 1
    parameter: PARAMETER


class Requantizer(wiring.Component):
    """``clamp(rdp(srdhm(value + bias, 2**30 + multiplier), shift) + zero_point)`` of ``R`` sums at
    a time.

    ``srdhm`` is gemmlowp's SaturatingRoundingDoublingHighMul and ``rdp`` its RoundingDivideByPOT:
    two roundings, of which the second goes half away from zero. The reference is
    :func:`model.fixed_point.multiply_by_quantized_multiplier`.

    The product is formed by 15 rows of conditional adders, least significant bit first, through
    which each sum passes twice: the rows' stages form a loop of an odd length, so that a sum that
    enters in an even cycle returns in an odd one. What falls off to the right is below the
    product's 31st bit. The multiplier's top bit, always one, is added last, together with the
    first rounding.

    Range: ``value + bias`` must fit ``accumulator_bits - 1`` bits, which the compiler sees to: the
    roundings work on up to twice of it.

    Where the layer adds, the clamp is that of int8: its own comes behind the sum.

    Throughput: R results every 2 cycles. Latency: 22 cycles. Back-pressure: none from the results'
    side.

    Parameters
    ----------
    configuration : EngineConfiguration
    technology : Technology
    stages : sequence of int
        Rows of each pipeline stage: an odd number of stages, 15 rows. The first rounding follows
        the last stage's rows in the same cycle.

    Members
    -------
    layer : :py:`In(LAYER)`
    parameters : :py:`In(stream.Signature(ParameterWrite, always_ready=True))`
    sums : :py:`In(stream.Signature(sum_layout))`
    results : :py:`Out(stream.Signature(8 * R, always_ready=True))`
        From registers; at least 2 cycles apart.

    Raises
    ------
    ValueError
        If the stages are not an odd number of 15 rows.
    """

    def __init__(
        self,
        configuration: EngineConfiguration,
        technology: Technology,
        stages: Sequence[int] = (2, 3, 2, 2, 2, 2, 2),
    ) -> None:
        if sum(stages) != ROWS or len(stages) % 2 == 0:
            raise ValueError(
                f"The stages must be an odd number with {ROWS} rows in all, because a sum passes "
                f"them twice and must not meet the next one, not {stages!r}"
            )
        self.configuration = configuration
        self.technology = technology
        self.stages = tuple(stages)
        results = stream.Signature(8 * configuration.requantizers, always_ready=True)
        super().__init__(
            {
                "layer": In(LAYER),
                "parameters": In(stream.Signature(ParameterWrite, always_ready=True)),
                "sums": In(stream.Signature(sum_layout(configuration))),
                "results": Out(results),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        loop = len(self.stages)
        # Even cycles: a sum's parameters are read. Odd cycles: it enters the loop.
        phase, primed, enters = Signal(), Signal(), Signal()
        m.d.sync += [phase.eq(~phase), primed.eq(self.sums.valid & ~phase)]
        m.d.comb += [self.sums.ready.eq(primed), enters.eq(self.sums.valid & primed)]

        # entered[n]: a sum entered n + 1 cycles ago; returned[n]: it came back so long ago.
        entered, returned = Signal(loop), Signal(loop)
        m.d.sync += [
            entered.eq(Cat(enters, entered[:-1])),
            returned.eq(Cat(entered[-1], returned[:-1])),
        ]
        # The second half of the multiplier is read as the sum nears the end of its first pass.
        place = Cat(self.sums.p.lanes, self.sums.p.bank)
        delayed = place
        for cycle in range(loop - 1):
            register = Signal(len(place), reset_less=True, name=f"place{cycle}")
            m.d.sync += register.eq(delayed)
            delayed = register
        address = Signal(1 + len(place))
        with m.If(phase):
            m.d.comb += address.eq(Cat(1, delayed))
        with m.Else():
            m.d.comb += address.eq(Cat(0, place))

        finishing = Signal(FINISH_STAGES)
        m.d.sync += finishing.eq(Cat(returned[-1], finishing[:-1]))
        m.d.comb += self.results.valid.eq(finishing[-1])

        requantizers = self.configuration.requantizers
        source, values = self.parameters.p, self.parameters.p.parameter
        lane_bits = (requantizers - 1).bit_length()
        for index in range(requantizers):
            m.submodules[f"row{index}"] = row = _Row(
                self.configuration, self.technology, self.stages
            )
            m.d.comb += [
                row.layer.eq(self.layer),
                row.write.eq(self.parameters.valid & (source.lane[:lane_bits] == index)),
                row.write_address.eq(
                    Cat(source.half, source.lane[lane_bits:][: len(self.sums.p.lanes)], source.bank)
                ),
                row.write_data.eq(
                    Mux(
                        source.half,
                        Cat(values.multiplier[ROWS:], values.shift),
                        Cat(values.multiplier[:ROWS], values.bias),
                    )
                ),
                row.address.eq(address),
                row.enters.eq(enters),
                row.value.eq(self.sums.p.values[index]),
                self.results.payload.word_select(index, 8).eq(row.result),
            ]
        return m


class _Row(Elaboratable):
    """The way of one sum at a time; when something enters and what is read is decided outside."""

    def __init__(
        self, configuration: EngineConfiguration, technology: Technology, stages: Sequence[int]
    ) -> None:
        self.bits = configuration.accumulator_bits
        self.technology = technology
        self.stages = stages
        lanes = configuration.lanes // configuration.requantizers
        # Two words for each lane and bank: ``multiplier low, bias`` and ``high, shift``.
        self.depth = 2 * PARAMETER_BANKS * (1 << (lanes - 1).bit_length())
        self.layer = Signal(LAYER)
        self.write = Signal()
        self.write_address = Signal(range(self.depth))
        self.write_data = Signal(ROWS + tape.PARAMETER["bias"].width)
        self.address = Signal(range(self.depth))
        self.enters = Signal()
        self.value = Signal(self.bits)
        self.result = Signal(8, reset_less=True)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, loop = self.bits, len(self.stages)
        width = len(self.write_data)
        m.submodules.memory = memory = Memory(shape=width, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.en.eq(1),
            read.addr.eq(self.address),
        ]
        parameter = read.data

        x = Signal(signed(bits), reset_less=True, name="x0")
        partial = Signal(signed(bits), reset_less=True, name="partial0")
        multiplier = Signal(ROWS, reset_less=True, name="multiplier0")
        shift = Signal(5, reset_less=True, name="shift0")
        m.d.sync += [multiplier.eq(parameter[:ROWS]), shift.eq(parameter[ROWS:])]
        entry_x, entry_partial = x, partial
        for stage, rows in enumerate(self.stages):
            product = self._rows(m, f"row{stage}", x, partial, multiplier[:rows])
            if stage == loop - 1:
                break
            next_x = Signal(signed(bits), reset_less=True, name=f"x{stage + 1}")
            partial = Signal(signed(bits), reset_less=True, name=f"partial{stage + 1}")
            rest = Signal(len(multiplier) - rows, reset_less=True, name=f"multiplier{stage + 1}")
            next_shift = Signal(5, reset_less=True, name=f"shift{stage + 1}")
            m.d.sync += [
                next_x.eq(x),
                partial.eq(product),
                rest.eq(multiplier[rows:]),
                next_shift.eq(shift),
            ]
            x, multiplier, shift = next_x, rest, next_shift
        biased = Signal(signed(bits))
        m.d.comb += biased.eq(self.value.as_signed() + parameter[ROWS:].as_signed())
        m.d.sync += [entry_x.eq(Mux(self.enters, biased, x)), entry_partial.eq(product)]
        with m.If(self.enters):
            m.d.sync += entry_partial.eq(0)

        self._finish(m, self._round(m, x, product, shift))
        return m

    def _rows(self, m: Module, name: str, x: Signal, partial: Signal, multiplier) -> Signal:
        """``floor((partial + x * multiplier) / 2**len(multiplier))``, one bit of it a row."""
        bits = len(x)
        for row, bit in enumerate(multiplier):
            adder = SelectAdder(bits + 1, AdderMode.CONDITIONAL, self.technology)
            m.submodules[f"{name}_{row}"] = adder
            m.d.comb += [
                adder.a.eq(Cat(partial, partial[-1])),
                adder.b.eq(Cat(x, x[-1])),
                adder.select.eq(bit),
            ]
            partial = adder.output[1:]
        return partial

    def _round(self, m: Module, x: Signal, product: Value, shift: Signal) -> Signal:
        """Both roundings: twice the quotient of the second, not yet rounded, saturated."""
        bits = len(x)
        # Doubling high multiply: add the top bit's part and a half, drop the last bit.
        total = Signal(signed(bits + 1))
        high = Signal(signed(bits), reset_less=True)
        # Half away from zero: below zero, a tie goes down, so the number is less by one.
        lower, high_shift = Signal(reset_less=True), Signal(5, reset_less=True)
        m.d.comb += total.eq(product.as_signed() + x + 1)
        m.d.sync += [
            high.eq(total >> 1),
            lower.eq(x[-1] & (shift != 0)),
            high_shift.eq(shift),
        ]
        doubled = Signal(signed(bits + 1), reset_less=True)
        doubled_shift = Signal(5, reset_less=True)
        lowered = Signal(signed(bits))
        m.d.comb += lowered.eq(high - lower)
        m.d.sync += [doubled.eq(Cat(Const(0, 1), lowered)), doubled_shift.eq(high_shift)]
        coarse = Signal(signed(bits + 1), reset_less=True)
        coarse_shift = Signal(3, reset_less=True)
        by_16 = Signal(signed(bits + 1))
        m.d.comb += by_16.eq(Mux(doubled_shift[4], doubled >> 16, doubled))
        m.d.sync += [
            coarse.eq(Mux(doubled_shift[3], by_16 >> 8, by_16)),
            coarse_shift.eq(doubled_shift),
        ]
        fine = Signal(signed(bits + 1), reset_less=True)
        by_4, by_2 = Signal(signed(bits + 1)), Signal(signed(bits + 1))
        m.d.comb += [
            by_4.eq(Mux(coarse_shift[2], coarse >> 4, coarse)),
            by_2.eq(Mux(coarse_shift[1], by_4 >> 2, by_4)),
        ]
        m.d.sync += fine.eq(Mux(coarse_shift[0], by_2 >> 1, by_2))
        saturated = Signal(signed(SATURATED_BITS), reset_less=True)
        above = fine[SATURATED_BITS - 1 :]
        sign = fine[-1]
        m.d.sync += saturated.eq(
            Mux(
                above.all() | ~above.any(),
                fine[:SATURATED_BITS],
                Cat((~sign).replicate(SATURATED_BITS - 1), sign),
            )
        )
        return saturated

    def _finish(self, m: Module, doubled: Signal) -> None:
        """Add the zero point, round, clamp."""
        offset = Signal(signed(SATURATED_BITS + 1))
        value = Signal(signed(SATURATED_BITS), reset_less=True)
        # The zero point at the doubled scale, and the half to round: 2 * zero_point + 1.
        m.d.comb += offset.eq(doubled + Cat(Const(1, 1), self.layer.zero_point).as_signed())
        m.d.sync += value.eq(offset >> 1)
        low, high = Signal(signed(8)), Signal(signed(8))
        m.d.comb += [
            low.eq(Mux(self.layer.add, -128, self.layer.minimum)),
            high.eq(Mux(self.layer.add, 127, self.layer.maximum)),
        ]
        with m.If(value < low):
            m.d.sync += self.result.eq(low)
        with m.Elif(value > high):
            m.d.sync += self.result.eq(high)
        with m.Else():
            m.d.sync += self.result.eq(value)
