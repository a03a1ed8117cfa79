"""How often each loop of the engine runs for a layer.

The one place where a layer's shape and the engine's size are brought together; tape writer and
cycle model both work from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import CONTROL_1, DELTA

from .errors import CompileError
from .layers import Layer, Mode
from .nest import ceil_divide

#: Groups that a line can have.
MAX_GROUPS = 1 << CONTROL_1["groups"].width
#: Bytes that a row can have: what the offset within a row reaches.
MAX_ROW_BYTES = 1 << (DELTA["x"].width - 1)


@dataclass(frozen=True)
class Loops:
    """The engine's loop nest for one layer: for tile, line, group of pixels, kernel row.

    Attributes
    ----------
    tiles, lines, groups, kernel_rows : int
    row_step : int
        Picture rows from one kernel row to the next.
    run_bytes : int
        Bytes of a kernel row that each stream gets.
    slots, lanes : int
        Slots drained from a window, and lanes of each.
    last_slots, last_lanes : int
        Those of them that hold a result where the picture ends.
    """

    tiles: int
    lines: int
    groups: int
    kernel_rows: int
    row_step: int
    run_bytes: int
    slots: int
    lanes: int
    last_slots: int
    last_lanes: int

    @property
    def taps(self) -> int:
        """Bytes of a window, and ring entries of a tile's weights."""
        return self.kernel_rows * self.run_bytes

    @property
    def windows(self) -> int:
        """Windows of a tile."""
        return self.groups * self.lines

    @property
    def results(self) -> int:
        """Results drained from a window."""
        return self.slots * self.lanes

    @classmethod
    def of(cls, layer: Layer, configuration: EngineConfiguration) -> Loops:
        """The loops that ``layer`` takes.

        Raises
        ------
        CompileError
            If its window does not fit the weight ring.
        """
        if layer.mode is Mode.CONVOLUTION:
            loops = cls._convolution(layer, configuration)
        elif layer.mode is Mode.ADDITION:
            loops = cls._addition(layer, configuration)
        else:
            loops = cls._channel_wise(layer, configuration)
        reused = layer.weights is not None and loops.windows > 1
        if reused and loops.taps > configuration.window_taps:
            raise CompileError(
                f"layer {layer.name}: its window has {loops.taps} taps, the weight ring's "
                f"limit is {configuration.window_taps}"
            )
        return loops

    @classmethod
    def _convolution(cls, layer: Layer, configuration: EngineConfiguration) -> Loops:
        target, kernel = layer.target, layer.kernel
        lanes, pixels = configuration.lanes, configuration.pixels
        tiles = ceil_divide(target.channels, lanes)
        groups = ceil_divide(target.width, pixels)
        return cls(
            tiles=tiles,
            lines=target.height,
            groups=groups,
            kernel_rows=kernel.height,
            row_step=kernel.dilation_h,
            run_bytes=kernel.width * layer.source.pixel_pitch,
            slots=min(pixels, target.width),
            lanes=lanes,
            last_slots=target.width - (groups - 1) * pixels,
            last_lanes=target.channels - (tiles - 1) * lanes,
        )

    @classmethod
    def _addition(cls, layer: Layer, configuration: EngineConfiguration) -> Loops:
        width, group = layer.target.width, configuration.channel_group
        pairs = configuration.lanes_per_pixel // 2
        if pairs < 1 or configuration.pixels > configuration.lanes:
            raise CompileError(
                f"layer {layer.name}: an addition takes two lanes for each pixel stream, the "
                f"engine has {configuration.lanes} lanes for {configuration.pixels}"
            )
        pixels = max(n for n in range(1, pairs + 1) if width % n == 0)
        return cls(
            tiles=1,
            lines=layer.target.height,
            groups=width // pixels,
            kernel_rows=2,
            row_step=0,
            run_bytes=pixels,
            slots=group,
            lanes=pixels,
            last_slots=group,
            last_lanes=pixels,
        )

    @classmethod
    def _channel_wise(cls, layer: Layer, configuration: EngineConfiguration) -> Loops:
        target, kernel = layer.target, layer.kernel
        group = configuration.channel_group
        tiles = ceil_divide(layer.source.channels, group)
        rows = 1 if layer.mode is Mode.POOL else _rows_at_once(layer, configuration)
        lines = ceil_divide(target.height, rows)
        span = (kernel.height - 1) * kernel.dilation_h + 1
        return cls(
            tiles=tiles,
            lines=lines,
            groups=target.width,
            # Several output rows at once need every input row that they span.
            kernel_rows=kernel.height if rows == 1 else (rows - 1) * kernel.stride_h + span,
            row_step=kernel.dilation_h if rows == 1 else 1,
            run_bytes=kernel.width,
            slots=min(group, layer.source.channels),
            lanes=rows,
            last_slots=layer.source.channels - (tiles - 1) * group,
            # Pooling's one lane always holds a result.
            last_lanes=configuration.lanes
            if layer.mode is Mode.POOL
            else target.height - (lines - 1) * rows,
        )


def _rows_at_once(layer: Layer, configuration: EngineConfiguration) -> int:
    """Output rows of a depthwise window: as few taps over the picture as possible."""
    kernel, height = layer.kernel, layer.target.height
    span = (kernel.height - 1) * kernel.dilation_h + 1

    def taps(rows: int) -> int:
        window = kernel.height if rows == 1 else (rows - 1) * kernel.stride_h + span
        return ceil_divide(height, rows) * window

    most = min(configuration.lanes_per_pixel, height)
    return min(range(1, most + 1), key=lambda rows: (taps(rows), -rows))
