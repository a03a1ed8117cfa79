"""The simulated board: the bitstream's top-level component behind a pyserial URL.

``sim://BOARD`` opens a port whose two wires are the component's UART pins, driven bit by bit. The
simulation has no thread of its own: it is stepped while the host waits for something.
"""
