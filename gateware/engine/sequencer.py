"""The sequencer: reads descriptors and parameters from the ring, and steps through the windows."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface import tape
from ..interface.configuration import EngineConfiguration
from ..interface.protocol import StallCause
from .drain import PARAMETER_BANKS
from .epilogue import TableWrite
from .layer import LAYER, DeltaWrite, struct_layout
from .mac_array import StepFlags
from .requantizer import parameter_write

#: Index of the first control word of a descriptor.
CONTROL = tape.LEVELS


class RingControl(data.Struct):
    """The sequencer's control of the ring; ``freed`` means that an entry is no longer needed."""

    step: 1
    rewind: 1
    mark: 1
    fresh: 1
    freed: 1


class Sequencer(wiring.Component):
    """Run the tape's layers one after the other, from the end of reset.

    For each layer: descriptor, table, then for each tile its parameters and its windows. A window
    is ``taps + 1`` steps; a step takes a byte from each pixel stream and an entry from the ring.
    In a channel-wise layer, the first bytes of each run are taken without a step: they only fill
    the words that the multipliers keep. Entries are fresh in a tile's first window, and freed in
    its last one.

    Throughput: a step a cycle while pixels and weights last and the drain is free.

    Parameters
    ----------
    configuration : EngineConfiguration

    Members
    -------
    entry : :py:`In(8 * L)`, ring_available : :py:`In(1)`, ring : :py:`Out(RingControl)`
        The weight ring.
    pixels_available : :py:`In(1)`
    blocked : :py:`In(1)`
        The drain cannot take another window yet.
    finished : :py:`In(1)`
        The writer has written the layer.
    layers : :py:`In(8)`
        Number of layers to run; 0 for all.
    deltas, parameters, table : streams out, always ready
        For the address generators, the requantiser and the epilogue.
    layer : :py:`Out(LAYER)`
    start : :py:`Out(1)`
        ``layer`` and the deltas are complete: fetcher and writer begin. From a register, a cycle
        after the descriptor was checked, because it enables counters in every block.
    take : :py:`Out(1)`
        A byte of each pixel stream is taken.
    step : :py:`Out(1)`, flags : :py:`Out(StepFlags)`
        A step of the multipliers; never without ``take``.
    bank : :py:`Out(2)`
        Parameter bank of the window under way.
    done, bad_descriptor : :py:`Out(1)`
        The last layer is complete, or a descriptor is invalid. High until the next reset.
    stalled : :py:`Out(StallCause)`, stall : :py:`Out(1)`
        Whether the multipliers waited a cycle ago, and the cause.
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self.configuration = configuration
        super().__init__(
            {
                "entry": In(8 * configuration.lanes),
                "ring_available": In(1),
                "ring": Out(RingControl),
                "pixels_available": In(1),
                "blocked": In(1),
                "finished": In(1),
                "layers": In(8),
                "deltas": Out(stream.Signature(DeltaWrite, always_ready=True)),
                "parameters": Out(
                    stream.Signature(parameter_write(configuration), always_ready=True)
                ),
                "table": Out(stream.Signature(TableWrite, always_ready=True)),
                "layer": Out(LAYER),
                "start": Out(1),
                "take": Out(1),
                "step": Out(1),
                "flags": Out(StepFlags),
                "bank": Out(range(PARAMETER_BANKS)),
                "done": Out(1),
                "bad_descriptor": Out(1),
                "stalled": Out(StallCause),
                "stall": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        # One state machine, whose states share the step's counters.
        m = Module()
        # Words on their way from the ring: an entry arrives a cycle after the step that left it.
        descriptor, table, parameter = Signal(), Signal(), Signal()
        index = Signal(8)
        half = Signal()
        taken = Signal()  # A part of a word leaves the ring.
        last_part = self._parts(m, taken)
        # Kept beside the state and the index, so that neither lies in the way of the ring.
        loading, last_word = Signal(init=1), Signal()
        loaded = Signal()
        parameter_entries = self.configuration.lanes // tape.entry_parameters(self.configuration)
        single_parameter = parameter_entries == 1
        # Memories take a word in two halves: its last part stays for two cycles. Those of several
        # requantisers take it at once.
        comes, whole, halves = Signal(), Signal(), Signal(init=1)
        m.d.comb += [
            comes.eq(loading & self.ring_available),
            whole.eq(comes & Mux(halves, half, last_part)),
            taken.eq(comes & (whole | ~last_part)),
            loaded.eq(whole & last_word),
        ]
        with m.If(comes & last_part & halves):
            m.d.sync += half.eq(~half)
        with m.If(whole):
            m.d.sync += index.eq(index + 1)

        def load(last_index: int, arrives: Signal, in_halves: bool = True) -> None:
            """Load words up to this one; when the last one is taken, ``loaded`` is high."""
            m.d.comb += [arrives.eq(comes & last_part), halves.eq(in_halves)]
            with m.If(whole):
                m.d.sync += last_word.eq(index == last_index - 1)
            with m.If(loaded):
                m.d.sync += [index.eq(0), last_word.eq(single_parameter)]

        self._distribute(m, descriptor, table, parameter, index, half, last_part)
        windows = _Windows(self)
        windows.run(m)
        # Entries of words are new, and needed once.
        m.d.comb += [
            self.ring.step.eq(taken | windows.takes_entry),
            self.ring.fresh.eq(~windows.running | windows.first_window),
            self.ring.freed.eq(taken | (windows.takes_entry & windows.last_window)),
        ]

        layers_left = Signal(8)
        first_layer = Signal(init=1)
        m.d.sync += self.start.eq(0)
        with m.FSM():
            with m.State("LOAD_DESCRIPTOR"):
                load(tape.DESCRIPTOR_WORDS - 1, descriptor)
                with m.If(loaded):
                    m.d.sync += loading.eq(0)
                    m.next = "DESCRIPTOR_ARRIVES"
            with m.State("DESCRIPTOR_ARRIVES"):
                with m.If(first_layer):
                    m.d.sync += [first_layer.eq(0), layers_left.eq(self.layers)]
                m.next = "START_LAYER"
            with m.State("START_LAYER"):
                m.d.sync += self.start.eq(~self.bad_descriptor)
                windows.begin_layer(m)
                m.d.sync += loading.eq(1)
                m.next = "LOAD_PARAMETERS"
                with m.If(self.layer.table | self.layer.add):
                    m.d.sync += last_word.eq(0)
                    m.next = "LOAD_TABLE"
                with m.If(self.bad_descriptor):
                    m.d.sync += loading.eq(0)
                    m.next = "STOPPED"
            with m.State("LOAD_TABLE"):
                load(tape.TABLE_WORDS - 1, table)
                with m.If(loaded):
                    m.next = "LOAD_PARAMETERS"
            with m.State("LOAD_PARAMETERS"):
                load(parameter_entries - 1, parameter, self.configuration.requantizers == 1)
                m.d.comb += self.ring.mark.eq(loaded)
                windows.prepare_tile(m)
                with m.If(loaded):
                    m.d.sync += [windows.running.eq(1), loading.eq(0)]
                    m.next = "RUN_WINDOWS"
            with m.State("RUN_WINDOWS"):
                with m.If(windows.tile_done):
                    m.d.sync += [self.bank.eq(self.bank + 1), loading.eq(1)]
                    m.next = "LOAD_PARAMETERS"
                    with m.If(windows.last_tile):
                        m.d.sync += loading.eq(0)
                        m.next = "FINISH_LAYER"
            with m.State("FINISH_LAYER"):
                with m.If(self.finished):
                    m.d.sync += [layers_left.eq(layers_left - 1), last_word.eq(0), loading.eq(1)]
                    m.next = "LOAD_DESCRIPTOR"
                    with m.If(self.layer.last | (layers_left == 1)):
                        m.d.sync += loading.eq(0)
                        m.next = "STOPPED"
            with m.State("STOPPED"):
                m.d.comb += self.done.eq(1)
        m.d.sync += [
            self.stall.eq(~self.take),
            self.stalled.eq(Mux(windows.running, windows.cause, StallCause.OVERHEAD)),
        ]
        return m

    def _parts(self, m: Module, taken: Signal) -> Signal:
        """Whether the entry at the ring's read pointer is the last of its word."""
        last_part = Signal()
        parts = tape.word_entries(self.configuration)
        part = Signal(range(parts))
        m.d.comb += last_part.eq(part == parts - 1)
        with m.If(taken):
            m.d.sync += part.eq(Mux(last_part, 0, part + 1))
        return last_part

    def _word(self, m: Module, last_part: Signal) -> Value:
        """The word whose last part arrives."""
        parts = tape.word_entries(self.configuration)
        if parts == 1:
            return self.entry
        word = Signal(8 * tape.WORD_BYTES)
        before = Signal((parts - 1) * len(self.entry), reset_less=True)
        arrives = Signal()
        m.d.sync += arrives.eq(self.ring.step & ~last_part)
        with m.If(arrives):
            m.d.sync += before.eq(Cat(before, self.entry)[len(self.entry) :])
        m.d.comb += word.eq(Cat(before, self.entry))
        return word

    def _distribute(
        self,
        m: Module,
        descriptor: Signal,
        table: Signal,
        parameter: Signal,
        index: Signal,
        half: Signal,
        last_part: Signal,
    ) -> None:
        """Send each word to its destination as it arrives."""
        entry = self._word(m, last_part)
        word = entry[: 8 * tape.WORD_BYTES]
        arrived_index = Signal.like(index, reset_less=True)
        arrived_half = Signal(reset_less=True)
        for_control = Signal()
        m.d.sync += [
            arrived_index.eq(index),
            arrived_half.eq(half),
            for_control.eq(descriptor & (index >= CONTROL)),
            self.deltas.valid.eq(descriptor & (index < CONTROL)),
            self.table.valid.eq(table),
            self.parameters.valid.eq(parameter),
        ]
        m.d.comb += [
            self.deltas.p.index.eq(arrived_index),
            self.deltas.p.half.eq(arrived_half),
            self.deltas.p.delta.eq(word),
            self.table.p.index.eq(arrived_index),
            self.table.p.half.eq(arrived_half),
            self.table.p.table.eq(word),
            self.parameters.p.entry.eq(arrived_index),
            self.parameters.p.half.eq(arrived_half),
            self.parameters.p.bank.eq(self.bank),
        ]
        for number in range(tape.entry_parameters(self.configuration)):
            m.d.comb += self.parameters.p.parameters[number].eq(
                entry.word_select(number, 8 * tape.WORD_BYTES)
            )
        absent = {
            name
            for name, present in (
                ("pooled", self.configuration.pooling),
                ("product", self.configuration.products),
            )
            if not present
        }
        for number, control in enumerate(tape.CONTROLS):
            fields = data.View(struct_layout(control), word)
            with m.If(for_control & (arrived_index == CONTROL + number)):
                for field in control.fields:
                    if field.name in absent:
                        # It stays zero, and synthesis removes the logic for it.
                        continue
                    if field.name in LAYER.members:
                        m.d.sync += self.layer[field.name].eq(fields[field.name])
                    elif field.name == "magic":
                        m.d.sync += self.bad_descriptor.eq(fields.magic != tape.DESCRIPTOR_MAGIC)


