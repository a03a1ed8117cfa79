"""How long blocks take, where the host computes with it: one definition for gateware and host.

What the gateware takes from the configuration stands there
(:class:`.configuration.EngineConfiguration`).
"""

from __future__ import annotations

from .configuration import EngineConfiguration

__all__ = [
    "COMBINATION_CYCLES",
    "MIN_BIT_CYCLES",
    "PIXEL_BUFFER_BYTES",
    "RUN_CYCLES",
    "pixel_margin",
]

#: Cycles from a run of the run generator to the next.
RUN_CYCLES = 3
#: Cycles between results that leave together and the next ones, where they meet others in memory:
#: each is then a read and a write.
COMBINATION_CYCLES = 2
#: Bytes of a pixel stream's buffer.
PIXEL_BUFFER_BYTES = 512
#: Fewest clock cycles of a bit with which the UART's receiver keeps its tolerance of ±2 %.
MIN_BIT_CYCLES = 4


def pixel_margin(configuration: EngineConfiguration) -> int:
    """Bytes that a pixel stream may still get when its buffer has no room for more: at most eleven
    words are under way."""
    return 12 * configuration.word_bytes + 4
