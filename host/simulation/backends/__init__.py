"""What steps the simulated gateware: compiled C++ (CXXRTL), or Amaranth's own simulator."""
