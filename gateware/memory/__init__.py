"""The scratchpad: single-port banks as one address space, and their arbiter."""
