"""The requantiser: 24-bit sums become bytes, with TensorFlow Lite's two roundings."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
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
#: After the zero point was added twice: enough for any int8 zero point and a saturated result.
SATURATED_BITS = 11


class ParameterWrite(data.Struct):
    """A lane's parameters on their way into the requantiser's memory, half by half."""

    lane: 5
    bank: range(PARAMETER_BANKS)
    half: 1
    parameter: PARAMETER


class Requantizer(wiring.Component):
    """``clamp(rdp(srdhm(value + bias, 2**30 + multiplier), shift) + zero_point)``, then the table.

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

    Throughput: a result every 2 cycles. Latency: 20 cycles. Back-pressure: none from the results'
    side.

    Parameters
    ----------
    configuration : EngineConfiguration
    technology : Technology
    stages : sequence of int
        Rows of each pipeline stage: an odd number of stages, 15 rows.

    Members
    -------
    layer : :py:`In(LAYER)`
    parameters : :py:`In(stream.Signature(ParameterWrite, always_ready=True))`
    table : :py:`In(stream.Signature({index: 8, value: 8}, always_ready=True))`
    sums : :py:`In(stream.Signature(sum_layout))`
    results : :py:`Out(stream.Signature(8, always_ready=True))`

    Raises
    ------
    ValueError
        If the stages are not an odd number of 15 rows.
    """

    def __init__(
        self,
        configuration: EngineConfiguration,
        technology: Technology,
        stages: Sequence[int] = (3, 3, 3, 3, 3),
    ) -> None:
        if sum(stages) != ROWS or len(stages) % 2 == 0:
            raise ValueError(
                f"The stages must be an odd number with {ROWS} rows in all, because a sum passes "
                f"them twice and must not meet the next one, not {stages!r}"
            )
        self.configuration = configuration
        self.technology = technology
        self.stages = tuple(stages)
        entry = data.StructLayout({"index": 8, "value": 8})
        super().__init__(
            {
                "layer": In(LAYER),
                "parameters": In(stream.Signature(ParameterWrite, always_ready=True)),
                "table": In(stream.Signature(entry, always_ready=True)),
                "sums": In(stream.Signature(sum_layout(configuration))),
                "results": Out(stream.Signature(8, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.configuration.accumulator_bits
        loop = len(self.stages)
        parameter = self._parameter_memory(m)

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
        lane, bank = self.sums.p.lane, self.sums.p.bank
        for cycle in range(loop - 1):
            next_lane = Signal.like(lane, reset_less=True, name=f"lane{cycle}")
            next_bank = Signal.like(bank, reset_less=True, name=f"bank{cycle}")
            m.d.sync += [next_lane.eq(lane), next_bank.eq(bank)]
            lane, bank = next_lane, next_bank
        with m.If(phase):
            m.d.comb += parameter.addr.eq(Cat(1, lane, bank))
        with m.Else():
            m.d.comb += parameter.addr.eq(Cat(0, self.sums.p.lane, self.sums.p.bank))

        x = Signal(signed(bits), reset_less=True, name="x0")
        partial = Signal(signed(bits), reset_less=True, name="partial0")
        multiplier = Signal(ROWS, reset_less=True, name="multiplier0")
        shift = Signal(5, reset_less=True, name="shift0")
        m.d.sync += [multiplier.eq(parameter.data[:ROWS]), shift.eq(parameter.data[ROWS:])]
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
        m.d.comb += biased.eq(self.sums.p.value.as_signed() + parameter.data[ROWS:].as_signed())
        m.d.sync += [entry_x.eq(Mux(enters, biased, x)), entry_partial.eq(product)]
        with m.If(enters):
            m.d.sync += entry_partial.eq(0)

        value, valid = self._round(m, x, product, shift, returned[-1])
        self._finish(m, value, valid)
        return m

    def _parameter_memory(self, m: Module):
        """Two words for each lane and bank: ``multiplier low, bias`` and ``high, shift``."""
        depth = 2 * PARAMETER_BANKS * (1 << (self.configuration.lanes - 1).bit_length())
        width = ROWS + tape.PARAMETER["bias"].width
        m.submodules.parameter_memory = memory = Memory(shape=width, depth=depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        source = self.parameters.payload
        lane = source.lane[: (self.configuration.lanes - 1).bit_length()]
        values = source.parameter
        m.d.comb += [
            write.en.eq(self.parameters.valid),
            write.addr.eq(Cat(source.half, lane, source.bank)),
            write.data.eq(
                Mux(
                    source.half,
                    Cat(values.multiplier[ROWS:], values.shift),
                    Cat(values.multiplier[:ROWS], values.bias),
                )
            ),
            read.en.eq(1),
        ]
        return read

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

    def _round(
        self, m: Module, x: Signal, product, shift: Signal, valid: Signal
    ) -> tuple[Signal, Signal]:
        """Both roundings: twice the quotient of the second, not yet rounded, saturated."""
        bits = len(x)
        # Doubling high multiply: add the top bit's part and a half, drop the last bit.
        total = Signal(signed(bits + 1))
        high = Signal(signed(bits), reset_less=True)
        # Half away from zero: below zero, a tie goes down, so the number is less by one.
        lower, high_shift, high_valid = (
            Signal(reset_less=True),
            Signal(5, reset_less=True),
            Signal(),
        )
        m.d.comb += total.eq(product.as_signed() + x + 1)
        m.d.sync += [
            high.eq(total >> 1),
            lower.eq(x[-1] & (shift != 0)),
            high_shift.eq(shift),
            high_valid.eq(valid),
        ]
        doubled = Signal(signed(bits + 1), reset_less=True)
        doubled_shift, doubled_valid = Signal(5, reset_less=True), Signal()
        lowered = Signal(signed(bits))
        m.d.comb += lowered.eq(high - lower)
        m.d.sync += [
            doubled.eq(Cat(Const(0, 1), lowered)),
            doubled_shift.eq(high_shift),
            doubled_valid.eq(high_valid),
        ]
        coarse = Signal(signed(bits + 1), reset_less=True)
        coarse_shift, coarse_valid = Signal(3, reset_less=True), Signal()
        by_16 = Signal(signed(bits + 1))
        m.d.comb += by_16.eq(Mux(doubled_shift[4], doubled >> 16, doubled))
        m.d.sync += [
            coarse.eq(Mux(doubled_shift[3], by_16 >> 8, by_16)),
            coarse_shift.eq(doubled_shift),
            coarse_valid.eq(doubled_valid),
        ]
        fine = Signal(signed(bits + 1), reset_less=True)
        fine_valid = Signal()
        by_4, by_2 = Signal(signed(bits + 1)), Signal(signed(bits + 1))
        m.d.comb += [
            by_4.eq(Mux(coarse_shift[2], coarse >> 4, coarse)),
            by_2.eq(Mux(coarse_shift[1], by_4 >> 2, by_4)),
        ]
        m.d.sync += [
            fine.eq(Mux(coarse_shift[0], by_2 >> 1, by_2)),
            fine_valid.eq(coarse_valid),
        ]
        saturated = Signal(signed(SATURATED_BITS), reset_less=True)
        saturated_valid = Signal()
        above = fine[SATURATED_BITS - 1 :]
        sign = fine[-1]
        m.d.sync += [
            saturated.eq(
                Mux(
                    above.all() | ~above.any(),
                    fine[:SATURATED_BITS],
                    Cat((~sign).replicate(SATURATED_BITS - 1), sign),
                )
            ),
            saturated_valid.eq(fine_valid),
        ]
        return saturated, saturated_valid

    def _finish(self, m: Module, doubled: Signal, valid: Signal) -> None:
        """Add the zero point, round, clamp, look up."""
        offset = Signal(signed(SATURATED_BITS + 1))
        value = Signal(signed(SATURATED_BITS), reset_less=True)
        value_valid = Signal()
        # The zero point at the doubled scale, and the half to round: 2 * zero_point + 1.
        m.d.comb += offset.eq(doubled + Cat(Const(1, 1), self.layer.zero_point).as_signed())
        m.d.sync += [value.eq(offset >> 1), value_valid.eq(valid)]
        clamped = Signal(8, reset_less=True)
        clamped_valid = Signal()
        m.d.sync += clamped_valid.eq(value_valid)
        with m.If(value < self.layer.minimum):
            m.d.sync += clamped.eq(self.layer.minimum)
        with m.Elif(value > self.layer.maximum):
            m.d.sync += clamped.eq(self.layer.maximum)
        with m.Else():
            m.d.sync += clamped.eq(value)

        m.submodules.table_memory = memory = Memory(shape=8, depth=256, init=[])
        write, read = memory.write_port(), memory.read_port()
        plain = Signal(8, reset_less=True)
        plain_valid = Signal()
        m.d.comb += [
            write.en.eq(self.table.valid),
            write.addr.eq(self.table.p.index),
            write.data.eq(self.table.p.value),
            read.en.eq(1),
            read.addr.eq(clamped ^ 0x80),
        ]
        result = Signal(8, reset_less=True)
        result_valid = Signal()
        m.d.sync += [
            plain.eq(clamped),
            plain_valid.eq(clamped_valid),
            result.eq(Mux(self.layer.table, read.data, plain)),
            result_valid.eq(plain_valid),
        ]
        m.d.comb += [self.results.valid.eq(result_valid), self.results.payload.eq(result)]
