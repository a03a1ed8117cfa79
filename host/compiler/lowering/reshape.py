"""The same work over the same bytes, seen in a shape that suits the engine better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gateware.interface.configuration import EngineConfiguration

from ..layers import IntArray, Kernel, Layer, Mode, View
from ..loops import MAX_GROUPS, MAX_WINDOW_HEIGHT, MAX_WINDOW_WIDTH, max_row_bytes
from ..nest import ceil_divide


def narrowed(
    source: View, kernel: Kernel, configuration: EngineConfiguration
) -> tuple[View, Kernel]:
    """A picture that is all one window, cut into rows that a window may have.

    Where no cut gives such rows, they overlap by :func:`overlap` pixels. Where that does not help
    either, what was given.
    """
    whole = (kernel.height, kernel.width) == (source.height, source.width)
    gapless = source.height == 1 or source.row_pitch == source.row_bytes
    if not (whole and gapless and kernel.top == kernel.left == 0):
        return source, kernel
    pixels, word = source.height * source.width, configuration.word_bytes
    cuts = []
    for width in (source.width, *range(min(MAX_WINDOW_WIDTH, pixels), 0, -1)):
        if width > MAX_WINDOW_WIDTH:
            continue
        for height in range(ceil_divide(pixels, width), MAX_WINDOW_HEIGHT + 1):
            step, rest = divmod(pixels - width, max(1, height - 1))
            if rest or step > width or (height == 1 and step):
                continue
            if height == 1 or step * source.pixel_pitch % word == 0:
                cuts.append((height, width, step))
                break
    if not cuts:
        return source, kernel
    height, width, step = min(cuts, key=lambda cut: cut[0] * cut[1])
    pitch = (step if height > 1 else width) * source.pixel_pitch
    view = replace(source, height=height, width=width, row_pitch=pitch)
    return view, replace(kernel, height=height, width=width)


def overlap(source: View) -> int:
    """Pixels at the end of a row that are the first of the next row, too."""
    return max(0, source.width - source.row_pitch // source.pixel_pitch) if source.height > 1 else 0


def without_horizontal_dilation(weights: IntArray, kernel: Kernel) -> tuple[IntArray, Kernel]:
    """Weights of zero between the columns: a run of pixels has no holes."""
    if kernel.dilation_w == 1 or kernel.width == 1:
        return weights, replace(kernel, dilation_w=1)
    channels, height, width, inputs = weights.shape
    columns = (width - 1) * kernel.dilation_w + 1
    spread = np.zeros((channels, height, columns, inputs), np.int64)
    spread[:, :, :: kernel.dilation_w] = weights
    return spread, replace(kernel, width=columns, dilation_w=1)


def spread_channels(weights: IntArray, pixel_pitch: int) -> IntArray:
    """Weights of zero for the bytes between two pixels' channels."""
    gap = pixel_pitch - weights.shape[3]
    return np.pad(weights, ((0, 0), (0, 0), (0, 0), (0, gap))) if gap else weights


def in_long_rows(layer: Layer, configuration: EngineConfiguration) -> Layer:
    """The same convolution over longer rows, where neither picture has gaps between them.

    Other layers stay as they are.

    A window of the whole picture becomes one run; a 1x1 window sees rows of any length, and long
    ones waste less where the width is no multiple of ``P``.
    """
    source, target, kernel = layer.source, layer.target, layer.kernel
    if layer.mode is not Mode.CONVOLUTION:
        return layer
    longest = max_row_bytes(configuration)
    whole = (
        source.row_pitch == source.row_bytes
        and source.size <= longest
        and (kernel.height, kernel.width) == (source.height, source.width)
    )
    inside = kernel.top == kernel.left == 0
    if whole and inside and source.height > 1 and target.height == target.width == 1:
        assert layer.weights is not None
        width = source.height * source.width
        weights = layer.weights.reshape(len(layer.weights), 1, width, source.pixel_pitch)
        view = replace(source, height=1, width=width, row_pitch=source.size)
        return replace(layer, source=view, kernel=Kernel(1, width), weights=weights)

    pointwise = (kernel.height, kernel.width, kernel.stride_h, kernel.stride_w) == (1, 1, 1, 1)
    same = (source.height, source.width) == (target.height, target.width) and inside
    gapless = all(view.height == 1 or view.row_pitch == view.row_bytes for view in (source, target))
    if not (pointwise and same and gapless):
        return layer
    pixels = source.height * source.width
    rows = min(
        (
            rows
            for rows in range(1, source.height + 1)
            if pixels % rows == 0
            and pixels // rows * source.pixel_pitch <= longest
            and pixels // rows <= MAX_GROUPS * configuration.pixels
            and pixels // rows * source.pixel_pitch % configuration.word_bytes == 0
        ),
        key=lambda rows: (rows * ceil_divide(pixels // rows, configuration.pixels), rows),
        default=source.height,
    )
    if rows == source.height:
        return layer
    source, target = (
        replace(
            view,
            height=rows,
            width=pixels // rows,
            row_pitch=pixels // rows * view.pixel_pitch,
        )
        for view in (source, target)
    )
    return replace(layer, source=source, target=target)
