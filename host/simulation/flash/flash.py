"""The simulated flash (``flash.h``), for simulations that are driven from Python."""

from __future__ import annotations

import ctypes
import enum
from pathlib import Path
from typing import Any

from gateware.interface.flash import IS25LP128F, W25Q128JV, FlashPart

from ...errors import EyespotError
from ..backends.toolchain import FLAGS, CompileError, compiled_once, find_compiler, run
from ..cache import hash_files

__all__ = ["Flash", "FlashFault", "FlashMisused"]

FLASH_SOURCES = [Path(__file__).with_name(name) for name in ("flash.h", "flash.cc")]
#: As in flash.h.
_PARTS = (W25Q128JV, IS25LP128F)


class FlashMisused(EyespotError):
    """The simulated flash was given what the real one's datasheet does not allow."""


class FlashFault(enum.IntFlag):
    """How the flash of a board may be broken; as in ``flash.h``."""

    ABSENT = 1
    UNKNOWN_ID = 2
    PROTECTED = 4
    WORN = 8
    STUCK = 16
    QUAD_OFF = 32


def _library() -> Path:
    compiler = find_compiler()
    if compiler is None:
        raise CompileError("there is no C++ compiler (g++, clang++, or $CXX)")
    command = [*compiler, *FLAGS, "-shared", "-O2"]

    def make(directory: Path) -> Path:
        made = directory / "flash.so"
        run([*command, "-o", str(made), str(FLASH_SOURCES[1])], directory)
        return made

    return compiled_once(hash_files(FLASH_SOURCES, *command), make)


def _declare(loaded: ctypes.CDLL) -> ctypes.CDLL:
    pointer, byte = ctypes.c_void_p, ctypes.c_uint8
    functions: dict[str, tuple[Any, list[Any]]] = {
        "flash_create": (pointer, [ctypes.c_uint, ctypes.c_double, ctypes.c_double]),
        "flash_destroy": (None, [pointer]),
        "flash_cycle": (byte, [pointer, ctypes.c_bool, ctypes.c_bool, byte, byte]),
        "flash_error": (ctypes.c_char_p, [pointer]),
        "flash_busy": (ctypes.c_bool, [pointer]),
        "flash_memory": (pointer, [pointer]),
        "flash_state_size": (ctypes.c_size_t, [pointer]),
        "flash_save": (None, [pointer, ctypes.c_char_p]),
        "flash_restore": (None, [pointer, ctypes.c_char_p]),
        "flash_set_faults": (None, [pointer, ctypes.c_uint32]),
        "flash_lose_master": (None, [pointer]),
        "flash_lose_power": (None, [pointer, ctypes.c_uint32]),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


class Flash:
    """A flash that was erased at the factory and is in power-down, as an FPGA's loader leaves it.

    Parameters
    ----------
    part : FlashPart
    clock_hz : float
        Cycles a second.
    scale : float
        How much longer than in the datasheet erasing, programming and waking take.
    faults : FlashFault
    library : ctypes.CDLL, optional
        A compiled simulation with the model in it, which has a flash of its own this way.

    Attributes
    ----------
    memory : memoryview
        Its contents; may be changed.
    pointer : int
        For the library.

    Raises
    ------
    ValueError
        If the part has no model.
    CompileError
        If there is no C++ compiler.
    """

    def __init__(
        self,
        part: FlashPart,
        *,
        clock_hz: float = 36e6,
        scale: float = 1.0,
        faults: FlashFault = FlashFault(0),  # noqa: B008 - a constant
        library: ctypes.CDLL | None = None,
    ) -> None:
        if part not in _PARTS:
            raise ValueError(f"There is a model of {[p.name for p in _PARTS]}, not of {part!r}")
        self._library = _declare(library or ctypes.CDLL(str(_library())))
        self.pointer = self._library.flash_create(_PARTS.index(part), 1e9 / clock_hz, scale)
        address = self._library.flash_memory(self.pointer)
        bytes_there = (ctypes.c_uint8 * part.size_bytes).from_address(address)
        self.memory = memoryview(bytes_there).cast("B")
        self.set_faults(faults)

    def set_faults(self, faults: FlashFault) -> None:
        """Break it in these ways, and in no other."""
        self._library.flash_set_faults(self.pointer, faults)

    def cycle(self, select: int, clock: int, o: int, oe: int) -> int:
        """The four data lines' levels in a cycle, from what the FPGA's pads do in it.

        Raises
        ------
        FlashMisused
            From the first misuse on, in every cycle.
        """
        lines = self._library.flash_cycle(self.pointer, bool(select), bool(clock), o, oe)
        self.check()
        return lines

    def check(self) -> None:
        """Raise FlashMisused if it was misused."""
        if error := self._library.flash_error(self.pointer):
            raise FlashMisused(f"simulated flash: {error.decode()}")

    def snapshot(self) -> bytes:
        """What a loss of power takes with it."""
        state = ctypes.create_string_buffer(self._library.flash_state_size(self.pointer))
        self._library.flash_save(self.pointer, state)
        return state.raw

    def restore(self, state: bytes) -> None:
        """Go back to a :meth:`snapshot`; ValueError where it is none."""
        size = self._library.flash_state_size(self.pointer)
        if len(state) != size:
            raise ValueError(f"The state of a flash has {size} bytes, not {len(state)}")
        self._library.flash_restore(self.pointer, state)

    @property
    def busy(self) -> bool:
        """It erases, programs or wakes up."""
        return self._library.flash_busy(self.pointer)

    def lose_master(self) -> None:
        """The FPGA is reset and deselects it, within a command or not; what is busy goes on."""
        self._library.flash_lose_master(self.pointer)

    def lose_power(self, seed: int) -> None:
        """Off and on again; what was being erased or programmed is damaged, as ``seed`` says."""
        self._library.flash_lose_power(self.pointer, seed)

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            self._library.flash_destroy(self.pointer)
            self.pointer = None
