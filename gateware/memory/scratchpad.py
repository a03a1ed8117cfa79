"""The scratchpad: single-port banks as one address space."""

from amaranth.hdl import Array, Cat, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface import tape
from ..interface.configuration import EngineConfiguration
from ..primitives import Technology
from .bank import Bank
from .bus import ByteBusSignature

ROW_BITS = tape.DELTA["row"].width
#: Cycles from the request of a read on the results' port to its answer.
RESULT_READ_LATENCY = 4


class ResultPortSignature(wiring.Signature):
    """Reads and writes of ``result_bytes`` bytes that never wait.

    Members
    -------
    request : :py:`Out(stream.Signature({address: 20, write: 1, data, mask}, always_ready=True))`
        The address counts bytes and is a multiple of ``result_bytes``; the mask has a bit for each
        byte.
    response : :py:`In(8 * result_bytes)`
        The data of a read, RESULT_READ_LATENCY cycles after its request, for one cycle.
    """

    def __init__(self, result_bytes: int) -> None:
        self.result_bytes = result_bytes
        request = data.StructLayout(
            {"address": 20, "write": 1, "data": 8 * result_bytes, "mask": result_bytes}
        )
        super().__init__(
            {
                "request": Out(stream.Signature(request, always_ready=True)),
                "response": In(8 * result_bytes),
            }
        )


class ReadPortSignature(wiring.Signature):
    """Word reads, in order; each carries a tag that comes back with its data.

    Members
    -------
    request : :py:`Out(stream.Signature({address: 18, enable: 1, tag}))`
        The address counts words. Without ``enable`` nothing is read and the data is undefined, but
        the tag comes back in order.
    response : :py:`In(stream.Signature({data, tag}, always_ready=True))`
    """

    def __init__(self, word_bytes: int, tag: ShapeLike) -> None:
        self.word_bytes = word_bytes
        self.tag = tag
        request = data.StructLayout({"address": ROW_BITS, "enable": 1, "tag": tag})
        response = data.StructLayout({"data": 8 * word_bytes, "tag": tag})
        super().__init__(
            {
                "request": Out(stream.Signature(request)),
                "response": In(stream.Signature(response, always_ready=True)),
            }
        )


