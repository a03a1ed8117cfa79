"""The engine alone, compiled, with its memory and its counters within Python's reach."""

from __future__ import annotations

import ctypes
from pathlib import Path

from amaranth.hdl import Elaboratable, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import gateware
from gateware.engine.engine import Engine
from gateware.interface.configuration import EngineConfiguration
from gateware.interface.protocol import EngineError, Result, StallCause
from gateware.primitives import Technology
from host.simulation.backends.cxxrtl_build import build_library
from host.simulation.cache import hash_files

#: Longest run of a bench, in cycles, unless it is told otherwise.
MAX_RUN_CYCLES = 1 << 20


class Bench(wiring.Component):
    """The engine's ports as plain signals."""

    def __init__(
        self, configuration: EngineConfiguration, technology: Technology, max_run_cycles: int
    ) -> None:
        self.engine = Engine(configuration, technology, max_run_cycles)
        super().__init__(
            {
                "address": In(20),
                "write": In(1),
                "data": In(8),
                "valid": In(1),
                "ready": Out(1),
                "response": Out(8),
                "response_valid": Out(1),
                "layers": In(8),
                "stall_cause": In(StallCause),
                "run": In(1),
                "busy": Out(1),
                "error": Out(EngineError),
                "cycles": Out(32),
                "stalls": Out(32),
                "best": Out(16),
                "flash": In(8 * configuration.word_bytes),
                "flash_valid": In(1),
                "flash_ready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = engine = self.engine
        host, control = engine.host, engine.control
        m.d.comb += [
            host.request.valid.eq(self.valid),
            host.request.p.address.eq(self.address),
            host.request.p.write.eq(self.write),
            host.request.p.data.eq(self.data),
            self.ready.eq(host.request.ready),
            self.response.eq(host.response.payload),
            self.response_valid.eq(host.response.valid),
            control.run.eq(self.run),
            control.layers.eq(self.layers),
            control.stall_cause.eq(self.stall_cause),
            self.busy.eq(control.busy),
            self.error.eq(control.error),
            self.cycles.eq(control.cycles),
            self.stalls.eq(control.stalls),
            self.best.eq(control.best),
            engine.flash.payload.eq(self.flash),
            engine.flash.valid.eq(self.flash_valid),
            self.flash_ready.eq(engine.flash.ready),
        ]
        return m


def _library(
    configuration: EngineConfiguration, technology: Technology, max_run_cycles: int, cells: str
) -> ctypes.CDLL:
    root = Path(gateware.__file__).parent
    parts = ("engine", "interface", "memory", "primitives")
    sources = [path for part in parts for path in sorted((root / part).rglob("*.py"))]
    key = hash_files(
        [*sources, Path(__file__)], repr(configuration), technology.value, str(max_run_cycles)
    )

    def elaborate() -> Elaboratable:
        return Bench(configuration, technology, max_run_cycles)

    driver = Path(__file__).with_name("driver.cc")
    library = ctypes.CDLL(str(build_library(elaborate, key, driver, cells)))
    library.bench_create.restype = ctypes.c_void_p
    library.bench_destroy.argtypes = [ctypes.c_void_p]
    library.bench_write.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_char_p,
        ctypes.c_uint32,
    ]
    library.bench_read.argtypes = library.bench_write.argtypes
    library.bench_set_stream.argtypes = library.bench_write.argtypes
    library.bench_run.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_uint64,
        ctypes.POINTER(ctypes.c_uint32),
    ]
    return library


class EngineBench:
    """A compiled engine.

    Parameters
    ----------
    configuration : EngineConfiguration
    technology : Technology
    max_run_cycles : int
        After so many cycles a run ends with TIMEOUT.
    cells : str
        Models of the technology's cells, in Verilog.

    Raises
    ------
    CompileError
        If there is no C++ compiler.
    """

    def __init__(
        self,
        configuration: EngineConfiguration,
        technology: Technology = Technology.GENERIC,
        max_run_cycles: int = MAX_RUN_CYCLES,
        cells: str = "",
    ) -> None:
        self.configuration = configuration
        self._library = _library(configuration, technology, max_run_cycles, cells)
        self._handle = self._library.bench_create()

    def close(self) -> None:
        self._library.bench_destroy(self._handle)

    def write(self, address: int, data: bytes) -> None:
        self._library.bench_write(self._handle, address, data, len(data))

    def read(self, address: int, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        self._library.bench_read(self._handle, address, buffer, size)
        return buffer.raw

    def set_stream(self, data: bytes) -> None:
        """What every run gets from flash: a nibble a cycle, so many words."""
        self._stream = data  # the engine reads it where it lies
        self._library.bench_set_stream(
            self._handle, self.configuration.word_bytes, self._stream, len(data)
        )

    def run(
        self, layers: int = 0, cause: StallCause = StallCause.PIXELS, limit: int = 1 << 29
    ) -> Result:
        """Run the tape; fail where it takes more than ``limit`` cycles."""
        result = (ctypes.c_uint32 * 3)()
        error = self._library.bench_run(self._handle, layers, cause, limit, result)
        assert error != 255, f"the engine still runs after {limit} cycles"
        return Result(EngineError(error), result[2], result[0], result[1])
