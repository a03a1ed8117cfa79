"""The scratchpad: one address space over single-port banks."""

from amaranth.hdl import Array, Cat, Module, Mux, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from ..primitives import Technology
from .bank import Bank
from .bus import ByteBusSignature


class ByteWrite(data.Struct):
    """A byte to store; the address counts bytes."""

    address: 20
    data: 8


class ReadPortSignature(wiring.Signature):
    """Word reads, in order; each carries a tag that comes back with its data.

    Members
    -------
    request : :py:`Out(stream.Signature({address: 16, enable: 1, tag}))`
        The address counts words. Without ``enable`` nothing is read and the data is undefined,
        but the tag comes back in its turn.
    response : :py:`In(stream.Signature({data, tag}, always_ready=True))`
    """

    def __init__(self, word_bytes: int, tag: ShapeLike) -> None:
        self.word_bytes = word_bytes
        self.tag = tag
        request = data.StructLayout({"address": 16, "enable": 1, "tag": tag})
        response = data.StructLayout({"data": 8 * word_bytes, "tag": tag})
        super().__init__(
            {
                "request": Out(stream.Signature(request)),
                "response": In(stream.Signature(response, always_ready=True)),
            }
        )


class Scratchpad(wiring.Component):
    """Banks, and who may use them.

    In a cycle each bank serves one of: a write, a pixel read, a tape (or host) read, in this order
    of precedence. So results are never refused, the multipliers' input comes next, and the tape,
    which the ring buffers, last. Where the requests lie in different banks nobody waits.

    Latency: a read is answered 3 cycles after it was granted, 4 after it was accepted at the
    earliest. Throughput: a read a cycle on each port. A read request accepted after a write was is
    answered with what was written.

    Parameters
    ----------
    configuration : EngineConfiguration
    pixel_tag : ShapeLike
        Tag of pixel reads.
    technology : Technology

    Members
    -------
    results : :py:`In(stream.Signature(ByteWrite, always_ready=True))`
        The engine's results.
    pixels : :py:`In(ReadPortSignature(W, pixel_tag))`
        Its ``ready`` comes from a register, so that no grant reaches an address generator.
    tape : :py:`In(ReadPortSignature(W, 0))`
        Its ``enable`` must be high.
    host : :py:`In(ByteBusSignature())`
        Writes where there is no result, reads where the tape reader rests.
    """

    def __init__(
        self, configuration: EngineConfiguration, pixel_tag: ShapeLike, technology: Technology
    ) -> None:
        self.configuration = configuration
        self.technology = technology
        word_bytes = configuration.word_bytes
        super().__init__(
            {
                "results": In(stream.Signature(ByteWrite, always_ready=True)),
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
        write_valid, write_address, write_byte, write_lane = self._write_request(m)
        pixel_valid, pixel = self._pixel_request(m)
        tape_valid, tape_address, tape_host, tape_granted = self._tape_request(m)

        # Who gets a bank is decided by registers alone.
        pixel_reads = Signal()
        pixel_waits = Signal()
        m.d.comb += [
            pixel_reads.eq(pixel_valid & pixel.enable),
            pixel_waits.eq(
                pixel_reads
                & write_valid
                & (self.bank_of(pixel.address) == self.bank_of(write_address))
            ),
            self._pixel_waits.eq(pixel_waits),
            tape_granted.eq(
                tape_valid
                & ~(write_valid & (self.bank_of(tape_address) == self.bank_of(write_address)))
                & ~(pixel_reads & (self.bank_of(tape_address) == self.bank_of(pixel.address)))
            ),
        ]

        outputs = []
        for index in range(self.configuration.banks):
            bank = Bank(self.bank_depth, self.configuration.word_bytes, self.technology)
            m.submodules[f"bank{index}"] = bank
            # SPRAMs sit in the corners of the die: their inputs come from registers.
            writes, reads_pixel, reads_tape = Signal(), Signal(), Signal()
            m.d.comb += [
                writes.eq(write_valid & (self.bank_of(write_address) == index)),
                reads_pixel.eq(pixel_reads & (self.bank_of(pixel.address) == index)),
                reads_tape.eq(tape_valid & (self.bank_of(tape_address) == index)),
            ]
            address = Signal.like(bank.address, reset_less=True)
            lanes = Signal.like(bank.mask, reset_less=True)
            enable, write = Signal(), Signal()
            m.d.sync += [
                address.eq(
                    Mux(writes, write_address, Mux(reads_pixel, pixel.address, tape_address))
                ),
                lanes.eq(write_lane),
                write.eq(writes),
                enable.eq(writes | reads_pixel | reads_tape),
            ]
            m.d.comb += [
                bank.address.eq(address),
                bank.write.eq(write),
                bank.enable.eq(enable),
                bank.mask.eq(lanes),
            ]
            outputs.append((bank, bank.read_data))
        stored = Signal(8, reset_less=True)
        m.d.sync += stored.eq(write_byte)
        for bank, _ in outputs:
            m.d.comb += bank.write_data.eq(stored.replicate(self.configuration.word_bytes))

        words = Array(read_data for _, read_data in outputs)
        self._pixel_response(m, pixel_valid & ~pixel_waits, pixel, words)
        self._tape_response(m, tape_granted, tape_address, tape_host, words)
        return m

    def _write_request(self, m: Module) -> tuple[Signal, Signal, Signal, Signal]:
        """Register the next byte to store: a result, or what the host sends."""
        valid = Signal()
        address = Signal(self.address_bits, reset_less=True)
        byte = Signal(8, reset_less=True)
        mask = Signal(self.configuration.word_bytes, reset_less=True)
        host = self.host.request
        source = Signal(20)
        m.d.comb += source.eq(Mux(self.results.valid, self.results.payload.address, host.p.address))
        m.d.sync += [
            valid.eq(self.results.valid | (host.valid & host.p.write)),
            address.eq(source >> self.lane_bits),
            byte.eq(Mux(self.results.valid, self.results.payload.data, host.p.data)),
            mask.eq(1 << source[: self.lane_bits]),
        ]
        return valid, address, byte, mask

    def _pixel_request(self, m: Module) -> tuple[Signal, data.View]:
        """Two registers, so that ``ready`` is one: the second holds what came while stalled."""
        request = self.pixels.request
        self._pixel_waits = Signal()
        valid, held_valid = Signal(), Signal()
        current = Signal(request.p.shape(), reset_less=True)
        held = Signal(request.p.shape(), reset_less=True)
        m.d.comb += request.ready.eq(~held_valid)
        with m.If(~held_valid):
            m.d.sync += held.eq(request.p)
        m.d.sync += held_valid.eq(self._pixel_waits & (held_valid | request.valid))
        with m.If(~self._pixel_waits):
            m.d.sync += [
                current.eq(Mux(held_valid, held, request.p)),
                valid.eq(held_valid | request.valid),
            ]
        return valid, current

    def _tape_request(self, m: Module) -> tuple[Signal, Signal, Signal, Signal]:
        """Hold a read of the tape reader, or else of the host, until it is granted."""
        valid, host, granted = Signal(), Signal(), Signal()
        address = Signal(self.address_bits, reset_less=True)
        request, bus = self.tape.request, self.host.request
        accept = Signal()
        m.d.comb += [
            accept.eq(~valid | granted),
            request.ready.eq(accept),
            # A host read does not wait for a grant: no handshake crosses from here to the link.
            bus.ready.eq(Mux(bus.p.write, ~self.results.valid, ~valid & ~request.valid)),
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
        self, m: Module, granted: Signal, address: Signal, host: Signal, words: Array
    ) -> None:
        valid = Signal(3)
        for_host = Signal(3)
        bank = [self.bank_of(address)]
        for stage in range(2):
            register = Signal(len(bank[0]), reset_less=True, name=f"tape_bank{stage}")
            m.d.sync += register.eq(bank[-1])
            bank.append(register)
        word = Signal(8 * self.configuration.word_bytes, reset_less=True, name="tape_word")
        m.d.sync += [
            valid.eq(Cat(granted & ~host, valid[:-1])),
            for_host.eq(Cat(granted & host, for_host[:-1])),
            word.eq(words[bank[-1]]),
        ]
        # The host has one read under way, so that its byte address still stands at its request.
        lane = Signal(self.lane_bits, reset_less=True)
        with m.If(self.host.request.valid & self.host.request.ready):
            m.d.sync += lane.eq(self.host.request.p.address)
        m.d.comb += [
            self.tape.response.valid.eq(valid[-1]),
            self.tape.response.p.data.eq(word),
            self.host.response.valid.eq(for_host[-1]),
            self.host.response.payload.eq(word.word_select(lane, 8)),
        ]
