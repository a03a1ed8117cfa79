"""Values of a model card, each checked: they come from a device, which may say anything."""

from __future__ import annotations

import math
from typing import Any

from gateware.interface.layout import TensorLayout

__all__ = [
    "MAX_RANK",
    "MAX_TEXT",
    "array",
    "integer",
    "layout_of",
    "mapping",
    "positive_real",
    "shape_of",
    "text",
]

#: Characters of a name.
MAX_TEXT = 256
MAX_RANK = 6


def integer(value: Any, what: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{what} must be an integer from {low} to {high}, not {value!r}")
    return value


def positive_real(value: Any, what: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{what} must be a number, not {value!r}")
    if not 0 < value < 1e30:
        raise ValueError(f"{what} must be positive and finite, not {value!r}")
    return float(value)


def text(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"{what} must be a text of at most {MAX_TEXT} characters")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)


def array(value: Any, what: str, longest: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > longest:
        raise ValueError(f"{what} must be a list of at most {longest}")
    return value


def shape_of(value: Any, what: str, most: int) -> tuple[int, ...]:
    shape = tuple(integer(size, what, 1, most) for size in array(value, what, MAX_RANK))
    if math.prod(shape) > most:
        raise ValueError(f"{what} has more than {most} elements")
    return shape


def layout_of(value: Any, shape: tuple[int, ...], what: str, memory_bytes: int) -> TensorLayout:
    numbers = array(value, f"{what}.layout", 6)
    if len(numbers) < 5:
        raise ValueError(f"{what}.layout must have 5 or 6 numbers, not {len(numbers)}")
    layout = TensorLayout(
        *(integer(number, f"{what}.layout", 0, memory_bytes) for number in numbers)
    )
    used = layout.left * layout.channels + layout.row_bytes
    if layout.row_pitch < used or layout.address + layout.size > memory_bytes:
        raise ValueError(f"{what} does not lie within the memory")
    pixels = layout.height * layout.width
    if not pixels or math.prod(shape) % pixels or math.prod(shape) > pixels * layout.channels:
        raise ValueError(f"{what}.shape does not fit {what}.layout")
    return layout


def mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be an object, not {value!r}")
    return value
