"""The port: pyserial's interface on one side, a :class:`.Backend` on the other.

An address is taken apart by :mod:`.address`.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serial.serialutil import PortNotOpenError, SerialBase, SerialException

from gateware.interface.protocol import RESET_BAUD

from ..errors import PortError
from ..link.framing import BITS_PER_BYTE
from .address import Address, parse
from .cache import Lock, hash_files, state_directory, write_atomically
from .faults import FaultyLine

if TYPE_CHECKING:
    from .backends.backend import Backend
    from .flash.flash import Flash

__all__ = ["SimulatedPort"]

_NO_COMPILER = (
    "There is no C++ compiler, so the board is simulated some hundred times slower. Any will do: "
    "g++, clang++, or `pip install ziglang`."
)
#: Most cycles in one go, so that Ctrl-C takes effect at once.
_SLICE = {"cxxrtl": 500_000, "routed": 20_000, "amaranth": 2_000}
#: Seconds after which an answer that should be there is given up.
_LATENCY = 0.002
#: Cycles a bit after reset in Amaranth's simulator.
_FAST_BIT_CYCLES = 4


def _source_hash(*more: str) -> str:
    """Names the gateware's content, by its source files: quicker than elaborating it."""
    files: list[Path] = []
    for package in ("gateware", "boards"):
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or []) if spec else []:
            files += Path(location).rglob("*.py")
    return hash_files(files, *more)


def _warn_of_loss(place: Path | None, error: OSError) -> None:
    """Say that the board will be found empty next time, and where it would have been kept."""
    print(
        f"The simulated board forgets what it holds when this program ends: {place} cannot be "
        f"written: {error.strerror or error} (XDG_STATE_HOME names another place)",
        file=sys.stderr,
    )


