"""How a bitstream gets onto a board."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.errors import EyespotError

__all__ = ["DFU_UTIL", "ICEPROG", "Programmer", "ProgrammerError", "open_fpga_loader"]


class ProgrammerError(EyespotError):
    """The bitstream could not be sent to the board."""


@dataclass(frozen=True)
class Programmer:
    """A program that sends bitstreams.

    Attributes
    ----------
    program : str
        Its name. An environment variable of that name in capitals, without its dashes turned to
        underscores, says where it is (``ICEPROG``, ``OPENFPGALOADER``, ``DFU_UTIL``).
    arguments : tuple of str
        Before the bitstream's path.
    hint : str
        How to install it.
    volatile : bool
        What it sends is gone when the board loses its power.
    """

    program: str
    arguments: tuple[str, ...]
    hint: str
    volatile: bool = False

    def find(self) -> str:
        """Path of the program; raise ProgrammerError, with the way to install it, without it."""
        variable = self.program.upper().replace("-", "_")
        wanted = os.environ.get(variable, self.program)
        path = shutil.which(wanted)
        if path is None:
            raise ProgrammerError(f"{wanted} is not installed: {self.hint}")
        return path

    def send(self, bitstream: Path, progress: Callable[[str], None]) -> None:
        """Send the bitstream; return only if the program says that all of it arrived.

        Raises
        ------
        ProgrammerError
            If the program is missing, fails, or was interrupted.
        """
        command = [self.find(), *self.arguments, str(bitstream)]
        progress(" ".join(command))
        again = "the board may hold a part of the bitstream: program it again"
        try:
            status = subprocess.run(command).returncode
        except OSError as error:
            raise ProgrammerError(f"{command[0]}: {error.strerror or error}") from error
        except KeyboardInterrupt:
            raise ProgrammerError(f"{self.program} was interrupted; {again}") from None
        if status:
            raise ProgrammerError(f"{self.program} failed with status {status}; {again}")


ICEPROG = Programmer(
    "iceprog", (), "apt install fpga-icestorm, brew install icestorm, or pip install apio"
)
DFU_UTIL = Programmer(
    "dfu-util",
    ("--alt", "0", "--download"),
    "apt install dfu-util, or brew install dfu-util",
)


def open_fpga_loader(*arguments: str, volatile: bool = True) -> Programmer:
    """openFPGALoader, which loads the FPGA unless its arguments say that it writes the flash."""
    hint = "apt install openfpgaloader, brew install openfpgaloader, or pip install apio"
    return Programmer("openFPGALoader", arguments, hint, volatile)
