"""The layout of a tensor in the scratchpad."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class TensorLayout:
    """An int8 picture in memory: height, width, channels (HWC), rows padded to whole words.

    Attributes
    ----------
    address : int
        Byte address of the first row, a multiple of the memory word.
    height, width, channels : int
    row_pitch : int
        Bytes from one row to the next, a multiple of the memory word, at least
        ``(left + width) * channels``.
    left : int
        Pixels of padding that are stored before each row. Of a picture that the host writes, the
        engine may read those, and those behind the row: they hold the zero point.
    """

    address: int
    height: int
    width: int
    channels: int
    row_pitch: int
    left: int = 0

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.height * self.row_pitch

    @property
    def row_bytes(self) -> int:
        """Bytes of a row that hold pixels."""
        return self.width * self.channels

    def pack(self, values: npt.NDArray[np.int8], padding: int = 0) -> bytes:
        """Return the bytes in memory for ``values`` of shape (height, width, channels).

        Bytes beside the picture are ``padding``.
        """
        rows = np.full((self.height, self.row_pitch), padding, np.int8)
        rows[:, self._row] = values.reshape(self.height, self.row_bytes)
        return rows.tobytes()

    def unpack(self, data: bytes) -> npt.NDArray[np.int8]:
        """Inverse of :meth:`pack`: shape (height, width, channels)."""
        rows = np.frombuffer(data, np.int8, self.size).reshape(self.height, self.row_pitch)
        return rows[:, self._row].reshape(self.height, self.width, self.channels).copy()

    @property
    def _row(self) -> slice:
        """The bytes of a row that hold pixels."""
        begin = self.left * self.channels
        return slice(begin, begin + self.row_bytes)