class SimulatedPort(SerialBase):
    """A serial port with a simulated board at its other end.

    Simulated time advances only while the host waits: in ``read``, ``flush``, ``send_break`` and,
    by the time of a byte, in ``in_waiting``.
    """

    #: Seconds that an adapter adds: there is none, unless the address wants one.
    latency = _LATENCY
    reset_baud = RESET_BAUD

    def __init__(self, *args: Any, **options: Any) -> None:
        self.is_open = False
        self._backend: Backend | None = None
        #: The bad line, where the address wants one.
        self.line: FaultyLine | None = None
        self._state_file: Path | None = None
        self._flash_file: Path | None = None
        self._lock: Lock | None = None
        self._received = bytearray()
        self._clock_hz = 1
        super().__init__(*args, **options)

    # Opening and closing.

    def open(self) -> None:
        """Start the simulation; the first time on a machine it has to be compiled."""
        if self.is_open:
            raise SerialException("Port is already open.")
        from boards.catalog import board

        address = parse(self.portstr or "")
        description = board(address.board)
        self._clock_hz = description.clock_hz
        if address.names_a_flash and (description.flash is None or address.netlist is not None):
            raise PortError(f"{self.portstr}: this board has no models in its flash")
        if address.netlist is not None:
            from .routed.start import start

            self._backend, self._clock_hz, content = start(address.netlist, description)
            self.reset_baud = RESET_BAUD
        else:
            self._backend = self._start(description, address)
            content = _source_hash(description.name, self._backend.name, str(self.reset_baud))
        if address.faults is not None:
            self.line = FaultyLine(self._backend, address.faults, self._clock_hz)
            self._backend = self.line
            self.latency = _LATENCY + 2 * address.faults.latency
        if address.memory == "kept":
            if address.flash is not None:
                # A board whose flash is exchanged is another board.
                content = hash_files([], content, str(address.flash.resolve()))
            name = f"{description.name}-{self._backend.name}-{content}.state"
            self._state_file = state_directory() / "boards" / name
            self._take_for_itself(description.name)
            self._restore()
        if self._backend.flash is not None:
            kept = state_directory() / "boards" / f"{description.name}.flash"
            self._flash_file = address.flash or (kept if address.memory == "kept" else None)
            self._read_flash(self._backend.flash)
        self._received.clear()
        self.is_open = True
        self._reconfigure_port()

    def _start(self, description: Any, address: Address) -> Backend:
        def elaborate() -> Any:
            from gateware.soc import Soc

            soc = Soc(
                description.configuration,
                board=description.name,
                clock_hz=description.clock_hz,
                reset_baud=self.reset_baud,
                flash=description.flash,
            )
            if description.flash is None:
                return soc
            from .flash.flash_board import FlashBoard

            return FlashBoard(soc)

        def flash(library: Any = None) -> Flash:
            from .flash.flash import Flash

            return Flash(
                description.flash,
                clock_hz=description.clock_hz,
                scale=address.flash_scale,
                faults=address.flash_faults,
                library=library,
            )

        from .backends.cxxrtl import CxxrtlBackend
        from .backends.cxxrtl_build import DRIVER, FLASH_DRIVER, build_library
        from .backends.toolchain import CompileError, find_compiler
        from .flash.flash import FLASH_SOURCES

        if address.backend == "cxxrtl" or (address.backend is None and find_compiler()):
            self.reset_baud = address.reset_baud or RESET_BAUD
            key = _source_hash(description.name, str(self._clock_hz), str(self.reset_baud))
            has_flash = description.flash is not None
            driver = FLASH_DRIVER if has_flash else DRIVER
            if has_flash:
                key = hash_files([DRIVER, *FLASH_SOURCES], key)
            try:
                library = build_library(elaborate, key, driver)
                return CxxrtlBackend(library, flash=flash if has_flash else None)
            except CompileError as error:
                if address.backend:
                    raise
                print(f"{error}: simulating some hundred times slower", file=sys.stderr)
        elif address.backend is None:
            print(_NO_COMPILER, file=sys.stderr)
        from .backends.amaranth import AmaranthBackend

        self.reset_baud = address.reset_baud or self._clock_hz // _FAST_BIT_CYCLES
        return AmaranthBackend(elaborate(), flash() if description.flash is not None else None)

    def _read_flash(self, flash: Flash) -> None:
        """What the flash holds: from its file, if there is one."""
        if self._flash_file is None:
            return
        try:
            content = zlib.decompress(self._flash_file.read_bytes())
            flash.memory[:] = content
        except FileNotFoundError:
            return  # erased at the factory
        except (OSError, zlib.error, ValueError) as error:
            name, self._flash_file, self._state_file = self._flash_file, None, None
            self.close()
            raise PortError(f"{name}: is not what this board's flash holds: {error}") from error

    def _write_flash(self, backend: Backend) -> None:
        if self._flash_file is not None and backend.flash is not None:
            self._flash_file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._flash_file, zlib.compress(backend.flash.memory, 1))

    def _take_for_itself(self, board: str) -> None:
        """One program at a time has the board that keeps its power, as a real port."""
        assert self._backend is not None and self._state_file is not None
        folder = self._state_file.parent
        try:
            self._lock = Lock(self._state_file.with_suffix(".lock"))
            with tempfile.TemporaryFile(dir=folder):
                pass
        except BlockingIOError as error:
            self._state_file = self._flash_file = None
            self.close()
            raise PortError(
                f"sim://{board}: the board is in use by another program "
                f"(sim://{board}?memory=fresh is one of your own)"
            ) from error
        except OSError as error:
            self._state_file = None
            _warn_of_loss(folder, error)

    def _restore(self) -> None:
        if self._state_file is None:
            return
        assert self._backend is not None
        try:
            self._backend.restore(zlib.decompress(self._state_file.read_bytes()))
        except (OSError, ValueError, zlib.error):
            pass  # a board that has just been switched on

    def close(self) -> None:
        """End the simulation; what the board holds is kept, if it is to be."""
        if self._backend is None:
            return
        backend, self._backend = self._backend, None
        self.is_open = False
        try:
            self._write_flash(backend)
            if self._state_file is not None:
                write_atomically(self._state_file, zlib.compress(backend.snapshot(), 1))
        except OSError as error:
            _warn_of_loss(self._state_file or self._flash_file, error)
        finally:
            backend.close()
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    # Time.

    @property
    def backend(self) -> str:
        """Name of the simulator."""
        return self._running.name

    @property
    def cycles(self) -> int:
        """Clock cycles since the port was opened."""
        return self._running.cycles

    def now(self) -> float:
        """Seconds since the port was opened, in the board's time."""
        return self._running.cycles / self._clock_hz

    @property
    def _running(self) -> Backend:
        if self._backend is None:
            raise PortNotOpenError()
        return self._backend

    @property
    def _bit_cycles(self) -> float:
        return self._clock_hz / self._baudrate

    def _step(self, cycles: float) -> None:
        backend = self._running
        wanted = max(1, min(round(cycles), _SLICE[backend.name]))
        self._received += backend.run(wanted)

    # pyserial's interface.

    @property
    def in_waiting(self) -> int:
        if not self._received:
            self._step(BITS_PER_BYTE * self._bit_cycles)
        return len(self._received)

    @property
    def out_waiting(self) -> int:
        return self._running.pending

    def read(self, size: int = 1) -> bytes:
        backend = self._running
        end = None
        if self._timeout is not None:
            end = backend.cycles + round(self._timeout * self._clock_hz)
        while len(self._received) < size and (end is None or backend.cycles < end):
            self._step(end - backend.cycles if end is not None else _SLICE[backend.name])
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    def write(self, data: Any, /) -> int:
        data = bytes(data)
        self._running.send(data)
        return len(data)

    def flush(self) -> None:
        backend = self._running
        while backend.pending:
            self._step(backend.pending * BITS_PER_BYTE * self._bit_cycles)

    def send_break(self, duration: float = 0.25) -> None:
        self.flush()
        self._running.hold_low(round(duration * self._clock_hz))
        self._step(1)
        self.flush()

    def reset_input_buffer(self) -> None:
        self._received.clear()

    def reset_output_buffer(self) -> None:
        pass  # what is written is as good as sent

    def _reconfigure_port(self) -> None:
        if self._backend is None:
            return
        if not 0 < self._baudrate <= self._clock_hz / 2:
            raise ValueError(f"this port cannot do {self._baudrate} baud")
        self._backend.set_bit_cycles(self._bit_cycles)

    # Modem lines lead nowhere.

    def _update_break_state(self) -> None:
        pass

    def _update_rts_state(self) -> None:
        pass

    def _update_dtr_state(self) -> None:
        pass

    cts = dsr = cd = property(lambda self: True)
    ri = property(lambda self: False)
