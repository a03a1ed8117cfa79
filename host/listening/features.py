"""Rows of 40 features, as TensorFlow Lite Micro's front end computes them.

The package ``pymicro-features`` is that code: every 10 ms it looks at 30 ms of sound, with 40 mel
bands, the noise that stays taken away, and the level evened out. microWakeWord and micro_speech are
trained on such features. How they become int8 is ``micro_speech``'s arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from model.errors import DataError

__all__ = ["CHANNELS", "SAMPLE_HZ", "STEP_MS", "as_int8", "feature_rows"]

SAMPLE_HZ = 16_000
STEP_MS = 10
CHANNELS = 40
_STEP_SAMPLES = SAMPLE_HZ * STEP_MS // 1000
#: The package gives what the front end computes, times this.
_UNIT = 0.0390625
#: ``examples/micro_speech/micro_features_generator.cc``: the range of 26 units of 25.6 is int8's.
_SCALE, _DIVISOR = 256, round(25.6 * 26)

Samples = npt.NDArray[np.int16]


def feature_rows(blocks: Iterable[Samples], step_ms: int) -> Iterator[npt.NDArray[np.int8]]:
    """A row of int8 features for each ``step_ms`` of sound.

    Parameters
    ----------
    blocks : iterable of ndarray of int16
        Sound of 16,000 samples a second, in pieces of any size; what is short of 10 ms at the end
        is left out.
    step_ms : int
        A multiple of 10: of the rows in between none is given.

    Raises
    ------
    DataError
        If the package that computes them is missing.
    """
    try:
        from pymicro_features import MicroFrontend
    except ImportError as error:
        raise DataError("features need a package more: pip install 'eyespot[audio]'") from error
    frontend = MicroFrontend()
    left = np.zeros(0, np.int16)
    count = 0
    for block in blocks:
        left = np.concatenate([left, block])
        while len(left) >= _STEP_SAMPLES:
            made = frontend.process_samples(left[:_STEP_SAMPLES].astype("<i2").tobytes())
            left = left[_STEP_SAMPLES:]
            if made.features:
                count += 1
                if count * STEP_MS % step_ms == 0:
                    yield as_int8(made.features)


def as_int8(features: Iterable[float]) -> npt.NDArray[np.int8]:
    """The package's features as the networks take them."""
    whole = np.rint(np.array(list(features)) / _UNIT).astype(np.int64)
    scaled = (whole * _SCALE + _DIVISOR // 2) // _DIVISOR - 128
    return np.clip(scaled, -128, 127).astype(np.int8)
