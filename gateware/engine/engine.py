"""The engine: from a tape and a picture in memory to the answer in memory."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..interface.configuration import EngineConfiguration
from ..interface.protocol import MAX_RUN_CYCLES, EngineError, StallCause
from ..memory.bus import ByteBusSignature
from ..memory.scratchpad import Scratchpad
from ..primitives import Technology
from ..primitives.adder import AdderMode, SelectAdder
from .control import EngineControlSignature
from .drain import Drain
from .epilogue import Epilogue
from .mac_array import MacArray
from .max_pool import MaxPool
from .pixel_buffers import PixelBuffers
from .requantizer import Requantizer
from .run_generator import RunGenerator
from .sequencer import Sequencer
from .slot_generator import SlotGenerator, pixel_tag
from .weight_ring import TapeReader, WeightRing
from .writer import Writer

#: Cycles for which a run stays busy after its end, so that no read of it is under way.
FLUSH_CYCLES = 16


class Engine(wiring.Component):
    """The whole datapath with its scratchpad.

    Parameters
    ----------
    configuration : EngineConfiguration
    technology : Technology
    max_run_cycles : int
        Number of cycles after which a run ends with :attr:`.EngineError.TIMEOUT`, a power of two.

    Members
    -------
    control : :py:`In(EngineControlSignature())`
    host : :py:`In(ByteBusSignature())`
        The host's access to the scratchpad, also during a run.
    flash : :py:`In(stream.Signature(8 * W))`
        The tape's words from flash, from a run's first to its last; only with a flash.
    wants_flash : :py:`Out(1)`
        A run waits for words of the flash, or takes them.

    Raises
    ------
    ValueError
        If ``max_run_cycles`` is not a power of two.
    """

    def __init__(
        self,
        configuration: EngineConfiguration,
        technology: Technology,
        max_run_cycles: int = MAX_RUN_CYCLES,
    ) -> None:
        if not 1 <= max_run_cycles < 1 << 32 or max_run_cycles & (max_run_cycles - 1):
            raise ValueError(
                f"The longest run must be a power of two below 2**32 cycles, because one bit of "
                f"the counter tells it, not {max_run_cycles!r}"
            )
        self.configuration = configuration
        self.technology = technology
        self.max_run_cycles = max_run_cycles
        super().__init__(
            {
                "control": In(EngineControlSignature()),
                "host": In(ByteBusSignature()),
                "flash": In(stream.Signature(8 * configuration.word_bytes)),
                "wants_flash": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        # Wiring alone, block after block in the order in which a pixel meets them.
        m = Module()
        configuration, technology = self.configuration, self.technology
        memory = Scratchpad(configuration, pixel_tag(configuration), technology)
        tape_reader = TapeReader(configuration)
        ring = WeightRing(configuration)
        runs = RunGenerator()
        slots = SlotGenerator(configuration)
        buffers = PixelBuffers(configuration)
        mac = MacArray(configuration, technology)
        pool = MaxPool(configuration)
        drain = Drain(configuration)
        requantizer = Requantizer(configuration, technology)
        epilogue = Epilogue(configuration)
        writer = Writer(configuration)
        sequencer = Sequencer(configuration)

        # The blocks with a run's state are in reset between runs, so each run begins in the same
        # state.
        idle = Signal()
        m.submodules.memory = memory
        for name, block in (
            ("tape_reader", tape_reader),
            ("ring", ring),
            ("runs", runs),
            ("slots", slots),
            ("buffers", buffers),
            ("mac", mac),
            ("pool", pool),
            ("drain", drain),
            ("requantizer", requantizer),
            ("epilogue", epilogue),
            ("writer", writer),
            ("sequencer", sequencer),
        ):
            m.submodules[name] = ResetInserter(idle)(block)

        # Memory
        connect(m, flipped(self.host), memory.host)
        connect(m, tape_reader.port, memory.tape)
        connect(m, slots.request, memory.pixels.request)
        connect(m, memory.pixels.response, buffers.words)
        connect(m, writer.memory, memory.results.request)
        m.d.comb += epilogue.others.eq(memory.results.response)

        # The tape's way
        connect(m, flipped(self.flash), tape_reader.flash)
        connect(m, tape_reader.words, ring.words)
        m.d.comb += [
            self.wants_flash.eq(tape_reader.wants_flash),
            tape_reader.freed.eq(sequencer.ring.freed),
            ring.step.eq(sequencer.ring.step),
            ring.rewind.eq(sequencer.ring.rewind),
            ring.mark.eq(sequencer.ring.mark),
            ring.fresh.eq(sequencer.ring.fresh),
            sequencer.entry.eq(ring.data),
            sequencer.ring_available.eq(ring.available),
        ]

        # The pixels' way
        connect(m, runs.runs, slots.runs)
        m.d.comb += [
            slots.room.eq(buffers.room),
            buffers.step.eq(sequencer.take),
            buffers.pad_value.eq(sequencer.layer.pad_value),
            buffers.channel_wise.eq(sequencer.layer.channel_wise),
            sequencer.pixels_available.eq(buffers.available),
        ]

        # The sums' way
        for unit in (mac, pool):
            m.d.comb += [
                unit.step.eq(sequencer.step),
                unit.flags.eq(sequencer.flags),
                unit.pixels.eq(buffers.pixels),
            ]
        bank_delayed = Signal.like(sequencer.bank)
        with m.If(sequencer.step):
            m.d.sync += bank_delayed.eq(sequencer.bank)
        m.d.comb += [
            mac.take.eq(sequencer.take),
            mac.channel_wise.eq(sequencer.layer.channel_wise),
            mac.every_second.eq(sequencer.layer.every_second),
            mac.product.eq(sequencer.layer.product),
            mac.weights.eq(ring.data),
            drain.sums.eq(mac.sums),
            drain.load.eq(mac.done & ~sequencer.layer.pool),
            drain.maxima.eq(pool.maxima),
            drain.load_maxima.eq(pool.done & sequencer.layer.pool),
            drain.bank.eq(bank_delayed),
            drain.issued.eq(sequencer.step & sequencer.flags.last),
            sequencer.blocked.eq(drain.blocked),
        ]
        connect(m, drain.results, requantizer.sums)
        connect(m, requantizer.results, epilogue.requantized)
        connect(m, epilogue.results, writer.results)
        m.d.comb += [
            writer.notice.eq(requantizer.results.valid),
            writer.combined.eq(epilogue.combined),
        ]

        # The layer
        m.d.comb += sequencer.finished.eq(writer.finished)
        for block in (runs, slots, drain, requantizer, epilogue, writer):
            m.d.comb += block.layer.eq(sequencer.layer)
        for block in (runs, writer):
            m.d.comb += [
                block.start.eq(sequencer.start),
                block.deltas.valid.eq(sequencer.deltas.valid),
                block.deltas.payload.eq(sequencer.deltas.payload),
            ]
        connect(m, sequencer.parameters, requantizer.parameters)
        connect(m, sequencer.table, epilogue.table)

        self._run(m, idle, sequencer)
        m.d.comb += self.control.best.eq(writer.best)
        return m

    def _run(self, m: Module, idle: Signal, sequencer: Sequencer) -> None:
        """Start, count and stop runs."""
        control = self.control
        layers = Signal(8)
        cause = Signal(StallCause)
        flush = Signal(range(FLUSH_CYCLES))
        running, timeout, stall = Signal(), Signal(), Signal()
        # Running, or flush is not zero: but the link's conditions begin at a register.
        busy = Signal()
        m.d.comb += [
            idle.eq(~running),
            sequencer.layers.eq(layers),
            timeout.eq(control.cycles[self.max_run_cycles.bit_length() - 1]),
            control.busy.eq(busy),
        ]
        cycles, stalls = control.cycles, control.stalls
        # The two are read byte by byte, by rotating them as one number.
        counters = [
            ("cycles", cycles, stalls, running),
            ("stalls", stalls, cycles, running & stall),
        ]
        if not self.configuration.diagnostics:
            counters = [("cycles", cycles, cycles, running)]
        for name, count, other, counts in counters:
            m.submodules[name] = counter = SelectAdder(len(count), AdderMode.COUNT, self.technology)
            m.d.comb += [
                counter.a.eq(count),
                counter.b.eq(Cat(count[8:], other[:8])),
                counter.select.eq(control.shift),
            ]
            with m.If(counts | control.shift):
                m.d.sync += count.eq(counter.output)
        with m.If(running):
            m.d.sync += stall.eq(sequencer.stall & (sequencer.stalled == cause))
            with m.If(sequencer.done | timeout):
                m.d.sync += [running.eq(0), flush.eq(FLUSH_CYCLES - 1)]
            with m.If(sequencer.bad_descriptor):
                m.d.sync += control.error.eq(EngineError.BAD_DESCRIPTOR)
            with m.Elif(timeout):
                m.d.sync += control.error.eq(EngineError.TIMEOUT)
        with m.Elif(flush != 0):
            m.d.sync += flush.eq(flush - 1)
            with m.If(flush == 1):
                m.d.sync += busy.eq(0)
        with m.Elif(control.run):
            m.d.sync += [
                running.eq(1),
                busy.eq(1),
                stall.eq(0),
                layers.eq(control.layers),
                cause.eq(control.stall_cause),
                control.cycles.eq(0),
                control.stalls.eq(0),
                control.error.eq(EngineError.NONE),
            ]
