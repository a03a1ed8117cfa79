"""The interface by which the link's commands start and observe the engine."""

from __future__ import annotations

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..interface.protocol import EngineError, StallCause


class EngineControlSignature(wiring.Signature):
    """The engine's control, with directions as seen by the commands.

    Members
    -------
    run : :py:`Out(1)`
        High for one cycle while ``busy`` is low: start at the tape's beginning. ``busy`` is high
        from the next cycle on, until the last result is in memory.
    layers : :py:`Out(8)`
        Number of layers after which to stop, or 0 to run all. Sampled with ``run``.
    stall_cause : :py:`Out(StallCause)`
        The cause that ``stalls`` counts. Sampled with ``run``.
    busy : :py:`In(1)`
    error : :py:`In(EngineError)`
        Why the last run stopped.
    cycles, stalls : :py:`In(32)`
        Counters of the current or last run.
    shift : :py:`Out(1)`
        High for one cycle while ``busy`` is low: rotate ``cycles`` and, above it, ``stalls``, as
        one number of 64 bits, by a byte to the right. Both can thus be read at ``cycles[:8]``;
        eight rotations restore them.
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
