"""Placed logic cells taken apart: a function of few inputs, a register, a carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = [
    "PULLED_UP",
    "Bit",
    "Function",
    "LogicCell",
    "UnsuitableError",
    "expression",
    "function_module",
    "instance",
    "number",
    "only",
]

Bit = int | str
#: Truth table, number of inputs: bit ``i`` is the value where input ``k`` is bit ``k`` of ``i``.
Function = tuple[int, int]
_IDENTITY: Function = (0b10, 1)
#: Inputs that are 1 if nothing is connected (yosys's models of placed cells say so, too).
PULLED_UP = {
    ("ICESTORM_LC", "CEN"),
    ("ICESTORM_RAM", "RCLKE"),
    ("ICESTORM_RAM", "WCLKE"),
    ("ICESTORM_DSP", "CE"),
}


class UnsuitableError(Exception):
    """The netlist holds what cannot be simulated."""


def number(cell: Mapping[str, Any], parameter: str) -> int:
    return int(cell["parameters"][parameter].strip() or "0", 2)


def only(bits: list[Bit]) -> Bit:
    (bit,) = bits
    return bit


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


def function_module(function: Function) -> str:
    names = [f"I{index}" for index in range(function[1])]
    return (
        f"module {_function_name(function)} (input {', '.join(names)}, output O);\n"
        f"  assign O = {expression(function, names)[1]};\nendmodule\n\n"
    )


class LogicCell:
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
        if number(cell, "NEG_CLK"):
            raise UnsuitableError("has a logic cell with a falling edge, which is not simulated")
        self._pins = cell["connections"]
        output, lookup, carry = (self._output(name) for name in ("O", "LO", "COUT"))
        if output is not None or lookup is not None:
            result = self._result(number(cell, "LUT_INIT"), fresh)
            if lookup is not None:
                self.aliases[lookup] = result
            if output is not None and not number(cell, "DFF_ENABLE"):
                self.aliases[output] = result
            elif output is not None:
                inputs = {name: self._input(name) for name in ("CLK", "CEN", "SR")}
                register = instance("REGISTER", {**inputs, "D": result}, {"Q": output})
                for name in ("SET_NORESET", "ASYNC_SR"):
                    register["parameters"][name] = cell["parameters"][name]
                for name in ("CEN", "SR"):
                    register["parameters"][f"HAS_{name}"] = str(int(bool(self._pins[name])))
                self.parts.append(register)
        if carry is not None and number(cell, "CARRY_ENABLE"):
            inputs = {name: self._input(name) for name in ("I1", "I2", "CIN")}
            if number(cell, "CIN_CONST"):
                inputs["CIN"] = str(number(cell, "CIN_SET"))
            self.parts.append(instance("CARRY", inputs, {"COUT": carry}))

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
        self.parts.append(instance(_function_name(function), pins, {"O": result}))
        return result

    def _input(self, name: str) -> Bit:
        bits = self._pins[name]
        if bits:
            return only(bits)
        return "1" if ("ICESTORM_LC", name) in PULLED_UP else "0"

    def _output(self, name: str) -> Bit | None:
        bits = self._pins[name]
        return only(bits) if bits else None


def instance(kind: str, inputs: Mapping[str, Bit], outputs: Mapping[str, Bit]) -> dict[str, Any]:
    directions = dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")
    pins = {name: [bit] for name, bit in (*inputs.items(), *outputs.items())}
    return {"type": kind, "parameters": {}, "port_directions": directions, "connections": pins}
