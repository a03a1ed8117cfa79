"""Addresses of simulated boards.

::

    sim://BOARD[?backend=amaranth|cxxrtl][&reset_baud=N][&memory=kept|fresh][&faults=NAME:VALUE,...]
    sim://BOARD[?flash=PATH][&flash_scale=X][&flash_faults=NAME,...]
    sim://BOARD?netlist=PATH[&memory=kept|fresh][&faults=NAME:VALUE,...]

``backend``
    ``cxxrtl`` where there is a C++ compiler, else ``amaranth``.
``reset_baud``
    Baud rate after reset: 115200, or a fast one with ``amaranth``, for which bits are dear.
``memory``
    ``kept``: what the board holds outlasts the program, as with a board that keeps its power.
    ``fresh``: the board has just been switched on, and what it holds is forgotten afterwards.
``netlist``
    What nextpnr placed and routed instead of the gateware: a build's directory, or the netlist in
    it. See :mod:`.routed`.
``flash``
    Of a board with models in its flash: the file with what the flash holds, made if it is not
    there. Without it, what the flash holds is kept or forgotten as ``memory`` says.
``flash_scale``
    How much longer than in the datasheet erasing and programming take: 1, or less.
``flash_faults``
    How the flash is broken: ``absent``, ``unknown_id``, ``protected``, ``worn``, ``stuck``,
    ``quad_off``.
``faults``
    What happens on the line, as ``flip:1e-3,latency:16ms``: see :mod:`.faults`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from ..errors import PortError
from .faults import Faults
from .flash.flash import FlashFault

__all__ = ["Address", "fresh_board", "is_simulated", "parse"]

_DEFAULT_BOARD = "icebreaker"

_BACKENDS = ("cxxrtl", "amaranth")
_MEMORIES = ("kept", "fresh")


class Address(NamedTuple):
    board: str
    backend: str | None
    reset_baud: int | None
    memory: str
    faults: Faults | None
    netlist: Path | None = None
    flash: Path | None = None
    flash_scale: float = 1.0
    flash_faults: FlashFault = FlashFault(0)

    @property
    def names_a_flash(self) -> bool:
        return self.flash is not None or self.flash_scale != 1 or bool(self.flash_faults)


def parse(url: str) -> Address:
    """Take an address apart; raise PortError where it makes no sense."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    backend = options.pop("backend", None)
    memory = options.pop("memory", "kept")
    reset_baud = options.pop("reset_baud", None)
    faults = options.pop("faults", None)
    netlist = options.pop("netlist", None)
    flash = options.pop("flash", None)
    flash_scale = options.pop("flash_scale", "1")
    flash_faults = [name for name in options.pop("flash_faults", "").split(",") if name]
    if backend is not None and backend not in _BACKENDS:
        raise PortError(f"{url}: backend is {' or '.join(_BACKENDS)}, not {backend!r}")
    if memory not in _MEMORIES:
        raise PortError(f"{url}: memory is {' or '.join(_MEMORIES)}, not {memory!r}")
    if reset_baud is not None and not (reset_baud.isascii() and reset_baud.isdecimal()):
        raise PortError(f"{url}: reset_baud is a number, not {reset_baud!r}")
    if netlist is not None and (backend or reset_baud):
        raise PortError(f"{url}: a netlist leaves no choice of backend or reset_baud")
    try:
        scale = float(flash_scale)
    except ValueError:
        scale = math.nan
    if not 0 <= scale <= 1000:
        raise PortError(f"{url}: flash_scale is a number from 0 to 1000, not {flash_scale!r}")
    known = {fault.name.lower(): fault for fault in FlashFault if fault.name}
    for name in flash_faults:
        if name not in known:
            raise PortError(f"{url}: flash_faults are {', '.join(known)}, not {name!r}")
    if options:
        raise PortError(f"{url}: there is no option {next(iter(options))!r}")
    return Address(
        (parts.netloc or _DEFAULT_BOARD).lower(),
        backend,
        None if reset_baud is None else int(reset_baud),
        memory,
        None if faults is None else Faults.parse(faults),
        None if netlist is None else Path(netlist),
        None if flash is None else Path(flash),
        scale,
        sum((known[name] for name in flash_faults), FlashFault(0)),
    )


def is_simulated(name: str) -> bool:
    """Whether a port is a simulated board."""
    return name == "sim" or name.lower().startswith("sim://")


def fresh_board(name: str, backend: str | None = None) -> str:
    """The address of a simulated board that shares nothing with other programs' boards.

    Parameters
    ----------
    name : str
        ``sim`` or ``sim://BOARD``, with or without options.
    backend : str or None
        Its simulator; None: as ``name`` says.

    Raises
    ------
    PortError
        If ``name`` is no simulated board.
    """
    address = "sim://" if name == "sim" else name
    scheme, _, rest = address.partition("://")
    if scheme.lower() != "sim":
        raise PortError(
            f"{name}: there is one board at a real port; only simulated ones can be several"
        )
    board, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    options["memory"] = "fresh"
    if backend is not None:
        options["backend"] = backend
    return f"sim://{board}?{urlencode(options)}"