class _Windows:
    """The sequencer's inner loops: tiles, windows, taps."""

    def __init__(self, sequencer: Sequencer) -> None:
        self.sequencer = sequencer
        layer = sequencer.layer
        self.tap = Signal.like(layer.taps)
        self.word = Signal.like(layer.last_slot)
        self.window = Signal.like(layer.windows)
        self.tile = Signal.like(layer.tiles)
        # Kept beside the counters, so that no comparison lies in a step's path.
        self.last_tap = Signal()
        self.last_window = Signal()
        self.last_tile = Signal()
        self.first_tap = Signal()
        self.filling = Signal()
        self.fills = Signal()
        self.last_fill = Signal(range(2 * sequencer.configuration.pixels))
        self.first_window = Signal()
        self.no_fresh_weights = Signal()
        # Between the first and the last step of a tile: beside the state, for the same reason.
        self.running = Signal()
        self.takes_entry = Signal()
        self.tile_done = Signal()
        self.cause = Signal(StallCause)

    def begin_layer(self, m: Module) -> None:
        layer = self.sequencer.layer
        fill = layer.drain_slots
        if self.sequencer.configuration.kept_stride == 2:
            fill = Mux(layer.every_second, fill << 1, fill)
        m.d.sync += [
            self.fills.eq(layer.channel_wise & (layer.drain_slots != 0)),
            self.last_fill.eq(fill - 1),
        ]
        m.d.sync += [self.tile.eq(layer.tiles), self.last_tile.eq(layer.tiles == 0)]

    def _begin_window(self, m: Module) -> None:
        layer = self.sequencer.layer
        m.d.sync += [
            self.tap.eq(layer.taps),
            self.last_tap.eq(layer.taps == 0),
            self.first_tap.eq(1),
        ]

    def prepare_tile(self, m: Module) -> None:
        """Until it begins, with ``running``: in every cycle, so that nothing waits for the last."""
        layer = self.sequencer.layer
        self._begin_window(m)
        m.d.sync += [
            self.window.eq(layer.windows),
            self.last_window.eq(layer.windows == 0),
            self.first_window.eq(1),
            self.no_fresh_weights.eq(layer.pool),
            self.word.eq(0),
            self.filling.eq(self.fills),
        ]

    def run(self, m: Module) -> None:
        """Step if everything is available; what is missing is the cause of a stall."""
        sequencer = self.sequencer
        layer, ring = sequencer.layer, sequencer.ring
        has_weights, is_free, ready = Signal(), Signal(), Signal()
        m.d.comb += [
            has_weights.eq(sequencer.ring_available | self.no_fresh_weights),
            is_free.eq(~(self.last_tap & sequencer.blocked)),
            ready.eq(has_weights & is_free & ~self.filling),
            sequencer.take.eq(
                self.running & sequencer.pixels_available & (self.filling | has_weights & is_free)
            ),
            sequencer.step.eq(self.running & sequencer.pixels_available & ready),
            sequencer.flags.first.eq(self.first_tap),
            sequencer.flags.last.eq(self.last_tap),
            self.takes_entry.eq(sequencer.step & ~layer.pool),
            ring.rewind.eq(self.running & self.last_tap & ~self.last_window),
            self.tile_done.eq(sequencer.step & self.last_tap & self.last_window),
        ]
        with m.If(~sequencer.pixels_available):
            m.d.comb += self.cause.eq(StallCause.PIXELS)
        with m.Elif(~has_weights):
            m.d.comb += self.cause.eq(StallCause.WEIGHTS)
        with m.Else():
            m.d.comb += self.cause.eq(StallCause.DRAIN)
        with m.If(sequencer.take):
            m.d.sync += self.word.eq(self.word + 1)
            with m.If(self.word == self.last_fill):
                m.d.sync += self.filling.eq(0)
            with m.If(self.word == layer.last_slot):
                m.d.sync += [self.word.eq(0), self.filling.eq(self.fills)]
        with m.If(sequencer.step):
            m.d.sync += [
                self.tap.eq(self.tap - 1),
                self.last_tap.eq(self.tap == 1),
                self.first_tap.eq(0),
            ]
            with m.If(self.last_tap):
                self._begin_window(m)
                m.d.sync += [
                    self.window.eq(self.window - 1),
                    self.last_window.eq(self.window == 1),
                    self.first_window.eq(0),
                    self.no_fresh_weights.eq(1),
                ]
                with m.If(self.last_window):
                    m.d.sync += self.running.eq(0)
                    m.d.sync += [self.tile.eq(self.tile - 1), self.last_tile.eq(self.tile == 1)]
