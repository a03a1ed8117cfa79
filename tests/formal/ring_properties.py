"""The weight ring and its reader: no entry is lost, overwritten, or out of order."""

from __future__ import annotations

from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Module, Mux, Signal

from gateware.engine.weight_ring import TapeReader, WeightRing
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.image import TAPE_ADDRESS
from tests.formal.prover import Property, look_into, open_up

#: Counters of entries and words wrap; no two that are compared are further apart than the ring.
_COUNT = 10


class RingKeepsTheTape(Property):
    """What is read is the tape, entry by entry, for all that may be read again.

    A ring of 16 entries; the memory grants and answers when it will, in order. The steps take what
    is available, go back to the mark and free entries as they will, but keep to the ring's rules:
    none reads, or goes back to, an entry that was freed or never came. Of the tape one word is
    followed, whichever it is.

    Parameters
    ----------
    lanes : int
        2: an entry is a word; 6: it is three.
    """

    def __init__(self, lanes: int, reader: type = TapeReader, ring: type = WeightRing) -> None:
        self.configuration = EngineConfiguration(lanes=lanes, ring_entries=16)
        self.reader = reader
        self.ring = ring

    def build(self, m: Module) -> None:
        configuration = self.configuration
        entries, parts = configuration.ring_entries, configuration.entry_words
        bits = 8 * configuration.word_bytes
        reader, ring = self.reader(configuration), self.ring(configuration)
        m.submodules.reader, of_reader = open_up(reader)
        fragment, of_ring = open_up(ring)
        m.submodules.ring = fragment
        request, response = reader.port.request, reader.port.response
        step, rewind, mark, fresh, freed = (AnySeq(1) for _ in range(5))
        m.d.comb += [
            request.ready.eq(AnySeq(1)),
            response.valid.eq(AnySeq(1)),
            ring.words.valid.eq(reader.words.valid),
            ring.words.payload.eq(reader.words.payload),
            ring.step.eq(step),
            ring.rewind.eq(rewind),
            ring.mark.eq(mark),
            ring.fresh.eq(fresh),
            reader.freed.eq(freed),
        ]

        def counter() -> Signal:
            return Signal(_COUNT)

        def distance(later: Signal, earlier: Signal) -> Signal:
            return (later - earlier)[:_COUNT]

        # Entries that were asked for and that came, each with the words of the next; those that
        # were read; the next one to be read, the marked one, and the first that is not freed.
        asked, came, frontier, place, marked, first = (counter() for _ in range(6))
        asked_word, came_word = Signal(range(parts)), Signal(range(parts))
        granted = request.valid & request.ready
        for count, word, happens in (
            (asked, asked_word, granted),
            (came, came_word, response.valid),
        ):
            with m.If(happens):
                m.d.sync += word.eq(word + 1)
                with m.If(word == parts - 1):
                    m.d.sync += [word.eq(0), count.eq(count + 1)]
        outstanding = (asked != came) | (asked_word != came_word)
        m.d.comb += Assume(~response.valid | outstanding)
        with m.If(step):
            m.d.sync += place.eq(Mux(rewind, marked, place + 1))
            with m.If(mark):
                m.d.sync += marked.eq(place + 1)
            with m.If(fresh):
                m.d.sync += frontier.eq(frontier + 1)
        with m.If(freed):
            m.d.sync += first.eq(first + 1)
        kept = distance(frontier, first)
        m.d.comb += [
            # A fresh step leaves an entry that is there and was not read, another one what was.
            Assume(~(step & fresh) | (ring.available & (place == frontier))),
            Assume(~(step & ~fresh) | (place != frontier)),
            Assume(~(step & rewind) | (distance(marked, first) <= kept)),
            # Freed is only what is not read any more.
            Assume(~freed | (place != first) | (step & ~rewind)),
            Assume(~freed | ~(step & rewind) | (marked != first)),
        ]

        # The word that is followed.
        entry, part = AnyConst(_COUNT), AnyConst(range(parts))
        data = AnyConst(bits)
        elsewhere = AnySeq(bits)
        m.d.comb += [
            Assume(part < parts),
            response.p.data.eq(Mux((came == entry) & (came_word == part), data, elsewhere)),
        ]
        m.d.comb += Assert(~response.valid | (distance(came, first) < entries))
        # What was shown a cycle ago, of an entry that had come.
        shown = Signal()
        m.d.sync += shown.eq((place == entry) & (place != came))
        for number in range(parts):
            m.d.comb += Assert(
                ~shown | (part != number) | (ring.data.word_select(number, bits) == data)
            )
        m.d.comb += Assert(~ring.available | (frontier != came))
        words = counter()
        with m.If(granted):
            m.d.sync += words.eq(words + 1)
        begin = TAPE_ADDRESS // configuration.word_bytes
        m.d.comb += Assert(request.p.address[:_COUNT] == (words + begin)[:_COUNT])

        # What makes it inductive: how all of these follow each other, ...
        order = [first, place, frontier, came, asked]
        for earlier, later in zip(order, order[1:]):
            m.d.comb += Assert(distance(later, earlier) <= entries)
        m.d.comb += [
            Assert(distance(place, first) <= kept),
            Assert(distance(asked, first) <= entries),
            Assert(distance(came, first) <= distance(asked, first)),
            Assert(kept <= distance(came, first)),
            Assert((came != asked) | (came_word <= asked_word)),
            Assert((asked_word < parts) & (came_word < parts)),
            Assert((asked_word == 0) | (distance(asked, first) < entries)),
            # ... the blocks' own counters, ...
            Assert(of_reader["word"] == asked_word),
            Assert(of_ring["word"] == came_word),
            Assert(of_ring["write_pointer"] == came[:4]),
            Assert(of_ring["read_pointer"] == place[:4]),
            Assert(of_ring["marked"] == marked[:4]),
            Assert(of_ring["ahead"] == distance(came, frontier)),
        ]
        counted = of_reader["counted"] if parts > 1 else 0
        space = of_reader["space"]
        m.d.comb += Assert(space == entries + counted - distance(asked, first))
        m.d.comb += Assert(~request.valid | (space > counted))
        # ... and the word in its place.
        within = distance(entry, first) < distance(came, first)
        coming = (entry == came) & (part < came_word)
        for number in range(parts):
            stored = look_into(fragment, f"part{number}", entry[:4])
            m.d.comb += Assert(~((part == number) & (within | coming)) | (stored == data))
