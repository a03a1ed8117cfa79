"""The command handler: every opcode, every status, and whatever else may arrive."""

import dataclasses
import gc
import random
import warnings
import zlib

import pytest
from amaranth.hdl import UnusedElaboratable

from gateware.interface.protocol import (
    MAX_PAYLOAD,
    MAX_READ,
    EngineError,
    Info,
    Opcode,
    Result,
    State,
    Status,
)
from gateware.link.commands import CommandHandler
from tests.gateware.link.serial_bench import INFO, CommandBench, cobs_encode, request, with_crc

IMAGE = with_crc(random.Random(10).randbytes(96))


def test_info() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        reply = await bench.ask(ctx, Opcode.INFO)
        assert reply.status == Status.OK
        found = Info.unpack(reply.payload)
        assert dataclasses.replace(found, image_bytes=0) == INFO
        await bench.upload(ctx, IMAGE)
        bench.run_cycles = 2000
        assert (await bench.ask(ctx, Opcode.RUN, 0, b"\0\0")).status == Status.OK
        found = Info.unpack((await bench.ask(ctx, Opcode.INFO)).payload)
        assert found == dataclasses.replace(
            INFO, image_bytes=len(IMAGE), state=State.VALID | State.BUSY
        )

    bench.run(host)


@pytest.mark.parametrize(("memory_bytes", "stall"), [(777, 0.6), (70000, 0)])
def test_write_and_read(memory_bytes: int, stall: float) -> None:
    bench = CommandBench(seed=11, memory_bytes=memory_bytes, stall=stall)
    rng = random.Random(12)

    async def host(ctx) -> None:
        for length in (1, rng.randrange(3, 20), MAX_PAYLOAD):
            for address in (0, rng.randrange(memory_bytes - length), memory_bytes - length):
                expected = bytearray(bench.memory)
                data = rng.choice([bytes(length), rng.randbytes(length)])
                expected[address : address + length] = data
                reply = await bench.ask(ctx, Opcode.WRITE, address, data)
                assert (reply.status, reply.payload) == (Status.OK, b"")
                assert bench.memory == expected
                count = min(length, MAX_READ)
                reply = await bench.ask(ctx, Opcode.READ, address, bytes([count]))
                assert (reply.status, reply.payload) == (Status.OK, data[:count])
                reply = await bench.ask(ctx, Opcode.RESULT, address, bytes([count]))
                assert (reply.status, reply.payload[Result.BYTES :]) == (Status.OK, data[:count])

    bench.run(host)


def test_replies_are_encoded() -> None:
    """Zeros anywhere and nowhere; the bench decodes with the reference codec."""
    rng = random.Random(17)
    contents = [
        b"\0\0\0",
        b"\1",
        b"\xff\0",
        b"\0\xff",
        bytes(rng.randrange(1, 256) for _ in range(MAX_READ)),
        *(bytes(rng.choice(b"\0\0\1\xff") for _ in range(rng.randrange(1, 60))) for _ in range(6)),
    ]
    bench = CommandBench(stall=0.2)

    async def host(ctx) -> None:
        for content in contents:
            bench.memory[: len(content)] = content
            for sequence in (0, 1):
                encoded = request(sequence, Opcode.READ, 0, bytes([len(content)]))
                await bench.send(ctx, encoded)
                reply = await bench.reply(ctx)
                assert (reply.sequence, reply.payload) == (sequence, content)

    bench.run(host)


