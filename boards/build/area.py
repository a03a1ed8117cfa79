"""Which block takes how many logic cells: ``python -m boards.build.area NETLIST.json``.

Reads the netlist, such as ``build/icebreaker/eyespot.json``, that yosys leaves for nextpnr (iCE40).
A cell belongs to the block after which yosys named it, that is the net it drives; where one block
drives another's port, to either of them. So read the table as a budget, not as an account to the
cell. A look-up table and the register that it alone feeds are one logic cell, as nextpnr packs
them; carry chains that have no look-up table beside them are left out.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Submodules of engine and link; yosys makes a name unique with a dollar sign and a number.
_BLOCK = re.compile(r"soc\.((?:engine|link|flash)\.\w+|flash)(?:\$\d+)?")
#: Nets that yosys calls otherwise than after the block that drives them.
_NETS = {
    re.compile(r"soc\.engine\.\w+\.layer[._]"): "engine.layer",
    re.compile(r"soc\.engine\.drain\.sums"): "engine.mac",
    re.compile(r"soc\.engine\.drain\.maxima"): "engine.pool",
    re.compile(r"soc\.control__"): "counters",
    re.compile(r"soc\.bus__"): "link.commands",
}
_MEMORIES = {"SB_RAM40_4K": "RAM", "SB_MAC16": "DSP", "SB_SPRAM256KA": "SPRAM"}
_COLUMNS = ("LC", *_MEMORIES.values())


def block_of(name: str, blocks: Sequence[str]) -> str:
    """The block that a cell called ``name`` belongs to, such as ``engine.drain``."""
    for net, block in _NETS.items():
        if net.match(name):
            return block
    inside = (block for block in blocks if re.match(rf"soc\.{re.escape(block)}[.$]", name))
    return next(inside, "rest")


def area(netlist: Mapping[str, Any]) -> dict[str, Counter[str]]:
    """Cells by block: ``{"engine.drain": {"LC": 493, "RAM": 1}, ...}``."""
    module = next(m for m in netlist["modules"].values() if int(m["attributes"].get("top", "0"), 2))
    cells: dict[str, Any] = module["cells"]
    scopes = (name for name, cell in cells.items() if cell["type"] == "$scopeinfo")
    blocks = sorted({found[1] for name in scopes if (found := _BLOCK.fullmatch(name))})

    readers: Counter[Any] = Counter()
    for cell in cells.values():
        for port, bits in cell["connections"].items():
            if cell.get("port_directions", {}).get(port) == "input":
                readers.update(bits)
    tables = {cell["connections"]["O"][0] for cell in cells.values() if cell["type"] == "SB_LUT4"}
    result: dict[str, Counter[str]] = {}
    for name, cell in cells.items():
        kind = cell["type"]
        if kind.startswith("SB_DFF"):
            source = cell["connections"]["D"][0]
            if source in tables and readers[source] == 1:
                continue  # shares the table's cell
        if kind.startswith("SB_DFF") or kind == "SB_LUT4":
            column = "LC"
        elif kind in _MEMORIES:
            column = _MEMORIES[kind]
        else:
            continue
        result.setdefault(block_of(name, blocks), Counter())[column] += 1
    return result


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m boards.build.area NETLIST.json", file=sys.stderr)
        return 2
    found = area(json.loads(Path(sys.argv[1]).read_text()))
    print(f"{'block':<20}" + "".join(f"{column:>7}" for column in _COLUMNS))
    for block, counts in sorted(found.items(), key=lambda item: -item[1]["LC"]):
        print(f"{block:<20}" + "".join(f"{counts[column] or '':>7}" for column in _COLUMNS))
    total = sum(found.values(), Counter())
    print(f"{'total':<20}" + "".join(f"{total[column]:>7}" for column in _COLUMNS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
