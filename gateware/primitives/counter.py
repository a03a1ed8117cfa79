"""Counters with a load input, in one logic cell a bit."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal, Value, ValueLike

__all__ = ["load_or_count", "load_or_count_down"]


def load_or_count(load: Signal, value: ValueLike, count: Signal, step: ValueLike = 1) -> Value:
    """``value`` where ``load`` is high, otherwise ``count + step``.

    The term that ``load`` adds to the sum has no effect, because the sum is then not used. Where
    carry chain and lookup table share their inputs (iCE40), it lets them share a cell; without it,
    a counter with a load input takes two cells a bit.

    Parameters
    ----------
    load : Signal
        One bit.
    value : ValueLike
    count : Signal
    step : ValueLike
        0 or 1.
    """
    return Mux(load, value, (count + load.replicate(len(count)) + step)[: len(count)])


def load_or_count_down(load: Signal, value: ValueLike, count: Signal) -> Value:
    """``value`` where ``load`` is high, otherwise ``count - 1``; as :func:`load_or_count`."""
    return Mux(load, value, (count + (~load).replicate(len(count)))[: len(count)])