@pytest.mark.parametrize("memory_bytes", [777, 1 << 17])
def test_addresses_outside_the_memory_are_refused(memory_bytes: int) -> None:
    bench = CommandBench(memory_bytes=memory_bytes)
    memory = bytes(bench.memory)

    async def host(ctx) -> None:
        for address, length in [
            (memory_bytes, 1),
            (memory_bytes - 1, 2),
            (memory_bytes - 227, 240),
            (memory_bytes - 1, 240),
            (1 << 14 if memory_bytes <= 1 << 14 else 1 << 20, 1),
            (1 << 17, 1),
            (1 << 18, 1),
            (1 << 23, 4),
            ((1 << 24) - 1, 240),
        ]:
            reply = await bench.ask(ctx, Opcode.WRITE, address, bytes(length))
            assert (reply.status, reply.payload) == (Status.BAD_ADDRESS, b"")
            for opcode in (Opcode.READ, Opcode.RESULT):
                reply = await bench.ask(ctx, opcode, address, bytes([min(length, MAX_READ)]))
                assert (reply.status, reply.payload) == (Status.BAD_ADDRESS, b"")
        for address in (memory_bytes + 1, 1 << 20, (1 << 24) - 1):
            reply = await bench.ask(ctx, Opcode.CHECK, address)
            assert reply.status == Status.BAD_ADDRESS
        assert bench.writes == 0 and bench.memory == memory

    bench.run(host)


def test_lengths_that_do_not_fit_are_refused() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        await bench.upload(ctx, IMAGE)
        bench.writes = 0
        lengths = {
            Opcode.INFO: (1, 2, 240),
            Opcode.WRITE: (0,),
            Opcode.READ: (0, 2, 240),
            Opcode.CHECK: (1, 4),
            Opcode.RUN: (0, 1, 3, 240),
            Opcode.RESULT: (0, 2, 240),
            Opcode.BAUD: (1, 2),
        }
        for opcode, wrong in lengths.items():
            for length in wrong:
                reply = await bench.ask(ctx, opcode, 8, b"\1" * length)
                assert (reply.status, reply.payload) == (Status.BAD_LENGTH, b""), (opcode, length)
        for count in (0, 229, 240, 255):
            for opcode in (Opcode.READ, Opcode.RESULT):
                reply = await bench.ask(ctx, opcode, 0, bytes([count]))
                assert (reply.status, reply.payload) == (Status.BAD_LENGTH, b"")
        assert not bench.writes and not bench.runs
        assert ctx.get(bench.dut.valid) and ctx.get(bench.dut.divisor) == 8

    bench.run(host)


def test_unknown_opcodes_are_refused() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        for opcode in (7, 8, 9, 0x43, 0x7F, 0x80, 0x81, 0xFF):
            reply = await bench.ask(ctx, opcode, 0, b"\1")
            assert (reply.status, reply.payload) == (Status.BAD_OPCODE, b"")
        assert not bench.writes and not bench.runs

    bench.run(host)


def test_check() -> None:
    bench = CommandBench(seed=13)

    async def host(ctx) -> None:
        for image in (IMAGE, with_crc(b"\0"), with_crc(bench.rng.randbytes(40))):
            await bench.upload(ctx, image)
            assert ctx.get(bench.dut.valid)
            found = Info.unpack((await bench.ask(ctx, Opcode.INFO)).payload)
            assert found.image_bytes == len(image)
            for wrong in (len(image) - 1, 0, 1, 4):
                reply = await bench.ask(ctx, Opcode.CHECK, wrong)
                assert reply.status == Status.CRC_MISMATCH
                assert not ctx.get(bench.dut.valid)
            at = bench.rng.randrange(len(image))
            bench.memory[at] ^= 1 << bench.rng.randrange(8)
            assert (await bench.ask(ctx, Opcode.CHECK, len(image))).status == Status.CRC_MISMATCH
            assert (await bench.ask(ctx, Opcode.RUN, 0, b"\0\0")).status == Status.NO_MODEL
        assert not bench.runs

    bench.run(host)


def test_refused_check_keeps_the_image() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        await bench.upload(ctx, IMAGE)
        assert (await bench.ask(ctx, Opcode.CHECK, 1001)).status == Status.BAD_ADDRESS
        assert (await bench.ask(ctx, Opcode.CHECK, 100, b"\0")).status == Status.BAD_LENGTH
        bench.run_cycles = 3000
        assert (await bench.ask(ctx, Opcode.RUN, 0, b"\0\0")).status == Status.OK
        assert (await bench.ask(ctx, Opcode.CHECK, 100)).status == Status.BUSY
        assert ctx.get(bench.dut.valid)
        found = Info.unpack((await bench.ask(ctx, Opcode.INFO)).payload)
        assert found.image_bytes == len(IMAGE)

    bench.run(host)


