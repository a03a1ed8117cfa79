"""CXXRTL: the design as compiled C++; some million cycles a second."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .toolchain import CompileError

if TYPE_CHECKING:
    from ..flash.flash import Flash

__all__ = ["CxxrtlBackend"]

_FRACTION = 1 << 16
_BUFFER = 4096


def _load(library: Path) -> ctypes.CDLL:
    functions: dict[str, tuple[Any, list[Any]]] = {
        "board_create": (ctypes.c_void_p, []),
        "board_destroy": (None, [ctypes.c_void_p]),
        "board_cycles": (ctypes.c_uint64, [ctypes.c_void_p]),
        "board_pending": (ctypes.c_size_t, [ctypes.c_void_p]),
        "board_set_period": (None, [ctypes.c_void_p, ctypes.c_uint64]),
        "board_hold_low": (None, [ctypes.c_void_p, ctypes.c_uint64]),
        "board_send": (None, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
        "board_run": (
            ctypes.c_size_t,
            [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t],
        ),
        "board_state_size": (ctypes.c_size_t, [ctypes.c_void_p]),
        "board_save": (None, [ctypes.c_void_p, ctypes.c_char_p]),
        "board_restore": (None, [ctypes.c_void_p, ctypes.c_char_p]),
    }
    try:
        loaded = ctypes.CDLL(str(library))
        for name, (result, arguments) in functions.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise CompileError(f"the compiled simulator does not load: {error}") from error
    return loaded


class CxxrtlBackend:
    """:class:`.Backend` in C++.

    Parameters
    ----------
    library : Path
        From :func:`.build_library`.
    name : str
    flash : callable, optional
        Makes the board's flash, given the library: for one with FLASH_DRIVER.
    """

    def __init__(
        self,
        library: Path,
        name: str = "cxxrtl",
        flash: Callable[[ctypes.CDLL], Flash] | None = None,
    ) -> None:
        self.name = name
        self._library = _load(library)
        self._board: int | None = self._library.board_create()
        self._buffer = ctypes.create_string_buffer(_BUFFER)
        self.flash: Flash | None = None
        if flash is not None:
            self.flash = flash(self._library)
            attach = self._library.board_set_flash
            attach.restype, attach.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p]
            attach(self._board, self.flash.pointer)

    @property
    def cycles(self) -> int:
        return self._library.board_cycles(self._board)

    @property
    def pending(self) -> int:
        return self._library.board_pending(self._board)

    def set_bit_cycles(self, cycles: float) -> None:
        self._library.board_set_period(self._board, round(cycles * _FRACTION))

    def send(self, data: bytes) -> None:
        self._library.board_send(self._board, data, len(data))

    def hold_low(self, cycles: int) -> None:
        self._library.board_hold_low(self._board, cycles)

    def run(self, cycles: int) -> bytes:
        count = self._library.board_run(self._board, cycles, self._buffer, _BUFFER)
        if self.flash is not None:
            self.flash.check()
        return self._buffer.raw[:count]

    def snapshot(self) -> bytes:
        state = ctypes.create_string_buffer(self._library.board_state_size(self._board))
        self._library.board_save(self._board, state)
        return state.raw + (self.flash.snapshot() if self.flash else b"")

    def restore(self, state: bytes) -> None:
        size = self._library.board_state_size(self._board)
        if len(state) < size or (self.flash is None and len(state) > size):
            raise ValueError(f"The state of this board has {size} bytes, not {len(state)}")
        if self.flash is not None:
            self.flash.restore(state[size:])
        self._library.board_restore(self._board, state)

    def close(self) -> None:
        if self._board is not None:
            self._library.board_destroy(self._board)
            self._board = None
