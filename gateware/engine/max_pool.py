"""The greatest byte of a window, for each stream."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from .mac_array import StepFlags

#: Cycles from a step to the maximum that includes it.
POOL_LATENCY = 2


class MaxPool(wiring.Component):
    """``maximum[p]`` of the bytes that stream ``p`` had in the window's steps, plus 128.

    The bytes of a step arrive a cycle after it. Throughput: a byte a stream and cycle. ``done`` is
    high POOL_LATENCY cycles after the last step; the maxima stand in that cycle.

    Members
    -------
    step : :py:`In(1)`
    flags : :py:`In(StepFlags)`
    pixels : :py:`In(8)` for each stream, signed
    maxima : :py:`Out(8)` for each stream, unsigned: the greatest value plus 128
    done : :py:`Out(1)`
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        streams = data.ArrayLayout(8, configuration.pixels)
        super().__init__(
            {
                "step": In(1),
                "flags": In(StepFlags),
                "pixels": In(streams),
                "maxima": Out(streams),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid, first = Signal(), Signal()
        last = Signal(POOL_LATENCY)
        m.d.sync += [
            valid.eq(self.step),
            first.eq(self.flags.first),
            last.eq(Cat(self.step & self.flags.last, last[:-1])),
        ]
        m.d.comb += self.done.eq(last[-1])
        for pixel, maximum in zip(self.pixels, self.maxima, strict=True):
            value = Signal(8)
            greatest = Signal(8, reset_less=True)
            m.d.comb += [value.eq(pixel ^ 0x80), maximum.eq(greatest)]
            with m.If(valid & (first | (value > greatest))):
                m.d.sync += greatest.eq(value)
        return m