def test_writing_into_the_image_makes_it_invalid() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        for address, length, hit in [
            (0, 1, True),
            (len(IMAGE) - 1, 1, True),
            (len(IMAGE) - 4, 240, True),
            (512, 240, False),
            (999, 1, False),
        ]:
            await bench.upload(ctx, IMAGE)
            assert (await bench.ask(ctx, Opcode.WRITE, 1000, b"\1")).status == Status.BAD_ADDRESS
            assert (await bench.ask(ctx, Opcode.READ, 0, b"\1")).status == Status.OK
            assert ctx.get(bench.dut.valid)
            reply = await bench.ask(ctx, Opcode.WRITE, address, bytes(length))
            assert reply.status == Status.OK
            assert ctx.get(bench.dut.valid) == (not hit)
            reply = await bench.ask(ctx, Opcode.RUN, 0, b"\0\0")
            assert reply.status == (Status.NO_MODEL if hit else Status.OK)
            await bench.ask(ctx, Opcode.RESULT, 0, b"\1")

    bench.run(host)


def test_run_and_result() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        assert (await bench.ask(ctx, Opcode.RUN, 0, b"\0\0")).status == Status.NO_MODEL
        assert (await bench.ask(ctx, Opcode.RESULT, 0, b"\1")).status == Status.OK
        await bench.upload(ctx, IMAGE)
        bench.run_cycles = 3000
        for layers, cause in [(0, 0), (7, 3), (255, 1), (128, 2)]:
            reply = await bench.ask(ctx, Opcode.RUN, 0, bytes([layers, cause]))
            assert (reply.status, reply.payload) == (Status.OK, b"")
            assert ctx.get(bench.dut.engine.busy)
            assert (await bench.ask(ctx, Opcode.RUN, 0, b"\0\0")).status == Status.BUSY
            # The counters turn while they are read, and must be whole again.
            for _ in range(2):
                reply = await bench.ask(ctx, Opcode.RESULT, 0, b"\1")
                assert not ctx.get(bench.dut.engine.busy)
                assert reply.status == Status.OK
                assert Result.unpack(reply.payload[: Result.BYTES]) == Result(
                    EngineError.TIMEOUT, 0x1234, 0x89ABCDEF, 0x00FF1001
                )
                assert reply.payload[Result.BYTES :] == bench.memory[:1]
        assert bench.runs == [(0, 0), (7, 3), (255, 1), (128, 2)]

    bench.run(host)


def test_image_is_protected_while_the_engine_runs() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        await bench.upload(ctx, IMAGE)
        bench.run_cycles = 12_000
        assert (await bench.ask(ctx, Opcode.RUN, 0, b"\0\0")).status == Status.OK
        for address in (0, len(IMAGE) - 1):
            assert (await bench.ask(ctx, Opcode.WRITE, address, b"\0")).status == Status.BUSY
        assert bench.memory[: len(IMAGE)] == IMAGE
        # The next picture may come already.
        assert (await bench.ask(ctx, Opcode.WRITE, 512, b"abc")).status == Status.OK
        assert bench.memory[512:515] == b"abc"
        assert (await bench.ask(ctx, Opcode.READ, 512, b"\3")).payload == b"abc"
        assert ctx.get(bench.dut.engine.busy)
        assert (await bench.ask(ctx, Opcode.RESULT, 0, b"\1")).status == Status.OK

    bench.run(host)


def damaged_frames(rng: random.Random) -> list[bytes]:
    """Bytes that end with a delimiter and must all be ignored."""
    good = request(200, Opcode.WRITE, 3, rng.randbytes(20))
    frames = [b"\0", b"\0\0\0"]
    for length in range(0, 9):
        frames.append(cobs_encode(with_crc(rng.randbytes(max(0, length - 4)))[:length]) + b"\0")
    for at in range(0, len(good) - 1, 6):
        flipped = bytearray(good)
        flipped[at] ^= 1 << rng.randrange(8)
        frames.append(bytes(flipped))
        frames.append(good[:at] + b"\0")
        frames.append(good[at + 1 :])
    # Longer than a request may be, each with its right CRC, and one that is endless.
    for excess in (1, 7, 8, 256):
        header = bytes([201, Opcode.WRITE, 5, 0, 0])
        frame = header + bytes(rng.randrange(1, 256) for _ in range(MAX_PAYLOAD + excess))
        frames.append(cobs_encode(with_crc(frame)) + b"\0")
    frames.append(bytes(rng.randrange(1, 256) for _ in range(700)) + b"\0")
    frames.extend(rng.randbytes(rng.randrange(30)) + b"\0" for _ in range(10))
    return frames


