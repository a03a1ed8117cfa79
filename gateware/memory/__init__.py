"""The scratchpad: one address space over single-port banks, and who may use it."""
