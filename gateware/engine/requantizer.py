"""The requantisers: they scale 24-bit sums to bytes, with TensorFlow Lite's two roundings."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..interface import tape
from ..interface.configuration import EngineConfiguration
from ..primitives import Technology
from ..primitives.adder import AdderMode, SelectAdder
from .drain import PARAMETER_BANKS, sum_layout
from .layer import LAYER, combines, struct_layout

#: Multiplier bits that a pass over the rows takes.
ROWS = 15
PARAMETER = struct_layout(tape.PARAMETER)
#: Cycles from a sum's last pass through the rows to its result: two roundings, a shift in three
#: steps, zero point and clamp.
FINISH_STAGES = 7
#: Of them, from the first rounding on, those up to the last that takes a part of the shift.
SHIFT_STAGES = 3
#: After the zero point was added twice: enough for any int8 zero point and a saturated result.
SATURATED_BITS = 11


def parameter_write(configuration: EngineConfiguration) -> data.StructLayout:
    """An entry of the tape, with the parameters of one lane or of several, to be written to the
    requantiser's memories. With one requantiser it is written in two halves."""
    return data.StructLayout(
        {
            "entry": 5,
            "bank": range(PARAMETER_BANKS),
            "half": 1,
            "parameters": data.ArrayLayout(PARAMETER, tape.entry_parameters(configuration)),
        }
    )