@pytest.mark.parametrize("seed", [16])
def test_damaged_frames_change_nothing(seed: int) -> None:
    bench = CommandBench(seed, stall=0.1)
    rng = random.Random(seed)

    async def host(ctx) -> None:
        await bench.upload(ctx, IMAGE)
        memory = bytes(bench.memory)
        bench.writes = 0
        for frame in damaged_frames(rng):
            await bench.send(ctx, frame)
            reply = await bench.ask(ctx, Opcode.READ, 7, b"\2")
            assert (reply.status, reply.payload) == (Status.OK, memory[7:9])
        assert bench.memory == memory and not bench.writes and not bench.runs
        assert ctx.get(bench.dut.valid)

    bench.run(host)


def test_longest_request_is_taken() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        data = bytes(range(1, 241))
        assert (await bench.ask(ctx, Opcode.WRITE, 100, data)).status == Status.OK
        assert bench.memory[100:340] == data

    bench.run(host)


def test_lost_byte_drops_the_frame() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        memory = bytes(bench.memory)
        frame = request(1, Opcode.WRITE, 0, b"xyz")
        for at in range(1, len(frame) - 1, 3):
            await bench.send(ctx, frame[:at])
            ctx.set(bench.dut.error, 1)
            await ctx.tick()
            ctx.set(bench.dut.error, 0)
            await bench.send(ctx, frame[at:])
            assert (await bench.ask(ctx, Opcode.READ, 0, b"\1")).status == Status.OK
        assert bench.memory == memory

    bench.run(host)


def test_requests_back_to_back() -> None:
    bench = CommandBench(stall=0)

    async def host(ctx) -> None:
        bench.byte_cycles = 40
        sent = []
        for sequence in range(8):
            length = bench.rng.randrange(100, 241)
            address = bench.rng.randrange(1000 - length)
            data = bench.rng.randbytes(length)
            sent.append((sequence, address, data))
            await bench.send(ctx, request(sequence, Opcode.WRITE, address, data))
        await ctx.tick().repeat(8000)
        assert [reply.sequence for reply in bench.replies] == list(range(8))
        assert all(reply.status == Status.OK for reply in bench.replies)
        bench.replies.clear()
        expected = bytearray(1000)
        touched = bytearray(1000)
        for _, address, data in sent:
            expected[address : address + len(data)] = data
            touched[address : address + len(data)] = b"\1" * len(data)
        for at in range(1000):
            assert not touched[at] or bench.memory[at] == expected[at]

    bench.run(host)


def test_third_request_is_dropped_and_nothing_else() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        await bench.upload(ctx, IMAGE)
        bench.run_cycles = 20_000
        assert (await bench.ask(ctx, Opcode.RUN, 0, b"\0\0")).status == Status.OK
        await bench.send(ctx, request(100, Opcode.RESULT, 0, b"\1"))
        await ctx.tick().repeat(60)
        await bench.send(ctx, request(101, Opcode.WRITE, 600, b"second"))
        await bench.send(ctx, request(102, Opcode.WRITE, 600, b"third!"))
        # The beginning of this one comes too early, its end does not.
        late = request(103, Opcode.WRITE, 600, b"late!!")
        await bench.send(ctx, late[:10])
        assert not bench.replies and ctx.get(bench.dut.engine.busy)
        assert (await bench.reply(ctx)).sequence == 100
        assert (await bench.reply(ctx)).sequence == 101
        await bench.send(ctx, late[10:])
        assert bench.memory[600:606] == b"second"
        assert (await bench.ask(ctx, Opcode.WRITE, 600, b"fourth")).status == Status.OK
        assert bench.memory[600:606] == b"fourth"

    bench.run(host)


