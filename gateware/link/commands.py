"""The command handler: requests in, replies out."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..engine.control import EngineControlSignature
from ..interface.protocol import (
    CRC_BYTES,
    MAX_PAYLOAD,
    REPLY_FLAG,
    REQUEST_HEADER_BYTES,
    Info,
    Opcode,
    Status,
)
from ..memory.bus import ByteBusSignature
from .crc import CRC32
from .reply_buffer import ReplyBuffer
from .request_buffer import RequestBuffer
from .uart import DIVISOR_BITS, MIN_DIVISOR

__all__ = ["CommandHandler"]


def _bytes_of(value: Value, count: int) -> list[Value]:
    """Little-endian bytes of ``value``, extended with zeros."""
    padded = Cat(value, Const(0, 8 * count))
    return [padded[8 * place : 8 * place + 8] for place in range(count)]


#: The bus carries addresses of 20 bits.
MAX_MEMORY_BYTES = 1 << 20

# What INFO and RESULT report is one table of 64 bytes, of which each reply takes a part.
REPORT_BYTES = 64
RESULT_PLACE = 48
STATE_PLACE = 60


class CommandHandler(wiring.Component):
    """Execute what :mod:`gateware.interface.protocol` describes.

    A request is walked through twice. The first time it is judged: everything that may be wrong
    with it is found, in particular every address that it means is visited without touching the
    memory, so that a request that is refused has changed nothing. (CHECK does its work here, and
    one that fails leaves no valid image.) The second time it is carried out, and its reply is made
    meanwhile.

    Latency: about 100 cycles from a request's delimiter to its reply's first byte, and in addition
    three for each byte to be written, eleven for each byte to be read, and twelve for each byte of
    memory to be checked, where the memory answers at once; for INFO about 500, for RESULT 170.
    Back-pressure: the next request waits in its buffer; a third
    one is dropped.

    Parameters
    ----------
    info : Info
        What INFO tells. State and image bytes come from the handler.
    memory_bytes : int
        Addresses from here on are refused.
    reset_divisor : int
        Clock cycles a bit after reset and after a break.

    Members
    -------
    i : :py:`In(stream.Signature(8, always_ready=True))`
        Encoded requests, at most a byte in ten cycles.
    break_ : :py:`In(1)`
        High for one cycle: back to the reset divisor. Ends a frame as a delimiter does.
    error : :py:`In(1)`
        High for one cycle: a byte of the request was lost.
    o : :py:`Out(stream.Signature(8))`
        Encoded replies.
    sent : :py:`In(1)`
        Whatever was given at ``o`` has left.
    divisor : :py:`Out(DIVISOR_BITS)`
        Clock cycles a bit.
    bus : :py:`Out(ByteBusSignature())`
    engine : :py:`Out(EngineControlSignature())`
    valid : :py:`Out(1)`
        There is a valid image.

    Raises
    ------
    ValueError
        If memory or divisor are outside what addresses and counters can hold.
    """

    def __init__(self, info: Info, memory_bytes: int, reset_divisor: int) -> None:
        if not isinstance(info, Info):
            raise TypeError(f"Info must be a protocol.Info, not {info!r}")
        if not 1 <= memory_bytes <= MAX_MEMORY_BYTES:
            raise ValueError(
                f"Memory must be 1 to {MAX_MEMORY_BYTES} bytes, which the byte bus can address, "
                f"not {memory_bytes!r}"
            )
        if not MIN_DIVISOR <= reset_divisor < 1 << DIVISOR_BITS:
            raise ValueError(
                f"Reset divisor must be at least {MIN_DIVISOR}, for the receiver's tolerance, and "
                f"fit {DIVISOR_BITS} bits, not {reset_divisor!r}"
            )
        self._info = info
        self._memory_bytes = memory_bytes
        self._reset_divisor = reset_divisor
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "break_": In(1),
                "error": In(1),
                "o": Out(stream.Signature(8)),
                "sent": In(1),
                "divisor": Out(DIVISOR_BITS, init=reset_divisor),
                "bus": Out(ByteBusSignature()),
                "engine": Out(EngineControlSignature()),
                "valid": Out(1),
            }
        )

    @property
    def address_bits(self) -> int:
        """Bits of an address that are kept: the memory's end, which CHECK may name, fits."""
        return max(bits_for(self._memory_bytes), DIVISOR_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.requests = requests = RequestBuffer()
        m.submodules.reply = reply = ReplyBuffer()
        m.submodules.crc = crc = CRC32()
        wiring.connect(m, reply.o, wiring.flipped(self.o))
        m.d.comb += [
            # A break's byte is zero, as the delimiter.
            requests.i.valid.eq(self.i.valid | self.break_),
            requests.i.payload.eq(self.i.payload),
            requests.error.eq(self.error),
        ]

        replying = Signal()
        opcode = Signal(Opcode, reset_less=True)
        unknown = Signal(reset_less=True)
        address = Signal(self.address_bits, reset_less=True)
        # The address has bits beyond those that are kept.
        far = Signal(reset_less=True)
        index = Signal(8)
        end = Signal(8, reset_less=True)
        status = Signal(Status, reset_less=True)
        image_end = Signal(self.address_bits, reset_less=True)
        byte = requests.data
        m.d.comb += requests.address.eq(index)

        beyond = Signal()
        in_image = Signal(reset_less=True)
        at_end = Signal()
        m.d.comb += [
            beyond.eq(far | (address >= self._memory_bytes)),
            at_end.eq(index == end),
        ]
        # A cycle late, to keep comparisons apart from what they decide.
        fits = Signal(reset_less=True)
        outside = Signal(reset_less=True)
        m.d.sync += [
            in_image.eq(address < image_end),
            outside.eq(far | (address > self._memory_bytes)),
        ]
        for code in Opcode:
            bytes_ = REQUEST_HEADER_BYTES + {Opcode.READ: 1, Opcode.RUN: 2}.get(code, 0)
            with m.If(opcode == code):
                m.d.sync += fits.eq(end == bytes_ if code != Opcode.WRITE else end != bytes_)

        sources: list[tuple[Signal, Value]] = []

        def put(value: Value) -> None:
            """Add a byte to the reply and to its CRC."""
            chosen = Signal(name=f"put_{len(sources)}")
            sources.append((chosen, value))
            m.d.comb += [chosen.eq(1), reply.i.valid.eq(crc.i.ready), crc.i.valid.eq(1)]

        def step() -> None:
            m.d.sync += index.eq(index + 1)

        def load_address(place: int) -> None:
            """Take an address byte; the bits that the memory has no use for are only noticed."""
            low = 8 * place
            kept = address[low : low + 8]
            excess = byte[len(kept) :].any()
            m.d.sync += [kept.eq(byte), far.eq(excess if place == 0 else far | excess)]

        def conclude(value: Status) -> None:
            """The judgement is made: now carry the request out and reply."""
            m.d.sync += status.eq(value)
            m.next = "Begin the reply"

        def walk_header() -> None:
            with m.State("Fetch a header byte"):
                m.next = "Take a header byte"
            with m.State("Take a header byte"):
                m.next = "Fetch a header byte"
                taken = Signal()
                m.d.comb += taken.eq(1)
                with m.Switch(index[:3]):
                    with m.Case(0):
                        with m.If(replying):
                            put(byte)
                            m.d.comb += taken.eq(crc.i.ready)
                    with m.Case(1):
                        m.d.sync += [
                            opcode.eq(byte[: len(opcode)]),
                            unknown.eq(byte > max(Opcode)),
                        ]
                        with m.If(replying):
                            put(byte | REPLY_FLAG)
                            m.d.comb += taken.eq(crc.i.ready)
                    for place in range(3):
                        with m.Case(2 + place):
                            load_address(place)
                with m.If(taken):
                    step()
                    with m.If(index[2]):
                        m.next = "Compare"
                        with m.If(replying):
                            m.next = "Put the status"
                with m.Else():
                    m.next = "Take a header byte"

        def judge() -> None:
            with m.State("Compare"):
                m.next = "Judge"
            with m.State("Judge"):
                with m.If(unknown):
                    conclude(Status.BAD_OPCODE)
                with m.Elif(~fits):
                    conclude(Status.BAD_LENGTH)
                with m.Else():
                    with m.Switch(opcode):
                        for code in Opcode:
                            with m.Case(code):
                                judge_opcode[code]()

        def judge_info() -> None:
            conclude(Status.OK)

        def judge_write() -> None:
            m.next = "Visit the addresses"
            with m.If(self.valid & in_image & self.engine.busy):
                conclude(Status.BUSY)

        def judge_with_payload() -> None:
            m.next = "Take the payload"

        def judge_check() -> None:
            with m.If(outside):
                conclude(Status.BAD_ADDRESS)
            with m.Elif(self.engine.busy):
                conclude(Status.BUSY)
            with m.Else():
                m.d.sync += [self.valid.eq(0), image_end.eq(address), address.eq(0)]
                m.next = "Begin the check"

        def judge_result() -> None:
            m.next = "Wait for the engine"

        def judge_baud() -> None:
            conclude(Status.OK)
            with m.If(far | address[DIVISOR_BITS:].any() | (address[:DIVISOR_BITS] < MIN_DIVISOR)):
                conclude(Status.BAD_ADDRESS)

        judge_opcode = {
            Opcode.INFO: judge_info,
            Opcode.WRITE: judge_write,
            Opcode.READ: judge_with_payload,
            Opcode.CHECK: judge_check,
            Opcode.RUN: judge_with_payload,
            Opcode.RESULT: judge_result,
            Opcode.BAUD: judge_baud,
        }

        def judge_further() -> None:
            with m.State("Take the payload"):
                # READ's count or RUN's layers: the place of the payload's end is free by now.
                m.d.sync += end.eq(byte)
                with m.If(opcode == Opcode.RUN):
                    step()
                    m.next = "Fetch the stall cause"
                with m.Else():
                    m.d.sync += index.eq(0)
                    m.next = "Visit the addresses"
                    with m.If((byte == 0) | (byte > MAX_PAYLOAD)):
                        conclude(Status.BAD_LENGTH)
            with m.State("Visit the addresses"):
                step()
                m.d.sync += address.eq(address + 1)
                with m.If(at_end):
                    conclude(Status.OK)
                with m.Elif(beyond):
                    conclude(Status.BAD_ADDRESS)
            with m.State("Fetch the stall cause"):
                m.next = "Run"
            with m.State("Run"):
                conclude(Status.OK)
                with m.If(~self.valid):
                    conclude(Status.NO_MODEL)
                with m.Elif(self.engine.busy):
                    conclude(Status.BUSY)
                with m.Else():
                    m.d.comb += self.engine.run.eq(1)
            with m.State("Wait for the engine"):
                with m.If(~self.engine.busy):
                    conclude(Status.OK)
            with m.State("Begin the check"):
                m.next = "Ask for a byte"
            with m.State("Conclude the check"):
                conclude(Status.CRC_MISMATCH)
                with m.If(crc.match):
                    m.d.sync += self.valid.eq(1)
                    conclude(Status.OK)

        m.d.comb += [
            self.engine.layers.eq(end),
            self.engine.stall_cause.eq(byte),
        ]

        def begin_reply() -> None:
            with m.State("Begin the reply"):
                m.d.comb += crc.clear.eq(1)
                m.d.sync += [replying.eq(1), index.eq(0)]
                m.next = "Fetch a header byte"
            with m.State("Put the status"):
                put(status)
                with m.If(crc.i.ready):
                    m.d.sync += index.eq(0)
                    m.next = "Put the CRC"
                    with m.If(status == Status.OK):
                        with m.Switch(opcode):
                            with m.Case(Opcode.INFO, Opcode.RESULT):
                                m.next = "Look up a report byte"
                            with m.Case(Opcode.WRITE):
                                m.d.sync += index.eq(REQUEST_HEADER_BYTES)
                                m.next = "Fetch a byte to write"
                            with m.Case(Opcode.READ):
                                m.next = "Ask for a byte"

        def write_memory() -> None:
            with m.State("Fetch a byte to write"):
                m.next = "Write a byte"
                with m.If(at_end):
                    m.d.sync += index.eq(0)
                    m.next = "Put the CRC"
            with m.State("Write a byte"):
                m.d.comb += [self.bus.request.valid.eq(1), self.bus.request.p.write.eq(1)]
                with m.If(in_image):
                    m.d.sync += self.valid.eq(0)
                with m.If(self.bus.request.ready):
                    step()
                    m.d.sync += address.eq(address + 1)
                    m.next = "Fetch a byte to write"

        def read_memory() -> None:
            """For READ, into the reply; for CHECK, only through the CRC."""
            done = Signal()
            m.d.comb += done.eq((replying & at_end) | (~replying & ~in_image))
            with m.State("Ask for a byte"):
                # The answer must be taken when it comes.
                with m.If(crc.i.ready):
                    with m.If(done):
                        m.d.sync += index.eq(0)
                        m.next = "Conclude the check"
                        with m.If(replying):
                            m.next = "Put the CRC"
                    with m.Else():
                        m.d.comb += self.bus.request.valid.eq(1)
                        with m.If(self.bus.request.ready):
                            m.next = "Wait for the byte"
            with m.State("Wait for the byte"):
                put(self.bus.response.payload)
                m.d.comb += [
                    crc.i.valid.eq(self.bus.response.valid),
                    reply.i.valid.eq(self.bus.response.valid & replying),
                ]
                with m.If(self.bus.response.valid):
                    step()
                    m.d.sync += address.eq(address + 1)
                    m.next = "Ask for a byte"

        m.d.comb += [
            self.bus.request.p.address.eq(address),
            self.bus.request.p.data.eq(byte),
        ]

        static_bytes = self._info.pack()[: Info.STATIC_BYTES]
        dynamic = Array(
            [
                *_bytes_of(self.engine.error, 2),
                *_bytes_of(self.engine.best, 2),
                *_bytes_of(self.engine.cycles, 4),
                *_bytes_of(self.engine.stalls, 4),
                Cat(self.valid, self.engine.busy),
                *_bytes_of(image_end, 3),
            ]
        )

        def static(place: Value) -> Value:
            """A truth table for each bit: a memory would become a block RAM."""
            return Cat(
                Const(
                    sum((byte >> bit & 1) << at for at, byte in enumerate(static_bytes)), 64
                ).bit_select(place, 1)
                for bit in range(8)
            )

        def report() -> None:
            wanted = Signal()
            report_byte = Signal(8, reset_less=True)
            is_result = (index[4:6] == 3) & (index[2:4] != 3)
            is_info = (index < Info.STATIC_BYTES) | (index[2:6] == 15)
            m.d.comb += wanted.eq(Mux(opcode == Opcode.RESULT, is_result, is_info))
            m.d.sync += report_byte.eq(Mux(index[4:6] == 3, dynamic[index[:4]], static(index[:6])))
            with m.State("Look up a report byte"):
                m.next = "Put a report byte"
                with m.If(index[6]):
                    m.d.sync += index.eq(0)
                    m.next = "Put the CRC"
                with m.Elif(~wanted):
                    step()
                    m.next = "Look up a report byte"
            with m.State("Put a report byte"):
                put(report_byte)
                with m.If(crc.i.ready):
                    step()
                    m.next = "Look up a report byte"

        def end_reply() -> None:
            with m.State("Put the CRC"):
                put(~crc.value[:8])
                with m.If(crc.i.ready):
                    step()
                    m.next = "Flush a CRC byte"
            with m.State("Flush a CRC byte"):
                m.d.comb += crc.flush.eq(1)
                with m.If(crc.i.ready):
                    m.next = "Put the CRC"
                    with m.If(index[:3] == CRC_BYTES):
                        m.next = "End the reply"
            with m.State("End the reply"):
                m.d.comb += [reply.i.valid.eq(1), reply.i.p.end.eq(1)]
                with m.If(reply.i.ready):
                    m.next = "Wait for a request"
                    with m.If((opcode == Opcode.BAUD) & (status == Status.OK)):
                        m.next = "Wait until the reply has left"
            with m.State("Wait until the reply has left"):
                with m.If(reply.idle & self.sent):
                    m.d.sync += self.divisor.eq(address[:DIVISOR_BITS])
                    m.next = "Wait for a request"

        with m.FSM():
            with m.State("Wait for a request"):
                m.d.comb += [requests.request.ready.eq(1), crc.clear.eq(1)]
                m.d.sync += [index.eq(0), replying.eq(0), end.eq(requests.request.payload)]
                with m.If(requests.request.valid):
                    m.next = "Fetch a header byte"
            walk_header()
            judge()
            judge_further()
            begin_reply()
            write_memory()
            read_memory()
            report()
            end_reply()

        # Smaller than a multiplexer.
        put_byte = Const(0, 8)
        for chosen, value in sources:
            put_byte = put_byte | Mux(chosen, value, 0)
        m.d.comb += [reply.i.p.data.eq(put_byte), crc.i.payload.eq(put_byte)]

        with m.If(self.break_):
            m.d.sync += self.divisor.eq(self._reset_divisor)

        return m