class Requantizer(wiring.Component):
    """``clamp(rdp(srdhm(value + bias, 2**30 + multiplier), shift) + zero_point)`` of ``R`` sums at
    a time.

    ``srdhm`` is gemmlowp's SaturatingRoundingDoublingHighMul and ``rdp`` its RoundingDivideByPOT:
    two roundings, of which the second goes half away from zero. The reference is
    :func:`model.int8.fixed_point.multiply_by_quantized_multiplier`.

    The product is formed by 15 rows of conditional adders, least significant bit first, through
    which each sum passes twice. What falls off to the right is below the product's 31st bit. The
    multiplier's top bit, always one, is added last, together with the first rounding. A single
    requantiser has the rows once: their stages form a loop of an odd length, so that a sum that
    enters in an even cycle returns in an odd one. Several have them twice, one behind the other.

    Range: ``value + bias`` must fit ``accumulator_bits - 1`` bits, which the compiler ensures,
    because the roundings work on up to twice the value.

    In a layer that adds, the clamp is that of int8; the layer's own clamp follows the sum.

    Latency: 22 cycles. Throughput: R results every 2 cycles if R = 1 or the layer combines, else in
    each cycle. Back-pressure: ``results`` never waits.

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
    parameters : :py:`In(stream.Signature(parameter_write, always_ready=True))`
    sums : :py:`In(stream.Signature(sum_layout))`
    results : :py:`Out(stream.Signature(8 * R, always_ready=True))`
        From registers; if the layer combines, an even number of cycles apart.

    Raises
    ------
    ValueError
        If the stages are not an odd number, with 15 rows in total.
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
                "parameters": In(
                    stream.Signature(parameter_write(configuration), always_ready=True)
                ),
                "sums": In(stream.Signature(sum_layout(configuration))),
                "results": Out(results),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        loop = len(self.stages)
        # A sum's parameters are read, and in the next cycle the sum enters the first pass.
        enters, values = Signal(), Signal.like(self.sums.p.values)
        place = Cat(self.sums.p.lanes, self.sums.p.bank)
        # Beginning of the second pass: the cycle in which the rest of its parameters is read.
        later = place
        phase = Signal()
        # The greater of two sums is known in their second cycle.
        primed = Signal()
        m.d.sync += [phase.eq(~phase), primed.eq(self.sums.valid & ~phase)]
        if self.configuration.result_cycles == 2:
            m.d.comb += [
                self.sums.ready.eq(primed),
                enters.eq(self.sums.valid & primed),
                values.eq(self.sums.p.values),
            ]
            # It is stable for two cycles, there and in each register.
            moves, delay = phase, (loop - 1) // 2
        else:
            m.d.comb += self.sums.ready.eq(
                Mux(self.layer.pooled, primed, ~(combines(self.layer) & phase))
            )
            m.d.sync += [
                enters.eq(self.sums.valid & self.sums.ready),
                values.eq(self.sums.p.values),
            ]
            moves, delay = Const(1), loop
        for index in range(delay):
            register = Signal(len(place), reset_less=True, name=f"place{index}")
            with m.If(moves):
                m.d.sync += register.eq(later)
            later = register

        # Cycles since a sum entered: through both passes and the rest.
        under_way = Signal(2 * loop + FINISH_STAGES)
        m.d.sync += under_way.eq(Cat(enters, under_way[:-1]))
        m.d.comb += self.results.valid.eq(under_way[-1])

        requantizers = self.configuration.requantizers
        source = self.parameters.p
        # Entries that fill all rows for a group of R lanes.
        count = tape.entry_parameters(self.configuration)
        entry_bits = (requantizers // count - 1).bit_length()
        for index in range(requantizers):
            m.submodules[f"row{index}"] = row = _Row(
                self.configuration, self.technology, self.stages
            )
            values_written = source.parameters[index % count]
            m.d.comb += [
                row.layer.eq(self.layer),
                row.write.eq(self.parameters.valid & (source.entry[:entry_bits] == index // count)),
                row.write_place.eq(
                    Cat(source.entry[entry_bits:][: len(self.sums.p.lanes)], source.bank)
                ),
                row.write_half.eq(source.half),
                row.write_data[0].eq(Cat(values_written.multiplier[:ROWS], values_written.bias)),
                row.write_data[1].eq(Cat(values_written.multiplier[ROWS:], values_written.shift)),
                row.phase.eq(phase),
                row.place.eq(place),
                row.later.eq(later),
                row.enters.eq(enters),
                row.value.eq(values[index]),
                self.results.payload.word_select(index, 8).eq(row.result),
            ]
        return m


class _Row(wiring.Component):
    """The way of one sum at a time; when something enters and what is read is decided outside."""

    def __init__(
        self, configuration: EngineConfiguration, technology: Technology, stages: Sequence[int]
    ) -> None:
        self.bits = configuration.accumulator_bits
        self.technology = technology
        self.stages = stages
        self.folded = configuration.result_cycles == 2
        lanes = configuration.lanes // configuration.requantizers
        self.depth = PARAMETER_BANKS * (1 << (lanes - 1).bit_length())
        # ``multiplier low, bias`` for the first pass, ``multiplier high, shift`` for the second.
        halves = data.ArrayLayout(ROWS + tape.PARAMETER["bias"].width, 2)
        super().__init__(
            {
                "layer": In(LAYER),
                "write": In(1),
                "write_half": In(1),
                "write_place": In(range(self.depth)),
                "write_data": In(halves),
                "phase": In(1),
                "place": In(range(self.depth)),
                "later": In(range(self.depth)),
                "enters": In(1),
                "value": In(self.bits),
                "result": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.bits
        first, second = self._parameters(m)
        biased = Signal(signed(bits))
        m.d.comb += biased.eq(self.value.as_signed() + first[ROWS:].as_signed())
        x = Signal(signed(bits), reset_less=True, name="x0")
        partial = Signal(signed(bits), reset_less=True, name="partial0")
        if self.folded:
            end, product = self._pass(m, "row", x, partial, first)
            m.d.sync += [x.eq(Mux(self.enters, biased, end)), partial.eq(product)]
            with m.If(self.enters):
                m.d.sync += partial.eq(0)
        else:
            entered = Signal(signed(bits), reset_less=True)
            m.d.sync += entered.eq(biased)
            end, product = self._pass(m, "first", entered, Const(0, signed(bits)), first)
            m.d.sync += [x.eq(end), partial.eq(product)]
            end, product = self._pass(m, "second", x, partial, second)
        self._finish(m, self._round(m, end, product, self._shifts(m, second)))
        return m

    def _parameters(self, m: Module) -> tuple[Value, Value]:
        """What the passes need: read in turn from one memory, or each from its own."""
        parameters = []
        halves = [0] if self.folded else [0, 1]
        for half in halves:
            memory = Memory(
                shape=len(self.write_data[0]), depth=self.depth << int(self.folded), init=[]
            )
            m.submodules[f"memory{half}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [write.en.eq(self.write), read.en.eq(1)]
            if self.folded:
                m.d.comb += [
                    write.addr.eq(Cat(self.write_half, self.write_place)),
                    write.data.eq(self.write_data[self.write_half]),
                    read.addr.eq(Cat(self.phase, Mux(self.phase, self.later, self.place))),
                ]
            else:
                m.d.comb += [
                    write.addr.eq(self.write_place),
                    write.data.eq(self.write_data[half]),
                    read.addr.eq(self.later if half else self.place),
                ]
            parameters.append(read.data)
        return parameters[0], parameters[-1]

    def _pass(
        self, m: Module, name: str, x: Signal, partial: Value, parameter: Value
    ) -> tuple[Signal, Signal]:
        """All stages, from ``x`` and ``partial`` in registers: both behind them."""
        bits = self.bits
        multiplier = Signal(ROWS, reset_less=True, name=f"{name}_multiplier0")
        m.d.sync += multiplier.eq(parameter[:ROWS])
        for stage, rows in enumerate(self.stages):
            product = self._rows(m, f"{name}{stage}", x, partial, multiplier[:rows])
            if stage == len(self.stages) - 1:
                break
            next_x = Signal(signed(bits), reset_less=True, name=f"{name}_x{stage + 1}")
            partial = Signal(signed(bits), reset_less=True, name=f"{name}_partial{stage + 1}")
            rest = Signal(
                len(multiplier) - rows, reset_less=True, name=f"{name}_multiplier{stage + 1}"
            )
            m.d.sync += [next_x.eq(x), partial.eq(product), rest.eq(multiplier[rows:])]
            x, multiplier = next_x, rest
        return x, product

    def _shifts(self, m: Module, parameter: Value) -> list[Signal]:
        """A sum's shift in each cycle from its second pass's first stage on, until it is needed no
        more."""
        shifts: list[Signal] = []
        cycles = len(self.stages) + SHIFT_STAGES
        # Where sums come every other cycle, each register is theirs for two.
        stay = 2 if self.folded else 1
        source: Value = parameter[ROWS:]
        for index in range(-(-cycles // stay)):
            register = Signal(5, reset_less=True, name=f"shift{index}")
            with m.If(~self.phase if self.folded else Const(1)):
                m.d.sync += register.eq(source)
            source = register
            shifts += [register] * stay
        return shifts

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

    def _round(self, m: Module, x: Signal, product: Value, shifts: list[Signal]) -> Signal:
        """Both roundings: twice the quotient of the second, not yet rounded, saturated."""
        bits, loop = len(x), len(self.stages)
        # Doubling high multiply: add the top bit's part and a half, drop the last bit.
        total = Signal(signed(bits + 1))
        high = Signal(signed(bits), reset_less=True)
        # Half away from zero: below zero, a tie goes down, so the number is less by one.
        lower = Signal(reset_less=True)
        m.d.comb += total.eq(product.as_signed() + x + 1)
        m.d.sync += [
            high.eq(total >> 1),
            lower.eq(x[-1] & (shifts[loop - 1] != 0)),
        ]
        doubled = Signal(signed(bits + 1), reset_less=True)
        doubled_shift, coarse_shift = shifts[loop + 1], shifts[loop + 2]
        lowered = Signal(signed(bits))
        m.d.comb += lowered.eq(high - lower)
        m.d.sync += doubled.eq(Cat(Const(0, 1), lowered))
        coarse = Signal(signed(bits + 1), reset_less=True)
        by_16 = Signal(signed(bits + 1))
        m.d.comb += by_16.eq(Mux(doubled_shift[4], doubled >> 16, doubled))
        m.d.sync += coarse.eq(Mux(doubled_shift[3], by_16 >> 8, by_16))
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
        clamped = Signal(8, reset_less=True)
        with m.If(value < low):
            m.d.sync += clamped.eq(low)
        with m.Elif(value > high):
            m.d.sync += clamped.eq(high)
        with m.Else():
            m.d.sync += clamped.eq(value)
        m.d.comb += self.result.eq(clamped)