def test_baud_waits_until_the_reply_has_left() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        dut = bench.dut
        for divisor in (0, 1, 3, 4096, 1 << 16, 1 << 23):
            reply = await bench.ask(ctx, Opcode.BAUD, divisor)
            assert reply.status == Status.BAD_ADDRESS
            assert ctx.get(dut.divisor) == 8
        for divisor in (4, 4095, 312):
            ctx.set(dut.sent, 0)
            before = ctx.get(dut.divisor)
            assert (await bench.ask(ctx, Opcode.BAUD, divisor)).status == Status.OK
            await ctx.tick().repeat(100)
            assert ctx.get(dut.divisor) == before
            ctx.set(dut.sent, 1)
            await ctx.tick().repeat(30)
            assert ctx.get(dut.divisor) == divisor

    bench.run(host)


def test_break_restores_the_divisor_and_ends_a_frame() -> None:
    bench = CommandBench()

    async def host(ctx) -> None:
        await bench.ask(ctx, Opcode.BAUD, 5)
        await ctx.tick().repeat(60)
        assert ctx.get(bench.dut.divisor) == 5
        await bench.send(ctx, request(1, Opcode.INFO)[:7])
        ctx.set(bench.dut.i.payload, 0)
        ctx.set(bench.dut.break_, 1)
        await ctx.tick()
        ctx.set(bench.dut.break_, 0)
        await ctx.tick()
        assert ctx.get(bench.dut.divisor) == 8
        await ctx.tick().repeat(10)
        assert (await bench.ask(ctx, Opcode.INFO)).status == Status.OK

    bench.run(host)


@pytest.mark.parametrize("seed", range(2))
def test_garbage_never_stops_it(seed: int) -> None:
    """Mutated requests of all kinds; after each delimiter READ is answered."""
    bench = CommandBench(seed, stall=0.2)
    rng = random.Random(seed)

    async def host(ctx) -> None:
        bench.run_cycles = 300
        await bench.upload(ctx, IMAGE)
        for sequence in range(25):
            payload = rng.randbytes(rng.choice([0, 1, 2, 30]))
            opcode = rng.randrange(8)
            encoded = request(sequence, opcode, rng.choice([0, 5, 300, 1 << 20]), payload)
            if rng.random() < 0.7:
                mutated = bytearray(encoded)
                for _ in range(rng.randrange(1, 4)):
                    mutated[rng.randrange(len(mutated))] = rng.randrange(256)
                encoded = bytes(mutated)
            await bench.send(ctx, encoded + b"\0")
            await ctx.tick().repeat(800)
            await bench.send(ctx, request(255, Opcode.READ, 1, b"\2"))
            reply = await bench.reply(ctx)
            while (reply.sequence, reply.opcode) != (255, Opcode.READ):
                reply = await bench.reply(ctx)
            assert reply.status == Status.OK
            if ctx.get(bench.dut.valid):
                reply = await bench.ask(ctx, Opcode.INFO)
                end = Info.unpack(reply.payload).image_bytes
                assert zlib.crc32(bench.memory[:end]) == zlib.crc32(with_crc(b""))

    bench.run(host)


def test_constructor_says_what_is_wrong() -> None:
    # Amaranth warns when a component that was refused is collected, so collect it here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        refuse_wrong_arguments()
        gc.collect()


def refuse_wrong_arguments() -> None:
    with pytest.raises(TypeError, match=r"Info must be a protocol.Info, not b'x'"):
        CommandHandler(b"x", 1000, 8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Memory must be 1 to 1048576 bytes.* not 0"):
        CommandHandler(INFO, 0, 8)
    with pytest.raises(ValueError, match=r"Memory must be .* not 1048577"):
        CommandHandler(INFO, (1 << 20) + 1, 8)
    for divisor in (3, 4096):
        with pytest.raises(ValueError, match=rf"Reset divisor must be .* not {divisor}"):
            CommandHandler(INFO, 1000, divisor)
