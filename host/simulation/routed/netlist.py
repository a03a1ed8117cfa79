"""A routed netlist as a simulated board: what nextpnr placed, in yosys's models of the cells.

nextpnr (``--write``) leaves the design as the cells that it put onto the chip, with the parameters
that the bitstream is made of. Some of it a simulation cannot have, or has otherwise: here it is
made ready. What multipliers and memories do comes from yosys's models; what is decided here is

- a logic cell is a function of the inputs that its truth table depends on, a carry and a register,
  as far as it has them (with the table as it is, a cell whose table makes a carry's input would
  look like a loop);
- an input that is not connected has the level that the chip gives it: :data:`_PULLED_UP`, else 0
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateware.interface.protocol import RESET_BAUD, Info, Opcode

from ...errors import PortError
from ...link.framing import ReplyDecoder, Request
from ..backends.cxxrtl import DRIVER, CxxrtlBackend, compile_library
from ..cache import hash_files, write_atomically
from .cells import PLACED_CELLS, ice40_cells

if TYPE_CHECKING:
    from boards.catalog import BoardDescription

__all__ = ["RoutedNetlist", "start"]

#: Top-level ports of the serial line's pads, as Amaranth names them.
_RX_PORT, _TX_PORT = "uart_0__rx__io", "uart_0__tx__io"

#: Placed cell to its model in yosys.
_MODELS = {
    "ICESTORM_RAM": "SB_RAM40_4K",
    "ICESTORM_DSP": "SB_MAC16",
    "ICESTORM_SPRAM": "SB_SPRAM256KA",
}
#: Inputs that are 1 if nothing is connected (yosys's models of placed cells say so, too).
_PULLED_UP = {
    ("ICESTORM_LC", "CEN"),
    ("ICESTORM_RAM", "RCLKE"),
    ("ICESTORM_RAM", "WCLKE"),
    ("ICESTORM_DSP", "CE"),
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

#: Enough for the PLL's model and the reset behind it.
_LOCKED_CYCLES = 100
#: An INFO and its answer take 5 ms at the rate after reset.
_ANSWER_SECONDS = 0.02
#: Cycles in one go, so that Ctrl-C takes effect at once.
_SLICE = 20_000

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

Bit = int | str
#: Truth table, number of inputs: bit ``i`` is the value where input ``k`` is bit ``k`` of ``i``.
Function = tuple[int, int]
_IDENTITY: Function = (0b10, 1)


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
        except _UnsuitableError as error:
            raise PortError(f"{file}: {error}") from error
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
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


def start(path: Path, board: BoardDescription) -> tuple[CxxrtlBackend, int, str]:
    """Simulate the netlist at ``path``, if it is the board's and of today's gateware.

    Returns
    -------
    backend : CxxrtlBackend
    clock_hz : int
        For which the design was made: its UART counts on it.
    content : str
        Names the netlist's content.

    Raises
    ------
    PortError
        If there is no such netlist, or it is another board's, or of other sources.
    CompileError
    """
    from gateware.soc import source_hash

    netlist = RoutedNetlist.read(path, board.name)
    if netlist.device != board.device.lower():
        raise PortError(f"{path}: is routed for {netlist.device}, not for {board.device}")
    library = netlist.compile()
    info = _identify(path, library, netlist.clock_hz)
    again = f"`python -m boards.{board.name} build` makes it anew"
    if info.board != board.name:
        raise PortError(f"{path}: is the board {info.board}, not {board.name}")
    if info.source_hash != source_hash():
        raise PortError(
            f"{path}: is made of other gateware (sources {info.source_hash:08x}, here "
            f"{source_hash():08x}): {again}"
        )
    if abs(info.clock_hz - netlist.clock_hz) > 1:
        raise PortError(
            f"{path}: its PLL makes {netlist.clock_hz:.0f} Hz, its UART counts on {info.clock_hz}"
        )
    return CxxrtlBackend(library, "routed"), info.clock_hz, library.stem


def _identify(path: Path, library: Path, clock_hz: float) -> Info:
    """What the design says that it is; asked once for each netlist, as its line is slow."""
    answer = library.with_suffix(".info")
    try:
        return Info.unpack(answer.read_bytes())
    except (OSError, ValueError):
        pass
    backend = CxxrtlBackend(library, "routed")
    backend.set_bit_cycles(clock_hz / RESET_BAUD)
    backend.run(_LOCKED_CYCLES)
    backend.send(Request(Opcode.INFO).encode(0))
    decoder = ReplyDecoder()
    try:
        while backend.cycles < _ANSWER_SECONDS * clock_hz:
            for reply in decoder.feed(backend.run(_SLICE)):
                write_atomically(answer, reply.payload)
                return Info.unpack(reply.payload)
    except ValueError as error:
        raise PortError(f"{path}: the board in it answers what is no INFO: {error}") from error
    except OSError as error:
        raise PortError(f"{answer.parent}: cannot be written: {error.strerror}") from error
    finally:
        backend.close()
    raise PortError(f"{path}: the board in it does not answer")


class _UnsuitableError(Exception):
    """The netlist holds what cannot be simulated."""


def _prepare(netlist: Mapping[str, Any]) -> RoutedNetlist:
    top = next(m for m in netlist["modules"].values() if int(m["attributes"].get("top", "0"), 2))
    settings = top["settings"]
    if settings["arch.name"] != "ice40":
        raise _UnsuitableError(f"is for {settings['arch.name']}, and only ice40 can be simulated")
    if not any("ROUTING" in net["attributes"] for net in top["netnames"].values()):
        raise _UnsuitableError("is not routed")
    cells = list(top["cells"].values())
    plls = [cell for cell in cells if cell["type"] == "ICESTORM_PLL"]
    if len(plls) != 1:
        raise _UnsuitableError(f"has {len(plls)} PLLs, not one")

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
            logic = _LogicCell(cell, fresh)
            simulated += logic.parts
            functions |= logic.functions
            wires |= logic.aliases
        elif kind in _MODELS:
            simulated.append(_cell(cell, fresh))
        elif kind not in ("SB_GB", "SB_IO", "ICESTORM_PLL"):
            raise _UnsuitableError(f"has a cell {kind}, of which there is no model here")
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
        functions="".join(map(_function_module, sorted(functions))),
    )


def _number(cell: Mapping[str, Any], parameter: str) -> int:
    return int(cell["parameters"][parameter].strip() or "0", 2)


def _frequency(pll: Mapping[str, Any]) -> float:
    """What the PLL makes of the frequency that `boards.build.clocks.Ice40Pll` left beside it."""
    from boards.build.clocks import PllSettings

    if _number(pll, "FEEDBACK_PATH") != _SIMPLE_FEEDBACK or _number(pll, "PLLOUT_SELECT_A"):
        raise _UnsuitableError("has a PLL in another mode than simple feedback")
    input_hz = int(pll["attributes"]["INPUT_HZ"], 2)
    dividers = (_number(pll, name) for name in ("DIVR", "DIVF", "DIVQ"))
    return PllSettings(input_hz, *dividers).output_hz


def _only(bits: list[Bit]) -> Bit:
    (bit,) = bits
    return bit


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
                _only(pins["GLOBAL_BUFFER_OUTPUT"]),
                clk if from_pll else _only(pins["USER_SIGNAL_TO_GLOBAL_BUFFER"]),
            )


class _Pads:
    """The pads of a design by the names of its ports."""

    def __init__(self, top: Mapping[str, Any]) -> None:
        self._ports = top["ports"]
        self._cells = {
            _only(cell["connections"]["PACKAGE_PIN"]): cell
            for cell in top["cells"].values()
            if cell["type"] == "SB_IO"
        }

    def _pad(self, port: str) -> tuple[Mapping[str, Any], str]:
        if port not in self._ports:
            raise _UnsuitableError(f"has no pin {port}")
        cell = self._cells[_only(self._ports[port]["bits"])]
        return cell["connections"], cell["parameters"]["PIN_TYPE"][-6:]

    def input(self, port: str) -> Bit:
        """The wire that a pad drives."""
        pins, kind = self._pad(port)
        if kind[4:] != _PLAIN_INPUT:
            raise _UnsuitableError(f"has a pad of type {kind} for {port}: no plain input")
        return _only(pins["D_IN_0"])

    def output(self, port: str, pad: Bit) -> dict[str, Any]:
        """The cell that drives ``pad``."""
        pins, kind = self._pad(port)
        if kind[:4] not in _PLAIN_OUTPUTS:
            raise _UnsuitableError(f"has a pad of type {kind} for {port}: no plain output")
        enable = pins["OUTPUT_ENABLE"] if kind[:4] == _PLAIN_OUTPUTS[1] else ["1"]
        return _instance(
            "OUTPUT_PAD",
            {"D_OUT_0": _only(pins["D_OUT_0"]), "OUTPUT_ENABLE": _only(enable)},
            {"PAD": pad},
        )


def _lock(pll: Mapping[str, Any], clk: Bit) -> dict[str, Any]:
    pins = pll["connections"]
    inputs = {"CLK": clk, "RESETB": _only(pins["RESETB"]), "BYPASS": _only(pins["BYPASS"])}
    return _instance("PLL_LOCK", inputs, {"LOCK": _only(pins["LOCK"])})


def _cofactor(function: Function, position: int, value: int) -> Function:
    """The function with one input held at ``value``."""
    table, inputs = function
    below = (1 << position) - 1
    result = 0
    for index in range(1 << inputs - 1):
        source = index & below | value << position | (index & ~below) << 1
        result |= (table >> source & 1) << index
    return result, inputs - 1


def _reduced(table: int, inputs: list[Bit]) -> tuple[Function, list[Bit]]:
    """The same without inputs that are constant or do not matter."""
    function = table, len(inputs)
    inputs = list(inputs)
    for position in reversed(range(len(inputs))):
        halves = [_cofactor(function, position, value) for value in (0, 1)]
        bit = inputs[position]
        if isinstance(bit, str) or halves[0] == halves[1]:
            function = halves[int(bit) if isinstance(bit, str) else 0]
            del inputs[position]
    return function, inputs


def expression(function: Function, names: Sequence[str]) -> tuple[int, str]:
    """A Verilog expression for a truth table, and how many operators it has: few."""
    table, count = function
    ones = (1 << (1 << count)) - 1
    if table in (0, ones):
        return 0, f"1'b{int(table != 0)}"
    if count == 1:
        return (0, names[0]) if table == 2 else (1, f"~{names[0]}")
    found = []
    for position, name in enumerate(names):
        low, high = (_cofactor(function, position, value) for value in (0, 1))
        others = [*names[:position], *names[position + 1 :]]
        low_cost, low_text = expression(low, others)
        high_cost, high_text = expression(high, others)
        half = (1 << (1 << count - 1)) - 1
        if low == high:
            return low_cost, low_text
        if low[0] == 0:
            found.append((high_cost + 1, f"({name} & {high_text})"))
        elif low[0] == half:
            found.append((high_cost + 2, f"(~{name} | {high_text})"))
        elif high[0] == 0:
            found.append((low_cost + 2, f"(~{name} & {low_text})"))
        elif high[0] == half:
            found.append((low_cost + 1, f"({name} | {low_text})"))
        elif low[0] == high[0] ^ half:
            found.append((low_cost + 1, f"({name} ^ {low_text})"))
        else:
            text = f"(({name} & {high_text}) | (~{name} & {low_text}))"
            found.append((low_cost + high_cost + 4, text))
    return min(found)


def _function_name(function: Function) -> str:
    return f"FUNCTION{function[1]}_{function[0]:x}"


def _function_module(function: Function) -> str:
    names = [f"I{index}" for index in range(function[1])]
    return (
        f"module {_function_name(function)} (input {', '.join(names)}, output O);\n"
        f"  assign O = {expression(function, names)[1]};\nendmodule\n\n"
    )


class _LogicCell:
    """A placed logic cell taken apart.

    Attributes
    ----------
    parts : list of dict
        Cells: at most a function, a register and a carry.
    functions : set of Function
        What a module is needed for.
    aliases : dict
        Outputs that are another wire, or constant.
    """

    def __init__(self, cell: Mapping[str, Any], fresh: Iterator[int]) -> None:
        self.parts: list[dict[str, Any]] = []
        self.functions: set[Function] = set()
        self.aliases: dict[Bit, Bit] = {}
        if _number(cell, "NEG_CLK"):
            raise _UnsuitableError("has a logic cell with a falling edge, which is not simulated")
        self._pins = cell["connections"]
        output, lookup, carry = (self._output(name) for name in ("O", "LO", "COUT"))
        if output is not None or lookup is not None:
            result = self._result(_number(cell, "LUT_INIT"), fresh)
            if lookup is not None:
                self.aliases[lookup] = result
            if output is not None and not _number(cell, "DFF_ENABLE"):
                self.aliases[output] = result
            elif output is not None:
                inputs = {name: self._input(name) for name in ("CLK", "CEN", "SR")}
                register = _instance("REGISTER", {**inputs, "D": result}, {"Q": output})
                for name in ("SET_NORESET", "ASYNC_SR"):
                    register["parameters"][name] = cell["parameters"][name]
                for name in ("CEN", "SR"):
                    register["parameters"][f"HAS_{name}"] = str(int(bool(self._pins[name])))
                self.parts.append(register)
        if carry is not None and _number(cell, "CARRY_ENABLE"):
            inputs = {name: self._input(name) for name in ("I1", "I2", "CIN")}
            if _number(cell, "CIN_CONST"):
                inputs["CIN"] = str(_number(cell, "CIN_SET"))
            self.parts.append(_instance("CARRY", inputs, {"COUT": carry}))

    def _result(self, table: int, fresh: Iterator[int]) -> Bit:
        """What the truth table gives: a new wire, one of its inputs, or a constant."""
        function, inputs = _reduced(table, [self._input(f"I{index}") for index in range(4)])
        if not inputs:
            return str(function[0])
        if function == _IDENTITY:
            return inputs[0]
        self.functions.add(function)
        pins = {f"I{index}": bit for index, bit in enumerate(inputs)}
        result = next(fresh)
        self.parts.append(_instance(_function_name(function), pins, {"O": result}))
        return result

    def _input(self, name: str) -> Bit:
        bits = self._pins[name]
        if bits:
            return _only(bits)
        return "1" if ("ICESTORM_LC", name) in _PULLED_UP else "0"

    def _output(self, name: str) -> Bit | None:
        bits = self._pins[name]
        return _only(bits) if bits else None


def _instance(kind: str, inputs: Mapping[str, Bit], outputs: Mapping[str, Bit]) -> dict[str, Any]:
    directions = dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")
    pins = {name: [bit] for name, bit in (*inputs.items(), *outputs.items())}
    return {"type": kind, "parameters": {}, "port_directions": directions, "connections": pins}


def _cell(cell: Mapping[str, Any], fresh: Iterator[int]) -> dict[str, Any]:
    """A placed cell as an instance of its model: pins of a bus together, none unconnected."""
    kind = cell["type"]
    parameters = dict(cell["parameters"])
    if any(int(parameters.get(name, "0"), 2) for name in _FALLING):
        raise _UnsuitableError(f"has a {kind} with a falling edge, which is not simulated")
    for name in ("NEG_CLK_R", "NEG_CLK_W"):  # nextpnr's own: the model's cell has none
        parameters.pop(name, None)
    directions: dict[str, str] = {}
    buses: dict[str, dict[int, Bit]] = {}
    for pin, bits in cell["connections"].items():
        direction = cell["port_directions"][pin]
        if bits:
            bit = _only(bits)
        elif direction == "input":
            bit = "1" if (kind, pin) in _PULLED_UP else "0"
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
