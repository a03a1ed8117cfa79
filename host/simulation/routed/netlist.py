"""A routed netlist as a simulated board: what nextpnr placed, in yosys's models of the cells.

nextpnr (``--write``) leaves the design as the cells that it put onto the chip, with the parameters
that the bitstream is made of. Some of it a simulation cannot have, or has otherwise: here it is
made ready. What multipliers and memories do comes from yosys's models; what is decided here is

- a logic cell is a function of the inputs that its truth table depends on, a carry and a register,
  as far as it has them (with the table as it is, a cell whose table makes a carry's input would
  look like a loop);
- an input that is not connected has the level that the chip gives it: :data:`.PULLED_UP`, else 0
  (nextpnr disconnects inputs that are constant at that level);
- pads are gone: ``rx`` and ``tx`` are the signals behind them, other pins lead nowhere;
- the PLL passes the simulation's clock and is locked after 16 cycles; what frequency its dividers
  make is :attr:`RoutedNetlist.clock_hz`;
- global buffers are wires.

Only iCE40.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import PortError
from ..backends.cxxrtl_build import DRIVER, compile_library
from ..cache import hash_files
from .cells import PLACED_CELLS, ice40_cells
from .logic_cells import (
    PULLED_UP,
    Bit,
    Function,
    LogicCell,
    UnsuitableError,
    function_module,
    instance,
    number,
    only,
)

__all__ = ["RoutedNetlist"]

#: Top-level ports of the serial line's pads, as Amaranth names them.
_RX_PORT, _TX_PORT = "uart_0__rx__io", "uart_0__tx__io"

#: Placed cell to its model in yosys.
_MODELS = {
    "ICESTORM_RAM": "SB_RAM40_4K",
    "ICESTORM_DSP": "SB_MAC16",
    "ICESTORM_SPRAM": "SB_SPRAM256KA",
}
#: Parameters that choose the falling edge, which the simulation does not have.
_FALLING = ("NEG_CLK", "NEG_CLK_R", "NEG_CLK_W", "NEG_TRIGGER")
#: A pin of a bus, such as ``ADDRESS_13``; no name of a single pin ends like that.
_BUS_PIN = re.compile(r"(\w+)_(\d+)")

#: What nextpnr makes of a PLL's FEEDBACK_PATH "SIMPLE".
_SIMPLE_FEEDBACK = 1
#: SB_IO's PIN_TYPE (Lattice iCE40 technology library): unregistered input; unregistered output,
#: enabled always or by OUTPUT_ENABLE.
_PLAIN_INPUT = "01"
_PLAIN_OUTPUTS = ("0110", "1010")

_OWN_CELLS = """
module CARRY (input I1, I2, CIN, output COUT);
  assign COUT = (I1 & I2) | ((I1 | I2) & CIN);
endmodule

// Gates rather than multiplexers, here and in truth tables: those become branches, and a function
// of some ten thousand of them takes the compiler minutes.
module REGISTER (input CLK, CEN, SR, D, output reg Q);
  parameter [0:0] HAS_CEN = 1;
  parameter [0:0] HAS_SR = 1;
  parameter [0:0] SET_NORESET = 0;
  parameter [0:0] ASYNC_SR = 0;
  initial Q = 0;
  wire next = HAS_SR ? (SET_NORESET ? SR | D : ~SR & D) : D;
  generate
    if (ASYNC_SR) begin
      always @(posedge CLK, posedge SR)
        if (SR) Q <= SET_NORESET;
        else if (CEN) Q <= D;
    end else begin
      always @(posedge CLK)
        Q <= HAS_CEN ? (CEN & next) | (~CEN & Q) : next;
    end
  endgenerate
endmodule

module OUTPUT_PAD (input D_OUT_0, OUTPUT_ENABLE, output PAD);
  // The line's other end pulls it up.
  assign PAD = D_OUT_0 | ~OUTPUT_ENABLE;
endmodule

module PLL_LOCK (input CLK, RESETB, BYPASS, output LOCK);
  reg [4:0] count = 0;
  assign LOCK = count[4];
  always @(posedge CLK)
    if (!RESETB || BYPASS) count <= 0;
    else if (!LOCK) count <= count + 1;
