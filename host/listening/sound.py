"""Sound in pieces: from a WAV file, or from a microphone as it comes."""

from __future__ import annotations

import os
import queue
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import DataError

from .features import SAMPLE_HZ, Samples

__all__ = ["from_file", "from_microphone", "resampled"]

_BLOCK = SAMPLE_HZ // 50
#: Zero crossings of the resampler's filter on either side.
_CROSSINGS = 16
_MAX_BYTES = 1 << 30


def from_file(path: str | os.PathLike[str]) -> Iterator[Samples]:
    """A WAV file of 8, 16, 24 or 32 bits, of any rate and any number of channels.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: is too long")
        with wave.open(str(path), "rb") as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DataError(f"{path}: is no WAV file of plain samples: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if not 1000 <= rate <= 400_000 or width not in (1, 2, 3, 4):
        raise DataError(f"{path}: {8 * width} bits at {rate} Hz are not supported")
    data = data[: len(data) // (width * channels) * width * channels]
    if width == 1:
        values = np.frombuffer(data, np.uint8).astype(np.float64) - 128
    else:
        # The highest bytes of four.
        padded = np.zeros((len(data) // width, 4), np.uint8)
        padded[:, 4 - width :] = np.frombuffer(data, np.uint8).reshape(-1, width)
        values = padded.view("<i4").ravel() / float(1 << 8 * (4 - width))
    mono = values.reshape(-1, channels).mean(axis=1) * 2.0 ** (16 - 8 * width)
    samples = np.clip(np.rint(resampled(mono, rate)), -32768, 32767).astype(np.int16)
    for start in range(0, len(samples), _BLOCK):
        yield samples[start : start + _BLOCK]


def resampled(values: npt.NDArray[np.float64], rate: int) -> npt.NDArray[np.float64]:
    """Sound of ``rate`` samples a second as one of 16,000: a windowed sinc."""
    if rate == SAMPLE_HZ or not len(values):
        return values
    step = rate / SAMPLE_HZ
    width = max(1.0, step)
    reach = int(np.ceil(_CROSSINGS * width))
    count = int(len(values) / step)
    padded = np.pad(values, reach + 1)
    result = np.empty(count)
    offsets = np.arange(-reach, reach + 1)
    for start in range(0, count, 1 << 14):
        place = np.arange(start, min(count, start + (1 << 14))) * step
        whole = np.floor(place).astype(np.int64)
        distance = offsets[np.newaxis] - (place - whole)[:, np.newaxis]
        window = np.cos(np.pi / 2 * np.clip(distance / (reach + 1), -1, 1)) ** 2
        filters = np.sinc(distance / width) / width * window
        taken = padded[whole[:, np.newaxis] + offsets + reach + 1]
        result[start : start + len(place)] = (filters * taken).sum(axis=1)
    return result


def from_microphone(device: str | int | None = None) -> Iterator[Samples]:
    """What a microphone hears, without end.

    Raises
    ------
    DataError
        If there is none, or the package for it is missing.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise DataError(
            "a microphone needs PortAudio and a package more: pip install 'eyespot[audio]'"
        ) from error
    heard: queue.SimpleQueue[Samples] = queue.SimpleQueue()

    def take(block: npt.NDArray[np.int16], frames: int, time: object, status: object) -> None:
        heard.put(block[:, 0].copy())

    try:
        with sounddevice.InputStream(
            samplerate=SAMPLE_HZ,
            channels=1,
            dtype="int16",
            blocksize=_BLOCK,
            device=device,
            callback=take,
        ):
            while True:
                yield heard.get()
    except sounddevice.PortAudioError as error:
        raise DataError(f"the microphone cannot be used: {error}") from error
