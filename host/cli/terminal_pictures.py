"""Small pictures as text on the terminal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["draw", "side_by_side"]

#: Grey ramp from dark to bright.
_RAMP = " .:-=+*#%@"


def draw(pixels: npt.NDArray[np.uint8], *, unicode: bool = True, colour: bool = False) -> list[str]:
    """A small picture as lines of text, all of the same width on the terminal.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width) or (height, width, channels)
    unicode : bool
        Half blocks, two rows of pixels a line; else two characters of a grey ramp a pixel.
    colour : bool
        24-bit colours by escape sequences; only with ``unicode``.
    """
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if not unicode:
        grey = pixels.mean(axis=2)
        steps = (grey * (len(_RAMP) - 1) / 255).round().astype(int)
        return ["".join(2 * _RAMP[step] for step in row) for row in steps]
    if len(pixels) % 2:
        pixels = np.concatenate([pixels, np.zeros_like(pixels[:1])])
    rgb = pixels if pixels.shape[2] == 3 else np.repeat(pixels[:, :, :1], 3, axis=2)
    lines = []
    for upper, lower in zip(rgb[::2], rgb[1::2]):
        if colour:
            cells = (
                f"\x1b[38;2;{a};{b};{c};48;2;{d};{e};{f}m▀"
                for (a, b, c), (d, e, f) in zip(upper.tolist(), lower.tolist())
            )
            lines.append("".join(cells) + "\x1b[0m")
        else:
            bright = zip(upper.mean(axis=1) > 127, lower.mean(axis=1) > 127)
            lines.append("".join(" ▄▀█"[2 * bool(above) + bool(below)] for above, below in bright))
    return lines


def side_by_side(pictures: list[list[str]], captions: list[str], width: int) -> list[str]:
    """Drawings of one height in a row, a caption under each.

    Parameters
    ----------
    pictures : list of list of str
        From :func:`draw`.
    captions : list of str
    width : int
        Columns that each takes on the terminal, escape sequences not counted.
    """
    gap = "  "
    lines = [gap.join(parts) for parts in zip(*pictures)]
    column = max([width, *map(len, captions)])
    if column > width:
        pad = " " * (column - width)
        lines = [gap.join(part + pad for part in parts) for parts in zip(*pictures)]
    return [*lines, gap.join(caption.ljust(column) for caption in captions)]
