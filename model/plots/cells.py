"""A picture with the cells marked in which a detector found something."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from .style import BLUE, GREEN, ORANGE, VERMILION

__all__ = ["Mark", "draw_cells"]

#: One a class, then again from the first.
_COLOURS: Final = (ORANGE, BLUE, GREEN, VERMILION, "#CC79A7", "#56B4E9", "#F0E442")
#: Pixels that the picture's longer side is enlarged or shrunk to; those of a cell at least, where
#: there are not so many cells that the whole would be larger than the last.
_SIDES: Final = (480, 1600)
_CELL: Final = 16
_MOST: Final = 2048
_LINE: Final = 2
_TEXT: Final = 14
_MARGIN: Final = 6
_BACKGROUND: Final = "#202020"
_LONGEST: Final = 40

Mark = tuple[int, int, int, str, str]
"""Row and column of a cell, its class, the class's name, and a short text to write into it."""


def draw_cells(picture: Image.Image, grid: tuple[int, int], marks: Sequence[Mark]) -> Image.Image:
    """Mark cells, and say below which colour is which class.

    Parameters
    ----------
    picture : Image
        As one sees it; the network saw all of it, whatever its sides.
    grid : tuple of int
        Rows and columns of cells that the picture is divided into.
    marks : sequence of Mark
    """
    rows, columns = grid
    least, most = _SIDES
    width, height = picture.size
    cell = max(1, min(_CELL, _MOST // max(rows, columns)))
    wanted = max(least, cell * rows, cell * columns, min(max(width, height), most))
    scale = wanted / max(width, height)
    # Of a long and narrow picture, the cells on its short side are wider than in proportion.
    width, height = (
        max(round(width * scale), _CELL * columns),
        max(round(height * scale), _CELL * rows),
    )
    names = {index: name for _, _, index, name, _ in marks}
    line = _TEXT + _MARGIN
    below = _MARGIN + line * max(1, len(names))
    whole = Image.new("RGB", (width, height + below), _BACKGROUND)
    whole.paste(picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
    draw = ImageDraw.Draw(whole)
    for row, column, index, _, text in marks:
        left, right = column * width // columns, (column + 1) * width // columns - 1
        top, bottom = row * height // rows, (row + 1) * height // rows - 1
        draw.rectangle((left, top, right, bottom), outline=_colour(index), width=_LINE)
        if draw.textlength(text, _font()) + 2 * _LINE < right - left and line < bottom - top:
            corner = (left + _LINE, top + _LINE)
            draw.rectangle(draw.textbbox(corner, text, _font()), fill=_BACKGROUND)
            draw.text(corner, text, fill="white", font=_font())
    counts = {index: sum(mark[2] == index for mark in marks) for index in sorted(names)}
    for place, (index, count) in enumerate(counts.items()):
        top = height + _MARGIN + place * line
        draw.rectangle((_MARGIN, top, _MARGIN + _TEXT, top + _TEXT), fill=_colour(index))
        text = f"{_short(names[index])}: {count} cell{'s' if count != 1 else ''}"
        draw.text((2 * _MARGIN + _TEXT, top), text, fill="white", font=_font())
    if not counts:
        draw.text((_MARGIN, height + _MARGIN), "nothing found", fill="white", font=_font())
    return whole


def _colour(index: int) -> str:
    return _COLOURS[(index - 1) % len(_COLOURS)]


def _short(name: str) -> str:
    """A class's name on one line; what the font lacks is drawn as boxes."""
    line = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    """Matplotlib's font, for it has more letters than Pillow's."""
    import matplotlib

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", _TEXT)
