"""The simulated board, compiled before this process wants it.

Compiling it is work of Python's for a good part, and this process has pages to answer meanwhile: so
it is done by another one. A note in the cache says that it was; then nothing is started.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

from gateware.interface.sources import source_hash
from model.cache import cache_directory, write_atomically
from model.errors import EyespotError

from ..simulation.address import fresh_board, parse

__all__ = ["prepare_board"]

_OPEN = "import sys; from host.link.ports import open_port; open_port(sys.argv[1]).close()"


def prepare_board(port: str) -> None:
    """Let another process compile the simulated board at ``port``; nothing for any other port.

    What goes wrong there goes wrong once more when the port is opened, which then says so.
    """
    try:
        address = parse("sim://" if port == "sim" else port)
        url = fresh_board(port)
    except EyespotError:
        return
    if address.netlist is not None:
        return
    note = cache_directory() / "simulators" / f"{address.board}-{source_hash():08x}.prepared"
    if note.exists():
        return
    with suppress(OSError):
        ended = subprocess.run([sys.executable, "-c", _OPEN, url], capture_output=True, check=False)
        if not ended.returncode:
            write_atomically(note, b"")
