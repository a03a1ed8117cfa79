"""exp and log of float32, to the last bit as TFLM's machine computes them.

A kernel that works in float32 calls ``expf`` and ``logf`` of the C library, which are not rounded
correctly in about one case of a thousand. What glibc has (since 2.28, and musl since 1.2, on every
processor) is a short formula in float64, which gives the same bits wherever it is computed.

Source: Arm's optimized routines, ``math/expf.c`` and ``math/logf.c``.
"""

from __future__ import annotations

import numpy as np

__all__ = ["exp", "log"]

_EXP_PARTS = 32
"""An octave of exp2 is cut into so many parts, each with a cubic."""

# 2**(r / 32) = 1 + C2 r + C1 r**2 + C0 r**3
_C0 = float.fromhex("0x1.c6af84b912394p-5") / _EXP_PARTS**3
_C1 = float.fromhex("0x1.ebfce50fac4f3p-3") / _EXP_PARTS**2
_C2 = float.fromhex("0x1.62e42ff0c52d6p-1") / _EXP_PARTS
_PARTS_PER_E = float.fromhex("0x1.71547652b82fep+0") * _EXP_PARTS

_ROOTS = np.array([2 ** (part / _EXP_PARTS) for part in range(_EXP_PARTS)])

_LN_2 = float.fromhex("0x1.62e42fefa39efp-1")
# log(1 + r) = r + A2 r**2 + A1 r**3 + A0 r**4
_A0 = float.fromhex("-0x1.00ea348b88334p-2")
_A1 = float.fromhex("0x1.5575b0be00b6ap-2")
_A2 = float.fromhex("-0x1.ffffef20a4123p-2")
# For each sixteenth of an octave, a number near its middle: its inverse, and its logarithm.
_SIXTEENTHS = (
    "0x1.661ec79f8f3bep+0 -0x1.57bf7808caadep-2",
    "0x1.571ed4aaf883dp+0 -0x1.2bef0a7c06ddbp-2",
    "0x1.49539f0f010bp+0 -0x1.01eae7f513a67p-2",
    "0x1.3c995b0b80385p+0 -0x1.b31d8a68224e9p-3",
    "0x1.30d190c8864a5p+0 -0x1.6574f0ac07758p-3",
    "0x1.25e227b0b8eap+0 -0x1.1aa2bc79c81p-3",
    "0x1.1bb4a4a1a343fp+0 -0x1.a4e76ce8c0e5ep-4",
    "0x1.12358f08ae5bap+0 -0x1.1973c5a611cccp-4",
    "0x1.0953f419900a7p+0 -0x1.252f438e10c1ep-5",
    "0x1p+0 0x0p+0",
    "0x1.e608cfd9a47acp-1 0x1.aa5aa5df25984p-5",
    "0x1.ca4b31f026aap-1 0x1.c5e53aa362eb4p-4",
    "0x1.b2036576afce6p-1 0x1.526e57720db08p-3",
    "0x1.9c2d163a1aa2dp-1 0x1.bc2860d22477p-3",
    "0x1.886e6037841edp-1 0x1.1058bc8a07ee1p-2",
    "0x1.767dcf5534862p-1 0x1.4043057b6ee09p-2",
)
_INVERSES, _LOGARITHMS = np.array(
    [[float.fromhex(number) for number in pair.split()] for pair in _SIXTEENTHS]
).T
_LOG_OFFSET = 0x3F330000
"""Where an octave begins, as the bits of a float32: about 0.7."""


def exp(x: np.ndarray) -> np.ndarray:
    """``expf``: float32 to float32; overflows to infinity, and underflows by way of denormals."""
    parts = _PARTS_PER_E * np.clip(x, -104, 89).astype(np.float64)
    whole = np.rint(parts)
    r = parts - whole
    octaves, part = np.divmod(whole.astype(np.int64), _EXP_PARTS)
    scale = np.ldexp(_ROOTS[part], octaves)
    value = (_C0 * r + _C1) * (r * r) + (_C2 * r + 1)
    with np.errstate(over="ignore", under="ignore"):
        return (value * scale).astype(np.float32)


def log(x: np.ndarray) -> np.ndarray:
    """``logf`` of positive, finite numbers that are not denormal: float32 to float32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
    above = bits - _LOG_OFFSET
    sixteenth = above >> 19 & 15
    octaves = above >> 23
    mantissa = (bits - (octaves << 23)).astype(np.int32).view(np.float32).astype(np.float64)
    r = mantissa * _INVERSES[sixteenth] - 1
    near = _LOGARITHMS[sixteenth] + octaves * _LN_2
    r2 = r * r
    value = (_A1 * r + _A2) + _A0 * r2
    return (value * r2 + (near + r)).astype(np.float32)
