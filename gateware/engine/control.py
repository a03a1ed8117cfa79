"""How the link's commands start the engine and see what it does."""

from __future__ import annotations

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..interface.protocol import EngineError, StallCause


class EngineControlSignature(wiring.Signature):
    """Seen from the commands' side.

    Members
    -------
    run : :py:`Out(1)`
        High for one cycle while ``busy`` is low: start at the tape's beginning. ``busy`` is high
        from the next cycle on, until the last result is in memory.
    layers : :py:`Out(8)`
        Stop after so many layers; 0: after the last. Sampled with ``run``.
    stall_cause : :py:`Out(StallCause)`
        What ``stalls`` counts. Sampled with ``run``.
    busy : :py:`In(1)`
    error : :py:`In(EngineError)`
        Why the last run stopped.
    cycles, stalls : :py:`In(32)`
        Of the current or last run.
    shift : :py:`Out(1)`
        High for one cycle while ``busy`` is low: ``cycles`` and above it ``stalls`` turn by a byte
        to the right, as one number of 64 bits. So they can be read at ``cycles[:8]``; after eight
        turns all is as before.
    best : :py:`In(16)`
        Index of the greatest byte (the first of equals) among the last layer's results, counted
        in the order in which they are written.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "run": Out(1),
                "layers": Out(8),
                "stall_cause": Out(StallCause),
                "busy": In(1),
                "error": In(EngineError),
                "cycles": In(32),
                "stalls": In(32),
                "shift": Out(1),
                "best": In(16),
            }
        )
