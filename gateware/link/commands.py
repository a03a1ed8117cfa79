"""The command handler: requests in, replies out."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..engine.control import EngineControlSignature
from ..interface.protocol import Info
from ..interface.timing import MIN_BIT_CYCLES
from ..memory.bus import ByteBusSignature
from .bus_master import BusMaster
from .crc import CRC32
from .instructions import Condition, Port, RareStrobe, Strobe
from .processor import Processor
from .program import VARIABLE_BYTES, command_program
from .reply_sender import ReplySender
from .request_buffer import RequestBuffer
from .uart import DIVISOR_BITS

__all__ = ["CommandHandler"]

#: The bus has addresses of 20 bits.
MAX_MEMORY_BYTES = 1 << 20


class CommandHandler(wiring.Component):
    """Execute what :mod:`gateware.interface.protocol` describes.

    The program in :mod:`.program` says how; this component provides the units that the program
    works with.

    Latency: three cycles an instruction of the program, plus waits for memory, CRC and engine.
    Back-pressure: the next request waits in its buffer; a third one is dropped.

    Parameters
    ----------
    info : Info
        Contents of INFO's reply. The handler itself fills in state and image bytes.
    memory_bytes : int
        Size of the memory; requests beyond it are refused.
    reset_divisor : int
        Clock cycles a bit after reset and after a break.

    Members
    -------
    i : :py:`In(stream.Signature(8, always_ready=True))`
        Encoded requests, at most one byte in ten cycles.
    break_ : :py:`In(1)`
        High for one cycle: return to the reset divisor. A break ends a frame, as a delimiter does.
    error : :py:`In(1)`
        High for one cycle: a byte of the request was lost.
    o : :py:`Out(stream.Signature(8))`
        Encoded replies.
    sent : :py:`In(1)`
        Every byte given at ``o`` has left the line.
    divisor : :py:`Out(DIVISOR_BITS)`
        Clock cycles a bit.
    bus : :py:`Out(ByteBusSignature())`
    engine : :py:`Out(EngineControlSignature())`
    invalidate : :py:`In(1)`
        High for one cycle: the image is no longer valid. Not allowed during CHECK.
    valid : :py:`Out(1)`
        There is a valid image.

    Raises
    ------
    ValueError
        If memory or divisor exceed what addresses and counters can hold.
    """

    def __init__(self, info: Info, memory_bytes: int, reset_divisor: int) -> None:
        if not isinstance(info, Info):
            raise TypeError(f"Info must be a protocol.Info, not {info!r}")
        if not 1 <= memory_bytes <= MAX_MEMORY_BYTES:
            raise ValueError(
                f"Memory must be 1 to {MAX_MEMORY_BYTES} bytes, which the byte bus can address, "
                f"not {memory_bytes!r}"
            )
        if not MIN_BIT_CYCLES <= reset_divisor < 1 << DIVISOR_BITS:
            raise ValueError(
                f"Reset divisor must be at least {MIN_BIT_CYCLES}, for the receiver's tolerance, "
                f"and fit {DIVISOR_BITS} bits, not {reset_divisor!r}"
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
                "invalidate": In(1),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        program, variables = command_program(self._info, self._memory_bytes)
        m.submodules.processor = processor = Processor(program)
        m.submodules.requests = requests = RequestBuffer()
        m.submodules.crc = crc = CRC32()
        m.submodules.bus_master = bus_master = BusMaster(max(1, bits_for(self._memory_bytes - 1)))
        m.submodules.sender = sender = ReplySender()
        # It has two pages: the reply, and the variables.
        m.submodules.memory = memory = Memory(
            shape=8, depth=2 * VARIABLE_BYTES, init=[0] * VARIABLE_BYTES + variables
        )
        strobes, rare = processor.strobes, processor.rare_strobes
        self._connect_memory(m, processor, sender, memory)
        self._connect_ports(m, processor, requests, crc, bus_master)

        wiring.connect(m, bus_master.bus, wiring.flipped(self.bus))
        wiring.connect(m, sender.o, wiring.flipped(self.o))
        # The program has time, so it comes from a register.
        sent = Signal()
        m.d.sync += sent.eq(self.sent & ~sender.busy & ~self.o.valid)
        m.d.comb += [
            # A break's byte is zero, as a delimiter is.
            requests.i.valid.eq(self.i.valid | self.break_),
            requests.i.payload.eq(self.i.payload),
            requests.error.eq(self.error),
            requests.request.ready.eq(rare[RareStrobe.TAKE_REQUEST]),
            requests.address.eq(processor.address),
            processor.request.eq(requests.data),
            bus_master.load.eq(strobes[Strobe.LOAD_ADDRESS]),
            bus_master.read.eq(strobes[Strobe.READ]),
            bus_master.write.eq(strobes[Strobe.WRITE]),
            bus_master.byte.eq(processor.accumulator),
            crc.clear.eq(strobes[Strobe.CLEAR_CRC]),
            crc.i.valid.eq(processor.put | rare[RareStrobe.FLUSH_CRC]),
            crc.i.payload.eq(processor.operand),
            processor.share.eq(sender.busy),
            processor.hold.eq(bus_master.busy | ~crc.i.ready),
            processor.conditions[Condition.REQUEST].eq(requests.request.valid),
            processor.conditions[Condition.ENGINE].eq(self.engine.busy),
            processor.conditions[Condition.SENDING].eq(sender.busy),
            processor.conditions[Condition.SENT].eq(sent),
            self.engine.run.eq(rare[RareStrobe.RUN]),
            self.engine.layers.eq(processor.accumulator),
            self.engine.stall_cause.eq(processor.index),
        ]
        with m.If(crc.i.valid):
            m.d.sync += crc.flush.eq(rare[RareStrobe.FLUSH_CRC])
        with m.If(rare[RareStrobe.SET_VALID]):
            m.d.sync += self.valid.eq(processor.accumulator[0])
        with m.If(self.invalidate):
            m.d.sync += self.valid.eq(0)
        with m.If(rare[RareStrobe.SET_DIVISOR]):
            m.d.sync += self.divisor.eq(Cat(processor.accumulator, processor.index))
        with m.If(self.break_):
            m.d.sync += self.divisor.eq(self._reset_divisor)
        return m

    def _connect_memory(
        self, m: Module, processor: Processor, sender: ReplySender, memory: Memory
    ) -> None:
        write, read = memory.write_port(), memory.read_port()
        turn = Signal()
        m.d.sync += turn.eq(processor.fetching)
        m.d.comb += [
            # Indexed stores go to the reply, all others to the variables.
            write.addr.eq(Cat(processor.address, ~processor.indexed)),
            write.data.eq(processor.accumulator),
            write.en.eq(processor.strobes[Strobe.STORE] | processor.strobes[Strobe.APPEND]),
            read.addr.eq(
                Cat(
                    Mux(processor.fetching, sender.address, processor.address),
                    ~processor.fetching,
                )
            ),
            processor.variable.eq(read.data),
            sender.start.eq(processor.rare_strobes[RareStrobe.SEND_REPLY]),
            sender.turn.eq(turn),
            sender.data.eq(read.data),
        ]

    def _connect_ports(
        self,
        m: Module,
        processor: Processor,
        requests: RequestBuffer,
        crc: CRC32,
        bus_master: BusMaster,
    ) -> None:
        """Drive the port that the processor reads, from a register."""
        engine = self.engine
        best = Signal(16)
        m.d.comb += best.eq(engine.best)
        result = Array([engine.error, Const(0, 8), best[:8], best[8:]])
        others = Array(
            {
                Port.RESPONSE: bus_master.response,
                Port.LENGTH: requests.request.payload,
                Port.CRC: ~crc.value[:8],
                Port.INDEX: processor.index,
            }[port]
            for port in (Port.RESPONSE, Port.LENGTH, Port.CRC, Port.INDEX)
        )
        place = processor.address
        is_other, is_counter, is_result = place[4], place[3], place[2]
        byte, port = Signal(8), Signal(8, reset_less=True)
        with m.If(is_other):
            m.d.comb += byte.eq(others[place[:2]])
        with m.Elif(is_counter):
            m.d.comb += byte.eq(engine.cycles[:8])
        with m.Elif(is_result):
            m.d.comb += byte.eq(result[place[:2]])
        with m.Else():
            m.d.comb += byte.eq(Cat(self.valid, engine.busy))
        m.d.sync += port.eq(Mux(processor.port_wanted, byte, 0))

        counter_read = Signal(reset_less=True)
        m.d.sync += counter_read.eq(processor.port_wanted & is_counter & ~is_other)
        m.d.comb += [
            processor.port.eq(port),
            engine.shift.eq(processor.put & counter_read),
        ]
