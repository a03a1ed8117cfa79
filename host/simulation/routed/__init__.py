"""The netlist that nextpnr routed, simulated."""