endmodule
"""


@dataclass(frozen=True)
class RoutedNetlist:
    """A routed design, ready to be compiled.

    Attributes
    ----------
    device : str
        As :class:`boards.catalog.BoardDescription` has it, in lower case: ``ice40up5k-sg48``.
    clock_hz : float
        What the placed PLL makes of its input.
    design : str
        For yosys's ``read_json``: ``top`` with the ports ``clk``, ``rx`` and ``tx``.
    functions : str
        Verilog modules of the logic cells' truth tables.
    """

    device: str
    clock_hz: float
    design: str
    functions: str

    @classmethod
    def read(cls, path: Path, board: str = "NAME") -> RoutedNetlist:
        """Read what nextpnr wrote; ``path`` is the file or the directory of a build of ``board``.

        Raises
        ------
        PortError
            If there is none, or it holds what cannot be simulated.
        """
        from boards.catalog import ROUTED_NETLIST

        file = path / ROUTED_NETLIST if path.is_dir() else path
        try:
            netlist = json.loads(file.read_bytes())
        except FileNotFoundError:
            raise PortError(
                f"{path}: no routed netlist there; `python -m boards.{board} build` makes one"
            ) from None
        except OSError as error:
            raise PortError(f"{file}: cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise PortError(f"{file}: no netlist: {error}") from error
        try:
            return _prepare(netlist)
        except UnsuitableError as error:
            raise PortError(f"{file}: {error}") from error
        except Exception as error:  # JSON may hold anything
            raise PortError(
                f"{file}: no netlist as nextpnr writes it ({type(error).__name__}: {error})"
            ) from error

    def compile(self, driver: Path = DRIVER) -> Path:
        """The compiled simulator, from the cache or made now: a shared library.

        Raises
        ------
        CompileError
        """

        def write(directory: Path) -> None:
            (directory / "design.json").write_text(self.design)

        return compile_library(
            write,
            "read_json design.json",
            hash_files([], self.design),
            driver,
            ice40_cells(PLACED_CELLS) + _OWN_CELLS + self.functions,
            gates=True,
        )


def _prepare(netlist: Mapping[str, Any]) -> RoutedNetlist:
    top = next(m for m in netlist["modules"].values() if int(m["attributes"].get("top", "0"), 2))
    settings = top["settings"]
    if settings["arch.name"] != "ice40":
        raise UnsuitableError(f"is for {settings['arch.name']}, and only ice40 can be simulated")
    if not any("ROUTING" in net["attributes"] for net in top["netnames"].values()):
        raise UnsuitableError("is not routed")
    cells = list(top["cells"].values())
    plls = [cell for cell in cells if cell["type"] == "ICESTORM_PLL"]
    if len(plls) != 1:
        raise UnsuitableError(f"has {len(plls)} PLLs, not one")

    fresh = iter(range(1 << 30, 1 << 31))
    clk, rx, tx = next(fresh), next(fresh), next(fresh)
    wires = dict(_aliases(cells, clk))
    pads = _Pads(top)
    wires[pads.input(_RX_PORT)] = rx

    def follow(bit: Bit) -> Bit:
        while isinstance(bit, int) and bit in wires:
            bit = wires[bit]
        return bit

    simulated = [_lock(plls[0], clk), pads.output(_TX_PORT, tx)]
    functions: set[Function] = set()
    for cell in cells:
        kind = cell["type"]
        if kind == "ICESTORM_LC":
            logic = LogicCell(cell, fresh)
            simulated += logic.parts
            functions |= logic.functions
            wires |= logic.aliases
        elif kind in _MODELS:
            simulated.append(_cell(cell, fresh))
        elif kind not in ("SB_GB", "SB_IO", "ICESTORM_PLL"):
            raise UnsuitableError(f"has a cell {kind}, of which there is no model here")
    for cell in simulated:
        for bits in cell["connections"].values():
            bits[:] = map(follow, bits)
    module = {
        "attributes": {"top": "1"},
        "ports": {
            "clk": {"direction": "input", "bits": [clk]},
            "rx": {"direction": "input", "bits": [rx]},
            "tx": {"direction": "output", "bits": [tx]},
        },
        # The names are new: those of nextpnr may begin with a dollar sign, and registers of such
        # cells would be no part of what the simulator takes for its state.
        "cells": {f"cell{index}": cell for index, cell in enumerate(simulated)},
        "netnames": {},
    }
    return RoutedNetlist(
        device=f"ice40{settings['arch.type']}-{settings['arch.package']}",
        clock_hz=_frequency(plls[0]),
        design=json.dumps({"modules": {"top": module}}),
        functions="".join(map(function_module, sorted(functions))),
    )


def _frequency(pll: Mapping[str, Any]) -> float:
    """What the PLL makes of the frequency that `boards.build.clocks.Ice40Pll` left beside it."""
    from boards.pll import PllSettings

    if number(pll, "FEEDBACK_PATH") != _SIMPLE_FEEDBACK or number(pll, "PLLOUT_SELECT_A"):
        raise UnsuitableError("has a PLL in another mode than simple feedback")
    input_hz = int(pll["attributes"]["INPUT_HZ"], 2)
    dividers = (number(pll, name) for name in ("DIVR", "DIVF", "DIVQ"))
    return PllSettings(input_hz, *dividers).output_hz


def _aliases(cells: list[dict[str, Any]], clk: int) -> Iterator[tuple[Bit, Bit]]:
    """Wires that are other wires: behind global buffers, and the PLL's outputs."""
    for cell in cells:
        pins = cell["connections"]
        if cell["type"] == "ICESTORM_PLL":
            for name in ("PLLOUT_A", "PLLOUT_A_GLOBAL"):
                yield from ((bit, clk) for bit in pins[name])
        elif cell["type"] == "SB_GB":
            # The buffer beside a PLL is wired to it on the chip, by no net.
            from_pll = "FOR_PAD_IN" in cell["attributes"]
            yield (
                only(pins["GLOBAL_BUFFER_OUTPUT"]),
                clk if from_pll else only(pins["USER_SIGNAL_TO_GLOBAL_BUFFER"]),
            )


