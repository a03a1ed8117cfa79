"""Small pictures as text."""

from __future__ import annotations

import numpy as np

from host.cli.terminal_pictures import draw, side_by_side


def test_drawings():
    pixels = np.zeros((4, 3, 1), np.uint8)
    pixels[0, 0] = pixels[3, 1] = pixels[2, 2] = pixels[3, 2] = 255
    assert draw(pixels) == ["▀  ", " ▄█"]
    assert draw(pixels, unicode=False)[0] == "@@    "
    coloured = draw(pixels, colour=True)
    assert len(coloured) == 2 and coloured[0].endswith("\x1b[0m")
    assert side_by_side([["ab"], ["cd"]], ["1", "two"], 2) == ["ab   cd ", "1    two"]
