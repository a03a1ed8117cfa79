"""The script's steps, as logic."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .script import Kind, Script

__all__ = ["StepTable"]


class StepTable(wiring.Component):
    """The fields of a step, by its number.

    Latency: a cycle. No back-pressure.

    Parameters
    ----------
    script : Script

    Members
    -------
    at : :py:`In(range(len(script.steps)))`
    kind : :py:`Out(Kind)`
    byte : :py:`Out(8)`
    exact, quad, silent, end, last : :py:`Out(1)`
        As in :class:`.script.Step`.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        super().__init__(
            {
                "at": In(range(len(script.steps))),
                "kind": Out(Kind),
                "byte": Out(8),
                "exact": Out(1),
                "quad": Out(1),
                "silent": Out(1),
                "end": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.Switch(self.at):
            for index, step in enumerate(self.script.steps):
                with m.Case(index):
                    m.d.sync += [
                        self.kind.eq(step.kind),
                        self.byte.eq(step.byte),
                        self.exact.eq(step.exact),
                        self.quad.eq(step.quad),
                        self.silent.eq(step.silent),
                        self.end.eq(step.end),
                        self.last.eq(step.last),
                    ]
        return m