class Scratchpad(wiring.Component):
    """The banks, and the arbiter that decides which request each of them serves.

    In a cycle each bank serves one request, in this order of precedence: a read or write of the
    results (or a write of the host), a pixel read, a tape (or host) read. Results are therefore
    never refused, the multipliers' input comes next, and the tape, which the ring buffers, comes
    last. Requests to different banks do not wait for each other, with one exception: the results'
    reads share the tape's response register, so the tape waits for them in any bank.

    Latency: the response comes 3 cycles after a read was granted, and at the earliest 4 cycles
    after it was accepted. Throughput: a read a cycle on each port. Back-pressure: ``results`` never
    waits; the other ports wait for the bank as above. A read that is accepted after a write returns
    what was written.

    Parameters
    ----------
    configuration : EngineConfiguration
    pixel_tag : ShapeLike
        Tag of pixel reads.
    technology : Technology

    Members
    -------
    results : :py:`In(ResultPortSignature(R))`
        The engine's results, and the bytes that they are added to.
    pixels : :py:`In(ReadPortSignature(W, pixel_tag))`
        Its ``ready`` comes from a register, so no grant reaches an address generator in the same
        cycle.
    tape : :py:`In(ReadPortSignature(W, 0))`
        Its ``enable`` must be high.
    host : :py:`In(ByteBusSignature())`
        A write waits while there is a result, and a read while the tape reader makes a request.
    """

    def __init__(
        self, configuration: EngineConfiguration, pixel_tag: ShapeLike, technology: Technology
    ) -> None:
        self.configuration = configuration
        self.technology = technology
        word_bytes = configuration.word_bytes
        super().__init__(
            {
                "results": In(ResultPortSignature(configuration.requantizers)),
                "pixels": In(ReadPortSignature(word_bytes, pixel_tag)),
                "tape": In(ReadPortSignature(word_bytes, 0)),
                "host": In(ByteBusSignature()),
            }
        )

    @property
    def address_bits(self) -> int:
        return (self.configuration.memory_words - 1).bit_length()

    @property
    def lane_bits(self) -> int:
        """Bits of a byte address that select the byte within its word."""
        return (self.configuration.word_bytes - 1).bit_length()

    @property
    def bank_depth(self) -> int:
        return self.configuration.memory_words // self.configuration.banks

    def bank_of(self, address: Signal) -> Signal:
        """The bits of a word address that select its bank (none with one bank)."""
        return address[(self.bank_depth - 1).bit_length() : self.address_bits]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        result = self._result_request(m)
        pixel_waits = Signal()
        pixel_valid, pixel = self._pixel_request(m, pixel_waits)
        tape_valid, tape_address, tape_host, tape_granted = self._tape_request(m)

        # Registers alone decide which request gets a bank.
        pixel_reads = Signal()
        result_bank, pixel_bank, tape_bank = (
            self.bank_of(address) for address in (result.address, pixel.address, tape_address)
        )
        m.d.comb += [
            pixel_reads.eq(pixel_valid & pixel.enable),
            pixel_waits.eq(pixel_reads & result.valid & (pixel_bank == result_bank)),
            tape_granted.eq(
                tape_valid
                & ~(result.valid & (~result.write | (tape_bank == result_bank)))
                & ~(pixel_reads & (tape_bank == pixel_bank))
            ),
        ]

        outputs = []
        for index in range(self.configuration.banks):
            bank = Bank(self.bank_depth, self.configuration.word_bytes, self.technology)
            m.submodules[f"bank{index}"] = bank
            # SPRAMs sit in the corners of the die: their inputs come from registers.
            serves_result, reads_pixel, reads_tape = Signal(), Signal(), Signal()
            m.d.comb += [
                serves_result.eq(result.valid & (result_bank == index)),
                reads_pixel.eq(pixel_reads & (pixel_bank == index)),
                reads_tape.eq(tape_valid & (tape_bank == index)),
            ]
            address = Signal.like(bank.address, reset_less=True)
            mask = Signal.like(bank.mask, reset_less=True)
            enable, write = Signal(), Signal()
            m.d.sync += [
                address.eq(
                    Mux(
                        serves_result,
                        result.address,
                        Mux(reads_pixel, pixel.address, tape_address),
                    )
                ),
                mask.eq(result.mask),
                write.eq(serves_result & result.write),
                enable.eq(serves_result | reads_pixel | reads_tape),
            ]
            m.d.comb += [
                bank.address.eq(address),
                bank.write.eq(write),
                bank.enable.eq(enable),
                bank.mask.eq(mask),
            ]
            outputs.append((bank, bank.read_data))
        stored = Signal.like(result.data, reset_less=True)
        m.d.sync += stored.eq(result.data)
        for bank, _ in outputs:
            m.d.comb += bank.write_data.eq(
                stored.replicate(self.configuration.word_bytes // self.configuration.requantizers)
            )

        words = Array(read_data for _, read_data in outputs)
        self._pixel_response(m, pixel_valid & ~pixel_waits, pixel, words)
        result_reads = result.valid & ~result.write
        self._tape_response(
            m, tape_granted, Mux(result_reads, result_bank, tape_bank), tape_host, words
        )
        return m

    def _result_request(self, m: Module) -> data.View:
        """Register the request of the engine's results or, without one, a byte that the host
        writes."""
        result_bytes = self.configuration.requantizers
        layout = data.StructLayout(
            {
                "valid": 1,
                "write": 1,
                "address": self.address_bits,
                "data": 8 * result_bytes,
                "mask": self.configuration.word_bytes,
            }
        )
        held = Signal(layout)
        results, host = self.results.request, self.host.request
        source, mask = Signal(20), Signal(result_bytes)
        host_mask = Signal(result_bytes)
        m.d.comb += [
            source.eq(Mux(results.valid, results.p.address, host.p.address)),
            host_mask.eq(1 << host.p.address[: (result_bytes - 1).bit_length()]),
            mask.eq(Mux(results.valid, results.p.mask, host_mask)),
        ]
        m.d.sync += [
            held.valid.eq(results.valid | (host.valid & host.p.write)),
            held.write.eq(~results.valid | results.p.write),
            held.address.eq(source >> self.lane_bits),
            held.data.eq(Mux(results.valid, results.p.data, host.p.data.replicate(result_bytes))),
        ]
        parts = self.configuration.word_bytes // result_bytes
        first = source[(result_bytes - 1).bit_length() : self.lane_bits]
        for part in range(parts):
            m.d.sync += held.mask.word_select(part, result_bytes).eq(
                Mux(first == part, mask, 0) if parts > 1 else mask
            )
        return held

    def _pixel_request(self, m: Module, waits: Signal) -> tuple[Signal, data.View]:
        """Register pixel requests twice, so that ``ready`` comes from a register, too: the second
        one holds what arrives during a stall."""
        request = self.pixels.request
        valid, held_valid = Signal(), Signal()
        current = Signal(request.p.shape(), reset_less=True)
        held = Signal(request.p.shape(), reset_less=True)
        m.d.comb += request.ready.eq(~held_valid)
        with m.If(~held_valid):
            m.d.sync += held.eq(request.p)
        m.d.sync += held_valid.eq(waits & (held_valid | request.valid))
        with m.If(~waits):
            m.d.sync += [
                current.eq(Mux(held_valid, held, request.p)),
                valid.eq(held_valid | request.valid),
            ]
        return valid, current

    def _tape_request(self, m: Module) -> tuple[Signal, Signal, Signal, Signal]:
        """Hold a read of the tape reader or, without one, of the host until it is granted."""
        valid, host, granted = Signal(), Signal(), Signal()
        address = Signal(self.address_bits, reset_less=True)
        request, bus = self.tape.request, self.host.request
        accept = Signal()
        m.d.comb += [
            accept.eq(~valid | granted),
            request.ready.eq(accept),
            # A host read does not wait for a grant, so no handshake crosses from here to the link.
            bus.ready.eq(Mux(bus.p.write, ~self.results.request.valid, ~valid & ~request.valid)),
        ]
        with m.If(accept):
            m.d.sync += [
                valid.eq(request.valid | (~valid & bus.valid & ~bus.p.write)),
                host.eq(~request.valid),
                address.eq(Mux(request.valid, request.p.address, bus.p.address[self.lane_bits :])),
            ]
        return valid, address, host, granted

    def _pixel_response(self, m: Module, granted: Signal, request: data.View, words: Array) -> None:
        response = self.pixels.response
        tags = [request.tag]
        valids = [granted]
        banks = [self.bank_of(request.address)]
        for stage in range(2):
            tag = Signal(
                self.pixels.request.p.tag.shape(), reset_less=True, name=f"pixel_tag{stage}"
            )
            valid = Signal(name=f"pixel_valid{stage}")
            bank = Signal(len(banks[0]), reset_less=True, name=f"pixel_bank{stage}")
            m.d.sync += [tag.eq(tags[-1]), valid.eq(valids[-1]), bank.eq(banks[-1])]
            tags.append(tag)
            valids.append(valid)
            banks.append(bank)
        word = Signal(8 * self.configuration.word_bytes, reset_less=True, name="pixel_word")
        valid = Signal(name="pixel_response_valid")
        tag = Signal(self.pixels.request.p.tag.shape(), reset_less=True, name="pixel_response_tag")
        m.d.sync += [word.eq(words[banks[-1]]), valid.eq(valids[-1]), tag.eq(tags[-1])]
        m.d.comb += [response.valid.eq(valid), response.p.data.eq(word), response.p.tag.eq(tag)]

    def _tape_response(
        self, m: Module, granted: Signal, bank: Value, host: Signal, words: Array
    ) -> None:
        """Responses to the tape reader, the host and, in the same register, the results' reads."""
        valid = Signal(3)
        for_host = Signal(3)
        for stage in range(2):
            register = Signal(len(bank), reset_less=True, name=f"tape_bank{stage}")
            m.d.sync += register.eq(bank)
            bank = register
        word = Signal(8 * self.configuration.word_bytes, reset_less=True, name="tape_word")
        m.d.sync += [
            valid.eq(Cat(granted & ~host, valid[:-1])),
            for_host.eq(Cat(granted & host, for_host[:-1])),
            word.eq(words[bank]),
        ]
        # The host has only one read under way, so its request still has that read's byte address.
        lane = Signal(self.lane_bits, reset_less=True)
        with m.If(self.host.request.valid & self.host.request.ready):
            m.d.sync += lane.eq(self.host.request.p.address)
        # A result's part of the word is selected just as late.
        result_bytes = self.configuration.requantizers
        part = self.results.request.p.address[(result_bytes - 1).bit_length() : self.lane_bits]
        for stage in range(RESULT_READ_LATENCY):
            next_part = Signal(len(part), reset_less=True, name=f"result_part{stage}")
            m.d.sync += next_part.eq(part)
            part = next_part
        m.d.comb += [
            self.tape.response.valid.eq(valid[-1]),
            self.tape.response.p.data.eq(word),
            self.host.response.valid.eq(for_host[-1]),
            self.host.response.payload.eq(word.word_select(lane, 8)),
            self.results.response.eq(word.word_select(part, 8 * result_bytes)),
        ]
