"""Max pooling: the greatest byte of a window, for each stream."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..interface.configuration import EngineConfiguration
from .mac_array import StepFlags


class MaxPool(wiring.Component):
    """``maxima[p]`` is the greatest byte of stream ``p`` in the window's steps, plus 128.

    A step's bytes arrive a cycle after it. Throughput: a byte of each stream a cycle. Latency:
    ``done`` is high :attr:`.EngineConfiguration.pool_latency` cycles after the last step, and the
    maxima are valid in that cycle. There is no back-pressure.

    Members
    -------
    step : :py:`In(1)`
    flags : :py:`In(StepFlags)`
    pixels : :py:`In(8)` for each stream, signed
    maxima : :py:`Out(8)` for each stream, unsigned: the greatest value plus 128
    done : :py:`Out(1)`
    """

    def __init__(self, configuration: EngineConfiguration) -> None:
        self._far = configuration.pool_latency > 2
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
        # The flags of the step whose bytes are being compared.
        step, flags, pixels = self.step, self.flags, self.pixels
        valid, first, last, done = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [valid.eq(step), first.eq(flags.first), last.eq(step & flags.last)]
        if self._far:
            pixels = Signal.like(self.pixels, reset_less=True)
            late_valid, late_first, late_last = Signal(), Signal(), Signal()
            m.d.sync += [
                pixels.eq(self.pixels),
                late_valid.eq(valid),
                late_first.eq(first),
                late_last.eq(last),
            ]
            valid, first, last = late_valid, late_first, late_last
        m.d.sync += done.eq(last)
        m.d.comb += self.done.eq(done)
        for pixel, maximum in zip(pixels, self.maxima, strict=True):
            value = Signal(8)
            greatest = Signal(8, reset_less=True)
            m.d.comb += [value.eq(pixel ^ 0x80), maximum.eq(greatest)]
            with m.If(valid & (first | (value > greatest))):
                m.d.sync += greatest.eq(value)
        return m