class _Pads:
    """The pads of a design by the names of its ports."""

    def __init__(self, top: Mapping[str, Any]) -> None:
        self._ports = top["ports"]
        self._cells = {
            only(cell["connections"]["PACKAGE_PIN"]): cell
            for cell in top["cells"].values()
            if cell["type"] == "SB_IO"
        }

    def _pad(self, port: str) -> tuple[Mapping[str, Any], str]:
        if port not in self._ports:
            raise UnsuitableError(f"has no pin {port}")
        cell = self._cells[only(self._ports[port]["bits"])]
        return cell["connections"], cell["parameters"]["PIN_TYPE"][-6:]

    def input(self, port: str) -> Bit:
        """The wire that a pad drives."""
        pins, kind = self._pad(port)
        if kind[4:] != _PLAIN_INPUT:
            raise UnsuitableError(f"has a pad of type {kind} for {port}: no plain input")
        return only(pins["D_IN_0"])

    def output(self, port: str, pad: Bit) -> dict[str, Any]:
        """The cell that drives ``pad``."""
        pins, kind = self._pad(port)
        if kind[:4] not in _PLAIN_OUTPUTS:
            raise UnsuitableError(f"has a pad of type {kind} for {port}: no plain output")
        enable = pins["OUTPUT_ENABLE"] if kind[:4] == _PLAIN_OUTPUTS[1] else ["1"]
        return instance(
            "OUTPUT_PAD",
            {"D_OUT_0": only(pins["D_OUT_0"]), "OUTPUT_ENABLE": only(enable)},
            {"PAD": pad},
        )


def _lock(pll: Mapping[str, Any], clk: Bit) -> dict[str, Any]:
    pins = pll["connections"]
    inputs = {"CLK": clk, "RESETB": only(pins["RESETB"]), "BYPASS": only(pins["BYPASS"])}
    return instance("PLL_LOCK", inputs, {"LOCK": only(pins["LOCK"])})


def _cell(cell: Mapping[str, Any], fresh: Iterator[int]) -> dict[str, Any]:
    """A placed cell as an instance of its model: pins of a bus together, none unconnected."""
    kind = cell["type"]
    parameters = dict(cell["parameters"])
    if any(int(parameters.get(name, "0"), 2) for name in _FALLING):
        raise UnsuitableError(f"has a {kind} with a falling edge, which is not simulated")
    for name in ("NEG_CLK_R", "NEG_CLK_W"):  # nextpnr's own: the model's cell has none
        parameters.pop(name, None)
    directions: dict[str, str] = {}
    buses: dict[str, dict[int, Bit]] = {}
    for pin, bits in cell["connections"].items():
        direction = cell["port_directions"][pin]
        if bits:
            bit = only(bits)
        elif direction == "input":
            bit = "1" if (kind, pin) in PULLED_UP else "0"
        else:
            bit = next(fresh)
        found = _BUS_PIN.fullmatch(pin)
        name, index = (found[1], int(found[2])) if found else (pin, 0)
        buses.setdefault(name, {})[index] = bit
        directions[name] = direction
    return {
        "type": _MODELS[kind],
        "parameters": parameters,
        "port_directions": directions,
        "connections": {name: [bus[i] for i in range(len(bus))] for name, bus in buses.items()},
    }
